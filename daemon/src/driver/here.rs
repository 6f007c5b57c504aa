//! Where a notebook is found on this machine. A URL with a token leads only to what listens for us: whoever has the
//! same port on another address would be told the token.

use nbtunnel_core::{Failure, FailureKind, ForwardView};
use nbtunnel_proto::{Fault, FaultCode, NotebookAt};

use super::Driver;
use super::notebooks::{Key, fault};

impl Driver {
    /// `shows`: it is for a person with a browser, to whom its page can say what it wants.
    pub(super) fn notebook_at(&self, key: &Key, shows: bool) -> Result<NotebookAt, Fault> {
        let (Some(spec), Some(server)) = (self.notebook_spec(key), self.notebooks.servers.get(key)) else {
            return Err(Fault::new(
                FaultCode::Failed,
                format!("the notebook {} was removed meanwhile", key.1),
                "see `nbctl status`",
            ));
        };
        let asks = server.token_problem.as_ref().filter(|_| shows && server.asks_on_its_page());
        let refuses = server.token_problem.as_ref().filter(|_| asks.is_none());
        if let Some(why) = self.cannot_listen(key).as_ref().or(refuses) {
            return Err(fault(why));
        }
        let mut notes = server.notes();
        notes.extend(asks.map(|why| format!("{}: its page asks for it", why.message)));
        Ok(NotebookAt {
            tunnel: key.0.to_string(),
            name: key.1.to_string(),
            host: self.local_name(key).to_owned(),
            local_port: spec.local_port,
            https: server.https,
            base_url: server.base_url.clone(),
            token: server.token.clone(),
            password: server.password,
            kind: server.kind.word().to_owned(),
            notes,
        })
    }

    /// What this machine is to be called in its URL.
    pub(super) fn local_name(&self, key: &Key) -> &'static str {
        let listens = self.forward_of(key).map(|forward| forward.listens);
        name_for(&listens.unwrap_or_default())
    }

    /// Why nobody listens for it on this machine.
    fn cannot_listen(&self, key: &Key) -> Option<Failure> {
        let forward = self.forward_of(key)?;
        if !forward.listens.is_empty() {
            return None;
        }
        let not_yet = || {
            let message = format!("{} is not listened on yet", forward.listen);
            Failure::new(FailureKind::CannotListen, message, "it soon is: ask again")
        };
        Some(forward.problem.clone().unwrap_or_else(not_yet))
    }

    fn forward_of(&self, key: &Key) -> Option<ForwardView> {
        let view = self.fleet.tunnels().get(&key.0)?.view(self.clock.now());
        let place =
            view.spec.forwards.iter().position(|forward| forward.target.notebook() == Some(&key.1))?;
        view.forwards.into_iter().nth(place)
    }
}

/// `localhost` is whichever of the two addresses a program tries first: it is ours only where both are.
fn name_for(listens: &[String]) -> &'static str {
    let has = |ip: &str| listens.iter().any(|at| at.rsplit_once(':').is_some_and(|(host, _)| host == ip));
    match (has("127.0.0.1"), has("[::1]")) {
        (true, true) => "localhost",
        (false, true) => "[::1]",
        (true, false) | (false, false) => "127.0.0.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_localhost_only_where_both_addresses_are_ours() {
        for (listens, name) in [
            (&["127.0.0.1:6000", "[::1]:6000"][..], "localhost"),
            (&["127.0.0.1:6000"], "127.0.0.1"),
            (&["[::1]:6000"], "[::1]"),
            (&[], "127.0.0.1"),
        ] {
            let listens: Vec<String> = listens.iter().map(|&at| at.to_owned()).collect();
            assert_eq!(name_for(&listens), name, "{listens:?}");
        }
    }
}
