//! What can be seen in the text of an ssh_config without asking ssh: its Includes, and the names that stand after
//! Host. No more than that: what they mean is for ssh to say.

use std::path::{Path, PathBuf};

/// As deep as OpenSSH follows (`READCONF_MAX_DEPTH`).
const DEEPEST: usize = 16;
/// Far more than anybody has; a circle of Includes grows without end.
const MOST_FILES: usize = 1000;
const LONGEST_FILE: u64 = 1 << 20;

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Words after `Host` that are plain names, each once, in their order.
    pub aliases: Vec<String>,
    /// The patterns of Include, as paths.
    pub includes: Vec<String>,
    /// The files that were read, or would have been.
    pub files: Vec<PathBuf>,
}

/// The files that ssh reads unless it is told otherwise: the user's, then the system's.
pub fn usual_files(home: &Path) -> [PathBuf; 2] {
    [home.join(".ssh").join("config"), PathBuf::from(OF_SYSTEM)]
}

const OF_SYSTEM: &str = "/etc/ssh/ssh_config";

/// Reads `file` and what it includes. What cannot be read says nothing. Blocks on the file system.
pub fn follow(file: &Path, home: &Path) -> Seen {
    let of_user = home.join(".ssh");
    // What the system's file includes lies beside it (ssh_config(5)).
    let base = match file == Path::new(OF_SYSTEM) {
        true => file.parent().unwrap_or(&of_user),
        false => &of_user,
    };
    let mut seen = Seen::default();
    let mut files = 0;
    let mut ahead = vec![(file.to_owned(), 0)];
    while let Some((file, depth)) = ahead.pop() {
        files += 1;
        let text = text(&file).filter(|_| files <= MOST_FILES);
        if !seen.files.contains(&file) {
            seen.files.push(file.clone());
        }
        let Some(text) = text else { continue };
        let found = scan(&text, home, base);
        for alias in found.aliases {
            if !seen.aliases.contains(&alias) {
                seen.aliases.push(alias);
            }
        }
        let mut included = Vec::new();
        for pattern in found.includes {
            if depth < DEEPEST {
                included.extend(glob::glob(&pattern).into_iter().flatten().flatten());
            }
            if !seen.includes.contains(&pattern) {
                seen.includes.push(pattern);
            }
        }
        ahead.extend(included.into_iter().rev().map(|file| (file, depth + 1)));
    }
    seen
}

fn text(file: &Path) -> Option<String> {
    use std::io::Read;

    // A FIFO, or a device, would be waited for.
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::open(file).ok()?.take(LONGEST_FILE).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// One file. `~` is `home`; a relative Include begins at `base`.
pub fn scan(text: &str, home: &Path, base: &Path) -> Seen {
    let mut seen = Seen::default();
    for line in text.lines() {
        let words = words(line);
        let Some((keyword, values)) = words.split_first() else { continue };
        match keyword.to_ascii_lowercase().as_str() {
            "host" => seen.aliases.extend(values.iter().filter(|word| is_plain(word)).cloned()),
            "include" => seen.includes.extend(values.iter().map(|pattern| {
                let path = match pattern.strip_prefix("~/") {
                    Some(rest) => home.join(rest),
                    None => base.join(pattern),
                };
                path.to_string_lossy().into_owned()
            })),
            _ => {}
        }
    }
    seen
}

fn is_plain(word: &str) -> bool {
    !word.is_empty() && !word.contains(['*', '?', '!', ','])
}

/// The words of a line: quoted ones without their quotes, the first may end at `=`; a comment ends them.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() && !rest.starts_with('#') {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => {
                let ends = |c: char| c.is_whitespace() || (words.is_empty() && c == '=');
                rest.split_at(rest.find(ends).unwrap_or(rest.len()))
            }
        };
        words.push(word.to_owned());
        rest = after.trim_start();
        if words.len() == 1 {
            rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_includes_are_seen() {
        let text = "# Host no\nHost a \"b\" *.x !c d # e\n  hostname x\nHOST=f\nInclude = conf.d/* ~/y /z\nhost  \n\"Host\" g\n";
        let seen = scan(text, Path::new("/h"), Path::new("/h/.ssh"));
        assert_eq!(seen.aliases, ["a", "b", "d", "f", "g"]);
        assert_eq!(seen.includes, ["/h/.ssh/conf.d/*", "/h/y", "/z"]);
    }

    #[test]
    fn includes_are_followed_and_a_circle_ends() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        let write = |name: &str, text: String| std::fs::write(dir.join(name), text).unwrap();
        write("config", format!("Include {0}/[xy].conf\nHost last\n", dir.display()));
        write("x.conf", format!("Host x\nInclude {}/config\n", dir.display()));
        write("y.conf", "Host y\nHost x".into());
        assert_eq!(follow(&dir.join("config"), dir).aliases, ["last", "x", "y"]);
    }
}
