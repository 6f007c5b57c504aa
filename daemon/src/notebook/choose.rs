//! Which of the servers is meant, and whether it is theirs whose it should be. No token is used of one that fails
//! here. Pure: it judges what the far end told.

use std::net::IpAddr;

use nbtunnel_core::{Failure, FailureKind};
use nbtunnel_proto::Secret;

use super::listener::{Listener, Table};
use super::listing::{Listing, Written};
use super::mark::Fit;
use super::server_file::{ServerFile, Unfit};
use super::{Checked, Last, Wanted, is_loopback, words};

/// Seconds by which a process may seem younger than the file that it wrote: clocks are set, and counted in seconds.
const SLACK: i64 = 3;

/// Of those that fit, so many are told.
const MOST: usize = 8;

/// A server that may be spoken to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidate {
    /// Where it answers, the likeliest first: an address, where listeners could be read, or the name of its machine.
    pub(super) hosts: Vec<String>,
    /// Why the name of a job's machine is not among them.
    pub(super) barred: Option<String>,
    pub(super) port: u16,
    pub(super) checked: Checked,
    /// What it wrote of itself, if that can be read.
    pub(super) file: Option<ServerFile>,
}

impl Candidate {
    /// Of whom nothing but the port is known.
    pub(super) fn bare(host: &str, port: u16) -> Candidate {
        let hosts = vec![host.to_owned()];
        Candidate { hosts, barred: None, port, checked: Checked::NotReadable, file: None }
    }

    /// The token that it wrote down.
    pub(super) fn token(&self) -> Option<&Secret> {
        self.file.as_ref()?.token.as_ref()
    }

    /// How much it has of the one that was there last.
    fn likeness(&self, last: Option<&Last>) -> Likeness {
        let Some(last) = last else { return Likeness::None };
        let file = self.file.as_ref();
        if last.is(file.and_then(|file| file.pid), self.port) {
            return Likeness::Same;
        }
        let root_dir = file.and_then(|file| file.root_dir.as_ref());
        if root_dir.is_some() && root_dir == last.root_dir.as_ref() { Likeness::Dir } else { Likeness::None }
    }

    /// Tells it from others.
    pub(super) fn words(&self) -> String {
        match self.file.as_ref().and_then(|file| file.root_dir.as_ref()) {
            Some(dir) => format!("port {} ({dir})", self.port),
            None => format!("port {}", self.port),
        }
    }
}

/// What a server has in common with another; what has more comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Likeness {
    /// It is the same.
    Same,
    /// It serves the same directory, and so may be that one started anew.
    Dir,
    None,
}

/// Where a port leads.
#[derive(Debug, PartialEq)]
pub(super) enum Leads {
    /// To them, at this host.
    Theirs(String),
    /// To another user, with this uid.
    Stranger(u32),
    /// Nobody listens.
    Nobody,
    /// Who listens cannot be read.
    Unread,
}

/// What is wrong with a server that was written down.
#[derive(Debug, PartialEq)]
enum Wrong {
    /// Another one is meant.
    NotMeant,
    /// It has ended.
    Gone,
    /// What it wrote cannot be used.
    Unfit(Unfit),
    /// Somebody else may have written it.
    Unsafe(Failure),
    /// Its port is another user's.
    Stranger(u16, u32),
}

/// Those that are meant, the likeliest first; never none.
pub(super) fn choose(listing: &Listing, wanted: &Wanted) -> Result<Vec<Candidate>, Failure> {
    let who = who(listing, wanted)?;
    let judged: Vec<_> =
        listing.files.iter().map(|file| (file.changed, judge(listing, wanted, who, file))).collect();
    let (mut good, mut wrong) = (Vec::new(), Vec::new());
    for (changed, verdict) in judged {
        match verdict {
            Ok(candidate) => good.push((changed, candidate)),
            Err(why) => wrong.push(why),
        }
    }
    // Stable: in one directory the order is that of `ls -t`, which counts finer than seconds.
    good.sort_by_key(|(changed, _)| std::cmp::Reverse(*changed));
    if !good.is_empty() {
        return Ok(likeliest_first(
            listing,
            wanted,
            good.into_iter().map(|(_, candidate)| candidate).collect(),
        ));
    }
    if let Some(port) = wanted.port {
        let chosen = by_port(listing, wanted, who, port, wrong).map(|candidate| vec![candidate]);
        return chosen.map_err(|why| with_another(listing, wanted, who, why));
    }
    let in_range = in_range(listing, wanted, who);
    if in_range.is_empty() {
        Err(explain(wanted, wrong))
    } else {
        Ok(likeliest_first(listing, wanted, in_range))
    }
}

