//! The answer to `nbctl status`, field for field what `--json` prints. Fields may be added, never changed.

use serde::{Deserialize, Serialize};

/// Everything there is to see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon itself.
    pub daemon: DaemonStatus,
    /// The tunnels asked for, by name.
    pub tunnels: Vec<TunnelStatus>,
    /// What is wrong with the configuration, or with the daemon as a whole.
    pub problems: Vec<FileProblem>,
}

/// The daemon itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Its version, as in `Cargo.toml`.
    pub version: String,
    /// The version of the control protocol.
    pub protocol: u16,
    /// Its process id.
    pub pid: u32,
    /// Seconds since it started, sleep included.
    pub uptime_s: f64,
    /// The directory it watches.
    pub config_dir: String,
    /// Where it listens for `nbctl`.
    pub socket: String,
    /// When it answered, in milliseconds since 1970-01-01 UTC: what every `at_ms` is to be compared with.
    pub now_ms: u64,
}

/// One tunnel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TunnelStatus {
    /// The name of its file, without `.toml`.
    pub name: String,
    /// `up`, `demand` or `down`.
    pub wanted: String,
    /// `stopped`, `idle`, `binding`, `connecting`, `up`, `waiting`, `parked` or `closing`.
    pub state: String,
    /// Which step of connecting, while connecting.
    pub step: Option<String>,
    /// `ok` or `suspect` while up.
    pub health: Option<String>,
    /// The host, as its file names it.
    pub host: String,
    /// The TCP port of the SSH server.
    pub port: u16,
    /// The user at the far end.
    pub user: String,
    /// What it goes by, nearest first: jump hosts as `user@host:port`, and `proxy command` where the first machine
    /// is reached by one. Empty for a straight way, and before its way is known.
    pub via: Vec<String>,
    /// Seconds in this state.
    pub since_s: f64,
    /// Attempts that failed since it was last up.
    pub attempt: u32,
    /// Seconds until the next attempt, while waiting.
    pub retry_in_s: Option<f64>,
    /// How often it came back, also before a restart of the daemon.
    pub reconnects: u64,
    /// Smoothed round trip to the server, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Free words from its file.
    pub tags: Vec<String>,
    /// What is wrong with it.
    pub problem: Option<Problem>,
    /// Its forwards, in its file's order.
    pub forwards: Vec<ForwardStatus>,
    /// Its notebooks, in its file's order.
    pub notebooks: Vec<NotebookStatus>,
    /// Older sessions that only finish what they carry.
    pub draining: u32,
    /// What is remembered of it, also over restarts of the daemon.
    pub history: History,
    /// Whom the login waits for: `you` (at an `nbctl unlock`) or `agent`.
    pub asking: Option<String>,
    /// Seconds until that is waited for no longer.
    pub answer_in_s: Option<f64>,
}

/// What is remembered of a tunnel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Since when, in milliseconds since 1970-01-01 UTC.
    pub since_ms: u64,
    /// How often it came back; the first time in a life of the daemon does not count.
    pub reconnects: u64,
    /// Seconds that it was up in all.
    pub up_s: f64,
    /// The longest time, in seconds, from the loss of a wanted link until it was up again.
    pub longest_gap_s: f64,
    /// What went wrong last, if anything ever did.
    pub last_failure: Option<PastFailure>,
}

/// A failure that is over, or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastFailure {
    /// When, in milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// A stable snake_case word, as in [`Problem`].
    pub code: String,
    /// What happened.
    pub message: String,
}

/// One forward.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForwardStatus {
    /// `local`, `dynamic`, `remote` or `remote_dynamic`: the last two listen at the far end.
    pub kind: String,
    /// The first address it listens on; before that, what its file says.
    pub listen: String,
    /// Every address it listens on now.
    pub listens: Vec<String>,
    /// Where it leads, seen from the side where it does not listen; `socks` where each client says so.
    pub target: String,
    /// Connections that are being carried.
    pub open: u32,
    /// Connections that wait for the tunnel.
    pub held: u32,
    /// Connections ever accepted.
    pub total: u64,
    /// Bytes towards the local user.
    pub bytes_in: u64,
    /// Bytes towards the far end.
    pub bytes_out: u64,
    /// An address that could not be had beside good ones, in one sentence; nothing that needs mending.
    pub note: Option<String>,
    /// What is wrong with it.
    pub problem: Option<Problem>,
    /// Connections of other users that were reset at once; they count nowhere else.
    pub refused: u64,
}

