//! The tokens of ssh_config(5): `%h` and the like, `${VARIABLE}`, and `~`. Pure: what they stand for is handed in.
//!
//! `ssh -G` has expanded most values already. What it leaves is IdentityFile, CertificateFile, ProxyCommand and
//! ProxyJump, and `~` in GlobalKnownHostsFile. HostKeyAlias it leaves too, and never expands.

/// What the tokens stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// `%n`: the host as it was asked for.
    pub(super) original: String,
    /// `%h`: the host to connect to.
    pub(super) host: String,
    /// `%p`.
    pub(super) port: u16,
    /// `%r`: the user at the far end.
    pub(super) user: String,
    /// `%k`: the name under which the host key is on file.
    pub(super) key_alias: String,
    /// `%j`: ProxyJump as it is written, or nothing.
    pub(super) jump: String,
    /// What only ssh knows for sure.
    pub(super) own: Own,
}

/// What ssh says of this machine and this connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Own {
    /// `%d`, `~`: the home of the passwd entry.
    pub(super) home: String,
    /// `%C`: the hash of the connection, which is made of other things in each version of OpenSSH.
    pub(super) hash: String,
    /// `%l`: the name of this machine.
    pub(super) local_host: String,
    /// `%L`: its first label.
    pub(super) local_host_short: String,
    /// `%u`.
    pub(super) local_user: String,
    /// `%i`.
    pub(super) local_uid: String,
}

impl Own {
    /// An option that makes ssh tell all of it, on a line that nothing else reads: ControlPath is the one value
    /// that every version expands, and we have no control socket.
    pub(super) const QUESTION: &str = "ControlPath=~/|%C|%l|%L|%u|%i";

    /// What came back for it.
    pub(super) fn from_answer(control_path: &str) -> Option<Own> {
        let mut parts = control_path.rsplitn(6, '|');
        let mut next = || parts.next().map(str::to_owned);
        let (local_uid, local_user, local_host_short, local_host, hash) =
            (next()?, next()?, next()?, next()?, next()?);
        let home = next()?.strip_suffix('/')?.to_owned();
        Some(Own { home, hash, local_host, local_host_short, local_user, local_uid })
    }
}

/// Which tokens a value may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum In {
    /// IdentityFile, CertificateFile: also `~` in front, and variables.
    Path,
    /// ProxyCommand, ProxyJump.
    Proxy,
}

impl In {
    const fn allowed(self) -> &'static str {
        match self {
            In::Path => "CdhijkLlnpru",
            In::Proxy => "hnpr",
        }
    }
}

/// Expands `text`. `variable` looks into the environment.
///
/// # Errors
/// One sentence that names what cannot be expanded; ssh ends there as well.
pub(super) fn expand(
    text: &str,
    within: In,
    facts: &Facts,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    match within {
        In::Proxy => replace(text, within, facts, variable),
        In::Path => replace(&tilde(text, &facts.own.home)?, within, facts, variable),
    }
}

/// `~` in front is the home of the passwd entry, whatever `$HOME` says.
///
/// # Errors
/// Where it is somebody else's.
pub(super) fn tilde(text: &str, home: &str) -> Result<String, String> {
    match text.strip_prefix('~') {
        None => Ok(text.to_owned()),
        Some(rest) if rest.is_empty() || rest.starts_with('/') => Ok(format!("{home}{rest}")),
        Some(_) => {
            Err(format!("{text:?} is in somebody else's home, which is not looked up; write the whole path"))
        }
    }
}

fn replace(
    text: &str,
    within: In,
    facts: &Facts,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['%', '$']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(name) = rest.strip_prefix("${").filter(|_| within == In::Path) {
            let (name, after) =
                name.split_once('}').ok_or_else(|| format!("a \"${{\" has no \"}}\" in {text:?}"))?;
            let value = variable(name)
                .ok_or_else(|| format!("the variable {name} of {text:?} is not in the environment"))?;
            out.push_str(&value);
            rest = after;
        } else if let Some(after) = rest.strip_prefix('%') {
            let token = after.chars().next().ok_or_else(|| format!("a single '%' ends {text:?}"))?;
            out.push_str(
                &facts
                    .value(token, within)
                    .ok_or_else(|| format!("%{token} is not a token that can stand in {text:?}"))?,
            );
            rest = &after[token.len_utf8()..];
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

impl Facts {
    fn value(&self, token: char, within: In) -> Option<String> {
        if token == '%' {
            return Some("%".into());
        }
        let allowed = within.allowed().contains(token);
        allowed.then(|| match token {
            'C' => self.own.hash.clone(),
            'd' => self.own.home.clone(),
            'h' => self.host.clone(),
            'i' => self.own.local_uid.clone(),
            'j' => self.jump.clone(),
            'k' => self.key_alias.clone(),
            'L' => self.own.local_host_short.clone(),
            'l' => self.own.local_host.clone(),
            'n' => self.original.clone(),
            'p' => self.port.to_string(),
            'r' => self.user.clone(),
            _ => self.own.local_user.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            original: "alias".into(),
            host: "real.example".into(),
            port: 2200,
            user: "bob".into(),
            key_alias: "al".into(),
            jump: "j1,j2".into(),
            own: Own::from_answer("/home/a b/|00ff|lap.example|lap|ann|1000").unwrap(),
        }
    }

    fn path(text: &str) -> Result<String, String> {
        expand(text, In::Path, &facts(), &|name| (name == "KEYS").then(|| "/keys%h".to_owned()))
    }

    #[test]
    fn every_token_of_a_path_is_expanded() {
        assert_eq!(
            path("~/%h_%p_%r_%n_%u_%i_%d_%l_%L_%k_%j_%C_%%").unwrap(),
            "/home/a b/real.example_2200_bob_alias_ann_1000_/home/a b_lap.example_lap_al_j1,j2_00ff_%"
        );
        assert_eq!(path("${KEYS}/$x/%%h").unwrap(), "/keys%h/$x/%h");
        assert_eq!(path("~").unwrap(), "/home/a b");
        assert_eq!(path("/a/~/b").unwrap(), "/a/~/b");
    }

    #[test]
    fn what_cannot_be_expanded_is_said() {
        for (text, said) in [
            ("/k/%Z", "%Z is not a token"),
            ("/k/%", "a single '%'"),
            ("/k/%é", "%é is not a token"),
            ("${NO}/x", "the variable NO"),
            ("${NO", "has no"),
            ("~bob/x", "somebody else's home"),
            ("/k/%T", "%T is not a token"),
        ] {
            let why = path(text).unwrap_err();
            assert!(why.contains(said), "{text}: {why}");
        }
    }

    #[test]
    fn a_proxy_command_keeps_what_its_shell_expands() {
        let proxy = |text: &str| expand(text, In::Proxy, &facts(), &|_| None);
        assert_eq!(
            proxy("nc ${X} $Y ~/z %h %p %r %n %%").unwrap(),
            "nc ${X} $Y ~/z real.example 2200 bob alias %"
        );
        assert!(proxy("nc %d").is_err());
    }

    #[test]
    fn an_answer_of_another_shape_is_none() {
        assert_eq!(Own::from_answer("/home/a/|x|y"), None);
        assert_eq!(Own::from_answer(""), None);
        assert_eq!(Own::from_answer("none"), None);
    }
}
