//! The machine sleeps and wakes, and its network changes: a link that lives is kept, one that is dead is left
//! at once, and what waits is tried again.

#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use nbtunnel_tests::child::Signal;
use nbtunnel_tests::logind::Logind;
use nbtunnel_tests::shim::{Shim, sleeps};
use nbtunnel_tests::told::tell;
use nbtunnel_tests::{Server, Sshd, World, net, programs, wait};

/// So seldom does a tunnel of these tests look by itself: what happens sooner, a nudge has done.
const SELDOM: &str = "\"1h\"";
/// Says what the sources of nudges have to say.
const TALKATIVE: &str = "info,nbtunneld::wake=debug";

/// A tunnel `alice` that is up, in a world whose daemon can be made to believe that it slept.
struct Sleeper {
    world: World,
    shim: Shim,
    sshd: Sshd,
    local: u16,
    _echo: Server,
}

impl Sleeper {
    fn start(keepalive: &str) -> Result<Sleeper> {
        let (sshd, echo) = (Sshd::start()?, Server::echo()?);
        let (mut world, local) = (World::new()?, net::free_port()?);
        let file = sshd.tunnel().forward(local, echo.port());
        world.write("alice", &file.set("keepalive", keepalive))?;
        let shim = Shim::new(&world)?;
        world.start_by(shim.daemon_command(&world))?;
        world.wait_for("alice", "up")?;
        Ok(Sleeper { world, shim, sshd, local, _echo: echo })
    }

    /// Does something that must not cost the link: its session, and a connection that is open all the time.
    fn keeps_its_link(mut self, during: impl FnOnce(&mut Sleeper) -> Result<()>) -> Result<()> {
        let mut open = net::connect(self.local, wait::SOON)?;
        net::echo(&mut open, b"before")?;
        // Only now: until it carries something, the process that led the login may still be ending.
        let sessions = self.sshd.sessions();
        ensure!(!sessions.is_empty(), "there is no session that could be kept");
        during(&mut self)?;
        // Longer than a probe after a wake may take to be answered.
        wait::throughout("it is the same session", Duration::from_secs(4), || {
            self.sshd.sessions() == sessions
        })?;
        net::echo(&mut open, b"after")?;
        let tunnel = self.world.tunnel("alice")?;
        ensure!(tunnel["state"] == "up" && tunnel["health"] == "ok", "{tunnel}");
        ensure!(tunnel["reconnects"] == 0 && self.sshd.count_log("Accepted publickey") == 1, "{tunnel}");
        Ok(())
    }

    fn has_a_new_link(&self) -> Result<()> {
        wait::until("there is another session, and it carries", wait::SOON, || {
            self.sshd.count_log("Accepted publickey") > 1 && net::echoes(self.local, wait::SOON)
        })?;
        self.world.wait_for("alice", "up")?;
        Ok(())
    }
}

/// Waits until `alice`, which cannot connect, waits long between two attempts. Says how many there were.
fn tired(world: &World) -> Result<u64> {
    let tunnel = world.wait_until("alice", "it was tried again and again", |tunnel| {
        tunnel["attempt"].as_u64() >= Some(5) && tunnel["state"] == "waiting"
    })?;
    Ok(tunnel["attempt"].as_u64().unwrap_or_default())
}

/// Waits until `alice` counts its attempts anew, which it does only if somebody woke it.
fn fresh(world: &World, tired: u64) -> Result<()> {
    world.wait_until("alice", "it begins anew", |tunnel| tunnel["attempt"].as_u64() < Some(tired))?;
    Ok(())
}

fn says(world: &World, what: &str, times: usize) -> Result<()> {
    wait::until(&format!("the daemon says {what:?}, {times} times"), wait::SOON, || {
        world.log().matches(what).count() >= times
    })
}

#[test]
fn a_played_sleep_is_seen_by_the_daemon_and_told() -> Result<()> {
    let mut world = World::new()?;
    let mut shim = Shim::new(&world)?;
    world.start_by(shim.daemon_command(&world))?;
    shim.sleep(&world, Duration::from_secs(2 * 3600 + 3 * 60))?;
    ensure!(sleeps(&world) == ["2 h 3 min"], "{:?}", sleeps(&world));
    let history = world.nbctl(["logs"])?;
    ensure!(history.stdout.contains("the machine slept for 2 h 3 min"), "{history:?}");
    Ok(())
}

#[test]
fn two_hours_of_sleep_with_the_link_alive_keep_it() -> Result<()> {
    Sleeper::start("\"2s\"")?
        .keeps_its_link(|sleeper| sleeper.shim.sleep(&sleeper.world, Duration::from_secs(7200)))
}

