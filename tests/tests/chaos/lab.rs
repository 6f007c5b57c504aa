//! A daemon *here*, its server and an echo *there*, and a cable between them; and a connection that stays open
//! through all that happens to it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::child::Running;
use nbtunnel_tests::delay::Delay;
use nbtunnel_tests::net::{self, Pattern};
use nbtunnel_tests::netns::{Networks, THERE, There};
use nbtunnel_tests::{Server, Sshd, TunnelFile, World, wait};
use serde_json::Value;

/// Longer than anything that is waited for here may take.
pub(crate) const PATIENT: Duration = Duration::from_secs(120);

/// See the module. What is first is dropped first.
pub(crate) struct Lab {
    pub(crate) events: Events,
    pub(crate) world: World,
    pub(crate) local: u16,
    _echo: There<Server>,
    pub(crate) sshd: Sshd,
    _delay: Option<Delay>,
    pub(crate) networks: Networks,
}

impl Lab {
    /// With the tunnel `alice` up, as its file is with the product's own times.
    pub(crate) fn start() -> Result<Lab> {
        Lab::build(None)
    }

    /// The same over a path on which packets are late and `lost` in a thousand never arrive.
    pub(crate) fn slow(one_way: Duration, lost: u32) -> Result<Lab> {
        Lab::build(Some((one_way, lost)))
    }

    fn build(slow: Option<(Duration, u32)>) -> Result<Lab> {
        let networks = Networks::enter()?;
        let delay = slow.map(|(one_way, lost)| Delay::between(&networks, one_way, lost)).transpose()?;
        let host = delay.as_ref().map_or(THERE, Delay::there);
        let sshd = networks.there(|| Sshd::at(host, &[]))??;
        let echo = networks.make_there(Server::echo)?;
        let (mut world, local) = (World::new()?, net::free_port()?);
        world.write("alice", &as_shipped(&sshd).forward(local, echo.port()))?;
        world.start()?;
        let events = Events::follow(&world)?;
        let lab = Lab { events, world, local, _echo: echo, sshd, _delay: delay, networks };
        lab.wait("it is up", |tunnel| tunnel["state"] == "up")?;
        Ok(lab)
    }

    /// Waits for something that `status` says of the tunnel; says how long that took.
    pub(crate) fn wait(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Duration> {
        wait_for(&self.world, what, holds)
    }

    /// The port here of the tunnel's own connection.
    pub(crate) fn own_port(&self) -> Result<u16> {
        let connections = self.networks.connections(self.sshd.port())?;
        ensure!(connections.len() == 1, "one connection was expected: {connections:?}");
        connections.first().copied().context("there is no connection")
    }

    /// How many sessions logged in so far.
    pub(crate) fn logins(&self) -> usize {
        self.sshd.count_log("Accepted publickey")
    }

    /// What became of the link, in a word of the table.
    pub(crate) fn outcome(&self) -> &'static str {
        match (self.logins(), self.events.count("suspect")) {
            (1, 0) => "keeps the link",
            (1, _) => "suspect, keeps the link",
            (_, 0) => "new link",
            (_, _) => "suspect, new link",
        }
    }
}

/// A tunnel file without the short times that other tests set.
pub(crate) fn as_shipped(sshd: &Sshd) -> TunnelFile {
    sshd.tunnel().set("keepalive", "\"10s\"").set("connect_timeout", "\"20s\"")
}

/// Waits for something that `status` says of `alice`; says how long that took.
pub(crate) fn wait_for(world: &World, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Duration> {
    let (began, mut last) = (Instant::now(), Value::Null);
    wait::until(what, PATIENT, || {
        last = world.tunnel("alice").unwrap_or_else(|e| Value::from(format!("{e:#}")));
        holds(&last)
    })
    .with_context(|| format!("instead: {last:#}"))?;
    Ok(began.elapsed())
}

/// What `nbctl events` tells, as it comes.
pub(crate) struct Events {
    seen: Arc<Mutex<Vec<Value>>>,
    _nbctl: Running,
}

impl Events {
    pub(crate) fn follow(world: &World) -> Result<Events> {
        let mut command = world.nbctl_command(["events", "--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut nbctl = Running::spawn(&mut command)?;
        let stdout = nbctl.pipes().stdout.take().context("it has a standard output")?;
        let seen = Arc::<Mutex<Vec<Value>>>::default();
        let book = Arc::clone(&seen);
        // Detached: it ends with the pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str(&line) {
                    book.lock().unwrap_or_else(PoisonError::into_inner).push(event);
                }
            }
        });
        Ok(Events { seen, _nbctl: nbctl })
    }

    /// How often the link became `word`.
    pub(crate) fn count(&self, word: &str) -> usize {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|event| event["forward"].is_null() && event["to"] == word).count()
    }

    /// Waits until the link became `word` after `since`; says how long after.
    pub(crate) fn wait(&self, word: &str, since: SystemTime) -> Result<Duration> {
        wait::until_some(&format!("the link is {word}"), PATIENT, || {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.iter().filter(|event| event["forward"].is_null() && event["to"] == word).find_map(|event| {
                let at = SystemTime::UNIX_EPOCH + Duration::from_millis(event["at_ms"].as_u64()?);
                at.duration_since(since).ok()
            })
        })
    }
}

/// An open connection to the echo, which notices any byte that is missing, doubled or wrong.
pub(crate) struct Line {
    stream: TcpStream,
    said: Pattern,
    heard: Pattern,
    under_way: u64,
}

impl Line {
    pub(crate) fn open(port: u16) -> Result<Line> {
        let stream = net::connect(port, PATIENT)?;
        let mut line = Line { stream, said: Pattern::new(7), heard: Pattern::new(7), under_way: 0 };
        line.say(100)?;
        line.hear()?;
        Ok(line)
    }

    /// Sends so many bytes, and waits for nothing.
    pub(crate) fn say(&mut self, count: u64) -> Result<()> {
        self.said.write(&mut self.stream, count).context("the open connection was cut")?;
        self.under_way += count;
        Ok(())
    }

    /// Waits until all that was sent has come back.
    pub(crate) fn hear(&mut self) -> Result<()> {
        let count = std::mem::take(&mut self.under_way);
        self.heard.expect(&mut self.stream, count).context("the open connection lost something")
    }

    /// Whether it stands still: neither cut nor ended.
    pub(crate) fn stands(&self) -> bool {
        let Ok(()) = self.stream.set_nonblocking(true) else { return false };
        let peeked = self.stream.peek(&mut [0]);
        let stands = match peeked {
            Ok(count) => count > 0,
            Err(e) => e.kind() == std::io::ErrorKind::WouldBlock,
        };
        stands && self.stream.set_nonblocking(false).is_ok()
    }

    /// Waits until it is reset, so that its client notices.
    pub(crate) fn is_cut(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match net::read(&mut self.stream, &mut buffer) {
                Ok(0) => anyhow::bail!("it ended as if it were whole"),
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return Ok(()),
                Err(e) => return Err(e).context("a reset was expected"),
            }
        }
    }

    /// Says a last word, as a client that goes does.
    pub(crate) fn close(mut self) -> Result<()> {
        self.say(100)?;
        self.hear()?;
        Ok(self.stream.flush()?)
    }
}
