//! Command lines and addresses that people paste: whatever is taken means the same when it is written in ssh's words.

use nbctl::server_url;
use nbctl::ssh_line::{Tunnel, parse, parse_line};

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "ssh_line",
    feed,
    words: &[
        "ssh ",
        "autossh -M ",
        "ssh://",
        "http://",
        "https://",
        "?token=",
        "%41",
        "env ",
        "A=b ",
        "$ ",
        " -N",
        " -f",
        " -L ",
        " -R ",
        " -D ",
        " -J ",
        " -o ",
        " -oPort=",
        " -p ",
        " -l ",
        " -i ",
        " -F ",
        " -g",
        " -4",
        " -C",
        " -- ",
        " –N",
        "none",
        "yes",
        "1m",
        "ProxyJump=",
        "ProxyCommand=",
        "GatewayPorts=yes",
        "ClearAllForwardings=yes",
        "UserKnownHostsFile=",
        "ServerAliveInterval=",
        "StrictHostKeyChecking=",
        "IdentityFile=",
        "LocalForward=",
        "1:a:2",
        "[::1]",
        "me@",
        "h",
        "'",
        "\"",
        "\\",
        "\\\n",
        "\n",
        "\r\n",
        "#",
        "&",
        ";",
        "|",
        ">",
        "2>&1",
        "$",
        "`",
        "C:\\",
        "ü",
    ],
};

fn feed(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match parse_line(text) {
        Ok(tunnel) => stands(text, tunnel),
        Err(refusal) => assert!(!refusal.message.is_empty() && !refusal.hint.is_empty(), "{text:?}"),
    }
    if let Ok(url) = server_url::parse(text) {
        assert!(!url.host.is_empty() && !url.host.starts_with('-') && url.port != 0, "{url:?}");
        let hidden = format!("{:?}", server_url::ServerUrl { host: String::new(), ..url.clone() });
        assert!(url.token.is_none_or(|token| token.len() < 12 || !hidden.contains(&token)), "{hidden}");
    }
}

fn stands(text: &str, tunnel: Tunnel) {
    assert!(!tunnel.host.is_empty() && !tunnel.host.starts_with('-'), "{text:?}");
    assert!(!tunnel.user.as_ref().is_some_and(|user| user.is_empty() || user.starts_with('-')), "{text:?}");
    let again = parse(&words(&tunnel)).map(|again| bare(&again));
    assert_eq!(again.as_ref(), Ok(&bare(&tunnel)), "{text:?}");
}

/// Without what is said about it, and without the notebook's address, which is no option.
fn bare(tunnel: &Tunnel) -> Tunnel {
    Tunnel { notes: Vec::new(), left_out: Vec::new(), server: None, ..tunnel.clone() }
}

/// The line that says the same.
fn words(tunnel: &Tunnel) -> Vec<String> {
    let mut words = vec!["ssh".to_owned()];
    let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
    tunnel.ssh_config.iter().for_each(|file| add("-F", file.clone()));
    tunnel.user.iter().for_each(|user| add("-l", user.clone()));
    tunnel.port.iter().for_each(|port| add("-p", port.to_string()));
    if !tunnel.jump.is_empty() {
        add("-J", tunnel.jump.join(","));
    }
    let kinds = [
        ("-L", &tunnel.forwards),
        ("-R", &tunnel.remotes),
        ("-D", &tunnel.dynamics),
        ("-i", &tunnel.identity_files),
    ];
    for (flag, all) in kinds {
        all.iter().for_each(|one| add(flag, one.clone()));
    }
    if !tunnel.known_hosts.is_empty() {
        let files: Vec<String> = tunnel.known_hosts.iter().map(|file| quoted(file)).collect();
        add("-o", format!("UserKnownHostsFile={}", files.join(" ")));
    }
    tunnel.host_key.iter().for_each(|policy| match *policy {
        "strict" => add("-o", "StrictHostKeyChecking=yes".to_owned()),
        policy => add("-o", format!("StrictHostKeyChecking={policy}")),
    });
    tunnel.keepalive.iter().for_each(|time| add("-o", format!("ServerAliveInterval={time}")));
    tunnel.connect_timeout.iter().for_each(|time| add("-o", format!("ConnectTimeout={time}")));
    tunnel.options.iter().for_each(|option| add("-o", option.clone()));
    words.extend(["--".to_owned(), tunnel.host.clone()]);
    words
}

fn quoted(file: &str) -> String {
    format!("'{}'", file.replace('\'', r"'\''"))
}
