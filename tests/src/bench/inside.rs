//! ssh itself through a tunnel: `ProxyCommand nbctl proxy` beside a straight ssh, and beside `ssh -W`, which carries it
//! in the same way.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::child::Running;
use nbtunnel_tests::{Sshd, World, plain_ssh, programs};

use crate::Args;
use crate::sides::{name, world};
use crate::table::{Table, milliseconds, per_second};

const MIB: usize = 1 << 20;

pub(crate) fn measure(args: &Args) -> Result<Table> {
    let sshd = Sshd::start()?;
    let world = world(&[sshd.tunnel()])?;
    let ways = [String::new(), by_ssh(&sshd)?, by_us(&world)?];
    let mut table = Table::new(&["ssh", "ssh -W", "nbctl proxy"]);
    for _ in 0..args.rounds {
        let mut each = |what, unit, measure: fn(Command, u64) -> Result<f64>| -> Result<()> {
            let sides: Result<Vec<f64>> =
                ways.iter().map(|way| measure(inner(&sshd, &world, way)?, args.mib)).collect();
            table.row(what, unit).push(&sides?);
            Ok(())
        };
        each("download", "MiB/s", download)?;
        each("upload", "MiB/s", upload)?;
        each("true", "ms", |ssh, _| once(ssh))?;
    }
    Ok(table)
}

fn by_us(world: &World) -> Result<String> {
    let socket = world.socket();
    let socket = socket.to_str().context("a path that ssh can take")?;
    Ok(format!("{} --socket {socket} proxy {}", world.programs().nbctl.display(), name(0)))
}

fn by_ssh(sshd: &Sshd) -> Result<String> {
    let plain = plain_ssh::command_at(sshd, sshd.port(), &[])?;
    let mut words = vec![plain.get_program().to_string_lossy().into_owned()];
    let carried = ["-W".to_owned(), format!("127.0.0.1:{}", sshd.port())];
    // In the place of -N, and what speaks of forwards only.
    let kept = plain.get_args().map(|word| word.to_string_lossy().into_owned()).filter(|word| word != "-N");
    words.extend(carried.into_iter().chain(kept));
    Ok(words.join(" "))
}

/// An ssh that goes to `sshd` by a command, or straight.
fn inner(sshd: &Sshd, world: &World, way: &str) -> Result<Command> {
    let plain = plain_ssh::command_at(sshd, sshd.port(), &[])?;
    let config = world.path("way");
    fs::write(&config, if way.is_empty() { String::new() } else { format!("ProxyCommand {way}\n") })?;
    let mut command = Command::new(programs::system("ssh")?);
    command.arg("-F").arg(config);
    // Without `-F none` and -N.
    command.args(plain.get_args().skip(2).filter(|word| *word != "-N"));
    Ok(command)
}

fn download(mut ssh: Command, mib: u64) -> Result<f64> {
    ssh.arg(format!("echo; head -c {} /dev/zero", mib << 20)).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut ssh = Running::spawn(&mut ssh)?;
    let mut from = ssh.pipes().stdout.take().context("it has a standard output")?;
    let mut buffer = vec![0; MIB];
    // From its first byte on.
    from.read_exact(&mut buffer[..1])?;
    let (began, mut total) = (Instant::now(), 0);
    loop {
        match from.read(&mut buffer)? {
            0 => break,
            count => total += count as u64,
        }
    }
    ensure!(total == mib << 20, "of {mib} MiB {total} bytes came");
    Ok(per_second(mib, began))
}

fn upload(mut ssh: Command, mib: u64) -> Result<f64> {
    ssh.arg("echo; wc -c").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut ssh = Running::spawn(&mut ssh)?;
    let mut from = ssh.pipes().stdout.take().context("it has a standard output")?;
    let mut to = ssh.pipes().stdin.take().context("it has a standard input")?;
    from.read_exact(&mut [0])?;
    let (began, piece) = (Instant::now(), vec![0; MIB]);
    (0..mib).try_for_each(|_| to.write_all(&piece))?;
    drop(to);
    let mut told = String::new();
    from.read_to_string(&mut told)?;
    ensure!(told.trim() == (mib << 20).to_string(), "of {mib} MiB {told} bytes arrived");
    Ok(per_second(mib, began))
}

fn once(mut ssh: Command) -> Result<f64> {
    let began = Instant::now();
    ensure!(ssh.arg("true").stdin(Stdio::null()).status()?.success(), "ssh failed");
    Ok(milliseconds(began))
}
