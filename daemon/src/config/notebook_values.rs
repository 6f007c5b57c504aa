//! What a single value of a `[notebook.NAME]` section may be. Knows neither files nor positions.

use std::net::IpAddr;

use nbtunnel_core::{Name, Scheme, Which};

use super::values::{self, Flaw};

const LONGEST_LINE: usize = 4096;

/// One word of `find`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Find {
    /// Whatever there is.
    Anywhere,
    /// One whose root directory this is.
    Dir(String),
    /// One of this account.
    Owner(String),
    /// One on a port among these.
    Ports(u16, u16),
}

impl Find {
    /// Takes this among what has to fit.
    ///
    /// # Errors
    /// What of it was there already, in a word or two.
    pub(super) fn narrow(self, which: &mut Which) -> Result<(), &'static str> {
        let (was_there, kind) = match self {
            Find::Anywhere => (false, ""),
            Find::Dir(dir) => (which.dir.replace(dir).is_some(), "directory"),
            Find::Owner(owner) => (which.owner.replace(owner).is_some(), "user"),
            Find::Ports(first, last) => (which.ports.replace((first, last)).is_some(), "range of ports"),
        };
        if was_there { Err(kind) } else { Ok(()) }
    }
}

const FIND: &str = "write \"auto\", a directory (\"~/project\"), a user (\"user:alice\") or a range of ports (\"7000-7099\")";

/// One word of `find`.
pub(super) fn find(text: &str) -> Result<Find, Flaw> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if text.is_empty() {
        return Err(Flaw::new("find has an empty word", FIND));
    }
    if text == "auto" {
        return Ok(Find::Anywhere);
    }
    if text.starts_with(['/', '~', '.']) {
        return place(text, "the directory", "find = \"~/project\"").map(Find::Dir);
    }
    if is_number(text) {
        let hint = format!("write remote_port = {text} for one port; {FIND}");
        return Err(Flaw::new(format!("find = {text:?} is neither a range nor a user"), hint));
    }
    if let Some((first, last)) = text.split_once('-').filter(|(a, b)| is_number(a) && is_number(b)) {
        let ports = (first.parse::<u16>(), last.parse::<u16>());
        return match ports {
            (Ok(first), Ok(last)) if 0 < first && first <= last => Ok(Find::Ports(first, last)),
            _ => Err(Flaw::new(
                format!("{text} is not a range of ports"),
                "write the smaller one first, both between 1 and 65535, as in \"7000-7099\"",
            )),
        };
    }
    let owner = text.strip_prefix("user:").unwrap_or(text);
    match values::user(owner) {
        Ok(owner) if !owner.contains(['/', ':']) => Ok(Find::Owner(owner)),
        _ => Err(Flaw::new(format!("find cannot be {text:?}"), FIND)),
    }
}

/// The name of a notebook: the rules of a tunnel's.
pub(super) fn name(text: &str) -> Result<Name, Flaw> {
    Name::parse(text).map_err(|why| {
        Flaw::new(why.replace("a tunnel's name", "a notebook's name"), "write it like [notebook.alice]")
    })
}

/// The machine that it runs on, seen from the far end.
pub(super) fn host(text: &str) -> Result<String, Flaw> {
    let host = values::host(text)?;
    if host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified()) {
        return Err(Flaw::new(
            format!("{host} is the address of no machine"),
            "leave host out where the server runs on the far end itself, or name its machine",
        ));
    }
    Ok(host)
}

/// A TCP port.
pub(super) fn port(number: i64) -> Result<u16, Flaw> {
    match u16::try_from(number) {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(Flaw::new(format!("{number} is not a port"), "ports go from 1 to 65535")),
    }
}

/// How the server is spoken to.
pub(super) fn scheme(text: &str) -> Result<Scheme, Flaw> {
    match text {
        "auto" => Ok(Scheme::Auto),
        "http" => Ok(Scheme::Http),
        "https" => Ok(Scheme::Https),
        _ => Err(Flaw::new(
            format!("scheme cannot be {text:?}"),
            "choose \"auto\" (as the server says), \"http\" or \"https\"",
        )),
    }
}

