//! A client, and the server that it goes to through a tunnel.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::child::Running;
use nbtunnel_tests::dropbear::Dropbear;
use nbtunnel_tests::terminal::Typist;
use nbtunnel_tests::{Server, Sshd, World, net, programs, told, wait};

/// Longer than anything here takes; and than a file of a gigabyte takes, on a machine that is slow and busy.
const PATIENCE: Duration = Duration::from_secs(120);
const PATIENCE_FOR_FILES: Duration = Duration::from_secs(900);

/// A tunnel `alice`, and what ssh is told of a Host of that name.
pub(crate) struct Place {
    pub(crate) world: World,
    pub(crate) sshd: Sshd,
}

impl Place {
    pub(crate) fn new() -> Result<Place> {
        Place::set(|file| file)
    }

    pub(crate) fn set(
        file: impl Fn(nbtunnel_tests::TunnelFile) -> nbtunnel_tests::TunnelFile,
    ) -> Result<Place> {
        let sshd = Sshd::with(&["Subsystem sftp internal-sftp"])?;
        let mut world = World::new()?;
        world.write("alice", &file(sshd.tunnel()))?;
        world.start()?;
        let place = Place { world, sshd };
        place.knows("alice", &place.sshd, "")?;
        Ok(place)
    }

    /// ssh knows `server` under the name of the tunnel, and goes there by what is said after that.
    pub(crate) fn knows(&self, name: &str, server: &Sshd, target: &str) -> Result<()> {
        let text = format!(
            "Host {name}\n HostName 127.0.0.1\n Port {}\n User {}\n IdentityFile {}\n UserKnownHostsFile {}\n",
            server.port(),
            server.user(),
            server.user_key().display(),
            server.known_hosts().display(),
        );
        self.says(&text, name, target)
    }

    fn says(&self, text: &str, name: &str, target: &str) -> Result<()> {
        let text = format!(
            "{text} IdentitiesOnly yes\n IdentityAgent none\n BatchMode yes\n GlobalKnownHostsFile none\n \
             ProxyCommand {} --socket {} proxy {name} {target}\n",
            self.world.programs().nbctl.display(),
            self.world.socket().display(),
        );
        Ok(fs::write(self.world.path("inner"), text)?)
    }

    /// A program that takes the same options as ssh.
    pub(crate) fn command(&self, program: &str, args: &[impl AsRef<OsStr>]) -> Result<Command> {
        let mut command = Command::new(programs::system(program)?);
        command.arg("-F").arg(self.world.path("inner")).args(args).current_dir("/");
        Ok(command)
    }

    pub(crate) fn ssh(&self, args: &[&str]) -> Result<told::Told> {
        told::tell(&mut self.command("ssh", args)?, b"", PATIENCE)
    }
}

#[test]
fn ssh_itself_goes_over_the_session() -> Result<()> {
    let place = Place::new()?;
    let told = place.ssh(&["alice", "true"])?;
    ensure!(told.code == 0 && told.stdout.is_empty() && told.stderr.is_empty(), "{told:?}");
    let told = place.ssh(&["alice", "echo out; echo bad >&2; exit 3"])?;
    ensure!((told.code, &*told.stdout, &*told.stderr) == (3, "out\n", "bad\n"), "{told:?}");
    // What it reads from its standard input comes whole.
    let much: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let told = told::tell(&mut place.command("ssh", &["alice", "wc -c"])?, &much, PATIENCE)?;
    ensure!(told.stdout.trim() == "3000000", "{told:?}");
    // One link, and a login of its own for each.
    ensure!(place.sshd.count_log("Accepted publickey") == 4, "{}", place.sshd.log());
    Ok(())
}

#[test]
fn files_go_both_ways_whole() -> Result<()> {
    let place = Place::new()?;
    let (here, there, back) = (place.world.path("here"), place.world.path("there"), place.world.path("back"));
    let mib = std::env::var("NBTUNNEL_PROXY_MIB").ok().and_then(|mib| mib.parse().ok()).unwrap_or(1024);
    net::Pattern::new(1).write(&mut File::create(&here)?, mib << 20)?;
    let far = format!("alice:{}", there.display());
    let (here_at, back_at) = (here.display().to_string(), back.display().to_string());
    let sum = |path: &std::path::Path| -> Result<String> {
        let told = Command::new("sha256sum").arg(path).output()?;
        Ok(String::from_utf8(told.stdout)?.split(' ').next().unwrap_or_default().to_owned())
    };
    let right = sum(&here)?;
    // Never more than two of them at a time: the disk may be small.
    for (pair, from, to) in [([&here_at, &far], &here, &there), ([&far, &back_at], &there, &back)] {
        let mut scp = place.command("scp", &["-q"])?;
        let told = told::tell(scp.args(pair), b"", PATIENCE_FOR_FILES)?;
        ensure!(told.code == 0 && told.stderr.is_empty(), "{told:?}");
        ensure!(sum(to)? == right, "a file changed on its way: {}", to.display());
        fs::remove_file(from)?;
    }
    fs::create_dir(place.world.path("tree"))?;
    fs::hard_link(&back, place.world.path("tree/a"))?;
    fs::write(place.world.path("tree/b"), "b")?;
    let shell = format!("ssh -F {}", place.world.path("inner").display());
    let mut rsync = Command::new(programs::system("rsync")?);
    rsync.args(["-a", "-e", &shell]).arg(format!("{}/", place.world.path("tree").display()));
    rsync.arg(format!("alice:{}", place.world.path("copy").display()));
    let told = told::tell(&mut rsync, b"", PATIENCE_FOR_FILES)?;
    ensure!(told.code == 0, "{told:?}");
    ensure!(sum(&place.world.path("copy/a"))? == right && place.world.path("copy/b").exists());
    Ok(())
}

