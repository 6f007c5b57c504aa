//! A server as a batch job of a Slurm cluster: submitted once, asked for by a name that lasts, cancelled.

use std::sync::Arc;
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind, Job, JobState, Name, SlurmSpec};
use tokio::time::sleep;

use super::answer::{Answer, slurm_says, unheard};
use super::log::{MOST, presentable};
use super::shell::{self, quoted};
use super::squeue::chosen;
use crate::forward::far_side::{FarSide, Ran};

const CLAIM: &str = include_str!("claim.sh");
const VIGIL: &str = include_str!("vigil.sh");
const LINE: &str = include_str!("line.sh");
const SLURM: &str = include_str!("slurm.sh");
const QUEUE: &str = include_str!("slurm_queue.sh");
const SUBMIT: &str = include_str!("slurm_submit.sh");
const UNFIT: &str = include_str!("slurm_unfit.sh");
const SUBMIT_RUN: &str = include_str!("slurm_submit_run.sh");
const BATCH: &str = include_str!("slurm_batch.sh");
const CANCEL: &str = include_str!("slurm_cancel.sh");
const LOG: &str = include_str!("slurm_log.sh");

/// A controller that does not answer is given up by Slurm's own programs after some 10 s to a minute.
const ASKING: Duration = Duration::from_secs(40);
/// Who submits at this moment is waited for, and then for the job's end.
const CANCELLING: Duration = Duration::from_secs(80);
/// Who submits at this moment is waited for so often, each time for a second.
const WAITS: u32 = 20;

/// A server as a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The notebook's name.
    pub name: Name,
    /// What is asked of the cluster.
    pub spec: SlurmSpec,
    /// What the job runs, where `spec` names no script; `{port}` is chosen on its machine.
    pub command: Option<String>,
    /// Where it is started; none for the home directory.
    pub dir: Option<String>,
    /// The port that `{port}` has to be.
    pub port: Option<u16>,
    /// The ports among which `{port}` is chosen, both included.
    pub ports: Option<(u16, u16)>,
}

impl Batch {
    /// What is common to all scripts. Resources may change while a job waits or runs: it is still the same one.
    fn head(&self) -> Result<String, Failure> {
        let (command, dir) = (self.command.as_deref().unwrap_or(""), self.dir.as_deref().unwrap_or(""));
        let script = self.spec.script.as_deref().unwrap_or("");
        let job = self.spec.job.as_deref().unwrap_or("");
        shell::speakable(&[command, dir, script, job])?;
        // Whatever its file says of it by now, a job that waits or runs is still the same one.
        let name = shell::directory(self.name.as_str(), &["slurm"]);
        Ok(format!(
            "name={} notebook={} new_id={} job={} clusters={}\ndir={}\n",
            quoted(&name),
            quoted(self.name.as_str()),
            shell::hex(&shell::random::<8>()?),
            quoted(job),
            quoted(self.clusters().unwrap_or("")),
            shell::path(dir),
        ))
    }

    /// Which clusters its options name: they are asked for it, too.
    fn clusters(&self) -> Option<&str> {
        let mut words = self.spec.options.iter().map(String::as_str);
        while let Some(word) = words.next() {
            match word.strip_prefix("--clusters=").or_else(|| word.strip_prefix("-M")) {
                Some("") => return words.next(),
                Some(named) => return Some(named),
                None if matches!(word, "--clusters" | "--cluster") => return words.next(),
                None => {}
            }
        }
        None
    }

    /// A function `submit` that hands the job to the cluster, and what it needs.
    fn submit(&self) -> Result<String, Failure> {
        let spec = &self.spec;
        let options: Vec<_> = spec.options.iter().map(String::as_str).collect();
        shell::speakable(&options)?;
        // One job is one server, and we wait for it in our own way.
        let unusable = |word: &&&str| {
            let name = word.split_once('=').map_or(**word, |(name, _)| name);
            matches!(name, "--array" | "--wait" | "--test-only")
                || matches!(&word.get(..2), Some("-a" | "-W"))
        };
        if let Some(word) = options.iter().find(unusable) {
            let message = format!("the option {word:?} of sbatch makes no single job that goes on by itself");
            return Err(Failure::new(
                FailureKind::Config,
                message,
                "remove it from slurm's options in the file",
            ));
        }
        let cpus = spec.cpus.map(|cpus| cpus.to_string());
        let named = [
            ("--partition", spec.partition.as_deref()),
            ("--account", spec.account.as_deref()),
            ("--time", spec.time.as_deref()),
            ("--cpus-per-task", cpus.as_deref()),
            ("--mem", spec.memory.as_deref()),
            ("--gres", spec.gres.as_deref()),
        ];
        let mut words = String::from("sbatch");
        for (option, value) in named {
            if let Some(value) = value {
                shell::speakable(&[value])?;
                words.push_str(&format!(" {}", quoted(&format!("{option}={value}"))));
            }
        }
        for option in options {
            words.push_str(&format!(" {}", quoted(option)));
        }
        // The last word of sbatch's wins: the job's name and its log are ours.
        words.push_str(" --job-name=\"$job\" --output=\"$state/job-%j.log\" --parsable");
        let (script, batch) = match (&spec.script, &self.command) {
            (Some(script), _) => (shell::path(script), "batch() {\n:\n}\n".to_owned()),
            (None, Some(command)) => ("\"$state/batch\"".to_owned(), self.batch(command)?),
            (None, None) => return Err(nothing_to_run(&self.name)),
        };
        let unset = "unset SBATCH_WAIT SBATCH_ARRAY_INX SBATCH_TEST_ONLY";
        let theirs = if spec.script.is_some() { script.as_str() } else { "" };
        Ok(format!(
            "{batch}user_script={theirs}\n\
             submit() (\n{unset}\numask \"$NBTUNNEL_MASK\"\ncd \"$dir\" && {words} {script}\n)\n"
        ))
    }

