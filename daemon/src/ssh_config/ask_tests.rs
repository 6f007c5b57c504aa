//! Against the ssh of this machine, with files of our own, and against programs that only look like it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind};
use tempfile::TempDir;

use super::ask::ask_program;
use super::program::Program;
use super::*;
use crate::test_program::write_program;

fn query(dir: &TempDir, text: &str, host: &str) -> Query {
    let file = dir.path().join("config");
    std::fs::write(&file, text).unwrap();
    Query { config: ConfigFile::At(file), ..Query::new(host) }
}

async fn asked(text: &str, host: &str) -> Result<HostConfig, Failure> {
    let dir = tempfile::tempdir().unwrap();
    let query = query(&dir, text, host);
    Ok(ask(&query).await?.expect("these tests need ssh"))
}

#[tokio::test]
async fn an_alias_is_resolved_with_all_that_ssh_leaves_expanded() {
    let config = asked(
        "Host lab\n HostName %h.example.org\n User bob\n Port 2200\n IdentityFile /keys/%n-%h-%p-%r-%%\n \
         ProxyCommand nc -x \"a b\" %h %p\n HostKeyAlias al-%h\n UserKnownHostsFile /k/%k \"/k/a b\"\n \
         GlobalKnownHostsFile ~/g\n LocalForward 6000 localhost:7000\n DynamicForward 1080\n \
         RemoteForward 9000 localhost:22\n ServerAliveInterval 30\n Compression yes\n BindAddress 127.0.0.5\n",
        "lab",
    )
    .await
    .unwrap();
    assert_eq!(
        (config.hostname.as_str(), config.user.as_str(), config.port),
        ("lab.example.org", "bob", 2200)
    );
    assert_eq!(config.identity_files, Some(vec![PathBuf::from("/keys/lab-lab.example.org-2200-bob-%")]));
    assert_eq!(config.way, Some(Way::Command("nc -x \"a b\" lab.example.org 2200".into())));
    assert_eq!(config.host_key_alias.as_deref(), Some("al-%h"));
    assert_eq!(config.user_known_hosts, Some(vec!["/k/al-%h".into(), "/k/a b".into()]));
    let global = config.global_known_hosts.unwrap();
    assert!(global[0].is_absolute() && global[0].ends_with("g"), "{global:?}");
    assert_eq!(config.local_forwards, ["6000:localhost:7000"]);
    assert_eq!(config.dynamic_forwards, ["1080"]);
    assert_eq!(config.remote_forwards, ["9000:localhost:22"]);
    assert_eq!(config.server_alive_interval, Some(Duration::from_secs(30)));
    assert_eq!((config.compression, config.bind_address.as_deref()), (Some(true), Some("127.0.0.5")));
    assert!(config.read_from[0].ends_with("config"), "{:?}", config.read_from);
}

#[tokio::test]
async fn a_host_without_words_has_nothing_set() {
    let config = asked("", "plain.example").await.unwrap();
    let (user, read_from) = (config.user.clone(), config.read_from.clone());
    assert_eq!(
        config,
        HostConfig { hostname: "plain.example".into(), user, port: 22, read_from, ..HostConfig::default() }
    );
}

#[tokio::test]
async fn an_error_is_told_in_the_words_of_ssh() {
    let failure = asked("Host *\n Compresion yes\n", "h").await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Config);
    assert!(failure.message.ends_with("line 2: Bad configuration option: compresion"), "{failure}");
    let failure = asked("IdentityFile /k/${NBTUNNEL_NO_SUCH}\n", "h").await.unwrap_err();
    assert!(failure.message.contains("NBTUNNEL_NO_SUCH"), "{failure}");
    let failure = asked("VerifyHostKeyDNS yes\n", "h").await.unwrap_err();
    assert!(failure.message.contains("VerifyHostKeyDNS yes"), "{failure}");
    let failure = asked("ProxyJump a,%z\n", "h").await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Config, "{failure}");
}

#[tokio::test]
async fn the_words_of_their_own_win_over_options_and_options_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut query = query(&dir, "Host a\n User file\n Port 1\n Compression no\n", "a");
    query.options = vec!["User=option".into(), "Compression=yes".into()];
    query.user = Some("own".into());
    let config = ask(&query).await.unwrap().unwrap();
    assert_eq!((config.user.as_str(), config.port, config.compression), ("own", 1, Some(true)));
    query.options = vec!["NoSuchKeyword=1".into()];
    let failure = ask(&query).await.unwrap_err();
    assert!(failure.message.contains("nosuchkeyword"), "{failure}");
}

#[tokio::test]
async fn nothing_runs_for_a_host_that_a_shell_could_misread() {
    let dir = tempfile::tempdir().unwrap();
    let ran = dir.path().join("ran");
    let text = format!("Match exec \"touch {} %h\"\n", ran.display());
    for host in ["-oProxyCommand=touch x", "a;b", "$(x)", "a b", "a\nb"] {
        let failure = ask(&query(&dir, &text, host)).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Config, "{host:?}");
        assert!(!ran.exists(), "{host:?}");
    }
    ask(&query(&dir, &text, "fine")).await.unwrap();
    assert!(ran.exists(), "the file shows whether something ran");
}

/// A program that says `pid` of something it began, and hangs.
fn hanging(dir: &Path) -> (Program, PathBuf) {
    let (script, pid) = (dir.join("ssh"), dir.join("pid"));
    let text = format!("#!/bin/sh\nsleep 600 &\necho $! > {}\nwait\n", pid.display());
    write_program(&script, &text);
    (Program::at(script).unwrap(), pid)
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z"))
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_hangs_is_ended_with_all_that_it_began() {
    let dir = tempfile::tempdir().unwrap();
    let (program, pid) = hanging(dir.path());
    let failure = ask_program(&program, &Query::new("h")).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::TimedOut);
    let pid = std::fs::read_to_string(pid).unwrap();
    let mut tries = 0;
    while is_alive(pid.trim()) {
        tries += 1;
        assert!(tries < 200, "what ssh began is still there");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn who_stops_waiting_ends_it_too() {
    let dir = tempfile::tempdir().unwrap();
    let (program, file) = hanging(dir.path());
    let task = tokio::spawn(async move { ask_program(&program, &Query::new("h")).await });
    let mut pid = String::new();
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(25)).await;
        pid = std::fs::read_to_string(&file).unwrap_or_default();
        if pid.ends_with('\n') {
            break;
        }
    }
    assert!(is_alive(pid.trim()));
    task.abort();
    let mut tries = 0;
    while is_alive(pid.trim()) {
        tries += 1;
        assert!(tries < 200, "what ssh began is still there");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
