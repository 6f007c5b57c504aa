//! What `ssh -G` prints. Bytes before the first NUL are what ssh says of a host, those after it what it says where
//! nothing is configured.

use nbtunneld::ssh_config::{JumpHost, Way, parse};

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "ssh_g",
    feed,
    words: &[
        "hostname ",
        "user ",
        "port ",
        "identityfile ",
        "userknownhostsfile ",
        "localforward ",
        "remoteforward ",
        "dynamicforward ",
        "gatewayports yes",
        "proxyjump ",
        "proxycommand ",
        "rekeylimit ",
        "addkeystoagent ",
        "verifyhostkeydns ",
        "connecttimeout ",
        "[socks]:0",
        "[::1]:",
        "none",
        "\n",
        "\0",
        "%h",
        "~/",
        "ssh://",
        "22",
    ],
};

fn feed(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (said, usual) = text.split_once('\0').unwrap_or((&text, ""));
    let Ok(config) = parse(said, usual) else { return };
    assert!(config.port != 0 && !config.hostname.is_empty() && !config.user.is_empty());
    assert!(config.unhonoured.iter().all(|note| !note.chars().any(char::is_control)));
    if let Some(Way::Jump(hops)) = &config.way {
        for hop in hops {
            assert!(!hop.host.starts_with('-'), "{hop:?}");
            assert_eq!(hop.to_string().parse::<JumpHost>().as_ref(), Ok(hop));
        }
    }
    // What is usual counts as not set, whatever it is.
    if let Ok(plain) = parse(said, said) {
        assert!(plain.identity_files.is_none() && plain.unhonoured.is_empty() && plain.way.is_none());
    }
}
