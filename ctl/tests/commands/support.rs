//! A place of its own for each test: a config directory, a socket, a stand-in for the daemon behind it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use nbtunnel_proto::{
    DaemonStatus, Endpoint, ForwardStatus, History, HostKeyOffer, Listener, Reply, Request, Status,
    TunnelStatus,
};
use tokio::sync::oneshot;

/// Stands in for `nbtunneld [--config-dir DIR] --check [PATH] --json`: a line with BAD is wrong.
const CHECKER: &str = r#"#!/bin/bash
dir=""; path=""
while [ $# -gt 0 ]; do case "$1" in
  --config-dir) dir="$2"; shift 2;;
  --check) shift; case "$1" in --*|"") ;; *) path="$1"; shift;; esac;;
  --json) shift;;
  *) echo "unknown argument $1" >&2; exit 2;;
esac; done
dir="${dir:-$NBTUNNEL_CONFIG_DIR}"
problems=""
for file in "${path:-$dir/tunnels/}"*; do
  [ -f "$file" ] || continue
  line=$(grep -n BAD "$file" | head -1); [ -n "$line" ] || continue
  source=${line#*:}; source=${source//\"/\\\"}
  problems="{\"file\":\"tunnels/$(basename "$file")\",\"line\":2,\"column\":1,\"source\":\"$source\",\"message\":\"not a forward\",\"hint\":\"as in 6000:localhost:7000\"}"
done
echo "{\"config_dir\":\"$dir\",\"tunnels\":[],\"problems\":[$problems]}"
[ -z "$problems" ]
"#;

/// Writes a script, or one anew. Another process does, since one that is started at the same moment by another test would
/// inherit our descriptor for writing, and the kernel runs no program that is open for that (ETXTBSY).
pub(crate) fn write_program(path: &Path, text: &str) {
    let mut command = Command::new("sh");
    command.args(["-c", "printf %s \"$1\" >\"$2\" && chmod 700 \"$2\"", "sh", text]).arg(path);
    assert!(command.status().unwrap().success(), "cannot write {}", path.display());
}

pub(crate) struct Bed {
    dir: tempfile::TempDir,
}

pub(crate) struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {} {}", self.stdout, self.stderr))
    }
}

impl Bed {
    pub(crate) fn new() -> Bed {
        let dir = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap();
        let checker = dir.path().join("nbtunneld");
        write_program(&checker, CHECKER);
        Bed { dir }
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    /// A place for `name`, which is also in the home of nbctl.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Everything in the tunnels directory, hidden things too, but for what `edit` kept.
    pub(crate) fn tunnel_files(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.config().join("tunnels")) else { return vec![] };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    pub(crate) fn nbctl(&self, args: &[&str]) -> Ran {
        self.nbctl_env(args, &[])
    }

    pub(crate) fn nbctl_env(&self, args: &[&str], env: &[(&str, &str)]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nbctl"));
        command.args(args);
        self.run(command, env)
    }

    pub(crate) fn shell(&self, script: &str) -> Ran {
        let mut command = Command::new("bash");
        command.args(["-c", script]);
        self.run(command, &[])
    }

    fn run(&self, mut command: Command, env: &[(&str, &str)]) -> Ran {
        command
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("VISUAL")
            .env("EDITOR", "false")
            .env("TZ", "UTC")
            .env("HOME", self.dir.path())
            .env("NBCTL", env!("CARGO_BIN_EXE_nbctl"))
            .env("NBTUNNELD", self.dir.path().join("nbtunneld"))
            .env("NBTUNNEL_SOCKET", self.socket())
            .env("NBTUNNEL_CONFIG_DIR", self.config())
            .envs(env.iter().copied())
            .stdin(std::process::Stdio::null());
        let output = command.output().unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("control.sock")
    }

    /// Answers every request with what `answer` says; with nothing, it keeps the client waiting.
    pub(crate) fn daemon(&self, answer: impl FnMut(&Request) -> Vec<Reply> + Send + 'static) -> Daemon {
        Daemon::start(&self.socket(), answer)
    }
}

/// The daemon's end of the socket, until it is dropped.
pub(crate) struct Daemon {
    asked: Arc<Mutex<Vec<Request>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Daemon {
    fn start(socket: &Path, answer: impl FnMut(&Request) -> Vec<Reply> + Send + 'static) -> Daemon {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(Mutex::new(answer));
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let endpoint = Endpoint::resolve(Some(socket.to_owned())).unwrap();
        let seen = Arc::clone(&asked);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = Listener::bind(&endpoint).unwrap();
                ready.send(()).unwrap();
                let serve = async {
                    loop {
                        let incoming = listener.accept().await.unwrap();
                        let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                        tokio::spawn(async move {
                            let mut connection = incoming.handshake().await.unwrap();
                            while let Ok(Some(request)) = connection.next_request().await {
                                // What the developer's environment names is not what is tested.
                                if matches!(request, Request::Environment { .. }) {
                                    continue;
                                }
                                let replies = (answer.lock().unwrap())(&request);
                                seen.lock().unwrap().push(request);
                                for reply in &replies {
                                    let _ = connection.send(reply).await;
                                }
                            }
                        });
                    }
                };
                tokio::select! { () = serve => {}, _ = stopped => {} }
                listener.unlink();
            });
        });
        is_ready.recv().unwrap();
        Daemon { asked, stop: Some(stop), thread: Some(thread) }
    }

    /// What was asked so far, in order.
    pub(crate) fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(crate) fn status(tunnels: Vec<TunnelStatus>) -> Reply {
    let daemon = DaemonStatus {
        version: "0.1.0".into(),
        protocol: 1,
        pid: 1,
        uptime_s: 1.5,
        config_dir: "/c".into(),
        socket: "/s".into(),
        now_ms: 0,
    };
    Reply::Status(Box::new(Status { daemon, tunnels, problems: vec![] }))
}

pub(crate) fn tunnel(name: &str, state: &str) -> TunnelStatus {
    TunnelStatus {
        name: name.into(),
        wanted: "up".into(),
        state: state.into(),
        step: None,
        health: None,
        host: "h".into(),
        port: 22,
        user: "me".into(),
        via: Vec::new(),
        since_s: 4.2,
        attempt: 0,
        retry_in_s: None,
        reconnects: 0,
        rtt_ms: None,
        tags: vec![],
        problem: None,
        forwards: vec![ForwardStatus {
            kind: "local".into(),
            listen: "127.0.0.1:6000".into(),
            listens: vec!["127.0.0.1:6000".into()],
            target: "localhost:7000".into(),
            open: 0,
            held: 0,
            total: 0,
            bytes_in: 0,
            bytes_out: 0,
            note: None,
            problem: None,
            refused: 0,
        }],
        notebooks: vec![],
        draining: 0,
        asking: None,
        answer_in_s: None,
        history: History::default(),
    }
}

pub(crate) fn offer() -> HostKeyOffer {
    HostKeyOffer {
        name: "alice".into(),
        hop: "h:22".into(),
        jump: 0,
        jumps: 0,
        alias: None,
        algorithm: "ssh-ed25519".into(),
        fingerprint: "SHA256:new".into(),
        randomart: "+--[ED25519 256]--+".into(),
        file: "/kh".into(),
        trusted: false,
        recorded: vec![],
        revoked: false,
        revoked_at: None,
        doubt: None,
    }
}
