//! Notebook servers at the far end: found, checked to be the user's own, asked how they fare. It speaks over a
//! [`FarSide`] and knows nothing of SSH, and decides nothing: core says when to look, and what follows.
//!
//! No token goes anywhere before the listings of the far end say whose port it is, where they can be read.

mod choose;
mod enter;
mod errand;
mod http;
mod listener;
mod listing;
mod look;
mod mark;
mod probe;
mod script;
mod server_file;
mod tls;
mod words;

use std::sync::Arc;
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind, Target};
use nbtunnel_proto::Secret;

use crate::forward::far_side::FarSide;
use choose::{Candidate, Leads};
use listing::Listing;
use probe::{Guess, Trouble};

pub use errand::{Done, Errand, carry_out, log};
pub use look::{Health, LookId, Vitals, look, words_of};
pub use nbtunnel_core::Scheme;

/// A script is over by then.
const PATIENCE: Duration = Duration::from_secs(15);
/// The same, of one that starts Python, from a file system that may be slow.
const LIST_PATIENCE: Duration = Duration::from_secs(40);

/// Of servers that all fit, so many are asked what they are.
const MOST_MET: usize = 3;

/// Which server is looked for. What is named has to fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The notebook's machine seen from the far end; `localhost` is the far end itself.
    pub host: String,
    /// Its port.
    pub port: Option<u16>,
    /// Whose it is; none for the account that we log in as.
    pub owner: Option<String>,
    /// Its root directory; may begin with `~/`.
    pub dir: Option<String>,
    /// Its port is among these, both included.
    pub ports: Option<(u16, u16)>,
    /// How it is spoken to.
    pub scheme: Scheme,
    /// The token that the file names.
    pub token: Option<Secret>,
    /// Its process.
    pub pid: Option<u32>,
    /// Of several that fit it is this one again, if it is still there.
    pub last: Option<Last>,
    /// What the login machine calls the machine that is asked, where that is another one.
    pub node: Option<String>,
    /// The directory at the far end of a notebook that is started from here.
    pub started_as: Option<String>,
    /// The same of other notebooks, whose servers are not meant.
    pub not: Vec<String>,
    /// The job that it runs in.
    pub job: Option<u64>,
}

/// A server that was found before, as far as others are told from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Last {
    /// Its process.
    pub pid: Option<u32>,
    /// Its port.
    pub port: u16,
    /// The directory that it served.
    pub root_dir: Option<String>,
}

impl Last {
    /// Whether this is the one with that process, where that is known, and port.
    pub fn is(&self, pid: Option<u32>, port: u16) -> bool {
        self.port == port && (self.pid == pid || self.pid.is_none() || pid.is_none())
    }
}

impl Wanted {
    /// Whichever of our own runs at the far end itself.
    pub fn any() -> Wanted {
        Wanted {
            host: "localhost".to_owned(),
            port: None,
            owner: None,
            dir: None,
            ports: None,
            scheme: Scheme::Auto,
            token: None,
            pid: None,
            last: None,
            node: None,
            started_as: None,
            not: Vec::new(),
            job: None,
        }
    }

    /// Whether this is the one that was found last.
    fn meant_last(&self, candidate: &Candidate) -> bool {
        let pid = candidate.file.as_ref().and_then(|file| file.pid);
        self.last.as_ref().is_some_and(|last| last.is(pid, candidate.port))
    }
}

/// A server that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where a channel is opened to: an address of the far end where `localhost` was asked for and listeners could
    /// be read, since one name may lead to two users' servers.
    pub host: String,
    /// Its port there.
    pub port: u16,
    /// It speaks TLS.
    pub https: bool,
    /// Where its pages begin: `/`, `/user/me/`.
    pub base_url: String,
    /// What lets one in; none where nothing is known, or nothing needed.
    pub token: Option<Secret>,
    /// It asks for a password.
    pub password: bool,
    /// The directory that it serves.
    pub root_dir: Option<String>,
    /// Its process.
    pub pid: Option<u32>,
    /// Its version, as it tells.
    pub version: Option<String>,
    /// What sort it is.
    pub kind: Kind,
    /// Whether its owner could be seen.
    pub checked: Checked,
    /// Its certificate was taken unseen, since SSH vouches for the machine.
    pub self_signed: bool,
    /// Whose it is; none for the account that we log in as.
    pub owner: Option<String>,
    /// Other servers that would have fitted.
    pub others: Vec<String>,
    /// [`Wanted::last`] has ended.
    pub last_ended: bool,
    /// The server is there, and nobody gets in: it refuses the token, or wants one that is not known.
    pub token_problem: Option<Failure>,
    /// What the login machine calls its machine, where that is another one.
    pub node: Option<String>,
    /// Where it is for a forward, seen from the end of the link.
    pub target: Target,
}