/// A token. It is quoted nowhere.
pub(super) fn token(text: &str) -> Result<(), Flaw> {
    let hint = "copy what stands behind ?token= in the URL that Jupyter prints";
    if text.is_empty() {
        return Err(Flaw::new(
            "the token is empty",
            "leave it out; it is read from the server where that says it",
        ));
    }
    if text.len() > LONGEST_LINE || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Flaw::new("the token is not one word", hint));
    }
    if text.contains("://") || text.contains("token=") {
        return Err(Flaw::new("the token is a whole URL", hint));
    }
    Ok(())
}

/// What runs it.
pub(super) fn launcher(text: &str) -> Result<(), Flaw> {
    match text {
        "slurm" => Ok(()),
        _ => Err(Flaw::new(
            format!("launcher cannot be {text:?}"),
            "write launcher = \"slurm\", or leave it out where the far end itself runs the notebook",
        )),
    }
}

/// One line of anything: for a shell, or a path.
pub(super) fn line(text: &str, what: &str, example: &str) -> Result<String, Flaw> {
    let hint = format!("write it on one line, as in {example}");
    let why = if text.trim().is_empty() {
        "is empty"
    } else if text.len() > LONGEST_LINE {
        "is too long"
    } else if text.chars().any(char::is_control) {
        "contains a control character"
    } else {
        return Ok(text.to_owned());
    };
    Err(Flaw::new(format!("{what} {why}"), hint))
}

/// A path at the far end. Of homes it is the user's alone: no shell reads it that would know the others.
pub(super) fn place(text: &str, what: &str, example: &str) -> Result<String, Flaw> {
    match text.strip_prefix('~') {
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') => {
            let hint = format!(
                "write the whole path, as in \"/home/bob/x\", or {:?} for what has that name in your own home",
                format!("./{text}")
            );
            Err(Flaw::new(format!("{what} {text:?} is in somebody else's home"), hint))
        }
        _ => line(text, what, example),
    }
}

/// One word for sbatch, the value of an option of its own.
pub(super) fn word(text: &str, key: &str, example: &str) -> Result<String, Flaw> {
    let bad = |c: char| c.is_whitespace() || c.is_control();
    if text.is_empty() || text.len() > 255 || text.starts_with('-') || text.contains(bad) {
        let hint = format!("write one word, as in {key} = {example:?}");
        return Err(Flaw::new(format!("{key} cannot be {text:?}"), hint));
    }
    Ok(text.to_owned())
}

/// A time limit as sbatch(1) takes it: minutes, `minutes:seconds`, `hours:minutes:seconds`, `days-hours`, …
pub(super) fn time(text: &str) -> Result<String, Flaw> {
    let is_number =
        |part: &str| !part.is_empty() && part.len() <= 9 && part.bytes().all(|b| b.is_ascii_digit());
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) => (Some(days), rest),
        None => (None, text),
    };
    let clock = rest.split(':').collect::<Vec<_>>();
    if days.is_none_or(is_number) && clock.len() <= 3 && clock.into_iter().all(is_number) {
        return Ok(text.to_owned());
    }
    Err(Flaw::new(
        format!("{text:?} is not a time limit of Slurm"),
        "write hours:minutes:seconds or days-hours, as in time = \"8:00:00\" or \"2-0\"; a number alone is minutes",
    ))
}

/// How many processors.
pub(super) fn cpus(number: i64) -> Result<u32, Flaw> {
    match u32::try_from(number) {
        Ok(cpus) if (1..=65_535).contains(&cpus) => Ok(cpus),
        _ => Err(Flaw::new(format!("cpus cannot be {number}"), "write how many, as in cpus = 4")),
    }
}

