//! The corpus of known_hosts files in `tests/corpus/known_hosts`: for each, a real ssh with strict checking and we
//! go to the same real sshd, and both either take its host key or do not.
//!
//! A file begins with lines `#! WORD VALUE`: `server` says which of the servers below, `host` and `option` what
//! else is given to both, `ssh` what ssh is known to do, `system` begins the system's file. In the rest, `{…}`
//! stands for a key, `{port}` for the port, and `hash! ` for "hashed by ssh-keygen".

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nbtunnel_core::{Failure, FailureKind};
use tempfile::TempDir;

use super::hop::Hop;
use super::shakebed::shake;
use super::testbed::{Sshd, keygen, public, run};

/// A name, its keys, by which authority it is certified, and what ssh-keygen is told of that.
type Made = (&'static str, &'static [&'static str], Option<(&'static str, &'static [&'static str])>);
/// How each server is made.
const SERVERS: &[Made] = &[
    ("plain", &["ed25519", "rsa", "ecdsa"], None),
    ("only-ed25519", &["ed25519"], None),
    ("only-rsa", &["rsa"], None),
    ("rsa-ecdsa", &["rsa", "ecdsa"], None),
    ("sha1", &["rsa"], None),
    ("good", &["ed25519", "rsa"], Some(("ca", &["-n", "127.0.0.1,localhost,box"]))),
    ("expired", &["ed25519"], Some(("ca", &["-n", "127.0.0.1", "-V", "20200101:20200201"]))),
    ("not-yet", &["ed25519"], Some(("ca", &["-n", "127.0.0.1", "-V", "20990101:20990201"]))),
    ("elsewhere", &["ed25519"], Some(("ca", &["-n", "elsewhere,127.0.0.2"]))),
    ("pattern", &["ed25519"], Some(("ca", &["-n", "127.*,*"]))),
    ("anybody", &["ed25519"], Some(("ca", &[]))),
    ("for-users", &["ed25519"], Some(("ca", &["-n", "127.0.0.1"]))),
    ("options", &["ed25519"], Some(("ca", &["-n", "127.0.0.1", "-O", "critical:x@lab=y"]))),
    ("by-rsa", &["ed25519"], Some(("rsa-ca", &["-n", "127.0.0.1"]))),
    ("by-sha1", &["ed25519"], Some(("rsa-ca", &["-n", "127.0.0.1", "-t", "ssh-rsa"]))),
    ("rsa-certified", &["rsa", "ed25519"], Some(("ca", &["-n", "127.0.0.1"]))),
];

/// Keys, made once, and the servers that were needed so far.
struct Lab {
    dir: TempDir,
    servers: BTreeMap<&'static str, Sshd>,
}

impl Lab {
    fn new() -> Lab {
        let dir = tempfile::tempdir().unwrap();
        for (name, kind) in [
            ("ed25519", "ed25519"),
            ("rsa", "rsa"),
            ("ecdsa", "ecdsa"),
            ("other", "ed25519"),
            ("ca", "ed25519"),
            ("other-ca", "ed25519"),
            ("rsa-ca", "rsa"),
        ] {
            keygen(&dir.path().join(name), kind, "");
        }
        Lab { dir, servers: BTreeMap::new() }
    }

