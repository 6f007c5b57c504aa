//! What users said with `nbctl start` and `stop`, kept in the runtime directory: it survives a crash of the
//! daemon and ends with the login session, when that directory goes. Where it outlives the session (`/tmp`),
//! the boot id tells.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use nbtunnel_core::{Name, Order};
use serde::{Deserialize, Serialize};

/// The file in which orders are kept.
pub struct Orders {
    path: PathBuf,
    boot: Option<String>,
    written: BTreeMap<Name, Order>,
    /// What could not be written, so that a full disk is tried once for each order and not for each event.
    refused: Option<(BTreeMap<Name, Order>, String)>,
}

#[derive(Default, Serialize, Deserialize)]
struct Kept {
    boot: Option<String>,
    started: Vec<String>,
    stopped: Vec<String>,
}

impl Orders {
    /// The orders in `path`, and what it says now. A file that is missing, unreadable or of another boot
    /// says nothing.
    pub fn open(path: PathBuf) -> (Self, BTreeMap<Name, Order>) {
        let boot = boot_id();
        let remembered = read(&path, boot.as_deref());
        (Orders { path, boot, written: remembered.clone(), refused: None }, remembered)
    }

    /// Writes `orders` down if they changed. What could not be written is not tried again before it changes
    /// or [`Orders::try_again`] says so.
    ///
    /// # Errors
    /// The file cannot be written, which is news; the one before is intact.
    pub fn keep(&mut self, orders: &BTreeMap<Name, Order>) -> io::Result<()> {
        if *orders == self.written {
            self.refused = None;
            return Ok(());
        }
        if self.refused.as_ref().is_some_and(|(refused, _)| refused == orders) {
            return Ok(());
        }
        let known = self.refused.take().map(|(_, why)| why);
        match self.write(orders) {
            Ok(()) => {
                self.written = orders.clone();
                Ok(())
            }
            Err(error) => {
                let why = error.to_string();
                let is_news = known.as_ref() != Some(&why);
                self.refused = Some((orders.clone(), why));
                if is_news { Err(error) } else { Ok(()) }
            }
        }
    }

    /// Why the last orders are not written down, if they are not.
    pub fn trouble(&self) -> Option<&str> {
        self.refused.as_ref().map(|(_, why)| why.as_str())
    }

    /// What could not be written is tried once more by the next [`Orders::keep`].
    pub fn try_again(&mut self) {
        if let Some((refused, _)) = &mut self.refused {
            refused.clone_from(&self.written);
        }
    }

    /// Beside, then renamed.
    fn write(&self, orders: &BTreeMap<Name, Order>) -> io::Result<()> {
        let names = |stopped: bool| {
            let chosen = orders.iter().filter(move |(_, order)| (**order == Order::Stop) == stopped);
            chosen.map(|(name, _)| name.to_string()).collect()
        };
        let kept = Kept { boot: self.boot.clone(), started: names(false), stopped: names(true) };
        // Our lock makes us the only one who writes here.
        let beside = self.path.with_extension("new");
        std::fs::write(&beside, serde_json::to_vec(&kept)?)
            .and_then(|()| std::fs::rename(&beside, &self.path))
            .inspect_err(|_| drop(std::fs::remove_file(&beside)))
    }
}

fn read(path: &Path, boot: Option<&str>) -> BTreeMap<Name, Order> {
    let Ok(bytes) = std::fs::read(path) else { return BTreeMap::new() };
    let kept: Kept = serde_json::from_slice(&bytes).unwrap_or_else(|why| {
        tracing::warn!("{} is not readable and is ignored: {why}", path.display());
        Kept::default()
    });
    if kept.boot.as_deref() != boot {
        return BTreeMap::new();
    }
    let started = kept.started.iter().map(|name| (name, Order::Start));
    let stopped = kept.stopped.iter().map(|name| (name, Order::Stop));
    started.chain(stopped).filter_map(|(name, order)| Some((Name::parse(name).ok()?, order))).collect()
}

/// The kernel's id of this boot, where it has one (random(4)).
fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_back_and_another_boot_forgets_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("orders.json");
        let (mut orders, none) = Orders::open(path.clone());
        assert!(none.is_empty());
        let said: BTreeMap<Name, Order> = [("alice", Order::Stop), ("bob", Order::Start)]
            .map(|(name, order)| (Name::parse(name).unwrap(), order))
            .into();
        orders.keep(&said).unwrap();
        assert_eq!(Orders::open(path.clone()).1, said);
        assert_eq!(read(&path, Some("another boot")), BTreeMap::new());
    }

    #[test]
    fn what_cannot_be_written_is_told_once_and_written_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/orders.json");
        let (mut orders, _) = Orders::open(path.clone());
        let name = |name: &str| Name::parse(name).unwrap();
        let mut said = BTreeMap::from([(name("alice"), Order::Stop)]);
        assert!(orders.keep(&said).is_err(), "there is no such directory");
        assert!(orders.trouble().is_some());
        orders.keep(&said).unwrap();
        said.insert(name("bob"), Order::Start);
        orders.keep(&said).unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        orders.keep(&said).unwrap();
        assert!(!path.exists(), "it was tried for an event that has nothing to do with it");
        orders.try_again();
        orders.keep(&said).unwrap();
        assert_eq!((orders.trouble(), Orders::open(path).1), (None, said));
    }

    #[test]
    fn a_broken_file_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("orders.json");
        std::fs::write(&path, b"\xff{").unwrap();
        assert!(Orders::open(path).1.is_empty());
    }
}
