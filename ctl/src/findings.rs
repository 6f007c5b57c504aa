//! What `nbctl doctor` shows. Pure: findings in, text and an exit code out.

use std::collections::BTreeMap;
use std::time::Duration;

use nbtunnel_proto::{Client, FaultCode, FileProblem, Finding, Problem, Reply};

use crate::exit::{CommandError, Exit, exit_for};
use crate::text::{Paint, plain};

/// As wide as the longest verdict, and the longest layer.
const VERDICT: usize = "skipped".len();
const LAYER: usize = "authentication".len();

/// No single look takes longer: each step of a way has its own deadline, of a minute at most.
const PATIENCE: Duration = Duration::from_secs(150);

/// What the daemon found out next; none: it is gone.
///
/// # Errors
/// It found out nothing in time, or cannot be understood.
pub(crate) async fn next(client: &mut Client) -> Result<Option<Reply>, CommandError> {
    let late = |_| {
        CommandError::new(
            Exit::TimedOut,
            format!("nbtunneld found nothing out for {} s", PATIENCE.as_secs()),
            "restart nbtunneld; its log says what it was doing",
        )
        .with_code(FaultCode::TimedOut.word())
    };
    Ok(tokio::time::timeout(PATIENCE, client.next()).await.map_err(late)??)
}

/// A look that found nothing wrong, made by nbctl itself.
pub(crate) fn ok(layer: &str, message: &str) -> Finding {
    ours(layer, "ok", None, message, "")
}

/// The same with something that somebody may want to know.
pub(crate) fn warn(layer: &str, message: &str, hint: &str) -> Finding {
    ours(layer, "warn", None, message, hint)
}

/// The same with something that does not work.
pub(crate) fn broken(layer: &str, code: &str, message: &str, hint: &str) -> Finding {
    ours(layer, "broken", Some(code), message, hint)
}

/// A mistake in a file.
pub(crate) fn of_file(problem: &FileProblem) -> Finding {
    broken("config", "config", &problem.with_place(), &problem.hint)
}

fn ours(layer: &str, verdict: &str, code: Option<&str>, message: &str, hint: &str) -> Finding {
    Finding {
        tunnel: None,
        layer: layer.to_owned(),
        hop: None,
        forward: None,
        verdict: verdict.to_owned(),
        code: code.map(str::to_owned),
        message: message.to_owned(),
        hint: hint.to_owned(),
        took_ms: None,
    }
}

/// One finding, with its hint below, and the machine above if it is another one than the `hop` that was told about
/// last.
pub(crate) fn line(finding: &Finding, hop: &mut Option<String>, paint: Paint) -> String {
    let mut out = String::new();
    if let Some(here) = finding.hop.as_deref().filter(|here| hop.as_deref() != Some(*here)) {
        out += &format!("{:VERDICT$}  {}\n", "", paint.bold(&plain(here)));
        *hop = Some(here.to_owned());
    }
    let forward = finding.forward.as_ref().map(|forward| format!("{}: ", plain(forward))).unwrap_or_default();
    let took = match finding.took_ms {
        Some(ms @ 1..) => format!(" {}", paint.dim(&format!("({ms} ms)"))),
        _ => String::new(),
    };
    out += &format!(
        "{}  {:LAYER$}  {forward}{}{took}\n",
        mark(&finding.verdict, paint),
        plain(&finding.layer),
        plain(&finding.message)
    );
    if !finding.hint.is_empty() {
        let indent = VERDICT + 2 + LAYER + 2;
        out += &format!("{:indent$}{} {}\n", "", paint.dim("hint:"), plain(&finding.hint));
    }
    out
}

/// The verdict in its colour, as wide as all of them.
fn mark(verdict: &str, paint: Paint) -> String {
    let padded = format!("{:VERDICT$}", plain(verdict));
    match verdict {
        "ok" => paint.green(&padded),
        "warn" => paint.yellow(&padded),
        "broken" => paint.red(&padded),
        _ => paint.dim(&padded),
    }
}