#[test]
fn ten_sleeps_of_a_minute_in_a_row_keep_the_link() -> Result<()> {
    Sleeper::start("\"10s\"")?.keeps_its_link(|sleeper| {
        (0..10).try_for_each(|_| sleeper.shim.sleep(&sleeper.world, Duration::from_secs(60)))?;
        ensure!(sleeps(&sleeper.world).len() == 10, "{:?}", sleeps(&sleeper.world));
        Ok(())
    })
}

#[test]
fn a_link_that_went_silent_during_the_sleep_is_left_at_once() -> Result<()> {
    let mut sleeper = Sleeper::start(SELDOM)?;
    sleeper.sshd.freeze_sessions(true);
    // Less than the time after which it would look by itself.
    sleeper.shim.sleep(&sleeper.world, Duration::from_secs(600))?;
    sleeper.has_a_new_link()
}

#[test]
fn a_link_that_was_cut_during_the_sleep_is_replaced_at_once() -> Result<()> {
    let mut sleeper = Sleeper::start(SELDOM)?;
    // The daemon does not run while the machine sleeps.
    sleeper.world.daemon()?.signal(Signal::Stop);
    ensure!(sleeper.sshd.kill_sessions() > 0);
    sleeper.shim.sleep_unseen(Duration::from_secs(7200))?;
    sleeper.world.daemon()?.signal(Signal::Cont);
    sleeper.has_a_new_link()
}

#[test]
fn a_daemon_that_was_frozen_saw_no_sleep_and_keeps_its_link() -> Result<()> {
    Sleeper::start("\"2s\"")?.keeps_its_link(|sleeper| {
        sleeper.world.daemon()?.signal(Signal::Stop);
        // Longer than its clocks are left uncompared, and than a probe may take.
        wait::throughout("it is frozen", Duration::from_secs(7), || true)?;
        sleeper.world.daemon()?.signal(Signal::Cont);
        // Shows that it compares its clocks again, and that the freeze counted for nothing.
        sleeper.shim.sleep(&sleeper.world, Duration::from_secs(1800))?;
        ensure!(sleeps(&sleeper.world) == ["30 min"], "{:?}", sleeps(&sleeper.world));
        Ok(())
    })
}

#[test]
fn logind_is_heard_when_the_machine_wakes_and_the_link_probed() -> Result<()> {
    let (sshd, echo, mut logind) = (Sshd::start()?, Server::echo()?, Logind::start()?);
    let (mut world, local) = (World::new()?, net::free_port()?);
    world.write("alice", &sshd.tunnel().forward(local, echo.port()).set("keepalive", SELDOM))?;
    world.set_env("DBUS_SYSTEM_BUS_ADDRESS", logind.address());
    world.log_filter(TALKATIVE);
    world.start()?;
    world.wait_for("alice", "up")?;
    says(&world, "logind will tell of sleep", 1)?;

    sshd.freeze_sessions(true);
    logind.prepare_for_sleep(true)?;
    says(&world, "the machine is about to sleep (logind)", 1)?;
    ensure!(!world.log().contains("the machine woke"), "it woke before it slept");
    logind.prepare_for_sleep(false)?;
    says(&world, "the machine woke (logind)", 1)?;
    wait::until("there is another session, and it carries", wait::SOON, || {
        sshd.count_log("Accepted publickey") > 1 && net::echoes(local, wait::SOON)
    })?;

    // A bus that was restarted is listened to again.
    logind.stop();
    says(&world, "the system bus went away", 1)?;
    logind.start_again()?;
    says(&world, "logind will tell of sleep", 2)?;
    logind.prepare_for_sleep(false)?;
    says(&world, "the machine woke (logind)", 2)
}

#[test]
fn a_tunnel_that_waits_is_tried_at_once_when_logind_says_that_the_machine_woke() -> Result<()> {
    let logind = Logind::start()?;
    let mut world = World::new()?;
    let mut sshd = Sshd::start()?;
    sshd.stop()?;
    world.write("alice", &sshd.tunnel().forward(net::free_port()?, 1))?;
    world.set_env("DBUS_SYSTEM_BUS_ADDRESS", logind.address());
    world.log_filter(TALKATIVE);
    world.start()?;
    says(&world, "logind will tell of sleep", 1)?;
    let attempts = tired(&world)?;
    logind.prepare_for_sleep(true)?;
    logind.prepare_for_sleep(false)?;
    fresh(&world, attempts)
}

#[test]
fn without_a_system_bus_the_daemon_runs_and_only_a_debug_line_says_so() -> Result<()> {
    let mut world = World::new()?;
    world.set_env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", world.path("no-bus").display()));
    world.log_filter("debug");
    world.start()?;
    says(&world, "DEBUG logind cannot tell of sleep", 2)?;
    let log = world.log();
    let loud: Vec<_> = log.lines().filter(|line| !line.contains("DEBUG ")).collect();
    ensure!(loud.len() == 1 && loud[0].contains("watching"), "{loud:#?}");
    Ok(())
}

/// A network namespace with two ends of a cable, until it is dropped.
struct Namespace(String);

