//! The machine on which a job runs, as a far end: scripts go there as a step of the job, or by ssh where no step can,
//! from the login machine or else from here by way of it. Its ports are those that it sees itself; those that others see
//! by its name are reached from the login machine as they are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind, Job, Target};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::log::lines_in_one;
use super::shell::{self, quoted};
use super::slurm_reach::reach;
use crate::forward::far_side::{FarSide, Opening, Ran, Running, Unopened};

const SLURM: &str = include_str!("slurm.sh");

/// Sets `limit`, where there is such a program: a step that is not there by then never comes, since the node may not
/// reach the login machine.
pub(super) const LIMIT: &str = "command -v timeout >/dev/null && limit='timeout 20'\n";

/// How a script gets to a node. `--overlap` is younger than Slurm 20.11, whose steps share by themselves.
const WAYS: [&str; 3] = [
    "$limit srun --jobid=\"$id\" --overlap --mem=0 --nodes=1 --ntasks=1 --mpi=none --quiet sh -s",
    "$limit srun --jobid=\"$id\" --mem=0 --nodes=1 --ntasks=1 --mpi=none --quiet sh -s",
    "ssh -o BatchMode=yes -o ConnectTimeout=5 -- \"$node\" exec sh -s",
];

/// Which ways led to a node last, by its name: two clusters may have the same. Whoever keeps it is spared those that lead
/// nowhere.
#[derive(Clone, Debug, Default)]
pub struct KnownWays {
    all: Arc<std::sync::Mutex<BTreeMap<(String, String), Known>>>,
    tunnel: String,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// For scripts: a number of [`WAYS`], or the one after them all for ssh from here.
    script: usize,
    /// Whether to its own ports it was ssh from here.
    is_jump: bool,
}

impl KnownWays {
    /// Those to nodes behind `tunnel`.
    #[must_use]
    pub fn of(&self, tunnel: &str) -> KnownWays {
        KnownWays { all: Arc::clone(&self.all), tunnel: tunnel.to_owned() }
    }

    fn get(&self, node: &str) -> Known {
        let key = (self.tunnel.clone(), node.to_owned());
        self.all.lock().ok().and_then(|all| all.get(&key).copied()).unwrap_or_default()
    }

    fn change(&self, node: &str, change: impl FnOnce(&mut Known)) {
        if let Ok(mut all) = self.all.lock() {
            change(all.entry((self.tunnel.clone(), node.to_owned())).or_default());
        }
    }
}

/// The machine on which a job runs.
pub struct Node {
    login: Arc<dyn FarSide>,
    job: u64,
    name: String,
    ways: KnownWays,
    /// What leads to its own ports, seen from the login machine.
    reached: Mutex<BTreeMap<(String, u16), Target>>,
}

impl Node {
    /// That of `job`, seen from the login machine; none as long as it does not run.
    pub fn of(login: Arc<dyn FarSide>, job: &Job, ways: KnownWays) -> Option<Arc<Node>> {
        let name = job.node()?.to_owned();
        Some(Arc::new(Node { login, job: job.id, name, ways, reached: Mutex::default() }))
    }

    /// What others call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where on the login machine `target` is, which is seen from here. Its own name is the same there.
    ///
    /// # Errors
    /// `notebook_failed`: no ssh gets here. Otherwise those of [`FarSide::run`].
    pub async fn from_login(&self, target: Target) -> Result<Target, Failure> {
        let place = match target {
            Target::Tcp(host, port) if host != self.name => (host, port),
            Target::Tcp(..)
            | Target::Socket(_)
            | Target::Beyond { .. }
            | Target::Socks
            | Target::Notebook(_) => return Ok(target),
        };
        // Kept until the way is there: who wants the same meanwhile waits for it, and makes none of his own.
        let mut reached = self.reached.lock().await;
        if let Some(target) = reached.get(&place) {
            return Ok(target.clone());
        }
        let target = self.reach(&place.0, place.1).await?;
        reached.insert(place, target.clone());
        Ok(target)
    }

    /// By ssh from the login machine, or from here by way of it: by what led there last first.
    async fn reach(&self, host: &str, port: u16) -> Result<Target, Failure> {
        if self.ways.get(&self.name).is_jump {
            match self.jump(host, port).await {
                Ok(target) => return Ok(target),
                Err(Unjumped::Link(why)) => return Err(why),
                Err(Unjumped::Login(_) | Unjumped::Port(_)) => {}
            }
        }
        let from_login = reach(Arc::clone(&self.login), (self.job, &self.name), (host, port)).await;
        let (is_jump, target) = match from_login {
            Err(why) if why.kind == FailureKind::NotebookFailed => {
                let jumped = self.jump(host, port).await;
                (true, jumped.map_err(|from_here| neither(why, from_here))?)
            }
            reached => (false, reached?),
        };
        self.ways.change(&self.name, |known| known.is_jump = is_jump);
        Ok(target)
    }

    /// By ssh from here, as far as somebody listens there.
    async fn jump(&self, host: &str, port: u16) -> Result<Target, Unjumped> {
        let there =
            Arc::clone(&self.login).beyond(self.name.clone()).await.map_err(|why| match why.kind {
                FailureKind::Disconnected => Unjumped::Link(why),
                _ => Unjumped::Login(why),
            })?;
        let opened = there.open(Target::Tcp(host.to_owned(), port)).await;
        opened.map_err(|why| Unjumped::Port(why.failure()))?;
        Ok(Target::Beyond { machine: self.name.clone(), host: host.to_owned(), port })
    }
}

/// Why ssh from here does not lead to a port of a node.
enum Unjumped {
    /// The link is over.
    Link(Failure),
    /// It does not get in there.
    Login(Failure),
    /// It does, and not to the port.
    Port(Failure),
}

