//! Our side of a session's callbacks: judges the host key, leads channels that a server opens towards us to
//! where we asked it to listen, refuses all others, and keeps the reason when the session ends, which the library tells to nobody else.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use nbtunnel_core::{Failure, HostKeyPolicy};
use russh::client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session};
use russh::keys::{PublicKey, PublicKeyOrCertificate};
use russh::{Channel, ChannelOpenFailure, Error};
use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;

use super::Stopwatch;
use super::classify::{announced, broken, quote};
use super::doors::{Door, Doors};
use super::hop::Hop;
use super::hostkey::{OfferedKey, Shown, judge, refusal};
use super::known_hosts::{Verdict, address_name};
use super::programs::Programs;
use super::report::{LinkEvent, Reporter};
use super::sight::Seen;
use super::trust::accept_new;
use super::wire::Tap;
use crate::wake::Clock;

/// What a session and the link that runs it both know.
pub(super) struct Shared {
    /// The machine that it is with.
    pub(super) to: Arc<Hop>,
    /// The machine as users know it.
    pub(super) hop: String,
    pub(super) reporter: Arc<Reporter>,
    pub(super) tap: Arc<Tap>,
    /// Set when the session is over, however it ended, or its link is.
    pub(super) gone: CancellationToken,
    /// The host keys that the server says it has. What it says first counts.
    pub(super) announced: SetOnce<Vec<PublicKey>>,
    peer: OnceLock<IpAddr>,
    may_update: AtomicBool,
    /// Where the server listens for us.
    pub(super) doors: Arc<Doors>,
    /// What we run there.
    pub(super) programs: Arc<Programs>,
    cause: Mutex<Option<Failure>>,
    banners: AtomicU32,
    strays: AtomicBool,
    /// How many bytes had come when the last of these texts did.
    banner_at: AtomicU64,
}

/// So many of the texts that a server shows during one login are passed on (RFC 4252 §5.4).
const MAX_BANNERS: u32 = 64;

impl Shared {
    pub(super) fn new(to: Arc<Hop>, reporter: Arc<Reporter>, stopwatch: Stopwatch) -> Arc<Shared> {
        Shared::named(to.label(), to, reporter, stopwatch)
    }

    /// The same for a machine on the way.
    pub(super) fn jump_host(to: Arc<Hop>, reporter: Arc<Reporter>, stopwatch: Stopwatch) -> Arc<Shared> {
        Shared::named(format!("jump host {}", to.label()), to, reporter, stopwatch)
    }

    fn named(hop: String, to: Arc<Hop>, reporter: Arc<Reporter>, stopwatch: Stopwatch) -> Arc<Shared> {
        let tap = Arc::new(Tap::new(stopwatch));
        let (gone, cause) = (CancellationToken::new(), Mutex::default());
        let doors = Doors::new(gone.clone());
        let (programs, announced, peer, may_update, banners, banner_at, strays) = Default::default();
        Arc::new(Shared {
            to,
            hop,
            reporter,
            tap,
            gone,
            announced,
            peer,
            may_update,
            doors,
            programs,
            cause,
            banners,
            strays,
            banner_at,
        })
    }

    /// The session goes to this address, and nobody stands in between whom we know of.
    pub(super) fn reaches(&self, peer: IpAddr) {
        let _ = self.peer.set(peer);
    }

    /// Its address as it is looked up in the known_hosts files, where it is (`CheckHostIP`).
    pub(super) fn address(&self) -> Option<String> {
        address_name(&self.to, self.peer.get().copied())
    }

    /// Whether the server was recognised by a plain key of its own, in a file of the user's.
    pub(super) fn may_update(&self) -> bool {
        self.may_update.load(Relaxed)
    }

    /// The server shows a text.
    fn says(&self, banner: &str) {
        self.banner_at.store(self.tap.traffic.read(), Relaxed);
        let text = quote(banner);
        if !text.is_empty() && self.banners.fetch_add(1, Relaxed) < MAX_BANNERS {
            self.reporter.note(&format!("{} says: {text}", self.hop));
        }
    }

    /// The server sent somebody from `door`, where it is not asked to listen. Told once.
    fn stray(&self, door: &Door) {
        if !self.strays.swap(true, Relaxed) {
            let door = quote(&door.to_string());
            self.reporter.note(&format!(
                "{} brings connections from {door}, where it is not asked to listen; none is let in",
                self.hop
            ));
        }
    }

    /// Whether more came than the first `before` bytes and the texts that the server shows.
    pub(super) fn heard_since(&self, before: u64) -> bool {
        self.tap.traffic.read() > before.max(self.banner_at.load(Relaxed))
    }

    /// Tells how a step ended.
    pub(super) fn saw(&self, seen: Seen) {
        self.reporter.saw(&self.to, seen);
    }

    /// The first cause is the true one; what follows are its consequences.
    pub(super) fn blame(&self, failure: Failure) {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
    }

