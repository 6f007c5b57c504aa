//! Somebody else on this machine: what a thread does as another user. Linux keeps users by thread (setuid(2)), and a
//! socket belongs to the user of the thread that made it.

use anyhow::{Context, Result, anyhow};
use rustix::process::Uid;
use rustix::thread::set_thread_uid;

/// Does `act` as the user `uid`, in a thread of its own.
///
/// # Errors
/// We are not root, or `act` fails.
pub fn as_user<T: Send>(uid: u32, act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let acting = move || {
        set_thread_uid(Uid::from_raw(uid)).context("only root can be somebody else")?;
        act()
    };
    std::thread::scope(|scope| scope.spawn(acting).join().map_err(|_| anyhow!("it panicked"))?)
}
