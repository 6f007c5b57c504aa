//! What a real sshd announces, and what becomes of it on file.

use std::fs;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::RwLock;

use super::*;
use crate::ssh::shakebed::shake;
use crate::ssh::testbed::{SshAgent, Sshd, keygen, public, run};

/// A server with these host keys, of which the first is on file.
fn server(keys: &[&str]) -> Sshd {
    let mut sshd = Sshd::start("ed25519", "");
    for key in ["a", "b", "c"] {
        keygen(&sshd.at(key), "ed25519", "");
    }
    keygen(&sshd.at("rsa"), "rsa", "");
    has(&mut sshd, keys);
    fs::write(sshd.at("known_hosts"), line(&sshd, keys[0])).unwrap();
    sshd
}

/// Gives it other host keys, as an administrator does: by its configuration and SIGHUP.
fn has(sshd: &mut Sshd, keys: &[&str]) {
    let lines: Vec<String> = keys.iter().map(|key| format!("HostKey {}", sshd.at(key).display())).collect();
    sshd.reload_with_only(&lines.join("\n"));
}

fn line(sshd: &Sshd, key: &str) -> String {
    format!("[127.0.0.1]:{} {}\n", sshd.port, public(&sshd.at(key)))
}

/// Which of the keys are on file for it, and how many lines there are.
fn on_file(sshd: &Sshd) -> (Vec<&'static str>, usize) {
    let text = fs::read_to_string(sshd.at("known_hosts")).unwrap();
    let keys = ["a", "b", "c", "rsa"].into_iter().filter(|key| text.contains(&public(&sshd.at(key))));
    (keys.collect(), text.lines().count())
}

/// Logs in, follows what the server announces, and gives what was told.
async fn visit(sshd: &Sshd, change: impl FnOnce(&mut Hop)) -> String {
    let mut to = sshd.hop();
    to.host_keys.update = UpdateHostKeys::Yes;
    change(&mut to);
    let mut shaken = shake(sshd, to).await.unwrap();
    shaken.log_in().await;
    let (told, shared) = (shaken.told(), Arc::clone(&shaken.shared));
    let session = Arc::new(RwLock::new(shaken.session));
    timeout(Duration::from_secs(30), follow(Arc::clone(&shared), session)).await.unwrap();
    shared.gone.cancel();
    told()
}

#[tokio::test]
async fn keys_that_are_proved_are_stored_and_those_that_are_gone_go() {
    let mut sshd = server(&["a", "rsa"]);
    let told = visit(&sshd, |_| {}).await;
    assert_eq!(on_file(&sshd), (vec!["a", "rsa"], 2), "{told}");
    assert!(told.contains("new ssh-rsa SHA256:") && told.contains("brought up to date"), "{told}");
    // Nothing more to do.
    assert_eq!(visit(&sshd, |_| {}).await, "");
    // The first key is on its way out: it is not used any more, and the next one is announced.
    has(&mut sshd, &["rsa", "b"]);
    let told =
        visit(&sshd, |to| to.algorithms.host_keys = Some(vec!["rsa-sha2-512".into(), "ssh-ed25519".into()]));
    let told = told.await;
    assert_eq!(on_file(&sshd), (vec!["b", "rsa"], 2), "{told}");
    assert!(told.contains("gone ssh-ed25519 SHA256:"), "{told}");
    // A real ssh finds nothing to change either, and knows the host.
    let (port, id, file) = (sshd.port.to_string(), sshd.at("id"), sshd.at("known_hosts"));
    let before = fs::read_to_string(&file).unwrap();
    let known = format!("UserKnownHostsFile={}", file.display());
    let options =
        ["-F", "none", "-o", &known, "-o", "UpdateHostKeys=yes", "-o", "BatchMode=yes", "-p", &port];
    run("ssh", &[&options[..], &["-i", id.to_str().unwrap(), "127.0.0.1", "true"]].concat());
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
}

#[tokio::test]
async fn where_names_are_hashed_the_new_ones_are_too_and_old_ones_are_found() {
    let mut sshd = server(&["a"]);
    run("ssh-keygen", &["-q", "-H", "-f", sshd.at("known_hosts").to_str().unwrap()]);
    has(&mut sshd, &["a", "b"]);
    visit(&sshd, |_| {}).await;
    let text = fs::read_to_string(sshd.at("known_hosts")).unwrap();
    assert_eq!((text.matches("|1|").count(), on_file(&sshd)), (2, (vec!["a", "b"], 2)), "{text}");
    has(&mut sshd, &["b"]);
    visit(&sshd, |_| {}).await;
    assert_eq!(on_file(&sshd), (vec!["b"], 1));
}

#[tokio::test]
async fn nothing_is_stored_unasked() {
    let sshd = server(&["a", "b"]);
    let told = visit(&sshd, |to| to.host_keys.update = UpdateHostKeys::Ask).await;
    assert_eq!(on_file(&sshd), (vec!["a"], 1));
    assert!(told.contains("new ssh-ed25519 SHA256:") && told.contains("run `ssh -p "), "{told}");
    assert_eq!(visit(&sshd, |to| to.host_keys.update = UpdateHostKeys::No).await, "");
    assert_eq!(on_file(&sshd), (vec!["a"], 1));
}