/// One notebook. No token stands in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NotebookStatus {
    /// Its name.
    pub name: String,
    /// `unknown`, `finding`, `found`, `lost`, `starting`, `pending`, `stopping` or `failed`.
    pub state: String,
    /// Where it is found on this machine, without its token: `http://localhost:6000/`. None before it is known how
    /// it is spoken to.
    pub url: Option<String>,
    /// Its port on this machine.
    pub local_port: u16,
    /// Where its server listens, seen from the far end, as `host:port`.
    pub target: Option<String>,
    /// How far the way to it works, layer by layer, in a line: `server ok`, `server ok · token refused`,
    /// `ssh ok · port refused (no server on 7000)`, `port ok · server does not answer on 7000`, `link gone`. None where
    /// nothing is known yet.
    pub health: Option<String>,
    /// When a look at it last saw that, in milliseconds since 1970-01-01 UTC. A look that goes on longer than whoever
    /// asks waits leaves it as it was. None where no look saw it, but the search for it met it.
    pub health_ms: Option<u64>,
    /// Since when looks see the same layer break, or none, in milliseconds since 1970-01-01 UTC.
    pub health_since_ms: Option<u64>,
    /// What the server says of itself, when it was asked last.
    pub server: Option<NotebookServer>,
    /// What is so and needs no mending, in one sentence: a certificate that vouches for itself.
    pub note: Option<String>,
    /// What is wrong with it.
    pub problem: Option<Problem>,
    /// The cluster's job that it runs in.
    pub job: Option<JobStatus>,
}

/// What a notebook's server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NotebookServer {
    /// Its version.
    pub version: Option<String>,
    /// How many kernels it has.
    pub kernels: Option<u32>,
    /// How many of them compute.
    pub busy: Option<u32>,
    /// When something happened there last, as the server writes it (ISO 8601).
    pub last_activity: Option<String>,
    /// When it said so, in milliseconds since 1970-01-01 UTC; 0 where it was not asked, and only its version is known.
    pub asked_ms: u64,
}

/// A job of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Its number.
    pub id: u64,
    /// As the cluster says: `PENDING`, `RUNNING`, …
    pub state: String,
    /// Why it waits.
    pub reason: Option<String>,
    /// When it is expected to start, in milliseconds since 1970-01-01 UTC.
    pub starts_ms: Option<u64>,
    /// Where it runs.
    pub node: Option<String>,
    /// Seconds until its time is up.
    pub left_s: Option<f64>,
}

/// What is wrong: a stable word, and two sentences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A stable snake_case word.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// What is wrong with the configuration, or (without a file) with the daemon as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileProblem {
    /// The file, relative to the config directory.
    pub file: Option<String>,
    /// Its line, from 1.
    pub line: Option<u32>,
    /// The column in characters, from 1.
    pub column: Option<u32>,
    /// The line itself.
    pub source: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl FileProblem {
    /// The message behind its file and line, as far as these are known.
    pub fn with_place(&self) -> String {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => format!("{file}:{line}: {}", self.message),
            (Some(file), None) => format!("{file}: {}", self.message),
            (None, _) => self.message.clone(),
        }
    }

    /// What people are shown of `problems`: those that say the same of several files are one, which names the first. A
    /// line of ssh_config may be wrong for every tunnel.
    pub fn once_each<'a>(problems: impl IntoIterator<Item = &'a FileProblem>) -> Vec<FileProblem> {
        let mut each: Vec<(&FileProblem, usize)> = Vec::new();
        for problem in problems {
            let said = |(other, _): &&mut (&FileProblem, usize)| {
                other.file != problem.file
                    && (&other.message, &other.hint) == (&problem.message, &problem.hint)
            };
            match each.iter_mut().find(said) {
                Some((_, others)) => *others += 1,
                None => each.push((problem, 0)),
            }
        }
        let told = |(problem, others): (&FileProblem, usize)| {
            let more = match others {
                0 => return problem.clone(),
                1 => "1 more file".to_owned(),
                _ => format!("{others} more files"),
            };
            FileProblem { message: format!("{}, and so for {more}", problem.message), ..problem.clone() }
        };
        each.into_iter().map(told).collect()
    }
}
