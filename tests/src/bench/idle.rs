//! What tunnels cost that nobody uses.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use nbtunnel_tests::{Server, Sshd, wait};

use crate::Args;
use crate::process::{Crowd, processor_seconds, wakes};
use crate::sides::BOTH;
use crate::table::Table;

pub(crate) fn measure(args: &Args) -> Result<Table> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let mut crowd = Crowd::start(&sshd, echo.port(), args.tunnels)?;
    let sshs: Vec<_> = crowd.sshs.iter().map(|ssh| ssh.id()).collect();
    let ours = [crowd.world.daemon()?.id()];
    let (began, before) = (Instant::now(), [Used::by(&sshs)?, Used::by(&ours)?]);
    wait::pace(began + Duration::from_secs(args.idle));
    let (seconds, after) = (began.elapsed().as_secs_f64(), [Used::by(&sshs)?, Used::by(&ours)?]);

    let of = |what: fn(&Used, &Used) -> f64| [0, 1].map(|side| what(&before[side], &after[side]) / seconds);
    let an_hour = of(|before, after| (after.seconds - before.seconds) * 3600.0);
    let a_second = of(|before, after| after.wakes_since(before) as f64);
    let mut table = Table::new(BOTH);
    let idle = format!("{} idle tunnels", args.tunnels);
    table.row(format!("{idle}, processor time an hour"), "s").push(&an_hour);
    table.row(format!("{idle}, wake-ups a second"), "").push(&a_second);
    Ok(table)
}

/// What some processes used so far.
struct Used {
    seconds: f64,
    /// Of each thread.
    wakes: BTreeMap<u32, u64>,
}

impl Used {
    fn by(pids: &[u32]) -> Result<Used> {
        let mut used = Used { seconds: 0.0, wakes: BTreeMap::new() };
        for &pid in pids {
            used.seconds += processor_seconds(pid)?;
            used.wakes.extend(wakes(pid)?);
        }
        Ok(used)
    }

    /// Threads that ended meanwhile have taken their counts with them.
    fn wakes_since(&self, before: &Used) -> u64 {
        let grown = self.wakes.iter().map(|(id, count)| count - before.wakes.get(id).unwrap_or(&0));
        grown.sum()
    }
}
