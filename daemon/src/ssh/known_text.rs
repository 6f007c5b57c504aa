//! Reads known_hosts files, of any size: a cluster's file of all its nodes has hundreds of megabytes, and a key that
//! is not seen would count as new. Blocks on the file system.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

/// What is longer is no line of a known_hosts file, and not held in memory.
const MAX_LINE: u64 = 1 << 20;

/// Gives each line of the file at `path` with its number, from 1; none when there is no file.
///
/// # Errors
/// One sentence that says why it cannot be read. Lines before that were given.
pub(super) fn each_line(path: &Path, mut take: impl FnMut(u32, &str)) -> Result<(), String> {
    let Some(file) = open(path)? else { return Ok(()) };
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
        match read.map_err(|error| unreadable(path, &error))? {
            0 => break,
            _ if line.len() as u64 == MAX_LINE && !line.ends_with(b"\n") => {
                reader.skip_until(b'\n').map_err(|error| unreadable(path, &error))?;
            }
            _ => take(number, &String::from_utf8_lossy(&line)),
        }
    }
    Ok(())
}

/// The content of a file; empty when there is none.
///
/// # Errors
/// One sentence that says why it cannot be read.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    if let Some(mut file) = open(path)? {
        file.read_to_end(&mut text).map_err(|error| unreadable(path, &error))?;
    }
    Ok(text)
}

fn open(path: &Path) -> Result<Option<File>, String> {
    let opened = std::fs::metadata(path).and_then(|metadata| match metadata.is_file() {
        true => File::open(path).map(Some),
        // The customary way to say "none"; opening a pipe would block.
        false if is_nowhere(path) => Ok(None),
        false => Err(io::Error::other("it is no file")),
    });
    match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        opened => opened.map_err(|error| unreadable(path, &error)),
    }
}

/// Whether it is where people write to who want nothing to be kept.
pub(super) fn is_nowhere(path: &Path) -> bool {
    path == Path::new("/dev/null")
}

fn unreadable(path: &Path, why: &io::Error) -> String {
    format!("{} cannot be read: {why}", path.display())
}
