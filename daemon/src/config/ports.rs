//! The local ports of notebooks whose files name none: chosen once, written down before anybody uses them, and kept
//! for good, so that a bookmark stays good. A tunnel that is removed and comes back has its ports again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use nbtunnel_core::Name;
use nbtunnel_proto::FileProblem;
use serde::{Deserialize, Serialize};

use super::Loaded;
use super::notebook;
use super::read::whole_file;
use super::system;
use super::values::Flaw;
use crate::history_file::{put_aside, write_whole};
use crate::service::instance::fnv1a;

/// Below what systems hand out for outgoing connections (from 32768 on with Linux, 49152 elsewhere), so that no such
/// connection sits on a port while we are away, and above where servers usually listen.
const RANGE: RangeInclusive<u16> = 20_000..=29_999;

/// No file of ours is longer.
const LONGEST_FILE: u64 = 16 << 20;

/// What was chosen so far.
pub(super) struct Ports {
    path: Option<PathBuf>,
    /// By `tunnel/notebook`: neither name has a slash.
    chosen: BTreeMap<String, u16>,
    /// Something of it is not in the file yet.
    unwritten: bool,
}

#[derive(Default, Serialize, Deserialize)]
struct Kept {
    ports: BTreeMap<String, u16>,
}

impl Ports {
    /// What the file at `path` says. One that is missing says nothing; one that cannot be understood is put aside,
    /// with a warning.
    pub(super) fn open(path: Option<PathBuf>) -> Ports {
        let chosen = path.as_deref().map(|path| {
            read(path).unwrap_or_else(|why| {
                put_aside(path, &why, "local ports are chosen");
                BTreeMap::new()
            })
        });
        Ports { path, chosen: chosen.unwrap_or_default(), unwritten: false }
    }

    /// Gives each notebook without a port one, and every such notebook its forward.
    pub(super) fn choose(&mut self, loaded: &mut Loaded) {
        let claimed: BTreeSet<u16> = loaded
            .tunnels
            .values()
            .flat_map(|spec| &spec.forwards)
            .filter_map(|forward| forward.listen.port())
            .collect();
        let mut problems = Vec::new();
        for (tunnel, spec) in &mut loaded.tunnels {
            let (notebooks, forwards) = (&mut spec.notebooks, &mut spec.forwards);
            notebooks.retain_mut(|notebook| {
                if notebook.local_port != 0 {
                    return true;
                }
                let Some(port) = self.port(tunnel, &notebook.name, &claimed) else {
                    problems.push(no_port(tunnel, &notebook.name));
                    return false;
                };
                notebook.local_port = port;
                forwards.push(notebook::forward(notebook));
                true
            });
        }
        problems.extend(self.keep());
        let mut hasher = DefaultHasher::new();
        problems.iter().map(|problem| &problem.message).for_each(|message| message.hash(&mut hasher));
        loaded.digest ^= hasher.finish();
        loaded.problems.extend(problems);
    }

    /// The port that this notebook had, unless a file claims it by now; else the next after one that follows from its
    /// name which is nobody's.
    fn port(&mut self, tunnel: &Name, notebook: &Name, claimed: &BTreeSet<u16>) -> Option<u16> {
        let key = format!("{tunnel}/{notebook}");
        if let Some(port) = self.chosen.get(&key).filter(|port| !claimed.contains(port)) {
            return Some(*port);
        }
        let others: BTreeSet<u16> = self.chosen.values().chain(claimed).copied().collect();
        let (first, count) = (u64::from(*RANGE.start()), RANGE.len() as u64);
        let begin = fnv1a(key.as_bytes()) % count;
        let ports = (0..count).filter_map(|step| u16::try_from(first + (begin + step) % count).ok());
        let port = ports.filter(|port| !others.contains(port)).find(|port| is_free(*port))?;
        self.chosen.insert(key, port);
        self.unwritten = true;
        Some(port)
    }

    /// Writes down what is not. What could not be is tried again at the next reading.
    fn keep(&mut self) -> Option<FileProblem> {
        let path = self.path.as_deref().filter(|_| self.unwritten)?;
        let bytes = serde_json::to_vec(&Kept { ports: self.chosen.clone() }).map_err(io::Error::from);
        match bytes.and_then(|bytes| write_whole(path, &bytes)) {
            Ok(()) => {
                self.unwritten = false;
                None
            }
            Err(error) => {
                let message =
                    format!("the local ports of notebooks cannot be kept in {}: {error}", path.display());
                let hint = "mend that, or name each with local_port; after a restart they may be others";
                Some(whole_file("", Flaw::new(message, hint)))
            }
        }
    }
}

fn no_port(tunnel: &Name, notebook: &Name) -> FileProblem {
    let (first, last) = (RANGE.start(), RANGE.end());
    let message = format!("no local port between {first} and {last} is free for the notebook {notebook}");
    whole_file(&format!("tunnels/{tunnel}.toml"), Flaw::new(message, "name one with local_port"))
}

/// Whether nobody listens there, at either loopback address. A machine without IPv6 has one of them.
fn is_free(port: u16) -> bool {
    [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()].into_iter().all(|ip| {
        match system::may_bind(SocketAddr::new(ip, port)) {
            Ok(()) => true,
            Err(error) => {
                ip.is_ipv6() && !matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied)
            }
        }
    })
}

fn read(path: &Path) -> io::Result<BTreeMap<String, u16>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(LONGEST_FILE).read_to_end(&mut bytes)?;
    let kept: Kept = serde_json::from_slice(&bytes)?;
    Ok(kept.ports.into_iter().filter(|(_, port)| *port != 0).collect())
}
