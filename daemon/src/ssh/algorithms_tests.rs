use std::fs;

use super::*;
use crate::ssh::hop::Algorithms;
use crate::ssh::known_hosts::Names;
use crate::ssh::shakebed::shake;
use crate::ssh::testbed::{Sshd, hop, public, until};

fn list(names: &str) -> Option<Vec<String>> {
    Some(names.split(',').map(str::to_owned).collect())
}

fn asked(algorithms: Algorithms) -> Hop {
    Hop { algorithms, ..hop("h", 22) }
}

fn proposed(to: &Hop) -> Result<(Preferred, Vec<String>), Failure> {
    preferred(to, &KnownHosts::read(to, &Names::of(to, None)))
}

#[tokio::test]
async fn what_is_asked_for_is_what_the_server_speaks() {
    let sshd = Sshd::start("ed25519", "LogLevel DEBUG1");
    for (kex, cipher, mac, compression) in [
        ("diffie-hellman-group14-sha256", "aes256-ctr", "hmac-sha2-512", true),
        ("ecdh-sha2-nistp521", "aes192-ctr", "hmac-sha2-256-etm@openssh.com", false),
        ("curve25519-sha256@libssh.org", "chacha20-poly1305@openssh.com", "hmac-sha2-256", false),
    ] {
        fs::write(sshd.at("log"), "").unwrap();
        let mut to = sshd.hop();
        to.algorithms = Algorithms {
            kex: list(&format!("unheard-of,{kex}")),
            ciphers: list(cipher),
            macs: list(mac),
            compression,
            host_keys: None,
        };
        let mut shaken = shake(&sshd, to).await.unwrap();
        shaken.log_in().await;
        let told = shaken.told()();
        assert!(told.contains("KexAlgorithms") && told.contains("unheard-of"), "{told}");
        let log = sshd.log();
        let compression = if compression { "zlib@openssh.com" } else { "none" };
        let mac = if cipher.starts_with("chacha") { "<implicit>" } else { mac };
        for line in [
            format!("kex: algorithm: {kex} "),
            format!("kex: client->server cipher: {cipher} MAC: {mac} compression: {compression}"),
        ] {
            assert!(log.contains(&line), "{line} in {log}");
        }
        // It tells the client before it writes that down.
        until("sshd lets it in", || sshd.log().contains("Accepted publickey")).await;
    }
}

#[tokio::test]
async fn sha1_is_spoken_with_old_servers_where_it_is_asked_for() {
    let old = "KexAlgorithms diffie-hellman-group14-sha1\nCiphers aes128-cbc\nMACs hmac-sha1\nHostKeyAlgorithms ssh-rsa";
    let sshd = Sshd::start("rsa", old);
    let failure = shake(&sshd, sshd.hop()).await.err().unwrap();
    assert_eq!(failure.kind, FailureKind::NoCommonAlgorithm);
    assert!(failure.message.contains("it offers diffie-hellman-group14-sha1"), "{failure}");
    assert!(failure.message.contains("allowed are mlkem768x25519-sha256, curve25519-sha256"), "{failure}");
    let mut to = sshd.hop();
    to.algorithms = Algorithms {
        kex: list("diffie-hellman-group14-sha1"),
        ciphers: list("aes128-cbc"),
        macs: list("hmac-sha1"),
        host_keys: list("ssh-rsa"),
        compression: false,
    };
    shake(&sshd, to).await.unwrap().log_in().await;
}

#[tokio::test]
async fn a_list_without_anything_in_common_names_both_sides() {
    let sshd = Sshd::start("ed25519", "");
    let mut to = sshd.hop();
    to.algorithms.host_keys = list("rsa-sha2-512");
    let failure = shake(&sshd, to).await.err().unwrap();
    assert_eq!(failure.kind, FailureKind::NoCommonAlgorithm);
    assert!(failure.message.contains("it offers ssh-ed25519; allowed are rsa-sha2-512"), "{failure}");
    assert!(failure.hint.contains("HostKeyAlgorithms"), "{failure}");
}

#[test]
fn a_list_of_which_nothing_is_known_is_a_mistake_in_the_configuration() {
    let only = |algorithms| proposed(&asked(algorithms)).err().unwrap();
    for (keyword, failure) in [
        ("KexAlgorithms", only(Algorithms { kex: list("none,ext-info-c,sntrup9"), ..Algorithms::default() })),
        ("Ciphers", only(Algorithms { ciphers: list("none,clear,rot13"), ..Algorithms::default() })),
        ("MACs", only(Algorithms { macs: list("none,crc32"), ..Algorithms::default() })),
        ("HostKeyAlgorithms", only(Algorithms { host_keys: list("ssh-dss"), ..Algorithms::default() })),
    ] {
        assert_eq!(failure.kind, FailureKind::Config);
        assert!(failure.message.starts_with(keyword), "{failure}");
    }
    let failure = only(Algorithms { ciphers: list("rot13\u{1b}[2J"), ..Algorithms::default() });
    assert!(failure.message.ends_with("rot13 [2J"), "{failure:?}");
}

#[test]
fn the_guard_against_a_cut_beginning_is_asked_for_beside_any_list() {
    let (preferred, notes) =
        proposed(&asked(Algorithms { kex: list("curve25519-sha256"), ..Algorithms::default() })).unwrap();
    assert_eq!(preferred.kex[0], kex::CURVE25519);
    assert!(KEX_EXTENSIONS.iter().all(|extension| preferred.kex.contains(extension)) && notes.is_empty());
}

#[test]
fn a_list_made_of_that_of_ssh_is_put_in_order_and_one_of_a_persons_own_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("known_hosts");
    crate::ssh::testbed::keygen(&dir.path().join("rsa"), "rsa", "");
    fs::write(&file, format!("h {}\n", public(&dir.path().join("rsa")))).unwrap();
    let first = |host_keys: Option<Vec<String>>| {
        let mut to = asked(Algorithms { host_keys, ..Algorithms::default() });
        to.host_keys.known_hosts = vec![file.clone()];
        let (preferred, _) = proposed(&to).unwrap();
        (preferred.key[0].to_string(), preferred.host_key_certificates.len())
    };
    // Of certificates only those whose key could be recognised, where no authority is on file.
    assert_eq!(first(None), ("rsa-sha2-512".into(), 2));
    let shortened =
        "ssh-ed25519-cert-v01@openssh.com,rsa-sha2-256-cert-v01@openssh.com,ssh-ed25519,rsa-sha2-256,ssh-rsa";
    assert_eq!(first(list(shortened)), ("rsa-sha2-256".into(), 1));
    assert_eq!(first(list("ssh-ed25519,rsa-sha2-256")), ("ssh-ed25519".into(), 0));
    assert_eq!(
        first(list("ecdsa-sha2-nistp256,ssh-ed25519-cert-v01@openssh.com")),
        ("ecdsa-sha2-nistp256".into(), 0)
    );
}
