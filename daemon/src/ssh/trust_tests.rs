use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use super::*;

const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
const B: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9dG4kjRhQTtWTVzd2t27+t0DEHBPW7iOD23TUiYLio";

fn hop(file: &Path, host: &str, port: u16) -> Hop {
    let mut hop = crate::ssh::testbed::hop(host, port);
    hop.host_keys.known_hosts = vec![file.to_owned()];
    hop
}

fn shown(hop: &Hop) -> OfferedKey {
    judge(hop, None, &PublicKey::from_openssh(A).unwrap().into(), 0).offered
}

/// Trusts the key A for `host:port` with `before` in the file; gives what is in it then.
fn after(before: &str, host: &str, port: u16, replace: bool) -> Result<String, Failure> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("known_hosts");
    let fill = |text: &str| text.replace("{A}", A).replace("{B}", B);
    fs::write(&file, fill(before)).unwrap();
    let hop = hop(&file, host, port);
    let done = trust("test", &hop, &shown(&hop), replace);
    let text = fs::read_to_string(&file).unwrap().replace(A, "{A}").replace(B, "{B}");
    match done {
        Ok(_) => Ok(text),
        Err(failure) => {
            assert_eq!(text, before, "a failure changed the file");
            Err(failure)
        }
    }
}

#[test]
fn a_new_key_is_appended_and_nothing_else_moves() {
    assert_eq!(after("", "h", 22, false).unwrap(), "h {A}\n");
    assert_eq!(after("x {B}\n", "H", 2222, false).unwrap(), "x {B}\n[h]:2222 {A}\n");
    assert_eq!(after("x {B} no newline", "h", 22, false).unwrap(), "x {B} no newline\nh {A}\n");
    assert_eq!(after("h {A}\n", "h", 22, false).unwrap(), "h {A}\n");
    assert_eq!(after("h {A}\n", "h", 22, true).unwrap(), "h {A}\n");
}

#[test]
fn a_new_key_is_not_accepted_when_another_one_came_first() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("known_hosts");
    let hop = hop(&file, "h", 22);
    // Judged while nothing was on file; then another login wrote the key that it was shown.
    let offered = shown(&hop);
    fs::write(&file, format!("h {B}\n")).unwrap();
    let (failure, beside) = *accept_new("test", &hop, &offered).unwrap_err();
    assert_eq!(failure.kind, FailureKind::HostKeyChanged);
    // A person who looks at it now sees the old key beside the new one.
    assert_eq!((beside.recorded.len(), beside.recorded[0].line), (1, 1));
    assert_eq!(OfferedKey { recorded: vec![], ..beside }, offered);
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("h {B}\n"));
    // One that cannot be written down is accepted for this session, as by ssh(1).
    let mut nowhere = hop;
    nowhere.host_keys.known_hosts = vec![dir.path().join("known_hosts/below")];
    assert!(accept_new("test", &nowhere, &offered).unwrap().contains("could not be written"));
}

#[test]
fn a_changed_key_is_replaced_only_when_asked_to() {
    assert_eq!(after("h {B}\n", "h", 22, false).unwrap_err().kind, FailureKind::HostKeyChanged);
    let before = "# kept\n\na {B}\nz,h,y {B} comment  \nh {B}\n*.x {B}\nbroken\n@revoked h {B}\n[h]:2222 {B}";
    let expected =
        "# kept\n\na {B}\nz,y {B} comment  \n*.x {B}\nbroken\n@revoked h {B}\n[h]:2222 {B}\nh {A}\n";
    assert_eq!(after(before, "h", 22, true).unwrap(), expected);
}

#[test]
fn a_revoked_key_cannot_be_trusted() {
    for replace in [false, true] {
        let failure = after("@revoked * {A}\n", "h", 22, replace).unwrap_err();
        assert_eq!(failure.kind, FailureKind::HostKeyChanged);
        assert!(failure.message.contains("@revoked"));
    }
}

#[test]
fn replacing_takes_the_old_key_from_all_files_of_the_user_and_leaves_that_of_the_system() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["first", "second", "system"] {
        fs::write(at(name), format!("h {B}\nx {B}\n")).unwrap();
    }
    let mut hop = hop(&at("first"), "h", 22);
    hop.host_keys.known_hosts.extend([at("second"), at("absent")]);
    hop.host_keys.system_known_hosts = vec![at("system")];
    let offered = shown(&hop);
    let stays: Vec<bool> = offered.recorded.iter().map(|key| key.read_only).collect();
    assert_eq!(stays, [false, false, true]);
    let written = trust("test", &hop, &offered, true).unwrap();
    assert_eq!(
        written.replaced,
        [format!("{}:1", at("first").display()), format!("{}:1", at("second").display())]
    );
    let text = |name: &str| fs::read_to_string(at(name)).unwrap().replace(A, "{A}").replace(B, "{B}");
    assert_eq!((text("first"), text("second")), ("x {B}\nh {A}\n".into(), "x {B}\n".into()));
    assert_eq!(text("system"), "h {B}\nx {B}\n");
    assert!(!at("absent").exists());
    assert_eq!(trust("test", &hop, &shown(&hop), false).unwrap().replaced, [""; 0]);
}

