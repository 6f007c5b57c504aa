//! What is not theirs is not used, and no token goes there.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use anyhow::Result;
use nbtunnel_core::FailureKind;
use nbtunnel_proto::Secret;
use nbtunnel_tests::here::Here;
use nbtunnel_tests::jupyter::{Recipe, Stranger};
use nbtunneld::notebook::{self, Checked, Wanted};

use super::{found, me, missed, now, on};

/// A file as the server of `pid` on `port` writes it.
fn write_down(dir: &Path, pid: u32, port: u16) -> Result<()> {
    let path = dir.join(format!("jpserver-{pid}.json"));
    let text = format!(
        "{{\"base_url\": \"/\", \"hostname\": \"localhost\", \"password\": false, \"pid\": {pid}, \"port\": {port}, \
         \"root_dir\": \"/\", \"secure\": false, \"sock\": \"\", \"token\": \"tellnobody\"}}"
    );
    fs::write(&path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(())
}

fn private_dir() -> Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700))?;
    Ok(dir)
}

#[test]
fn a_stranger_on_yesterdays_port_is_told_nothing() -> Result<()> {
    let mut server = Recipe::new().token("tellnobody").start()?;
    let far = me(server.runtime_dir());
    let seen = found(&far, &Wanted::any())?;
    server.kill()?;
    let stranger = Stranger::on(server.port())?;

    let given = || Some(Secret::new("tellnobody".to_owned()));
    for wanted in [on(server.port()), Wanted { token: given(), ..on(server.port()) }] {
        let (kind, message) = missed(&far, &wanted)?;
        assert_eq!(kind, FailureKind::NotYours, "{message}");
    }
    assert_eq!(missed(&far, &Wanted::any())?.0, FailureKind::NotebookMissing, "its process is gone");
    let verified = now(notebook::verify(far.clone(), &seen))?;
    assert_eq!(verified.map_err(|why| why.kind), Err(FailureKind::NotYours));
    assert!(!stranger.heard().contains("GET"), "{}", stranger.heard());

    // The same where a process of ours has the number of the old one.
    write_down(server.runtime_dir(), std::process::id(), server.port())?;
    let (kind, message) = missed(&far, &Wanted::any())?;
    assert_eq!(kind, FailureKind::NotebookMissing, "{message}");
    assert!(!stranger.heard().contains("GET"), "{}", stranger.heard());
    // His it may be, if his it is meant to be.
    let his = Wanted { owner: Some("nobody".to_owned()), token: given(), ..on(server.port()) };
    assert_eq!(found(&far, &his)?.port, server.port());
    assert!(stranger.heard().contains("tellnobody"));
    Ok(())
}

#[test]
fn one_name_leads_to_our_own_address_and_never_to_a_strangers() -> Result<()> {
    if !nbtunnel_tests::net::has_ipv6() {
        return Ok(());
    }
    let server = Recipe::new().start()?;
    let stranger = Stranger::at("::1", server.port())?;
    let seen = found(&me(server.runtime_dir()), &Wanted::any())?;
    assert_eq!((&*seen.host, seen.port), ("127.0.0.1", server.port()));
    assert!(!stranger.heard().contains("GET"), "{}", stranger.heard());
    Ok(())
}

#[test]
fn a_server_that_is_still_ours_is_verified_and_one_that_ended_is_not() -> Result<()> {
    let mut server = Recipe::new().start()?;
    let far = me(server.runtime_dir());
    let seen = found(&far, &Wanted::any())?;
    assert_eq!(now(notebook::verify(far.clone(), &seen))?, Ok(()));
    server.kill()?;
    let verified = now(notebook::verify(far, &seen))?;
    assert_eq!(verified.map_err(|why| why.kind), Err(FailureKind::NotebookMissing));
    Ok(())
}

