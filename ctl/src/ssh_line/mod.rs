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
    /// In the grammar of `ssh -J`, nearest first.
    pub jump: Vec<String>,
    pub identity_files: Vec<String>,
    /// `ssh -F`.
    pub ssh_config: Option<String>,
    /// As after `ssh -o`.
    pub options: Vec<String>,
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

    /// `ssh -J`: the way leads over these machines, unless it is known already.
    pub(crate) fn go_over(&mut self, hosts: &str) {
        destination::set_jump(self, hosts);
    }

    /// `ssh -o`.
    ///
    /// # Errors
    /// [`Exit::Usage`] with what is wrong with it.
    pub(crate) fn take_option(&mut self, option: &str) -> Result<(), CommandError> {
        options::read(self, option)
    }
}

/// Flags that a tunnel goes without, since it does so anyway or has no use for it.
const LEFT_OUT: &str = "AMNTXYafknqtvxy";
/// The same, with an argument.
const LEFT_OUT_ARG: &str = "ESe";
/// Options with an argument that are kept.
const KEPT: &str = "BDFJLPRbcilmop";

/// Flags that are short for keywords of ssh_config(5).
fn short_for(flag: char) -> &'static [(&'static str, &'static str)] {
    match flag {
        '4' => &[("AddressFamily", "inet")],
        '6' => &[("AddressFamily", "inet6")],
        'C' => &[("Compression", "yes")],
        'K' => &[("GSSAPIAuthentication", "yes"), ("GSSAPIDelegateCredentials", "yes")],
        'g' => &[("GatewayPorts", "yes")],
        _ => &[],
    }
}

/// Why the other options of ssh(1) are refused.
fn refusal(flag: char) -> Option<(&'static str, &'static str)> {
    const FORWARDS: &str = "a tunnel makes forwards of ports and sockets (-L, -R, -D); leave it out";
    Some(match flag {
        'W' => ("a forward of standard input and output", FORWARDS),
        'w' => ("a tunnel device", FORWARDS),
        'I' => ("a PKCS#11 library", "load it into an agent with `ssh-add -s`, and leave it out here"),
        's' => ("a subsystem", "leave it out; a tunnel runs nothing at the far end"),
        'O' | 'Q' | 'G' | 'V' => ("no connection", "give a command line that connects"),
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
        if !short_for(flag).is_empty() {
            short_for(flag).iter().for_each(|(keyword, value)| options::hand_on(tunnel, keyword, value));
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
            'J' => tunnel.go_over(argument),
            'F' if argument == "none" => {
                tunnel.ssh_config.get_or_insert_with(|| argument.to_owned());
            }
            'F' => {
                let file = lasting(argument)?;
                tunnel.ssh_config.get_or_insert(file);
            }
            'B' => options::hand_on(tunnel, "BindInterface", argument),
            'P' => options::hand_on(tunnel, "Tag", argument),
            'b' => options::hand_on(tunnel, "BindAddress", argument),
            'c' => options::hand_on(tunnel, "Ciphers", argument),
            'm' => options::hand_on(tunnel, "MACs", argument),
            'i' => tunnel.identity_files.push(argument.to_owned()),
            'l' => destination::set_user(tunnel, argument)?,
            'p' => destination::set_port(tunnel, argument)?,
            'o' => tunnel.take_option(argument)?,
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
        'M' | 'S' => "nbtunneld keeps its connections itself",
        'A' => "a tunnel runs nothing that could use the agent",
        'X' | 'Y' => "a tunnel runs nothing that could open a window",
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

/// A path as it still means the same tomorrow: ssh(1) reads it from the directory where it was typed, the
/// daemon has another one. What begins with a token of ssh_config(5) is whole.
///
/// # Errors
/// It holds a variable, or the current directory cannot be found.
pub(crate) fn lasting(path: &str) -> Result<String, CommandError> {
    if path.contains('$') {
        return Err(CommandError::new(
            Exit::Usage,
            format!("{path} holds a variable, and no shell reads it here"),
            "write ~ for your home directory, or the whole path",
        ));
    }
    if path.is_empty() || path.starts_with(['~', '%']) {
        return Ok(path.to_owned());
    }
    let whole = std::path::absolute(path).map_err(|error| {
        CommandError::new(
            Exit::Failed,
            format!("{path} is meant from the current directory, which cannot be found: {error}"),
            "write the whole path",
        )
    })?;
    Ok(whole.to_string_lossy().into_owned())
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
