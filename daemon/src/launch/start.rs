//! Starts a server as a process of the far end, ends it, and shows what it wrote.

use std::sync::Arc;
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind, Name};

use super::answer::{Answer, unheard};
use super::log::{MOST, lines_in_one, presentable};
use super::shell;
use crate::forward::far_side::{FarSide, Ran};

const CLAIM: &str = include_str!("claim.sh");
const LINE: &str = include_str!("line.sh");
const START: &str = include_str!("start.sh");
const RUN: &str = include_str!("start_run.sh");
const STOP: &str = include_str!("stop.sh");

/// It takes under 2 s where neither disk nor login files are slow.
const STARTING: Duration = Duration::from_secs(30);
/// A server has 10 s to end, and what was found beside it as long.
const STOPPING: Duration = Duration::from_secs(40);
const LOOKING: Duration = Duration::from_secs(15);

/// What is to be started. All who name the same command and directory mean the same server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The notebook's name.
    pub name: Name,
    /// The command; `{port}` stands for its port.
    pub command: String,
    /// Where it is started; none for the home directory.
    pub dir: Option<String>,
    /// The port that it has to have.
    pub port: Option<u16>,
    /// The ports among which one is chosen, both included.
    pub ports: Option<(u16, u16)>,
}

/// What came of a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It was started, and lived for a moment.
    Ours {
        /// The process that has it as its child, and leads its process group.
        pid: u32,
        /// What `{port}` was.
        port: u16,
        /// The far end's systemd ends it with the last session there (KillUserProcesses in logind.conf(5)), until
        /// somebody says `loginctl enable-linger` over there.
        mortal: bool,
    },
    /// It was there, or somebody else starts it.
    Running {
        /// As above.
        pid: u32,
        /// What `{port}` was, if that is known yet.
        port: Option<u16>,
    },
}

impl Begun {
    /// That it will not outlive the last session over there, where that is so.
    pub fn mortality(&self) -> Option<String> {
        matches!(self, Begun::Ours { mortal: true, .. }).then(|| {
            "its server ends with your last session over there, as that system is set up; there, run: loginctl \
             enable-linger"
                .to_owned()
        })
    }
}

impl Launch {
    fn directory(&self) -> String {
        shell::directory(self.name.as_str(), &[&self.command, self.dir.as_deref().unwrap_or("")])
    }

    fn named(&self) -> String {
        format!("name={}\n", shell::quoted(&self.directory()))
    }
}

/// Starts the server, unless one that was started in this way lives. Returns within 2 s where the far end is quick.
///
/// # Errors
/// `notebook_failed`: it ended at once, with its last words; there is no such directory; no port is free; it was
/// started on another machine that shares this home directory. Otherwise those of [`FarSide::run`].
pub async fn start(far: Arc<dyn FarSide>, launch: &Launch) -> Result<Begun, Failure> {
    let dir = launch.dir.as_deref().unwrap_or("");
    shell::speakable(&[&launch.command, dir])?;
    let head = format!("{}dir={}\n", launch.named(), shell::path(dir));
    let ports = shell::ports(launch.port, launch.ports)?;
    let line = shell::line(&launch.command);
    let runner = shell::printer("runner", &[&head, &ports, CLAIM, LINE, &line, RUN].concat())?;
    let ran = far.run([&head, CLAIM, &runner, START].concat(), STARTING).await?;
    begun(launch, &ran)
}

fn begun(launch: &Launch, ran: &Ran) -> Result<Begun, Failure> {
    let answer = Answer::of(ran)?;
    let (pid, port) = (answer.number(1), answer.number(2));
    match (answer.kind(), pid, port) {
        ("ours", Some(pid), Some(port)) => Ok(Begun::Ours { pid, port, mortal: answer.rest(4) == "mortal" }),
        ("running", Some(pid), port) => Ok(Begun::Running { pid, port: port.filter(|port| *port != 0) }),
        ("ended", status, _) => Err(ended(launch, status, &answer.text)),
        ("no_port", ..) => Err(no_port(launch)),
        _ => Err(answer.usual_failure()),
    }
}

/// It was started and is gone.
fn ended(launch: &Launch, status: Option<u32>, log: &str) -> Failure {
    let said = match lines_in_one(log) {
        said if said.is_empty() => "it wrote nothing".to_owned(),
        said => said,
    };
    let name = &launch.name;
    let (message, hint) = match status {
        Some(0) => (
            format!("the server of {name} ended at once, without an error: {said}"),
            "start must name a command that stays in the foreground".to_owned(),
        ),
        Some(status) => (
            format!("the server of {name} ended at once with status {status}: {said}"),
            format!(
                "mend start in the notebook's section; `nbctl notebook log {name}` shows all that it wrote"
            ),
        ),
        None => (format!("the server of {name} was ended at once: {said}"), "start it again".to_owned()),
    };
    Failure::new(FailureKind::NotebookFailed, message, hint)
}

fn no_port(launch: &Launch) -> Failure {
    let (message, hint) = match launch.port {
        Some(port) => (
            format!("port {port} is in use at the far end, and not by this notebook"),
            "name another remote_port, or end what has it",
        ),
        None => (
            "none of the ports that were tried is free at the far end".to_owned(),
            "name a wider range of ports in find",
        ),
    };
    Failure::new(FailureKind::NotebookFailed, message, hint)
}

/// Ends the server that [`start`] started, and the one with the process id `pid`: one that was found just now, and
/// only if it is the user's. Both get 10 s to end by themselves. That nothing is there is no failure.
///
/// # Errors
/// `not_yours`: `pid` is another user's. `notebook_failed`: it does not end, or was started on another machine.
/// Otherwise those of [`FarSide::run`].
pub async fn stop(far: Arc<dyn FarSide>, launch: &Launch, pid: Option<u32>) -> Result<(), Failure> {
    // 0 would be our own group, 1 is nobody's server.
    let found = pid.filter(|pid| *pid > 1).map(|pid| pid.to_string()).unwrap_or_default();
    let head = format!("{}found={found}\n", launch.named());
    let ran = far.run([&head, CLAIM, STOP].concat(), STOPPING).await?;
    let answer = Answer::of(&ran)?;
    let pid = answer.rest(1);
    match answer.kind() {
        "stopped" => Ok(()),
        "not_yours" => Err(Failure::new(
            FailureKind::NotYours,
            format!("process {pid} at the far end, which serves {}, is another user's", launch.name),
            "ask its owner to end it",
        )),
        "stubborn" => Err(Failure::new(
            FailureKind::NotebookFailed,
            format!("process {pid} at the far end does not end, though it was killed"),
            "it may hang in a file system that does not answer",
        )),
        _ => Err(answer.usual_failure()),
    }
}

/// The last lines that the server wrote, without tokens, and with control characters spelled out.
///
/// # Errors
/// `notebook_missing`: nothing was started in this way. Otherwise those of [`FarSide::run`].
pub async fn log(far: Arc<dyn FarSide>, launch: &Launch, lines: u32) -> Result<String, Failure> {
    let show = format!("enter && [ -e log ] && echo log && tail -n {lines} log | tail -c {MOST}\n");
    let ran = far.run([&launch.named(), CLAIM, &show].concat(), LOOKING).await?;
    match Answer::of(&ran) {
        Ok(answer) if answer.kind() == "log" => Ok(presentable(&answer.text)),
        Ok(_) => Err(unheard(&ran)),
        Err(_) => Err(Failure::new(
            FailureKind::NotebookMissing,
            format!("nothing was started for {} from here, so there is no log", launch.name),
            "a server that somebody starts by hand writes to where he says",
        )),
    }
}
