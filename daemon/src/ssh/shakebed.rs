//! For tests: sessions with an sshd at loopback by a [`Hop`] of the test's own making, without all that is around
//! them in a link.

use std::fs;
use std::sync::{Arc, Mutex};

use nbtunnel_core::Failure;
use russh::client::{Handle, connect_stream};
use tokio::net::TcpStream;

use super::AgentAt;
use super::agent::Agents;
use super::algorithms::preferred;
use super::auth::Login;
use super::classify::broken;
use super::credentials::look;
use super::handler::{Client, Shared};
use super::hop::Hop;
use super::known_hosts::{KnownHosts, Names};
use super::report::{LinkEvent, Reporter, Told};
use super::settings::settings;
use super::testbed::{Sshd, run, wait_for};
use super::wire::Wire;

/// A session whose key exchange is done: the server was recognised.
pub(super) struct Shaken {
    pub(super) shared: Arc<Shared>,
    pub(super) session: Handle<Client>,
    told: Arc<Mutex<Vec<String>>>,
}

/// Goes to `sshd` as `to` says, whatever host that names, up to the end of the key exchange.
pub(super) async fn shake(sshd: &Sshd, to: Hop) -> Result<Shaken, Failure> {
    let to = Arc::new(to);
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let on = Arc::new(move |event| {
        if let LinkEvent::Note(note) = event {
            tell.lock().unwrap().push(note);
        }
    });
    let reporter = Reporter::new("test", on, Told::default());
    let shared = Shared::new(Arc::clone(&to), reporter, crate::wake::stopwatch());
    let known = KnownHosts::read(&to, &Names::of(&to, None));
    let (preferred, notes) = preferred(&to, &known)?;
    notes.iter().for_each(|note| shared.reporter.note(note));
    let tcp = TcpStream::connect(("127.0.0.1", sshd.port)).await.unwrap();
    let wire = Wire::new(tcp, Arc::clone(&shared.tap));
    let config = Arc::new(settings(preferred, 1 << 20));
    let connected = connect_stream(config, wire, Client(Arc::clone(&shared))).await;
    match connected {
        Ok(session) => Ok(Shaken { shared, session, told }),
        Err(error) => Err(shared.cause().unwrap_or_else(|| broken(&shared.hop, &error, &shared.tap))),
    }
}

impl Shaken {
    pub(super) async fn log_in(&mut self) {
        let agents = Agents::new(AgentAt::Nowhere, "/".into());
        let offer = look(&agents, &self.shared.to).await;
        let login = Login::new(&self.shared, &mut self.session, &agents, None);
        login.run(&offer).await.unwrap();
    }

    /// The notes so far, in one text.
    pub(super) fn told(&self) -> impl Fn() -> String + use<> {
        let told = Arc::clone(&self.told);
        move || told.lock().unwrap().join("\n")
    }
}

impl Sshd {
    /// Starts it anew with these lines in the place of its host keys.
    pub(super) fn restart_with_only(&mut self, lines: &str) {
        self.forget_host_keys();
        self.restart_with(lines);
    }

    /// The same by SIGHUP, as an administrator does it.
    pub(super) fn reload_with_only(&mut self, lines: &str) {
        self.forget_host_keys();
        let config = fs::read_to_string(self.at("sshd_config")).unwrap();
        fs::write(self.at("sshd_config"), format!("{lines}\n{config}")).unwrap();
        let count = |log: String| log.matches("Server listening").count();
        let before = count(self.log());
        // It says that it listens before it takes this signal, which is ignored until then, or ends it.
        wait_for("sshd takes SIGHUP", || takes_hangups(self.child.0.id()));
        run("kill", &["-HUP", &self.child.0.id().to_string()]);
        wait_for("the reload of sshd", || count(self.log()) > before);
    }

    fn forget_host_keys(&self) {
        let config = fs::read_to_string(self.at("sshd_config")).unwrap();
        let kept: Vec<&str> = config.lines().filter(|line| !line.starts_with("HostKey")).collect();
        fs::write(self.at("sshd_config"), kept.join("\n")).unwrap();
    }
}

/// Whether a process has a handler for SIGHUP (proc_pid_status(5)); where the system does not tell, it has.
fn takes_hangups(pid: u32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return true };
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or_default();
    u64::from_str_radix(caught.trim(), 16).is_ok_and(|caught| caught & 1 == 1)
}
