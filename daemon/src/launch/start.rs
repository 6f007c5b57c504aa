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
const VERDICT: &str = include_str!("verdict.sh");
const VIGIL: &str = include_str!("vigil.sh");

/// It takes under 2 s where neither disk nor login files are slow.
const STARTING: Duration = Duration::from_secs(30);
/// A server has 13 s to end, whether it was started or found.
const STOPPING: Duration = Duration::from_secs(40);
const LOOKING: Duration = Duration::from_secs(15);

/// What is to be started. All who name the same notebook and directory mean the same server, whatever its command is
/// by now: it is edited while the server runs.
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
        /// The machine that had it before, and of which nothing was heard for minutes. If it is back, it ends its own.
        forsaken: Option<String>,
    },
    /// It was there, or somebody else starts it.
    Running {
        /// As above.
        pid: u32,
        /// What `{port}` was, if that is known yet.
        port: Option<u16>,
        /// It was started by another command.
        edited: bool,
    },
}

impl Begun {
    /// What a user should know of it.
    pub fn news(&self) -> Option<String> {
        let mut news = Vec::new();
        match self {
            Begun::Ours { mortal, forsaken, .. } => {
                news.extend(forsaken.as_deref().map(of_the_forsaken));
                news.extend(mortal.then(|| MORTAL.to_owned()));
            }
            Begun::Running { edited: true, .. } => news.push(EDITED.to_owned()),
            Begun::Running { edited: false, .. } => {}
        }
        (!news.is_empty()).then(|| news.join("; "))
    }
}

const MORTAL: &str = "its server ends with your last session over there, as that system is set up; there, run: loginctl enable-linger";
const EDITED: &str =
    "its server was started before start was edited; `nbctl notebook restart` has it started anew";

fn of_the_forsaken(host: &str) -> String {
    format!(
        "{host}, where it was started, has given no sign of life for 5 min; if it comes back, it ends its own server"
    )
}

impl Launch {
    /// The name of its directory at the far end.
    pub fn directory(&self) -> String {
        shell::directory(self.name.as_str(), &[self.dir.as_deref().unwrap_or("")])
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
    let command = shell::mark(&[&launch.command]);
    let head = format!("{}dir={} command={command}\n", launch.named(), shell::path(dir));
    let ports = shell::ports(launch.port, launch.ports)?;
    let line = shell::line(&launch.command);
    let runner = shell::printer("runner", &[&head, &ports, CLAIM, VIGIL, LINE, &line, RUN].concat())?;
    let ran = far.run([&head, CLAIM, &runner, START].concat(), STARTING).await?;
    begun(launch, &command, &ran)
}

fn begun(launch: &Launch, command: &str, ran: &Ran) -> Result<Begun, Failure> {
    let answer = Answer::of(ran)?;
    let (pid, port) = (answer.number(1), answer.number(2));
    match (answer.kind(), pid, port) {
        ("ours", Some(pid), Some(port)) => {
            let (forsaken, mortal) = (answer.name(4), answer.name(5).is_some());
            Ok(Begun::Ours { pid, port, mortal, forsaken })
        }
        ("running", Some(pid), port) => {
            let port = port.filter(|port| *port != 0);
            if let (Some(has), Some(wanted)) = (port, launch.port)
                && has != wanted
            {
                return Err(on_another_port(launch, has, wanted));
            }
            let edited = answer.name(4).is_some_and(|by| by != command);
            Ok(Begun::Running { pid, port, edited })
        }
        ("ended", status, _) => Err(last_words(launch, status, &answer.text)),
        ("no_port", ..) => Err(no_port(launch)),
        _ => Err(answer.usual_failure()),
    }
}

/// Why there is nothing to wait for any more after a start, if that is so. Who cannot be asked is waited for.
pub async fn ended(far: Arc<dyn FarSide>, launch: &Launch) -> Option<Failure> {
    let ran = far.run([&launch.named(), CLAIM, VERDICT].concat(), LOOKING).await.ok()?;
    let answer = Answer::of(&ran).ok()?;
    (answer.kind() == "ended").then(|| last_words(launch, answer.number(1), &answer.text))
}

/// It was started and is gone.
fn last_words(launch: &Launch, status: Option<u32>, log: &str) -> Failure {
    let said = match lines_in_one(log) {
        said if said.is_empty() => "it wrote nothing".to_owned(),
        said => said,
    };
    let name = &launch.name;
    let (message, hint) = match status {
        Some(0) => (
            format!("the server of {name} ended without an error: {said}"),
            "start must name a command that goes on running".to_owned(),
        ),
        Some(status) => (
            format!("the server of {name} ended with status {status}: {said}"),
            format!(
                "mend start in the notebook's section; `nbctl notebook log {name}` shows all that it wrote"
            ),
        ),
        None => (format!("the server of {name} was ended: {said}"), "start it again".to_owned()),
    };
    Failure::new(FailureKind::NotebookFailed, message, hint)
}

fn on_another_port(launch: &Launch, has: u16, wanted: u16) -> Failure {
    let name = &launch.name;
    Failure::new(
        FailureKind::NotebookFailed,
        format!(
            "a server of {name} was started on port {has} at the far end, and {wanted} is its remote_port now"
        ),
        format!("start it anew with `nbctl notebook restart {name}`, or give one of the two another name"),
    )
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

/// What came of [`stop`].
#[derive(Debug)]
pub struct Stopped {
    /// A server that [`start`] started lived until then.
    pub ended_ours: bool,
    /// What a user should know of it.
    pub news: Option<String>,
}

/// Ends the server that [`start`] started, or if none lives the one with the process id `pid`: one that was found just
/// now, and only if it is the user's. It gets 10 s to end by itself. That nothing is there is no failure.
///
/// # Errors
/// `not_yours`: `pid` is another user's. `notebook_failed`: it does not end, or lives on another machine.
/// Otherwise those of [`FarSide::run`].
pub async fn stop(far: Arc<dyn FarSide>, launch: &Launch, pid: Option<u32>) -> Result<Stopped, Failure> {
    // 0 would be our own group, 1 is nobody's server.
    let found = pid.filter(|pid| *pid > 1).map(|pid| pid.to_string()).unwrap_or_default();
    let head = format!("{}found={found}\n", launch.named());
    let ran = far.run([&head, CLAIM, VIGIL, STOP].concat(), STOPPING).await?;
    let answer = Answer::of(&ran)?;
    let pid = answer.rest(1);
    match answer.kind() {
        "stopped" => Ok(Stopped {
            ended_ours: answer.name(2).is_some(),
            news: answer.name(1).as_deref().map(of_the_forsaken),
        }),
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
