//! A notebook that is a job of a real Slurm cluster of two nodes, behind a real sshd on its login machine.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::child::{Running, Signal, signal_pid};
use nbtunnel_tests::jupyter::{Stranger, self_signed};
use nbtunnel_tests::netns::{Networks, There};
use nbtunnel_tests::slurm::Slurm;
use nbtunnel_tests::{Sshd, http, net, programs, wait};
use serde_json::Value;

use super::lab::Lab;

/// What a cluster takes its time for.
const SCHEDULED: Duration = Duration::from_secs(60);

fn section(name: &str, find: &str, options: &str) -> String {
    let jupyter = programs::repository().join("target/jupyter/bin/jupyter");
    let start = format!("{} server --no-browser --allow-root {options} --port={{port}}", jupyter.display());
    format!(
        "[notebook.{name}]\nfind = \"{find}\"\nstart = \"{start}\"\nlauncher = \"slurm\"\n\
         [notebook.{name}.slurm]\ntime = \"10\"\n"
    )
}

/// A program that takes its token from us gets in.
fn answers(lab: &Lab) -> Result<()> {
    let token = lab.says("token", "alice")?;
    let header = format!("token {token}");
    let answer = http::get(lab.port("alice")?, "/api/status", &[("Authorization", &header)], wait::SOON)?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(())
}

/// Whoever has a look at everything sees it.
fn says_at_a_glance(lab: &Lab, words: &[&str]) -> Result<()> {
    let told = lab.nbctl(&["status"])?;
    ensure!(told.code == 0 && words.iter().all(|words| told.stdout.contains(words)), "{words:?}: {told:?}");
    Ok(())
}

#[test]
fn a_job_is_submitted_once_followed_to_another_node_by_the_same_address_and_cancelled() -> Result<()> {
    let slurm = Slurm::start()?;
    let mut lab = Lab::beside(&section("alice", "auto", "--ip=0.0.0.0"), &slurm)?;
    lab.world.wait_for("lab", "up")?;
    ensure!(slurm.jobs()?.is_empty(), "nobody has opened it");

    // Ten who open it, and a daemon that is killed meanwhile.
    let told = lab.nbctl(&["url", "alice"])?;
    ensure!(told.code == 1 && told.stderr.contains("no job"), "{told:?}");
    thread::scope(|scope| {
        let open = || lab.nbctl(&["open", "alice", "--print"]);
        let all: Vec<_> = (0..10).map(|_| scope.spawn(open)).collect();
        wait::until("it is submitted", SCHEDULED, || slurm.jobs().is_ok_and(|jobs| !jobs.is_empty()))?;
        signal_pid(lab.daemon_pid()?, Signal::Kill)?;
        all.into_iter().try_for_each(|one| one.join().expect("no panic").map(drop))
    })?;
    lab.world.end(Signal::Kill)?;
    lab.world.start()?;
    let told = lab.nbctl(&["open", "alice", "--print"])?;
    ensure!(told.code == 0, "{told:?}");
    ensure!(slurm.jobs()?.len() == 1, "{:?}", slurm.jobs());
    answers(&lab)?;
    let alice = lab.notebook("alice")?;
    let job = &alice["job"];
    ensure!(job["state"] == "RUNNING", "{alice:#}");
    let left = |alice: &Value| alice["job"]["left_s"].as_f64().filter(|left| (1.0..=600.0).contains(left));
    let first = left(&alice).with_context(|| format!("no time is left: {alice:#}"))?;
    lab.until("alice", "its time is counted down", |now| left(now).is_some_and(|left| left < first))?;
    says_at_a_glance(&lab, &["the time of its job", " is up in "])?;
    let job_id = job["id"].clone();
    let (id, node) = (job_id.to_string(), job["node"].as_str().context("no node")?.to_owned());
    let port = lab.port("alice")?;

    // Its node is wanted for something else.
    slurm.run("scontrol", &["update", &format!("NodeName={node}"), "State=DRAIN", "Reason=test"])?;
    slurm.run("scontrol", &["requeue", &id])?;
    let waits = |state: &str| slurm.jobs().is_ok_and(|jobs| jobs.iter().any(|(_, _, is)| is == state));
    wait::until("it waits again", SCHEDULED, || waits("PENDING"))?;
    let starts = |when: &str| slurm.run("scontrol", &["update", &format!("JobId={id}"), when]);
    starts("StartTime=now+3hours")?;
    let later = UNIX_EPOCH.elapsed()? + Duration::from_secs(2 * 3600);
    let is_told = |notebook: &Value| {
        let job = &notebook["job"];
        let is_late = job["starts_ms"].as_u64().is_some_and(|ms| Duration::from_millis(ms) > later);
        notebook["state"] == "pending" && job["reason"].is_string() && is_late
    };
    lab.until("alice", "its waiting is told", is_told)?;
    says_at_a_glance(&lab, &["pending (", "expected to start "])?;
    let (mut opens, heard) = (lab.world.nbctl_command(["open", "alice", "--print"]), lab.world.path("heard"));
    let mut opens = Running::spawn(opens.stdout(Stdio::null()).stderr(fs::File::create(&heard)?))?;
    let hears = |words: &str| fs::read_to_string(&heard).is_ok_and(|heard| heard.contains(words));
    wait::until("who waits hears when it may start", SCHEDULED, || hears(" h\n"))?;
    starts("StartTime=now+5days")?;
    wait::until("and that this changed", SCHEDULED, || hears(" days\n"))?;
    starts("StartTime=now")?;
    ensure!(opens.wait(SCHEDULED)?.success() && hears(" runs on n"), "{}", fs::read_to_string(&heard)?);
    answers(&lab)?;
    let alice = lab.notebook("alice")?;
    ensure!(alice["job"]["node"] != node.as_str() && alice["job"]["id"] == job_id, "{alice:#}");
    ensure!(lab.port("alice")? == port && slurm.jobs()?.len() == 1, "{alice:#}");

    let told = lab.nbctl(&["notebook", "stop", "alice"])?;
    ensure!(told.code == 0, "{told:?}");
    wait::until("it is cancelled", SCHEDULED, || slurm.jobs().is_ok_and(|jobs| jobs.is_empty()))?;
    Ok(())
}