    /// Why the session ended, as far as it said.
    pub(super) fn cause(&self) -> Option<Failure> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The handler of one session.
pub(super) struct Client(pub(super) Arc<Shared>);

impl Drop for Client {
    /// The session's task owns us: whatever ended it, a panic too, is noticed here.
    fn drop(&mut self) {
        self.0.gone.cancel();
    }
}

impl Client {
    async fn is_trusted(&self, shown: Shown) -> bool {
        let shared = &self.0;
        let (to, address, now_s) = (Arc::clone(&shared.to), shared.address(), Clock.wall_ms() / 1000);
        let judging = tokio::task::spawn_blocking(move || judge(&to, address, &shown, now_s));
        let Ok(judged) = judging.await else { return false };
        for note in &judged.notes {
            shared.reporter.note(note);
        }
        match (&judged.verdict, shared.to.host_keys.policy) {
            (Verdict::Known, _) => {
                shared.may_update.store(judged.may_update, Relaxed);
                if let Some(doubt) = &judged.offered.doubt {
                    shared.reporter.note(&format!("{} is recognised by its plain key: {doubt}", shared.hop));
                }
                shared.saw(Seen::HostKey(Box::new(judged.offered)));
                true
            }
            (Verdict::Unknown, HostKeyPolicy::AcceptNew) => {
                let (this, offered) = (Arc::clone(shared), judged.offered.clone());
                let accepting = move || accept_new(this.reporter.tunnel(), &this.to, &offered);
                match tokio::task::spawn_blocking(accepting).await {
                    Ok(Ok(note)) => {
                        shared.reporter.note(&note);
                        shared.saw(Seen::HostKey(Box::new(judged.offered)));
                        true
                    }
                    Ok(Err(refused)) => {
                        let (failure, offered) = *refused;
                        self.refuse(failure, offered)
                    }
                    Err(_) => false,
                }
            }
            _ => self.refuse(refusal(&judged, &shared.hop, shared.reporter.tunnel()), judged.offered),
        }
    }

    fn knock(&self, door: Door, channel: Channel<Msg>, reply: ChannelOpenHandle) {
        let shared = Arc::clone(&self.0);
        self.0.doors.knock(door, channel, reply, move |door| shared.stray(door));
    }

    fn refuse(&self, why: Failure, offered: OfferedKey) -> bool {
        self.0.blame(why);
        let hop = Hop::clone(&self.0.to);
        self.0.reporter.tell(LinkEvent::HostKey(Box::new((hop, offered))));
        false
    }
}

impl Handler for Client {
    type Error = Error;

    /// Only after this said yes is anything sent that could authenticate us.
    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Error> {
        Ok(self.is_trusted(key.into()).await)
    }

    async fn openssh_ext_host_keys_announced(
        &mut self,
        keys: Vec<PublicKey>,
        _: &mut Session,
    ) -> Result<(), Error> {
        let _ = self.0.announced.set(keys);
        Ok(())
    }

    async fn auth_banner(&mut self, banner: &str, _: &mut Session) -> Result<(), Error> {
        self.0.says(banner);
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Error>) -> Result<(), Error> {
        self.0.blame(match &reason {
            DisconnectReason::ReceivedDisconnect(info) => announced(&self.0.hop, &info.message),
            DisconnectReason::Error(error) => broken(&self.0.hop, error, &self.0.tap),
        });
        Ok(())
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<Msg>,
        address: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        match u16::try_from(port) {
            Ok(port) => self.knock(Door::Tcp(address.to_owned(), port), channel, reply),
            Err(_) => reject(reply).await?,
        }
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        self.knock(Door::Socket(path.to_owned()), channel, reply);
        Ok(())
    }

    // The library accepts all of these unless told otherwise. We never ask a server to open anything of the kind.

    async fn server_channel_open_agent_forward(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        reject(reply).await
    }

    async fn server_channel_open_unknown(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        reject(reply).await
    }

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        reject(reply).await
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        reject(reply).await
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        reject(reply).await
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Error> {
        reject(reply).await
    }
}

async fn reject(reply: ChannelOpenHandle) -> Result<(), Error> {
    reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
    Ok(())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use crate::ssh::report::Told;

    #[test]
    fn a_server_that_talks_without_end_is_not_listened_to_without_end() {
        let to = crate::ssh::testbed::hop("h", 22);
        let heard = Arc::new(AtomicU32::new(0));
        let hear = Arc::clone(&heard);
        let on = Arc::new(move |_| {
            hear.fetch_add(1, Relaxed);
        });
        let reporter = Reporter::new("t", on, Told::default());
        let shared = Shared::new(Arc::new(to), reporter, crate::wake::stopwatch());
        (0..1000).for_each(|number| shared.says(&format!("line {number}")));
        assert_eq!(heard.load(Relaxed), MAX_BANNERS);
    }
}
