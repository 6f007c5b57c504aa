//! Starts notebooks' servers at the far end, as processes or as jobs of a cluster, and ends them: by scripts for
//! `sh`, which make sure that nothing is started twice. It finds no server; `notebook` does.
//!
//! What only one may do is claimed first in a directory over there, see `claim.sh`. Who starts something is a
//! process over there that outlives us: so a lost link or a killed daemon leaves nothing half done.

mod answer;
mod log;
mod shell;
mod slurm;
mod slurm_node;
mod slurm_reach;
mod squeue;
mod start;

pub use slurm::{Batch, cancel, job_log, queue, submit};
pub use slurm_node::{KnownWays, Node};
pub use start::{Begun, Launch, Stopped, ended, log, start, stop};