#[test]
fn under_an_alias_the_alias_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("known_hosts");
    let mut hop = hop(&file, "h", 2222);
    hop.host_keys.alias = Some("Box".into());
    trust("test", &hop, &shown(&hop), false).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("box {A}\n"));
    let failure =
        refusal(&judge(&hop, None, &PublicKey::from_openssh(B).unwrap().into(), 0), "h:2222", "test");
    assert!(failure.message.contains(&format!("({}:1)", file.display())), "{failure}");
}

#[test]
fn names_are_hidden_where_hash_known_hosts_says_so() {
    for (asked, hidden) in [(Some(true), true), (Some(false), false), (None, false)] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("known_hosts");
        let mut hop = hop(&file, "h", 22);
        hop.host_keys.hash = asked;
        trust("test", &hop, &shown(&hop), false).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap().starts_with("|1|"), hidden);
    }
}

#[test]
fn a_name_that_would_mean_more_than_itself_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("known_hosts");
    for name in ["*", "a,b", "a b", "!a", "@revoked", "#a", "|1|a", "a\nb", "[a]", "a\\b", ""] {
        let mut hop = hop(&file, "h", 22);
        hop.host_keys.alias = Some(name.into());
        let failure = trust("test", &hop, &shown(&hop), false).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Config, "{name}");
        assert!(!file.exists(), "{name}");
    }
    for (host, port) in [("::1", 22), ("fe80::1%eth0", 2222), ("a_b.c-d", 22)] {
        trust("test", &hop(&file, host, port), &shown(&hop(&file, host, port)), false).unwrap();
    }
}

#[test]
fn with_check_host_ip_an_address_that_has_another_key_stops_and_is_replaced_with_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("known_hosts");
    let mut hop = hop(&file, "h", 2222);
    hop.host_keys.check_ip = true;
    let address = super::super::known_hosts::address_name(&hop, Some("192.0.2.7".parse().unwrap()));
    assert_eq!(address.as_deref(), Some("[192.0.2.7]:2222"));
    let judged = |text: &str| {
        fs::write(&file, text.replace("{A}", A).replace("{B}", B)).unwrap();
        judge(&hop, address.clone(), &PublicKey::from_openssh(A).unwrap().into(), 0)
    };
    let known = judged("[h]:2222,[192.0.2.7]:2222 {A}\n").verdict;
    assert_eq!((known, judged("[h]:2222 {A}\n").verdict), (Verdict::Known, Verdict::Known));
    assert!(matches!(judged("[h]:2222 {A}\n@revoked [192.0.2.7]:* {A}\n").verdict, Verdict::Revoked { .. }));
    assert!(matches!(judged("[h]:2222 {B}\n").verdict, Verdict::Changed { .. }));
    let judged = judged("[h]:2222 {A}\n[192.0.2.7]:2222,x {B}\n");
    assert!(matches!(judged.verdict, Verdict::AddressChanged { .. }));
    let failure = refusal(&judged, "h:2222", "test");
    assert_eq!(failure.kind, FailureKind::HostKeyChanged);
    assert!(failure.message.contains("[192.0.2.7]:2222 has another one"), "{failure}");
    assert!(trust("test", &hop, &judged.offered, false).is_err());
    let written = trust("test", &hop, &judged.offered, true).unwrap();
    assert_eq!(written.replaced, [format!("{}:2", file.display())]);
    let text = fs::read_to_string(&file).unwrap().replace(A, "{A}").replace(B, "{B}");
    assert_eq!(text, "[h]:2222 {A}\nx {B}\n[192.0.2.7]:2222 {A}\n");
    // Not asked about: loopback, hosts that are addresses, and where something stands in between.
    let none =
        |hop: &Hop, peer: &str| super::super::known_hosts::address_name(hop, Some(peer.parse().unwrap()));
    assert_eq!(none(&hop, "127.0.0.1"), None);
    let by_address = Hop { host: "192.0.2.7".into(), ..hop.clone() };
    assert_eq!(none(&by_address, "192.0.2.7"), None);
}

#[test]
fn the_line_that_contradicts_is_named_with_its_pattern() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("known_hosts");
    fs::write(&file, format!("# x\n*.lab,!y.lab {B}\n")).unwrap();
    let hop = hop(&file, "x.lab", 22);
    let judged = judge(&hop, None, &PublicKey::from_openssh(A).unwrap().into(), 0);
    let failure = refusal(&judged, "x.lab:22", "test");
    assert!(failure.message.contains("known_hosts:2, for *.lab,!y.lab)"), "{failure}");
    // The pattern stays, and the host is known by a line of its own.
    trust("test", &hop, &judged.offered, true).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("# x\n*.lab,!y.lab {B}\nx.lab {A}\n"));
    fs::write(&file, format!("@revoked * {A}\n")).unwrap();
    let revoked = judge(&hop, None, &PublicKey::from_openssh(A).unwrap().into(), 0);
    assert!(refusal(&revoked, "x.lab:22", "test").message.contains("@revoked at"), "{:?}", revoked.verdict);
}