/// One that begins beside the one that was there last takes nobody away from it.
fn likeliest_first(listing: &Listing, wanted: &Wanted, mut good: Vec<Candidate>) -> Vec<Candidate> {
    good.sort_by_key(|candidate| {
        let fit = candidate.file.as_ref().map_or(Fit::Anybodys, |file| fit(listing, wanted, file));
        (candidate.likeness(wanted.last.as_ref()), fit)
    });
    good.truncate(MOST);
    good
}

/// Whether the server that was there last has ended, as far as that can be seen.
pub(super) fn has_ended(listing: &Listing, wanted: &Wanted) -> bool {
    let (Some(last), Ok(who)) = (&wanted.last, who(listing, wanted)) else { return false };
    let Some(pid) = last.pid else { return false };
    if is_loopback(&wanted.host) {
        return lives(listing, who, pid, last.port, None).is_err();
    }
    // Processes of another machine are not seen; a server that ends takes away what it wrote.
    let is_its = |written: &Written| written.server.as_ref().is_ok_and(|file| file.pid == Some(pid));
    !listing.files.iter().any(is_its)
}

/// Whose server it has to be.
pub(super) fn who(listing: &Listing, wanted: &Wanted) -> Result<u32, Failure> {
    if listing.nobody {
        return Err(words::no_such_account(wanted.owner.as_deref().unwrap_or_default()));
    }
    listing.who.filter(|_| listing.whole).ok_or_else(words::unreadable)
}

fn judge(listing: &Listing, wanted: &Wanted, who: u32, written: &Written) -> Result<Candidate, Wrong> {
    let file = written.server.as_ref().map_err(|unfit| Wrong::Unfit(*unfit))?;
    if !is_meant(listing, wanted, file) {
        return Err(Wrong::NotMeant);
    }
    if let Some((owner, dir_owner)) = written.owners
        && (owner != who || dir_owner != who)
    {
        return Err(Wrong::Unsafe(words::of_another(&written.name, &written.dir)));
    }
    if written.open_to_others {
        return Err(Wrong::Unsafe(words::open_to_others(&written.name, &written.dir)));
    }
    let candidate = if is_loopback(&wanted.host) {
        lives(listing, who, file.pid.ok_or(Wrong::Gone)?, file.port, written.changed)?;
        reached(listing, wanted, who, file.port)?
    } else {
        Candidate::bare(&wanted.host, file.port)
    };
    Ok(Candidate { file: Some(file.clone()), ..candidate })
}

/// What is reached at `port`, unless it is surely not theirs.
fn reached(listing: &Listing, wanted: &Wanted, who: u32, port: u16) -> Result<Candidate, Wrong> {
    let mut candidate = match leads(listing, who, None, &wanted.host, port) {
        Leads::Theirs(host) => Candidate { checked: Checked::Mine, ..Candidate::bare(&host, port) },
        Leads::Stranger(uid) => return Err(Wrong::Stranger(port, uid)),
        Leads::Nobody => return Err(Wrong::Gone),
        Leads::Unread => Candidate::bare(&wanted.host, port),
    };
    // The login machine gets there by itself, or by a way that begins on this machine.
    if let Some(node) = &wanted.node {
        match leads(listing, who, Some(node), node, port) {
            Leads::Theirs(node) => candidate.hosts.insert(0, node),
            Leads::Stranger(uid) => candidate.barred = Some(words::stranger_outside(node, port, uid)),
            Leads::Nobody => candidate.barred = Some(words::loopback_alone(node, port)),
            Leads::Unread => {}
        }
    }
    Ok(candidate)
}

