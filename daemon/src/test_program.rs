//! Programs that tests write and run.

use std::path::Path;
use std::process::Command;

/// Writes a program that a test runs. Another process does: if this one had the file open for writing, a child that
/// another test forks at that moment would, too, and until its exec nobody could run the program (ETXTBSY, execve(2)).
pub(crate) fn write_program(path: &Path, text: &str) {
    let mut command = Command::new("sh");
    command.args(["-c", "printf %s \"$1\" >\"$2\" && chmod 700 \"$2\"", "sh", text]).arg(path);
    assert!(command.status().unwrap().success());
}
