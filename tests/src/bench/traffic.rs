//! Bytes and round trips, each carried by itself.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nbtunnel_tests::net::{self, Pattern};
use nbtunnel_tests::server::SEED;
use nbtunnel_tests::{Server, Sshd, World};

use crate::Args;
use crate::sides::{BOTH, Sides};
use crate::table::{Table, milliseconds, per_second, quantile};

/// How long a stream may stand still. A distance makes all of it slow.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn measure(args: &Args) -> Result<Table> {
    let (source, sink, echo) = (Server::source()?, Server::sink()?, Server::echo()?);
    let sshd = Sshd::start()?;
    let sides = Sides::start(&sshd, sshd.port(), &[source.port(), sink.port(), echo.port()])?;
    let mut table = Table::new(BOTH);
    for _ in 0..args.rounds {
        table
            .row(format!("download of {} MiB", args.mib), "MiB/s")
            .push(&sides.each(|ports| download(ports[0], args.mib))?);
        table
            .row(format!("upload of {} MiB", args.mib), "MiB/s")
            .push(&sides.each(|ports| upload(ports[1], args.mib))?);
        let ssh = round_trips(sides.ports[0][2], args.pings, PATIENCE)?;
        let ours = round_trips(sides.ports[1][2], args.pings, PATIENCE)?;
        for (what, q) in [("round trip of one byte, p50", 0.5), ("round trip, p99", 0.99)] {
            table.row(what, "us").push(&[quantile(&ssh, q), quantile(&ours, q)]);
        }
        table.row("nbctl status, wall time", "ms").push(&[f64::NAN, status_time(&sides.world)?]);
    }
    Ok(table)
}

/// MiB a second from a [`Server::source`] behind `port`.
pub(crate) fn download(port: u16, mib: u64) -> Result<f64> {
    let mut stream = net::connect(port, PATIENCE)?;
    let began = Instant::now();
    stream.write_all(&(mib << 20).to_be_bytes())?;
    let got = drain(&mut stream)?;
    ensure!(got == mib << 20, "a download of {mib} MiB ended after {got} bytes");
    Ok(per_second(mib, began))
}

/// MiB a second to a [`Server::sink`] behind `port`.
pub(crate) fn upload(port: u16, mib: u64) -> Result<f64> {
    let mut stream = net::connect(port, PATIENCE)?;
    let began = Instant::now();
    Pattern::new(SEED).write(&mut stream, mib << 20)?;
    stream.shutdown(Shutdown::Write)?;
    let mut count = [0; 8];
    stream.read_exact(&mut count)?;
    let got = u64::from_be_bytes(count);
    ensure!(got == mib << 20, "of an upload of {mib} MiB {got} bytes arrived");
    Ok(per_second(mib, began))
}

/// Reads to the end, and says how many bytes that were.
pub(crate) fn drain(stream: &mut TcpStream) -> Result<u64> {
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(total),
            got => total += got as u64,
        }
    }
}

/// Microseconds of each of `count` round trips of one byte, sorted; fewer if they take longer than `most`.
pub(crate) fn round_trips(port: u16, count: usize, most: Duration) -> Result<Vec<f64>> {
    let mut stream = net::connect(port, PATIENCE)?;
    net::echo(&mut stream, b"warm")?;
    let (mut all, first) = (Vec::with_capacity(count), Instant::now());
    while all.len() < count && first.elapsed() < most {
        let began = Instant::now();
        net::echo(&mut stream, b"x")?;
        all.push(began.elapsed().as_secs_f64() * 1e6);
    }
    all.sort_by(f64::total_cmp);
    Ok(all)
}

/// Milliseconds of one `nbctl status`.
pub(crate) fn status_time(world: &World) -> Result<f64> {
    let began = Instant::now();
    let output = world.nbctl_command(["status"]).output()?;
    ensure!(output.status.success(), "nbctl status failed with {}", output.status);
    Ok(milliseconds(began))
}
