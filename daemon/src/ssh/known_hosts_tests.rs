use std::fs;
use std::process::Command;

use super::*;
use crate::ssh::testbed::hop;

const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
const B: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9dG4kjRhQTtWTVzd2t27+t0DEHBPW7iOD23TUiYLio";
/// Of the type nistp256, generated for these tests.
const E: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGIzQ0LYigVtlBetOaDzHee/a2yjbmaDlcH/AK/9OtkeNb3a6yE1OgfPKqarf7O6+tfuy2RP3rw2uXx0ISo3Q48=";

fn key(text: &str) -> PublicKey {
    PublicKey::from_openssh(text).unwrap()
}

fn read(file: &Path, host: &str, port: u16) -> KnownHosts {
    let mut hop = hop(host, port);
    hop.host_keys.known_hosts = vec![file.to_owned()];
    KnownHosts::read(&hop, &Names::of(&hop, None))
}

fn verdict(content: &str, host: &str, port: u16, shown: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("known_hosts");
    fs::write(&file, content).unwrap();
    match read(&file, host, port).verdict(&key(shown)) {
        Verdict::Known => "known".into(),
        Verdict::Unknown => "unknown".into(),
        Verdict::Revoked { .. } => "revoked".into(),
        Verdict::AddressChanged { .. } => "another address".into(),
        Verdict::Changed { recorded } => {
            format!("changed {:?}", recorded.iter().map(|r| r.line).collect::<Vec<_>>())
        }
    }
}

#[test]
fn verdicts_are_those_of_ssh() {
    let cases: &[(&str, &str, u16, &str)] = &[
        ("", "h", 22, "unknown"),
        ("h {A}", "h", 22, "known"),
        ("H {A}", "h", 22, "known"),
        ("h {A}", "H", 22, "known"),
        ("h {B}", "h", 22, "changed [1]"),
        ("h {E}", "h", 22, "changed [1]"),
        ("h {B}\nh {E}", "h", 22, "changed [1, 2]"),
        ("h {B}\nh {A}", "h", 22, "known"),
        ("other {B}", "h", 22, "unknown"),
        ("a,h,b {A}", "h", 22, "known"),
        ("*.lab {A}", "x.lab", 22, "known"),
        ("*.lab,!x.lab {A}", "x.lab", 22, "unknown"),
        ("!x.lab,*.lab {A}", "y.lab", 22, "known"),
        ("h? {A}", "h1", 22, "known"),
        ("h? {A}", "h", 22, "unknown"),
        ("[h]:2222 {A}", "h", 2222, "known"),
        ("[h]:2222 {A}", "h", 22, "unknown"),
        ("[h]:2222 {A}", "h", 2223, "unknown"),
        ("[*.lab]:2222 {A}", "x.lab", 2222, "known"),
        // Without a port: good enough to know a key, not to call it changed.
        ("h {A}", "h", 2222, "known"),
        ("h {B}", "h", 2222, "unknown"),
        ("h {A}\n[h]:2222 {B}", "h", 2222, "changed [2]"),
        ("@revoked h {A}\nh {A}", "h", 22, "revoked"),
        ("h {A}\n@revoked * {A}", "h", 22, "revoked"),
        ("@revoked h {B}\nh {A}", "h", 22, "known"),
        ("@revoked h {A}", "h", 2222, "revoked"),
        ("@cert-authority h {B}", "h", 22, "unknown"),
        ("@cert-authority h {A}", "h", 22, "unknown"),
        ("# h {B}\n\n   \nh\t{A} a comment", "h", 22, "known"),
        ("  h   {A}\r", "h", 22, "known"),
        ("garbage\nh {A}", "h", 22, "known"),
        ("h ssh-ed25519 AAAA!!!\nh {A}", "h", 22, "known"),
        ("@marker h {B}\nh {A}", "h", 22, "known"),
    ];
    for (content, host, port, expected) in cases {
        let content = content.replace("{A}", A).replace("{B}", B).replace("{E}", E);
        assert_eq!(verdict(&content, host, *port, A), *expected, "{content}");
    }
}

