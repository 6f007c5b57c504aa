//! Real parts for tests: an sshd on loopback with throwaway keys, an SSH agent, and a link whose events can
//! be waited for. Everything lives in a temporary directory and ends with its value.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nbtunnel_core::{Failure, HostKeyPolicy, LinkReport, Policy, Route, SshConfig};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::time::timeout;

use super::hop::{Algorithms, Dialling, Hop, HostKeys, LoginWith, UpdateHostKeys};
use super::{Account, AgentAt, Link, LinkEvent, Links};
use crate::ask::Asker;
use crate::forward::carrier::Carrier;

/// A child that is killed and waited for, also when a test panics.
pub(super) struct Killed(pub(super) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Makes a key pair at `path`.
pub(super) fn keygen(path: &Path, kind: &str, passphrase: &str) {
    let path = path.to_str().unwrap();
    run("ssh-keygen", &["-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", path]);
}

/// `algorithm base64` of the pair at `path`.
pub(super) fn public(path: &Path) -> String {
    let text = fs::read_to_string(path.with_extension("pub")).unwrap();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// Waits for a condition, at most half a minute.
pub(super) fn wait_for(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} did not come");
}

/// The same, in a runtime.
pub(super) async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come true that {what}");
}

/// A port of 127.0.0.1 at which nobody listens. The socket that found it never listened and lets others have its
/// port: a child between fork and exec, which holds it a moment longer, neither answers there nor is in the way.
pub(super) fn free_port() -> u16 {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.local_addr().unwrap().as_socket().unwrap().port()
}

pub(super) struct Sshd {
    pub(super) dir: TempDir,
    pub(super) port: u16,
    pub(super) child: Killed,
}

impl Sshd {
    /// An sshd with one host key of `host_key` kind that lets the pair `id` in, and the `extra` lines in its
    /// configuration.
    pub(super) fn start(host_key: &str, extra: &str) -> Sshd {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        keygen(&at("hostkey"), host_key, "");
        keygen(&at("id"), "ed25519", "");
        fs::write(at("authorized"), public(&at("id")) + "\n").unwrap();
        let port = free_port();
        let config = format!(
            // sshd takes the first value of each keyword.
            "{extra}\nPort {port}\nListenAddress 127.0.0.1\nHostKey {d}/hostkey\nPidFile none\nAuthorizedKeysFile {d}/authorized\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nLogLevel VERBOSE\n",
            d = dir.path().display()
        );
        fs::write(at("sshd_config"), config).unwrap();
        // Where sshd separates its privileges; it refuses to start without.
        let _ = fs::create_dir_all("/run/sshd");
        let child = Sshd::spawn(dir.path());
        let sshd = Sshd { dir, port, child };
        fs::write(sshd.at("known_hosts"), sshd.host_line()).unwrap();
        sshd
    }

    /// Starts it anew with one more line in its configuration; its sessions live on.
    pub(super) fn restart_with(&mut self, line: &str) {
        let config = fs::read_to_string(self.at("sshd_config")).unwrap();
        fs::write(self.at("sshd_config"), format!("{line}\n{config}")).unwrap();
        let _ = self.child.0.kill();
        let _ = self.child.0.wait();
        fs::remove_file(self.at("log")).unwrap();
        self.child = Sshd::spawn(self.dir.path());
    }

    fn spawn(dir: &Path) -> Killed {
        let mut command = Command::new("/usr/sbin/sshd");
        command.arg("-D").arg("-f").arg(dir.join("sshd_config")).arg("-E").arg(dir.join("log"));
        let child =
            Killed(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let config = fs::read_to_string(dir.join("sshd_config")).unwrap();
        let addresses = config.lines().filter(|line| line.starts_with("ListenAddress")).count();
        wait_for("sshd", || {
            let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
            log.matches("Server listening").count() >= addresses
        });
        child
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.at("log")).unwrap()
    }

    /// The known_hosts line of its key.
    pub(super) fn host_line(&self) -> String {
        format!("[127.0.0.1]:{} {}\n", self.port, public(&self.at("hostkey")))
    }

    /// Stops the process that listens, until the value is dropped: the system still connects, and nobody answers.
    pub(super) fn stop_listening(&self) -> Frozen {
        let pid = self.child.0.id().to_string();
        run("kill", &["-STOP", &pid]);
        Frozen(vec![pid])
    }