impl Namespace {
    fn new(purpose: &str) -> Result<Namespace> {
        let name = format!("nbt-{purpose}-{}", std::process::id());
        ip(&["netns", "add", &name])?;
        let namespace = Namespace(name);
        namespace.ip(&["link", "set", "lo", "up"])?;
        namespace.ip(&["link", "add", "v0", "type", "veth", "peer", "name", "v1"])?;
        namespace.ip(&["link", "set", "v0", "up"])?;
        namespace.ip(&["link", "set", "v1", "up"])?;
        Ok(namespace)
    }

    fn ip(&self, args: &[&str]) -> Result<()> {
        ip(&[&["-n", &self.0], args].concat())
    }

    /// The same command line, within this namespace.
    fn command(&self, inner: &Command) -> Result<Command> {
        let mut command = Command::new(programs::system("ip")?);
        command.args(["netns", "exec", &self.0]).arg(inner.get_program()).args(inner.get_args());
        command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(inner.get_current_dir().unwrap_or(Path::new("/")));
        Ok(command)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.0]);
    }
}

fn ip(args: &[&str]) -> Result<()> {
    let told = tell(Command::new(programs::system("ip")?).args(args), &[], wait::SOON)?;
    ensure!(told.code == 0, "ip {}: {told:?}", args.join(" "));
    Ok(())
}

#[test]
fn an_address_that_comes_or_goes_is_told_and_what_waits_is_tried_at_once() -> Result<()> {
    let namespace = Namespace::new("wake")?;
    namespace.ip(&["addr", "add", "10.98.0.1/24", "dev", "v0"])?;
    let mut world = World::new()?;
    let mut sshd = Sshd::start()?;
    sshd.stop()?;
    world.write("alice", &sshd.tunnel().forward(net::free_port()?, 1))?;
    world.start_by(namespace.command(&world.daemon_command())?)?;
    let attempts = tired(&world)?;

    // Neither of these says anything of how a server is reached.
    namespace.ip(&["addr", "add", "127.0.0.2/8", "dev", "lo"])?;
    namespace.ip(&[
        "addr",
        "change",
        "10.98.0.1/24",
        "dev",
        "v0",
        "valid_lft",
        "900",
        "preferred_lft",
        "900",
    ])?;
    wait::throughout("nothing is told", Duration::from_secs(2), || {
        !world.log().contains("the network changed")
    })?;
    namespace.ip(&["addr", "add", "10.98.1.7/24", "dev", "v0"])?;
    fresh(&world, attempts)?;
    says(&world, "the network changed: 10.98.1.7 came", 1)?;

    // Both in one moment, as when another network is joined: it sees neither before both are there.
    world.daemon()?.signal(Signal::Stop);
    namespace.ip(&["addr", "flush", "dev", "v0", "scope", "global"])?;
    namespace.ip(&["addr", "add", "10.98.2.9/24", "dev", "v0"])?;
    world.daemon()?.signal(Signal::Cont);
    says(&world, "the network changed: 10.98.0.1 and 10.98.1.7 are gone, 10.98.2.9 came", 1)?;
    let history = world.nbctl(["logs"])?;
    ensure!(history.stdout.contains("10.98.2.9 came"), "{history:?}");
    Ok(())
}

#[test]
fn a_flood_of_addresses_that_overruns_the_watcher_leaves_it_seeing() -> Result<()> {
    let namespace = Namespace::new("flood")?;
    let mut world = World::new()?;
    world.start_by(namespace.command(&world.daemon_command())?)?;
    // One that comes is told as soon as it knows those of its start.
    let mut others = (1..=200).map(|n| format!("10.96.0.{n}/32"));
    wait::until("it watches", wait::SOON, || {
        others.next().is_some_and(|other| namespace.ip(&["addr", "add", &other, "dev", "v0"]).is_ok())
            && wait::until("it tells", Duration::from_secs(2), || world.log().contains("the network changed"))
                .is_ok()
    })?;
    // More than the system keeps for who does not listen: the last ones are lost, and all that go again.
    let addresses: Vec<String> = (0..1000).map(|n| format!("10.97.{}.{}", n / 200, n % 200 + 1)).collect();
    let batch = world.path("batch");
    let all = |verb: &str| {
        let lines = addresses.iter().map(|address| format!("addr {verb} {address}/32 dev v0\n"));
        std::fs::write(&batch, lines.collect::<String>())?;
        namespace.ip(&["-batch", &batch.display().to_string()])
    };
    world.daemon()?.signal(Signal::Stop);
    all("add")?;
    all("del")?;
    world.daemon()?.signal(Signal::Cont);
    says(&world, " more came", 1)?;
    // Else one of them that comes back is no news.
    says(&world, " more are gone", 1)?;
    namespace.ip(&["addr", "add", &addresses[0], "dev", "v0"])?;
    says(&world, &format!("the network changed: {} came", addresses[0]), 1)
}
