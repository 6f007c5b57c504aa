//! Reads a command line of `ssh(1)` for `nbctl add`: what a tunnel keeps, what it does anyway and so leaves
//! out with a word, and what it cannot honour and so refuses by name. Pure.

mod destination;
mod flags;
mod options;
mod program;
mod refusal;
mod refused;
mod words;

pub use program::{assigned, is_ssh, starts_notebook};
pub use refusal::Refusal;
pub use words::{Words, split};

use crate::server_url::{self, ServerUrl};

/// What a tunnel file is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tunnel {
    /// A name or an address, without brackets.
    pub host: String,
    /// Who logs in.
    pub user: Option<String>,
    /// That of the SSH server.
    pub port: Option<u16>,
    /// In the grammar of `ssh -L`.
    pub forwards: Vec<String>,
    /// In the grammar of `ssh -R`.
    pub remotes: Vec<String>,
    /// In the grammar of `ssh -D`.
    pub dynamics: Vec<String>,
    /// In the grammar of `ssh -J`, nearest first.
    pub jump: Vec<String>,
    /// `ssh -i`.
    pub identity_files: Vec<String>,
    /// `ssh -F`.
    pub ssh_config: Option<String>,
    /// As after `ssh -o`.
    pub options: Vec<String>,
    /// `ServerAliveInterval`, as the file writes it.
    pub keepalive: Option<String>,
    /// `ConnectTimeout`, as the file writes it.
    pub connect_timeout: Option<String>,
    /// `strict` or `accept-new`.
    pub host_key: Option<&'static str>,
    /// `UserKnownHostsFile`.
    pub known_hosts: Vec<String>,
    /// What is otherwise than it was given, in one sentence each.
    pub notes: Vec<String>,
    /// What was left out, and why.
    pub left_out: Vec<(String, String)>,
    /// The address of a notebook that stood among the words: no shell has a command of that name.
    pub server: Option<ServerUrl>,
}

impl Tunnel {
    /// Whether there is anything to forward.
    pub fn leads_somewhere(&self) -> bool {
        [&self.forwards, &self.remotes, &self.dynamics].iter().any(|forwards| !forwards.is_empty())
    }

    /// `ssh -J`: the way leads over these machines.
    ///
    /// # Errors
    /// It is known already.
    pub fn go_over(&mut self, hosts: &str) -> Result<(), Refusal> {
        if destination::has_way(self) {
            return Err(refuse(
                "-J cannot be honoured beside another -J, ProxyJump or ProxyCommand before it",
                "give one list, as in -J me@first,second",
            ));
        }
        destination::set_jump(self, hosts);
        Ok(())
    }

    /// `ssh -o`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn take_option(&mut self, option: &str) -> Result<(), Refusal> {
        options::read(self, option)
    }

    /// Carries out what options say of forwards, once all of both are known. Once more changes nothing.
    ///
    /// # Errors
    /// They contradict each other.
    pub fn settle(&mut self) -> Result<(), Refusal> {
        if self.leads_somewhere() && options::is_on(self, "ClearAllForwardings") {
            return Err(refuse(
                "-o ClearAllForwardings=yes would take away the forwards beside it",
                "leave out the one or the others",
            ));
        }
        // A tunnel's own forwards stay on this machine unless they say otherwise.
        if options::is_on(self, "GatewayPorts") {
            for forward in self.forwards.iter_mut().chain(&mut self.dynamics) {
                let first = forward.split(':').next().unwrap_or_default();
                if !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit()) {
                    forward.insert_str(0, "*:");
                }
            }
        }
        Ok(())
    }

    /// What its user should know: all that was left out in one line, and then what is otherwise.
    pub fn remarks(&self) -> Vec<String> {
        let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
        for (what, why) in &self.left_out {
            match reasons.iter_mut().find(|(known, _)| known == why) {
                Some((_, all)) => all.push(what),
                None => reasons.push((why, vec![what])),
            }
        }
        let reasons: Vec<String> =
            reasons.iter().map(|(why, all)| format!("{} ({why})", all.join(" "))).collect();
        let line = (!reasons.is_empty()).then(|| format!("left out: {}", reasons.join(", ")));
        line.into_iter().chain(self.notes.iter().cloned()).collect()
    }
}

/// Reads a whole command line in one string, quoted as for a POSIX shell.
///
/// # Errors
/// What is wrong with it.
pub fn parse_line(line: &str) -> Result<Tunnel, Refusal> {
    let Words { words, left_out } = split(line)?;
    let mut tunnel = parse(&words)?;
    left_out.iter().for_each(|(what, why)| leave_out(&mut tunnel, what, why));
    Ok(tunnel)
}