/// Two nodes in a network of their own.
struct Across {
    networks: Networks,
    slurm: Slurm,
    /// What ssh finds on both.
    node: There<Sshd>,
}

impl Across {
    fn new() -> Result<Across> {
        let networks = Networks::enter()?;
        let slurm = Slurm::across(&networks)?;
        let node = networks.make_there(|| Sshd::at(slurm.addresses()[0], &[]))?;
        Ok(Across { networks, slurm, node })
    }

    fn lab(&self, section: &str) -> Result<Lab> {
        let lab = Lab::beside_with_ssh(section, &self.slurm, &self.node)?;
        lab.world.wait_for("lab", "up")?;
        Ok(lab)
    }

    /// Somebody else on both nodes, at this port of the addresses by which others know them.
    fn strangers(&self, port: u16) -> Result<Vec<There<Stranger>>> {
        let at = |node: IpAddr| self.networks.make_there(|| Stranger::at(&node.to_string(), port));
        self.slurm.addresses().map(at).into_iter().collect()
    }
}

fn heard_nothing(strangers: &[There<Stranger>]) -> Result<()> {
    strangers.iter().try_for_each(|stranger| {
        let heard = stranger.heard();
        ensure!(heard.is_empty(), "a stranger was told: {heard}");
        Ok(())
    })
}

fn is_well(notebook: &Value) -> bool {
    notebook["health"] == "server ok"
}

#[test]
fn a_server_on_its_nodes_own_loopback_is_reached_by_ssh_over_there_and_no_stranger_beside_it() -> Result<()> {
    let mut cluster = Across::new()?;
    // As Jupyter listens where nothing else is said.
    let lab = cluster.lab(&section("alice", "7100-7109", ""))?;

    cluster.node.stop()?;
    let told = lab.nbctl(&["open", "alice", "--print"])?;
    for why in ["listens on its loopback alone", "ssh from the login machine to n", "Connection refused"] {
        ensure!(told.code == 1 && told.stderr.contains(why), "{why}: {told:?}");
    }
    cluster.networks.there(|| cluster.node.start_again())??;
    answers(&lab)?;
    let alice = lab.notebook("alice")?;
    ensure!(alice["target"].as_str().is_some_and(|target| target.starts_with('/')), "{alice:#}");
    ensure!(alice["note"].as_str().is_some_and(|note| note.contains("by ssh")), "{alice:#}");
    let port = u16::try_from(lab.written("port")?.as_u64().context("no port is written down")?)?;
    ensure!((7100..7110).contains(&port), "{port}");

    // Who comes by the node's name meets somebody else.
    let strangers = cluster.strangers(port)?;
    answers(&lab)?;
    lab.until("alice", "it is looked at", is_well)?;
    answers(&lab)?;
    heard_nothing(&strangers)?;

    // That ssh is gone, as when nobody came by it for a while.
    ensure!(cluster.node.kill_sessions() > 0);
    wait::until("it answers again", SCHEDULED, || answers(&lab).is_ok())?;
    heard_nothing(&strangers)
}

