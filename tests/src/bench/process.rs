//! Many tunnels by each side, and what the system says of the processes (proc(5)).

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nbtunnel_tests::child::Running;
use nbtunnel_tests::{Sshd, World, net, plain_ssh};

use crate::sides::{first_byte, world};

/// The unit of processor time in /proc: USER_HZ, which is 100 on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// So many ssh processes, and one daemon with as many tunnels; all have carried a byte.
pub(crate) struct Crowd {
    pub(crate) sshs: Vec<Running>,
    pub(crate) world: World,
}

impl Crowd {
    pub(crate) fn start(sshd: &Sshd, echo: u16, count: usize) -> Result<Crowd> {
        let (mut sshs, mut files, mut locals) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..count {
            let local = net::free_port()?;
            // As often as the tunnels ask, so that both do the same work.
            let mut command = plain_ssh::command(sshd, local, echo)?;
            command.args(["-o", "ServerAliveInterval=10"]);
            sshs.push(Running::spawn(&mut command)?);
            first_byte(local)?;
            locals.push(net::free_port()?);
            files.push(sshd.tunnel().set("keepalive", "\"10s\"").forward(locals[locals.len() - 1], echo));
        }
        let world = world(&files)?;
        locals.into_iter().try_for_each(first_byte)?;
        Ok(Crowd { sshs, world })
    }
}

/// What a process used of the processor, in seconds.
pub(crate) fn processor_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command may contain blanks and brackets: user and system time stand 12th and 13th after it.
    let fields: Vec<_> = stat.rsplit_once(')').context("it has a name")?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|word| word.parse::<u32>().ok());
    let ticks = ticks(11).zip(ticks(12)).context("there is a count of ticks")?;
    Ok(TICK.as_secs_f64() * f64::from(ticks.0 + ticks.1))
}

/// How often each thread of a process went to sleep and was woken, by its id.
pub(crate) fn wakes(pid: u32) -> Result<Vec<(u32, u64)>> {
    let mut all = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        // A thread may end while we look.
        let Ok(status) = fs::read_to_string(task.join("status")) else { continue };
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let count = count.and_then(|word| word.trim().parse().ok()).context("there is a count of wakes")?;
        let id = task.file_name().and_then(|name| name.to_str()?.parse().ok()).context("it has an id")?;
        all.push((id, count));
    }
    Ok(all)
}

pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
