//! Measures nbtunnel beside `ssh -N -L` on the same sshd, both at once, in turns. Only ratios within one run
//! mean anything: `cargo bench-tunnel`.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use nbtunnel_tests::child::{Running, Signal, resident_bytes};
use nbtunnel_tests::net::{self, Pattern};
use nbtunnel_tests::server::SEED;
use nbtunnel_tests::{Server, Sshd, World, plain_ssh, wait};

/// Measures nbtunnel beside `ssh -N -L`.
#[derive(Parser)]
#[command(name = "cargo bench-tunnel")]
struct Args {
    /// How often everything is measured; medians are shown
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// MiB of each download and upload
    #[arg(long, default_value_t = 128)]
    mib: u64,
    /// Round trips of one byte in each round
    #[arg(long, default_value_t = 2000)]
    pings: usize,
    /// Tunnels in the comparison of memory
    #[arg(long, default_value_t = 50)]
    tunnels: usize,
}

fn main() -> ExitCode {
    match measure(&Args::parse()) {
        Ok(table) => {
            let _ = write!(std::io::stdout(), "{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "The bench failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One line of the table; of each side all that was measured.
struct Row {
    what: String,
    unit: &'static str,
    ssh: Vec<f64>,
    ours: Vec<f64>,
}

impl Row {
    fn new(what: impl Into<String>, unit: &'static str) -> Row {
        Row { what: what.into(), unit, ssh: Vec::new(), ours: Vec::new() }
    }

    fn push(&mut self, ssh: f64, ours: f64) {
        self.ssh.push(ssh);
        self.ours.push(ours);
    }

    fn line(&self) -> String {
        let (ssh, ours) = (median(&self.ssh), median(&self.ours));
        let ratio = if ssh > 0.0 { format!("{:.2}", ours / ssh) } else { "-".into() };
        let ssh = if self.ssh.is_empty() { "-".into() } else { format!("{ssh:.2}") };
        format!("{:<44} {ssh:>10} {ours:>10.2} {:<6} {ratio:>6}\n", self.what, self.unit)
    }
}

fn measure(args: &Args) -> Result<String> {
    let sshd = Sshd::start()?;
    let mut rows = vec![start_times(args, &sshd)?];
    rows.extend(traffic(args, &sshd)?);
    rows.push(memory(&sshd, 1)?);
    rows.push(memory(&sshd, args.tunnels)?);
    let head = format!("{:<44} {:>10} {:>10} {:<6} {:>6}\n", "median", "ssh -N -L", "nbtunnel", "", "ratio");
    Ok(head + &rows.iter().map(Row::line).collect::<String>())
}

/// A daemon with `count` tunnels to `sshd`, all up; and the local port of the first.
fn daemon(sshd: &Sshd, remotes: &[u16], count: usize) -> Result<(World, Vec<u16>)> {
    let mut world = World::new()?;
    world.quiet();
    let mut locals = Vec::new();
    for number in 0..count {
        let mut file = sshd.tunnel();
        for &remote in remotes {
            locals.push(net::free_port()?);
            file = file.forward(locals[locals.len() - 1], remote);
        }
        world.write(&format!("bench-{number}"), &file)?;
    }
    world.start()?;
    for number in 0..count {
        world.wait_for(&format!("bench-{number}"), "up")?;
    }
    Ok((world, locals))
}

fn start_times(args: &Args, sshd: &Sshd) -> Result<Row> {
    let echo = Server::echo()?;
    let mut row = Row::new("process start to first byte", "ms");
    for _ in 0..args.rounds {
        let local = net::free_port()?;
        let began = Instant::now();
        let ssh = plain_ssh::start(sshd, local, echo.port())?;
        first_byte(local)?;
        let by_ssh = milliseconds(began);
        drop(ssh);

        let mut world = World::new()?;
        world.quiet();
        let local = net::free_port()?;
        world.write("bench", &sshd.tunnel().forward(local, echo.port()))?;
        let mut command = world.daemon_command();
        let log = std::fs::File::create(world.path("daemon.log"))?;
        command.stdout(log.try_clone()?).stderr(log);
        let began = Instant::now();
        let mut daemon = Running::spawn(&mut command)?;
        first_byte(local).with_context(|| world.log())?;
        row.push(by_ssh, milliseconds(began));
        daemon.signal(Signal::Term);
        daemon.wait(wait::SOON)?;
    }
    Ok(row)
}

/// Tries until an echo at the other end of `port` answers.
fn first_byte(port: u16) -> Result<()> {
    let began = Instant::now();
    while !net::echoes(port, Duration::from_secs(10)) {
        ensure!(began.elapsed() < wait::SOON, "no byte came through port {port}");
        wait::pace(Instant::now() + Duration::from_millis(1));
    }
    Ok(())
}

fn traffic(args: &Args, sshd: &Sshd) -> Result<Vec<Row>> {
    let (source, sink, echo) = (Server::source()?, Server::sink()?, Server::echo()?);
    let remotes = [source.port(), sink.port(), echo.port()];
    let (world, ours) = daemon(sshd, &remotes, 1)?;
    let (mut sshs, mut theirs) = (Vec::new(), Vec::new());
    for remote in remotes {
        let local = net::free_port()?;
        sshs.push(plain_ssh::start(sshd, local, remote)?);
        wait::until("ssh listens", wait::SOON, || net::connect(local, wait::SOON).is_ok())?;
        theirs.push(local);
    }
    let (&[from_ssh, to_ssh, at_ssh], &[from_us, to_us, at_us]) = (theirs.as_slice(), ours.as_slice()) else {
        anyhow::bail!("three ports were asked for");
    };
    let mut down = Row::new(format!("download of {} MiB", args.mib), "MiB/s");
    let mut up = Row::new(format!("upload of {} MiB", args.mib), "MiB/s");
    let (mut p50, mut p99) =
        (Row::new("round trip of one byte, p50", "us"), Row::new("round trip, p99", "us"));
    let mut status = Row::new("nbctl status, wall time", "ms");
    for _ in 0..args.rounds {
        down.push(download(from_ssh, args.mib)?, download(from_us, args.mib)?);
        up.push(upload(to_ssh, args.mib)?, upload(to_us, args.mib)?);
        let (ssh, us) = (round_trips(at_ssh, args.pings)?, round_trips(at_us, args.pings)?);
        p50.push(quantile(&ssh, 0.5), quantile(&us, 0.5));
        p99.push(quantile(&ssh, 0.99), quantile(&us, 0.99));
        status.ours.push(status_time(&world)?);
    }
    Ok(vec![down, up, p50, p99, status])
}

fn download(port: u16, mib: u64) -> Result<f64> {
    let mut stream = net::connect(port, wait::SOON)?;
    let began = Instant::now();
    stream.write_all(&(mib << 20).to_be_bytes())?;
    let got = drain(&mut stream)?;
    ensure!(got == mib << 20, "a download of {mib} MiB ended after {got} bytes");
    Ok(per_second(mib, began))
}

fn upload(port: u16, mib: u64) -> Result<f64> {
    let mut stream = net::connect(port, wait::SOON)?;
    let began = Instant::now();
    Pattern::new(SEED).write(&mut stream, mib << 20)?;
    stream.shutdown(Shutdown::Write)?;
    let mut count = [0; 8];
    stream.read_exact(&mut count)?;
    let got = u64::from_be_bytes(count);
    ensure!(got == mib << 20, "of an upload of {mib} MiB {got} bytes arrived");
    Ok(per_second(mib, began))
}

fn drain(stream: &mut TcpStream) -> Result<u64> {
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(total),
            got => total += got as u64,
        }
    }
}

/// Microseconds of each round trip of one byte, sorted.
fn round_trips(port: u16, count: usize) -> Result<Vec<f64>> {
    let mut stream = net::connect(port, wait::SOON)?;
    net::echo(&mut stream, b"warm")?;
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        net::echo(&mut stream, b"x")?;
        all.push(began.elapsed().as_secs_f64() * 1e6);
    }
    all.sort_by(f64::total_cmp);
    Ok(all)
}

fn status_time(world: &World) -> Result<f64> {
    let began = Instant::now();
    let output = world.nbctl_command(["status"]).output()?;
    ensure!(output.status.success(), "nbctl status failed with {}", output.status);
    Ok(milliseconds(began))
}

/// Resident memory of `count` ssh processes, and of one daemon with as many tunnels.
fn memory(sshd: &Sshd, count: usize) -> Result<Row> {
    let echo = Server::echo()?;
    let mut row =
        Row::new(format!("resident memory, {count} tunnel{}", if count == 1 { "" } else { "s" }), "MB");
    let mut sshs = Vec::new();
    for _ in 0..count {
        let local = net::free_port()?;
        sshs.push(plain_ssh::start(sshd, local, echo.port())?);
        first_byte(local)?;
    }
    let by_ssh = sshs.iter().map(|ssh| resident(ssh.id())).sum::<Result<f64>>()?;
    drop(sshs);
    let (mut world, locals) = daemon(sshd, &[echo.port()], count)?;
    for local in locals {
        first_byte(local)?;
    }
    row.push(by_ssh, resident(world.daemon()?.id())?);
    Ok(row)
}

/// Megabytes that are resident.
fn resident(pid: u32) -> Result<f64> {
    Ok(resident_bytes(pid)? as f64 / 1e6)
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn per_second(mib: u64, since: Instant) -> f64 {
    // Sizes are far below 2^53 and so exact.
    mib as f64 / since.elapsed().as_secs_f64()
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

/// The nearest-rank quantile of sorted values; 0 for none.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * q).round() as usize).copied().unwrap_or(0.0)
}