/// Why ssh from the login machine did not get there, and how far ssh from here did.
fn neither(from_login: Failure, from_here: Unjumped) -> Failure {
    let first = from_login.message;
    match from_here {
        Unjumped::Link(why) => why,
        Unjumped::Login(why) => Failure {
            message: format!("{first}; nor does ssh from here by way of it: {}", why.message),
            ..from_login
        },
        Unjumped::Port(why) => Failure {
            message: format!("{first}; ssh from here by way of it does, but {}", why.message),
            hint: why.hint,
            ..from_login
        },
    }
}

impl FarSide for Node {
    fn opens_within(&self) -> Duration {
        // An ssh over there that gets nowhere, and a login from here.
        Duration::from_secs(45)
    }

    fn open(self: Arc<Self>, target: Target) -> Opening {
        Box::pin(async move {
            let target = self.from_login(target).await.map_err(|why| match why.kind {
                FailureKind::Disconnected => Unopened::LinkGone(why),
                _ => Unopened::Denied(why),
            })?;
            Arc::clone(&self.login).open(target).await
        })
    }

    fn run(self: Arc<Self>, script: String, patience: Duration) -> Running {
        Box::pin(async move {
            let first = self.ways.get(&self.name).script;
            let (mut said, all) = (Vec::new(), WAYS.len() + 1);
            for way in (0..all).map(|turn| (first + turn) % all) {
                let Some(command) = WAYS.get(way) else {
                    match self.run_from_here(script.clone(), patience).await {
                        Ok(ran) => {
                            self.ways.change(&self.name, |known| known.script = way);
                            return Ok(ran);
                        }
                        Err(why) if why.kind == FailureKind::Disconnected => return Err(why),
                        Err(why) => said.push(why.message),
                    }
                    continue;
                };
                let marks = Marks(shell::hex(&shell::random::<16>()?));
                let text = self.script(command, &marks, &script)?;
                match Arc::clone(&self.login).run(text, patience).await {
                    Ok(ran) => match marks.between(&ran) {
                        Some(ran) => {
                            self.ways.change(&self.name, |known| known.script = way);
                            return Ok(ran);
                        }
                        None => said.push(lines_in_one(&ran.errors)),
                    },
                    Err(why) if why.kind == FailureKind::TimedOut => said.push(why.message),
                    Err(why) => return Err(why),
                }
            }
            said.dedup();
            // As a rule for a moment: its prolog runs, or it is busy.
            Err(Failure::new(
                FailureKind::Refused,
                format!("{}, where job {} runs, takes no command: {}", self.name, self.job, said.join("; ")),
                "see whether `srun --jobid` or ssh gets from the login machine to that node, or `ssh -J` from here",
            ))
        })
    }
}

impl Node {
    async fn run_from_here(&self, script: String, patience: Duration) -> Result<Ran, Failure> {
        let ran = async {
            let there = Arc::clone(&self.login).beyond(self.name.clone()).await?;
            there.run(script, patience).await
        };
        timeout(patience, ran).await.unwrap_or_else(|_| {
            let message = format!("ssh from here to {} took longer than {} s", self.name, patience.as_secs());
            Err(Failure::new(FailureKind::TimedOut, message, "it is tried again by itself"))
        })
    }

    /// `script` on its way to the node.
    fn script(&self, way: &str, marks: &Marks, script: &str) -> Result<String, Failure> {
        let (begin, end) = marks.words();
        let inner =
            format!("printf '%s\\n' {begin}\n(\n:\n{script}\n) </dev/null\nprintf '%s %d\\n' {end} \"$?\"\n");
        Ok(format!(
            "{}id={} node={} limit= clusters=\n{SLURM}\nfind_slurm >/dev/null\n{LIMIT}inner | {way}\n",
            shell::printer("inner", &inner)?,
            self.job,
            quoted(&self.name),
        ))
    }
}

/// What a script prints before and after itself: more than it may come from a node, and from a login there.
struct Marks(String);

impl Marks {
    fn words(&self) -> (String, String) {
        (format!("begin-{}", self.0), format!("end-{}", self.0))
    }

    /// What the script did, if it began.
    fn between(&self, ran: &Ran) -> Option<Ran> {
        let (begin, end) = self.words();
        let find = |within: &[u8], what: &str| within.windows(what.len()).position(|w| w == what.as_bytes());
        let from = find(&ran.output, &begin)? + begin.len() + 1;
        let rest = ran.output.get(from..)?;
        let (output, status) = match find(rest, &end) {
            Some(at) => {
                let said = String::from_utf8_lossy(&rest[at + end.len()..]).into_owned();
                let status = said.split_whitespace().next().and_then(|word| word.parse().ok());
                (&rest[..at], status)
            }
            // Its shell was killed.
            None => (rest, None),
        };
        Some(Ran { output: output.to_vec(), errors: ran.errors.clone(), status })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(output: &str) -> Ran {
        Ran { output: output.into(), errors: "e".into(), status: Some(0) }
    }

    #[test]
    fn only_what_the_script_printed_counts() {
        let marks = Marks("ab".into());
        let told = marks.between(&ran("welcome\nbegin-ab\none\ntwoend-ab 3\nbye\n")).unwrap();
        assert_eq!((&*told.output, told.status), (&b"one\ntwo"[..], Some(3)));
        let cut = marks.between(&ran("begin-ab\none\n")).unwrap();
        assert_eq!((&*cut.output, cut.status), (&b"one\n"[..], None));
        assert!(marks.between(&ran("srun: error: no\n")).is_none());
        assert!(marks.between(&ran("begin-ab")).is_none());
    }
}
