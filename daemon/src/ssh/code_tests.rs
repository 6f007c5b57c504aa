//! Servers that ask for a code which is good once: who typed it once has it for every tunnel that goes there or over
//! there, and nobody asks again by itself.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nbtunnel_core::{Asks, FailureKind, HostKeyPolicy, LinkReport, Route, SshConfig};
use russh::keys::{Algorithm, PrivateKey, key::safe_rng};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, Response, Session};
use russh::{Channel, ChannelOpenFailure, MethodKind, MethodSet};
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

use super::testbed::{Sshd, Watched, links, start_as, start_asking, until};
use super::{AgentAt, Links};
use crate::ask::Asker;

/// Asks everybody for a code, and opens connections to this machine.
struct CodeServer {
    dir: TempDir,
    port: u16,
    /// How many came, and how many were let in.
    seen: Arc<Seen>,
    /// Second handles to their sockets.
    sockets: Mutex<Vec<std::net::TcpStream>>,
}

#[derive(Default)]
struct Seen {
    came: AtomicUsize,
    let_in: AtomicUsize,
}

impl CodeServer {
    async fn start() -> Arc<CodeServer> {
        let dir = tempfile::tempdir().unwrap();
        let key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let public = key.public_key().to_openssh().unwrap();
        std::fs::write(dir.path().join("known_hosts"), format!("[127.0.0.1]:{port} {public}\n")).unwrap();
        let methods = MethodSet::from([MethodKind::KeyboardInteractive].as_slice());
        let config =
            Arc::new(server::Config { keys: vec![key], methods, nodelay: true, ..Default::default() });
        let this = Arc::new(CodeServer { dir, port, seen: Arc::default(), sockets: Mutex::default() });
        let weak = Arc::downgrade(&this);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Some(this) = weak.upgrade() else { return };
                this.seen.came.fetch_add(1, SeqCst);
                let socket = stream.into_std().unwrap();
                this.sockets.lock().unwrap().push(socket.try_clone().unwrap());
                let stream = TcpStream::from_std(socket).unwrap();
                let (config, gate) = (Arc::clone(&config), Gate(Arc::clone(&this.seen)));
                tokio::spawn(async move { server::run_stream(config, stream, gate).await.ok()?.await.ok() });
            }
        });
        this
    }

    /// Ends all of its sessions without a word.
    fn cut(&self) {
        for socket in self.sockets.lock().unwrap().drain(..) {
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
    }

    fn numbers(&self) -> (usize, usize) {
        (self.seen.came.load(SeqCst), self.seen.let_in.load(SeqCst))
    }

    fn route(&self) -> Route {
        Route {
            port: Some(self.port),
            user: Some("u".into()),
            identity_files: Some(Vec::new()),
            known_hosts: Some(vec![self.dir.path().join("known_hosts")]),
            host_key: Some(HostKeyPolicy::Strict),
            ssh_config: SshConfig::Nothing,
            ..Route::to("127.0.0.1")
        }
    }

    /// Over it to `server`.
    fn to(&self, server: &Sshd) -> Route {
        let config = self.dir.path().join("config");
        let known = self.dir.path().join("known_hosts");
        let text = format!(
            "Host gate\n HostName 127.0.0.1\n Port {}\n User u\n IdentityFile none\n UserKnownHostsFile {}\n",
            self.port,
            known.display()
        );
        std::fs::write(&config, text).unwrap();
        Route { jump: Some(vec!["gate".into()]), ssh_config: SshConfig::File(config), ..server.route() }
    }
}

struct Gate(Arc<Seen>);

impl server::Handler for Gate {
    type Error = russh::Error;

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        let Some(mut answers) = response else {
            let prompts = vec![("Code: ".into(), false)].into();
            return Ok(Auth::Partial { name: "".into(), instructions: "".into(), prompts });
        };
        if answers.next().is_none_or(|code| &code[..] != b"123456") {
            return Ok(Auth::reject());
        }
        self.0.let_in.fetch_add(1, SeqCst);
        Ok(Auth::Accept)
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        _: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port as u16)).await {
            Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
            Ok(mut target) => {
                reply.accept().await;
                tokio::spawn(async move {
                    let _ = tokio::io::copy_bidirectional(&mut channel.into_stream(), &mut target).await;
                });
            }
        }
        Ok(())
    }
}

/// Somebody who types the code whenever they are asked, and counts that.
fn person() -> (Asker, Arc<AtomicUsize>) {
    let (asker, mut questions) = Asker::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Some(question) = questions.recv().await {
            count.fetch_add(1, SeqCst);
            let answers = question.prompts.iter().map(|_| SecretString::from("123456")).collect();
            let _ = question.reply.send(answers);
        }
    });
    (asker, asked)
}

