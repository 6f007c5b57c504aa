//! Round trips of one byte: alone, beside a reader that does not read, and beside a download at full speed,
//! all on the same session.

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use anyhow::Result;
use nbtunnel_tests::{Server, Sshd, net, wait};

use crate::Args;
use crate::sides::{BOTH, Sides};
use crate::table::{Table, quantile};
use crate::traffic::{drain, round_trips};

/// Enough to last: nobody waits for its end.
const ENDLESS: u64 = 1 << 40;

/// What a reader that does not read leaves behind.
const STALLED: u64 = 32 << 20;

/// How long one round measures at most.
const MOST: Duration = Duration::from_secs(3);

pub(crate) fn measure(args: &Args) -> Result<Table> {
    let (source, echo) = (Server::source()?, Server::echo()?);
    let sshd = Sshd::start()?;
    let sides = Sides::start(&sshd, sshd.port(), &[source.port(), echo.port()])?;
    let mut table = Table::new(BOTH);
    let mut show = |beside: &str, ssh: &[f64], ours: &[f64]| {
        for (name, q) in [("p50", 0.5), ("p99", 0.99)] {
            let both = [quantile(ssh, q), quantile(ours, q)];
            table.row(format!("round trip, {beside}, {name}"), "us").push(&both);
        }
    };
    for _ in 0..args.rounds {
        let idle = |ports: &[u16]| round_trips(ports[1], args.pings, MOST);
        show("idle", &idle(&sides.ports[0])?, &idle(&sides.ports[1])?);
        let stalled = |ports: &[u16]| beside(ports, STALLED, false, args.pings);
        show("beside a stalled reader", &stalled(&sides.ports[0])?, &stalled(&sides.ports[1])?);
        let bulk = |ports: &[u16]| beside(ports, ENDLESS, true, args.pings);
        show("beside a download", &bulk(&sides.ports[0])?, &bulk(&sides.ports[1])?);
    }
    Ok(table)
}

/// Round trips while so many bytes come through the same session, which somebody reads or not.
fn beside(ports: &[u16], bytes: u64, reads: bool, pings: usize) -> Result<Vec<f64>> {
    let mut bulk = net::connect(ports[0], wait::SOON)?;
    bulk.write_all(&bytes.to_be_bytes())?;
    let reader = reads.then(|| bulk.try_clone()).transpose()?;
    let reader = reader.map(|mut stream| std::thread::spawn(move || drain(&mut stream)));
    // Full speed, or a full window, is not there at once.
    wait::pace(std::time::Instant::now() + Duration::from_millis(300));
    let measured = round_trips(ports[1], pings, MOST);
    // It ends in whatever way.
    let _ = bulk.shutdown(Shutdown::Both);
    if let Some(reader) = reader {
        let _ = reader.join();
    }
    measured
}
