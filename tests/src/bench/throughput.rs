//! Bytes a second over a distance: everything through the same relay, which is measured by itself too.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use nbtunnel_tests::{Relay, Server, Sshd};

use crate::Args;
use crate::sides::Sides;
use crate::table::{Table, per_second};
use crate::traffic::{download, upload};

/// Milliseconds of round trip, and which part of `--mib` is carried over it.
const DISTANCES: [(u64, u64); 3] = [(0, 1), (40, 2), (150, 4)];

pub(crate) fn measure(args: &Args) -> Result<Table> {
    let (source, sink) = (Server::source()?, Server::sink()?);
    let mut table = Table::new(&["no SSH", "ssh -N -L", "nbtunnel"]);
    for (distance, part) in DISTANCES {
        let (sshd, mib) = (Sshd::start()?, args.mib / part);
        let round_trip = Duration::from_millis(distance);
        let (to_source, to_sink, to_sshd) = (
            Relay::start(source.port(), round_trip)?,
            Relay::start(sink.port(), round_trip)?,
            Relay::start(sshd.port(), round_trip)?,
        );
        let at = if distance == 0 { sshd.port() } else { to_sshd.port() };
        let sides = Sides::start(&sshd, at, &[source.port(), sink.port()])?;
        let raw =
            if distance == 0 { [source.port(), sink.port()] } else { [to_source.port(), to_sink.port()] };
        for _ in 0..args.rounds {
            for streams in [1, 4] {
                for (what, at, carry) in
                    [("download", 0, download as fn(u16, u64) -> Result<f64>), ("upload", 1, upload)]
                {
                    let [ssh, ours] = sides.each(|ports| at_once(streams, ports[at], mib, carry))?;
                    let raw = at_once(streams, raw[at], mib, carry)?;
                    let streams = if streams == 1 { String::new() } else { format!(", {streams} streams") };
                    table.row(format!("{what} at {distance} ms{streams}"), "MiB/s").push(&[raw, ssh, ours]);
                }
            }
        }
    }
    Ok(table)
}

/// MiB a second of so many streams together, which carry `mib` between them.
fn at_once(streams: u64, port: u16, mib: u64, carry: impl Fn(u16, u64) -> Result<f64> + Sync) -> Result<f64> {
    let (began, carry, each) = (Instant::now(), &carry, mib / streams);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..streams).map(|_| scope.spawn(move || carry(port, each))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow!("a stream panicked"))?.map(drop))
    })?;
    Ok(per_second(each * streams, began))
}