#[test]
fn a_process_with_the_number_of_an_old_server_is_not_the_server() -> Result<()> {
    let dir = private_dir()?;
    // It lives, it is ours, and somebody of ours listens on the port: but not this process.
    let other = Recipe::new().start()?;
    write_down(dir.path(), std::process::id(), other.port())?;
    let (kind, message) = missed(&me(dir.path()), &Wanted::any())?;
    assert_eq!(kind, FailureKind::NotebookMissing, "{message}");
    Ok(())
}

#[test]
fn a_directory_or_a_file_that_others_may_write_is_not_believed() -> Result<()> {
    let server = Recipe::new().start()?;
    let far = me(server.runtime_dir());
    let file = server.runtime_dir().join(format!("jpserver-{}.json", server.pid()));
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    for (path, bad, good) in [(server.runtime_dir(), 0o777, 0o700), (&file, 0o620, 0o600)] {
        mode(path, bad)?;
        assert_eq!(missed(&far, &Wanted::any())?.0, FailureKind::NotYours, "{}", path.display());
        assert_eq!(missed(&far, &on(server.port()))?.0, FailureKind::NotYours, "{}", path.display());
        mode(path, good)?;
        found(&far, &Wanted::any())?;
    }
    for path in [server.runtime_dir(), &file] {
        chown(path, Some(Stranger::UID), None)?;
        assert_eq!(missed(&far, &Wanted::any())?.0, FailureKind::NotYours, "{}", path.display());
        chown(path, Some(0), None)?;
    }
    found(&far, &Wanted::any())?;
    Ok(())
}

#[test]
fn nothing_that_is_put_there_does_harm() -> Result<()> {
    let dir = private_dir()?;
    let far = me(dir.path());
    let pid = std::process::id();
    let path = dir.path().join(format!("jpserver-{pid}.json"));
    let long = "x".repeat(100_000);
    for text in ["", "null", "\u{1b}[2J\nend\nwho 0 0\n", &long, &"[".repeat(5000), "{\"port\": 99999}"] {
        fs::write(&path, text)?;
        assert_eq!(missed(&far, &Wanted::any())?.0, FailureKind::NotebookMissing);
    }
    fs::remove_file(&path)?;
    nbtunnel_tests::told::tell(
        std::process::Command::new("mkfifo").arg(&path),
        &[],
        nbtunnel_tests::wait::SOON,
    )?;
    std::os::unix::fs::symlink("/dev/zero", dir.path().join("jpserver-1.json"))?;
    fs::write(dir.path().join("jpserver-$(touch hit).json"), "{}")?;
    assert_eq!(missed(&far, &Wanted::any())?.0, FailureKind::NotebookMissing);
    assert!(!dir.path().join("hit").exists());
    Ok(())
}

#[test]
fn only_on_the_ssh_host_itself_is_any_certificate_taken() -> Result<()> {
    let (https, http) = (Recipe::new().https().start()?, Recipe::new().start()?);
    let far = Here::beside("node7");
    let there = |port, token: &str| {
        let token = Some(Secret::new(token.to_owned()));
        Wanted { host: "node7".to_owned(), token, ..on(port) }
    };
    let (kind, message) = missed(&far, &there(https.port(), https.token()))?;
    assert_eq!(kind, FailureKind::NotebookFailed);
    assert!(message.contains("certificate of node7"), "{message}");
    let seen = found(&far, &there(http.port(), http.token()))?;
    assert_eq!((&*seen.host, seen.checked, seen.self_signed), ("node7", Checked::NotReadable, false));
    assert!(found(&far, &on(https.port()))?.self_signed);
    Ok(())
}

#[test]
fn an_account_that_is_none_is_told() -> Result<()> {
    for name in ["no-such-person", "-x", "a b", "$(id)"] {
        let (kind, message) = missed(&Here::with([]), &Wanted { owner: Some(name.to_owned()), ..on(9) })?;
        assert_eq!(kind, FailureKind::Config, "{message}");
    }
    Ok(())
}
