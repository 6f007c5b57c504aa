//! systemd's descriptor store (FDSTORE=1 of `sd_notify(3)`): it keeps the listeners of forwards open while the
//! daemon is restarted or has crashed, and hands them to the next one. At `systemctl stop` it closes them.
//!
//! A socket that is kept listens also when nobody serves it: clients would wait for ever. So what is let go of
//! stops to listen here and now (`shutdown(2)` is for all who have it open), and is then taken out of the store.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::net::sockopt;
use sd_notify::NotifyState;
use socket2::{SockAddr, SockRef, Socket};

use crate::forward::Keep;

/// Begins the name of each socket in the store. Nothing else that is handed over is called so.
const PREFIX: &str = "forward-";

/// What the store handed over at the start: sockets with their names.
#[derive(Debug, Default)]
pub struct Handed(Vec<(String, OwnedFd)>);

impl Handed {
    /// Whether something of this name comes from the store.
    pub(super) fn is_called(name: &str) -> bool {
        name.starts_with(PREFIX)
    }

    pub(super) fn push(&mut self, name: String, socket: OwnedFd) {
        self.0.push((name, socket));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps listeners in the store from now on. `None` where no service manager runs us: then there is none.
    /// One that gives us no room (`FileDescriptorStoreMax=`) leaves what it is sent unheeded.
    pub fn keep(self) -> Option<Arc<dyn Keep>> {
        std::env::var_os("NOTIFY_SOCKET")?;
        let (tell, told) = channel();
        // A thread of its own: a service manager that is busy is waited for, in order, and nobody else waits.
        let thread = std::thread::Builder::new().name("store".into());
        let spawned = thread.spawn(move || told.into_iter().for_each(|notice: Notice| notice.send()));
        if let Err(error) = spawned {
            tracing::warn!(%error, "listeners will not survive a restart: there is no thread to keep them");
            return None;
        }
        Some(Arc::new(Store::new(self, tell)))
    }
}

/// What the service manager is told.
#[derive(Debug)]
enum Notice {
    Keep(String, Socket),
    LetGo(String),
}

impl Notice {
    fn send(self) {
        let sent = match &self {
            Notice::Keep(name, socket) => {
                let states = [NotifyState::FdStore, NotifyState::FdName(name)];
                sd_notify::notify_with_fds(&states, &[socket.as_fd()])
            }
            Notice::LetGo(name) => {
                sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)])
            }
        };
        if let Err(error) = sent {
            // One that does not listen any more is thrown out by the manager itself (FDPOLL=1).
            tracing::debug!(%error, "the service manager did not take {self:?}");
        }
    }
}

struct Store {
    sockets: Mutex<Sockets>,
    tell: Sender<Notice>,
}

#[derive(Default)]
struct Sockets {
    unclaimed: Vec<Unclaimed>,
    /// The name in the store, by what tells sockets apart.
    kept: HashMap<u64, String>,
}

/// Handed over, and wanted by no forward yet.
struct Unclaimed {
    name: String,
    cookie: u64,
    socket: Socket,
}

impl Store {
    fn new(handed: Handed, tell: Sender<Notice>) -> Store {
        let mut sockets = Sockets::default();
        for (name, socket) in handed.0 {
            match cookie(&socket) {
                Ok(cookie) if sockopt::socket_acceptconn(&socket).unwrap_or(false) => {
                    sockets.unclaimed.push(Unclaimed { name, cookie, socket: socket.into() });
                }
                _ => {
                    let _ = tell.send(Notice::LetGo(name));
                }
            }
        }
        Store { sockets: Mutex::new(sockets), tell }
    }

    fn sockets(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_up(&self, unclaimed: Unclaimed) {
        tracing::info!("nothing is forwarded from {} any more", unclaimed.shown());
        if let Some(path) = unclaimed.path() {
            let _ = std::fs::remove_file(path);
        }
        let _ = unclaimed.socket.shutdown(std::net::Shutdown::Both);
        self.tell(Notice::LetGo(unclaimed.name));
    }

    /// The thread that hears it lives for as long as this does.
    fn tell(&self, notice: Notice) {
        let _ = self.tell.send(notice);
    }
}

impl Keep for Store {
    fn adopt(&self, at: &SockAddr) -> Option<Socket> {
        self.sockets().unclaimed.iter().find(|kept| kept.listens_at(at))?.socket.try_clone().ok()
    }

