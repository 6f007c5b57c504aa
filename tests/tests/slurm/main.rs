//! Servers as jobs of a real Slurm cluster: one job, however often and by whomever it is submitted.
#![cfg(target_os = "linux")]

mod doubt;
mod node;
mod words;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nbtunnel_core::{Failure, Job, JobState, Name, SlurmSpec, Target};
use nbtunnel_tests::here::Here;
use nbtunnel_tests::programs::{repository, write_program};
use nbtunnel_tests::slurm::{NODES, Slurm};
use nbtunnel_tests::wait;
use nbtunneld::forward::far_side::{FarSide, Opening, Running};
use nbtunneld::launch::{Batch, KnownWays, Node, cancel, job_log, queue, submit};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Long enough for a scheduler that looks every few seconds.
const SCHEDULED: Duration = Duration::from_secs(60);

struct Cluster {
    slurm: Slurm,
    home: TempDir,
}

impl Cluster {
    fn start() -> Result<Cluster> {
        let home = tempfile::Builder::new().prefix("nbt-user-").tempdir()?;
        Ok(Cluster { slurm: Slurm::start()?, home })
    }

    fn here(&self) -> Here {
        self.slurm.login(self.home.path()).env("TMPDIR", self.home.path().display().to_string())
    }

    fn far(&self) -> Arc<Here> {
        Arc::new(self.here())
    }

    /// A job that serves on one processor.
    fn batch(&self) -> Batch {
        let server = repository().join("tests/fixtures/small_server.py");
        let command = format!("/usr/bin/python3 {} {{port}} here", server.display());
        let spec = SlurmSpec {
            time: Some("10".into()),
            cpus: Some(1),
            memory: Some("100M".into()),
            ..SlurmSpec::default()
        };
        Batch {
            name: Name::parse("alice").unwrap_or_else(|why| panic!("{why}")),
            spec,
            command: Some(command),
            dir: None,
            port: None,
            ports: None,
        }
    }

    /// Takes all processors, for so many minutes.
    fn fill(&self) -> Result<()> {
        for node in NODES {
            self.slurm.run(
                "sbatch",
                &["-J", "other", "-t", "30", "-w", node, "-o", "/dev/null", "--wrap", "exec sleep 600"],
            )?;
        }
        self.until("all is taken", || {
            Ok(self
                .slurm
                .jobs()?
                .iter()
                .filter(|(_, name, state)| name == "other" && state == "RUNNING")
                .count()
                == 2)
        })
    }

    fn until(&self, what: &str, holds: impl Fn() -> Result<bool>) -> Result<()> {
        wait::until(what, SCHEDULED, || holds().unwrap_or(false))
            .with_context(|| format!("{:?}", self.slurm.jobs()))
    }

    fn runs(&self, batch: &Batch) -> Result<Job> {
        wait::until_some("the job runs", SCHEDULED, || {
            did(queue(self.far(), batch)).ok().flatten().filter(|job| job.node().is_some())
        })
        .with_context(|| format!("{:?}", self.slurm.jobs()))
    }

    /// Whether anything lies in the directory for what is temporary, which jobs have, too.
    fn litters(&self) -> Result<bool> {
        let mut names = fs::read_dir(self.home.path())?.flatten().map(|entry| entry.file_name());
        Ok(names.any(|name| name.to_string_lossy().starts_with("nbtunnel.")))
    }

    /// How many jobs there are that are not `other`s.
    fn count(&self) -> Result<usize> {
        Ok(self.slurm.jobs()?.iter().filter(|(_, name, _)| name != "other").count())
    }
}

fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap_or_else(|why| panic!("no runtime: {why}")).block_on(work)
}

fn did<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T> {
    on_runtime(work).map_err(|why| anyhow::anyhow!("{why}"))
}

