//! The machine on which a job runs, as a far end: scripts go there as a step of the job, or by ssh from the login
//! machine where no step can, and ports of its `localhost` are those of the machine seen from the login machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind, Job, Target};

use super::log::lines_in_one;
use super::shell::{self, quoted};
use crate::forward::far_side::{FarSide, Opening, Ran, Running, Unopened};

const SLURM: &str = include_str!("slurm.sh");

/// A step that is not there by then never comes: the node may not reach the login machine.
const STEP: Duration = Duration::from_secs(20);

/// How a script gets to a node. `--overlap` is younger than Slurm 20.11, whose steps share by themselves.
const WAYS: [&str; 3] = [
    "$limit srun --jobid=\"$id\" --overlap --mem=0 --nodes=1 --ntasks=1 --mpi=none --quiet sh -s",
    "$limit srun --jobid=\"$id\" --mem=0 --nodes=1 --ntasks=1 --mpi=none --quiet sh -s",
    "ssh -o BatchMode=yes -o ConnectTimeout=5 -- \"$node\" exec sh -s",
];

/// A far end that is the machine of `job`; as long as it has none, the login machine itself.
pub fn on_node(far: Arc<dyn FarSide>, job: &Job) -> Arc<dyn FarSide> {
    match job.node() {
        Some(node) => {
            Arc::new(Node { login: far, job: job.id, node: node.to_owned(), way: AtomicUsize::new(0) })
        }
        None => far,
    }
}

struct Node {
    /// The login machine.
    login: Arc<dyn FarSide>,
    job: u64,
    node: String,
    /// Which of [`WAYS`] led there last.
    way: AtomicUsize,
}

impl FarSide for Node {
    fn open(self: Arc<Self>, target: Target) -> Opening {
        let target = match target {
            Target::Tcp(host, port) if is_local(&host) => Target::Tcp(self.node.clone(), port),
            Target::Tcp(..) | Target::Socket(_) | Target::Socks | Target::Notebook(_) => target,
        };
        Box::pin(async move {
            Arc::clone(&self.login).open(target).await.map_err(|why| match why {
                Unopened::Denied(why) => Unopened::Denied(Failure {
                    hint: format!(
                        "a server that listens on 127.0.0.1 of {} alone is not reached from the login machine: \
                         let it listen there, as `jupyter lab --ip=\"$(hostname)\"` does",
                        self.node
                    ),
                    ..why
                }),
                Unopened::LinkGone(why) => Unopened::LinkGone(why),
            })
        })
    }

    fn run(self: Arc<Self>, script: String, patience: Duration) -> Running {
        Box::pin(async move {
            let first = self.way.load(Ordering::Relaxed);
            let mut said = Vec::new();
            for turn in 0..WAYS.len() {
                let way = (first + turn) % WAYS.len();
                let marks = Marks(shell::hex(&shell::random::<16>()?));
                let text = self.script(WAYS[way], &marks, &script)?;
                match Arc::clone(&self.login).run(text, patience).await {
                    Ok(ran) => match marks.between(&ran) {
                        Some(ran) => {
                            self.way.store(way, Ordering::Relaxed);
                            return Ok(ran);
                        }
                        None => said.push(lines_in_one(&ran.errors)),
                    },
                    Err(why) if why.kind == FailureKind::TimedOut => said.push(why.message),
                    Err(why) => return Err(why),
                }
            }
            said.dedup();
            Err(Failure::new(
                FailureKind::NotebookFailed,
                format!("{}, where job {} runs, takes no command: {}", self.node, self.job, said.join("; ")),
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
            "{}id={} node={} limit= clusters=\n{SLURM}\nfind_slurm >/dev/null\n\
             command -v timeout >/dev/null && limit='timeout {}'\ninner | {way}\n",
            shell::printer("inner", &inner)?,
            self.job,
            quoted(&self.node),
            STEP.as_secs(),
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

fn is_local(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback() || address.is_unspecified())
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

    #[test]
    fn only_loopback_is_the_node() {
        for (host, local) in
            [("localhost", true), ("127.0.0.1", true), ("[::1]", true), ("n1", false), ("10.0.0.1", false)]
        {
            assert_eq!(is_local(host), local, "{host}");
        }
    }
}
