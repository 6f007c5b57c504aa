//! What stands before the options of a command line: a prompt that was copied along, variables, the program itself.

use super::{Refusal, Tunnel, lasting, leave_out, options};

/// Whose command line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Ssh,
    /// `autossh(1)`: takes ssh's own, and a port of its own after `-M`.
    AutoSsh,
}

/// Programs that only run another one in some way that means nothing here.
const RUNNERS: &[&str] = &["command", "env", "exec", "nohup", "setsid", "time", "winpty"];

/// The name of the program that `word` would run.
pub(super) fn name(word: &str) -> &str {
    let name = word.rsplit(['/', '\\']).next().unwrap_or(word);
    match name.len().checked_sub(4).and_then(|at| name.split_at_checked(at)) {
        Some((stem, end)) if end.eq_ignore_ascii_case(".exe") => stem,
        _ => name,
    }
}

/// Whether `word` would run ssh, or what takes its options.
pub fn is_ssh(word: &str) -> bool {
    matches!(name(word), "ssh" | "autossh")
}

/// `NAME=…`: the name.
pub fn assigned(word: &str) -> Option<&str> {
    let (name, _) = word.split_once('=')?;
    let is_name = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some(name)
}

/// Reads what stands before the options. Gives back what follows.
pub(super) fn read<'a>(tunnel: &mut Tunnel, words: &'a [String]) -> Result<(Program, &'a [String]), Refusal> {
    let mut rest = words;
    while let Some((word, after)) = rest.split_first() {
        rest = after;
        if let Some(variable) = assigned(word) {
            assign(tunnel, variable, &word[variable.len() + 1..])?;
            continue;
        }
        match name(word) {
            "ssh" => return Ok((Program::Ssh, rest)),
            "autossh" => return Ok((Program::AutoSsh, rest)),
            runner if RUNNERS.contains(&runner) => {
                leave_out(tunnel, runner, "nbtunneld runs its tunnels by itself");
            }
            // `me@laptop:~$ ssh …`
            _ if word.ends_with(['$', '%', '#', '>']) && after.first().is_some_and(|word| is_ssh(word)) => {}
            _ => return Err(other(word, after)),
        }
    }
    Err(other("", &[]))
}

fn assign(tunnel: &mut Tunnel, variable: &str, value: &str) -> Result<(), Refusal> {
    match variable {
        "SSH_AUTH_SOCK" => options::hand_on(tunnel, "IdentityAgent", &lasting(value)?),
        _ => leave_out(tunnel, &format!("{variable}=…"), "nbtunneld has an environment of its own"),
    }
    Ok(())
}

/// Why another program's command line was not taken, and what does here what it does.
fn other(word: &str, after: &[String]) -> Refusal {
    let first = after.first().map_or("", String::as_str);
    match name(word).to_ascii_lowercase().as_str() {
        "ssh-keygen" => {
            let asks = |flag: &str, value: &str| {
                after.windows(2).any(|pair| pair == [flag, value])
                    || after.contains(&format!("{flag}{value}"))
            };
            let bits = after.windows(2).find(|pair| pair[0] == "-b").map(|pair| pair[1].as_str());
            let bits = bits.filter(|bits| bits.parse::<u16>().is_ok()).unwrap_or("4096");
            let instead = match asks("-t", "rsa") {
                true => format!("nbctl keygen --rsa {bits}"),
                false => "nbctl keygen".to_owned(),
            };
            Refusal::new("ssh-keygen makes a key, and no tunnel", format!("`{instead}` makes one as well"))
        }
        program if starts_notebook(program, first) => {
            let plain =
                first.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') && !first.starts_with('-');
            let words =
                if plain && !first.is_empty() { format!("{program} {first}") } else { program.to_owned() };
            Refusal::new(
                format!("{words} starts a notebook at the far end, and no tunnel"),
                format!(
                    "add the tunnel with a line of ssh, as in `nbctl add 'ssh me@host.example.org'`; it finds the \
                     notebook that runs there, and starts one if its [notebook.NAME] has \
                     start = \"{words} --no-browser --port={{port}}\""
                ),
            )
        }
        "sshpass" => Refusal::new(
            "sshpass hands over a password from a command line or a file, which cannot be honoured",
            "leave it out, and answer with `nbctl unlock NAME` when the server asks",
        ),
        "sudo" | "doas" => Refusal::new(
            format!("{word} makes ssh log in with the keys of another user, which cannot be honoured"),
            "leave it out; a tunnel needs no right of root but for local ports below 1024",
        ),
        "putty" | "plink" | "kitty" => Refusal::new(
            format!("{word} has options of its own, which are not those of ssh"),
            "write it as for ssh, with -p for the port, as in `nbctl add ssh -p 2222 me@host.example.org`",
        ),
        // It may hold a token.
        _ if word.contains("://") => Refusal::new(
            "the command line begins with an address, not with ssh",
            "give the address of a notebook as an argument of its own, in quotes",
        ),
        _ => Refusal::new(
            format!("the command line begins with {word:?}, not with ssh"),
            "give it as in `nbctl add 'ssh -N -L 6000:localhost:7000 me@host'`",
        ),
    }
}

/// Whether a command for a shell does so, somewhere in it.
pub(super) fn would_start_notebook(command: &[String]) -> bool {
    let words: Vec<&str> =
        command.iter().flat_map(|word| word.split([' ', ';', '&', '|', '\t', '\n'])).collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    (0..words.len()).any(|at| starts_notebook(words[at], words.get(at + 1).unwrap_or(&"")))
}

/// Whether `program first …` starts a notebook server.
pub fn starts_notebook(program: &str, first: &str) -> bool {
    match name(program) {
        "jupyter-lab" | "jupyter-notebook" | "jupyter-server" | "jupyter-nbclassic" => true,
        "ipython" | "ipython3" | "jupyter" => {
            matches!(first, "lab" | "notebook" | "server" | "nbclassic") || first.starts_with("--no-browser")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_known_by_its_name_wherever_it_lies() {
        for word in ["ssh", "/usr/bin/ssh", r"C:\Windows\System32\OpenSSH\ssh.exe", "ssh.EXE", "autossh"] {
            assert!(is_ssh(word), "{word}");
        }
        for word in ["", "ssh.", "sshd", "ssh-keygen", "ssh/x", ".exe"] {
            assert!(!is_ssh(word), "{word}");
        }
    }

    #[test]
    fn what_other_programs_do_is_done_otherwise_here() {
        for (line, hint) in [
            ("ssh-keygen -t rsa -b 4096", "`nbctl keygen --rsa 4096`"),
            ("ssh-keygen -trsa -b 2048", "`nbctl keygen --rsa 2048`"),
            ("ssh-keygen -t ed25519", "`nbctl keygen` makes"),
            ("ssh-keygen", "`nbctl keygen` makes"),
            (
                "ipython notebook --no-browser --port=7000",
                "start = \"ipython notebook --no-browser --port={port}\"",
            ),
            ("jupyter-lab --no-browser", "start = \"jupyter-lab --no-browser --port={port}\""),
            ("sshpass -p secret ssh h", "nbctl unlock"),
            ("sudo ssh h", "leave it out"),
            ("PUTTY.EXE -ssh me@h -P 2222", "`nbctl add ssh -p 2222"),
        ] {
            let refusal = super::super::parse_line(line).unwrap_err();
            assert!(refusal.hint.contains(hint), "{line}: {refusal:?}");
            assert!(!format!("{refusal:?}").contains("secret"));
        }
    }
}