    fn key(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The server of that name, which is started when it is needed first.
    fn server(&mut self, name: &str) -> &Sshd {
        let (name, keys, certificate) = SERVERS.iter().find(|(has, ..)| *has == name).unwrap();
        if !self.servers.contains_key(name) {
            let mut sshd = Sshd::start("ed25519", "MaxStartups 200");
            let at = |kind: &str| self.dir.path().join(name).join(kind);
            fs::create_dir(self.dir.path().join(name)).unwrap();
            let mut lines = Vec::new();
            for key in *keys {
                fs::copy(self.key(key), at(key)).unwrap();
                fs::copy(self.key(key).with_extension("pub"), at(key).with_extension("pub")).unwrap();
                lines.push(format!("HostKey {}", at(key).display()));
            }
            if let Some((authority, told)) = certificate {
                let (authority, certified) = (self.key(authority), at(keys[0]).with_extension("pub"));
                let mut words = vec!["-q", "-s", authority.to_str().unwrap(), "-I", "test"];
                words.extend((*name != "for-users").then_some("-h"));
                words.extend(*told);
                words.push(certified.to_str().unwrap());
                run("ssh-keygen", &words);
                lines.push(format!("HostCertificate {}-cert.pub", at(keys[0]).display()));
            }
            if *name == "sha1" {
                lines.push("HostKeyAlgorithms ssh-rsa".into());
            }
            sshd.restart_with_only(&lines.join("\n"));
            self.servers.insert(name, sshd);
        }
        &self.servers[name]
    }
}

/// One file of the corpus.
struct Case {
    name: String,
    server: String,
    host: String,
    option: Option<(String, String)>,
    accepts: bool,
    user: Vec<u8>,
    system: Vec<u8>,
}

impl Case {
    fn read(path: &Path) -> Case {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut case = Case {
            name,
            server: String::new(),
            host: "127.0.0.1".into(),
            option: None,
            accepts: false,
            user: vec![],
            system: vec![],
        };
        let mut is_system = false;
        for line in fs::read(path).unwrap().split_inclusive(|byte| *byte == b'\n') {
            let Some(told) = line.strip_prefix(b"#! ") else {
                if is_system { &mut case.system } else { &mut case.user }.extend_from_slice(line);
                continue;
            };
            let told = std::str::from_utf8(told).unwrap().trim_end();
            match told.split_once(' ').unwrap_or((told, "")) {
                ("server", server) => case.server = server.into(),
                ("host", host) => case.host = host.into(),
                ("option", option) => {
                    let (keyword, value) = option.split_once('=').unwrap();
                    case.option = Some((keyword.into(), value.into()));
                }
                ("ssh", does) => case.accepts = does == "accepts",
                ("system", "") => is_system = true,
                other => panic!("{other:?} in {}", case.name),
            }
        }
        case
    }

    /// A file as it is for these keys and this port.
    fn write(&self, lab: &Lab, port: u16, text: &[u8], to: &Path) {
        let mut out: Vec<u8> = Vec::new();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let (hashed, line) = match line.strip_prefix(b"hash! ") {
                Some(line) => (true, line),
                None => (false, line),
            };
            let line = fill(lab, &self.server, port, line);
            match hashed {
                false => out.extend(line),
                true => {
                    // ssh-keygen leaves lines with a marker as they are.
                    let marker = line.iter().position(|byte| *byte == b' ').filter(|_| line[0] == b'@');
                    let (marker, rest) = line.split_at(marker.map_or(0, |end| end + 1));
                    let file = lab.dir.path().join("to-hash");
                    fs::write(&file, rest).unwrap();
                    run("ssh-keygen", &["-q", "-H", "-f", file.to_str().unwrap()]);
                    let line = fs::read(file).unwrap();
                    assert!(line.starts_with(b"|1|"), "{}: not hashed", self.name);
                    out.extend(marker);
                    out.extend(line);
                }
            }
        }
        fs::write(to, out).unwrap();
    }
}

fn fill(lab: &Lab, server: &str, port: u16, line: &[u8]) -> Vec<u8> {
    let mut line = line.to_vec();
    let mut put = |mark: String, what: &str| {
        while let Some(at) = line.windows(mark.len()).position(|window| window == mark.as_bytes()) {
            line.splice(at..at + mark.len(), what.bytes());
        }
    };
    put("{port}".into(), &port.to_string());
    for key in ["ed25519", "rsa", "ecdsa", "other", "ca", "other-ca", "rsa-ca"] {
        let key_text = public(&lab.key(key));
        put(format!("{{{key}}}"), &key_text);
        put(format!("{{{key}:tab}}"), &key_text.replace(' ', "\t"));
        put(format!("{{{key}:blob}}"), key_text.split(' ').nth(1).unwrap());
    }
    let certificate = lab.dir.path().join(server).join("ed25519-cert.pub");
    if let Ok(certificate) = fs::read_to_string(certificate) {
        put("{cert}".into(), certificate.trim_end());
    }
    line
}

