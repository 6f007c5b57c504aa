//! `nbctl trust`: shows the key that a host showed, and writes down exactly that key once a person agreed.

use std::time::Duration;

use nbtunnel_proto::{Client, HostKeyOffer, RecordedKey, Reply, Request, TunnelStatus};
use serde_json::json;

use crate::args::TrustArgs;
use crate::daemon::{Daemon, ask, status_on, unexpected};
use crate::exit::{CommandError, Exit};
use crate::printer::Printer;

mod show;

use show::{describe, machine};

/// How often, and how many times, to look whether a tunnel that is connecting has seen a key: about 20 s.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const LOOKS: u32 = 100;

pub(crate) async fn run(args: TrustArgs, daemon: &Daemon, printer: &Printer) -> Result<Exit, CommandError> {
    let mut client = daemon.connect().await?;
    let Some((offer, changed)) = wait_for_key(&mut client, &args.name).await? else {
        return already(None, &format!("{} is up: its host key is trusted already", args.name), printer);
    };
    // Whoever is asked has to see what about, also under --quiet.
    if printer.can_ask() {
        printer.ask_about(&describe(&offer));
    } else {
        printer.say(&describe(&offer));
    }
    if offer.trusted {
        return already(Some(&offer), "this key is on file already; nothing needs to be done", printer);
    }
    decide(&args, &offer, changed || contradicts(&offer), printer)?;
    let request = Request::Trust {
        name: args.name.clone(),
        fingerprint: offer.fingerprint.clone(),
        replace: args.replace,
    };
    let (file, replaced) = match ask(&mut client, &request).await? {
        Reply::Trusted { file, replaced } => (file, replaced),
        other => return Err(unexpected(&other)),
    };
    if printer.is_json() {
        printer.json(&json!({"trusted": {
            "fingerprint": offer.fingerprint, "file": file, "replaced": replaced, "already": false,
        }}))?;
    }
    for line in &replaced {
        printer.say(&format!("the key at {line} is gone"));
    }
    printer.say(&format!("the key of {} is written to {file}; {} connects now", machine(&offer), args.name));
    Ok(Exit::Done)
}

/// There is nothing to decide.
fn already(offer: Option<&HostKeyOffer>, text: &str, printer: &Printer) -> Result<Exit, CommandError> {
    if printer.is_json() {
        let fingerprint = offer.map(|offer| &offer.fingerprint);
        printer.json(&json!({"trusted": {"fingerprint": fingerprint, "already": true}}))?;
    }
    printer.say(text);
    Ok(Exit::Done)
}

