//! Reads a command line of `ssh(1)` for `nbctl add`: what a tunnel keeps, what it does anyway and so leaves
//! out with a word, and what it cannot honour and so refuses by name. Pure.

mod destination;
mod options;

use crate::exit::{CommandError, Exit};

/// What a tunnel file is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tunnel {
    /// A name or an address, without brackets.
    pub host: String,
    pub user: Option<String>,
    pub port: Option<u16>,
    /// In the grammar of `ssh -L`.
    pub forwards: Vec<String>,
    /// In the grammar of `ssh -R`.
    pub remotes: Vec<String>,
    /// In the grammar of `ssh -D`.
    pub dynamics: Vec<String>,
    pub identity_files: Vec<String>,
    /// Durations, as the file writes them.
    pub keepalive: Option<String>,
    pub connect_timeout: Option<String>,
    /// `strict` or `accept-new`.
    pub host_key: Option<&'static str>,
    pub known_hosts: Vec<String>,
    /// What was left out, in one sentence each.
    pub notes: Vec<String>,
}

impl Tunnel {
    /// Whether there is anything to forward.
    pub(crate) fn leads_somewhere(&self) -> bool {
        [&self.forwards, &self.remotes, &self.dynamics].iter().any(|forwards| !forwards.is_empty())
    }
}

/// Flags that a tunnel goes without, since it does so anyway or has no use for it.
const LEFT_OUT: &str = "46CMNTafknqtvxy";
/// The same, with an argument.
const LEFT_OUT_ARG: &str = "ESe";
/// Options with an argument that are kept.
const KEPT: &str = "DLRilop";

/// Why the other options of ssh(1) are refused.
fn refusal(flag: char) -> Option<(&'static str, &'static str)> {
    const FORWARDS: &str = "a tunnel makes forwards of ports and sockets (-L, -R, -D); leave it out";
    const CONFIG: &str = "this version reads no ssh_config; write what it says into the command line";
    Some(match flag {
        'W' => ("a forward of standard input and output", FORWARDS),
        'w' => ("a tunnel device", FORWARDS),
        'J' => ("a jump host", "this version connects directly; run it where the host can be reached"),
        'F' => ("another ssh_config", CONFIG),
        'b' | 'B' => ("the address to connect from", "leave it out; the system chooses the address"),
        'A' => ("agent forwarding", "leave it out; a tunnel runs nothing that could use the agent"),
        'K' => ("forwarding of credentials", "leave it out; a tunnel runs nothing that could use them"),
        'X' | 'Y' => ("X11 forwarding", "leave it out; a tunnel runs nothing that could open a window"),
        'c' | 'm' => ("a choice of algorithms", "leave it out; the best that both sides have is taken"),
        'I' => ("a PKCS#11 library", "load it into an agent with `ssh-add -s`, and leave it out here"),
        'g' => (
            "forwards open to other machines",
            "say so for each forward, as in -L '*:6000:localhost:7000', and leave it out",
        ),
        's' => ("a subsystem", "leave it out; a tunnel runs nothing at the far end"),
        'O' | 'P' | 'Q' | 'G' | 'V' => ("no connection", "give a command line that connects"),
        _ => return None,
    })
}

/// Reads a whole command line in one string, quoted as for a POSIX shell.
///
/// # Errors
/// [`Exit::Usage`] with what is wrong with it.
pub(crate) fn parse_line(line: &str) -> Result<Tunnel, CommandError> {
    let words = shell_words::split(line).map_err(|_| {
        refuse(
            "the command line has a quote that is not closed",
            "put the whole line between quotes: 'ssh …'",
        )
    })?;
    parse(&words)
}