#[test]
fn a_job_waits_with_its_reason_runs_where_it_is_found_and_is_cancelled() -> Result<()> {
    let cluster = Cluster::start()?;
    let batch = cluster.batch();
    ensure!(did(queue(cluster.far(), &batch))?.is_none());
    cluster.fill()?;

    let job = did(submit(cluster.far(), &batch))?;
    ensure!(
        matches!(job.state, JobState::Pending { .. }),
        "a job is in the queue as soon as it is submitted: {job:?}"
    );
    let starts = wait::until_some("it is said when it may start", SCHEDULED, || {
        match did(queue(cluster.far(), &batch)).ok()??.state {
            JobState::Pending { reason, starts } if reason == "Resources" => starts,
            _ => None,
        }
    })?;
    // The others have half an hour; the estimate is a time since 1970.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    ensure!((now..now + 3600).contains(&starts), "{starts} is not soon after {now}");

    cluster.slurm.run("scancel", &["--name=other"])?;
    let job = cluster.runs(&batch)?;
    ensure!(
        job.left.is_some_and(|left| left <= Duration::from_secs(600) && left > Duration::from_secs(300)),
        "{job:?}"
    );
    // Scripts run on the node, as a step of the job.
    let node = Node::of(cluster.far(), &job, KnownWays::default()).context("it runs")?;
    let ran =
        did(Arc::clone(&node).run("echo \"$SLURM_JOB_ID $SLURMD_NODENAME\"; exit 3".into(), SCHEDULED))?;
    let said = format!("{} {}\n", job.id, job.node().context("it runs")?);
    ensure!(ran.output == said.as_bytes() && ran.status == Some(3), "{ran:?} {}", ran.errors);
    // And its loopback is where the server is.
    let log = wait::until_some("the server says where it is", wait::SOON, || {
        did(job_log(cluster.far(), &batch, 9, None)).ok().filter(|log| log.contains("listening"))
    })?;
    ensure!(log.contains("token=…") && !log.contains("secret"), "{log}");
    ensure!(!cluster.litters()?, "a job that is killed could not tidy up");
    let port =
        log.split("127.0.0.1:").nth(1).and_then(|rest| rest.split('/').next()).context("a port")?.parse()?;
    let answer = on_runtime(async {
        let mut stream = Arc::clone(&node).open(Target::Tcp(node.name().into(), port)).await.ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.ok()?;
        let mut said = String::new();
        stream.read_to_string(&mut said).await.ok()?;
        Some(said)
    });
    ensure!(
        answer.is_some_and(|said| said.ends_with("here")),
        "the server answers through the login machine"
    );

    did(cancel(cluster.far(), &batch, None))?;
    cluster.until("it is gone", || Ok(cluster.count()? == 0))?;
    ensure!(did(queue(cluster.far(), &batch))?.is_none());
    did(cancel(cluster.far(), &batch, None)).context("a second time is none")?;
    Ok(())
}

/// A far end whose link breaks after a while: the shell over there is killed.
struct Breaks(Here, Duration);

impl FarSide for Breaks {
    fn open(self: Arc<Self>, target: Target) -> Opening {
        Arc::new(self.0.clone()).open(target)
    }

    fn run(self: Arc<Self>, script: String, _: Duration) -> Running {
        Arc::new(self.0.clone()).run(script, self.1)
    }
}

#[test]
fn however_often_and_wherever_it_is_cut_off_there_is_one_job() -> Result<()> {
    let cluster = Cluster::start()?;
    let batch = Arc::new(cluster.batch());
    cluster.fill()?;
    let jobs = on_runtime(async {
        let mut all = tokio::task::JoinSet::new();
        for number in 0..10 {
            let (whole, batch) = (cluster.here(), batch.clone());
            all.spawn(async move {
                if number < 4 {
                    let cut = Arc::new(Breaks(whole.clone(), Duration::from_millis(15 * number)));
                    let _ = submit(cut, &batch).await;
                }
                submit(Arc::new(whole), &batch).await
            });
        }
        all.join_all().await
    });
    let jobs = jobs.into_iter().collect::<Result<Vec<_>, _>>().map_err(|why| anyhow::anyhow!("{why}"))?;
    ensure!(jobs.iter().all(|job| job.id == jobs[0].id), "{jobs:?}");
    ensure!(cluster.count()? == 1, "{:?}", cluster.slurm.jobs());
    Ok(())
}

