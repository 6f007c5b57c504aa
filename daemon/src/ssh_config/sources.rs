//! Which files an answer stands on, from what `ssh -v` says while it reads them.

use std::path::PathBuf;

use super::ConfigFile;
use super::tokens;

/// The user's own file, below the home.
const OF_USER: &str = "~/.ssh/config";
/// The system's.
const OF_SYSTEM: &str = "/etc/ssh/ssh_config";

/// Files that were read, patterns of Include that matched none, and the usual places, there or not: each once.
pub(super) fn read_from(stderr: &str, config: &ConfigFile, home: &str) -> Vec<PathBuf> {
    let usual: &[&str] = match config {
        ConfigFile::Usual => &[OF_USER, OF_SYSTEM],
        ConfigFile::None | ConfigFile::At(_) => &[],
    };
    let told = stderr.lines().filter_map(|line| {
        let line = line.strip_prefix("debug1: ")?.trim_end_matches('\r');
        match line.strip_prefix("Reading configuration data ") {
            Some(file) => Some(file),
            None => {
                line.strip_suffix(" matched no files")?.split_once(": include ").map(|(_, pattern)| pattern)
            }
        }
    });
    let mut places: Vec<PathBuf> = Vec::new();
    for text in told.chain(usual.iter().copied()) {
        let place = PathBuf::from(tokens::tilde(text, home).unwrap_or_else(|_| text.to_owned()));
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// What ssh complains about, without what `-v` adds.
pub(super) fn complaint(stderr: &str) -> String {
    let noise = |line: &str| {
        line.is_empty()
            || line.starts_with("debug")
            || line.starts_with("OpenSSH_")
            || line.starts_with("Pseudo-terminal")
            || line.contains(": terminating, ")
    };
    let lines = stderr.lines().map(|line| line.trim_end_matches(['\r', '.'])).filter(|line| !noise(line));
    let text: String = lines.collect::<Vec<_>>().join("; ");
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19 27 Jan 2026\r\n\
        debug1: Reading configuration data /a/c1\r\n\
        debug1: c3 line 2: include ~/.ssh/nodir/* matched no files\r\n\
        debug1: /etc/ssh/ssh_config line 21: Applying options for *\r\n\
        /a/c1: line 52: Bad configuration option: tug\r\n\
        /a/c1: terminating, 1 bad configuration options\r\n";

    #[test]
    fn files_and_patterns_are_found_among_the_noise() {
        let at = ConfigFile::At("/a/c1".into());
        let expected: Vec<PathBuf> = vec!["/a/c1".into(), "/h/.ssh/nodir/*".into()];
        assert_eq!(read_from(SAID, &at, "/h"), expected);
        assert_eq!(read_from("", &ConfigFile::Usual, "/h").len(), 2);
        assert_eq!(read_from("", &ConfigFile::None, "/h").len(), 0);
    }

    #[test]
    fn the_words_of_ssh_are_kept() {
        assert_eq!(complaint(SAID), "/a/c1: line 52: Bad configuration option: tug");
    }
}
