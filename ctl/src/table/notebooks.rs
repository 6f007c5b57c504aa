//! Notebooks in the table and below it: where each is, and which layer of the way to it breaks.

use nbtunnel_proto::{ForwardStatus, NotebookStatus, TunnelStatus};

use super::{note, two_lines};
use crate::text::{Paint, duration, local_time, plain};

/// The notebook that a forward leads to, if it leads to one: it is known by its port.
fn of<'a>(tunnel: &'a TunnelStatus, forward: &ForwardStatus) -> Option<&'a NotebookStatus> {
    let port = forward.listen.rsplit(':').next().and_then(|port| port.parse().ok());
    let here = forward.kind == "local";
    tunnel.notebooks.iter().find(|notebook| here && Some(notebook.local_port) == port)
}

/// Where a forward leads, in a row of the table.
pub(super) fn target(tunnel: &TunnelStatus, forward: &ForwardStatus) -> String {
    match of(tunnel, forward) {
        None => plain(&forward.target),
        Some(notebook) => {
            let mark = if notebook.problem.is_some() { " (!)" } else { "" };
            match &notebook.target {
                Some(target) if notebook.state == "found" => {
                    format!("{} at {}{mark}", plain(&notebook.name), plain(target))
                }
                _ => format!("{} ({}){mark}", plain(&notebook.name), plain(&notebook.state)),
            }
        }
    }
}

/// What is wrong with the notebooks of a tunnel, or worth a word, below the table.
pub(super) fn notes(tunnel: &TunnelStatus, paint: Paint) -> String {
    let mut out = String::new();
    for notebook in &tunnel.notebooks {
        let who = format!("{} {}", tunnel.name, notebook.name);
        if let Some(problem) = &notebook.problem {
            out += &match layers(tunnel, notebook) {
                Some(layers) => {
                    let first = format!("{}: {layers}: {}", plain(&who), plain(&problem.message));
                    two_lines(&first, &problem.hint, paint)
                }
                None => note(&who, problem, paint),
            };
        }
        if let Some(note) = &notebook.note {
            out += &format!("{} {}: {}\n", paint.yellow("note:"), plain(&who), plain(note));
        }
    }
    out
}

/// The layers between here and a notebook with a problem, up to the one that breaks. None where the problem's own
/// words say that, or nobody can.
fn layers(tunnel: &TunnelStatus, notebook: &NotebookStatus) -> Option<&'static str> {
    let problem = notebook.problem.as_ref()?;
    if tunnel.state != "up" || problem.message.contains('·') {
        return None;
    }
    match problem.code.as_str() {
        "notebook_missing" => Some("ssh ok · no server"),
        "refused" => Some("ssh ok · port refused"),
        "not_yours" => Some("ssh ok · server not yours"),
        "token_refused" => Some("ssh ok · server ok · token refused"),
        "notebook_failed" => Some("ssh ok · server failed"),
        _ => None,
    }
}

/// Each notebook of a tunnel, for whoever asked for this one.
pub(crate) fn details(tunnel: &TunnelStatus, now_ms: u64, paint: Paint) -> String {
    let mut out = String::new();
    for notebook in &tunnel.notebooks {
        let place = match &notebook.url {
            Some(url) => plain(url),
            None => format!("localhost:{}", notebook.local_port),
        };
        let at = notebook.target.as_deref().map(|target| format!(" at {}", plain(target)));
        let state = format!("{}{}", plain(&notebook.state), at.unwrap_or_default());
        out += &format!("\n{}  {}  {state}\n", paint.bold(&plain(&notebook.name)), place);
        for line in [job(notebook, now_ms), server(notebook, now_ms)].into_iter().flatten() {
            out += &format!("  {}\n", paint.dim(&line));
        }
    }
    out
}

/// What a server says of itself. What it said long ago is said with its time.
fn server(notebook: &NotebookStatus, now_ms: u64) -> Option<String> {
    let server = notebook.server.as_ref()?;
    let mut said = Vec::new();
    said.extend(server.version.as_deref().map(|version| format!("version {}", plain(version))));
    said.extend(server.kernels.map(|kernels| match (kernels, server.busy) {
        (1, Some(1)) => "1 kernel, busy".to_owned(),
        (1, _) => "1 kernel".to_owned(),
        (many, Some(busy)) if busy > 0 => format!("{many} kernels, {busy} busy"),
        (many, _) => format!("{many} kernels"),
    }));
    said.extend(server.last_activity.as_deref().map(|at| format!("last activity {}", activity(at, now_ms))));
    if said.is_empty() {
        return None;
    }
    let old = now_ms.checked_sub(server.asked_ms).filter(|ms| *ms > 60_000 && server.asked_ms > 0);
    let old = old.map(|ms| format!(" (as of {} ago)", duration(ms as f64 / 1000.0)));
    Some(said.join(", ") + &old.unwrap_or_default())
}

/// How long ago that was, where it is a time that we can read.
fn activity(at: &str, now_ms: u64) -> String {
    let at_ms = at.parse::<jiff::Timestamp>().ok().and_then(|at| u64::try_from(at.as_millisecond()).ok());
    match at_ms.and_then(|at_ms| now_ms.checked_sub(at_ms)) {
        Some(ms) => format!("{} ago", duration(ms as f64 / 1000.0)),
        None => plain(at),
    }
}

/// A cluster's job: why it waits, or how long it still has.
fn job(notebook: &NotebookStatus, now_ms: u64) -> Option<String> {
    let job = notebook.job.as_ref()?;
    let mut said = vec![format!("job {} {}", job.id, plain(&job.state).to_lowercase())];
    said.extend(job.node.as_deref().map(|node| format!("on {}", plain(node))));
    said.extend(job.reason.as_deref().map(|reason| format!("({})", plain(reason))));
    let mut out = said.join(" ");
    if let Some(starts_ms) = job.starts_ms {
        let begins_in =
            starts_ms.checked_sub(now_ms).map(|ms| format!(", in {}", duration(ms as f64 / 1000.0)));
        out += &format!(", expected to start {}{}", local_time(starts_ms), begins_in.unwrap_or_default());
    }
    if let Some(left) = job.left_s {
        out += &format!(", {} left", duration(left));
    }
    Some(out)
}