#[test]
fn a_job_that_is_requeued_is_followed_to_another_node() -> Result<()> {
    let cluster = Cluster::start()?;
    let batch = cluster.batch();
    did(submit(cluster.far(), &batch))?;
    let before = cluster.runs(&batch)?;
    let node = before.node().context("it runs")?;
    // Its node is wanted for something else.
    cluster.slurm.run("scontrol", &["update", &format!("NodeName={node}"), "State=DRAIN", "Reason=test"])?;
    let id = before.id.to_string();
    cluster.slurm.run("scontrol", &["requeue", &id])?;
    let waits = wait::until_some("it waits again", SCHEDULED, || {
        did(queue(cluster.far(), &batch)).ok().flatten().filter(|job| job.node().is_none())
    })?;
    ensure!(waits.id == before.id, "{waits:?}");
    cluster.until("it waits for its time", || {
        Ok(cluster.slurm.jobs()?.iter().any(|(number, _, state)| *number == before.id && state == "PENDING"))
    })?;
    // A requeued job is not eligible for two minutes, else.
    cluster.slurm.run("scontrol", &["update", &format!("JobId={id}"), "StartTime=now"])?;
    let after = cluster.runs(&batch)?;
    ensure!(after.id == before.id && after.node() != before.node(), "{before:?} {after:?}");
    ensure!(did(submit(cluster.far(), &batch))?.id == before.id && cluster.count()? == 1);
    Ok(())
}

#[test]
fn a_job_that_is_there_is_adopted_by_its_name_and_never_submitted() -> Result<()> {
    let cluster = Cluster::start()?;
    let mut batch = cluster.batch();
    batch.spec.job = Some("my, own job".into());
    batch.command = None;
    ensure!(did(queue(cluster.far(), &batch))?.is_none());
    let why = on_runtime(submit(cluster.far(), &batch)).expect_err("it is not ours to submit");
    ensure!(why.message.contains("never submits"), "{why}");
    let output = format!("{}/theirs.log", cluster.home.path().display());
    let wrapped = ["-J", "my, own job", "-o", &output, "--parsable", "--wrap", "echo hello; exec sleep 600"];
    let id: u64 = cluster.slurm.run("sbatch", &wrapped)?.trim().parse()?;
    let job = cluster.runs(&batch)?;
    ensure!(job.id == id, "{job:?}");
    wait::until("it has written", wait::SOON, || {
        did(job_log(cluster.far(), &batch, 5, None)).is_ok_and(|log| log == "hello\n")
    })?;
    did(cancel(cluster.far(), &batch, None))?;
    cluster.until("it is gone", || Ok(cluster.slurm.jobs()?.is_empty()))
}

#[test]
fn a_script_of_the_users_is_submitted_from_his_directory() -> Result<()> {
    let cluster = Cluster::start()?;
    fs::create_dir(cluster.home.path().join("my work"))?;
    fs::write(
        cluster.home.path().join("job.sh"),
        "#!/bin/sh\n#SBATCH --comment=mine\npwd\nexec sleep 600\n",
    )?;
    let mut batch = cluster.batch();
    batch.spec.script = Some("~/job.sh".into());
    (batch.command, batch.dir) = (None, Some("my work".into()));
    let job = did(submit(cluster.far(), &batch))?;
    cluster.runs(&batch)?;
    let said = cluster.slurm.run("scontrol", &["show", "job", "-o", &job.id.to_string()])?;
    ensure!(said.contains("Comment=mine"), "{said}");
    wait::until("it says where it is", wait::SOON, || {
        did(job_log(cluster.far(), &batch, 5, None)).is_ok_and(|log| log.ends_with("/my work\n"))
    })?;
    Ok(())
}

#[test]
fn without_slurm_it_is_said_where_it_was_looked_for() -> Result<()> {
    let home = tempfile::tempdir()?;
    let bin = home.path().join("bin");
    fs::create_dir(&bin)?;
    for program in
        ["sh", "mkdir", "chmod", "sed", "tail", "readlink", "uname", "ln", "cat", "env", "awk", "id"]
    {
        std::os::unix::fs::symlink(format!("/usr/bin/{program}"), bin.join(program))?;
    }
    let cluster = Cluster { slurm: Slurm::start()?, home };
    // A login sets the PATH anew on this system, so it is one without a login shell's files.
    let path = bin.display().to_string();
    let lost = cluster.here().env("PATH", path).env("SHELL", "/bin/false").shell(&["/bin/sh"]);
    let why = on_runtime(queue(Arc::new(lost.clone()), &cluster.batch())).expect_err("there is none");
    ensure!(why.message.contains("/opt/slurm/bin"), "{why}");
    // A login shell knows more.
    let login = cluster.home.path().join("shell");
    write_program(&login, "#!/bin/sh\necho noise; echo PATH=/nowhere; echo PATH=/usr/bin\n")?;
    let far = Arc::new(lost.env("SHELL", login.display().to_string()));
    ensure!(did(queue(far, &cluster.batch()))?.is_none());
    Ok(())
}
