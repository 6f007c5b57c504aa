//! A login of its own for tests: a session with a real server, one attempt, and what was told meanwhile.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use nbtunnel_core::{Failure, LinkReport};
use secrecy::SecretString;
use tokio::task::JoinHandle;

use super::{Asked, Login};
use crate::ask::Asker;
use crate::ssh::agent::Agents;
use crate::ssh::algorithms::preferred;
use crate::ssh::credentials::look;
use crate::ssh::handler::{Client, Shared};
use crate::ssh::hop::Hop;
use crate::ssh::known_hosts::{KnownHosts, Names};
use crate::ssh::report::{LinkEvent, Reporter, Told};
use crate::ssh::settings::settings;
use crate::ssh::testbed::{Sshd, keygen, public, run};
use crate::ssh::wire::Wire;

/// How an attempt ended, and what was told meanwhile, in words.
pub(super) struct Attempt {
    pub(super) end: Result<Asked, Failure>,
    pub(super) seen: Vec<String>,
}

impl Attempt {
    #[track_caller]
    pub(super) fn is_in(&self) -> Asked {
        *self.end.as_ref().unwrap_or_else(|failure| panic!("{failure}; {:?}", self.seen))
    }

    #[track_caller]
    pub(super) fn failure(&self) -> &Failure {
        self.end.as_ref().expect_err("it got in")
    }

    pub(super) fn saw(&self, what: &str) -> bool {
        self.seen.iter().any(|seen| seen.contains(what))
    }
}

/// One attempt to log in to `hop`.
pub(super) async fn log_in(hop: &Hop, agents: &Arc<Agents>, asker: Option<&Asker>) -> Attempt {
    log_in_seen(hop, agents, asker, Seen::default()).await
}

/// What an attempt told so far.
pub(super) type Seen = Arc<Mutex<Vec<String>>>;

/// The same, while what it tells is seen.
pub(super) async fn log_in_seen(
    hop: &Hop,
    agents: &Arc<Agents>,
    asker: Option<&Asker>,
    seen: Seen,
) -> Attempt {
    let see = Arc::clone(&seen);
    let on = Arc::new(move |event| {
        let text = match event {
            LinkEvent::Note(text) => text,
            LinkEvent::Report(LinkReport::Needs(_)) => "needs an answer".to_owned(),
            LinkEvent::Report(LinkReport::Asking(asks)) => format!("asking {asks:?}"),
            _ => return,
        };
        see.lock().unwrap().push(text);
    });
    let reporter = Reporter::new("t", on, Told::default());
    let shared = Shared::new(Arc::new(hop.clone()), reporter, crate::wake::stopwatch());
    let offer = look(agents, hop).await;
    offer.notes.iter().for_each(|note| shared.reporter.note(note));
    let tcp = tokio::net::TcpStream::connect((hop.host.as_str(), hop.port)).await.unwrap();
    let wire = Wire::new(tcp, Arc::clone(&shared.tap));
    let known = KnownHosts::read(hop, &Names::of(hop, None));
    let config = Arc::new(settings(preferred(hop, &known).unwrap().0, 1 << 20));
    let connected = russh::client::connect_stream(config, wire, Client(Arc::clone(&shared))).await;
    let mut session = connected.unwrap_or_else(|error| panic!("{error}: {:?}", shared.cause()));
    let end = Login::new(&shared, &mut session, agents, asker).run(&offer).await;
    let seen = seen.lock().unwrap().clone();
    Attempt { end, seen }
}

/// Somebody who says these words one after the other, and then goes away. Gives back what was asked.
pub(super) fn person(words: &[&str]) -> (Asker, JoinHandle<Vec<String>>) {
    let (asker, mut questions) = Asker::new();
    let mut words: Vec<String> = words.iter().rev().map(|word| (*word).to_owned()).collect();
    let asked = tokio::spawn(async move {
        let mut asked = Vec::new();
        while let Some(question) = questions.recv().await {
            asked.push(format!("{} {}", question.title, question.prompts[0].text));
            let Some(word) = words.pop() else { break };
            let _ = question.reply.send(vec![SecretString::from(word)]);
        }
        asked
    });
    (asker, asked)
}

/// Lets the keys `names` in, and no others.
pub(super) fn authorize(sshd: &Sshd, names: &[&str]) {
    let lines: Vec<String> = names.iter().map(|name| public(&sshd.at(name)) + "\n").collect();
    fs::write(sshd.at("authorized"), lines.concat()).unwrap();
}

/// Makes the key `name` and names it, alone.
pub(super) fn own(sshd: &Sshd, name: &str, kind: &str, passphrase: &str) -> Hop {
    keygen(&sshd.at(name), kind, passphrase);
    let mut hop = sshd.hop();
    hop.login.identity_files = vec![sshd.at(name)];
    hop
}

/// Certifies the key `name` by the authority `ca`, for these principals and this time, as `ssh-keygen -V` has it.
pub(super) fn certify(sshd: &Sshd, name: &str, principals: &str, validity: &str) {
    let (ca, key) = (sshd.at("ca"), sshd.at(&format!("{name}.pub")));
    let (ca, key) = (ca.to_str().unwrap(), key.to_str().unwrap());
    run("ssh-keygen", &["-q", "-s", ca, "-I", "test", "-n", principals, "-V", validity, "-z", "7", key]);
}

/// A command for the agent at `socket`.
pub(super) fn ssh_add(socket: &Path, arguments: &[&str], askpass: Option<&Path>) -> bool {
    let mut command = Command::new("ssh-add");
    command.args(arguments).env("SSH_AUTH_SOCK", socket);
    if let Some(askpass) = askpass {
        command.env("SSH_ASKPASS", askpass).env("SSH_ASKPASS_REQUIRE", "force");
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}