fn is_meant(listing: &Listing, wanted: &Wanted, file: &ServerFile) -> bool {
    let root = file.root_dir.as_deref().map(|dir| dir.trim_end_matches('/'));
    let dir_fits = wanted.dir.as_deref().is_none_or(|dir| {
        let named = [Some(dir), listing.root.as_deref()];
        named.into_iter().flatten().any(|dir| root == Some(dir.trim_end_matches('/')))
    });
    let elsewhere = !is_loopback(&wanted.host);
    wanted.port.is_none_or(|port| port == file.port)
        && wanted.ports.is_none_or(|(first, last)| (first..=last).contains(&file.port))
        && wanted.pid.is_none_or(|pid| file.pid == Some(pid))
        && dir_fits
        && fit(listing, wanted, file) != Fit::No
        && (!elsewhere || is_machine(&wanted.host, &file.hostname))
}

/// Whether it was started for what is wanted.
fn fit(listing: &Listing, wanted: &Wanted, file: &ServerFile) -> Fit {
    let mark = file.pid.and_then(|pid| listing.marks.get(&pid));
    mark.map_or(Fit::Anybodys, |mark| mark.fit(wanted))
}

/// Whether a server that was told to listen on `hostname` is the one on `host`. What it was told has to name that
/// machine: one that listens everywhere, or on loopback, may be on any, and its token is not for whoever has its port
/// on another.
fn is_machine(host: &str, hostname: &str) -> bool {
    let name = |text: &str| text.trim_end_matches('.').to_ascii_lowercase();
    let (host, hostname) = (name(host), name(hostname));
    match (host.parse::<IpAddr>(), hostname.parse::<IpAddr>()) {
        (Ok(host), Ok(hostname)) => host == hostname && !host.is_unspecified() && !host.is_loopback(),
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        (Err(_), Err(_)) => {
            let (short, rest) = host.split_once('.').unwrap_or((&host, ""));
            let (its_short, its_rest) = hostname.split_once('.').unwrap_or((&hostname, ""));
            let same_domain = rest.is_empty() || its_rest.is_empty() || rest == its_rest;
            !matches!(short, "" | "*" | "localhost") && short == its_short && same_domain
        }
    }
}

/// Whether the process `pid` is still the server on `port`, which wrote that down when it `changed` its file.
fn lives(listing: &Listing, who: u32, pid: u32, port: u16, changed: Option<i64>) -> Result<(), Wrong> {
    let process = listing.processes.get(&pid).ok_or(Wrong::Gone)?;
    if process.uid != who {
        return Err(Wrong::Gone);
    }
    // Whoever holds the socket is the server: no clock says more.
    if let (Some(held), Some(Table::Everybodys)) = (&process.sockets, listing.table) {
        let holds = |inode: &u64| held.contains(inode);
        let its =
            listing.listeners.iter().filter(|l| l.port == port).any(|l| l.inode.as_ref().is_some_and(holds));
        return if its { Ok(()) } else { Err(Wrong::Gone) };
    }
    match process.began.zip(changed) {
        Some((began, changed)) if began > changed.saturating_add(SLACK) => Err(Wrong::Gone),
        _ => Ok(()),
    }
}

/// Where `port` of `host` leads: of the machine that told it, unless `host` is what others call that, `node`. A name may
/// lead to two addresses, and each may be another user's.
pub(super) fn leads(listing: &Listing, who: u32, node: Option<&str>, host: &str, port: u16) -> Leads {
    if node == Some(host) {
        return from_outside(listing, who, host, port);
    }
    let Some(table) = listing.table.filter(|table| *table == Table::Everybodys || listing.me == Some(who))
    else {
        return Leads::Unread;
    };
    let mut addresses: Vec<IpAddr> = match host.parse() {
        Ok(address) => vec![address],
        Err(_) => vec![IpAddr::from([127, 0, 0, 1]), std::net::Ipv6Addr::LOCALHOST.into()],
    };
    if host.parse::<IpAddr>().is_err() {
        // It was told to listen on an address of this machine's other than loopback.
        let own =
            listing.listeners.iter().filter(|l| l.port == port && l.uid == who).filter_map(|l| l.address);
        addresses.extend(own.filter(|address| !address.is_unspecified()));
    }
    let mut stranger = None;
    for address in addresses {
        let mut there = listing.listeners_at(address, port).peekable();
        if there.peek().is_none() {
            continue;
        }
        match there.find(|listener| listener.uid != who) {
            None => return Leads::Theirs(address.to_string()),
            Some(other) => stranger = stranger.or(Some(other.uid)),
        }
    }
    match (stranger, table) {
        (Some(uid), _) => Leads::Stranger(uid),
        (None, Table::Everybodys | Table::Own) => Leads::Nobody,
    }
}

