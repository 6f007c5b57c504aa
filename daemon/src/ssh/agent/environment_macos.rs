//! macOS: the environment that launchd gives to the user's programs, as it is now.

use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// A launchd that does not answer within this time is not asked.
const DEADLINE: Duration = Duration::from_secs(2);

/// The environment of launchd.
#[derive(Default)]
pub(super) struct Environment;

impl Environment {
    /// What a variable says there.
    pub(super) async fn get(&self, name: &str) -> Option<PathBuf> {
        let mut launchctl = Command::new("/bin/launchctl");
        launchctl.args(["getenv", name]).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let mut value = timeout(DEADLINE, launchctl.output()).await.ok()?.ok()?.stdout;
        value.truncate(value.trim_ascii_end().len());
        (!value.is_empty()).then(|| PathBuf::from(std::ffi::OsString::from_vec(value)))
    }
}
