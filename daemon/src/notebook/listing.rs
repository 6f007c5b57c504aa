//! What the script told, as records. Whatever a line holds, it is a record or it is nothing: parsing never fails.

use std::collections::HashMap;
use std::net::IpAddr;

use super::listener::{self, Listener, Table};
use super::mark::Mark;
use super::server_file::{self, ServerFile, Unfit};

/// What runs at the far end.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Listing {
    /// The uid of whom we log in as.
    pub(super) me: Option<u32>,
    /// The uid of whose servers are looked for.
    pub(super) who: Option<u32>,
    /// There is no such account.
    pub(super) nobody: bool,
    /// The directory that was asked for, without links.
    pub(super) root: Option<String>,
    /// What was written down, in the order in which it was told: directory by directory, newest first.
    pub(super) files: Vec<Written>,
    /// By process id.
    pub(super) processes: HashMap<u32, Process>,
    /// For what they were started, where that was said, by process id.
    pub(super) marks: HashMap<u32, Mark>,
    /// Who listens; none where that cannot be read.
    pub(super) table: Option<Table>,
    /// Who listens where.
    pub(super) listeners: Vec<Listener>,
    /// A directory for these files is there.
    pub(super) has_dir: bool,
    /// There is a `jupyter` that could be asked.
    pub(super) has_jupyter: bool,
    /// The script came to its end.
    pub(super) whole: bool,
}

/// A file that a server wrote.
#[derive(Debug, PartialEq)]
pub(super) struct Written {
    /// What stands in it.
    pub(super) server: Result<ServerFile, Unfit>,
    /// Its name, for messages.
    pub(super) name: String,
    /// The directory, for messages.
    pub(super) dir: String,
    /// Its owner and that of its directory; none where it was Jupyter itself that told.
    pub(super) owners: Option<(u32, u32)>,
    /// Somebody else could have put it there.
    pub(super) open_to_others: bool,
    /// Seconds since 1970.
    pub(super) changed: Option<i64>,
}

/// A process.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Process {
    pub(super) uid: u32,
    /// Seconds since 1970.
    pub(super) began: Option<i64>,
    /// The sockets that it holds, by their inodes; none where that cannot be read.
    pub(super) sockets: Option<Vec<u64>>,
}

impl Listing {
    /// Reads what the script printed.
    pub(super) fn read(output: &[u8]) -> Listing {
        let mut reading = Reading::default();
        for line in String::from_utf8_lossy(output).lines() {
            reading.line(line);
        }
        reading.listing.whole |= output.ends_with(b"end\n");
        reading.listing
    }

    /// Those that listen on `port` where `address` leads.
    pub(super) fn listeners_at(&self, address: IpAddr, port: u16) -> impl Iterator<Item = &Listener> {
        self.listeners.iter().filter(move |l| l.port == port && l.answers(address))
    }
}

#[derive(Default)]
struct Reading {
    listing: Listing,
    dir: Option<(bool, u32, String)>,
    now: Option<i64>,
    boot: Option<(i64, i64)>,
    lsof_uid: Option<u32>,
    big_endian: bool,
}

impl Reading {
    fn line(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let fields: Vec<&str> = rest.split(' ').collect();
        let listing = &mut self.listing;
        match (word, &fields[..]) {
            ("who", [me, who]) => (listing.me, listing.who) = (me.parse().ok(), who.parse().ok()),
            ("nobody", _) => listing.nobody = true,
            ("jupyter", _) => listing.has_jupyter = true,
            ("now", [now]) => self.now = now.parse().ok(),
            ("boot", [at, ticks]) => {
                self.boot = at.parse().ok().zip(ticks.parse().ok().filter(|ticks| *ticks > 0));
            }
            ("root", [hex]) => listing.root = text(hex),
            ("dir", [mode, uid, hex]) => {
                listing.has_dir = true;
                let told = uid.parse().ok().zip(text(hex));
                self.dir = told.map(|(uid, dir)| (others_may_write(mode), uid, dir));
            }
            ("file", [name, mode, uid, changed, hex]) => self.file(name, mode, uid, changed, hex),
            ("huge", [name]) => self.keep(name, Err(Unfit::Huge), None, false, None),
            ("process", [pid, uid, how, when, held]) => self.process(pid, uid, how, when, held),
            ("mark", [pid, notebook, job]) => {
                let mark = Mark { notebook: text(notebook), job: job.parse().ok() };
                listing.marks.extend(pid.parse().ok().map(|pid| (pid, mark)));
            }
            ("table", [name, order @ ..]) => {
                listing.table = Table::called(name);
                self.big_endian = order == ["0100"];
            }
            ("listen", [address, port, uid, inode]) => {
                listing.listeners.extend(listener::proc(address, port, uid, inode, self.big_endian));
            }
            ("ss", _) => listing.listeners.extend(listener::ss(rest)),
            ("sockstat", _) => listing.listeners.extend(listener::sockstat(rest)),
            ("lsof", _) => listing.listeners.extend(listener::lsof(rest, &mut self.lsof_uid)),
            ("listed", [hex]) => self.listed(hex),
            _ => {}
        }
    }

