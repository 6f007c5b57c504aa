//! A way for one client of the daemon over its tunnel's link: held and carried like a connection that a listener
//! accepted, though nobody listens for it.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use nbtunnel_core::{Failure, FailureKind, ForwardId, ForwardReport, Input, ListenAt, Policy, Target};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::accepted::Accepted;
use super::activity::{Activity, Counted, Place};
use super::carrier::{Carrier, GateNow};
use super::connection::{attend, lasting};
use super::local::Local;
use super::services::Services;
use super::standing::Standing;
use super::{lock, sys};

/// The number that core gives to no forward of its own.
const NO_FORWARD: ForwardId = ForwardId(u32::MAX);

/// Asks a login where its SSH server is.
const WHERE: &str = "echo \"$SSH_CONNECTION\"";

/// How long that may take.
const WHERE_PATIENCE: Duration = Duration::from_secs(20);

/// What a program of this system has as a connection.
pub type RawStream = sys::RawStream;

/// Where the SSH server at the far end of a link is, as that sees it, and by which link that is known.
#[derive(Clone, Default)]
pub struct ServerAt(Arc<Mutex<Option<Known>>>);

/// By whom, and where.
type Known = (Weak<dyn Carrier>, Target);

/// A way that somebody asked for. Dropping it ends it.
pub struct Proxy {
    standing: Arc<Standing>,
    counted: Counted,
    server_at: ServerAt,
    ending: Arc<Ending>,
}

/// How it ended, for whoever asks afterwards.
#[derive(Debug, Default)]
pub struct Ending(Mutex<End>);

#[derive(Debug, Default)]
struct End {
    cut: bool,
    why: Option<Failure>,
}

/// Why there is no way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoWay {
    /// The tunnel lets nobody wait: it is stopped, or parked.
    Shut,
    /// Nobody was to wait longer.
    Expired,
    /// Too many wait already.
    Full,
    /// The far end does not say where its server is.
    Failed(Failure),
}

impl Ending {
    /// Whether it was cut off, and why if that is known.
    pub fn cut(&self) -> Option<Option<Failure>> {
        let end = lock(&self.0);
        end.cut.then(|| end.why.clone())
    }

    /// To be called before the socket closes, so that whoever sees that can ask.
    pub(super) fn is(&self, in_order: bool) {
        lock(&self.0).cut = !in_order;
    }
}

impl Proxy {
    /// A way through `gate`; it counts in `activity`.
    pub fn new(
        services: &Arc<Services>,
        policy: watch::Receiver<Policy>,
        gate: watch::Receiver<GateNow>,
        activity: &Arc<Activity>,
        server_at: ServerAt,
    ) -> Proxy {
        let ending = Arc::new(Ending::default());
        let told = Arc::clone(&ending);
        let standing = Arc::new(Standing {
            id: NO_FORWARD,
            // For sentences: no real place.
            listen: ListenAt::Socket("nbctl proxy".into()),
            services: Arc::clone(services),
            activity: Arc::clone(activity),
            tally: Arc::default(),
            carried: Arc::default(),
            policy,
            gate,
            // Known before anything is carried.
            target: watch::Sender::new(Target::Socks),
            notebook: None,
            guests: Mutex::default(),
            // Its place in the file system lets nobody else in.
            owner_only: watch::Sender::new(Some(false)),
            guarded: Mutex::default(),
            stop: CancellationToken::new(),
            tells_end: AtomicBool::new(false),
            // Core knows no such forward.
            report: Arc::new(move |input| {
                if let Input::Forward(_, ForwardReport::Denied(why)) = input {
                    lock(&told.0).why = Some(why);
                }
            }),
            told: Mutex::default(),
        });
        let counted = Counted::new(Arc::clone(&standing.tally), Arc::clone(activity));
        Proxy { standing, counted, server_at, ending }
    }

    /// How it ends, once it has.
    pub fn ending(&self) -> Arc<Ending> {
        Arc::clone(&self.ending)
    }

