//! Whether ssh_config knows a word as a Host. ssh itself says so: what it would do there is not what it would do for
//! a name that nobody gave.

use std::process::{Command, Stdio};

use nbctl::ssh_line;

use crate::ssh_program::ssh;

/// A name that no Host stands for but `*`; RFC 6761 keeps it out of DNS.
const NOBODY: &str = "nbtunnel-nobody.invalid";

/// Whether `word` is a Host of ssh_config, or fits the pattern of one.
pub(super) fn is_known(word: &str) -> bool {
    // What could be read as an option, or by a shell that a `Match exec` runs, is not asked for.
    let is_plain = ssh_line::from_parts(word, None, None).is_ok_and(|tunnel| tunnel.host == word);
    is_plain && matches!((answer(word), answer(NOBODY)), (Some(word), Some(nobody)) if word != nobody)
}

/// What ssh would do for `host`, as far as it differs between hosts for another reason than their names.
fn answer(host: &str) -> Option<Vec<String>> {
    let mut command = Command::new(ssh());
    // The name of a control socket may hold a hash of the host.
    let output =
        command.args(["-G", "-o", "ControlPath=none", "--", host]).stdin(Stdio::null()).output().ok()?;
    let text = output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())?;
    let lower = host.to_ascii_lowercase();
    let differs = |line: &&str| !line.starts_with("host ");
    // `HostName %h.example.org` says the same of every name.
    let named = |line: &str| match line.strip_prefix("hostname ").and_then(|name| name.strip_prefix(&lower)) {
        Some(rest) => format!("hostname %h{rest}"),
        None => line.to_owned(),
    };
    Some(text.lines().filter(differs).map(named).collect())
}