/// Reads a command line that a shell has split already.
///
/// # Errors
/// [`Exit::Usage`] with what is wrong with it.
pub(crate) fn parse(words: &[String]) -> Result<Tunnel, CommandError> {
    let (first, mut rest) = words.split_first().map_or(("", words), |(first, rest)| (first.as_str(), rest));
    if !matches!(first.rsplit(['/', '\\']).next(), Some("ssh" | "ssh.exe")) {
        return Err(refuse(
            format!("the command line begins with {first:?}, not with ssh"),
            "give it as in `nbctl add 'ssh -N -L 6000:localhost:7000 me@host'`",
        ));
    }
    let mut tunnel = Tunnel::default();
    if let Some((last, before)) = rest.split_last()
        && last == "&"
    {
        rest = before;
    }
    let mut host_known = false;
    while let Some((word, after)) = rest.split_first() {
        let here = rest;
        rest = after;
        match word.strip_prefix('-') {
            // After it comes the host, and then the remote command.
            Some("-") => {
                if !host_known && let Some((host, after)) = rest.split_first() {
                    destination::read(&mut tunnel, host)?;
                    host_known = true;
                    rest = after;
                }
                note_command(&mut tunnel, rest);
                break;
            }
            Some(cluster) if !cluster.is_empty() => rest = flags(&mut tunnel, cluster, rest)?,
            // As in ssh, options may also follow the host; the first other word begins the remote command.
            _ if host_known => {
                note_command(&mut tunnel, here);
                break;
            }
            _ => {
                destination::read(&mut tunnel, word)?;
                host_known = true;
            }
        }
    }
    if host_known {
        Ok(tunnel)
    } else {
        Err(refuse("the command line names no host", "add it at the end, as in me@host.example.org"))
    }
}

/// Reads the flags in one word (`-Nf`, `-p2222`, `-NfL arg`). Gives back what follows the argument of the last.
fn flags<'a>(
    tunnel: &mut Tunnel,
    cluster: &str,
    mut rest: &'a [String],
) -> Result<&'a [String], CommandError> {
    let mut chars = cluster.chars();
    while let Some(flag) = chars.next() {
        if let Some((what, hint)) = refusal(flag) {
            return Err(refuse(format!("-{flag} ({what}) cannot be honoured"), hint));
        }
        if LEFT_OUT.contains(flag) {
            note_flag(tunnel, flag);
            continue;
        }
        if !KEPT.contains(flag) && !LEFT_OUT_ARG.contains(flag) {
            return Err(refuse(format!("-{flag} is no option of ssh"), "see ssh(1)"));
        }
        let argument = match chars.as_str() {
            "" => {
                let Some((argument, after)) = rest.split_first() else {
                    return Err(refuse(format!("-{flag} lacks its argument"), "see ssh(1)"));
                };
                rest = after;
                argument.as_str()
            }
            inline => inline,
        };
        match flag {
            'L' => tunnel.forwards.push(argument.to_owned()),
            'R' => tunnel.remotes.push(argument.to_owned()),
            'D' => tunnel.dynamics.push(argument.to_owned()),
            'i' => tunnel.identity_files.push(argument.to_owned()),
            'l' => destination::set_user(tunnel, argument)?,
            'p' => destination::set_port(tunnel, argument)?,
            'o' => options::read(tunnel, argument)?,
            _ => note_flag(tunnel, flag),
        }
        break;
    }
    Ok(rest)
}

fn note_flag(tunnel: &mut Tunnel, flag: char) {
    let why = match flag {
        'N' | 'T' | 't' | 'n' => "a tunnel never runs a command",
        'f' => "nbtunneld is in the background already",
        'v' | 'q' | 'E' | 'y' => "`nbctl logs` says what happens",
        'C' => "nothing is compressed in this version",
        '4' | '6' => "every address of the host is tried",
        'M' | 'S' => "nbtunneld keeps its connections itself",
        'a' | 'k' | 'x' => "nothing of the kind is forwarded anyway",
        _ => "a tunnel has no terminal",
    };
    note(tunnel, format!("-{flag} is left out: {why}"));
}

fn note(tunnel: &mut Tunnel, text: String) {
    if !tunnel.notes.contains(&text) {
        tunnel.notes.push(text);
    }
}

fn note_command(tunnel: &mut Tunnel, command: &[String]) {
    if !command.is_empty() {
        note(tunnel, format!("the remote command is left out: {}", shell_words::join(command)));
    }
}

fn refuse(message: impl Into<String>, hint: impl Into<String>) -> CommandError {
    CommandError::new(Exit::Usage, message, hint)
}

/// Reads the parts that `nbctl add --host` gives by themselves.
///
/// # Errors
/// [`Exit::Usage`] with what is wrong with them.
pub(crate) fn from_parts(host: &str, user: Option<&str>, port: Option<&str>) -> Result<Tunnel, CommandError> {
    let mut tunnel = Tunnel::default();
    if let Some(user) = user {
        destination::set_user(&mut tunnel, user)?;
    }
    if let Some(port) = port {
        destination::set_port(&mut tunnel, port)?;
    }
    destination::read(&mut tunnel, host)?;
    Ok(tunnel)
}

#[cfg(test)]
mod tests;