    /// The processes that serve sessions.
    pub(super) fn sessions(&self) -> Vec<String> {
        children(&self.child.0.id().to_string())
    }

    /// Stops the processes that serve sessions, until the value is dropped.
    pub(super) fn freeze(&self) -> Frozen {
        // The child that let somebody in hands over and ends a moment after it said so: stopped are those that are there.
        loop {
            let all = Frozen(self.who_serves());
            assert!(!all.0.is_empty());
            for pid in &all.0 {
                let _ = Command::new("kill").args(["-STOP", pid]).stderr(Stdio::null()).status();
            }
            if self.who_serves() == all.0 {
                return all;
            }
        }
    }

    /// Its sessions, and their children: who is not root is served by one of these.
    fn who_serves(&self) -> Vec<String> {
        let parents = self.sessions();
        parents.iter().flat_map(|pid| children(pid)).chain(parents.clone()).collect()
    }

    pub(super) fn has_sessions(&self) -> bool {
        !self.sessions().is_empty()
    }

    /// Kills the processes that serve sessions, not the one that listens.
    pub(super) fn kill_sessions(&self) {
        let sessions = self.sessions();
        assert!(!sessions.is_empty());
        for pid in sessions {
            run("kill", &["-9", &pid]);
        }
    }

    pub(super) fn route(&self) -> Route {
        Route {
            port: Some(self.port),
            user: Some(run("id", &["-un"]).trim().to_owned()),
            identity_files: Some(vec![self.at("id")]),
            known_hosts: Some(vec![self.at("known_hosts")]),
            host_key: Some(HostKeyPolicy::Strict),
            ssh_config: SshConfig::Nothing,
            ..Route::to("127.0.0.1")
        }
    }

    /// The same, as it is followed.
    pub(super) fn hop(&self) -> Hop {
        let mut hop = hop("127.0.0.1", self.port);
        hop.user = run("id", &["-un"]).trim().to_owned();
        hop.login.identity_files = vec![self.at("id")];
        hop.host_keys.known_hosts = vec![self.at("known_hosts")];
        hop
    }
}

fn children(parent: &str) -> Vec<String> {
    let children = Command::new("ps").args(["-o", "pid=", "--ppid", parent]).output().unwrap();
    String::from_utf8_lossy(&children.stdout).split_whitespace().map(str::to_owned).collect()
}

/// Processes that stand still.
pub(super) struct Frozen(Vec<String>);

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = Command::new("kill").args(["-CONT", pid]).status();
        }
    }
}

pub(super) struct SshAgent {
    pub(super) socket: PathBuf,
    _dir: TempDir,
    _child: Killed,
}

impl SshAgent {
    pub(super) fn start() -> SshAgent {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent");
        let mut command = Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null());
        let child = Killed(command.spawn().unwrap());
        // The socket is there before anybody listens at it.
        wait_for("ssh-agent", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
        SshAgent { socket, _dir: dir, _child: child }
    }

    pub(super) fn add(&self, key: &Path) {
        let mut command = Command::new("ssh-add");
        command.arg("-q").arg(key).env("SSH_AUTH_SOCK", &self.socket).stdin(Stdio::null());
        assert!(command.status().unwrap().success());
    }

    pub(super) fn forget(&self) {
        let mut command = Command::new("ssh-add");
        command.args(["-q", "-D"]).env("SSH_AUTH_SOCK", &self.socket).stdin(Stdio::null());
        assert!(command.status().unwrap().success());
    }

    pub(super) fn place(&self) -> AgentAt {
        AgentAt::Socket(self.socket.clone())
    }
}

/// A link and what it told.
pub(super) struct Watched {
    pub(super) link: Link,
    pub(super) policy: watch::Sender<Policy>,
    pub(super) events: UnboundedReceiver<LinkEvent>,
    /// What came before what was waited for, in words.
    pub(super) seen: Vec<String>,
    pub(super) carrier: Option<Arc<dyn Carrier>>,
    pub(super) host_key: Option<super::OfferedKey>,
    pub(super) snapshot: Option<super::Snapshot>,
}

pub(super) fn links(agent: AgentAt) -> Arc<Links> {
    let account = Account { home: "/nonexistent".into(), user: "u".into() };
    Links::new(Handle::current(), crate::wake::stopwatch(), agent, account)
}