#[test]
fn what_was_replaced_is_named_by_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("known_hosts");
    fs::write(&file, format!("x {B}\nh {B}\n")).unwrap();
    let hop = hop(&file, "h", 22);
    let written = trust("test", &hop, &shown(&hop), true).unwrap();
    assert_eq!(written.replaced, [format!("{}:2", file.display())]);
}

#[test]
fn where_names_are_hashed_the_new_one_is_too_and_ssh_keygen_finds_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("known_hosts");
    let path = file.to_str().unwrap();
    let keygen = |args: &[&str]| std::process::Command::new("ssh-keygen").args(args).output().unwrap();
    fs::write(&file, format!("other {B}\n[h]:2222 {B}\n")).unwrap();
    keygen(&["-q", "-H", "-f", path]);
    let hop = hop(&file, "h", 2222);
    trust("test", &hop, &shown(&hop), true).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!((text.lines().count(), text.matches("|1|").count()), (2, 2), "{text}");
    let found = keygen(&["-F", "[h]:2222", "-f", path]);
    assert!(String::from_utf8_lossy(&found.stdout).contains(A));
}

#[test]
fn it_writes_through_symlinks_and_keeps_the_mode() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().join("real");
    let link = dir.path().join("known_hosts");
    fs::write(&real, format!("h {B}\n")).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&real, &link).unwrap();
    let hop = hop(&link, "h", 22);
    trust("test", &hop, &shown(&hop), true).unwrap();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&real).unwrap(), format!("h {A}\n"));
    assert_eq!(real.metadata().unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn a_file_that_is_not_there_is_made_for_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ssh/known_hosts");
    let hop = hop(&file, "h", 22);
    trust("test", &hop, &shown(&hop), false).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
}

#[test]
fn a_lock_that_another_holds_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("known_hosts");
    fs::write(&file, "").unwrap();
    let held = File::open(&file).unwrap();
    held.lock().unwrap();
    let hop = hop(&file, "h", 22);
    let offered = shown(&hop);
    let writer = std::thread::spawn(move || trust("test", &hop, &offered, false));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(fs::read_to_string(&file).unwrap(), "");
    drop(held);
    writer.join().unwrap().unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("h {A}\n"));
}

#[test]
fn a_key_that_another_program_writes_while_we_wait_for_the_file_is_not_added_to() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("known_hosts");
    for theirs in [format!("h {B}\n"), format!("@revoked * {A}\n")] {
        fs::write(&file, "").unwrap();
        let mut held = File::options().append(true).open(&file).unwrap();
        held.lock().unwrap();
        let hop = hop(&file, "h", 22);
        let offered = shown(&hop);
        // Judged while nothing is on file, and then it waits for the lock.
        let writer = std::thread::spawn(move || trust("test", &hop, &offered, false));
        std::thread::sleep(Duration::from_millis(200));
        std::io::Write::write_all(&mut held, theirs.as_bytes()).unwrap();
        drop(held);
        assert_eq!(writer.join().unwrap().unwrap_err().kind, FailureKind::HostKeyChanged);
        assert_eq!(fs::read_to_string(&file).unwrap(), theirs);
    }
}

#[test]
fn where_nothing_is_kept_a_new_key_is_accepted_and_none_is_trusted() {
    let hop = hop(Path::new("/dev/null"), "h", 22);
    let note = accept_new("test", &hop, &shown(&hop)).unwrap();
    assert!(note.contains("/dev/null") && !note.contains("argument"), "{note}");
    let failure = trust("test", &hop, &shown(&hop), false).unwrap_err();
    assert!(failure.kind == FailureKind::Config && failure.hint.contains("known_hosts"), "{failure}");
}

#[test]
fn many_writers_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("known_hosts");
    let writers: Vec<_> = (0..20)
        .map(|n| {
            let hop = hop(&file, &format!("h{n}"), 22);
            std::thread::spawn(move || trust("test", &hop, &shown(&hop), false).unwrap())
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 20);
}

#[test]
fn the_drawing_is_that_of_ssh_keygen() {
    let dir = tempfile::tempdir().unwrap();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let path = dir.path().join(kind);
        let path = path.to_str().unwrap();
        let keygen = |args: &[&str]| std::process::Command::new("ssh-keygen").args(args).output().unwrap();
        keygen(&["-q", "-t", kind, "-N", "", "-f", path]);
        let theirs = String::from_utf8(keygen(&["-lv", "-f", path]).stdout).unwrap();
        let key = PublicKey::from_openssh(&fs::read_to_string(format!("{path}.pub")).unwrap()).unwrap();
        let ours = judge(&hop(Path::new("/dev/null"), "h", 22), None, &key.into(), 0).offered;
        let (first, drawing) = theirs.split_once('\n').unwrap();
        assert!(first.contains(&ours.fingerprint));
        assert_eq!(ours.randomart.trim_end(), drawing.trim_end());
    }
}
