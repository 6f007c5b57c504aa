//! The machine on which a job runs, as a far end: scripts go there as a step of the job, or by ssh from the login
//! machine where no step can. Its ports are those that it sees itself; those that others see by its name are reached
//! from the login machine as they are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind, Job, Target};
use tokio::sync::Mutex;

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

/// By which way scripts got to a node last, by its name. Whoever keeps it is spared the ways that lead nowhere.
#[derive(Clone, Debug, Default)]
pub struct KnownWays(Arc<std::sync::Mutex<BTreeMap<String, usize>>>);

impl KnownWays {
    fn get(&self, node: &str) -> Option<usize> {
        self.0.lock().ok()?.get(node).copied()
    }

    fn set(&self, node: &str, way: usize) {
        if let Ok(mut ways) = self.0.lock() {
            ways.insert(node.to_owned(), way);
        }
    }
}

/// The machine on which a job runs.
pub struct Node {
    login: Arc<dyn FarSide>,
    job: u64,
    name: String,
    ways: KnownWays,
    /// The sockets on the login machine that lead to what it alone sees.
    sockets: Mutex<BTreeMap<(String, u16), Target>>,
}

impl Node {
    /// That of `job`, seen from the login machine; none as long as it does not run.
    pub fn of(login: Arc<dyn FarSide>, job: &Job, ways: KnownWays) -> Option<Arc<Node>> {
        let name = job.node()?.to_owned();
        Some(Arc::new(Node { login, job: job.id, name, ways, sockets: Mutex::default() }))
    }

    /// What others call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where on the login machine `target` is, which is seen from here. Its own name is the same there.
    ///
    /// # Errors
    /// `notebook_failed`: ssh does not get from there to here. Otherwise those of [`FarSide::run`].
    pub async fn from_login(&self, target: Target) -> Result<Target, Failure> {
        let place = match target {
            Target::Tcp(host, port) if host != self.name => (host, port),
            Target::Tcp(..) | Target::Socket(_) | Target::Socks | Target::Notebook(_) => return Ok(target),
        };
        // Kept until the way is there: who wants the same meanwhile waits for it, and makes none of his own.
        let mut sockets = self.sockets.lock().await;
        if let Some(socket) = sockets.get(&place) {
            return Ok(socket.clone());
        }
        let login = Arc::clone(&self.login);
        let socket = reach(login, (self.job, &self.name), (&place.0, place.1)).await?;
        sockets.insert(place, socket.clone());
        Ok(socket)
    }
}

impl FarSide for Node {
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
            let first = self.ways.get(&self.name).unwrap_or_default();
            let mut said = Vec::new();
            for turn in 0..WAYS.len() {
                let way = (first + turn) % WAYS.len();
                let marks = Marks(shell::hex(&shell::random::<16>()?));
                let text = self.script(WAYS[way], &marks, &script)?;
                match Arc::clone(&self.login).run(text, patience).await {
                    Ok(ran) => match marks.between(&ran) {
                        Some(ran) => {
                            self.ways.set(&self.name, way);
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
                "see whether `srun --jobid` or ssh gets from the login machine to that node",
            ))
        })
    }
}

impl Node {
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
