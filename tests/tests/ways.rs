//! Ways over jump hosts and ProxyCommands, with the real daemon and real servers.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, ensure};
#[cfg(target_os = "linux")]
use nbtunnel_tests::dropbear::Dropbear;
use nbtunnel_tests::tunnel_file::{paths, quoted};
use nbtunnel_tests::{Server, Sshd, TunnelFile, World, net, wait};
use serde_json::Value;

/// A server, a jump host, and a world whose ssh_config knows the jump host.
struct Place {
    sshd: Sshd,
    jump: Sshd,
    echo: Server,
    world: World,
}

impl Place {
    fn new() -> Result<Place> {
        let settings = ["MaxStartups 100"];
        let (sshd, jump) = (Sshd::with(&settings)?, Sshd::with(&settings)?);
        let (echo, world) = (Server::echo()?, World::new()?);
        let host = format!(
            "Host jump\n HostName 127.0.0.1\n Port {}\n User {}\n IdentityFile {}\n UserKnownHostsFile {}\n",
            jump.port(),
            jump.user(),
            jump.user_key().display(),
            jump.known_hosts().display()
        );
        fs::write(world.path("ssh_config"), host)?;
        Ok(Place { sshd, jump, echo, world })
    }

    /// A tunnel over the jump host.
    fn tunnel(&self, local: u16) -> TunnelFile {
        self.sshd
            .tunnel()
            .set("ssh_config", paths(&[&self.world.path("ssh_config")]).trim_matches(['[', ']']))
            .set("jump", "[\"jump\"]")
            .forward(local, self.echo.port())
    }

    fn logins(&self) -> usize {
        self.jump.count_log("Accepted publickey")
    }
}

fn carries(local: u16) -> Result<()> {
    wait::until("it carries", wait::SOON, || net::echoes(local, wait::SOON))
}

#[test]
fn an_unknown_jump_host_is_named_trusted_and_then_jumped_over() -> Result<()> {
    let (mut place, local) = (Place::new()?, net::free_port()?);
    fs::write(place.jump.known_hosts(), "")?;
    place.world.write("alice", &place.tunnel(local))?;
    place.world.start()?;
    let tunnel = place.world.wait_for("alice", "parked")?;
    ensure!(tunnel["problem"]["code"] == "host_key_unknown", "{tunnel:#}");
    let message = tunnel["problem"]["message"].as_str().unwrap_or_default();
    ensure!(message.contains(&place.jump.port().to_string()), "{message}");
    let print = place.jump.fingerprint()?;
    let told = place.world.nbctl(["trust", "alice", "--yes", "--fingerprint", &print])?;
    ensure!(told.code == 0, "{told:?}");
    place.world.wait_for("alice", "up")?;
    ensure!(fs::read_to_string(place.jump.known_hosts())?.contains("ssh-ed25519"));
    let via = format!("{}@127.0.0.1:{}", place.jump.user(), place.jump.port());
    ensure!(place.world.tunnel("alice")?["via"] == serde_json::json!([via]));
    let told = place.world.nbctl(["status", "alice"])?;
    ensure!(told.stdout.contains(&format!("by way of {via}")), "{told:?}");
    carries(local)
}

#[test]
fn twenty_tunnels_log_in_at_their_jump_host_once_and_all_come_back_when_it_is_lost() -> Result<()> {
    let mut place = Place::new()?;
    let locals = (0..20).map(|_| net::free_port()).collect::<Result<Vec<_>>>()?;
    for (number, local) in locals.iter().enumerate() {
        place.world.write(&format!("t{number}"), &place.tunnel(*local))?;
    }
    place.world.start()?;
    let all_up = |world: &World| (0..20).try_for_each(|n| world.wait_for(&format!("t{n}"), "up").map(drop));
    all_up(&place.world)?;
    ensure!(place.logins() == 1, "{}", place.jump.log());
    ensure!(place.jump.kill_sessions() > 0);
    for local in &locals {
        carries(*local)?;
    }
    all_up(&place.world)?;
    ensure!(place.logins() == 2, "{}", place.jump.log());
    let told = place.world.nbctl(["stop", "--all", "--wait=10"])?;
    ensure!(told.code == 0, "{told:?}");
    wait::until("nobody is left at the jump host", wait::SOON, || place.jump.sessions().is_empty())
}

#[test]
fn a_frozen_jump_host_session_is_replaced_and_what_waits_is_carried() -> Result<()> {
    let (mut place, local) = (Place::new()?, net::free_port()?);
    place.world.write("alice", &place.tunnel(local))?;
    place.world.start()?;
    place.world.wait_for("alice", "up")?;
    carries(local)?;
    place.jump.freeze_sessions(true);
    // Held until a way over a session of its own is found.
    let carried = net::echoes(local, Duration::from_secs(60));
    place.jump.freeze_sessions(false);
    ensure!(carried, "{:#}", place.world.tunnel("alice")?);
    ensure!(place.logins() >= 2, "{}", place.jump.log());
    Ok(())
}