fn here() -> Arc<Links> {
    links(AgentAt::Nowhere)
}

/// It comes up, after whatever else it says.
async fn comes_up(link: &mut Watched) {
    loop {
        match link.report().await {
            LinkReport::Up => return,
            LinkReport::Lost(why) => panic!("{why}"),
            _ => {}
        }
    }
}

/// Whether it waits for a person, and does not come up.
async fn is_parked(link: &mut Watched) -> bool {
    loop {
        match link.report().await {
            LinkReport::Lost(why) => return why.kind == FailureKind::AnswerNeeded,
            LinkReport::Up => return false,
            _ => {}
        }
    }
}

#[tokio::test]
async fn one_code_is_enough_for_all_tunnels_and_is_never_asked_for_in_the_background() {
    let (server, links, (person, asked)) = (CodeServer::start().await, here(), person());
    let mut first = start_asking(&links, "t0", server.route(), person.clone());
    comes_up(&mut first).await;
    let mut all: Vec<Watched> = (1..5).map(|n| start_as(&links, &format!("t{n}"), server.route())).collect();
    for link in &mut all {
        comes_up(link).await;
    }
    assert_eq!((server.numbers(), asked.load(SeqCst)), ((1, 1), 1));
    // One leaves, and comes back, also the one who was asked.
    first.link.close();
    assert!(matches!(first.report().await, LinkReport::Closed));
    comes_up(&mut start_as(&links, "t0", server.route())).await;
    assert_eq!(server.numbers(), (1, 1));
    // It is lost: nobody goes there by themselves.
    server.cut();
    for link in &mut all {
        loop {
            match link.report().await {
                LinkReport::Lost(why) => break assert_eq!(why.kind, FailureKind::Disconnected, "{why}"),
                other => assert!(!matches!(other, LinkReport::Up), "{other:?}"),
            }
        }
    }
    for n in 0..5 {
        assert!(is_parked(&mut start_as(&links, &format!("t{n}"), server.route())).await);
    }
    assert_eq!(server.numbers(), (1, 1));
    // Two people at once are asked once.
    let mut both = [0, 1].map(|n| start_asking(&links, &format!("t{n}"), server.route(), person.clone()));
    for link in &mut both {
        comes_up(link).await;
    }
    assert_eq!((server.numbers(), asked.load(SeqCst)), ((2, 2), 2));
}

#[tokio::test]
async fn where_the_first_one_gives_up_the_second_is_asked() {
    let (server, links, (person, asked)) = (CodeServer::start().await, here(), person());
    let (leaving, mut questions) = Asker::new();
    let mut first = start_asking(&links, "t0", server.route(), leaving);
    let question = questions.recv().await.unwrap();
    let mut second = start_asking(&links, "t1", server.route(), person);
    // It waits for the same login.
    while second.report().await != LinkReport::Asking(Asks::Person) {}
    drop((question, questions));
    assert!(is_parked(&mut first).await);
    comes_up(&mut second).await;
    assert_eq!(asked.load(SeqCst), 1);
}

#[tokio::test]
async fn a_jump_host_that_asked_for_a_code_is_kept_while_the_tunnel_is_wanted() {
    let (gate, server, links, (person, asked)) =
        (CodeServer::start().await, Sshd::start("ed25519", ""), here(), person());
    let mut link = start_asking(&links, "t", gate.to(&server), person);
    comes_up(&mut link).await;
    // The server behind it goes, and everything over it: the way there stays.
    server.kill_sessions();
    loop {
        if let LinkReport::Lost(_) = link.report().await {
            break;
        }
    }
    drop(link);
    let mut again = start_as(&links, "t", gate.to(&server));
    comes_up(&mut again).await;
    let mut other = start_as(&links, "u", gate.to(&server));
    comes_up(&mut other).await;
    assert_eq!((gate.numbers(), asked.load(SeqCst)), ((1, 1), 1));
    drop((again, other));
    until("the server is let go of", || !server.has_sessions()).await;
    comes_up(&mut start_as(&links, "t", gate.to(&server))).await;
    // Now nobody wants it.
    links.unwanted("t");
    links.unwanted("u");
    until("the server is let go of", || !server.has_sessions()).await;
    let parked = async {
        // It says goodbye first.
        while !is_parked(&mut start_as(&links, "t", gate.to(&server))).await {}
    };
    tokio::time::timeout(Duration::from_secs(20), parked).await.unwrap();
    assert_eq!(gate.numbers(), (1, 1));
}