/// Whether a real ssh takes the host key, and what it said.
fn by_ssh(case: &Case, sshd: &Sshd, user: &Path, system: &Path) -> (bool, String) {
    let mut command = Command::new("ssh");
    command.args([
        "-F",
        "none",
        "-o",
        "BatchMode=yes",
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "UpdateHostKeys=no",
    ]);
    command.args(["-o", "StrictHostKeyChecking=yes", "-o", "CheckHostIP=no"]);
    command.arg("-o").arg(format!("UserKnownHostsFile={}", user.display()));
    command.arg("-o").arg(format!("GlobalKnownHostsFile={}", system.display()));
    // With no way to log in, what it says tells how far it came.
    command.args(["-o", "PreferredAuthentications=none", "-p", &sshd.port.to_string()]);
    if let Some((keyword, value)) = &case.option {
        command.arg("-o").arg(format!("{keyword}={value}"));
    }
    let output = command.args([&case.host, "true"]).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let accepts = said.contains("Permission denied");
    let refuses = ["Host key verification failed", "no matching host key"].iter().any(|no| said.contains(no));
    assert!(accepts != refuses, "{}: {said}", case.name);
    (accepts, said)
}

/// Whether we take it, or why not.
async fn by_us(case: &Case, sshd: &Sshd, user: &Path, system: &Path) -> Result<(), Failure> {
    let mut hop: Hop = sshd.hop();
    hop.host.clone_from(&case.host);
    hop.host_keys.known_hosts = vec![user.to_owned()];
    hop.host_keys.system_known_hosts = vec![system.to_owned()];
    match case.option.as_ref().map(|(keyword, value)| (keyword.as_str(), value)) {
        Some(("HostKeyAlias", alias)) => hop.host_keys.alias = Some(alias.clone()),
        Some(("HostKeyAlgorithms", names)) => {
            hop.algorithms.host_keys = Some(names.split(',').map(str::to_owned).collect());
        }
        other => assert!(other.is_none(), "{other:?}"),
    }
    shake(sshd, hop).await.map(drop)
}

#[tokio::test]
async fn our_verdict_is_that_of_ssh_over_the_whole_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus/known_hosts");
    let mut files: Vec<PathBuf> = fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let mut lab = Lab::new();
    let (mut accepted, mut refused, mut wrong) = (0, 0, Vec::new());
    for path in files {
        let case = Case::read(&path);
        lab.server(&case.server);
        let sshd = &lab.servers[case.server.as_str()];
        let (user, system) = (lab.key("user-file"), lab.key("system-file"));
        case.write(&lab, sshd.port, &case.user, &user);
        case.write(&lab, sshd.port, &case.system, &system);
        let (theirs, said) = by_ssh(&case, sshd, &user, &system);
        let ours = by_us(&case, sshd, &user, &system).await;
        if let Err(failure) = &ours {
            use FailureKind::{HostKeyChanged, HostKeyUnknown, NoCommonAlgorithm};
            let kinds = [HostKeyChanged, HostKeyUnknown, NoCommonAlgorithm];
            assert!(kinds.contains(&failure.kind), "{}: {failure:?}", case.name);
        }
        if theirs {
            accepted += 1
        } else {
            refused += 1
        }
        if theirs != case.accepts || ours.is_ok() != theirs {
            let last = said.trim_end().lines().last().unwrap_or_default().to_owned();
            wrong
                .push(format!("{}: on file {}, ssh {theirs} ({last}), we {ours:?}", case.name, case.accepts));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(accepted >= 40 && refused >= 40, "the corpus is lost: {accepted} and {refused}");
}
