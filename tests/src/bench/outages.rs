//! How long an outage lasts for those who use the tunnel, and how many it turns away: nbtunnel beside autossh and
//! ssh in a loop of the shell, all three broken at the same moment on the same path.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use nbtunnel_tests::child::Running;
use nbtunnel_tests::netns::{Cut, Networks, THERE, There};
use nbtunnel_tests::shim::Shim;
use nbtunnel_tests::{Callers, Server, Sshd, World, net, plain_ssh, programs, wait};

use crate::Args;
use crate::sides::first_byte;
use crate::table::Table;

const SIDES: &[&str] = &["ssh in a loop", "autossh", "nbtunnel"];
/// Longer than any of them needs to notice a dead path.
const PATIENT: Duration = Duration::from_secs(240);
/// What people set, so that ssh notices at all.
const ALIVE: &str = "ServerAliveInterval=15";

pub(crate) fn measure(args: &Args) -> Result<Table> {
    let mut table = Table::new(SIDES);
    for _ in 0..args.rounds {
        let mut lab = Lab::start()?;
        for outage in Outage::ALL {
            lab.suffer(outage, &mut table).with_context(|| outage.name())?;
        }
        for traffic in [true, false] {
            let suspect = lab.until_suspect(traffic).context("until suspect")?;
            let what = if traffic { "under traffic" } else { "idle" };
            let row = table.row(format!("half-open path, {what}: until suspect"), "s");
            row.push(&[f64::NAN, f64::NAN, suspect.as_secs_f64()]);
        }
    }
    Ok(table)
}

#[derive(Clone, Copy)]
enum Outage {
    Killed,
    Away,
    HalfOpen,
    Wake,
}

impl Outage {
    const ALL: [Outage; 4] = [Outage::Killed, Outage::Away, Outage::HalfOpen, Outage::Wake];

    fn name(self) -> &'static str {
        match self {
            Outage::Killed => "session killed",
            Outage::Away => "sshd away for 3 s",
            Outage::HalfOpen => "half-open path",
            Outage::Wake => "wake, path half open",
        }
    }
}

/// Two networks, and the three side by side in one of them.
struct Lab {
    world: World,
    shim: Shim,
    _others: [Running; 2],
    /// The local ports, in the order of the sides.
    ports: [u16; 3],
    _echo: There<Server>,
    sshd: Sshd,
    networks: Networks,
}

impl Lab {
    fn start() -> Result<Lab> {
        let networks = Networks::enter()?;
        let sshd = networks.there(|| Sshd::at(THERE, &[]))??;
        let echo = networks.make_there(Server::echo)?;
        let ports = [net::free_port()?, net::free_port()?, net::free_port()?];
        let others = [looped(&sshd, ports[0], echo.port())?, autossh(&sshd, ports[1], echo.port())?];
        let mut world = World::new()?;
        world.quiet();
        // With the product's own times.
        let file = sshd.tunnel().set("keepalive", "\"10s\"").set("connect_timeout", "\"20s\"");
        world.write("bench", &file.forward(ports[2], echo.port()))?;
        let shim = Shim::new(&world)?;
        let daemon = shim.daemon_command(&world);
        world.start_by(daemon)?;
        Ok(Lab { world, shim, _others: others, ports, _echo: echo, sshd, networks })
    }

