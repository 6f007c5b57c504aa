//! The table of `nbctl status`, and the notes below it. Pure: status in, text out.

use std::time::Duration;

use nbtunnel_proto::{FileProblem, ForwardStatus, Problem, Status, TunnelStatus};

use crate::text::{Paint, duration, plain};

mod notebooks;

pub(crate) use notebooks::details;

const HEAD: [&str; 5] = ["NAME", "STATE", "FORWARD", "HOST", "SINCE"];

/// The whole screen.
pub(crate) fn render(status: &Status, paint: Paint) -> String {
    let mut out = String::new();
    if status.tunnels.is_empty() {
        out += "no tunnels";
        out += &format!("; they are read from {}\n", plain(&status.daemon.config_dir));
    } else {
        out += &table(&status.tunnels, paint);
    }
    let notes = notes(status, paint);
    if !notes.is_empty() {
        out.push('\n');
        out += &notes;
    }
    out
}

fn table(tunnels: &[TunnelStatus], paint: Paint) -> String {
    let rows: Vec<(Option<&TunnelStatus>, [String; 5])> = tunnels.iter().flat_map(rows).collect();
    let mut widths = HEAD.map(|head| head.chars().count());
    for (_, row) in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = line(&HEAD.map(str::to_owned), &widths, |_, cell| paint.bold(cell));
    for (tunnel, row) in &rows {
        out += &line(row, &widths, |column, cell| match (column, tunnel) {
            (1, Some(tunnel)) => paint_state(tunnel, cell, paint),
            (4, _) => paint.dim(cell),
            _ => cell.to_owned(),
        });
    }
    out
}

/// A tunnel's first line, and one more for each further forward.
fn rows(tunnel: &TunnelStatus) -> Vec<(Option<&TunnelStatus>, [String; 5])> {
    let mut forwards = tunnel.forwards.iter().map(|one| forward(tunnel, one));
    let host = match (tunnel.user.as_str(), tunnel.port) {
        ("", 22) => plain(&tunnel.host),
        ("", port) => format!("{}:{port}", plain(&tunnel.host)),
        (user, 22) => format!("{}@{}", plain(user), plain(&tunnel.host)),
        (user, port) => format!("{}@{}:{port}", plain(user), plain(&tunnel.host)),
    };
    let first = [
        plain(&tunnel.name),
        state(tunnel),
        forwards.next().unwrap_or_else(|| "-".to_owned()),
        host,
        duration(tunnel.since_s),
    ];
    let further =
        forwards.map(|text| (None, [String::new(), String::new(), text, String::new(), String::new()]));
    std::iter::once((Some(tunnel), first)).chain(further).collect()
}

fn forward(tunnel: &TunnelStatus, forward: &ForwardStatus) -> String {
    let mut text = format!("{} -> {}", place_of(forward), notebooks::target(tunnel, forward));
    if forward.problem.is_some() {
        text += " (!)";
    }
    let counts = [(forward.open.into(), "open"), (forward.held.into(), "held"), (forward.refused, "refused")];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, word)| format!("{count} {word}")).collect();
    if !counts.is_empty() {
        text += &format!(" [{}]", counts.join(", "));
    }
    text
}

/// Where it listens, and on which side.
fn place_of(forward: &ForwardStatus) -> String {
    let listen = plain(&forward.listen);
    if forward.kind.starts_with("remote") { format!("remote {listen}") } else { listen }
}

fn state(tunnel: &TunnelStatus) -> String {
    let state = plain(&tunnel.state);
    let suspect = tunnel.health.as_deref() == Some("suspect");
    match (&tunnel.step, tunnel.retry_in_s) {
        // Whatever else is going on: that it may not answer is what its user has to know.
        _ if suspect => format!("{state} (suspect)"),
        (Some(_), _) if tunnel.asking.as_deref() == Some("you") => format!("{state} (asks you)"),
        (Some(_), _) if tunnel.asking.is_some() => format!("{state} (the agent asks)"),
        (Some(step), _) => format!("{state} ({})", plain(step)),
        (None, Some(seconds)) => format!("{state}, again in {}", duration(seconds)),
        (None, None) => state,
    }
}

fn paint_state(tunnel: &TunnelStatus, cell: &str, paint: Paint) -> String {
    match tunnel.state.as_str() {
        "up" if tunnel.health.as_deref() == Some("suspect") => paint.yellow(cell),
        "up" => paint.green(cell),
        "parked" => paint.red(cell),
        "stopped" | "idle" => paint.dim(cell),
        _ => paint.yellow(cell),
    }
}

fn line(cells: &[String; 5], widths: &[usize; 5], paint: impl Fn(usize, &str) -> String) -> String {
    let mut out = String::new();
    let mut gap = 0;
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        if !cell.is_empty() {
            out += &" ".repeat(gap);
            out += &paint(column, cell);
            gap = 0;
        }
        gap += width - if cell.is_empty() { 0 } else { cell.chars().count() } + 2;
    }
    out.push('\n');
    out
}