    fn make_way(&self, at: &SockAddr) -> bool {
        let sockets = &mut self.sockets().unclaimed;
        let before = sockets.len();
        for in_the_way in sockets.extract_if(.., |kept| kept.overlaps(at)) {
            self.give_up(in_the_way);
        }
        sockets.len() < before
    }

    fn keep(&self, socket: SockRef<'_>) {
        let Ok(cookie) = cookie(&*socket) else {
            return tracing::debug!("a listener cannot be told from others, and will not survive a restart");
        };
        let mut sockets = self.sockets();
        if let Some(at) = sockets.unclaimed.iter().position(|kept| kept.cookie == cookie) {
            let claimed = sockets.unclaimed.swap_remove(at);
            tracing::debug!("{} was kept open for us", claimed.shown());
            sockets.kept.insert(cookie, claimed.name);
            return;
        }
        match socket.try_clone() {
            Ok(copy) => {
                let name = name(cookie, &socket);
                self.tell(Notice::Keep(name.clone(), copy));
                sockets.kept.insert(cookie, name);
            }
            Err(error) => tracing::warn!(%error, "a listener will not survive a restart"),
        }
    }

    fn let_go(&self, socket: SockRef<'_>) {
        let Ok(cookie) = cookie(&*socket) else { return };
        let name = self.sockets().kept.remove(&cookie);
        if let Some(name) = name {
            self.tell(Notice::LetGo(name));
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
    }

    fn let_go_of_the_rest(&self) {
        let rest = std::mem::take(&mut self.sockets().unclaimed);
        rest.into_iter().for_each(|unclaimed| self.give_up(unclaimed));
    }
}

impl Unclaimed {
    fn listens_at(&self, at: &SockAddr) -> bool {
        match at.as_socket() {
            Some(address) => self.socket.local_addr().is_ok_and(|ours| ours.as_socket() == Some(address)),
            None => at.as_pathname().is_some_and(|path| self.path().as_deref() == Some(path)),
        }
    }

    /// Whether nobody else can listen at `at` beside it: one of the two is for all addresses of that family.
    fn overlaps(&self, at: &SockAddr) -> bool {
        let ours = self.socket.local_addr().ok().and_then(|ours| ours.as_socket());
        ours.zip(at.as_socket()).is_some_and(|(ours, at)| {
            let all = ours.ip().is_unspecified() || at.ip().is_unspecified();
            ours.port() == at.port() && ours.is_ipv4() == at.is_ipv4() && all
        })
    }

    /// Its path, if that still leads to it.
    fn path(&self) -> Option<std::path::PathBuf> {
        let path = self.socket.local_addr().ok()?.as_pathname()?.to_owned();
        // The socket keeps its file from being freed, so that no other one has its number.
        (self.name == name_at(self.cookie, &path)?).then_some(path)
    }

    fn shown(&self) -> String {
        let address = self.socket.local_addr().ok();
        let shown = address.and_then(|at| match at.as_socket() {
            Some(address) => Some(address.to_string()),
            None => Some(at.as_pathname()?.display().to_string()),
        });
        shown.unwrap_or_else(|| self.name.clone())
    }
}

/// What tells a socket from all others that this system has had since it was started, by whatever descriptor.
fn cookie(socket: &impl AsFd) -> rustix::io::Result<u64> {
    sockopt::socket_cookie(socket)
}

/// The name in the store: unique, and with a ':' in it the manager would take none.
fn name(cookie: u64, socket: &Socket) -> String {
    let path = socket.local_addr().ok().and_then(|at| at.as_pathname().map(Path::to_owned));
    path.and_then(|path| name_at(cookie, &path)).unwrap_or_else(|| format!("{PREFIX}{cookie:x}"))
}

/// That of a Unix-domain socket also says which file its path leads to: the socket itself does not tell.
fn name_at(cookie: u64, path: &Path) -> Option<String> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some(format!("{PREFIX}{cookie:x}-{:x}-{:x}", metadata.dev(), metadata.ino()))
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
