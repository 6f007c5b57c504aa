//! Our file of Hosts for `nbctl export ssh-config`, and what is read back of it. Pure.

use nbtunnel_proto::SshHost;

use super::rules::{Rules, escaped, quoted};

/// The keys that ssh and we try where nothing names others (ssh_config(5), IdentityFile).
const USUAL_KEYS: [&str; 3] = ["id_rsa", "id_ecdsa", "id_ed25519"];

/// Where ssh looks for host keys unless it is told otherwise.
const USUAL_KNOWN_HOSTS: [&str; 2] = ["known_hosts", "known_hosts2"];

/// The agent of Windows, which its ssh asks by itself.
const USUAL_PIPE: &str = r"\\.\pipe\openssh-ssh-agent";

/// How our file begins.
const HEAD: &str =
    "# Written by `nbctl export ssh-config`, which keeps it; what is changed here by hand is lost.\n";

/// One Host of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// What ssh calls it.
    pub(super) host: String,
    /// The tunnel.
    pub(super) tunnel: String,
    text: String,
}

impl Block {
    /// The Host by which ssh goes to `to`, called `host`; `proxy` starts `nbctl proxy`. A plain one without conditions:
    /// editors list and read such by themselves.
    pub(super) fn new(host: &str, to: &SshHost, proxy: &[String], rules: Rules) -> Block {
        let mut text = format!("# Tunnel {}\nHost {host}\n", to.name);
        let mut say = |keyword: &str, value: &str| text.push_str(&format!("    {keyword} {value}\n"));
        let path = |path: &String| quoted(&escaped(&rules.path(path)));
        say("HostName", &escaped(&to.host));
        say("Port", &to.port.to_string());
        if !to.user.is_empty() {
            say("User", &quoted(&to.user));
        }
        if let Some(alias) = &to.alias {
            say("HostKeyAlias", &quoted(alias));
        }
        match &to.identity_files[..] {
            [] => say("IdentityFile", "none"),
            // The same is tried without a word; and where ssh is told of keys, it does not try those that stay unsaid.
            files if are_usual(files, &USUAL_KEYS) && files.len() == USUAL_KEYS.len() => {}
            files => files.iter().for_each(|file| say("IdentityFile", &path(file))),
        }
        to.certificate_files.iter().for_each(|file| say("CertificateFile", &path(file)));
        if to.identities_only {
            say("IdentitiesOnly", "yes");
        }
        match &to.identity_agent {
            None => {}
            Some(pipe) if pipe == USUAL_PIPE => {}
            Some(variable) if variable.starts_with('$') => say("IdentityAgent", variable),
            Some(agent) => say("IdentityAgent", &path(agent)),
        }
        match &to.known_hosts[..] {
            [] => say("UserKnownHostsFile", "none"),
            files if are_usual(files, &USUAL_KNOWN_HOSTS) => {}
            files => say("UserKnownHostsFile", &files.iter().map(path).collect::<Vec<_>>().join(" ")),
        }
        to.options.iter().for_each(|(keyword, value)| say(keyword, value));
        say("ProxyCommand", &rules.command(proxy));
        Block { host: host.to_owned(), tunnel: to.name.clone(), text }
    }
}

/// Whether these are files of ~/.ssh with these names, in their order.
fn are_usual(files: &[String], names: &[&str]) -> bool {
    let is_usual = |(file, usual): (&String, &&str)| {
        let mut parts = file.rsplit(['/', '\\']);
        parts.next() == Some(usual) && parts.next() == Some(".ssh")
    };
    files.len() <= names.len() && files.iter().zip(names).all(is_usual)
}

/// What a tunnel is called in ssh where its own name means something else.
pub(super) fn other_names(tunnel: &str) -> impl Iterator<Item = String> {
    let numbered = (2..10).map(move |number| format!("nbt-{tunnel}-{number}"));
    std::iter::once(format!("nbt-{tunnel}")).chain(numbered)
}

/// Our file with these Hosts.
pub(super) fn file(blocks: &[Block]) -> String {
    let mut text = HEAD.to_owned();
    for block in blocks {
        text.push('\n');
        text.push_str(&block.text);
    }
    text
}