    /// A function `batch` that prints the job's script.
    fn batch(&self, command: &str) -> Result<String, Failure> {
        let dir = format!("dir={}\n", shell::path(self.dir.as_deref().unwrap_or("")));
        let ports = shell::ports(self.port, self.ports)?;
        let script = ["#!/bin/sh\n", &dir, &ports, LINE, &shell::line(command), BATCH].concat();
        shell::printer("batch", &script)
    }
}

/// How the job stands: the one with the lasting name, or the one that the file names. None: the cluster says that
/// there is none.
///
/// # Errors
/// `notebook_failed`: the cluster does not answer, which never means that there is no job; there is no Slurm.
/// Otherwise those of [`FarSide::run`].
pub async fn queue(far: Arc<dyn FarSide>, batch: &Batch) -> Result<Option<Job>, Failure> {
    let ran = far.run([&batch.head()?, CLAIM, SLURM, QUEUE].concat(), ASKING).await?;
    let answer = Answer::of(&ran)?;
    if answer.kind() != "asked" {
        return Err(slurm_failure(&answer, &ran));
    }
    let (job, count) = chosen(&answer.text);
    if let (Some(job), true) = (&job, count > 1) {
        tracing::warn!("{}: {count} jobs are called {}; {} is taken", batch.name, answer.rest(1), job.id);
    }
    Ok(job)
}

/// Submits the job, unless the queue has it: then that one is told. However often this is called, and wherever it is
/// cut off, there is one job.
///
/// # Errors
/// `notebook_failed`: the cluster refuses it, or does not answer; then nobody knows whether there is a job, and for two
/// minutes only the queue is asked. `config`: an option cannot be. Otherwise those of [`FarSide::run`].
pub async fn submit(far: Arc<dyn FarSide>, batch: &Batch) -> Result<Job, Failure> {
    if batch.spec.job.is_some() {
        let message = format!("{} takes a job that is there already, and never submits one", batch.name);
        return Err(Failure::new(FailureKind::Config, message, "remove job from the notebook's section"));
    }
    let head = batch.head()?;
    let runner = [&head, CLAIM, VIGIL, SLURM, &batch.submit()?, UNFIT, SUBMIT_RUN].concat();
    let script = [&head, CLAIM, &shell::printer("runner", &runner)?, SUBMIT].concat();
    let mut waits = 0;
    loop {
        let ran = Arc::clone(&far).run(script.clone(), ASKING).await?;
        let answer = Answer::of(&ran)?;
        match answer.kind() {
            "submitted" | "there" => return stands(far, batch, answer.number(1)).await,
            // Somebody else is submitting it at this moment.
            "running" | "elsewhere" if waits < WAITS => {
                waits += 1;
                sleep(Duration::from_secs(1)).await;
            }
            "running" | "elsewhere" => {
                return Err(too_long(&answer, "the cluster may be very busy; try again later"));
            }
            "doubtful" => return Err(in_doubt(&answer, &batch.name, OPEN_LATER)),
            _ => return Err(slurm_failure(&answer, &ran)),
        }
    }
}

/// How a job stands that is surely there, also where the queue does not show it yet.
async fn stands(far: Arc<dyn FarSide>, batch: &Batch, id: Option<u64>) -> Result<Job, Failure> {
    let job = queue(far, batch).await;
    match (job, id) {
        (Ok(Some(job)), _) => Ok(job),
        (Ok(None) | Err(_), Some(id)) => {
            Ok(Job { id, state: JobState::Between, word: "SUBMITTED".to_owned(), left: None })
        }
        (Ok(None), None) => Err(Failure::new(
            FailureKind::NotebookFailed,
            format!("the job of {} was submitted, and is over already", batch.name),
            format!("see what it says with `nbctl notebook log {}`", batch.name),
        )),
        (Err(why), None) => Err(why),
    }
}

