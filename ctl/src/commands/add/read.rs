//! What the arguments of `nbctl add` mean: the name, the tunnel, and the notebook that it leads to.

use nbctl::server_url::{self, ServerUrl};
use nbctl::ssh_line::{self, Tunnel};

use crate::args::AddArgs;
use crate::exit::{CommandError, Exit};

/// What was given.
#[derive(Debug)]
pub(super) struct Given {
    /// The name, if one was given.
    pub(super) name: Option<String>,
    pub(super) tunnel: Tunnel,
    /// Where a server said that it is.
    pub(super) server: Option<ServerUrl>,
}

/// Reads them; `is_alias` says whether ssh_config knows a Host.
pub(super) fn read(args: &AddArgs, is_alias: impl Fn(&str) -> bool) -> Result<Given, CommandError> {
    let Sorted { url, line, mut names } = sort(args)?;
    let mut server = url.map(server_url::parse).transpose()?;
    let in_flags = args.user.is_some() || args.port.is_some();
    let by_parts = |host: &str| ssh_line::from_parts(host, args.user.as_deref(), args.port.as_deref());
    let command = if told_after_dashes(args).is_some() { &[] } else { args.command.as_slice() };
    let mut tunnel = match (line, command, &args.host) {
        (Some(_), [], None) | (None, [_, ..], None) if in_flags => {
            return Err(usage(
                "-l and -p of nbctl itself go with --host; in a command line they stand after ssh",
            ));
        }
        (Some(line), [], None) => line_of(line)?,
        // Quoted and after `--` at once.
        (None, [line], None) if is_line(line) => line_of(line)?,
        (None, [_, ..], None) => ssh_line::parse(command)?,
        (None, [], Some(host)) => by_parts(host)?,
        (None, [], None) => by_parts(&destination(&mut names, server.as_ref(), is_alias)?)?,
        _ => return Err(usage("there is more than one command line or host")),
    };
    let name = match names.as_slice() {
        [] => None,
        [name] => Some((*name).to_owned()),
        _ => return Err(usage("there are two names")),
    };
    if let Some(among) = tunnel.server.take()
        && server.replace(among).is_some()
    {
        return Err(usage("there are two addresses of notebooks"));
    }
    if let Some(hosts) = &args.jump {
        tunnel.go_over(hosts)?;
    }
    args.options.iter().try_for_each(|option| tunnel.take_option(option))?;
    tunnel.forwards.extend(args.forwards.iter().cloned());
    tunnel.remotes.extend(args.remotes.iter().cloned());
    tunnel.dynamics.extend(args.dynamics.iter().cloned());
    tunnel.identity_files.extend(args.identity_files.iter().cloned());
    tunnel.settle()?;
    for path in tunnel.identity_files.iter_mut().chain(&mut tunnel.known_hosts) {
        *path = ssh_line::lasting(path)?;
    }
    Ok(Given { name, tunnel, server })
}

/// The words, each for what it looks like.
struct Sorted<'a> {
    url: Option<&'a str>,
    line: Option<&'a str>,
    names: Vec<&'a str>,
}

fn sort(args: &AddArgs) -> Result<Sorted<'_>, CommandError> {
    // Where the host is told otherwise, a word with a space in it is more likely a bad name.
    let told_otherwise = args.host.is_some() || !args.command.is_empty();
    let mut sorted = Sorted { url: told_after_dashes(args), line: None, names: Vec::new() };
    for word in &args.words {
        let is_second = if let Some(url) = server_url::meant(word) {
            sorted.url.replace(url).is_some()
        } else if word.starts_with("ssh ") || word.starts_with("ssh://") || (is_line(word) && !told_otherwise)
        {
            sorted.line.replace(word).is_some()
        } else {
            sorted.names.push(word);
            false
        };
        if is_second {
            return Err(usage("there is more than one command line or host"));
        }
    }
    Ok(sorted)
}

/// The address of a server that stands alone after `--`.
fn told_after_dashes(args: &AddArgs) -> Option<&str> {
    match args.command.as_slice() {
        [word] => server_url::meant(word),
        _ => None,
    }
}

fn is_line(word: &str) -> bool {
    word.contains(char::is_whitespace) || word.starts_with("ssh://")
}

fn line_of(line: &str) -> Result<Tunnel, CommandError> {
    Ok(match line.starts_with("ssh://") && !line.contains(char::is_whitespace) {
        true => ssh_line::from_parts(line, None, None)?,
        false => ssh_line::parse_line(line)?,
    })
}

/// Where the tunnel leads when only words say so: the last of them, or the machine of the server's address.
fn destination(
    names: &mut Vec<&str>,
    server: Option<&ServerUrl>,
    is_alias: impl Fn(&str) -> bool,
) -> Result<String, CommandError> {
    let last = names.last().copied();
    if let Some(word) = last
        && (word.contains('@') || is_alias(word))
    {
        names.pop();
        return Ok(word.to_owned());
    }
    match (server, last) {
        (Some(server), _) if !server.is_loopback() => Ok(server.host.clone()),
        (Some(_), Some(word)) => Err(unknown(word)),
        (Some(_), None) => Err(CommandError::new(
            Exit::Usage,
            "the address leads to the machine where it was printed, and does not say which one that is",
            "say how ssh gets there, as in `nbctl add --host me@host.example.org URL`, or give the line of ssh beside it",
        )),
        // Names of tunnels may hold dots and digits as well, but alone no name makes a tunnel.
        (None, Some(word)) if word.contains(['.', ':']) => {
            names.pop();
            Ok(word.to_owned())
        }
        (None, Some(word)) => Err(unknown(word)),
        (None, None) => Err(usage("there is no host")),
    }
}

fn unknown(word: &str) -> CommandError {
    CommandError::new(
        Exit::Usage,
        format!("there is no host: {word:?} alone is a name, and no Host of ssh_config"),
        format!(
            "say where it leads, as in `nbctl add {word} --host HOST`; `nbctl add --host {word}` if that is the host"
        ),
    )
}

fn usage(message: &str) -> CommandError {
    CommandError::new(
        Exit::Usage,
        message,
        "give `nbctl add [NAME] ssh -L … host`, `nbctl add [NAME] 'ssh -L … host'`, or \
         `nbctl add [NAME] --host HOST -L …`",
    )
}