/// The Hosts in our file as it was written.
pub(super) fn read(file: &[u8]) -> Vec<Block> {
    let mut blocks = Vec::new();
    for part in String::from_utf8_lossy(file).split("\n# Tunnel ").skip(1) {
        let part = format!("# Tunnel {}\n", part.trim_end());
        let mut lines = part.lines();
        let tunnel = lines.next().and_then(|line| line.strip_prefix("# Tunnel "));
        let host = lines.next().and_then(|line| line.strip_prefix("Host "));
        if let (Some(tunnel), Some(host)) = (tunnel, host) {
            blocks.push(Block { host: host.to_owned(), tunnel: tunnel.to_owned(), text: part.clone() });
        }
    }
    blocks
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn alice() -> SshHost {
        SshHost {
            name: "alice".into(),
            host: "fe80::1%eth0".into(),
            port: 2222,
            user: "me".into(),
            alias: Some("gpu".into()),
            identity_files: vec!["/home/me/.ssh/id_ed25519".into(), "/home/me/my keys/100%".into()],
            certificate_files: vec!["/c-cert.pub".into()],
            identities_only: true,
            identity_agent: Some("/run/my agent".into()),
            known_hosts: vec!["/home/me/.ssh/known_hosts".into()],
            asks: false,
            options: vec![("Ciphers".into(), "aes256-cbc".into())],
            on_the_way: vec![],
        }
    }

    fn text(to: &SshHost, rules: Rules) -> String {
        Block::new("alice", to, &["nbctl".into(), "proxy".into(), "alice".into()], rules).text
    }

    #[test]
    fn a_host_says_what_another_client_needs_with_its_tokens_escaped() {
        let proxy = ["/opt/my tools/nbctl", "proxy", "alice"].map(str::to_owned);
        let block = Block::new("alice", &alice(), &proxy, Rules::Posix);
        let text = file(std::slice::from_ref(&block));
        assert!(text.ends_with(
            "\n# Tunnel alice\nHost alice\n    HostName fe80::1%%eth0\n    Port 2222\n    User me\n    HostKeyAlias gpu\n\
             \x20   IdentityFile /home/me/.ssh/id_ed25519\n    IdentityFile \"/home/me/my keys/100%%\"\n\
             \x20   CertificateFile /c-cert.pub\n    IdentitiesOnly yes\n    IdentityAgent \"/run/my agent\"\n\
             \x20   Ciphers aes256-cbc\n\
             \x20   ProxyCommand '/opt/my tools/nbctl' proxy alice\n"
        ), "{text}");
        assert_eq!(read(text.as_bytes()), [block]);
    }

    #[test]
    fn what_is_usual_is_not_said_and_nothing_is_said_to_be_none() {
        let usual: Vec<String> = USUAL_KEYS.iter().map(|key| format!("/home/me/.ssh/{key}")).collect();
        let mut to = SshHost { identity_files: usual, ..alice() };
        assert!(!text(&to, Rules::Posix).contains("IdentityFile"));
        // One of them alone is something else: the others are not to be tried.
        to.identity_files.truncate(1);
        assert!(text(&to, Rules::Posix).contains("IdentityFile /home/me/.ssh/id_rsa\n"));
        to.identity_files.clear();
        to.known_hosts.clear();
        to.identity_agent = Some("none".into());
        let said = text(&to, Rules::Posix);
        for line in ["IdentityFile none\n", "UserKnownHostsFile none\n", "IdentityAgent none\n"] {
            assert!(said.contains(line), "{said}");
        }
    }

    #[test]
    fn on_windows_every_ssh_can_follow_the_paths() {
        let to = SshHost {
            identity_files: vec![r"C:\Users\my name\.ssh\lab".into()],
            certificate_files: vec![],
            identity_agent: Some(r"\\.\pipe\mine".into()),
            known_hosts: vec![r"C:\Users\my name\.ssh\known_hosts".into()],
            ..alice()
        };
        let said = text(&to, Rules::Windows);
        assert!(said.contains("    IdentityFile \"C:/Users/my name/.ssh/lab\"\n"), "{said}");
        assert!(said.contains("    IdentityAgent //./pipe/mine\n"), "{said}");
        assert!(said.ends_with("    ProxyCommand \"nbctl\" proxy alice\n"), "{said}");
        assert!(!said.contains("UserKnownHostsFile"), "{said}");
        let usual = SshHost { identity_agent: Some(USUAL_PIPE.into()), ..to };
        assert!(!text(&usual, Rules::Windows).contains("IdentityAgent"));
    }
}
