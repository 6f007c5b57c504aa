//! The first lines of a connection (RFC 4253 §4.2): what a server says until its version line is complete, and
//! our own line, which is sent before the library sends it and must not be sent twice.
//!
//! Knows nothing of sockets: [`Wire`](super::wire::Wire) reads and writes.

use std::io;

/// What comes before the version line is kept up to here.
const MAX_PREAMBLE: usize = 8 << 10;

/// The longest line, and the most lines before the version line, that the library takes.
const LONGEST_LINE: usize = 255;
const MOST_LINES: usize = 20;

/// What a server said first.
#[derive(Default)]
pub(super) struct Greeting {
    heard: Vec<u8>,
    version_came: bool,
}

/// What the server's first bytes are so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Incomplete,
    Version,
    /// A version that nobody should speak any more. The library would wait for another one for ever.
    Ancient,
    /// So much without a version line that the library will refuse it.
    Hopeless,
}

impl Greeting {
    /// Takes in what came. Not to be called again after another answer than [`Heard::Incomplete`].
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Heard {
        let room = MAX_PREAMBLE.saturating_sub(self.heard.len());
        self.heard.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let lines = || self.heard.split_inclusive(|byte| *byte == b'\n');
        match lines().position(|line| line.starts_with(b"SSH-") && line.ends_with(b"\n")) {
            Some(index) if index <= MOST_LINES => {
                let version = lines().nth(index).unwrap_or_default();
                // 1.99 means 2.0 and 1 (RFC 4253 §5.1).
                if version.starts_with(b"SSH-1.") && !version.starts_with(b"SSH-1.99-") {
                    return Heard::Ancient;
                }
                self.version_came = true;
                Heard::Version
            }
            Some(_) => Heard::Hopeless,
            None if lines().count() > MOST_LINES + 1 => Heard::Hopeless,
            None if lines().any(|line| line.len() > LONGEST_LINE) => Heard::Hopeless,
            None => Heard::Incomplete,
        }
    }

    /// The version line, once it came.
    pub(super) fn version(&self) -> Option<String> {
        let mut lines = self.heard.split(|byte| b"\r\n".contains(byte)).filter(|_| self.version_came);
        lines.find(|line| line.starts_with(b"SSH-")).map(|line| String::from_utf8_lossy(line).into_owned())
    }

    /// The first line that came in the place of a version line, if any did; a version line of an old
    /// protocol goes before what was said around it.
    pub(super) fn strange(&self) -> Option<String> {
        if self.version_came || self.heard.is_empty() {
            return None;
        }
        let mut lines = self.heard.split(|byte| b"\r\n".contains(byte));
        let first = lines.next().unwrap_or_default();
        let line = lines.find(|line| line.starts_with(b"SSH-")).unwrap_or(first);
        Some(String::from_utf8_lossy(line).into_owned())
    }
}

/// What was sent of our own accord and is now going to be written once more.
#[derive(Default)]
pub(super) struct Said(&'static [u8]);

impl Said {
    pub(super) fn new(line: &'static [u8]) -> Said {
        Said(line)
    }

    /// How many of `bytes`, which somebody writes, were sent already.
    ///
    /// # Errors
    /// They are others than those: then the server was told what does not hold.
    pub(super) fn swallow(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.0.len().min(bytes.len());
        let (said, rest) = self.0.split_at(count);
        if said != &bytes[..count] {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the session begins with another version line than the one that was sent",
            ));
        }
        self.0 = rest;
        Ok(count)
    }
}

#[cfg(test)]
#[path = "greeting_tests.rs"]
mod tests;
