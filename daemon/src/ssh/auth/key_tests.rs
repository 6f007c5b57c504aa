//! Keys and certificates of every kind, from files and from an agent, checked by a real sshd.

use std::fs;
use std::time::Duration;

use nbtunnel_core::FailureKind;
use secrecy::SecretString;

use super::Asked;
use super::bed::{authorize, certify, log_in, own, person};
use crate::ssh::AgentAt;
use crate::ssh::agent::Agents;
use crate::ssh::hop::AddToAgent;
use crate::ssh::testbed::{SshAgent, Sshd, keygen, run, until};

/// The algorithm names that keys of these kinds go by, as sshd's log has them.
const KINDS: [(&str, &str, &str); 5] = [
    ("ed25519", "", "ED25519"),
    ("ecdsa", "256", "ECDSA"),
    ("ecdsa", "384", "ECDSA"),
    ("ecdsa", "521", "ECDSA"),
    ("rsa", "2048", "RSA"),
];

fn no_agent() -> std::sync::Arc<Agents> {
    Agents::new(AgentAt::Nowhere, "/nonexistent".into())
}

fn make(sshd: &Sshd, kind: &str, bits: &str) -> String {
    let name = format!("{kind}{bits}");
    let path = sshd.at(&name);
    let mut arguments = vec!["-q", "-t", kind, "-N", "", "-f", path.to_str().unwrap()];
    if !bits.is_empty() {
        arguments.extend(["-b", bits]);
    }
    run("ssh-keygen", &arguments);
    name
}

/// What sshd says of the `many` keys that it let in. It tells the client before it writes that down.
async fn accepted(sshd: &Sshd, many: usize) -> Vec<String> {
    let accepted = || -> Vec<String> {
        let log = sshd.log();
        log.lines()
            .filter_map(|line| Some(line.split_once("Accepted publickey for ")?.1.to_owned()))
            .collect()
    };
    until("sshd writes every login down", || accepted().len() >= many).await;
    assert_eq!(accepted().len(), many, "{:?}", accepted());
    accepted()
}

#[tokio::test]
async fn keys_of_every_kind_get_in_from_files_and_from_the_agent() {
    let sshd = Sshd::start("ed25519", "");
    let agent = SshAgent::start();
    let agents = Agents::new(agent.place(), "/nonexistent".into());
    for (number, (kind, bits, word)) in KINDS.into_iter().enumerate() {
        let name = make(&sshd, kind, bits);
        authorize(&sshd, &[&name]);
        let mut hop = sshd.hop();
        hop.login.identity_files = vec![sshd.at(&name)];
        log_in(&hop, &no_agent(), None).await.is_in();
        agent.add(&sshd.at(&name));
        fs::remove_file(sshd.at(&name)).unwrap();
        assert_eq!(log_in(&hop, &agents, None).await.is_in(), Asked::Nobody);
        let accepted = accepted(&sshd, 2 * (number + 1)).await;
        assert!(accepted.iter().rev().take(2).all(|line| line.contains(&format!(": {word} SHA256:"))));
    }
}

#[tokio::test]
async fn an_rsa_key_signs_with_the_hash_that_both_sides_take() {
    for (server, ours, gets_in) in [
        ("rsa-sha2-256", Some("rsa-sha2-256"), true),
        ("rsa-sha2-512", None, true),
        ("rsa-sha2-256,rsa-sha2-512", Some("rsa-sha2-256"), true),
        ("rsa-sha2-512", Some("rsa-sha2-256"), false),
        ("ssh-ed25519", None, false),
    ] {
        let sshd = Sshd::start("ed25519", &format!("PubkeyAcceptedAlgorithms {server}"));
        let mut hop = own(&sshd, "key", "rsa", "");
        authorize(&sshd, &["key"]);
        hop.login.key_algorithms = ours.map(|name| vec![name.to_owned()]);
        let attempt = log_in(&hop, &no_agent(), None).await;
        assert_eq!(attempt.end.is_ok(), gets_in, "{server} {ours:?}: {:?}", attempt.end);
    }
}

#[tokio::test]
async fn keys_that_ssh_config_does_not_accept_are_not_offered() {
    let sshd = Sshd::start("ed25519", "");
    let mut hop = sshd.hop();
    keygen(&sshd.at("other"), "ecdsa", "");
    hop.login.identity_files.insert(0, sshd.at("other"));
    hop.login.key_algorithms = Some(vec!["ssh-ed25519".into()]);
    log_in(&hop, &no_agent(), None).await.is_in();
    assert!(!sshd.log().contains("Failed publickey"), "{}", sshd.log());
}