/// How much memory, as sbatch(1) takes it: megabytes, or with K, M, G or T.
pub(super) fn memory(text: &str) -> Result<String, Flaw> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = text[digits..].to_ascii_uppercase();
    let is_unit = matches!(unit.as_str(), "" | "K" | "M" | "G" | "T" | "KB" | "MB" | "GB" | "TB");
    if (1..=12).contains(&digits) && is_unit {
        return Ok(text.to_owned());
    }
    Err(Flaw::new(
        format!("{text:?} is no amount of memory for Slurm"),
        "write a number with M, G or T, as in memory = \"16G\"",
    ))
}

/// The options that would undo what a notebook's job is known by.
const OURS: [(&str, &str); 4] = [("--job-name", "-J"), ("--array", "-a"), ("--wrap", ""), ("--wait", "-W")];

/// A further option for sbatch(1), one word.
pub(super) fn slurm_option(text: &str) -> Result<String, Flaw> {
    let hint = "write each as one word for sbatch, as in options = [\"--qos=short\"]";
    if !text.starts_with('-') || text.len() > LONGEST_LINE || text.chars().any(char::is_control) {
        return Err(Flaw::new(format!("{text:?} is not an option for sbatch"), hint));
    }
    let key = text.split('=').next().unwrap_or(text);
    let is_ours = |(long, short): &&(&str, &str)| {
        key == *long || (!short.is_empty() && !text.starts_with("--") && text.starts_with(short))
    };
    match OURS.iter().find(is_ours) {
        Some((long, _)) => Err(Flaw::new(
            format!(
                "{long} is not to be had: a notebook's job is found again by the name that it is given, and is one"
            ),
            "leave it out",
        )),
        None => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn find_takes_what_people_know_of_their_server() {
        let dir = |text: &str| Ok(Find::Dir(text.to_owned()));
        let owner = |text: &str| Ok(Find::Owner(text.to_owned()));
        for (text, expected) in [
            ("auto", Ok(Find::Anywhere)),
            ("/data/x", dir("/data/x")),
            ("~/a b", dir("~/a b")),
            ("~", dir("~")),
            ("./x", dir("./x")),
            ("user:alice", owner("alice")),
            ("alice", owner("alice")),
            ("user:auto", owner("auto")),
            ("user:7000", owner("7000")),
            ("al-7", owner("al-7")),
            ("7000-7099", Ok(Find::Ports(7000, 7099))),
            ("1-1", Ok(Find::Ports(1, 1))),
        ] {
            assert_eq!(find(text), expected, "{text}");
        }
        for bad in [
            "",
            "7000",
            "0-1",
            "9-8",
            "1-65536",
            "user:",
            "a b",
            "user:-x",
            "a/b",
            "/x\ny",
            "99999999999",
            "~bob",
            "~bob/x",
        ] {
            assert!(find(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn slurm_is_asked_only_in_its_own_words() {
        for good in ["60", "1:30", "8:00:00", "2-0", "1-12:30", "1-2:3:4"] {
            assert!(time(good).is_ok(), "{good}");
        }
        for bad in ["", "8h", "-1", "1:2:3:4", "1-", "1--2", ":", "1-2-3"] {
            assert!(time(bad).is_err(), "{bad}");
        }
        for good in ["4000", "16G", "16GB", "1t", "512m"] {
            assert!(memory(good).is_ok(), "{good}");
        }
        for bad in ["", "G", "16GiB", "1.5G", "-1", "4GG", "4BB", "B"] {
            assert!(memory(bad).is_err(), "{bad}");
        }
        for good in ["--qos=short", "-C", "--exclusive", "--wait-all-nodes=1", "--constraint=a&b"] {
            assert!(slurm_option(good).is_ok(), "{good}");
        }
        for bad in ["", "qos", "-Jx", "-J", "--job-name=x", "--array=1-3", "-a1", "--wrap=x", "-W", "--x\n"] {
            assert!(slurm_option(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bad_token_is_not_repeated() {
        for bad in ["", "hunter 2", "hunter2\u{7}", "http://localhost:1/?token=hunter2"] {
            let flaw = token(bad).unwrap_err();
            assert!(!flaw.message.contains("hunter2") && !flaw.hint.contains("hunter2"));
        }
        assert_eq!(token("3f9c_-A.~%"), Ok(()));
    }
}
