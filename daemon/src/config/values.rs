//! What a single value may be: durations, sizes, hosts, users, paths. Knows neither files nor positions.

use std::net::Ipv6Addr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nbtunnel_core::{HostKeyPolicy, SshConfig, Start};

use crate::ssh_config::{JumpHost, check_option};

/// Why a value will not do: what is wrong, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) message: String,
    pub(super) hint: String,
}

impl Flaw {
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Flaw { message: message.into(), hint: hint.into() }
    }
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// How long a probe may be put off.
pub(super) const KEEPALIVE: RangeInclusive<Duration> = SECOND..=HOUR;
/// How long one step of connecting may take.
pub(super) const CONNECT_TIMEOUT: RangeInclusive<Duration> = SECOND..=Duration::from_secs(600);
/// How long a connection may be held.
pub(super) const HOLD: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(600);
/// How long an unused on-demand link may stay.
pub(super) const IDLE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(7 * 86400);
/// How much memory one slow reader may take.
pub(super) const BUFFER: RangeInclusive<u64> = 64 << 10..=16 << 30;
/// How old a session may become before a new one follows it; zero: as old as it likes.
pub(super) const RENEW_AFTER: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(365 * 86400);
/// How much a session may carry before a new one follows it; zero: as much as comes.
pub(super) const RENEW_BYTES: RangeInclusive<u64> = 0..=1 << 50;
/// How long a session that was followed by another may finish what it carries.
pub(super) const DRAIN: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(7 * 86400);
/// How long a passphrase that was typed may be kept; zero: not at all.
pub(super) const REMEMBER: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(7 * 86400);
/// How much disk all slow readers together may take.
pub(super) const SPOOL: RangeInclusive<u64> = 0..=1 << 40;

/// A duration such as `500ms`, `10s` or `1h30m`, within `bounds`.
pub(super) fn duration(text: &str, bounds: &RangeInclusive<Duration>) -> Result<Duration, Flaw> {
    let hint = "write a number with ms, s, m, h or d, as in \"10s\" or \"1h30m\"";
    let value = parse_duration(text).ok_or_else(|| Flaw::new(format!("{text:?} is not a duration"), hint))?;
    if bounds.contains(&value) {
        return Ok(value);
    }
    let (least, most) = (show_duration(*bounds.start()), show_duration(*bounds.end()));
    Err(Flaw::new(
        format!("{text} is {} here", if value < *bounds.start() { "too short" } else { "too long" }),
        format!("choose between {least} and {most}"),
    ))
}

fn parse_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 5] =
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let mut rest = text.trim();
    let (mut total, mut next_unit) = (0u64, 0);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        // Units go from great to small, each at most once: "1h30m", not "30m1h".
        let unit = next_unit + UNITS[next_unit..].iter().position(|(name, _)| *name == &rest[..letters])?;
        total = total.checked_add(number.checked_mul(UNITS[unit].1)?)?;
        next_unit = unit + 1;
        rest = &rest[letters..];
    }
    Some(Duration::from_millis(total))
}

fn show_duration(value: Duration) -> String {
    match value.as_secs() {
        secs if secs >= 86400 && secs % 86400 == 0 => format!("{}d", secs / 86400),
        secs if secs >= 3600 && secs % 3600 == 0 => format!("{}h", secs / 3600),
        secs if secs >= 60 && secs % 60 == 0 => format!("{}m", secs / 60),
        secs => format!("{secs}s"),
    }
}

/// A number of bytes such as `64MiB`, within `bounds`.
pub(super) fn size(text: &str, bounds: &RangeInclusive<u64>) -> Result<u64, Flaw> {
    let hint = "write a number with KiB, MiB or GiB, as in \"64MiB\"";
    let value = parse_size(text).ok_or_else(|| Flaw::new(format!("{text:?} is not a size"), hint))?;
    if bounds.contains(&value) {
        return Ok(value);
    }
    let which = if value < *bounds.start() { "too small" } else { "too large" };
    Err(Flaw::new(
        format!("{text} is {which} here"),
        format!("choose between {} and {}", show_size(*bounds.start()), show_size(*bounds.end())),
    ))
}

fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit: u64 = match text[digits..].trim_start() {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(unit)
}

fn show_size(bytes: u64) -> String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >= 1 << shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

