//! A notebook that is a job of a real Slurm cluster of two nodes, behind a real sshd on its login machine.

use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::child::Signal;
use nbtunnel_tests::jupyter::Stranger;
use nbtunnel_tests::netns::Networks;
use nbtunnel_tests::slurm::Slurm;
use nbtunnel_tests::{Sshd, http, programs, wait};
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
        nbtunnel_tests::child::signal_pid(lab.daemon_pid()?, Signal::Kill)?;
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
    ensure!(job["state"] == "RUNNING" && job["left_s"].as_f64() <= Some(600.0), "{alice:#}");
    let job_id = job["id"].clone();
    let (id, node) = (job_id.to_string(), job["node"].as_str().context("no node")?.to_owned());
    let port = lab.port("alice")?;

    // Its node is wanted for something else.
    slurm.run("scontrol", &["update", &format!("NodeName={node}"), "State=DRAIN", "Reason=test"])?;
    slurm.run("scontrol", &["requeue", &id])?;
    let waits = |state: &str| slurm.jobs().is_ok_and(|jobs| jobs.iter().any(|(_, _, is)| is == state));
    wait::until("it waits again", SCHEDULED, || waits("PENDING"))?;
    lab.until("alice", "its waiting is told", |notebook| {
        notebook["state"] == "pending" && notebook["job"]["reason"].is_string()
    })?;
    slurm.run("scontrol", &["update", &format!("JobId={id}"), "StartTime=now"])?;
    let told = lab.nbctl(&["open", "alice", "--print"])?;
    ensure!(told.code == 0, "{told:?}");
    answers(&lab)?;
    let alice = lab.notebook("alice")?;
    ensure!(alice["job"]["node"] != node.as_str() && alice["job"]["id"] == job_id, "{alice:#}");
    ensure!(lab.port("alice")? == port && slurm.jobs()?.len() == 1, "{alice:#}");

    let told = lab.nbctl(&["notebook", "stop", "alice"])?;
    ensure!(told.code == 0, "{told:?}");
    wait::until("it is cancelled", SCHEDULED, || slurm.jobs().is_ok_and(|jobs| jobs.is_empty()))?;
    Ok(())
}

#[test]
fn a_server_on_its_nodes_own_loopback_is_reached_by_ssh_over_there_and_no_stranger_beside_it() -> Result<()> {
    let networks = Networks::enter()?;
    let nodes = [Ipv4Addr::new(10, 98, 0, 1), Ipv4Addr::new(10, 98, 0, 2)];
    nodes.iter().try_for_each(|address| networks.own(*address))?;
    let slurm = Slurm::at(nodes)?;
    let mut node = Sshd::at(nodes[0].into(), &[])?;
    // As Jupyter listens where nothing else is said.
    let lab = Lab::beside_with_ssh(&section("alice", "7100-7109", ""), &slurm, &node)?;
    lab.world.wait_for("lab", "up")?;

    node.stop()?;
    let told = lab.nbctl(&["open", "alice", "--print"])?;
    for why in ["listens on its loopback alone", "ssh from the login machine to n", "Connection refused"] {
        ensure!(told.code == 1 && told.stderr.contains(why), "{why}: {told:?}");
    }
    node.start_again()?;
    answers(&lab).with_context(|| format!("{:?}", lab.nbctl(&["open", "alice", "--print"])))?;
    let alice = lab.notebook("alice")?;
    ensure!(alice["target"].as_str().is_some_and(|target| target.starts_with('/')), "{alice:#}");
    ensure!(alice["note"].as_str().is_some_and(|note| note.contains("by ssh")), "{alice:#}");
    let port = lab.written("port")?.as_u64().context("no port is written down")?;
    ensure!((7100..7110).contains(&port), "{port}");

    // Who comes by the node's name meets somebody else.
    let port = u16::try_from(port)?;
    let strangers = nodes.map(|node| Stranger::at(&node.to_string(), port));
    answers(&lab)?;
    let looked_at = |notebook: &Value| notebook["server"]["asked_ms"].as_u64() > Some(0);
    lab.until("alice", "it is looked at", looked_at)?;
    // Nobody is there at the moment: so it is looked for again before the next one is led there.
    answers(&lab)?;
    for stranger in strangers {
        let heard = stranger?.heard();
        ensure!(heard.is_empty(), "{heard}");
    }

    // That ssh is gone, as when nobody came by it for a while.
    ensure!(node.kill_sessions() > 0);
    wait::until("it answers again", SCHEDULED, || answers(&lab).is_ok())?;
    Ok(())
}