#[test]
fn hashed_names_are_found_and_ssh_keygen_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("known_hosts");
    fs::write(&file, format!("alpha {A}\n[alpha]:2222 {B}\nbeta {A}\n*.lab {B}\n")).unwrap();
    let path = file.to_str().unwrap();
    // ssh-keygen hashes what is no pattern.
    assert!(Command::new("ssh-keygen").args(["-q", "-H", "-f", path]).output().unwrap().status.success());
    assert!(!fs::read_to_string(&file).unwrap().contains("alpha"));
    let mut agreed = 0;
    for (host, port) in
        [("alpha", 22), ("alpha", 2222), ("beta", 22), ("gamma", 22), ("x.lab", 22), ("gamma", 9)]
    {
        let name = lookup_name(host, port);
        let found = Command::new("ssh-keygen").args(["-F", &name, "-f", path]).output().unwrap();
        let theirs = lines_of(&found.stdout);
        let ours: Vec<u32> = read(&file, host, port).recorded().iter().map(|r| r.line).collect();
        assert_eq!(ours, theirs, "{name}");
        agreed += ours.len();
    }
    assert_eq!(agreed, 4);
}

/// `# Host NAME found: line N`.
fn lines_of(output: &[u8]) -> Vec<u32> {
    let text = String::from_utf8_lossy(output);
    text.lines().filter_map(|line| line.split("line ").nth(1)?.trim().parse().ok()).collect()
}

#[test]
fn broken_lines_are_told_but_not_one_by_one_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("known_hosts");
    // Of other hosts, a key that cannot be read is none of our business.
    let broken = b"h ssh-dss AAAA\n".repeat(10);
    let lines = [broken.as_slice(), b"h \xff\xfe x\nother x y\n", A.as_bytes()];
    fs::write(&file, lines.concat()).unwrap();
    assert_eq!(read(&file, "another", 22).notes, [""; 0]);
    let known = read(&file, "h", 22);
    assert_eq!(known.notes.len(), MAX_NOTES + 1, "{:?}", known.notes);
    assert!(known.notes[0].contains("known_hosts:1 was skipped"), "{:?}", known.notes);
}

#[test]
fn what_cannot_be_read_is_a_note_and_what_is_not_there_is_nothing() {
    let dir = tempfile::tempdir().unwrap();
    assert!(read(&dir.path().join("absent"), "h", 22).notes.is_empty());
    assert!(read(Path::new("/dev/null"), "h", 22).notes.is_empty());
    assert_eq!(read(dir.path(), "h", 22).notes.len(), 1);
}

#[test]
fn a_file_of_any_size_is_read_to_its_end_and_what_is_no_line_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("known_hosts");
    let mut text = format!("h {E}\n{}\n\0\0\n\u{feff}h {B}\n", "x".repeat(3 << 20)).into_bytes();
    for number in 0..100_000 {
        text.extend_from_slice(format!("node{number},[node{number}.lab]:2222 {B}\n").as_bytes());
    }
    // Larger than any that people write by hand.
    let comment = format!("# {}\n", "x".repeat(1000));
    while text.len() < 20 << 20 {
        text.extend_from_slice(comment.as_bytes());
    }
    text.extend_from_slice(format!("h {A}").as_bytes());
    fs::write(&file, &text).unwrap();
    let begun = crate::wake::stopwatch();
    let known = read(&file, "h", 22);
    println!("{} MiB were read in {:?}", text.len() >> 20, begun());
    let lines: Vec<u32> = known.recorded().iter().map(|key| key.line).collect();
    assert_eq!((lines[0], lines.len(), known.verdict(&key(A))), (1, 2, Verdict::Known));
    assert!(matches!(known.verdict(&key(B)), Verdict::Changed { .. }));
    assert_eq!(read(&file, "node99999", 22).verdict(&key(B)), Verdict::Known);
}
