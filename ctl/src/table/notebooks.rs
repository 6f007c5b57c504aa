//! Notebooks in the table and below it: where each is, and which layer of the way to it breaks.

use nbtunnel_proto::{ForwardStatus, NotebookStatus, Problem, TunnelStatus};

use super::{note, two_lines};
use crate::text::{Paint, duration, local_time, plain};

/// What was seen so lately counts as seen now: looks are some seconds apart.
const LATELY_MS: u64 = 5_000;

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
pub(super) fn notes(tunnel: &TunnelStatus, now_ms: u64, paint: Paint) -> String {
    let mut out = String::new();
    for notebook in &tunnel.notebooks {
        let who = format!("{} {}", tunnel.name, notebook.name);
        if let Some(problem) = &notebook.problem {
            out += &match &notebook.health {
                Some(health) => {
                    two_lines(&format!("{}: {}", plain(&who), why(health, problem)), &problem.hint, paint)
                }
                None => note(&who, problem, paint),
            };
        }
        let waits = notebook.job.as_ref().is_some_and(|job| job.node.is_none());
        if let Some(job) = job(notebook, now_ms).filter(|_| waits) {
            out += &format!("{} {}: {job}\n", paint.yellow("note:"), plain(&who));
        }
        if let Some(note) = &notebook.note {
            out += &format!("{} {}: {}\n", paint.yellow("note:"), plain(&who), plain(note));
        }
    }
    out
}

/// The layers up to the one that breaks, and why it does where they do not say that.
fn why(health: &str, problem: &Problem) -> String {
    match health.contains(&problem.message) {
        true => plain(health),
        false => plain(&format!("{health}: {}", problem.message)),
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
        let lines = [job(notebook, now_ms), health(notebook, now_ms), server(notebook, now_ms)];
        for line in lines.into_iter().flatten() {
            out += &format!("  {}\n", paint.dim(&line));
        }
    }
    out
}

/// How far the way to it works, and since when, or when that was seen: it may be otherwise by now.
fn health(notebook: &NotebookStatus, now_ms: u64) -> Option<String> {
    let health = plain(notebook.health.as_ref()?);
    let ago = |at_ms: Option<u64>| at_ms.and_then(|at_ms| long_ago(at_ms, now_ms));
    let (since, seen) = (ago(notebook.health_since_ms), ago(notebook.health_ms));
    Some(match (since.filter(|_| notebook.problem.is_some()), seen) {
        (Some(since), _) => format!("{health}, for {since}"),
        (None, Some(seen)) => format!("{health}, {seen} ago"),
        (None, None) => health,
    })
}

/// How long ago that was, unless it was just now.
fn long_ago(at_ms: u64, now_ms: u64) -> Option<String> {
    let ms = now_ms.checked_sub(at_ms).filter(|ms| *ms >= LATELY_MS)?;
    Some(duration(ms as f64 / 1000.0))
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
    let old = Some(server.asked_ms).filter(|at_ms| *at_ms > 0).and_then(|at_ms| long_ago(at_ms, now_ms));
    Some(said.join(", ") + &old.map(|ago| format!(" (as of {ago} ago)")).unwrap_or_default())
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