/// The key that the tunnel was shown, and whether the daemon calls it a changed one; nothing for a tunnel that
/// is up, whose key is trusted. While the tunnel is connecting, there may be a key in a moment.
async fn wait_for_key(client: &mut Client, name: &str) -> Result<Option<(HostKeyOffer, bool)>, CommandError> {
    let mut looks = 0;
    loop {
        let tunnel = tunnel(client, name).await?;
        let settled = !matches!(tunnel.state.as_str(), "binding" | "connecting" | "waiting" | "closing");
        let answer = ask(client, &Request::HostKey { name: name.to_owned() }).await;
        match answer {
            // A key from before may be about to be replaced by that of the attempt under way.
            Ok(Reply::HostKey(offer)) if settled || tunnel.state == "waiting" || looks >= LOOKS => {
                let changed = tunnel.problem.is_some_and(|problem| problem.code == "host_key_changed");
                return Ok(Some((*offer, changed)));
            }
            Ok(Reply::HostKey(_)) => {}
            Ok(other) => return Err(unexpected(&other)),
            Err(error) if error.exit == Exit::Failed && tunnel.state == "up" => return Ok(None),
            Err(error) if error.exit != Exit::Failed || settled => return Err(no_key(error, &tunnel)),
            Err(_) if looks >= LOOKS => return Err(late(&tunnel)),
            Err(_) => {}
        }
        looks += 1;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn tunnel(client: &mut Client, name: &str) -> Result<TunnelStatus, CommandError> {
    let status = status_on(client, vec![name.to_owned()]).await?;
    status.tunnels.into_iter().find(|tunnel| tunnel.name == name).ok_or_else(|| {
        CommandError::new(
            Exit::NoSuchTunnel,
            format!("no tunnel {name:?}"),
            "give one name; `nbctl status` shows them",
        )
    })
}

/// Nothing was shown: say what to do from where the tunnel is.
fn no_key(error: CommandError, tunnel: &TunnelStatus) -> CommandError {
    match tunnel.state.as_str() {
        "stopped" => CommandError::new(
            error.exit,
            format!("{} is stopped and was shown no key yet", tunnel.name),
            format!("connect first, with `nbctl start {}`", tunnel.name),
        ),
        "idle" => CommandError::new(
            error.exit,
            format!("{} connects on demand and was shown no key yet", tunnel.name),
            "use its forward once, and then look at the key",
        ),
        _ => error,
    }
}

fn late(tunnel: &TunnelStatus) -> CommandError {
    let mut message = format!("{} was shown no key within 20 s; it is {}", tunnel.name, tunnel.state);
    let mut hint = format!("see `nbctl logs {}`", tunnel.name);
    if let Some(problem) = &tunnel.problem {
        message += &format!(": {}", problem.message);
        if !problem.hint.is_empty() {
            hint.clone_from(&problem.hint);
        }
    }
    CommandError::new(Exit::TimedOut, message, hint)
}

/// Whether a key of the same kind is on file. One of another kind does not contradict this one, and
/// `--replace` would throw it away.
fn contradicts(offer: &HostKeyOffer) -> bool {
    let other = |key: &RecordedKey| key.algorithm == offer.algorithm && key.fingerprint != offer.fingerprint;
    offer.recorded.iter().any(other)
}

const DIFFERENT: &str = "do not connect until you know why they differ";

/// Lets a person decide, or takes the decision that a script brings along.
fn decide(
    args: &TrustArgs,
    offer: &HostKeyOffer,
    changed: bool,
    printer: &Printer,
) -> Result<(), CommandError> {
    let needs_you = |message: String, hint: String| {
        Err(CommandError::new(Exit::NeedsYou, message, hint).with("host_key", json!(offer)))
    };
    if offer.revoked {
        return needs_you(
            format!(
                "the key of {} is marked @revoked in {} and cannot be trusted",
                machine(offer),
                offer.revoked_at.as_deref().unwrap_or("known_hosts")
            ),
            "ask the administrator of the server for its new key; whoever has the old one can pretend to be it"
                .to_owned(),
        );
    }
    if changed && !args.replace {
        return needs_you(
            format!(
                "the key of {} is not the one on file: the server was set up anew, or somebody is in between",
                machine(offer)
            ),
            format!(
                "ask its administrator for the fingerprint; if it is {}, run `nbctl trust {} --replace`",
                offer.fingerprint, args.name
            ),
        );
    }
    let ask_how = format!(
        "compare the fingerprint with the administrator's, then run `nbctl trust {} --yes --fingerprint {}{}`",
        args.name,
        offer.fingerprint,
        if args.replace { " --replace" } else { "" }
    );
    match &args.fingerprint {
        Some(given) if *given != offer.fingerprint => {
            needs_you(format!("the host showed {}, not {given}", offer.fingerprint), DIFFERENT.to_owned())
        }
        Some(_) if args.yes => Ok(()),
        None if args.yes => needs_you("--yes alone would trust any key".to_owned(), ask_how),
        Some(_) | None if !printer.can_ask() => {
            needs_you("nobody is there to look at the key".to_owned(), ask_how)
        }
        Some(_) | None => {
            // A key that takes the place of another is easily agreed to by habit: only the whole word is a yes.
            let replaces = args.replace && !offer.recorded.is_empty();
            let answer = printer.answer(match replaces {
                true => "Put the new key in the place of the old one? (yes, or the fingerprint that you were given)",
                false => "Trust this key? (y/N, or the fingerprint that you were given)",
            });
            let is_yes = answer.eq_ignore_ascii_case("yes") || !replaces && answer.eq_ignore_ascii_case("y");
            if is_yes || answer == offer.fingerprint {
                Ok(())
            } else if answer.starts_with("SHA256:") {
                needs_you(
                    format!("the host showed {}, not {answer}", offer.fingerprint),
                    DIFFERENT.to_owned(),
                )
            } else {
                needs_you(
                    "the key was not trusted".to_owned(),
                    "run the command again once you know".to_owned(),
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(recorded: bool, revoked: bool) -> HostKeyOffer {
        let key = RecordedKey {
            file: "kh".into(),
            line: 3,
            algorithm: "ssh-ed25519".into(),
            fingerprint: "SHA256:old".into(),
            randomart: String::new(),
            pattern: None,
            stays: false,
        };
        HostKeyOffer {
            name: "alice".into(),
            hop: "h:22".into(),
            jump: 0,
            jumps: 0,
            alias: None,
            algorithm: "ssh-ed25519".into(),
            fingerprint: "SHA256:new".into(),
            randomart: "+--[ED]--+".into(),
            file: "kh".into(),
            trusted: false,
            recorded: if recorded { vec![key] } else { vec![] },
            revoked,
            revoked_at: revoked.then(|| "kh:4".into()),
            doubt: None,
        }
    }

    fn decided(yes: bool, fingerprint: Option<&str>, replace: bool, offer: &HostKeyOffer) -> String {
        let args =
            TrustArgs { name: "alice".into(), yes, fingerprint: fingerprint.map(str::to_owned), replace };
        // JSON, so that nobody is asked wherever the test runs.
        match decide(&args, offer, contradicts(offer), &Printer::new(true, true)) {
            Ok(()) => "trusted".to_owned(),
            Err(error) => {
                assert_eq!(error.exit, Exit::NeedsYou);
                format!("{} | {}", error.message, error.hint)
            }
        }
    }

    #[test]
    fn a_script_has_to_bring_the_fingerprint_that_was_shown() {
        let unknown = offer(false, false);
        assert_eq!(decided(true, Some("SHA256:new"), false, &unknown), "trusted");
        assert!(decided(true, None, false, &unknown).contains("--yes --fingerprint SHA256:new"));
        assert!(decided(false, None, false, &unknown).starts_with("nobody is there"));
        assert!(decided(false, Some("SHA256:new"), false, &unknown).starts_with("nobody is there"));
        assert!(decided(true, Some("SHA256:other"), false, &unknown).contains("showed SHA256:new, not"));
    }

    #[test]
    fn a_changed_key_needs_replace_and_a_revoked_one_is_never_trusted() {
        let changed = offer(true, false);
        assert!(decided(true, Some("SHA256:new"), false, &changed).contains("--replace"));
        assert_eq!(decided(true, Some("SHA256:new"), true, &changed), "trusted");
        assert!(decided(true, Some("SHA256:new"), true, &offer(true, true)).contains("@revoked in kh:4"));
        let mut of_another_kind = offer(true, false);
        of_another_kind.recorded[0].algorithm = "ssh-rsa".into();
        assert_eq!(decided(true, Some("SHA256:new"), false, &of_another_kind), "trusted");
    }
}