/// A line for each tunnel, and then everything about those in which something is broken.
pub(crate) fn summary(all: &[Finding], paint: Paint) -> String {
    let tunnels = by_tunnel(all);
    let widest = tunnels.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    let (mut lines, mut details) = (String::new(), String::new());
    for (name, found) in &tunnels {
        let (verdict, text) = match first(found, "broken").or_else(|| first(found, "warn")) {
            Some(finding) => (finding.verdict.as_str(), format!("{}: {}", finding.layer, finding.message)),
            None => ("ok", "every layer works".to_owned()),
        };
        lines += &format!("{}  {:widest$}  {}\n", mark(verdict, paint), plain(name), plain(&text));
        if verdict == "broken" {
            details += &format!("\n{}\n", paint.bold(&plain(name)));
            let mut hop = None;
            found.iter().for_each(|finding| details += &line(finding, &mut hop, paint));
        }
    }
    lines + &details
}

/// What was found about each tunnel, in order.
fn by_tunnel(all: &[Finding]) -> BTreeMap<&str, Vec<&Finding>> {
    let mut tunnels: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
    for finding in all {
        if let Some(name) = &finding.tunnel {
            tunnels.entry(name).or_default().push(finding);
        }
    }
    tunnels
}

fn first<'a>(found: &[&'a Finding], verdict: &str) -> Option<&'a Finding> {
    found.iter().find(|finding| finding.verdict == verdict).copied()
}

/// The exit code: what is broken first decides for each tunnel, and a failure before what only waits for somebody.
pub(crate) fn exit(all: &[Finding]) -> Exit {
    let general: Vec<&Finding> = all.iter().filter(|finding| finding.tunnel.is_none()).collect();
    let groups = by_tunnel(all).into_values().chain([general]);
    let firsts = groups.filter_map(|found| first(&found, "broken")).map(|finding| {
        exit_for(&Problem {
            code: finding.code.clone().unwrap_or_default(),
            message: String::new(),
            hint: String::new(),
        })
    });
    firsts.min().unwrap_or(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(tunnel: &str, finding: Finding) -> Finding {
        Finding { tunnel: Some(tunnel.into()), ..finding }
    }

    fn tcp_at(hop: &str) -> Finding {
        let finding = broken("tcp", "refused", "h:22 refused the connection", "check host and port");
        Finding { hop: Some(hop.into()), took_ms: Some(12), ..finding }
    }

    #[test]
    fn lines_are_aligned_and_name_each_machine_once() {
        let mut hop = None;
        let mut text = line(&ok("daemon", "runs"), &mut hop, Paint(false));
        text += &line(&Finding { hop: Some("h:22".into()), ..ok("dns", "found") }, &mut hop, Paint(false));
        text += &line(&tcp_at("h:22"), &mut hop, Paint(false));
        let expected = "\
ok       daemon          runs
         h:22
ok       dns             found
broken   tcp             h:22 refused the connection (12 ms)
                         hint: check host and port
";
        assert_eq!(text, expected);
    }

    #[test]
    fn nothing_that_was_found_moves_the_cursor() {
        let evil =
            Finding { forward: Some("\x1b[2J".into()), hop: Some("\x1b".into()), ..ok("a\x1b", "b\x1bc") };
        let text = line(&evil, &mut None, Paint(false));
        assert!(!text.contains('\x1b'), "{text:?}");
        assert!(!summary(&[about("n\x1b", evil)], Paint(false)).contains('\x1b'));
    }

    #[test]
    fn all_tunnels_have_a_line_and_broken_ones_their_details() {
        let found = [
            ok("daemon", "runs"),
            about("bob", tcp_at("h:22")),
            about("alice", ok("tcp", "connected")),
            about("carol", warn("agent", "it does not answer", "")),
            about("bob", Finding { verdict: "skipped".into(), ..ok("banner", "not reached") }),
        ];
        let expected = "\
ok       alice  every layer works
broken   bob    tcp: h:22 refused the connection
warn     carol  agent: it does not answer

bob
         h:22
broken   tcp             h:22 refused the connection (12 ms)
                         hint: check host and port
skipped  banner          not reached
";
        assert_eq!(summary(&found, Paint(false)), expected);
    }

    #[test]
    fn the_exit_code_is_that_of_the_first_that_breaks() {
        let unknown = broken("host_key", "host_key_unknown", "", "");
        assert_eq!(exit(&[ok("daemon", ""), warn("agent", "", "")]), Exit::Done);
        assert_eq!(exit(&[about("a", unknown.clone()), about("a", tcp_at("h"))]), Exit::NeedsYou);
        assert_eq!(exit(&[about("a", tcp_at("h")), about("a", unknown.clone())]), Exit::Failed);
        assert_eq!(exit(&[about("a", unknown), about("b", tcp_at("h"))]), Exit::Failed);
    }
}
