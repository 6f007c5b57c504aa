//! A notebook that is a job of a real Slurm cluster of two nodes, behind a real sshd on its login machine.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::child::Signal;
use nbtunnel_tests::slurm::Slurm;
use nbtunnel_tests::{http, programs, wait};

use super::lab::Lab;

/// What a cluster takes its time for.
const SCHEDULED: Duration = Duration::from_secs(60);

fn section() -> String {
    let jupyter = programs::repository().join("target/jupyter/bin/jupyter");
    let start =
        format!("{} server --no-browser --allow-root --ip=0.0.0.0 --port={{port}}", jupyter.display());
    format!(
        "[notebook.alice]\nfind = \"auto\"\nstart = \"{start}\"\nlauncher = \"slurm\"\n[notebook.alice.slurm]\n\
         time = \"10\"\n"
    )
}

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
    let mut lab = Lab::beside(&section(), &slurm)?;
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