#[tokio::test]
async fn every_format_is_read_and_opened_with_its_passphrase() {
    let sshd = Sshd::start("ed25519", "");
    for (kind, format) in
        [("ed25519", "RFC4716"), ("rsa", "PKCS8"), ("rsa", "PEM"), ("ecdsa", "PKCS8"), ("ecdsa", "PEM")]
    {
        for passphrase in ["", "secret words"] {
            if (kind, format, passphrase) == ("ecdsa", "PEM", "secret words") {
                // ssh-keygen encrypts it in a way that nobody else should.
                continue;
            }
            let name = format!("{kind}{format}{}", passphrase.len());
            let path = sshd.at(&name);
            run(
                "ssh-keygen",
                &["-q", "-t", kind, "-m", format, "-N", passphrase, "-f", path.to_str().unwrap()],
            );
            authorize(&sshd, &[&name]);
            for has_public in [true, false] {
                if !has_public {
                    fs::remove_file(sshd.at(&format!("{name}.pub"))).unwrap();
                }
                let mut hop = sshd.hop();
                hop.login.identity_files = vec![path.clone()];
                let (asker, asked) = person(&[passphrase]);
                log_in(&hop, &no_agent(), Some(&asker)).await.is_in();
                drop(asker);
                let asked = asked.await.unwrap();
                assert_eq!(asked.len(), usize::from(!passphrase.is_empty()), "{name}: {asked:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_no_key_is_named_and_hides_no_other() {
    use std::os::unix::fs::PermissionsExt;
    let sshd = Sshd::start("ed25519", "");
    let at = |name: &str| sshd.at(name);
    let mut files = Vec::new();
    // Nobody writes into these pipes: who opens one waits for ever.
    for pipe in ["pipe", "empty.pub", "empty-cert.pub"] {
        run("mkfifo", &[at(pipe).to_str().unwrap()]);
    }
    fs::create_dir(at("directory")).unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::write(at("noise"), [0xff, 0, 0x80, b'\n']).unwrap();
    fs::write(at("huge"), vec![b'A'; 2 << 20]).unwrap();
    fs::copy(at("id"), at("shared")).unwrap();
    fs::write(at("half"), &fs::read(at("id")).unwrap()[..200]).unwrap();
    for (name, mode, says) in [
        ("pipe", 0o600, "is no key file"),
        ("directory", 0o700, "is no key file"),
        ("/dev/zero", 0, "is no key file"),
        ("empty", 0o600, "holds no key"),
        ("noise", 0o600, "cannot be read"),
        ("huge", 0o600, "too long"),
        ("half", 0o600, "holds no key"),
        ("shared", 0o640, "chmod 600"),
    ] {
        let path = at(name);
        if mode != 0 {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        files.push((path, says));
    }
    let mut hop = sshd.hop();
    hop.login.identity_files = files.iter().map(|(path, _)| path.clone()).collect();
    let attempt = log_in(&hop, &no_agent(), None).await;
    for (path, says) in &files {
        let told = attempt.seen.iter().find(|seen| seen.contains(path.to_str().unwrap()));
        assert!(told.is_some_and(|told| told.contains(says)), "{}: {:?}", path.display(), attempt.seen);
    }
    assert_eq!(sshd.log().matches("Failed publickey").count(), 0);
    hop.login.identity_files.push(at("id"));
    log_in(&hop, &no_agent(), None).await.is_in();
}

#[tokio::test]
async fn a_key_that_is_encrypted_in_an_old_way_is_told_as_such() {
    let sshd = Sshd::start("ed25519", "");
    let path = sshd.at("old");
    run(
        "ssh-keygen",
        &["-q", "-t", "ecdsa", "-m", "PEM", "-N", "secret words", "-f", path.to_str().unwrap()],
    );
    let mut hop = sshd.hop();
    hop.login.identity_files = vec![path];
    let (asker, asked) = person(&[]);
    let attempt = log_in(&hop, &no_agent(), Some(&asker)).await;
    assert!(attempt.saw("ssh-keygen -p"), "{:?}", attempt.seen);
    drop(asker);
    assert!(asked.await.unwrap().is_empty());
}

#[tokio::test]
async fn a_passphrase_is_asked_for_only_when_the_server_takes_the_key_and_again_when_it_is_wrong() {
    let sshd = Sshd::start("ed25519", "");
    let mut hop = own(&sshd, "locked", "ed25519", "secret words");
    // Not a key that gets in: nobody is asked.
    let (asker, asked) = person(&["secret words"]);
    let refused = log_in(&hop, &no_agent(), Some(&asker)).await;
    assert_eq!(refused.failure().kind, FailureKind::AuthRefused);
    drop(asker);
    assert!(asked.await.unwrap().is_empty());
    authorize(&sshd, &["locked"]);
    let (asker, asked) = person(&["wrong", "secret words"]);
    let attempt = log_in(&hop, &no_agent(), Some(&asker)).await;
    attempt.is_in();
    // Told before: whoever is asked may leave it standing, and another's answer helps then.
    assert!(attempt.saw("needs an answer"), "{:?}", attempt.seen);
    drop(asker);
    let asked = asked.await.unwrap();
    assert!(asked.len() == 2 && asked[1].contains("another passphrase"), "{asked:?}");
    // Three times wrong, and cancelled: others are tried, and then it is said what was missing.
    for words in [&["a", "b", "c", "d"][..], &[][..]] {
        let (asker, asked) = person(words);
        let failure = log_in(&hop, &no_agent(), Some(&asker)).await;
        assert_eq!(failure.failure().kind, FailureKind::PassphraseNeeded);
        assert!(!failure.failure().to_string().contains("secret words"));
        drop(asker);
        assert_eq!(asked.await.unwrap().len(), if words.is_empty() { 1 } else { 3 });
    }
    keygen(&sshd.at("open"), "ed25519", "");
    authorize(&sshd, &["locked", "open"]);
    hop.login.identity_files.push(sshd.at("open"));
    let (asker, _asked) = person(&[]);
    log_in(&hop, &no_agent(), Some(&asker)).await.is_in();
}

#[tokio::test]
async fn a_key_whose_passphrase_was_typed_is_given_to_the_agent() {
    let sshd = Sshd::start("ed25519", "");
    let agent = SshAgent::start();
    let agents = Agents::new(agent.place(), "/nonexistent".into());
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let mut hop = own(&sshd, kind, kind, "secret words");
        authorize(&sshd, &[kind]);
        hop.login.add_to_agent = AddToAgent::Yes(Some(Duration::from_secs(600)));
        let (asker, _asked) = person(&["secret words"]);
        log_in(&hop, &agents, Some(&asker)).await.is_in();
        // From now on it needs nobody.
        log_in(&hop, &agents, None).await.is_in();
    }
}

#[tokio::test]
async fn a_certificate_gets_in_from_beside_the_key_by_its_name_and_from_the_agent() {
    for kind in ["ed25519", "rsa", "ecdsa"] {
        let sshd = Sshd::start("ed25519", "");
        keygen(&sshd.at("ca"), "ed25519", "");
        let ca = fs::read_to_string(sshd.at("ca.pub")).unwrap();
        fs::write(sshd.at("authorized"), format!("cert-authority {ca}")).unwrap();
        let hop = own(&sshd, "key", kind, "");
        let user = hop.user.clone();
        certify(&sshd, "key", &user, "-1d:+1d");
        // Beside the key.
        log_in(&hop, &no_agent(), None).await.is_in();
        // By the agent, which got both.
        let agent = SshAgent::start();
        agent.add(&sshd.at("key"));
        let agents = Agents::new(agent.place(), "/nonexistent".into());
        let mut bare = sshd.hop();
        bare.login.identity_files.clear();
        log_in(&bare, &agents, None).await.is_in();
        // By CertificateFile, with the key in the agent alone, and without it.
        fs::rename(sshd.at("key-cert.pub"), sshd.at("elsewhere.pub")).unwrap();
        bare.login.certificate_files = vec![sshd.at("elsewhere.pub")];
        let nowhere = log_in(&bare, &no_agent(), None).await;
        assert!(nowhere.saw("is nowhere"), "{:?}", nowhere.seen);
        let bare_agent = SshAgent::start();
        bare_agent.add(&sshd.at("key"));
        let agents = Agents::new(bare_agent.place(), "/nonexistent".into());
        log_in(&bare, &agents, None).await.is_in();
        let mut named = hop.clone();
        named.login.certificate_files = vec![sshd.at("elsewhere.pub")];
        log_in(&named, &no_agent(), None).await.is_in();
        let accepted = accepted(&sshd, 4).await;
        assert!(accepted.iter().all(|line| line.contains("-CERT SHA256:")), "{accepted:?}");
    }
}

#[tokio::test]
async fn a_locked_key_with_a_certificate_asks_once() {
    let sshd = Sshd::start("ed25519", "");
    keygen(&sshd.at("ca"), "ed25519", "");
    let ca = fs::read_to_string(sshd.at("ca.pub")).unwrap();
    fs::write(sshd.at("authorized"), format!("cert-authority {ca}")).unwrap();
    let hop = own(&sshd, "key", "ed25519", "secret words");
    certify(&sshd, "key", &hop.user, "-1d:+1d");
    let (asker, asked) = person(&["secret words"]);
    log_in(&hop, &no_agent(), Some(&asker)).await.is_in();
    drop(asker);
    assert_eq!(asked.await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_passphrase_is_asked_for_once_for_all_machines_on_the_way_while_the_person_is_there() {
    let (jump, sshd) = (Sshd::start("ed25519", ""), Sshd::start("ed25519", ""));
    let first = own(&jump, "locked", "ed25519", "secret words");
    authorize(&jump, &["locked"]);
    fs::copy(jump.at("authorized"), sshd.at("authorized")).unwrap();
    let mut second = sshd.hop();
    second.login.identity_files = first.login.identity_files.clone();
    let (asker, asked) = person(&["secret words", "secret words"]);
    for hop in [&first, &second] {
        let attempt = log_in(hop, &no_agent(), Some(&asker)).await;
        assert_eq!(attempt.is_in(), Asked::Typed, "another login would take that person again");
    }
    asker.forget_all();
    log_in(&second, &no_agent(), Some(&asker)).await.is_in();
    drop(asker);
    assert_eq!(asked.await.unwrap().len(), 2, "once, and once more for who came back");
}

#[tokio::test]
async fn a_certificate_that_is_refused_says_why_it_may_be() {
    let sshd = Sshd::start("ed25519", "");
    keygen(&sshd.at("ca"), "ed25519", "");
    let ca = fs::read_to_string(sshd.at("ca.pub")).unwrap();
    fs::write(sshd.at("authorized"), format!("cert-authority {ca}")).unwrap();
    let hop = own(&sshd, "key", "ed25519", "");
    for (principals, validity, says) in [
        (hop.user.as_str(), "-3d:-2d", "expired 2 days ago"),
        (hop.user.as_str(), "+3h:+4h", "valid only in"),
        ("someone,else", "-1d:+1d", "which is for someone, else"),
    ] {
        certify(&sshd, "key", principals, validity);
        let attempt = log_in(&hop, &no_agent(), None).await;
        let failure = attempt.failure();
        assert_eq!(failure.kind, FailureKind::AuthRefused);
        assert!(failure.message.contains(says), "{failure}");
    }
}

#[test]
fn no_answer_shows_in_debug() {
    let secret = SecretString::from("secret words".to_owned());
    assert!(!format!("{secret:?}").contains("words"));
}

/// A dropbear over whose user's home a private one is bound, since it looks for keys nowhere else.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn dropbear_lets_every_kind_of_key_in() {
    use crate::ssh::testbed::{Killed, free_port};
    use std::process::{Command, Stdio};
    let (sshd, port) = (Sshd::start("ed25519", ""), free_port());
    let (home, key) = (sshd.at("home"), sshd.at("dropbear_key"));
    fs::create_dir_all(home.join(".ssh")).unwrap();
    run("chmod", &["-R", "go-rwx", home.to_str().unwrap()]);
    run("dropbearkey", &["-t", "ed25519", "-f", key.to_str().unwrap()]);
    let told = run("dropbearkey", &["-y", "-f", key.to_str().unwrap()]);
    let public = told.lines().find(|line| line.starts_with("ssh-ed25519 ")).unwrap();
    fs::write(sshd.at("known_hosts"), format!("[127.0.0.1]:{port} {public}\n")).unwrap();
    let mut dropbear = Command::new("unshare");
    dropbear.args([
        "--mount",
        "sh",
        "-c",
        "mount --bind \"$1\" ~ && exec dropbear -F -E -s -r \"$2\" -p \"$3\"",
        "sh",
    ]);
    dropbear.arg(&home).arg(&key).arg(format!("127.0.0.1:{port}"));
    dropbear.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _dropbear = Killed(dropbear.spawn().unwrap());
    until("dropbear listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
    let agent = SshAgent::start();
    let agents = Agents::new(agent.place(), "/nonexistent".into());
    for (kind, bits, _) in KINDS {
        let name = make(&sshd, kind, bits);
        fs::copy(sshd.at(&format!("{name}.pub")), home.join(".ssh/authorized_keys")).unwrap();
        run("chmod", &["600", home.join(".ssh/authorized_keys").to_str().unwrap()]);
        let mut hop = sshd.hop();
        hop.port = port;
        hop.login.identity_files = vec![sshd.at(&name)];
        log_in(&hop, &no_agent(), None).await.is_in();
        agent.add(&sshd.at(&name));
        fs::remove_file(sshd.at(&name)).unwrap();
        log_in(&hop, &agents, None).await.is_in();
    }
}