fn notes(status: &Status, paint: Paint) -> String {
    let mut out = String::new();
    for tunnel in &status.tunnels {
        if let Some(problem) = &tunnel.problem {
            out += &note(&tunnel.name, problem, paint);
        }
        for forward in &tunnel.forwards {
            if let Some(problem) = &forward.problem {
                out += &note(&format!("{} {}", tunnel.name, place_of(forward)), problem, paint);
            }
            if let Some(note) = &forward.note {
                let who = plain(&format!("{} {}", tunnel.name, place_of(forward)));
                out += &format!("{} {who}: {}\n", paint.yellow("note:"), plain(note));
            }
        }
        out += &notebooks::notes(tunnel, status.daemon.now_ms, paint);
    }
    for problem in FileProblem::once_each(&status.problems) {
        out += &file_note(&problem, paint);
    }
    out
}

/// What a tunnel went through, for whoever asked for this one. Empty where nothing happened yet.
pub(crate) fn past(tunnel: &TunnelStatus, now_ms: u64, paint: Paint) -> String {
    let history = &tunnel.history;
    let mut said = Vec::new();
    if !tunnel.via.is_empty() {
        let via: Vec<String> = tunnel.via.iter().map(|machine| plain(machine)).collect();
        said.push(format!("by way of {}", via.join(" > ")));
    }
    match history.reconnects {
        0 => {}
        1 => said.push("reconnected once".to_owned()),
        times => said.push(format!("reconnected {times} times")),
    }
    if history.up_s >= 1.0 {
        said.push(format!("up {} in all", duration(history.up_s)));
    }
    if history.longest_gap_s >= 1.0 {
        said.push(format!("longest gap {}", duration(history.longest_gap_s)));
    } else if history.longest_gap_s > 0.0 {
        said.push("no gap as long as a second".to_owned());
    }
    // What is wrong now was told above.
    let now = tunnel.problem.as_ref().map(|problem| &problem.message);
    if let Some(failure) = history.last_failure.as_ref().filter(|failure| now != Some(&failure.message)) {
        // The clock may have been set back since: then nobody knows how long ago it was.
        let ago = now_ms.checked_sub(failure.at_ms).map(|ms| Duration::from_millis(ms).as_secs_f64());
        let ago = ago.map(|ago| format!(" {} ago", duration(ago))).unwrap_or_default();
        said.push(format!("last failure{ago}: {}", plain(&failure.message)));
    }
    match tunnel.draining {
        0 => {}
        1 => said.push("an older session finishes what it carries".to_owned()),
        many => said.push(format!("{many} older sessions finish what they carry")),
    }
    if said.is_empty() { String::new() } else { format!("\n{}\n", paint.dim(&said.join(", "))) }
}

fn note(who: &str, problem: &Problem, paint: Paint) -> String {
    two_lines(&format!("{}: {}", plain(who), plain(&problem.message)), &problem.hint, paint)
}

fn two_lines(first: &str, hint: &str, paint: Paint) -> String {
    let mut out = format!("{}\n", paint.red(first));
    if !hint.is_empty() {
        out += &format!("  {} {}\n", paint.dim("hint:"), plain(hint));
    }
    out
}

fn file_note(problem: &FileProblem, paint: Paint) -> String {
    two_lines(&format!("{}{}", place(problem), plain(&problem.message)), &problem.hint, paint)
}

/// `file:line:column: `, as far as it is known.
fn place(problem: &FileProblem) -> String {
    let Some(file) = &problem.file else { return String::new() };
    let mut out = plain(file);
    if let Some(line) = problem.line {
        out += &format!(":{line}");
        if let Some(column) = problem.column {
            out += &format!(":{column}");
        }
    }
    out + ": "
}

/// A problem as a compiler shows it: where, the line, a caret below the column, the hint.
pub(crate) fn diagnosis(problem: &FileProblem, paint: Paint) -> String {
    let mut out = format!("{}{}\n", paint.bold(&place(problem)), paint.red(&plain(&problem.message)));
    if let (Some(source), Some(line)) = (&problem.source, problem.line) {
        let number = line.to_string();
        out += &format!("  {} | {}\n", paint.dim(&number), plain(source));
        if let Some(column) = problem.column.filter(|column| *column > 0) {
            // `plain` keeps one character for each, so that the column still fits; a very long line stays so.
            let pad = (column as usize - 1).min(source.chars().count());
            out += &format!("  {} | {}{}\n", " ".repeat(number.len()), " ".repeat(pad), paint.red("^"));
        }
    }
    if !problem.hint.is_empty() {
        out += &format!("  {} {}\n", paint.dim("hint:"), plain(&problem.hint));
    }
    out
}

#[cfg(test)]
mod tests;