    fn file(&mut self, name: &str, mode: &str, uid: &str, changed: &str, hex: &str) {
        let server = bytes(hex).ok_or(Unfit::Malformed).and_then(|bytes| server_file::read(&bytes));
        // The name is what the process was looked up by.
        let named = name.split(['-', '.']).nth(1).and_then(|pid| pid.parse().ok());
        let server = server.and_then(|file| if file.pid == named { Ok(file) } else { Err(Unfit::Malformed) });
        let classic = name.starts_with("nb");
        let server = server.map(|file| ServerFile { classic, ..file });
        self.keep(name, server, uid.parse().ok(), others_may_write(mode), changed.parse().ok());
    }

    fn keep(
        &mut self,
        name: &str,
        server: Result<ServerFile, Unfit>,
        uid: Option<u32>,
        open: bool,
        changed: Option<i64>,
    ) {
        let Some((dir_open, dir_uid, dir)) = &self.dir else { return };
        // Two names may lead to one directory.
        if self.listing.files.iter().any(|file| file.name == name && file.dir == *dir) {
            return;
        }
        self.listing.files.push(Written {
            server,
            name: name.to_owned(),
            dir: dir.clone(),
            owners: Some((uid.unwrap_or(*dir_uid), *dir_uid)),
            open_to_others: open || *dir_open,
            changed,
        });
    }

    fn process(&mut self, pid: &str, uid: &str, how: &str, when: &str, held: &str) {
        let (Ok(pid), Ok(uid)) = (pid.parse(), uid.parse()) else { return };
        let began = match how {
            "ticks" => self.boot.zip(when.parse::<i64>().ok()).map(|((at, rate), ticks)| at + ticks / rate),
            _ => self.now.zip(elapsed(when)).map(|(now, elapsed)| now - elapsed),
        };
        let sockets = (held != "-").then(|| held.split(',').filter_map(|inode| inode.parse().ok()).collect());
        self.listing.processes.insert(pid, Process { uid, began, sockets });
    }

    fn listed(&mut self, hex: &str) {
        let Some(told) = bytes(hex) else { return };
        self.listing.files.extend(server_file::listed(&told).into_iter().map(|server| Written {
            server: Ok(server),
            name: "the list that jupyter prints".to_owned(),
            dir: String::new(),
            owners: None,
            open_to_others: false,
            changed: None,
        }));
    }
}

/// Whether a mode as `ls -l` shows it lets the group or everybody write.
fn others_may_write(mode: &str) -> bool {
    let mode = mode.as_bytes();
    mode.get(5) != Some(&b'-') || mode.get(8) != Some(&b'-')
}

/// `[[dd-]hh:]mm:ss`, as ps(1) tells how long a process runs, in seconds.
fn elapsed(text: &str) -> Option<i64> {
    let (days, clock) = text.split_once('-').unwrap_or(("0", text));
    let mut seconds = 0_i64;
    for part in clock.split(':') {
        seconds = seconds.checked_mul(60)?.checked_add(part.parse::<u32>().ok()?.into())?;
    }
    seconds.checked_add(i64::from(days.parse::<u32>().ok()?).checked_mul(86_400)?)
}

fn text(hex: &str) -> Option<String> {
    String::from_utf8(bytes(hex)?).ok()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
