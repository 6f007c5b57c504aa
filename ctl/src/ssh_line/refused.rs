//! Keywords of ssh_config(5) that a tunnel cannot honour, where that would change who is trusted, who logs in or where
//! it leads. Of others, which it does without, its user is told. Pure.

/// A keyword, and where it changes nothing: what is then its value.
struct Keyword {
    /// In lower case, as is the next.
    name: &'static str,
    harmless: &'static [&'static str],
    why: &'static str,
    hint: &'static str,
}

const OFF: &[&str] = &["no", "false", "none"];

const LEAVE_OUT: &str = "leave it out if that will do";
const TOKEN: &str = "keys on a token are used through an agent";
const LOAD: &str = "load the library into an agent with `ssh-add -s`, and leave it out here";
const SECURITY_KEY: &str = "load the key into an agent with `ssh-add -S`, and leave it out here";
const AS_FILE: &str = "write the keys to a file, and name that with UserKnownHostsFile";
const KERBEROS: &str = "leave it out, or log in by a key";

/// In the order of the alphabet.
const KEYWORDS: &[Keyword] = &[
    keyword("casignaturealgorithms", &[], "what an authority may sign with is not restricted", LEAVE_OUT),
    keyword("gssapiclientidentity", &[], "the ticket of the usual cache is used", KERBEROS),
    keyword("gssapiserveridentity", &[], "the server is asked for by the name of the host", KERBEROS),
    keyword("hostbasedauthentication", OFF, "host-based logins are not offered", "log in by a key"),
    keyword("knownhostscommand", OFF, "host keys are looked up in files only", AS_FILE),
    keyword(
        "permitremoteopen",
        &["any"],
        "what a remote SOCKS forward may open is not restricted",
        LEAVE_OUT,
    ),
    keyword("pkcs11provider", OFF, TOKEN, LOAD),
    keyword(
        "proxyusefdpass",
        OFF,
        "the proxy's standard streams are used",
        "give a ProxyCommand that carries the data itself",
    ),
    keyword("refuseconnection", &[], "the connection is made", "leave it out, or add no tunnel there"),
    keyword("requiredrsasize", &["0", "1024"], "RSA keys of any size are accepted", LEAVE_OUT),
    keyword(
        "revokedhostkeys",
        OFF,
        "revoked keys are those that known_hosts marks",
        "mark them @revoked in known_hosts, and leave it out here",
    ),
    keyword("securitykeyprovider", &["internal"], "security keys are used through an agent", SECURITY_KEY),
    keyword("smartcarddevice", OFF, TOKEN, LOAD),
    keyword(
        "tunnel",
        OFF,
        "network interfaces are not tunnelled",
        "forward the ports that it is for (-L, -R, -D)",
    ),
];

const fn keyword(
    name: &'static str,
    harmless: &'static [&'static str],
    why: &'static str,
    hint: &'static str,
) -> Keyword {
    Keyword { name, harmless, why, hint }
}

/// Why `keyword` is refused with this value, both in lower case, and what to do; nothing where it is not.
pub(super) fn why(keyword: &str, value: &str) -> Option<(&'static str, &'static str)> {
    let found = KEYWORDS.iter().find(|known| known.name == keyword)?;
    (!found.harmless.contains(&value)).then_some((found.why, found.hint))
}
