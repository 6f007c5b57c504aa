//! Single values as `ssh -G` prints them.

use std::path::PathBuf;
use std::time::Duration;

use super::host_config::{AddKeys, AddressFamily, HostKeyChecking, IdentityAgent, UpdateHostKeys};

/// Nobody means a longer time, and arithmetic with it stays far from overflow.
const LONGEST: u64 = 10 * 365 * 86_400;

/// What was expected, for a value that is something else.
pub(super) type Expected = &'static str;

pub(super) fn switch(text: &str) -> Result<bool, Expected> {
    match text {
        "yes" | "true" => Ok(true),
        "no" | "false" => Ok(false),
        _ => Err("yes or no"),
    }
}

pub(super) fn number<T: std::str::FromStr>(text: &str) -> Result<T, Expected> {
    text.parse().map_err(|_| "a number")
}

/// Whole seconds, or `none`.
pub(super) fn seconds(text: &str) -> Result<Option<Duration>, Expected> {
    match text {
        "none" => Ok(None),
        _ => number::<u64>(text).map(|seconds| Some(Duration::from_secs(seconds.min(LONGEST)))),
    }
}

/// Words between commas.
pub(super) fn words(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

pub(super) fn strict(text: &str) -> Result<Option<HostKeyChecking>, Expected> {
    Ok(match text {
        "yes" | "true" => Some(HostKeyChecking::Strict),
        "accept-new" => Some(HostKeyChecking::AcceptNew),
        "no" | "false" | "off" => Some(HostKeyChecking::Off),
        "ask" => None,
        _ => return Err("yes, no, ask or accept-new"),
    })
}

pub(super) fn update(text: &str) -> Result<UpdateHostKeys, Expected> {
    match text {
        "ask" => Ok(UpdateHostKeys::Ask),
        _ => switch(text).map(|yes| if yes { UpdateHostKeys::Yes } else { UpdateHostKeys::No }),
    }
}

pub(super) fn family(text: &str) -> Result<Option<AddressFamily>, Expected> {
    Ok(match text {
        "any" => None,
        "inet" => Some(AddressFamily::Inet),
        "inet6" => Some(AddressFamily::Inet6),
        _ => return Err("any, inet or inet6"),
    })
}

pub(super) fn agent(text: &str) -> IdentityAgent {
    match text {
        "none" => IdentityAgent::None,
        "SSH_AUTH_SOCK" => IdentityAgent::Variable(text.to_owned()),
        _ => match text.strip_prefix('$') {
            Some(variable) => IdentityAgent::Variable(variable.to_owned()),
            None => IdentityAgent::At(text.into()),
        },
    }
}

/// `false`, `true`, `ask`, `confirm`, `3600`, `confirm 3600`.
pub(super) fn add_keys(text: &str) -> Result<Option<AddKeys>, Expected> {
    let mut add = AddKeys::default();
    for word in text.split_whitespace() {
        match word {
            "false" | "no" => return Ok(None),
            "true" | "yes" => {}
            "ask" => add.ask = true,
            "confirm" => add.confirm = true,
            seconds => add.lifetime = self::seconds(seconds)?,
        }
    }
    Ok(Some(add))
}

/// RekeyLimit; neither where it is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rekey {
    pub(super) bytes: Option<u64>,
    pub(super) after: Option<Duration>,
}

/// `bytes seconds`; 0 for the default.
pub(super) fn rekey(text: &str) -> Result<Rekey, Expected> {
    let (bytes, time) = text.split_once(' ').unwrap_or((text, "0"));
    let bytes = Some(number::<u64>(bytes)?).filter(|bytes| *bytes > 0);
    Ok(Rekey { bytes, after: seconds(time)?.filter(|time| !time.is_zero()) })
}

/// Files on one line, which are not quoted: what does not begin like a path belongs to the one before it.
/// `none` is no file.
pub(super) fn files(text: &str) -> Vec<PathBuf> {
    let mut files: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match files.last_mut() {
            Some(last) if !begins_a_path(word) => {
                last.push(' ');
                last.push_str(word);
            }
            _ => files.push(word.to_owned()),
        }
    }
    files.into_iter().filter(|file| !file.is_empty() && file != "none").map(PathBuf::from).collect()
}

fn begins_a_path(word: &str) -> bool {
    let drive =
        |word: &str| word.as_bytes().get(1) == Some(&b':') && word.as_bytes()[0].is_ascii_alphabetic();
    word.starts_with(['/', '~', '\\']) || word.starts_with("__PROGRAMDATA__") || word == "none" || drive(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_on_one_line_keep_their_spaces() {
        let shown = |text| files(text).iter().map(|p| p.display().to_string()).collect::<Vec<_>>();
        assert_eq!(shown("/root/.ssh/kh /tmp/a b /root/x"), ["/root/.ssh/kh", "/tmp/a b", "/root/x"]);
        assert_eq!(shown("~/a C:\\Users\\a b/.ssh/x"), ["~/a", "C:\\Users\\a b/.ssh/x"]);
        assert_eq!(shown("none"), [""; 0]);
        assert_eq!(shown("rel"), ["rel"]);
    }

    #[test]
    fn times_limits_and_agents() {
        assert_eq!(rekey("0 0"), Ok(Rekey::default()));
        let both = Rekey { bytes: Some(1 << 30), after: Some(Duration::from_secs(3600)) };
        assert_eq!(rekey("1073741824 3600"), Ok(both));
        assert_eq!(rekey("x"), Err("a number"));
        assert_eq!(seconds("none"), Ok(None));
        assert_eq!(seconds("-1"), Err("a number"));
        assert_eq!(add_keys("false"), Ok(None));
        assert_eq!(
            add_keys("confirm 60"),
            Ok(Some(AddKeys { ask: false, confirm: true, lifetime: Some(Duration::from_secs(60)) }))
        );
        assert_eq!(agent("$A"), IdentityAgent::Variable("A".into()));
        assert_eq!(agent("none"), IdentityAgent::None);
        assert_eq!(agent("/s"), IdentityAgent::At("/s".into()));
    }
}
