//! What opens a URL on Unix.

use tokio::process::Command;

/// What stands between two commands in `$BROWSER`.
pub(super) const BETWEEN: char = ':';

/// Everybody on this machine can list the command lines of all programs.
pub(super) const COMMAND_LINES_ARE_PRIVATE: bool = false;

/// What the desktop has; nothing where there is none, as behind ssh.
pub(super) fn usual() -> Vec<Vec<String>> {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if cfg!(target_os = "macos") {
        // Behind ssh it would open on a screen that nobody looks at.
        return if is_set("SSH_CONNECTION") { Vec::new() } else { vec![vec!["open".to_owned()]] };
    }
    if is_set("DISPLAY") || is_set("WAYLAND_DISPLAY") {
        return ["xdg-open", "x-www-browser", "firefox"].map(|program| vec![program.to_owned()]).to_vec();
    }
    // Windows around a Linux of its own has a browser, and no display.
    if is_set("WSL_DISTRO_NAME") { vec![vec!["wslview".to_owned()]] } else { Vec::new() }
}

/// In a process group of its own, so that Ctrl-C in our terminal is not for it.
pub(super) fn apart(command: &mut Command) {
    command.process_group(0);
}