/// What sort of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// jupyter-server, under JupyterLab and notebook 7.
    Server2,
    /// notebook 6 and older.
    Notebook6,
    /// One that a JupyterHub started.
    Hub,
    /// It does not say.
    Unknown,
}

/// Whether it was seen whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Its port is its owner's.
    Mine,
    /// That could not be read where it runs.
    NotReadable,
}

/// Finds the server that is wanted. One script tells what runs there; then it is asked what it is, first without
/// its token.
///
/// # Errors
/// None is there ([`FailureKind::NotebookMissing`]), what is there is another user's or could be
/// ([`FailureKind::NotYours`]) or is no notebook ([`FailureKind::NotebookFailed`]), or the far end cannot be asked.
pub async fn find(far: Arc<dyn FarSide>, wanted: &Wanted) -> Result<Server, Failure> {
    if let Some(owner) = wanted.owner.as_deref().filter(|owner| !script::is_account(owner)) {
        return Err(words::no_such_account(owner));
    }
    let Choice { candidates, last_ended } = candidates(&far, wanted).await?;
    let mut first = None;
    for (at, candidate) in candidates.iter().enumerate().take(MOST_MET) {
        match meet(&far, wanted, candidate).await {
            Ok(mut server) => {
                let others = candidates.iter().enumerate().filter(|(other, _)| *other != at);
                server.others = others.map(|(_, other)| other.words()).collect();
                server.last_ended = last_ended;
                return Ok(server);
            }
            Err(Trouble::Link(why)) => return Err(why),
            // It may only be busy: whoever uses it wants these kernels, and no others at their address.
            Err(Trouble::Silent(_)) if !last_ended && wanted.meant_last(candidate) => {
                let others = candidates.iter().filter(|other| other.port != candidate.port);
                return Err(words::silent_beside(
                    candidate.port,
                    &others.map(Candidate::words).collect::<Vec<_>>(),
                ));
            }
            Err(why) => first = first.or(Some(why.failure())),
        }
    }
    Err(first.unwrap_or_else(|| words::missing(wanted, None)))
}

/// The process of the server that is wanted, looked up now: a number that was seen earlier may be another's. The server
/// itself is not asked, since one that hangs is to be ended, too.
///
/// # Errors
/// As [`find`], but that none is there is no failure; and that a server is there whose process nobody tells.
async fn process_of(far: &Arc<dyn FarSide>, wanted: &Wanted) -> Result<Option<u32>, Failure> {
    let candidates = match candidates(far, wanted).await {
        Ok(choice) => choice.candidates,
        Err(why) if choose::is_missing(&why) => return Ok(None),
        Err(why) => return Err(why),
    };
    let pid = |candidate: &Candidate| candidate.file.as_ref().and_then(|file| file.pid);
    match candidates.iter().find(|candidate| candidate.checked == Checked::Mine).and_then(pid) {
        Some(pid) => Ok(Some(pid)),
        None => Err(words::no_process(candidates.first().map_or(0, |first| first.port))),
    }
}

/// Whether `server` is still there, and still theirs: asked before a target is set to it again.
///
/// # Errors
/// As [`find`].
pub async fn verify(far: Arc<dyn FarSide>, server: &Server) -> Result<(), Failure> {
    if server.checked != Checked::Mine {
        return Ok(());
    }
    let pids: Vec<u32> = server.pid.into_iter().collect();
    let listing = ask(&far, script::verify(server.owner.as_deref(), &pids), PATIENCE).await?;
    let who = listing.who.filter(|_| listing.whole).ok_or_else(words::unreadable)?;
    match choose::leads(&listing, who, server.node.as_deref(), &server.host, server.port) {
        Leads::Theirs(_) | Leads::Unread => {}
        Leads::Stranger(uid) => return Err(words::stranger(server.port, uid, server.owner.as_deref())),
        Leads::Nobody => return Err(words::nobody_listens(server.port)),
    }
    let lives =
        server.pid.is_none_or(|pid| listing.processes.get(&pid).is_some_and(|process| process.uid == who));
    if lives { Ok(()) } else { Err(words::nobody_listens(server.port)) }
}

/// What the listings come to.
struct Choice {
    /// Those that may be spoken to, the likeliest first.
    candidates: Vec<Candidate>,
    /// See [`Server::last_ended`].
    last_ended: bool,
}

