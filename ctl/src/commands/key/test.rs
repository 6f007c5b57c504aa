//! `nbctl key test`: logs in to a tunnel's server by key alone, through the daemon, and says in one verdict what the
//! server makes of the key; with a refusal comes the line to paste.

use std::io;
use std::path::PathBuf;

use nbtunnel_proto::{Finding, Keys, OfferedKey, Problem, Reply, Request};
use serde_json::json;

use super::{known, no_key, which};
use crate::args::TestArgs;
use crate::daemon::{Daemon, hung_up, unexpected};
use crate::exit::{CommandError, Exit, exit_for};
use crate::findings;
use crate::keys::find;
use crate::keys::home;
use crate::printer::Printer;
use crate::text::plain;

pub(super) async fn run(args: TestArgs, daemon: &Daemon, printer: &Printer) -> Result<Exit, CommandError> {
    let file = args.file.map(key_file).transpose()?;
    let file = file.map(|file| file.to_string_lossy().into_owned());
    let (found, keys) = ask(&Request::TestKey { name: args.name.clone(), file }, daemon, printer).await?;
    match judge(&found, &keys) {
        Ok((verdict, text)) => {
            if printer.is_json() {
                printer.json(&json!({"verdict": verdict, "server": keys, "findings": found}))?;
            } else {
                printer.data(&printer.paint.bold(&plain(&text)))?;
            }
            Ok(Exit::Done)
        }
        Err(refusal) => {
            let Refusal { verdict, error, paste } = *refusal;
            if let Some(line) = paste.as_deref().filter(|_| !printer.is_json()) {
                printer.data(line)?;
            }
            let error = error.with("verdict", json!(verdict)).with("paste", json!(paste));
            Err(error.with("server", json!(keys)).with("findings", json!(found)))
        }
    }
}

/// The private key that is meant. Whether it is one, is for the daemon to say, which knows more formats.
fn key_file(named: PathBuf) -> Result<PathBuf, CommandError> {
    let file = find::private_path(&home::expand(named)?);
    if file.is_file() || find::has_public(&file) {
        return Ok(file);
    }
    Err(CommandError::file("read", &file, &io::ErrorKind::NotFound.into()))
}

/// Lets the daemon log in; what it finds is told at once, since it may take its time.
async fn ask(
    request: &Request,
    daemon: &Daemon,
    printer: &Printer,
) -> Result<(Vec<Finding>, Keys), CommandError> {
    let mut client = daemon.connect().await?;
    client.send(request).await?;
    let (mut found, mut hop) = (Vec::new(), None);
    loop {
        let reply = findings::next(&mut client).await?;
        match reply {
            Some(Reply::Finding(finding)) => {
                if !printer.is_json() {
                    printer.data(&findings::line(&finding, &mut hop, printer.paint))?;
                }
                found.push(*finding);
            }
            Some(Reply::Keys(keys)) => return Ok((found, *keys)),
            Some(other) => return Err(unexpected(&other)),
            None => return Err(hung_up()),
        }
    }
}

/// A verdict that is not yes.
struct Refusal {
    verdict: &'static str,
    error: CommandError,
    /// The public key that the server should be told of.
    paste: Option<String>,
}

/// The verdict in one word, and in a sentence.
fn judge(found: &[Finding], keys: &Keys) -> Result<(&'static str, String), Box<Refusal>> {
    let account = &keys.account;
    let with =
        |verdict: &str| keys.keys.iter().filter(|key| key.verdict.as_deref() == Some(verdict)).collect();
    let taken: Vec<&OfferedKey> = with("taken");
    if let Some(key) = taken.first() {
        let besides = if keys.let_in == Some(true) { "" } else { "; to log in, it takes more than that" };
        return Ok(("taken", format!("taken: {account} takes the key {}{besides}", which(key))));
    }
    if keys.let_in == Some(true) {
        return Ok(("open", format!("{account} lets in without any key")));
    }
    let refused: Vec<&OfferedKey> = with("refused");
    if !refused.is_empty() {
        let untried = keys.keys.iter().filter(|key| key.verdict.is_none()).count();
        return Err(Box::new(refusal(account, &refused, untried)));
    }
    let broken = found.iter().find(|finding| finding.verdict == "broken");
    let error = broken.map_or_else(|| no_key(keys), unreached);
    Err(Box::new(Refusal { verdict: "unknown", error, paste: None }))
}