/// What a shell would not take literally. OpenSSH refuses these as well (CVE-2023-51385).
const SHELL_CHARACTERS: &str = "'\"`$;&<>|(){}*?!#~";
const LONGEST_NAME: usize = 255;

/// A host name or an address, fit to be handed to other programs.
pub(super) fn host(text: &str) -> Result<String, Flaw> {
    const HINT: &str = "write a host name or an address, as in host = \"login.example.org\"";
    if let Some((user, host)) = text.split_once('@') {
        let hint = format!("write host = {host:?} and user = {user:?} on two lines");
        return Err(Flaw::new("the host holds a user too", hint));
    }
    if text.contains(['/', '\\', '[', ']']) {
        let message = format!("{text:?} is not a host name or an address");
        return Err(Flaw::new(
            message,
            "write the name alone, without ssh:// and brackets; the port is a key of its own",
        ));
    }
    // Only an IPv6 address has colons of its own; what stands after `%` is its zone.
    let address = text.split('%').next().unwrap_or(text);
    if let Some((name, port)) = text.rsplit_once(':')
        && address.parse::<Ipv6Addr>().is_err()
    {
        return Err(match port.parse::<u16>() {
            Ok(port) => {
                let hint = format!("write host = {name:?} and port = {port} on two lines");
                Flaw::new("the host holds a port too", hint)
            }
            Err(_) => Flaw::new(format!("{text:?} is not a host name or an address"), HINT),
        });
    }
    word("host", text, HINT)
}

/// A user name at the far end, fit to be handed to other programs.
pub(super) fn user(text: &str) -> Result<String, Flaw> {
    const HINT: &str = "write the name that you log in with, as in user = \"alice\"";
    // `DOMAIN\user` is how Active Directory names people; a last `\` would quote what comes after it.
    if text.ends_with('\\') {
        return Err(Flaw::new("the user ends with '\\'", HINT));
    }
    word("user", text, HINT)
}

fn word(what: &str, text: &str, hint: &str) -> Result<String, Flaw> {
    if text.is_empty() {
        return Err(Flaw::new(format!("the {what} is empty"), hint));
    }
    if text.len() > LONGEST_NAME {
        let message = format!("the {what} has {} bytes, more than {LONGEST_NAME}", text.len());
        return Err(Flaw::new(message, hint));
    }
    if text.starts_with('-') {
        return Err(Flaw::new(
            format!("the {what} begins with '-', so that programs would read it as an option"),
            hint,
        ));
    }
    let bad = |c: &char| c.is_whitespace() || c.is_control() || SHELL_CHARACTERS.contains(*c);
    match text.chars().find(bad) {
        Some(c) => Err(Flaw::new(format!("the {what} contains {c:?}, which is not allowed there"), hint)),
        None => Ok(text.to_owned()),
    }
}

/// A TCP port.
pub(super) fn port(number: i64) -> Result<u16, Flaw> {
    match u16::try_from(number) {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(Flaw::new(format!("{number} is not a port"), "ports go from 1 to 65535; ssh listens on 22")),
    }
}

/// When a tunnel is wanted.
pub(super) fn start(text: &str) -> Result<Start, Flaw> {
    match text {
        "login" => Ok(Start::Login),
        "demand" => Ok(Start::Demand),
        "manual" => Ok(Start::Manual),
        _ => Err(Flaw::new(
            format!("start cannot be {text:?}"),
            "choose \"login\", \"demand\" (connect when someone comes) or \"manual\"",
        )),
    }
}

/// What to do with a host key that is not on file.
pub(super) fn host_key(text: &str) -> Result<HostKeyPolicy, Flaw> {
    match text {
        "strict" => Ok(HostKeyPolicy::Strict),
        "accept-new" => Ok(HostKeyPolicy::AcceptNew),
        _ => Err(Flaw::new(
            format!("host_key cannot be {text:?}"),
            "choose \"strict\" or \"accept-new\"; a key that changed is refused with either",
        )),
    }
}

/// Jump hosts: one, or several with commas between them; none for `none`.
pub(super) fn jump(text: &str) -> Result<Vec<String>, Flaw> {
    let hosts = JumpHost::list(text).map_err(|why| {
        Flaw::new(why, "write them as in jump = [\"me@login.example.org:22\"], nearest first")
    })?;
    Ok(hosts.iter().map(ToString::to_string).collect())
}

