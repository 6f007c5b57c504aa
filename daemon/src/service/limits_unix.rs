//! File descriptors: each connection takes two, and the usual soft limit of 1024 is soon reached.
//!
//! Children get the old limit back, since programs that use `select(2)` break above 1024.

#![allow(unsafe_code)]

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// macOS says "unlimited" and then takes no more than this (`OPEN_MAX`, setrlimit(2)).
const OPEN_MAX: u64 = 10_240;

/// What we were started with.
static ORIGINAL: OnceLock<Rlimit> = OnceLock::new();

/// How many descriptors we may have.
#[derive(Clone, Debug)]
pub struct Descriptors {
    now: Rlimit,
}

impl Descriptors {
    /// Raises the soft limit to the hard one, as far as the system lets us.
    pub fn raise() -> Descriptors {
        let original = *ORIGINAL.get_or_init(|| getrlimit(Resource::Nofile));
        let wished = [original.maximum, Some(original.maximum.map_or(OPEN_MAX, |hard| hard.min(OPEN_MAX)))];
        for current in wished {
            let higher = current.unwrap_or(u64::MAX) > original.current.unwrap_or(u64::MAX);
            if higher && setrlimit(Resource::Nofile, Rlimit { current, maximum: original.maximum }).is_ok() {
                break;
            }
        }
        Descriptors { now: getrlimit(Resource::Nofile) }
    }

    /// How many descriptors we may have.
    pub fn limit(&self) -> u64 {
        self.now.current.unwrap_or(u64::MAX)
    }

    /// Gives `command` the limit that we were started with, if we raised it.
    pub fn restore_in_child(command: &mut Command) {
        let Some(original) = ORIGINAL.get().copied() else { return };
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; setrlimit is a bare
        // system call, and copying an `Rlimit` allocates nothing.
        unsafe {
            command.pre_exec(move || Ok(setrlimit(Resource::Nofile, original)?));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_get_the_hard_limit_and_children_what_was_there_before() {
        let (soft, hard) = (200, 300);
        let exe = std::env::current_exe().unwrap();
        if std::env::var_os("NBTUNNEL_TEST_LIMITS").is_none() {
            let mut shell = Command::new("sh");
            let line = format!("ulimit -Sn {soft}; ulimit -Hn {hard}; exec \"$0\" \"$@\"");
            let name = "service::limits::tests::we_get_the_hard_limit_and_children_what_was_there_before";
            shell.args(["-c", &line]).arg(exe).args(["--exact", name]).env("NBTUNNEL_TEST_LIMITS", "1");
            let output = shell.output().unwrap();
            assert!(output.status.success(), "{output:?}");
            assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
            return;
        }
        let descriptors = Descriptors::raise();
        assert_eq!(descriptors.limit(), hard);
        let ulimit = |command: &mut Command| {
            let output = command.args(["-c", "ulimit -Sn"]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().parse::<u64>().unwrap()
        };
        assert_eq!(ulimit(&mut Command::new("sh")), hard);
        let mut child = Command::new("sh");
        Descriptors::restore_in_child(&mut child);
        assert_eq!(ulimit(&mut child), soft);
    }
}