fn refusal(account: &str, refused: &[&OfferedKey], untried: usize) -> Refusal {
    let all: Vec<String> = refused.iter().copied().map(which).collect();
    let mut message = match all.as_slice() {
        [one] => format!("refused: {account} does not take the key {one}"),
        all => format!("refused: {account} takes none of {} keys: {}", all.len(), all.join(", ")),
    };
    if untried > 0 {
        message += &format!("; {untried} more were not tried (--file KEY tries one alone)");
    }
    let in_file = refused.iter().find(|key| key.file.is_some() && key.public.is_some());
    let line = in_file.or(refused.first()).and_then(|key| known(key)?.public.to_openssh().ok());
    let hint = "paste the line above on the platform's page for SSH keys, or add it to ~/.ssh/authorized_keys there; \
                then try again";
    let hint = if line.is_some() { hint } else { "`nbctl key show` prints the line that a platform wants" };
    Refusal {
        verdict: "refused",
        error: CommandError::new(Exit::Failed, message, hint).with_code("auth_refused"),
        paste: line.as_deref().map(plain),
    }
}

/// The server did not get to see a key.
fn unreached(finding: &Finding) -> CommandError {
    let code = finding.code.clone().unwrap_or_default();
    let problem = Problem { code, message: String::new(), hint: String::new() };
    let message = format!("no key was tried: {}", finding.message);
    CommandError::new(exit_for(&problem), message, finding.hint.clone()).with_code(&problem.code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::make::{Kind, make};

    fn key(verdict: Option<&str>) -> OfferedKey {
        OfferedKey {
            file: Some("/k/id".into()),
            holder: "file".into(),
            public: Some(make(Kind::Ed25519, "me", None).unwrap().public.to_openssh().unwrap()),
            fingerprint: Some("SHA256:x".into()),
            certificate: None,
            verdict: verdict.map(str::to_owned),
        }
    }

    fn keys(keys: Vec<OfferedKey>, let_in: bool) -> Keys {
        Keys { account: "u@h:22".into(), keys, notes: vec![], let_in: Some(let_in) }
    }

    fn verdict(found: &[Finding], keys: &Keys) -> (&'static str, String, Exit) {
        match judge(found, keys) {
            Ok((verdict, text)) => (verdict, text, Exit::Done),
            Err(refusal) => (refusal.verdict, refusal.error.message.clone(), refusal.error.exit),
        }
    }

    #[test]
    fn one_key_that_is_taken_is_enough() {
        let (word, text, exit) = verdict(&[], &keys(vec![key(Some("refused")), key(Some("taken"))], true));
        assert_eq!((word, exit), ("taken", Exit::Done));
        assert_eq!(text, "taken: u@h:22 takes the key SHA256:x (/k/id)");
        let (word, text, _) = verdict(&[], &keys(vec![key(Some("taken"))], false));
        assert!(word == "taken" && text.ends_with("it takes more than that"), "{text}");
    }

    #[test]
    fn a_refusal_brings_the_line_of_a_key_that_was_refused() {
        let (tried, untried) = (key(Some("refused")), key(None));
        let line = tried.public.clone();
        let held = OfferedKey { file: None, ..key(Some("refused")) };
        let refusal = judge(&[], &keys(vec![untried, held, tried], false)).unwrap_err();
        assert_eq!((refusal.verdict, refusal.error.exit), ("refused", Exit::Failed));
        assert_eq!(refusal.paste, line);
        assert!(
            refusal.error.message.contains("takes none of 2 keys: SHA256:x (agent)"),
            "{:?}",
            refusal.error
        );
    }

    #[test]
    fn what_stood_in_the_way_of_a_login_is_the_verdict_with_its_exit_code() {
        let broken = |code| [findings::broken("tcp", code, "it said no", "ask it")];
        let untried = keys(vec![key(None)], false);
        assert_eq!(verdict(&broken("refused"), &untried).2, Exit::Failed);
        assert_eq!(verdict(&broken("host_key_unknown"), &untried).2, Exit::NeedsYou);
        assert_eq!(verdict(&[], &keys(vec![], false)).2, Exit::NeedsYou);
        assert_eq!(verdict(&[], &keys(vec![], true)).0, "open");
    }
}
