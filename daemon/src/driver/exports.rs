//! Where tunnels lead, for other SSH clients (`nbctl export`): as ssh_config says now, whether they were up or never.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use nbtunnel_core::{LoginKey, Route};
use nbtunnel_proto::{Fault, Reply};

use super::Driver;
use crate::control::convert;
use crate::event::Asked;
use crate::ssh::Plan;

/// So many tunnels are asked about at a time.
const AT_ONCE: usize = 8;

impl Driver {
    /// Begins to find out where the tunnels lead that fit `names`; the rest comes from a task. All tunnels are looked
    /// at, since a name that one of them goes by must not be given to another.
    pub(super) fn ssh_hosts(&self, asked: &Asked, names: &[String]) -> Result<(), Fault> {
        let mut all: Vec<_> = self.present().cloned().collect();
        all.sort();
        let chosen = if names.is_empty() { all.clone() } else { self.select(names)? };
        let wanted = all.into_iter().filter_map(|name| {
            let tunnel = self.fleet.tunnels().get(&name)?;
            let route = tunnel.spec().route.clone();
            let asks = Asks { did: self.effects.asked(&name), would: tunnel.needs().cloned() };
            Some((chosen.contains(&name), name, route, asks))
        });
        let wanted: Vec<_> = wanted.collect();
        let (links, answer) = (Arc::clone(self.effects.links()), asked.answer.clone());
        tokio::spawn(async move {
            let looked = wanted.into_iter().map(|(is_chosen, name, route, asks)| {
                let links = &links;
                async move {
                    let planned = links.plan(route.clone()).await;
                    let its_way = on_the_way(&route, planned.as_ref().ok());
                    (name, planned, its_way, is_chosen, asks)
                }
            });
            let mut looked = stream::iter(looked).buffered(AT_ONCE);
            let (mut hosts, mut unknown, mut on_the_way) = (Vec::new(), Vec::new(), Vec::new());
            while let Some((name, planned, its_way, is_chosen, asks)) = looked.next().await {
                on_the_way.extend(its_way.iter().cloned());
                match planned {
                    _ if !is_chosen => {}
                    Ok(plan) => {
                        let asks = asks.at(&plan.server.login_key());
                        hosts.push(convert::ssh_host(&name, plan.server, its_way, asks));
                    }
                    Err(why) => unknown.push((name.to_string(), why.message)),
                }
            }
            on_the_way.sort();
            on_the_way.dedup();
            let reply = Reply::SshHosts { hosts, unknown, on_the_way };
            let _ = answer.send(reply).await;
        });
        Ok(())
    }
}

/// What is known of a tunnel's logins.
struct Asks {
    /// Its link came up by an answer to the server at its end.
    did: bool,
    /// The login that cannot go on without an answer.
    would: Option<LoginKey>,
}

impl Asks {
    /// Whether the login at the end of the way asks somebody. Other clients go over the session of the jump hosts before
    /// it, and what these ask is no matter of theirs.
    fn at(&self, end: &LoginKey) -> bool {
        self.did || self.would.as_ref() == Some(end)
    }
}

/// What the machines on the way are called, by the files and by ssh_config, and what a ProxyCommand names.
fn on_the_way(route: &Route, plan: Option<&Plan>) -> Vec<String> {
    let mut names = vec![route.host.clone()];
    names.extend(route.jump.iter().flatten().flat_map(|jump| words(jump)));
    for hop in plan.into_iter().flat_map(|plan| plan.jumps.iter().chain([&plan.server])) {
        names.extend([hop.name.clone(), hop.host.clone()]);
        names.extend(hop.dialling.proxy_command.iter().flat_map(|command| words(command)));
    }
    names
}

/// What could be the name of a host, or of a tunnel.
fn words(text: &str) -> impl Iterator<Item = String> {
    let parts = text.split(|c: char| !(c.is_alphanumeric() || "._-".contains(c)));
    parts.filter(|word| !word.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_jump_host_asks_is_not_asked_of_other_clients() {
        let key = |name: &str| LoginKey(name.to_owned());
        let asks = |did, would: Option<&str>| Asks { did, would: would.map(key) }.at(&key("end"));
        assert!(asks(true, None) && asks(false, Some("end")));
        assert!(!asks(false, Some("jump host")) && !asks(false, None));
    }

    #[test]
    fn whatever_a_way_is_written_with_its_machines_are_named() {
        let mut route = Route::to("gpu");
        route.jump = Some(vec!["me@login.example:22,[::1]".into()]);
        assert!(
            ["gpu", "me", "login.example"]
                .iter()
                .all(|name| on_the_way(&route, None).contains(&(*name).into()))
        );
        let command = "ssh -W \"h\":22 'first'; nc x";
        assert_eq!(words(command).collect::<Vec<_>>(), ["ssh", "-W", "h", "22", "first", "nc", "x"]);
    }
}