#[tokio::test]
async fn a_file_that_says_more_than_this_host_is_left_alone() {
    let sshd = server(&["a", "b"]);
    let (name, a, b) = (format!("[127.0.0.1]:{}", sshd.port), public(&sshd.at("a")), public(&sshd.at("b")));
    let c = public(&sshd.at("c"));
    for left_alone in [
        format!("* {a}\n"),
        format!("{name},x,y {a}\n"),
        format!("{name} {a}\n@cert-authority * {c}\n"),
        format!("{name} {a}\n@revoked * {c}\n"),
        // One of its keys belongs to somebody else, too.
        format!("{name} {a}\nother {b}\n"),
        // What it no longer has belongs to somebody else, too.
        format!("{name} {a}\n{name} {c}\nother {c}\n"),
    ] {
        fs::write(sshd.at("known_hosts"), &left_alone).unwrap();
        assert_eq!(visit(&sshd, |_| {}).await, "");
        assert_eq!(fs::read_to_string(sshd.at("known_hosts")).unwrap(), left_alone);
    }
    // The check above can fail.
    fs::write(sshd.at("known_hosts"), line(&sshd, "a")).unwrap();
    visit(&sshd, |_| {}).await;
    assert_eq!(on_file(&sshd), (vec!["a", "b"], 2));
}

#[tokio::test]
async fn a_host_that_is_known_without_its_port_or_by_the_system_or_was_new_is_left_alone() {
    let sshd = server(&["a", "b"]);
    let bare = format!("127.0.0.1 {}\n", public(&sshd.at("a")));
    fs::write(sshd.at("known_hosts"), &bare).unwrap();
    visit(&sshd, |_| {}).await;
    assert_eq!(fs::read_to_string(sshd.at("known_hosts")).unwrap(), bare);

    fs::write(sshd.at("system"), line(&sshd, "a")).unwrap();
    fs::write(sshd.at("known_hosts"), "").unwrap();
    visit(&sshd, |to| to.host_keys.system_known_hosts = vec![sshd.at("system")]).await;
    assert_eq!(on_file(&sshd), (vec![], 0));

    visit(&sshd, |to| to.host_keys.policy = nbtunnel_core::HostKeyPolicy::AcceptNew).await;
    assert_eq!(on_file(&sshd), (vec!["a"], 1));
}

#[tokio::test]
async fn a_server_that_cannot_prove_a_key_gets_nothing_stored() {
    // The private half is in an agent that lets go of it after sshd looked: what it announces it cannot sign with.
    let agent = SshAgent::start();
    let mut sshd = server(&["a"]);
    agent.add(&sshd.at("b"));
    sshd.reload_with_only(&format!(
        "HostKey {}\nHostKey {}.pub\nHostKeyAgent {}",
        sshd.at("a").display(),
        sshd.at("b").display(),
        agent.socket.display()
    ));
    agent.forget();
    // This sshd ends the session when it cannot sign; then it is not asked for ever.
    for _ in 0..=ASK_AT_MOST {
        visit(&sshd, |_| {}).await;
        assert_eq!(on_file(&sshd), (vec!["a"], 1));
    }
    let asked = || sshd.log().matches("agent sign failed").count();
    assert_eq!(asked(), ASK_AT_MOST as usize, "{}", sshd.log());
}

/// An agent that signs whatever it is asked to, with nothing.
async fn lie(agent: UnixListener) {
    let string = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    while let Ok((mut client, _)) = agent.accept().await {
        while let Ok(length) = client.read_u32().await {
            let mut request = vec![0; length as usize];
            client.read_exact(&mut request).await.unwrap();
            // SSH_AGENTC_SIGN_REQUEST (draft-miller-ssh-agent).
            let answer = match request[0] {
                13 => [vec![14], string(&[string(b"ssh-ed25519"), string(&[7; 64])].concat())].concat(),
                _ => vec![5],
            };
            client.write_all(&string(&answer)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_proof_that_is_wrong_is_none() {
    let mut sshd = server(&["a"]);
    let socket = sshd.at("liar");
    tokio::spawn(lie(UnixListener::bind(&socket).unwrap()));
    sshd.reload_with_only(&format!(
        "HostKey {}\nHostKey {}.pub\nHostKeyAgent {}",
        sshd.at("a").display(),
        sshd.at("b").display(),
        socket.display()
    ));
    let told = visit(&sshd, |_| {}).await;
    assert!(told.contains("did not prove that it holds them; nothing was stored"), "{told}\n{}", sshd.log());
    assert_eq!(on_file(&sshd), (vec!["a"], 1));
}

#[test]
fn what_was_proved_is_not_stored_into_a_file_that_changed_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("known_hosts");
    keygen(&dir.path().join("a"), "ed25519", "");
    keygen(&dir.path().join("b"), "ed25519", "");
    let key = |name: &str| PublicKey::from_openssh(&public(&dir.path().join(name))).unwrap();
    let mut hop = crate::ssh::testbed::hop("h", 22);
    hop.host_keys.known_hosts = vec![file.clone()];
    let names = Names::of(&hop, None);
    let announced = [key("a"), key("b")];
    fs::write(&file, format!("h {}\n", public(&dir.path().join("a")))).unwrap();
    let update = consider(&hop, &names, &announced).unwrap();
    assert_eq!(update, Update { new: vec![key("b")], old: vec![] });
    let changed = format!("* {}\n", public(&dir.path().join("a")));
    fs::write(&file, &changed).unwrap();
    assert!(store(&hop, &names, &announced, &update).is_err());
    assert_eq!(fs::read_to_string(&file).unwrap(), changed);
    assert!(consider(&hop, &names, &[key("a"), key("a")]).is_err());
    assert!(Path::new(&file).exists());
}
