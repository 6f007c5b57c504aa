//! A way from the login machine to a port of a node's own loopback: by the user's ssh over there, which ends in a
//! socket that nobody else can reach.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use nbtunnel_core::{Failure, FailureKind, Target};

use super::answer::Answer;
use super::log::lines_in_one;
use super::shell::{hex, quoted};
use super::slurm_node::LIMIT;
use crate::forward::far_side::FarSide;

const REACH: &str = include_str!("slurm_reach.sh");

/// Its steps have deadlines of their own, and one of them logs in somewhere.
const REACHING: Duration = Duration::from_secs(45);

/// The socket on the login machine that leads to `port` at `host`, seen from `node`. It is made, or made again, unless
/// it is there.
///
/// # Errors
/// `notebook_failed`: ssh does not get there, or not through. Otherwise those of [`FarSide::run`].
pub(super) async fn reach(
    login: Arc<dyn FarSide>,
    (job, node): (u64, &str),
    (host, port): (&str, u16),
) -> Result<Target, Failure> {
    let place = Target::Tcp(host.to_owned(), port).to_string();
    let script = format!(
        "(\nnode={} place={} master={} socket={} limit=\n{LIMIT}{REACH})\n",
        quoted(node),
        quoted(&place),
        name(&[node, &job.to_string()]),
        name(&[node, &job.to_string(), &place]),
    );
    let ran = match login.run(script, REACHING).await {
        Ok(ran) => ran,
        Err(why) if why.kind == FailureKind::TimedOut => return Err(unreached(node, &why.message)),
        Err(why) => return Err(why),
    };
    let answer = Answer::of(&ran)?;
    match answer.kind() {
        "reached" => Ok(Target::Socket(answer.rest(1))),
        "unreached" => Err(unreached(node, &answer.text)),
        _ => Err(answer.usual_failure()),
    }
}

/// A short name for a file, the same for the same thing.
fn name(means: &[&str]) -> String {
    hex(&digest(&SHA256, means.join("\n").as_bytes()).as_ref()[..8])
}

fn unreached(node: &str, said: &str) -> Failure {
    let said = match lines_in_one(said) {
        said if said.is_empty() => "it says nothing".to_owned(),
        said => said,
    };
    Failure::new(
        FailureKind::NotebookFailed,
        format!("ssh from the login machine to {node} does not get there: {said}"),
        format!(
            "see that `ssh {node}` works over there without a question, or `ssh -J` the login machine to {node} from \
             here, or let the server listen where the login machine gets to, as `jupyter lab --ip=\"$(hostname)\"` does"
        ),
    )
}
