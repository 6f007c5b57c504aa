//! Which program shows web pages, on macOS. `open` gives a file to whatever its kind is bound to, and for a page that
//! may be an editor: so the browser is asked for, and named.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// It takes a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the system itself answers, in its scripting language.
const ASKING: [&str; 5] = [
    "osascript",
    "-l",
    "JavaScript",
    "-e",
    "ObjC.import('AppKit'); $.NSWorkspace.sharedWorkspace.URLForApplicationToOpenURL($.NSURL.URLWithString('https://localhost/')).path.js",
];

/// What opens a page with it, if it can be told.
pub(super) async fn find() -> Option<Vec<String>> {
    asked(&ASKING).await
}

async fn asked(words: &[&str]) -> Option<Vec<String>> {
    let [program, arguments @ ..] = words else { return None };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await.ok()?.ok()?;
    let said = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    let path = said.trim_end_matches('\n');
    (path.starts_with('/') && !path.contains('\n')).then(|| ["open", "-a", path].map(str::to_owned).to_vec())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_path_is_named_and_anything_else_is_no_answer() {
        let opens = asked(&["echo", "/Applications/Google Chrome.app"]).await;
        assert_eq!(
            opens,
            Some(["open", "-a", "/Applications/Google Chrome.app"].map(str::to_owned).to_vec())
        );
        for silent in
            [&["echo", "undefined"][..], &["echo"], &["echo", "/a\n/b"], &["false"], &["/no/such"], &[]]
        {
            assert_eq!(asked(silent).await, None, "{silent:?}");
        }
        assert_eq!(asked(&["sh", "-c", "echo /a; exit 1"]).await, None);
    }
}