#[test]
fn what_a_proxy_command_says_is_in_the_logs_and_it_ends_with_its_tunnel() -> Result<()> {
    let (mut place, local) = (Place::new()?, net::free_port()?);
    let (script, pids) = (place.world.path("proxy.sh"), place.world.path("pids"));
    let inner = format!(
        "ssh -F none -i {} -o UserKnownHostsFile={} -p {} -l {} -W 127.0.0.1:$1 127.0.0.1",
        place.jump.user_key().display(),
        place.jump.known_hosts().display(),
        place.jump.port(),
        place.jump.user()
    );
    let text = format!(
        "echo knocking >&2\nulimit -Sn >&2\nsleep 1000 & echo $! >{p}\necho $$ >>{p}\nexec {inner}\n",
        p = pids.display()
    );
    fs::write(&script, text)?;
    let proxy = format!("ProxyCommand=sh {} %p", script.display());
    let file = place.sshd.tunnel().set("options", format!("[{}]", quoted(&proxy)));
    place.world.write("alice", &file.forward(local, place.echo.port()))?;
    place.world.start()?;
    place.world.wait_for("alice", "up")?;
    carries(local)?;
    ensure!(place.world.tunnel("alice")?["via"] == serde_json::json!(["proxy command"]));
    let logs = place.world.nbctl(["logs", "alice"])?;
    ensure!(logs.stdout.contains("says: knocking"), "{logs:?}");
    let pids = fs::read_to_string(&pids)?;
    let runs = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
    };
    ensure!(pids.lines().count() == 2 && pids.lines().all(runs), "{pids}");
    let told = place.world.nbctl(["stop", "alice", "--wait=10"])?;
    ensure!(told.code == 0, "{told:?}");
    wait::until("nothing of it is left", wait::SOON, || !pids.lines().any(runs))
}

/// A dropbear is a jump host like any other, and a dropbear behind it a server like any other.
#[test]
#[cfg(target_os = "linux")]
fn a_dropbear_is_jumped_over_and_arrived_at() -> Result<()> {
    let (mut place, locals) = (Place::new()?, [net::free_port()?, net::free_port()?]);
    let (jump, last) = (Dropbear::start()?, Dropbear::start()?);
    let mut config = fs::read_to_string(place.world.path("ssh_config"))?;
    config += &format!("Host small\n{}", jump.said());
    fs::write(place.world.path("ssh_config"), config)?;
    let file = |file: TunnelFile, local: u16| {
        let config = paths(&[&place.world.path("ssh_config")]);
        file.set("ssh_config", config.trim_matches(['[', ']']))
            .set("jump", "[\"small\"]")
            .forward(local, place.echo.port())
    };
    let files = [file(place.sshd.tunnel(), locals[0]), file(last.tunnel(), locals[1])];
    for (name, file) in ["alice", "bob"].into_iter().zip(&files) {
        place.world.write(name, file)?;
    }
    place.world.start()?;
    for (name, local) in ["alice", "bob"].into_iter().zip(locals) {
        place.world.wait_for(name, "up")?;
        carries(local)?;
    }
    // One login for both.
    let log = fs::read_to_string(jump.path("log"))?;
    ensure!(log.matches("Pubkey auth succeeded").count() == 1, "{log}");
    Ok(())
}

/// Somebody who does not read what comes over one tunnel harms none of the others over the same jump host.
#[test]
fn a_slow_reader_harms_no_other_tunnel_over_the_same_jump_host() -> Result<()> {
    let (mut place, slow, quick) = (Place::new()?, net::free_port()?, net::free_port()?);
    // Little memory and no disk, so that the session is left unread.
    place.world.write("slow", &place.tunnel(slow).set("buffer", quoted("64KiB")))?;
    place.world.write("quick", &place.tunnel(quick))?;
    fs::write(place.world.config_dir().join("nbtunnel.toml"), "[daemon]\nspool = \"0B\"\n")?;
    place.world.start()?;
    place.world.wait_for("slow", "up")?;
    place.world.wait_for("quick", "up")?;
    carries(quick)?;
    let mut unread = TcpStream::connect(("127.0.0.1", slow))?;
    unread.set_write_timeout(Some(Duration::from_secs(2)))?;
    let bytes = vec![7; 1 << 20];
    // Until nothing goes any more: what comes back is not read.
    while unread.write_all(&bytes).is_ok() {}
    let is_clogged = |tunnel: &Value| tunnel["forwards"][0]["problem"]["code"] == "slow_reader";
    place.world.wait_until("slow", "its reader is found slow", is_clogged)?;
    for _ in 0..5 {
        ensure!(net::echoes(quick, Duration::from_secs(5)), "{:#}", place.world.tunnel("quick")?);
    }
    ensure!(place.world.tunnel("quick")?["reconnects"] == 0 && place.logins() == 1, "{}", place.jump.log());
    Ok(())
}

/// What worked in a terminal is pasted as it is: -J, -F, -o, -C, -4 and an alias of ssh_config.
#[test]
fn a_pasted_command_line_goes_the_way_that_ssh_went() -> Result<()> {
    let (mut place, local) = (Place::new()?, net::free_port()?);
    place.world.start()?;
    let (sshd, echo) = (&place.sshd, place.echo.port());
    let line = format!(
        "ssh -4CAf -F {} -J jump -L {local}:localhost:{echo} -o HostName=127.0.0.1 -o IdentitiesOnly=yes \
         -o Port={} -i {} -o UserKnownHostsFile={} {}@no-such-name",
        place.world.path("ssh_config").display(),
        sshd.port(),
        sshd.user_key().display(),
        sshd.known_hosts().display(),
        sshd.user()
    );
    let told = place.world.nbctl(["add", "alice", &line])?;
    ensure!(told.code == 0, "{told:?}");
    carries(local)?;
    ensure!(place.logins() == 1, "it went past the jump host");
    Ok(())
}
