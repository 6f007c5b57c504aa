//! What the servers saw of one attempt: the oracle.

use std::fs;

use anyhow::Result;

use crate::lab::Lab;

/// The keywords whose outcome is compared where a file has them.
const ALGORITHMS: [&str; 5] = ["ciphers", "kexalgorithms", "macs", "hostkeyalgorithms", "compression"];

/// Logins at each server, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// `USER from ADDRESS with KEY`, and what was agreed upon where the file says something about it.
    pub(crate) logins: [Vec<String>; 3],
    /// What a ProxyCommand wrote down.
    pub(crate) proxied: String,
}

/// Where the logs were when an attempt began.
pub(crate) struct Beginning([usize; 3]);

impl Beginning {
    pub(crate) fn now(lab: &Lab) -> Result<Beginning> {
        lab.freshen()?;
        Ok(Beginning([0, 1, 2].map(|server| lab.servers[server].log().len())))
    }

    fn news(&self, lab: &Lab, server: usize) -> String {
        lab.servers[server].log().get(self.0[server]..).unwrap_or_default().to_owned()
    }

    /// Whether somebody was let in where all ways lead.
    pub(crate) fn has_arrived(&self, lab: &Lab) -> bool {
        self.news(lab, 0).lines().any(|line| login(line).is_some())
    }

    /// What happened since; `text` is the file of the corpus.
    pub(crate) fn record(&self, lab: &Lab, text: &str) -> Result<Record> {
        let text = text.to_ascii_lowercase();
        let set: Vec<&str> = ALGORITHMS.into_iter().filter(|keyword| text.contains(keyword)).collect();
        let logins =
            [0, 1, 2].map(|server| logins(&self.news(lab, server), if server == 0 { &set } else { &[] }));
        Ok(Record { logins, proxied: fs::read_to_string(lab.path("proxied"))? })
    }
}

fn logins(log: &str, set: &[&str]) -> Vec<String> {
    let agreed: Vec<String> = log.lines().filter_map(|line| agreed(line, set)).collect();
    let mut logins: Vec<String> = log.lines().filter_map(login).collect();
    if let Some(last) = logins.last_mut() {
        for word in agreed {
            last.push_str(", ");
            last.push_str(&word);
        }
    }
    logins
}

/// `Accepted publickey for root from 127.0.0.1 port 4711 ssh2: ED25519 SHA256:…`
fn login(line: &str) -> Option<String> {
    let (user, rest) = line.strip_prefix("Accepted publickey for ")?.split_once(" from ")?;
    let (address, rest) = rest.split_once(" port ")?;
    let (_, key) = rest.split_once("ssh2: ")?;
    Some(format!("{user} from {address} with {key}"))
}

/// `debug1: kex: client->server cipher: aes128-ctr MAC: hmac-sha2-256 compression: none [preauth]`
fn agreed(line: &str, set: &[&str]) -> Option<String> {
    let line = line.strip_prefix("debug1: kex: ")?.trim_end_matches(" [preauth]");
    if let Some(kex) = line.strip_prefix("algorithm: ") {
        return set.contains(&"kexalgorithms").then(|| kex.to_owned());
    }
    if let Some(key) = line.strip_prefix("host key algorithm: ") {
        return set.contains(&"hostkeyalgorithms").then(|| key.to_owned());
    }
    let words: Vec<&str> = line.strip_prefix("client->server ")?.split(' ').collect();
    let after = |word: &str| words.iter().position(|w| *w == word).and_then(|at| words.get(at + 1).copied());
    let found = [("ciphers", "cipher:"), ("macs", "MAC:"), ("compression", "compression:")];
    let found: Vec<&str> = found
        .into_iter()
        .filter(|(keyword, _)| set.contains(keyword))
        .filter_map(|(_, word)| after(word))
        .collect();
    (!found.is_empty()).then(|| found.join(" "))
}

#[test]
fn a_log_is_read() {
    let log = "debug1: kex: algorithm: curve25519-sha256 [preauth]\n\
        debug1: kex: host key algorithm: ssh-ed25519 [preauth]\n\
        debug1: kex: client->server cipher: aes128-ctr MAC: hmac-sha2-256 compression: none [preauth]\n\
        Accepted publickey for root from 127.0.0.5 port 4711 ssh2: ED25519 SHA256:abc\n";
    assert_eq!(logins(log, &[]), ["root from 127.0.0.5 with ED25519 SHA256:abc"]);
    assert_eq!(
        logins(log, &["ciphers", "kexalgorithms", "macs"]),
        ["root from 127.0.0.5 with ED25519 SHA256:abc, curve25519-sha256, aes128-ctr hmac-sha2-256"]
    );
}