/// Which ssh_config is read: a file, or `none`.
pub(super) fn ssh_config(text: &str, home: &Path, base: &Path) -> Result<SshConfig, Flaw> {
    match text {
        "none" => Ok(SshConfig::Nothing),
        _ => path(text, home, base).map(SshConfig::File),
    }
}

/// What may follow `ssh -o`.
pub(super) fn option(text: &str) -> Result<(), Flaw> {
    check_option(text)
        .map_err(|why| Flaw::new(why, "write it as after ssh -o, as in options = [\"Compression=yes\"]"))
}

/// A tag: a short word.
pub(super) fn tag(text: &str) -> Result<(), Flaw> {
    let fits = !text.is_empty()
        && text.len() <= 64
        && !text.starts_with('-')
        && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    if fits {
        return Ok(());
    }
    Err(Flaw::new(
        format!("{text:?} is not a tag"),
        "a tag is one word of at most 64 bytes, as in tags = [\"lab\"]",
    ))
}

/// A path as a file may write it: `~` is `home`, what is relative is meant from `base`.
pub(super) fn path(text: &str, home: &Path, base: &Path) -> Result<PathBuf, Flaw> {
    const HINT: &str = "write a path, as in \"~/.ssh/id_ed25519\"";
    if text.is_empty() {
        return Err(Flaw::new("the path is empty", HINT));
    }
    if text.chars().any(char::is_control) {
        return Err(Flaw::new("the path contains a control character", HINT));
    }
    if text == "~" {
        return Ok(home.to_owned());
    }
    if let Some(rest) = text.strip_prefix("~/") {
        return Ok(home.join(rest));
    }
    if text.starts_with('~') {
        return Err(Flaw::new(
            format!("the home of another user in {text:?} is not looked up"),
            "write the whole path",
        ));
    }
    Ok(base.join(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, ms) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("15m", 900_000),
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            (" 1s500ms ", 1500),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for bad in [
            "",
            "10",
            "s",
            "-1s",
            "1.5s",
            "10 s",
            "30m1h",
            "1s1s",
            "10sec",
            "99999999999999999999s",
            "999999999999999d",
            "١s",
        ] {
            assert!(parse_duration(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn bounds_are_said() {
        assert_eq!(duration("1s", &KEEPALIVE), Ok(SECOND));
        assert_eq!(duration("500ms", &KEEPALIVE).unwrap_err().hint, "choose between 1s and 1h");
        assert_eq!(duration("11m", &HOLD).unwrap_err().hint, "choose between 0s and 10m");
        assert_eq!(duration("8d", &IDLE).unwrap_err().hint, "choose between 1s and 7d");
        assert_eq!(size("64MiB", &BUFFER), Ok(64 << 20));
        assert_eq!(size("1KiB", &BUFFER).unwrap_err().hint, "choose between 64KiB and 16GiB");
        for bad in ["", "MiB", "1.5MiB", "-1", "99999999999GiB", "1 mib"] {
            assert!(parse_size(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn what_another_program_could_misread_is_no_host_and_no_user() {
        for good in ["dest.ination.com", "10.0.0.1", "::1", "fe80::1%eth0", "lab_1", "bücher.example"] {
            assert!(host(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-oProxyCommand=x",
            "a b",
            "a\tb",
            "a\nb",
            "$(id)",
            "`id`",
            "a;b",
            "me@host",
            "[::1]",
            "ssh://h",
            "h:22",
            "h:x",
            "10.0.0.1:22",
            "a'b",
            &"x".repeat(256),
        ] {
            assert!(host(bad).is_err(), "{bad}");
        }
        assert!(host("h:2222").unwrap_err().hint.contains("port = 2222"));
        for good in ["alice", "alice@ad.example", "AD\\alice"] {
            assert!(user(good).is_ok(), "{good}");
        }
        for bad in ["", "-l", "a b", "a\\", "a|b", "$USER"] {
            assert!(user(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_start_at_home_or_at_the_config_directory() {
        let (home, base) = (Path::new("/home/a"), Path::new("/cfg"));
        let read = |text| path(text, home, base);
        assert_eq!(read("~/.ssh/id"), Ok("/home/a/.ssh/id".into()));
        assert_eq!(read("keys/id"), Ok("/cfg/keys/id".into()));
        assert_eq!(read("/abs"), Ok("/abs".into()));
        assert!(read("~bob/id").is_err() && read("").is_err() && read("a\0b").is_err());
    }
}
