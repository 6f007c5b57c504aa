//! Every keyword that `ssh -G` prints, and whether we do as it says.

/// What a keyword means to a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// It has a field, or ssh has done it already before it answered.
    Honoured,
    /// A connection that runs no command and shows nothing is the same without it.
    Harmless,
    /// We do as it says in part: what of it, and what not.
    Partly(&'static str),
    /// It changes what would happen, and we do otherwise: why, or what instead.
    Told(&'static str),
}

use Care::{Harmless, Honoured, Partly, Told};

/// In the order of the alphabet. A session of our own is shared by our own means, so that the keywords of ssh's
/// control socket change nothing. Attempts go on for ever here, and lines are not logged by ssh.
const KEYWORDS: &[(&str, Care)] = &[
    ("AddKeysToAgent", Honoured),
    ("AddressFamily", Honoured),
    ("BatchMode", Honoured),
    ("BindAddress", Honoured),
    ("BindInterface", Honoured),
    ("CanonicalDomains", Honoured),
    ("CanonicalizeFallbackLocal", Honoured),
    ("CanonicalizeHostname", Honoured),
    ("CanonicalizeMaxDots", Honoured),
    ("CanonicalizePermittedCNAMEs", Honoured),
    ("CASignatureAlgorithms", Told("what an authority may sign with is not restricted")),
    ("CertificateFile", Honoured),
    ("ChannelTimeout", Told("channels are kept for as long as both ends want them")),
    ("CheckHostIP", Honoured),
    ("Ciphers", Honoured),
    ("ClearAllForwardings", Honoured),
    ("Compression", Honoured),
    ("ConnectionAttempts", Harmless),
    ("ConnectTimeout", Honoured),
    ("ControlMaster", Harmless),
    ("ControlPath", Harmless),
    ("ControlPersist", Harmless),
    ("DynamicForward", Honoured),
    ("EnableEscapeCommandline", Harmless),
    ("EnableSSHKeysign", Harmless),
    ("EscapeChar", Harmless),
    ("ExitOnForwardFailure", Honoured),
    ("FingerprintHash", Harmless),
    ("ForkAfterAuthentication", Harmless),
    ("ForwardAgent", Harmless),
    ("ForwardX11", Harmless),
    ("ForwardX11Timeout", Harmless),
    ("ForwardX11Trusted", Harmless),
    ("GatewayPorts", Honoured),
    ("GlobalKnownHostsFile", Honoured),
    ("GSSAPIAuthentication", Honoured),
    ("GSSAPIClientIdentity", Told("the ticket of the usual cache is used")),
    ("GSSAPIDelegateCredentials", Honoured),
    ("GSSAPIKexAlgorithms", Harmless),
    ("GSSAPIKeyExchange", Told("the host key proves who the server is, not Kerberos")),
    ("GSSAPIRenewalForcesRekey", Told("a renewed ticket is not handed on")),
    ("GSSAPIServerIdentity", Told("the server is asked for by the name of the host")),
    ("GSSAPITrustDns", Told("DNS does not change the name that the server is asked for by")),
    ("HashKnownHosts", Honoured),
    ("Host", Honoured),
    ("HostbasedAcceptedAlgorithms", Harmless),
    ("HostbasedAuthentication", Told("host-based logins are not offered")),
    ("HostKeyAlgorithms", Honoured),
    ("HostKeyAlias", Honoured),
    ("HostName", Honoured),
    ("IdentitiesOnly", Honoured),
    ("IdentityAgent", Honoured),
    ("IdentityFile", Honoured),
    ("IgnoreUnknown", Honoured),
    ("IPQoS", Harmless),
    ("KbdInteractiveAuthentication", Honoured),
    ("KbdInteractiveDevices", Told("the server chooses what it asks by")),
    ("KexAlgorithms", Honoured),
    ("KnownHostsCommand", Told("host keys are looked up in files only")),
    ("LocalCommand", Harmless),
    ("LocalForward", Honoured),
    ("LogLevel", Harmless),
    ("LogVerbose", Harmless),
    ("MACs", Honoured),
    ("NoHostAuthenticationForLocalhost", Told("the host key of this machine is checked as well")),
    ("NumberOfPasswordPrompts", Told("the server says how often it asks")),
    ("ObscureKeystrokeTiming", Harmless),
    ("PasswordAuthentication", Honoured),
    ("PermitLocalCommand", Told("no command runs when the connection is up")),
    ("PermitRemoteOpen", Told("what a remote SOCKS forward may open is not restricted")),
    ("PKCS11Provider", Told("keys on a token are used through an agent (ssh-add -s)")),
    ("Port", Honoured),
    ("PreferredAuthentications", Honoured),
    ("ProxyCommand", Honoured),
    ("ProxyJump", Honoured),
    ("ProxyUseFdpass", Told("the proxy's standard streams are used")),
    ("PubkeyAcceptedAlgorithms", Honoured),
    ("PubkeyAuthentication", Honoured),
    ("RefuseConnection", Told("the connection is made")),
    ("RekeyLimit", Partly("another session follows after so many bytes, at least 1 GiB")),
    ("RemoteCommand", Harmless),
    ("RemoteForward", Honoured),
    ("RequestTTY", Harmless),
    ("RequiredRSASize", Told("RSA keys of other sizes are accepted")),
    ("RevokedHostKeys", Told("revoked keys are those that known_hosts marks @revoked")),
    ("SecurityKeyProvider", Told("security keys are used through an agent")),
    ("SendEnv", Harmless),
    ("ServerAliveCountMax", Honoured),
    ("ServerAliveInterval", Honoured),
    ("SessionType", Harmless),
    ("SetEnv", Harmless),
    ("StdinNull", Harmless),
    ("StreamLocalBindMask", Told("a socket of ours is for its owner only (0177)")),
    ("StreamLocalBindUnlink", Harmless),
    ("StrictHostKeyChecking", Honoured),
    ("SyslogFacility", Harmless),
    ("Tag", Honoured),
    ("TCPKeepAlive", Honoured),
    ("Tunnel", Told("network interfaces are not tunnelled")),
    ("TunnelDevice", Harmless),
    ("UpdateHostKeys", Honoured),
    ("User", Honoured),
    ("UserKnownHostsFile", Honoured),
    ("VerifyHostKeyDNS", Honoured),
    ("VersionAddendum", Harmless),
    ("VisualHostKey", Harmless),
    ("WarnWeakCrypto", Harmless),
    ("XAuthLocation", Harmless),
];

/// What to do with `keyword`, which `ssh -G` prints in any case; none for one that is newer than we are.
pub(super) fn find(keyword: &str) -> Option<(&'static str, Care)> {
    KEYWORDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(keyword)).copied()
}