#[test]
fn a_node_that_lets_in_who_comes_with_the_keys_of_this_machine_is_reached_from_here() -> Result<()> {
    let mut cluster = Across::new()?;
    let options = section("alice", "auto", "");
    let lab = Lab::beside_with_ssh_from_here(&options, &cluster.slurm, &cluster.node)?;
    lab.world.wait_for("lab", "up")?;
    cluster.node.stop()?;
    let told = lab.nbctl(&["open", "alice", "--print"])?;
    for why in
        ["ssh from the login machine to n", "nor does ssh from here by way of it", "could not connect to"]
    {
        ensure!(told.code == 1 && told.stderr.contains(why), "{why}: {told:?}");
    }
    cluster.networks.there(|| cluster.node.start_again())??;
    wait::until("it answers", SCHEDULED, || answers(&lab).is_ok())?;
    let alice = lab.notebook("alice")?;
    ensure!(alice["target"].as_str().is_some_and(|target| target.contains(" on n")), "{alice:#}");
    ensure!(
        alice["note"].as_str().is_some_and(|note| note.contains("by way of the login machine")),
        "{alice:#}"
    );
    let port = u16::try_from(lab.written("port")?.as_u64().context("no port is written down")?)?;
    let strangers = cluster.strangers(port)?;
    lab.until("alice", "it is looked at", is_well)?;
    lab.sshd.has_let_in("publickey", 1)?;
    cluster.node.has_let_in("publickey", 1)?;

    // That session is gone, and the tunnel stays as it is.
    ensure!(cluster.node.kill_sessions() > 0);
    wait::until("it answers again", SCHEDULED, || answers(&lab).is_ok())?;
    cluster.node.has_let_in("publickey", 2)?;
    lab.sshd.has_let_in("publickey", 1)?;
    heard_nothing(&strangers)?;

    // Its server ends: whoever is there then hears nothing.
    let pid = *lab.servers().first().context("no server is written down")?;
    signal_pid(pid, Signal::Kill)?;
    lab.until("alice", "it is missed", |notebook| !is_well(notebook) && notebook["state"] != "found")?;
    ensure!(answers(&lab).is_err());
    heard_nothing(&strangers)
}

#[test]
fn a_certificate_that_vouches_for_itself_is_taken_by_way_of_ssh_alone() -> Result<()> {
    let mut cluster = Across::new()?;
    let dir = tempfile::tempdir()?;
    let (certificate, key) = self_signed(dir.path())?;
    let options = format!("--ip=0.0.0.0 --certfile={} --keyfile={}", certificate.display(), key.display());
    let lab = cluster.lab(&section("alice", "auto", &options))?;
    cluster.node.stop()?;
    let told = lab.nbctl(&["open", "alice", "--print"])?;
    for why in ["is not trusted", "ssh from the login machine to n"] {
        ensure!(told.code == 1 && told.stderr.contains(why), "{why}: {told:?}");
    }
    cluster.networks.there(|| cluster.node.start_again())??;
    ensure!(lab.says("url", "alice")?.starts_with("https://"));
    let alice = lab.until("alice", "it is looked at", is_well)?;
    ensure!(alice["note"].as_str().is_some_and(|note| note.contains("vouches for itself")), "{alice:#}");
    ensure!(alice["target"].as_str().is_some_and(|target| target.starts_with('/')), "{alice:#}");
    Ok(())
}

#[test]
fn who_takes_the_port_of_a_server_that_ended_on_its_node_is_told_nothing() -> Result<()> {
    let cluster = Across::new()?;
    let lab = cluster.lab(&section("alice", "auto", "--ip=0.0.0.0"))?;
    let told = lab.nbctl(&["open", "alice", "--print"])?;
    ensure!(told.code == 0, "{told:?}");
    answers(&lab)?;
    let alice = lab.until("alice", "it is looked at", is_well)?;
    ensure!(alice["target"].as_str().is_some_and(|target| target.starts_with('n')), "{alice:#}");
    let port = u16::try_from(lab.written("port")?.as_u64().context("no port is written down")?)?;

    let pid = *lab.servers().first().context("no server is written down")?;
    signal_pid(pid, Signal::Kill)?;
    let there = || cluster.networks.there(|| net::may_bind((Ipv4Addr::UNSPECIFIED, port).into()).is_ok());
    wait::until("it is gone", wait::SOON, || there().unwrap_or(false))?;
    let strangers = cluster.strangers(port)?;
    lab.until("alice", "it is missed", |notebook| !is_well(notebook) && notebook["state"] != "found")?;
    ensure!(answers(&lab).is_err());
    heard_nothing(&strangers)
}
