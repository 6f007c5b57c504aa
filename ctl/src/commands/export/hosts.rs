//! The texts of `nbctl export ssh-config`, pure: our file of Hosts, the line that includes it, and what changes.

use nbtunnel_proto::SshHost;

/// The keys that ssh tries where nothing names others (ssh_config(5), IdentityFile).
const USUAL_KEYS: [&str; 7] =
    ["id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk", "id_xmss", "id_dsa"];

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
    /// The Host by which ssh goes to `to`, called `host`; `proxy` starts `nbctl proxy`.
    pub(super) fn new(host: &str, to: &SshHost, proxy: &[String]) -> Block {
        let mut text = format!("# Tunnel {}\nHost {host}\n", to.name);
        let mut say = |keyword: &str, value: &str| text.push_str(&format!("    {keyword} {value}\n"));
        say("HostName", &escaped(&to.host));
        say("Port", &to.port.to_string());
        if !to.user.is_empty() {
            say("User", &quoted(&to.user));
        }
        if let Some(alias) = &to.alias {
            say("HostKeyAlias", &quoted(alias));
        }
        for file in to.identity_files.iter().filter(|file| !is_usual(file, &USUAL_KEYS)) {
            say("IdentityFile", &quoted(&escaped(file)));
        }
        let is_known = |file: &String| is_usual(file, &["known_hosts", "known_hosts2"]);
        if !to.known_hosts.iter().all(is_known) {
            let files: Vec<String> = to.known_hosts.iter().map(|file| quoted(&escaped(file))).collect();
            say("UserKnownHostsFile", &files.join(" "));
        }
        say("ProxyCommand", &command(proxy));
        Block { host: host.to_owned(), tunnel: to.name.clone(), text }
    }
}

/// The command line for the shell that ssh starts, with its own tokens escaped.
fn command(words: &[String]) -> String {
    let line = if cfg!(windows) {
        let quote = |word: &String| if word.contains(' ') { format!("\"{word}\"") } else { word.clone() };
        words.iter().map(quote).collect::<Vec<_>>().join(" ")
    } else {
        shell_words::join(words)
    };
    escaped(&line)
}

/// Without tokens (ssh_config(5), TOKENS).
fn escaped(text: &str) -> String {
    text.replace('%', "%%")
}

fn quoted(word: &str) -> String {
    if word.contains([' ', '\t', '#', '\'', '=']) { format!("\"{word}\"") } else { word.to_owned() }
}

fn is_usual(file: &str, names: &[&str]) -> bool {
    let mut parts = file.rsplit(['/', '\\']);
    parts.next().is_some_and(|name| names.contains(&name)) && parts.next() == Some(".ssh")
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
pub(super) fn read(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    for part in text.split("\n# Tunnel ").skip(1) {
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

/// What ssh could call `tunnel`, given what its `config` has Hosts for without our own file, and which hosts `tunnels`
/// lead to: a tunnel must not find the way through itself there.
pub(super) fn host_for(tunnel: &str, config: &str, tunnels: &[String]) -> String {
    let taken = |name: &str| {
        config.lines().filter_map(|line| keyword(line, "host")).any(|patterns| {
            patterns.split_whitespace().any(|pattern| pattern.trim_matches('"').eq_ignore_ascii_case(name))
        })
    };
    let is_led_to = tunnels.iter().any(|host| host.eq_ignore_ascii_case(tunnel));
    if is_led_to || taken(tunnel) { format!("nbt-{tunnel}") } else { tunnel.to_owned() }
}

/// What comes after a keyword, if the line begins with it (ssh_config(5): whitespace, or one `=`).
fn keyword<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    let line = line.trim_start();
    let is_it = line.get(..word.len())?.eq_ignore_ascii_case(word);
    let rest = is_it.then(|| &line[word.len()..])?;
    rest.starts_with([' ', '\t', '=']).then(|| rest.trim_start().trim_start_matches('=').trim())
}

/// The line that includes `path`. It has to be the first: further down it would belong to a Host.
pub(super) fn include(path: &str) -> String {
    format!("Include {}\n", quoted(path))
}

/// `config` with the line of ours; nothing if it has it.
pub(super) fn included(config: &str, line: &str) -> Option<String> {
    let has = config.lines().any(|there| there == line.trim_end());
    (!has).then(|| format!("{line}{config}"))
}

/// `config` without the line of ours, and else as it was; nothing if it has none.
pub(super) fn excluded(config: &str, line: &str) -> Option<String> {
    let at = if config.starts_with(line) { 0 } else { config.find(&format!("\n{line}"))? + 1 };
    Some(format!("{}{}", &config[..at], &config[at + line.len()..]))
}

/// What changes from `before` to `after`, line by line, with a word of what is around it.
pub(super) fn diff(path: &str, before: &str, after: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let mut text = format!("--- {path}\n+++ {path}\n@@ line {} @@\n", head + 1);
    let removed = old[head..old.len() - tail].iter().map(|line| format!("-{line}\n"));
    let added = new[head..new.len() - tail].iter().map(|line| format!("+{line}\n"));
    text.extend(removed.chain(added));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> SshHost {
        SshHost {
            name: "alice".into(),
            host: "fe80::1%eth0".into(),
            port: 2222,
            user: "me".into(),
            alias: Some("gpu".into()),
            identity_files: vec!["/home/me/.ssh/id_ed25519".into(), "/home/me/my keys/100%".into()],
            known_hosts: vec!["/home/me/.ssh/known_hosts".into()],
            asks: false,
        }
    }

    #[test]
    fn a_host_says_what_another_client_needs_with_its_tokens_escaped() {
        let proxy = ["/opt/my tools/nbctl", "proxy", "alice"].map(str::to_owned);
        let block = Block::new("alice", &alice(), &proxy);
        let text = file(std::slice::from_ref(&block));
        assert!(text.ends_with(
            "\n# Tunnel alice\nHost alice\n    HostName fe80::1%%eth0\n    Port 2222\n    User me\n    HostKeyAlias gpu\n\
             \x20   IdentityFile \"/home/me/my keys/100%%\"\n    ProxyCommand '/opt/my tools/nbctl' proxy alice\n"
        ), "{text}");
        assert_eq!(read(&text), [block]);
    }

    #[test]
    fn a_name_that_is_taken_is_another_one() {
        let config = "Host *\n  host other \"ALICE\"\nHostName alice\n";
        assert_eq!(host_for("alice", config, &[]), "nbt-alice");
        assert_eq!(host_for("alic", config, &[]), "alic");
        assert_eq!(host_for("bob", "Host=bob", &[]), "nbt-bob");
        assert_eq!(host_for("gpu", "", &["h".into(), "GPU".into()]), "nbt-gpu");
    }

    #[test]
    fn the_line_comes_and_goes_and_leaves_every_byte() {
        let line = include("/home/me/a b");
        assert_eq!(line, "Include \"/home/me/a b\"\n");
        for config in ["", "Host x\r\n\tPort 1", "\n\n# end\n", "Include \"/home/me/a b\"x\n"] {
            let with = included(config, &line).unwrap();
            assert_eq!(included(&with, &line), None);
            assert_eq!(excluded(&with, &line).unwrap(), config);
            assert_eq!(excluded(config, &line), None);
        }
        assert_eq!(excluded(&format!("Host x\n{line}y\n"), &line).unwrap(), "Host x\ny\n");
    }

    #[test]
    fn only_what_changes_is_shown() {
        assert_eq!(diff("f", "a\nb\nc\n", "a\nx\nc\n"), "--- f\n+++ f\n@@ line 2 @@\n-b\n+x\n");
    }
}
