//! Which names mean something to ssh without us. Ours come first in its files, so a Host of such a name would take the
//! meaning away, and one on the way of a tunnel would lead the tunnel into itself.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::NamedTempFile;
use tokio::process::Command;
use tokio::time::timeout;

use crate::ssh_program::ssh;

/// A name that nobody has. What ssh says of it, it says of any.
const STRANGER: &str = "qxzvkwj";

/// ssh answers in 5 ms; somebody's `Match exec` may take longer.
const DEADLINE: Duration = Duration::from_secs(20);

/// What the user's ssh_config means without our line.
pub(super) struct Meanings {
    /// What ssh reads for it: the user's file, and the system's.
    files: Vec<Said>,
    /// What stands after `Host`.
    hosts: BTreeSet<String>,
    /// What ProxyJump and ProxyCommand name.
    ways: BTreeSet<String>,
    /// How long ssh may think about one name.
    deadline: Duration,
    /// What holds the user's, for as long as ssh may read it.
    _without: NamedTempFile,
}

/// A file, and what ssh says of a stranger by it.
struct Said {
    file: PathBuf,
    of_stranger: String,
}

impl Meanings {
    /// Those of a file that holds `config`.
    ///
    /// # Errors
    /// There is no place for a temporary file, or ssh does not answer.
    pub(super) async fn of(config: &[u8]) -> io::Result<Meanings> {
        Meanings::within(config, DEADLINE).await
    }

    async fn within(config: &[u8], deadline: Duration) -> io::Result<Meanings> {
        let mut without = NamedTempFile::new()?;
        without.write_all(config)?;
        without.flush()?;
        let places = [Some(without.path().to_owned()), system_file().filter(|file| file.is_file())];
        let mut meanings = Meanings {
            files: vec![],
            hosts: BTreeSet::new(),
            ways: BTreeSet::new(),
            deadline,
            _without: without,
        };
        meanings.learn(config);
        for file in places.into_iter().flatten() {
            match ask(&file, STRANGER, deadline).await {
                Answer::Said(of_stranger, read) => {
                    read.iter().for_each(|read| meanings.learn(&fs::read(read).unwrap_or_default()));
                    meanings.files.push(Said { file, of_stranger });
                }
                // Where there is no ssh, or it does not like the file, the words of the file have to do.
                Answer::Nothing => {}
                Answer::Late => {
                    return Err(io::Error::other(format!("ssh -G was not over after {deadline:?}")));
                }
            }
        }
        Ok(meanings)
    }

    /// Whether ssh does something of its own for this host.
    pub(super) async fn knows(&self, name: &str) -> bool {
        let lower = name.to_ascii_lowercase();
        if self.hosts.contains(&lower) {
            return true;
        }
        for Said { file, of_stranger } in &self.files {
            let stranger = of_stranger.replace(STRANGER, &lower);
            let is_taken = match ask(file, name, self.deadline).await {
                Answer::Said(said, _) => !said.eq_ignore_ascii_case(&stranger),
                Answer::Nothing => false,
                // It thinks about this name longer than about another.
                Answer::Late => true,
            };
            if is_taken {
                return true;
            }
        }
        false
    }

    /// Whether some other host is reached over one of this name.
    pub(super) fn leads_over(&self, name: &str) -> bool {
        self.ways.contains(&name.to_ascii_lowercase())
    }

    fn learn(&mut self, config: &[u8]) {
        for line in String::from_utf8_lossy(config).lines() {
            let line = line.trim_start();
            let Some((keyword, rest)) = line.split_once(|c: char| c.is_whitespace() || c == '=') else {
                continue;
            };
            let words = rest.split(|c: char| !(c.is_alphanumeric() || "._-*?!".contains(c)));
            let words = words.filter(|word| !word.is_empty()).map(str::to_ascii_lowercase);
            match keyword.to_ascii_lowercase().as_str() {
                "host" => self.hosts.extend(words),
                "proxyjump" | "proxycommand" => self.ways.extend(words),
                _ => {}
            }
        }
    }
}

/// The system's ssh_config.
fn system_file() -> Option<PathBuf> {
    if cfg!(windows) {
        return std::env::var_os("ProgramData").map(|data| Path::new(&data).join("ssh").join("ssh_config"));
    }
    Some(PathBuf::from("/etc/ssh/ssh_config"))
}

/// What ssh says.
enum Answer {
    /// What it would do, and which files it read.
    Said(String, Vec<PathBuf>),
    /// There is no ssh, or it does not like the file.
    Nothing,
    /// It was not over in time.
    Late,
}

/// What ssh would do for `name` by this file alone. Asks no name server.
async fn ask(file: &Path, name: &str, deadline: Duration) -> Answer {
    let mut ssh = Command::new(ssh());
    ssh.args(["-G", "-v", "-o", "CanonicalizeHostname=no", "-F"]).arg(file).args(["--", name]);
    ssh.stdin(Stdio::null()).kill_on_drop(true);
    let output = match timeout(deadline, ssh.output()).await {
        Ok(Ok(output)) if output.status.success() => output,
        Ok(_) => return Answer::Nothing,
        Err(_) => return Answer::Late,
    };
    // The name itself, and a path with a hash of it.
    let own = |line: &&str| !line.starts_with("host ") && !line.starts_with("controlpath ");
    let said = String::from_utf8_lossy(&output.stdout).lines().filter(own).collect::<Vec<_>>().join("\n");
    let heard = String::from_utf8_lossy(&output.stderr);
    let read =
        heard.lines().filter_map(|line| line.trim_end().strip_prefix("debug1: Reading configuration data "));
    Answer::Said(said, read.map(PathBuf::from).collect())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// What is given to ssh where it must not answer in time: less than what it thinks about, more than nothing.
    const SHORT: Duration = Duration::from_millis(300);

    #[tokio::test]
    async fn a_name_that_ssh_thinks_about_too_long_is_taken_and_is_not_waited_for() {
        let config = b"Match originalhost slow exec \"sleep 20\"\n  User me\n";
        let mut meanings = Meanings::of(config).await.unwrap();
        assert!(!meanings.knows("quick").await);
        meanings.deadline = SHORT;
        let known = timeout(Duration::from_secs(10), meanings.knows("slow")).await;
        assert_eq!(known, Ok(true), "ssh was waited for");
    }

    #[tokio::test]
    async fn an_ssh_that_never_answers_is_said_so() {
        let looked = Meanings::within(b"Match exec \"sleep 20\"\n  User me\n", SHORT);
        let error = timeout(Duration::from_secs(10), looked).await.unwrap().err().unwrap();
        assert_eq!(error.to_string(), "ssh -G was not over after 300ms");
    }
}