/// The sentence for a keyword whose value is not the usual one; none where it changes nothing for us.
pub(super) fn sentence(keyword: &str, value: &str) -> Option<String> {
    match find(keyword) {
        Some((_, Honoured | Harmless)) => None,
        // A time alone is followed.
        Some(("RekeyLimit", _)) if value.starts_with("0 ") => None,
        Some((name, Partly(what))) => Some(format!("{name} {value} is followed in part: {what}")),
        Some((name, Told(why))) => Some(format!("{name} {value} is not followed: {why}")),
        None => Some(format!("{keyword} {value} is not followed: it is newer than this nbtunnel")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_keyword_stands_there_once_and_in_order() {
        let lower: Vec<String> = KEYWORDS.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        let mut sorted = lower.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(lower, sorted);
    }

    #[test]
    fn what_is_not_followed_is_a_sentence() {
        assert_eq!(
            sentence("hostbasedauthentication", "yes").unwrap(),
            "HostbasedAuthentication yes is not followed: host-based logins are not offered"
        );
        assert_eq!(
            sentence("rekeylimit", "1024 60").unwrap(),
            "RekeyLimit 1024 60 is followed in part: another session follows after so many bytes, at least 1 GiB"
        );
        assert_eq!(sentence("rekeylimit", "0 60"), None);
        assert!(sentence("brandnewthing", "x").unwrap().contains("newer"));
        assert_eq!(sentence("sendenv", "LANG"), None);
    }
}
