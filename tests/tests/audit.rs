//! What others say of the algorithms that our client offers: ssh-audit grades them, beside those of the installed
//! ssh in the same way.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::child::Running;
use nbtunnel_tests::programs::{repository, system};
use nbtunnel_tests::{Sshd, World, net, wait};
use serde_json::Value;
use tempfile::TempDir;

/// One audit: ssh-audit listens and grades the first client that comes.
struct Audit {
    process: Running,
    dir: TempDir,
    port: u16,
}

impl Audit {
    fn start() -> Result<Audit> {
        let own = repository().join("target/jupyter/bin/ssh-audit");
        let program: PathBuf = if own.is_file() { own } else { system("ssh-audit")? };
        let (dir, port) = (TempDir::with_prefix("nbt-audit-")?, net::free_port()?);
        let mut command = Command::new(program);
        command.args(["--client-audit", "--json", "--port"]).arg(port.to_string());
        command.stdin(Stdio::null()).stdout(fs::File::create(dir.path().join("out"))?).stderr(Stdio::null());
        let process = Running::spawn(&mut command)?;
        // Connecting to see whether it listens would be graded, and binding would be in its way.
        let ss = system("ss")?;
        let listens = || {
            let sockets = Command::new(&ss).args(["-Hltn", "sport", "=", &format!(":{port}")]).output();
            sockets.is_ok_and(|sockets| !sockets.stdout.is_empty())
        };
        wait::until("ssh-audit listens", wait::SOON, listens)?;
        Ok(Audit { process, dir, port })
    }

    /// What it found, once a client has been there.
    fn result(&mut self) -> Result<Value> {
        // It ends with a status of its own when something is to be said against a client.
        self.process.wait(wait::SOON)?;
        let text = fs::read_to_string(self.dir.path().join("out"))?;
        serde_json::from_str(&text).with_context(|| text)
    }
}

/// `algorithm: what is said against it`, for every algorithm.
fn said(audit: &Value, grade: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for kind in ["kex", "key", "enc", "mac"] {
        for one in audit[kind].as_array().into_iter().flatten() {
            for note in one["notes"][grade].as_array().into_iter().flatten() {
                let (name, note) = (one["algorithm"].as_str().unwrap_or("?"), note.as_str().unwrap_or("?"));
                all.insert(format!("{kind} {name}: {note}"));
            }
        }
    }
    all
}

fn offered(audit: &Value) -> usize {
    ["kex", "key", "enc", "mac"].iter().filter_map(|kind| audit[kind].as_array()).map(Vec::len).sum()
}

fn audit_of_ssh() -> Result<Value> {
    let mut audit = Audit::start()?;
    let known = audit.dir.path().join("known_hosts");
    let status = Command::new(system("ssh")?)
        .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o"])
        .arg(format!("UserKnownHostsFile={}", known.display()))
        .args(["-p", &audit.port.to_string(), "127.0.0.1", "true"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    ensure!(!status.success(), "ssh-audit let somebody in");
    audit.result()
}

fn audit_of_ours(key: &Path) -> Result<Value> {
    let mut audit = Audit::start()?;
    let mut world = World::new()?;
    let file = format!(
        "host = \"127.0.0.1\"\nport = {}\nuser = \"u\"\nidentity_file = [{:?}]\nhost_key = \"accept-new\"\n\
         known_hosts = [{:?}]\nssh_config = \"none\"\n",
        audit.port,
        key.display().to_string(),
        audit.dir.path().join("known_hosts").display().to_string()
    );
    world.write_text("graded", file)?;
    world.start()?;
    audit.result()
}

#[test]
fn nothing_is_said_against_our_algorithms_that_is_not_said_against_those_of_ssh() -> Result<()> {
    let sshd = Sshd::start()?;
    let (theirs, ours) = (audit_of_ssh()?, audit_of_ours(&sshd.user_key())?);
    for (who, audit) in [("ssh", &theirs), ("nbtunnel", &ours)] {
        let (fail, warn) = (said(audit, "fail"), said(audit, "warn"));
        println!("{who}: {} algorithms, {} failures, {} warnings", offered(audit), fail.len(), warn.len());
        ensure!(offered(audit) >= 10, "nothing was graded: {audit:#}");
    }
    ensure!(!said(&theirs, "fail").is_empty(), "the check below cannot fail");
    for grade in ["fail", "warn"] {
        let (ours, theirs) = (said(&ours, grade), said(&theirs, grade));
        let more: Vec<_> = ours.difference(&theirs).collect();
        ensure!(more.is_empty(), "only nbtunnel gets this {grade}: {more:#?}");
    }
    Ok(())
}
