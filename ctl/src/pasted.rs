//! `nbctl add ssh me@host -p 2222`: a command line that was pasted without quotes. What begins with the program is set
//! apart, as if `--` stood before it, so that its options are not taken for ours.

use std::ffi::OsString;

use clap::CommandFactory;
use nbctl::ssh_line::{assigned, is_ssh, starts_notebook};

use crate::args::Cli;

/// The arguments of nbctl, with `--` before what was pasted.
pub(crate) fn set_apart(mut args: Vec<OsString>) -> Vec<OsString> {
    if let Some(at) = begins(&args) {
        args.insert(at, "--".into());
    }
    args
}

/// Where a pasted command line begins.
fn begins(args: &[OsString]) -> Option<usize> {
    let text = |at: usize| args.get(at).and_then(|arg| arg.to_str()).unwrap_or_default();
    let cli = Cli::command();
    let add = next_word(&cli, args, 1).filter(|at| text(*at) == "add")?;
    let command = cli.find_subcommand("add")?;
    let mut at = add + 1;
    // At most a name stands before it.
    for _ in 0..2 {
        at = next_word(command, args, at)?;
        let begin = at;
        while assigned(text(at)).is_some() {
            at += 1;
        }
        let is_other = at == add + 1 && (text(at) == "ssh-keygen" || starts_notebook(text(at), text(at + 1)));
        // A whole line in one argument needs nothing of the kind.
        if is_ssh(text(at)) || is_other {
            return Some(begin);
        }
        at = begin + 1;
    }
    None
}

/// The first word from `at` on that is neither an option of `command` nor the value of one; none after `--`.
fn next_word(command: &clap::Command, args: &[OsString], mut at: usize) -> Option<usize> {
    loop {
        let word = args.get(at)?.to_str()?;
        if word == "--" {
            return None;
        }
        if word == "-" || !word.starts_with('-') {
            return Some(at);
        }
        at += if takes_next(command, word) { 2 } else { 1 };
    }
}

/// Whether the word after the option `word` is its value.
fn takes_next(command: &clap::Command, word: &str) -> bool {
    let globals = Cli::command();
    let found =
        command.get_arguments().chain(globals.get_arguments()).find(|arg| match word.strip_prefix("--") {
            Some(long) => arg.get_long() == Some(long),
            // `-p2222` has its value with it.
            None => arg
                .get_short()
                .is_some_and(|short| word.strip_prefix('-') == Some(short.to_string().as_str())),
        });
    found.is_some_and(|arg| arg.get_action().takes_values())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        let args = set_apart(line.split(' ').map(OsString::from).collect());
        args.join(" ".as_ref()).into_string().unwrap()
    }

    #[test]
    fn what_was_pasted_is_set_apart() {
        for (line, expected) in [
            ("nbctl add ssh me@h -p 2222", "nbctl add -- ssh me@h -p 2222"),
            ("nbctl add alice ssh -N me@h", "nbctl add alice -- ssh -N me@h"),
            ("nbctl --json add /usr/bin/ssh h", "nbctl --json add -- /usr/bin/ssh h"),
            ("nbctl --socket add add ssh.exe h", "nbctl --socket add add -- ssh.exe h"),
            ("nbctl add --start demand a ssh h", "nbctl add --start demand a -- ssh h"),
            ("nbctl add LANG=C A=b autossh -M 0 h", "nbctl add -- LANG=C A=b autossh -M 0 h"),
            ("nbctl add ssh-keygen -t rsa -b 4096", "nbctl add -- ssh-keygen -t rsa -b 4096"),
            (
                "nbctl add ipython notebook --no-browser --port=7000",
                "nbctl add -- ipython notebook --no-browser --port=7000",
            ),
        ] {
            assert_eq!(shown(line), expected);
        }
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        for line in [
            "nbctl add alice -- ssh h",
            "nbctl add --tag ssh --host h",
            "nbctl add --host ssh -L 1:a:2",
            "nbctl add -l ssh --host h",
            "nbctl add jupyter --host h -L 1:a:2",
            "nbctl add a b ssh h",
            "nbctl status ssh",
            "nbctl rm add ssh",
            "nbctl",
            "nbctl add",
            "nbctl add A=b",
        ] {
            assert_eq!(shown(line), line);
        }
    }
}
