//! Who started this daemon, as far as the environment tells. For people only: nothing depends on it.

use std::ffi::OsString;

/// Who it was, in words that follow "started by".
pub fn starter() -> &'static str {
    told_by(|name| std::env::var_os(name), std::process::id())
}

fn told_by(environment: impl Fn(&str) -> Option<OsString>, own_pid: u32) -> &'static str {
    // Children of a service inherit INVOCATION_ID, but not the number of their own process (systemd.exec(5)).
    if environment("SYSTEMD_EXEC_PID").is_some_and(|pid| pid == *own_pid.to_string()) {
        "systemd"
    // launchd names its job; terminals have a name that says so or "0".
    } else if environment("XPC_SERVICE_NAME")
        .is_some_and(|name| name.to_string_lossy().to_lowercase().contains("nbtunnel"))
    {
        "launchd"
    } else {
        "hand"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_inside_a_service_is_still_a_hand() {
        let with = |name: &'static str, value: &'static str| {
            told_by(move |asked| (asked == name).then(|| value.into()), 42)
        };
        assert_eq!(with("SYSTEMD_EXEC_PID", "42"), "systemd");
        assert_eq!(with("SYSTEMD_EXEC_PID", "41"), "hand");
        assert_eq!(with("XPC_SERVICE_NAME", "org.nbtunnel.nbtunneld"), "launchd");
        assert_eq!(with("XPC_SERVICE_NAME", "0"), "hand");
        assert_eq!(with("HOME", "/root"), "hand");
    }
}