    /// Waits for the link, as long as the policy grants, and finds out where the server is unless `target` says so.
    ///
    /// # Errors
    /// Why there is no way.
    pub async fn ready(&mut self, target: Option<Target>) -> Result<(), NoWay> {
        let mut gate = self.standing.gate.clone();
        let hold = self.standing.policy.borrow().hold;
        let mut patience = pin!(lasting(hold));
        loop {
            let now = gate.borrow_and_update().clone();
            match now {
                GateNow::Reset => return Err(NoWay::Shut),
                GateNow::Hold => {}
                GateNow::Serve(carrier) => {
                    self.counted.move_to(Place::Open);
                    let found = match &target {
                        Some(target) => Ok(target.clone()),
                        None => self.server_at.find(&carrier).await,
                    };
                    match found {
                        Ok(target) => {
                            self.standing.target.send_replace(target);
                            return Ok(());
                        }
                        // The next link may tell.
                        Err(failure) if failure.kind == FailureKind::Disconnected => {}
                        Err(failure) => return Err(NoWay::Failed(failure)),
                    }
                }
            }
            if hold.is_zero() {
                return Err(NoWay::Expired);
            }
            if !self.counted.move_to(Place::Held) {
                return Err(NoWay::Full);
            }
            tokio::select! {
                biased;
                changed = gate.changed() => changed.map_err(|_| NoWay::Shut)?,
                () = &mut patience => return Err(NoWay::Expired),
            }
        }
    }

    /// Carries `raw` to its end. To be called on the data runtime.
    pub async fn carry(self, raw: RawStream) {
        let local = match sys::adopt(raw) {
            Ok(local) => local,
            Err(error) => {
                lock(&self.ending.0).why = Some(not_taken(&error));
                return self.ending.is(false);
            }
        };
        let local = Accepted::new(Local::from(local), &self.standing).telling(self.ending);
        attend(local, Arc::clone(&self.standing)).await;
    }
}

impl ServerAt {
    /// Asks over there, once a link.
    async fn find(&self, carrier: &Arc<dyn Carrier>) -> Result<Target, Failure> {
        let known = lock(&self.0).clone();
        if let Some((by, target)) = known
            && std::ptr::addr_eq(by.as_ptr(), Arc::as_ptr(carrier))
        {
            return Ok(target);
        }
        let ran = Arc::clone(carrier).run(WHERE.to_owned(), WHERE_PATIENCE).await.map_err(say_where)?;
        let said = String::from_utf8_lossy(&ran.output);
        let target = server_of(&said).ok_or_else(unsaid)?;
        *lock(&self.0) = Some((Arc::downgrade(carrier), target.clone()));
        Ok(target)
    }
}

/// The server in `SSH_CONNECTION`: "client port server port" (ssh(1)).
fn server_of(connection: &str) -> Option<Target> {
    let mut words = connection.split_ascii_whitespace().skip(2);
    let (address, port) = (words.next()?, words.next()?.parse().ok().filter(|port| *port != 0)?);
    // It knows its own interfaces, and takes no zone (RFC 4007 §11) from us.
    let address = address.split('%').next()?;
    address.parse::<std::net::IpAddr>().ok()?;
    Some(Target::Tcp(address.to_owned(), port))
}

const SAY_WHERE: &str = "say where its SSH server is, as in `nbctl proxy NAME localhost:22`";

fn say_where(failure: Failure) -> Failure {
    match failure.kind {
        FailureKind::NoShell => Failure { hint: SAY_WHERE.to_owned(), ..failure },
        _ => failure,
    }
}

fn unsaid() -> Failure {
    Failure::new(FailureKind::NoShell, "the server does not say at which port it is", SAY_WHERE)
}

fn not_taken(error: &std::io::Error) -> Failure {
    Failure::new(
        FailureKind::Internal,
        format!("the connection of nbctl could not be taken over: {error}"),
        "try again; if it stays so, please report it, with the daemon's log",
    )
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("ending", &self.ending).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_the_second_pair() {
        let tcp = |address: &str, port| Some(Target::Tcp(address.into(), port));
        assert_eq!(server_of("10.0.0.2 5555 10.0.0.1 2222\n"), tcp("10.0.0.1", 2222));
        assert_eq!(server_of("fe80::2%eth0 5 fe80::1%eth0 22"), tcp("fe80::1", 22));
        for bad in [
            "",
            "\n",
            "1 2 3",
            "1 2 host 22",
            "1 2 10.0.0.1 0",
            "1 2 10.0.0.1 99999",
            "UNKNOWN 65535 UNKNOWN 65535",
        ] {
            assert_eq!(server_of(bad), None, "{bad}");
        }
    }
}