pub(super) fn start(links: &Arc<Links>, route: Route) -> Watched {
    start_with(links, route, watch::Sender::new(Policy::default()))
}

pub(super) fn start_with(links: &Arc<Links>, route: Route, policy: watch::Sender<Policy>) -> Watched {
    start_named(links, "test", route, policy, None)
}

/// The same, for a tunnel of that name.
pub(super) fn start_as(links: &Arc<Links>, name: &str, route: Route) -> Watched {
    start_named(links, name, route, watch::Sender::new(Policy::default()), None)
}

/// The same, while somebody is there to answer.
pub(super) fn start_asking(links: &Arc<Links>, name: &str, route: Route, asker: Asker) -> Watched {
    start_named(links, name, route, watch::Sender::new(Policy::default()), Some(asker))
}

fn start_named(
    links: &Arc<Links>,
    name: &str,
    route: Route,
    policy: watch::Sender<Policy>,
    asker: Option<Asker>,
) -> Watched {
    let (tell, events) = unbounded_channel();
    let on = Arc::new(move |event| drop(tell.send(event)));
    let link = links.spawn_link(name, route, policy.subscribe(), asker, on);
    Watched { link, policy, events, seen: Vec::new(), carrier: None, host_key: None, snapshot: None }
}

impl Watched {
    /// The next report that is no step.
    pub(super) async fn report(&mut self) -> LinkReport {
        loop {
            let event = timeout(Duration::from_secs(30), self.events.recv()).await.unwrap().unwrap();
            match event {
                LinkEvent::Report(LinkReport::Step(step)) => self.seen.push(step.word().to_owned()),
                LinkEvent::Report(report) => return report,
                LinkEvent::Answered(_, rtt) => return LinkReport::Answers(rtt),
                LinkEvent::Carrier(carrier) => self.carrier = Some(carrier),
                LinkEvent::HostKey(shown) => self.host_key = Some(shown.1),
                LinkEvent::Planned(_) | LinkEvent::Saw(_) => {}
                LinkEvent::Looked(snapshot) => self.snapshot = Some(snapshot),
                LinkEvent::Note(text) => self.seen.push(format!("note: {text}")),
            }
        }
    }

    pub(super) async fn up(&mut self) {
        let report = self.report().await;
        assert_eq!(report, LinkReport::Up);
    }

    pub(super) async fn step(&mut self, wanted: &str) {
        while !self.seen.iter().any(|seen| seen == wanted) {
            let event = timeout(Duration::from_secs(30), self.events.recv()).await.unwrap().unwrap();
            match event {
                LinkEvent::Report(LinkReport::Step(step)) => self.seen.push(step.word().to_owned()),
                LinkEvent::Report(other) => panic!("{other:?} instead of {wanted}"),
                _ => {}
            }
        }
    }

    /// Why it was lost; and that nothing comes afterwards.
    pub(super) async fn lost(&mut self) -> Failure {
        let mut report = self.report().await;
        if let LinkReport::Needs(_) = report {
            report = self.report().await;
        }
        match report {
            LinkReport::Lost(failure) => {
                self.is_silent().await;
                assert!(!failure.message.is_empty() && !failure.hint.is_empty(), "{failure:?}");
                failure
            }
            other => panic!("{other:?} instead of lost; seen: {:?}", self.seen),
        }
    }

    /// Nothing more comes: whoever could tell it is gone.
    pub(super) async fn is_silent(&mut self) {
        let more = timeout(Duration::from_millis(100), self.events.recv()).await;
        assert!(!matches!(more, Ok(Some(_))), "something came after the end");
    }
}

/// A machine that nobody says anything of.
pub(super) fn hop(host: &str, port: u16) -> Hop {
    Hop {
        name: host.into(),
        host: host.into(),
        port,
        user: "u".into(),
        dialling: Dialling::default(),
        host_keys: HostKeys {
            alias: None,
            known_hosts: Vec::new(),
            system_known_hosts: Vec::new(),
            policy: HostKeyPolicy::Strict,
            check_ip: false,
            hash: None,
            update: UpdateHostKeys::No,
        },
        algorithms: Algorithms::default(),
        login: LoginWith::default(),
        alive: None,
        rekey_after: None,
    }
}