    fn suffer(&mut self, outage: Outage, table: &mut Table) -> Result<()> {
        self.ports.into_iter().try_for_each(first_byte)?;
        wait::until("each of them has one session", wait::SOON, || {
            self.networks.connections(self.sshd.port()).is_ok_and(|all| all.len() == SIDES.len())
        })?;
        let callers = self.ports.map(Callers::start).into_iter().collect::<Result<Vec<_>>>()?;
        for callers in &callers {
            callers.answered_after(Instant::now(), wait::SOON)?;
        }
        let began = self.cause(outage)?;
        let soon = std::thread::scope(|scope| {
            let wait = |callers: &Callers| callers.answered_after(began, PATIENT);
            let waits: Vec<_> = callers.iter().map(|callers| scope.spawn(move || wait(callers))).collect();
            let waited = waits.into_iter().map(|wait| wait.join().map_err(|_| anyhow!("a wait panicked"))?);
            waited.collect::<Result<Vec<_>>>()
        })?;
        self.networks.heal()?;
        let called = callers.iter().map(|callers| callers.settle(PATIENT)).collect::<Result<Vec<_>>>()?;
        let mut push = |what: &str, unit, values: Vec<f64>| {
            table.row(format!("{}: {what}", outage.name()), unit).push(&values);
        };
        push("until answered", "s", soon.iter().map(Duration::as_secs_f64).collect());
        push("refused", "", called.iter().map(|called| called.refused as f64).collect());
        push("let in and cut off", "", called.iter().map(|called| called.cut_off as f64).collect());
        Ok(())
    }

    /// How long a half-open path goes unsuspected by ours; the others tell nobody what they think.
    fn until_suspect(&self, traffic: bool) -> Result<Duration> {
        let ours = self.ports[SIDES.len() - 1];
        first_byte(ours)?;
        self.world.wait_until("bench", "it is not suspect", |tunnel| tunnel["health"] == "ok")?;
        let callers = traffic.then(|| Callers::start(ours)).transpose()?;
        self.cut()?;
        let began = Instant::now();
        self.world.wait_until("bench", "it is suspect", |tunnel| tunnel["health"] == "suspect")?;
        let suspect = began.elapsed();
        self.networks.heal()?;
        callers.map(|callers| callers.settle(PATIENT)).transpose()?;
        Ok(suspect)
    }

    /// Breaks all three. Says when.
    fn cause(&mut self, outage: Outage) -> Result<Instant> {
        let began = Instant::now();
        match outage {
            Outage::Killed => ensure!(self.sshd.kill_sessions() > 0, "there was no session"),
            Outage::Away => {
                self.sshd.stop()?;
                wait::pace(began + Duration::from_secs(3));
                let sshd = &mut self.sshd;
                self.networks.there(|| sshd.start_again())??;
            }
            Outage::HalfOpen => {
                self.cut()?;
                // Until then answers got through.
                return Ok(Instant::now());
            }
            Outage::Wake => {
                self.cut()?;
                // A real wake is seen at once, a played one at the next tick of the daemon's clock.
                self.shim.sleep(&self.world, Duration::from_secs(2 * 3600))?;
                return Ok(Instant::now());
            }
        }
        Ok(began)
    }

    /// Lets the packets of the three connections vanish, and of no new one.
    fn cut(&self) -> Result<()> {
        let connections = self.networks.connections(self.sshd.port())?;
        connections.into_iter().try_for_each(|own| self.networks.cut(Cut::Connection(own)))
    }
}

/// The arguments of ssh.
fn arguments(sshd: &Sshd, local: u16, remote: u16) -> Result<Vec<OsString>> {
    let ssh = plain_ssh::command(sshd, local, remote)?;
    Ok(["-o", ALIVE].map(OsString::from).into_iter().chain(ssh.get_args().map(OsString::from)).collect())
}

fn looped(sshd: &Sshd, local: u16, remote: u16) -> Result<Running> {
    let mut command = Command::new("sh");
    // In the background, so that ending the shell ends ssh too.
    command.args(["-c", "trap 'kill $!; exit' TERM; while :; do ssh \"$@\" & wait $!; done", "sh"]);
    quietly(command.args(arguments(sshd, local, remote)?))
}

fn autossh(sshd: &Sshd, local: u16, remote: u16) -> Result<Running> {
    let mut command = Command::new(programs::system("autossh")?);
    // Without this it gives up when ssh ends within half a minute of the start (autossh(1)).
    command.env("AUTOSSH_GATETIME", "0");
    quietly(command.args(["-M", "0"]).args(arguments(sshd, local, remote)?))
}

fn quietly(command: &mut Command) -> Result<Running> {
    Running::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
}