/// Reads a command line that a shell has split already.
///
/// # Errors
/// What is wrong with it.
pub fn parse(words: &[String]) -> Result<Tunnel, Refusal> {
    let mut tunnel = Tunnel::default();
    let (program, mut rest) = program::read(&mut tunnel, words)?;
    let mut host_known = false;
    while let Some((word, after)) = rest.split_first() {
        let here = rest;
        rest = after;
        let typed = typed(word);
        if typed != *word {
            note(&mut tunnel, format!("the typographic dash of {word:?} is taken for -"));
        }
        match typed.strip_prefix('-') {
            // After it comes the host, and then the remote command.
            Some("-") => {
                if !host_known && let Some((host, after)) = rest.split_first() {
                    destination::read(&mut tunnel, host)?;
                    host_known = true;
                    rest = after;
                }
                leave_out_command(&mut tunnel, rest)?;
                break;
            }
            Some(cluster) if !cluster.is_empty() => rest = flags::read(&mut tunnel, program, cluster, rest)?,
            _ if is_server(word, host_known) => take_server(&mut tunnel, word)?,
            // As in ssh, options may also follow the host; the first other word begins the remote command.
            _ if host_known => {
                leave_out_command(&mut tunnel, here)?;
                break;
            }
            _ => {
                destination::read(&mut tunnel, word)?;
                host_known = true;
            }
        }
    }
    if !host_known {
        return Err(refuse("the command line names no host", "add it at the end, as in me@host.example.org"));
    }
    tunnel.settle()?;
    Ok(tunnel)
}

/// What was typed where a page or a word processor made a longer dash of the `-` at the beginning of an option.
fn typed(word: &str) -> String {
    match word.strip_prefix(['\u{2010}', '\u{2011}', '\u{2012}', '\u{2013}', '\u{2014}', '\u{2212}']) {
        Some(rest) => format!("-{rest}"),
        None => word.to_owned(),
    }
}

/// Whether it is a notebook's address. Behind the host, what a command says or sets is its own.
fn is_server(word: &str, host_known: bool) -> bool {
    let is_command = word.trim().contains(char::is_whitespace) || program::assigned(word).is_some();
    !(host_known && is_command) && server_url::meant(word).is_some()
}

/// Takes the address of a notebook that was pasted along with the line.
fn take_server(tunnel: &mut Tunnel, word: &str) -> Result<(), Refusal> {
    let url = server_url::meant(word).unwrap_or(word);
    match tunnel.server.replace(server_url::parse(url)?) {
        None => Ok(()),
        Some(_) => Err(refuse("there are two addresses of notebooks", "give one of them")),
    }
}

fn leave_out_command(tunnel: &mut Tunnel, command: &[String]) -> Result<(), Refusal> {
    if let [word] = command
        && is_server(word, true)
    {
        return take_server(tunnel, word);
    }
    let Some((program, after)) = command.split_first() else { return Ok(()) };
    let is_next = is_ssh(program) || (after.is_empty() && program.starts_with("ssh "));
    if is_next && tunnel.leads_somewhere() {
        return Err(refuse(
            "the remote command is the next ssh, whose forwards cannot be honoured",
            "go over the first machine to the last, as in `nbctl add ssh -J me@first -L 8888:localhost:8888 me@last`",
        ));
    }
    // Its words may hold a token or a password.
    let named = if program.contains(char::is_whitespace) { "…" } else { program::name(program) };
    let named =
        if named.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) { named } else { "…" };
    let why = match program::would_start_notebook(command) {
        true => "a tunnel runs none; what starts a notebook is `start` in its [notebook.NAME]",
        false => "a tunnel runs none",
    };
    leave_out(tunnel, &format!("the remote command {named}"), why);
    Ok(())
}

fn note(tunnel: &mut Tunnel, text: String) {
    if !tunnel.notes.contains(&text) {
        tunnel.notes.push(text);
    }
}

fn leave_out(tunnel: &mut Tunnel, what: &str, why: &str) {
    if !tunnel.left_out.iter().any(|(known, _)| known == what) {
        tunnel.left_out.push((what.to_owned(), why.to_owned()));
    }
}

/// A path as it still means the same tomorrow: ssh(1) reads it from the directory where it was typed, the
/// daemon has another one. What begins with a token of ssh_config(5) is whole.
///
/// # Errors
/// It holds a variable, or the current directory cannot be found.
pub fn lasting(path: &str) -> Result<String, Refusal> {
    if path.contains('$') {
        return Err(refuse(
            format!("{path} holds a variable, and no shell reads it here"),
            "write ~ for your home directory, or the whole path",
        ));
    }
    if path.is_empty() || path.starts_with(['~', '%']) {
        return Ok(path.to_owned());
    }
    let whole = std::path::absolute(path).map_err(|error| {
        refuse(
            format!("{path} is meant from the current directory, which cannot be found: {error}"),
            "write the whole path",
        )
    })?;
    Ok(whole.to_string_lossy().into_owned())
}

fn refuse(message: impl Into<String>, hint: impl Into<String>) -> Refusal {
    Refusal::new(message, hint)
}

/// Reads the parts that `nbctl add --host` gives by themselves.
///
/// # Errors
/// What is wrong with them.
pub fn from_parts(host: &str, user: Option<&str>, port: Option<&str>) -> Result<Tunnel, Refusal> {
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