/// Where `port` leads whoever comes from another machine. Nobody here knows to which of its addresses `node` leads over
/// there: so all that listen have to be theirs.
fn from_outside(listing: &Listing, who: u32, node: &str, port: u16) -> Leads {
    if listing.table != Some(Table::Everybodys) {
        return Leads::Unread;
    }
    let is_outside = |listener: &&Listener| {
        listener.port == port && !listener.address.is_some_and(|address| address.to_canonical().is_loopback())
    };
    let mut outside = listing.listeners.iter().filter(is_outside).peekable();
    if outside.peek().is_none() {
        return Leads::Nobody;
    }
    match outside.find(|listener| listener.uid != who) {
        None => Leads::Theirs(node.to_owned()),
        Some(other) => Leads::Stranger(other.uid),
    }
}

/// The port is known, and nothing that was written down can be used.
fn by_port(
    listing: &Listing,
    wanted: &Wanted,
    who: u32,
    port: u16,
    wrong: Vec<Wrong>,
) -> Result<Candidate, Failure> {
    if !is_loopback(&wanted.host) {
        return Ok(Candidate::bare(&wanted.host, port));
    }
    let candidate = reached(listing, wanted, who, port).map_err(|wrong| match wrong {
        Wrong::Stranger(port, uid) => words::stranger(port, uid, wanted.owner.as_deref()),
        Wrong::Unsafe(why) => why,
        Wrong::Gone | Wrong::NotMeant | Wrong::Unfit(_) => words::nobody_listens(port),
    })?;
    // The server is theirs; what it wrote may be somebody else's, so that the token has to come from elsewhere.
    let unsafe_file = wrong.into_iter().find_map(|why| match why {
        Wrong::Unsafe(failure) => Some(failure),
        Wrong::NotMeant | Wrong::Gone | Wrong::Unfit(_) | Wrong::Stranger(..) => None,
    });
    match unsafe_file {
        Some(failure) if wanted.token.is_none() => Err(failure),
        _ => Ok(candidate),
    }
}

/// A named port was right yesterday, perhaps: that one of theirs runs on another one is said.
fn with_another(listing: &Listing, wanted: &Wanted, who: u32, why: Failure) -> Failure {
    let anywhere = Wanted { port: None, ..wanted.clone() };
    let good = listing.files.iter().filter_map(|file| judge(listing, &anywhere, who, file).ok());
    good.map(|candidate| words::on_another_port(&why, &candidate.words())).next().unwrap_or(why)
}

/// Whatever of theirs listens among the ports: what another user's server wrote cannot be read.
fn in_range(listing: &Listing, wanted: &Wanted, who: u32) -> Vec<Candidate> {
    let Some((first, last)) = wanted.ports else { return Vec::new() };
    if !is_loopback(&wanted.host) || wanted.dir.is_some() || wanted.pid.is_some() || listing.me == Some(who) {
        return Vec::new();
    }
    let theirs = listing.listeners.iter().filter(|l| l.uid == who && (first..=last).contains(&l.port));
    let mut ports: Vec<u16> = theirs.map(|listener| listener.port).collect();
    ports.sort_unstable();
    ports.dedup();
    let reached = ports.into_iter().filter_map(|port| reached(listing, wanted, who, port).ok());
    reached.filter(|candidate| candidate.checked == Checked::Mine).collect()
}

/// Nothing can be used: the worst reason is told.
fn explain(wanted: &Wanted, wrong: Vec<Wrong>) -> Failure {
    let (mut stranger, mut unsafe_file, mut unfit) = (None, None, None);
    for why in wrong {
        match why {
            Wrong::Stranger(port, uid) => {
                stranger = Some(words::stranger(port, uid, wanted.owner.as_deref()))
            }
            Wrong::Unsafe(failure) => unsafe_file = Some(failure),
            Wrong::Unfit(why) => unfit = Some(why),
            Wrong::NotMeant | Wrong::Gone => {}
        }
    }
    stranger.or(unsafe_file).unwrap_or_else(|| words::missing(wanted, unfit))
}

/// Whether it is only missing, and may be told by others.
pub(super) fn is_missing(failure: &Failure) -> bool {
    failure.kind == FailureKind::NotebookMissing
}

#[cfg(test)]
#[path = "choose_tests.rs"]
mod tests;
