//! `ssh -o`: the few keywords of ssh_config(5) that a tunnel file has words for.

use super::{Tunnel, destination, note, refuse};
use crate::exit::CommandError;

/// Keywords (in lower case) that change nothing for a tunnel, whatever their value.
const LEFT_OUT: &[&str] = &[
    "addressfamily",
    "batchmode",
    "checkhostip",
    "compression",
    "controlmaster",
    "controlpath",
    "controlpersist",
    "escapechar",
    "exitonforwardfailure",
    "forkafterauthentication",
    "hashknownhosts",
    "loglevel",
    "requesttty",
    "serveralivecountmax",
    "sessiontype",
    "stdinnull",
    "tcpkeepalive",
    "updatehostkeys",
    "visualhostkey",
];

/// Keywords that ask for what a tunnel does not do; `no` is what it does anyway.
const ONLY_NO: &[&str] = &[
    "challengeresponseauthentication",
    "forwardagent",
    "forwardx11",
    "forwardx11trusted",
    "gatewayports",
    "gssapiauthentication",
    "gssapidelegatecredentials",
    "hostbasedauthentication",
    "kbdinteractiveauthentication",
    "passwordauthentication",
    "permitlocalcommand",
];

/// Reads `Keyword=value` or `Keyword value`.
pub(super) fn read(tunnel: &mut Tunnel, option: &str) -> Result<(), CommandError> {
    let option = option.trim();
    let end = option.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(option.len());
    let (keyword, value) = option.split_at(end);
    let value = value.trim_start();
    let value = value.strip_prefix('=').unwrap_or(value).trim();
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    if keyword.is_empty() || value.is_empty() {
        return Err(refuse(format!("-o {option:?} is not an option"), "give it as in -o Port=2222"));
    }
    let lower = value.to_ascii_lowercase();
    match keyword.to_ascii_lowercase().as_str() {
        "hostname" => {
            // The host on the command line is then only an alias.
            tunnel.host.clear();
            destination::set_host(tunnel, value)?;
        }
        "port" => destination::set_port(tunnel, value)?,
        "user" => destination::set_user(tunnel, value)?,
        "identityfile" | "userknownhostsfile" if lower == "none" => {
            return Err(refuse(
                format!("-o {keyword}=none cannot be honoured"),
                "leave it out, or name a file of this tunnel's own",
            ));
        }
        "identityfile" => tunnel.identity_files.push(value.to_owned()),
        "localforward" => tunnel.forwards.push(forward(keyword, value)?),
        "remoteforward" => tunnel.remotes.push(forward(keyword, value)?),
        "dynamicforward" => tunnel.dynamics.push(value.to_owned()),
        "serveraliveinterval" => match seconds(keyword, value)? {
            0 => note(
                tunnel,
                "ServerAliveInterval 0 is left out: a tunnel always watches its connection".into(),
            ),
            seconds => {
                tunnel.keepalive.get_or_insert_with(|| format!("{seconds}s"));
            }
        },
        "connecttimeout" => {
            let seconds = seconds(keyword, value)?;
            if seconds == 0 {
                return Err(refuse("ConnectTimeout 0 is no time to connect in", "give seconds, as in 20"));
            }
            tunnel.connect_timeout.get_or_insert_with(|| format!("{seconds}s"));
        }
        "stricthostkeychecking" => {
            let policy = match lower.as_str() {
                "yes" | "ask" | "true" => "strict",
                "accept-new" => "accept-new",
                "no" | "off" | "false" => {
                    let why = "a new host key is accepted, and a changed one is refused even so";
                    note(tunnel, format!("StrictHostKeyChecking={value} becomes accept-new: {why}"));
                    "accept-new"
                }
                _ => {
                    return Err(refuse(
                        format!("StrictHostKeyChecking={value} has no meaning"),
                        "see ssh_config(5)",
                    ));
                }
            };
            tunnel.host_key.get_or_insert(policy);
        }
        "userknownhostsfile" => {
            if tunnel.known_hosts.is_empty() {
                tunnel.known_hosts = shell_words::split(value).unwrap_or_else(|_| vec![value.to_owned()]);
            }
        }
        other if LEFT_OUT.contains(&other) || (ONLY_NO.contains(&other) && lower == "no") => {
            note(tunnel, format!("-o {keyword}={value} is left out: it changes nothing for a tunnel"));
        }
        _ => {
            return Err(refuse(
                format!("-o {keyword} cannot be honoured"),
                "leave it out; a tunnel takes HostName, Port, User, IdentityFile, LocalForward, \
                 RemoteForward, DynamicForward, ServerAliveInterval, ConnectTimeout, StrictHostKeyChecking and UserKnownHostsFile",
            ));
        }
    }
    Ok(())
}

fn seconds(keyword: &str, value: &str) -> Result<u32, CommandError> {
    value.parse().map_err(|_| refuse(format!("{keyword}={value} is not a number of seconds"), "as in 15"))
}

/// `LocalForward [bind:]port host:hostport`, with a space where `-L` has a colon. `RemoteForward` likewise.
fn forward(keyword: &str, value: &str) -> Result<String, CommandError> {
    let fields: Vec<&str> = value.split_whitespace().collect();
    match fields.as_slice() {
        [one] => Ok((*one).to_owned()),
        [listen, target] => Ok(format!("{listen}:{target}")),
        _ => Err(refuse(
            format!("{keyword} {value:?} is not a forward"),
            "give it as in -o 'LocalForward=6000 localhost:7000'",
        )),
    }
}