async fn candidates(far: &Arc<dyn FarSide>, wanted: &Wanted) -> Result<Choice, Failure> {
    let elsewhere = !is_loopback(&wanted.host);
    let listing = match (ask(far, script::find(wanted, elsewhere), PATIENCE).await, wanted.port) {
        (Ok(listing), _) => listing,
        // No program may be run there: who listens cannot be read.
        (Err(why), Some(port)) if why.kind == FailureKind::NoShell => {
            let candidates = vec![Candidate::bare(&wanted.host, port)];
            return Ok(Choice { candidates, last_ended: false });
        }
        (Err(why), _) => return Err(why),
    };
    let last_ended = choose::has_ended(&listing, wanted);
    let chosen = choose::choose(&listing, wanted);
    // Python takes its second to start: Jupyter is asked itself only where none of the usual directories is there,
    // so that it must keep its files elsewhere.
    let asks = listing.has_jupyter && !listing.has_dir && wanted.owner.is_none() && !elsewhere;
    let candidates = match chosen {
        Err(why) if asks && choose::is_missing(&why) => told(far, wanted).await.map_err(|_| why)?,
        Ok(chosen) if asks && chosen.iter().all(|candidate| candidate.file.is_none()) => {
            told(far, wanted).await.unwrap_or(chosen)
        }
        chosen => chosen?,
    };
    Ok(Choice { candidates, last_ended })
}

/// What Jupyter itself tells, checked as all else is.
async fn told(far: &Arc<dyn FarSide>, wanted: &Wanted) -> Result<Vec<Candidate>, Failure> {
    let listed = ask(far, script::list(), LIST_PATIENCE).await?.files;
    let pids: Vec<u32> = listed.iter().filter_map(|file| file.server.as_ref().ok()?.pid).take(64).collect();
    let mut listing = ask(far, script::verify(None, &pids), PATIENCE).await?;
    listing.files = listed;
    choose::choose(&listing, wanted)
}

async fn ask(far: &Arc<dyn FarSide>, script: String, patience: Duration) -> Result<Listing, Failure> {
    let ran = Arc::clone(far).run(script, patience).await?;
    Ok(Listing::read(&ran.output))
}

/// Asks a candidate what it is, and whether its token opens it, at one of its addresses after the other. What is in the
/// way at each is told.
async fn meet(far: &Arc<dyn FarSide>, wanted: &Wanted, candidate: &Candidate) -> Result<Server, Trouble> {
    let mut said = Vec::from_iter(candidate.barred.clone());
    let (mut last, mut is_silent) = (words::missing(wanted, None), false);
    for host in &candidate.hosts {
        let why = match meet_at(far, wanted, candidate, host).await {
            Ok(server) => return Ok(server),
            Err(why @ Trouble::Link(_)) => return Err(why),
            Err(why) => why,
        };
        is_silent |= matches!(why, Trouble::Silent(_));
        last = why.failure();
        said.push(last.message);
        last.message = said.join("; ");
    }
    Err(if is_silent { Trouble::Silent(last) } else { Trouble::Server(last) })
}

async fn meet_at(
    far: &Arc<dyn FarSide>,
    wanted: &Wanted,
    candidate: &Candidate,
    host: &str,
) -> Result<Server, Trouble> {
    let file = candidate.file.as_ref();
    let guess = Guess {
        host,
        port: candidate.port,
        scheme: wanted.scheme,
        https: file.is_some_and(|file| file.https),
        base_url: file.map(|file| &*file.base_url),
    };
    let answers = probe::identify(far, guess).await?;
    let kind = match answers.kind {
        Kind::Unknown if file.is_some_and(|file| file.classic) => Kind::Notebook6,
        Kind::Unknown if file.is_some() => Kind::Server2,
        kind => kind,
    };
    let entered =
        enter::enter(far, guess, &answers, kind, [wanted.token.as_ref(), candidate.token()]).await?;
    Ok(Server {
        host: host.to_owned(),
        port: candidate.port,
        https: answers.https,
        base_url: answers.base_url,
        token: entered.token,
        password: entered.password,
        root_dir: file.and_then(|file| file.root_dir.clone()),
        pid: file.and_then(|file| file.pid),
        version: answers.version,
        kind,
        checked: candidate.checked,
        self_signed: answers.https && is_loopback(host),
        owner: wanted.owner.clone(),
        others: Vec::new(),
        last_ended: false,
        token_problem: entered.problem,
        node: wanted.node.clone(),
        target: Target::Tcp(host.to_owned(), candidate.port),
    })
}

/// Whether this is the far end itself.
pub(crate) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|a| a.is_loopback())
}