/// Ends the job, and waits until it is gone or on its way, also for one that is being submitted. That there is none is
/// no failure. Of those that have the name in the file it is `only` that one, where it is known.
///
/// # Errors
/// `notebook_failed`: the cluster does not answer, or does not end it, or nobody knows yet whether it took one, or
/// which of several with the name in the file is meant. Otherwise those of [`FarSide::run`].
pub async fn cancel(far: Arc<dyn FarSide>, batch: &Batch, only: Option<u64>) -> Result<(), Failure> {
    let only = only.map(|id| id.to_string()).unwrap_or_default();
    let head = format!("{}only={only}\n", batch.head()?);
    let ran = far.run([&head, CLAIM, SLURM, CANCEL].concat(), CANCELLING).await?;
    let answer = Answer::of(&ran)?;
    match answer.kind() {
        "cancelled" => Ok(()),
        "running" => Err(too_long(&answer, "stop it again in a moment; nothing was cancelled yet")),
        "doubtful" => Err(in_doubt(&answer, &batch.name, STOP_LATER)),
        "several" => Err(several(&answer, batch)),
        "uncancelled" => Err(slurm_says("the cluster does not end the job", &answer.text)),
        "stubborn" => Err(Failure::new(
            FailureKind::NotebookFailed,
            format!("job {} was cancelled and is still there", answer.rest(1)),
            "it may end by itself; else ask those who run the cluster",
        )),
        _ => Err(slurm_failure(&answer, &ran)),
    }
}

/// The last lines that the job wrote, without tokens, and with control characters spelled out. Of those that have the
/// name in the file it is `only` that one, where it is known.
///
/// # Errors
/// `notebook_missing`: it has not written anything. Otherwise those of [`queue`].
pub async fn job_log(
    far: Arc<dyn FarSide>,
    batch: &Batch,
    lines: u32,
    only: Option<u64>,
) -> Result<String, Failure> {
    let only = only.map(|id| id.to_string()).unwrap_or_default();
    let head = format!("{}lines={lines} most={MOST} only={only}\n", batch.head()?);
    let ran = far.run([&head, CLAIM, SLURM, LOG].concat(), ASKING).await?;
    let answer = Answer::of(&ran)?;
    match answer.kind() {
        "log" => Ok(presentable(&answer.text)),
        "unwritten" => Err(Failure::new(
            FailureKind::NotebookMissing,
            format!("no job of {} has written anything yet", batch.name),
            "it writes once it runs",
        )),
        _ => Err(slurm_failure(&answer, &ran)),
    }
}

fn slurm_failure(answer: &Answer, ran: &Ran) -> Failure {
    match answer.kind() {
        "no_slurm" => Failure::new(
            FailureKind::NotebookFailed,
            "the far end has no squeue: neither in PATH, nor in the login shell's, nor in /usr/local/bin, \
             /opt/slurm/bin and their like",
            "name the cluster's login machine as host, or set PATH in the login shell's files over there",
        ),
        "unasked" => {
            let said = if answer.text.trim().is_empty() { &ran.errors } else { &answer.text };
            slurm_says("the cluster does not say which jobs there are", said)
        }
        "refused" => {
            Failure { hint: REFUSED.to_owned(), ..slurm_says("the cluster takes no job", &answer.text) }
        }
        "unfit" => Failure::new(
            FailureKind::NotebookFailed,
            format!(
                "the script for the cluster asks for {}, and a notebook is a single job that goes on by itself",
                answer.rest(1)
            ),
            "remove that from the script's #SBATCH lines",
        ),
        "" => unheard(ran),
        _ => answer.usual_failure(),
    }
}

const REFUSED: &str = "correct what is asked of the cluster in the notebook's section";

fn too_long(answer: &Answer, hint: &str) -> Failure {
    Failure::new(
        FailureKind::NotebookFailed,
        format!(
            "process {} on {} is submitting the job, and does not come to an end",
            answer.name(1).unwrap_or_default(),
            answer.name(3).unwrap_or_default()
        ),
        hint,
    )
}

/// Whose job is whose, the name does not tell.
fn several(answer: &Answer, batch: &Batch) -> Failure {
    let job = batch.spec.job.as_deref().unwrap_or_default();
    Failure::new(
        FailureKind::NotebookFailed,
        format!("several jobs are called {job}: {}", answer.rest(1)),
        "on the cluster, run scancel with the number of the one that is meant",
    )
}

const OPEN_LATER: &str = "open it again: if its job shows up it is taken, and 2 min after the queue answers without it another is submitted";
const STOP_LATER: &str = "stop it again in 2 min: the cluster may still take the job, and would run it";

/// Perhaps the cluster heard of the job, and perhaps not.
fn in_doubt(answer: &Answer, name: &Name, hint: &str) -> Failure {
    let what = format!("nobody knows yet whether the cluster takes the job of {name}");
    Failure { hint: hint.to_owned(), ..slurm_says(&what, &answer.text) }
}

fn nothing_to_run(name: &Name) -> Failure {
    Failure::new(
        FailureKind::Config,
        format!("nothing says what the job of {name} is to run"),
        "set start, or slurm's script, in the notebook's section",
    )
}
