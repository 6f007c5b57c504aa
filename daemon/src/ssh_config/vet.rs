//! What may become an argument of ssh. The line of a ProxyCommand or a `Match exec` is made of the same words and
//! goes through a shell (CVE-2023-51385), so that this is checked before anything runs.

use super::Query;

/// What a shell would not take literally.
const SHELL_CHARACTERS: &str = "'\"`$;&<>|(){}*?!#~";
const LONGEST_NAME: usize = 255;
/// As many as nobody writes by hand; the argument list of a program has an end.
const MOST_OPTIONS: usize = 256;
const LONGEST_OPTION: usize = 4096;

/// # Errors
/// One sentence that says what is not allowed.
pub(super) fn query(query: &Query) -> Result<(), String> {
    host(&query.host)?;
    if let Some(name) = &query.user {
        user(name)?;
    }
    if query.port == Some(0) {
        return Err("0 is not a port".into());
    }
    if query.options.len() > MOST_OPTIONS {
        return Err(format!("there are more than {MOST_OPTIONS} options"));
    }
    query.options.iter().try_for_each(|text| option(text))
}

pub(super) fn host(text: &str) -> Result<(), String> {
    // A backslash is nothing that a host could have, and quotes in a shell.
    if text.contains(['/', '\\', '@']) {
        return Err(format!("{text:?} is not a host name or an address"));
    }
    word("host", text)
}

pub(super) fn user(text: &str) -> Result<(), String> {
    // `DOMAIN\user` is how Active Directory names people; a last `\` would quote what comes after it.
    if text.ends_with('\\') {
        return Err("the user ends with '\\'".into());
    }
    word("user", text)
}

/// Whether `text` may follow `ssh -o`: `Keyword=value` or `Keyword value`. Whether there is such a keyword is for ssh
/// to say: newer ones know more.
///
/// # Errors
/// One sentence that says what is wrong with it.
pub fn option(text: &str) -> Result<(), String> {
    if text.chars().any(char::is_control) {
        return Err(format!("the option {text:?} contains a control character"));
    }
    if text.len() > LONGEST_OPTION {
        return Err(format!("an option has {} bytes, more than {LONGEST_OPTION}", text.len()));
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    let (keyword, rest) = text.split_at(end);
    let separated = rest.starts_with([' ', '=']) && !rest.trim_start_matches([' ', '=']).is_empty();
    if keyword.is_empty() || !separated {
        return Err(format!("{text:?} is not an option; expected Keyword=value"));
    }
    Ok(())
}

fn word(what: &str, text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err(format!("the {what} is empty"));
    }
    if text.len() > LONGEST_NAME {
        return Err(format!("the {what} has {} bytes, more than {LONGEST_NAME}", text.len()));
    }
    if text.starts_with('-') {
        return Err(format!("the {what} begins with '-', so that programs would read it as an option"));
    }
    let bad = |c: &char| c.is_whitespace() || c.is_control() || SHELL_CHARACTERS.contains(*c);
    match text.chars().find(bad) {
        Some(c) => Err(format!("the {what} contains {c:?}, which is not allowed there")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_or_ssh_could_misread_is_refused() {
        for bad in [
            "",
            "-oProxyCommand=id",
            "a b",
            "a;id",
            "$(id)",
            "`id`",
            "a\nb",
            "a|b",
            "x\u{0}",
            "a\\",
            "u@h",
            "a/b",
            "~x",
        ] {
            assert!(host(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "-x", "a b", "$HOME", "a'b", "x\\", "a\tb"] {
            assert!(user(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "=x", "Port", "Port=", "Port= ", "-oPort=1", "Port\n=1", "Port=1\nHost=*", "A_b=1"] {
            assert!(option(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_people_write_is_taken() {
        for good in ["lab-1", "login.example.org", "::1", "fe80::1%eth0", "münchen", "10.0.0.1", "_x"] {
            host(good).unwrap();
        }
        for good in ["alice", "DOM\\alice", "a.b@realm", "x_y"] {
            user(good).unwrap();
        }
        for good in ["Compression=yes", "Port 22", "ProxyCommand=nc %h %p", "User = x", "SetEnv=\"A=b c\""] {
            option(good).unwrap();
        }
    }
}
