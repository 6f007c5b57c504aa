//! `ssh -o`: keywords of ssh_config(5) that a tunnel file has words for become these words; the others are handed
//! on as they are, to be understood as ssh does.

use super::flags::AGENT_STAYS;
use super::{Refusal, Tunnel, destination, leave_out, note, refuse, refused};

/// Keywords (in lower case) that change nothing for a tunnel, whatever their value.
const LEFT_OUT: &[&str] = &[
    "batchmode",
    "connectionattempts",
    "controlmaster",
    "controlpath",
    "controlpersist",
    "escapechar",
    "fingerprinthash",
    "forkafterauthentication",
    "forwardagent",
    "forwardx11",
    "forwardx11timeout",
    "forwardx11trusted",
    "ipqos",
    "loglevel",
    "remotecommand",
    "requesttty",
    "sendenv",
    "sessiontype",
    "setenv",
    "stdinnull",
    "streamlocalbindunlink",
    "visualhostkey",
    "xauthlocation",
];

/// Keywords (in lower case) that name one file, which ssh looks for from the directory where it was typed.
const FILES: &[&str] = &["certificatefile", "identityagent"];

/// Keywords whose value is a command for a shell, quotes and all.
const WHOLE: &[&str] = &["KnownHostsCommand", "LocalCommand", "ProxyCommand", "RemoteCommand"];

/// Reads `Keyword=value` or `Keyword value`.
pub(super) fn read(tunnel: &mut Tunnel, option: &str) -> Result<(), Refusal> {
    let option = option.trim();
    let end = option.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(option.len());
    let (keyword, value) = option.split_at(end);
    let value = value.trim_start();
    let value = value.strip_prefix('=').unwrap_or(value).trim();
    let value = unquoted(keyword, value);
    if keyword.is_empty() || value.is_empty() {
        return Err(refuse(format!("-o {option:?} is not an option"), "give it as in -o Port=2222"));
    }
    let lower = value.to_ascii_lowercase();
    let given = format!("-o {keyword}={value}");
    match keyword.to_ascii_lowercase().as_str() {
        other if let Some((why, hint)) = refused::why(other, &lower) => {
            return Err(refuse(format!("-o {keyword} cannot be honoured: {why}"), hint));
        }
        "hostname" => {
            // The host on the command line stays what ssh_config is asked for.
            if !value.contains('%') {
                destination::check_host(value)?;
            }
            hand_on(tunnel, "HostName", value);
        }
        "proxyjump" => destination::set_jump(tunnel, value),
        "proxycommand" => destination::set_proxy(tunnel, value),
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
            None | Some(0) => leave_out(tunnel, &given, "a tunnel always watches its connection"),
            Some(seconds) => {
                tunnel.keepalive.get_or_insert_with(|| format!("{seconds}s"));
            }
        },
        "connecttimeout" => match seconds(keyword, value)? {
            None => leave_out(tunnel, &given, "no step of a login may take for ever"),
            Some(0) => {
                return Err(refuse("ConnectTimeout 0 is no time to connect in", "give seconds, as in 20"));
            }
            Some(seconds) => {
                tunnel.connect_timeout.get_or_insert_with(|| format!("{seconds}s"));
            }
        },
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
        "forwardagent" if !matches!(lower.as_str(), "no" | "false") => {
            leave_out(tunnel, &format!("-o {keyword}"), AGENT_STAYS);
        }
        // The value of SetEnv is nobody's business.
        other if LEFT_OUT.contains(&other) => {
            leave_out(tunnel, &format!("-o {keyword}"), "it changes nothing for a tunnel");
        }
        other if FILES.contains(&other) => {
            let is_path = other == "certificatefile" || value.contains('/');
            let is_whole = lower == "none" || value.starts_with(['~', '%', '$']);
            match is_path && !is_whole {
                true => hand_on(tunnel, keyword, &super::lasting(value)?),
                false => hand_on(tunnel, keyword, value),
            }
        }
        _ => hand_on(tunnel, keyword, value),
    }
    Ok(())
}

/// `"a b"` without its quotes.
fn unquoted<'a>(keyword: &str, value: &'a str) -> &'a str {
    if WHOLE.iter().any(|whole| whole.eq_ignore_ascii_case(keyword)) {
        return value;
    }
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    inner.filter(|inner| !inner.contains('"')).unwrap_or(value).trim()
}

/// Leaves it to whoever reads the tunnel's file: the daemon asks ssh what it means, and says what is wrong with it.
pub(super) fn hand_on(tunnel: &mut Tunnel, keyword: &str, value: &str) {
    tunnel.options.push(format!("{keyword}={}", unquoted(keyword, value.trim())));
}

/// Takes it in the place of what was said before, as ssh does with its flags.
pub(super) fn overrule(tunnel: &mut Tunnel, keyword: &str, value: &str) {
    let is_other =
        |option: &String| option.split('=').next().is_none_or(|had| !had.eq_ignore_ascii_case(keyword));
    tunnel.options.retain(is_other);
    hand_on(tunnel, keyword, value);
}

/// Whether `keyword` was given with yes.
pub(super) fn is_on(tunnel: &Tunnel, keyword: &str) -> bool {
    let first = tunnel.options.iter().find_map(|option| {
        let (had, value) = option.split_once('=')?;
        had.eq_ignore_ascii_case(keyword).then_some(value)
    });
    first.is_some_and(|value| value.eq_ignore_ascii_case("yes") || value.eq_ignore_ascii_case("true"))
}

/// A time as in sshd_config(5), TIME FORMATS: `90`, `1m30s`; nothing for `none`.
fn seconds(keyword: &str, value: &str) -> Result<Option<u32>, Refusal> {
    if value.eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    let (mut total, mut rest) = (0_u32, value);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number = rest[..digits].parse::<u32>().ok();
        rest = &rest[digits..];
        let unit = match rest.chars().next().map(|unit| unit.to_ascii_lowercase()) {
            None | Some('s') => Some(1),
            Some('m') => Some(60),
            Some('h') => Some(3600),
            Some('d') => Some(86400),
            Some('w') => Some(604_800),
            Some(_) => None,
        };
        let sum = number.zip(unit).and_then(|(number, unit)| number.checked_mul(unit)?.checked_add(total));
        total =
            sum.ok_or_else(|| refuse(format!("{keyword}={value} is not a number of seconds"), "as in 15"))?;
        rest = rest.get(1..).unwrap_or_default();
    }
    Ok(Some(total))
}

/// `LocalForward [bind:]port host:hostport`, with a space where `-L` has a colon. `RemoteForward` likewise.
fn forward(keyword: &str, value: &str) -> Result<String, Refusal> {
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