#[test]
fn a_remote_forward_inside_carries() -> Result<()> {
    let (place, echo, port) = (Place::new()?, Server::echo()?, net::free_port()?);
    let forward = format!("{port}:127.0.0.1:{}", echo.port());
    let mut ssh = place.command("ssh", &["-N", "-o", "ExitOnForwardFailure=yes", "-R", &forward, "alice"])?;
    let _ssh = Running::spawn(&mut ssh)?;
    wait::until("it carries", wait::SOON, || net::echoes(port, wait::SOON))
}

#[test]
fn a_terminal_survives_edits_and_a_reload_and_is_told_of_a_cut() -> Result<()> {
    let (place, inner) = (Place::new()?, Sshd::start()?);
    place.knows("alice", &inner, &format!("127.0.0.1:{}", inner.port()))?;
    let mut shell =
        Typist::run(&place.command("ssh", &["-tt", "alice", "while read word; do echo got-$word; done"])?)?;
    shell.types("hello\r")?;
    shell.sees("got-hello")?;
    let file = place.sshd.tunnel().forward(net::free_port()?, inner.port());
    place.world.write("alice", &file)?;
    place
        .world
        .wait_until("alice", "it has the forward", |alice| alice["forwards"][0]["listens"][0].is_string())?;
    place
        .world
        .write("alice", &file.clone().set("tags", "[\"lab\"]").forward(net::free_port()?, inner.port()))?;
    ensure!(place.world.nbctl(["reload"])?.code == 0);
    place.world.wait_until("alice", "it has both", |alice| alice["forwards"][1]["listens"][0].is_string())?;
    // The other two sorts come, change and go.
    let sorts = |file: nbtunnel_tests::TunnelFile| -> Result<_> {
        let remote = format!("[\"{}:127.0.0.1:{}\"]", net::free_port()?, inner.port());
        Ok(file.set("remote", remote).set("dynamic", format!("[\"{}\"]", net::free_port()?)))
    };
    for _ in 0..2 {
        let before = place.world.tunnel("alice")?["forwards"].clone();
        place.world.write("alice", &sorts(place.sshd.tunnel())?)?;
        ensure!(place.world.nbctl(["reload"])?.code == 0);
        place.world.wait_until("alice", "both stand", |alice| {
            let stands = |kind: &str| {
                let forwards = alice["forwards"].as_array().into_iter().flatten();
                forwards.filter(|one| one["kind"] == kind).any(|one| one["listens"][0].is_string())
            };
            alice["forwards"] != before && stands("remote") && stands("dynamic")
        })?;
    }
    place.world.write("alice", &place.sshd.tunnel().set("tags", "[\"lab\"]"))?;
    ensure!(place.world.nbctl(["reload"])?.code == 0);
    place.world.wait_until("alice", "it has none", |alice| alice["forwards"][0].is_null())?;
    shell.types("still\r")?;
    shell.sees("got-still")?;
    place.sshd.kill_sessions();
    shell.sees("the tunnel alice lost its link")?;
    shell.sees("run ssh again")?;
    ensure!(shell.ends()? == 255);
    // And so it goes on.
    ensure!(place.ssh(&["alice", "true"])?.code == 0);
    Ok(())
}

#[test]
fn a_terminal_outlives_the_session_that_it_began_in() -> Result<()> {
    let place = Place::set(|file| file.set("renew_after", "\"2s\""))?;
    let mut shell =
        Typist::run(&place.command("ssh", &["-tt", "alice", "while read word; do echo got-$word; done"])?)?;
    shell.types("early\r")?;
    shell.sees("got-early")?;
    let logins = || place.sshd.count_log("Accepted publickey");
    let before = logins();
    wait::until("two more sessions", PATIENCE, || logins() >= before + 2)?;
    shell.types("late\r")?;
    shell.sees("got-late")?;
    let told = place.ssh(&["alice", "echo new"])?;
    ensure!((told.code, &*told.stdout, &*told.stderr) == (0, "new\n", ""), "{told:?}");
    shell.types("last\r")?;
    shell.sees("got-last")
}

#[test]
fn an_end_in_order_is_no_cut() -> Result<()> {
    let (place, hello) = (Place::new()?, net::listener()?);
    let target = format!("127.0.0.1:{}", hello.local_addr()?.port());
    let mut nbctl = place.world.nbctl_command(["proxy", "alice", &target]);
    let server = std::thread::spawn(move || -> Result<String> {
        let (mut stream, _) = hello.accept()?;
        let mut heard = String::new();
        // Its end comes through, while the other direction still goes on.
        stream.read_to_string(&mut heard)?;
        stream.write_all(b"answer")?;
        Ok(heard)
    });
    let told = told::tell(&mut nbctl, b"question", PATIENCE)?;
    ensure!((told.code, &*told.stdout, &*told.stderr) == (0, "answer", ""), "{told:?}");
    let heard = server.join().ok().context("the server")??;
    ensure!(heard == "question");
    Ok(())
}

#[test]
fn a_small_server_is_found_too() -> Result<()> {
    let (dropbear, mut world) = (Dropbear::start()?, World::new()?);
    world.write("alice", &dropbear.tunnel())?;
    world.start()?;
    let place = Place { world, sshd: Sshd::start()? };
    place.says(&format!("Host alice\n{}", dropbear.said()), "alice", "")?;
    let told = place.ssh(&["alice", "echo small"])?;
    ensure!((told.code, &*told.stdout) == (0, "small\n"), "{told:?}");
    Ok(())
}
