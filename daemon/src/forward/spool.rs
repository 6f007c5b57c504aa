//! Chunks of one connection that wait on disk, in an unlinked file that only its owner could ever open.
//!
//! The file is cut into slots of one chunk each; a slot that was read back is used again, and free slots at
//! the end are cut off. The daemon-wide budget is charged for what the file takes on disk.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

use super::budget::Budget;

/// The chunks on disk, oldest first.
pub(super) struct Spool {
    dir: PathBuf,
    chunk: usize,
    budget: Arc<Budget>,
    file: Option<Arc<File>>,
    /// How many slots are in use or free in between.
    slots: u32,
    /// How many more the file is long: the next job cuts them off. The budget is charged for them too.
    uncut: u32,
    free: BTreeSet<u32>,
    stored: VecDeque<u32>,
}

/// A chunk on its way to the disk, and what became of it.
pub(super) type Writing = JoinHandle<(Bytes, io::Result<Arc<File>>)>;
/// A chunk on its way back.
pub(super) type Reading = JoinHandle<io::Result<Bytes>>;

impl Spool {
    pub(super) fn new(dir: PathBuf, chunk: usize, budget: Arc<Budget>) -> Spool {
        Spool {
            dir,
            chunk,
            budget,
            file: None,
            slots: 0,
            uncut: 0,
            free: BTreeSet::new(),
            stored: VecDeque::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stored.is_empty()
    }

    /// Whether one more chunk may be written: there is a free slot, or the budget gave one.
    pub(super) fn has_room(&mut self) -> bool {
        if self.free.is_empty() && (self.uncut > 0 || self.budget.take(self.chunk as u64)) {
            self.uncut = self.uncut.saturating_sub(1);
            self.free.insert(self.slots);
            self.slots += 1;
        }
        !self.free.is_empty()
    }

    /// Begins to write `chunk`, of exactly the chunk size, behind all others. Gives the chunk
    /// back when there is no room.
    pub(super) fn write(&mut self, chunk: Bytes) -> Result<Writing, Bytes> {
        if !self.has_room() {
            return Err(chunk);
        }
        let Some(slot) = self.free.pop_first() else { return Err(chunk) };
        self.stored.push_back(slot);
        let (dir, file, at) = (self.dir.clone(), self.file.clone(), self.offset(slot));
        let cut = self.cut();
        Ok(spawn_blocking(move || {
            cut();
            let written = file.map_or_else(|| create_in(&dir), Ok).and_then(|file| {
                (&*file).seek(SeekFrom::Start(at))?;
                (&*file).write_all(&chunk)?;
                Ok(file)
            });
            (chunk, written)
        }))
    }

    /// Takes note of how a write ended. A chunk that was not written is no longer counted as stored.
    pub(super) fn written(&mut self, outcome: io::Result<Arc<File>>) -> io::Result<()> {
        match outcome {
            Ok(file) => {
                self.file = Some(file);
                Ok(())
            }
            Err(error) => {
                self.free.extend(self.stored.pop_back());
                Err(error)
            }
        }
    }

    /// Begins to read the oldest chunk back; its slot is free once that is done.
    pub(super) fn read(&mut self) -> Option<Reading> {
        let (file, at, chunk) = (self.file.clone()?, self.offset(*self.stored.front()?), self.chunk);
        let cut = self.cut();
        Some(spawn_blocking(move || {
            cut();
            let mut bytes = vec![0; chunk];
            (&*file).seek(SeekFrom::Start(at))?;
            (&*file).read_exact(&mut bytes)?;
            Ok(bytes.into())
        }))
    }

    /// Takes note that the oldest chunk was read.
    pub(super) fn was_read(&mut self) {
        self.free.extend(self.stored.pop_front());
        while self.slots > 0 && self.free.remove(&(self.slots - 1)) {
            self.slots -= 1;
            self.uncut += 1;
        }
        if self.slots == 0 {
            self.discard();
        }
    }

    /// Cuts off what nobody needs any more; run as part of a job, since jobs never overlap.
    fn cut(&mut self) -> impl FnOnce() + Send + 'static {
        let (length, freed) = (self.offset(self.slots), self.offset(self.uncut));
        self.uncut = 0;
        let (file, budget) = (self.file.clone(), self.budget.clone());
        move || {
            if let Some(file) = file.filter(|_| freed > 0) {
                // Not cut is only not saved: the slots will be written over.
                let _ = file.set_len(length);
            }
            budget.give(freed);
        }
    }

    /// Gives up the file and all that it takes; off this thread, since freeing gigabytes takes a while.
    fn discard(&mut self) {
        let freed = self.offset(self.slots + self.uncut);
        (self.slots, self.uncut) = (0, 0);
        let (file, budget) = (self.file.take(), self.budget.clone());
        let close = move || {
            drop(file);
            budget.give(freed);
        };
        match Handle::try_current() {
            Ok(runtime) if freed > 0 => drop(runtime.spawn_blocking(close)),
            _ => close(),
        }
    }

    fn offset(&self, slot: u32) -> u64 {
        u64::from(slot) * self.chunk as u64
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.discard();
    }
}

/// An unlinked file, 0600 (tempfile's own default), in `dir`, which is made 0700 if it is not there.
fn create_in(dir: &Path) -> io::Result<Arc<File>> {
    private_dir(dir)?;
    tempfile::tempfile_in(dir).map(Arc::new)
}

/// Makes `dir` and what is missing above it, 0700, unless it is there.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    super::sys::private(&mut builder);
    builder.recursive(true).create(dir)
}
