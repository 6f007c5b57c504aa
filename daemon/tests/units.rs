//! The templates for systemd and launchd, installed by the lines that stand in them and read by the
//! programs that know best.

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn project_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn template(path: &str) -> String {
    std::fs::read_to_string(project_dir().join(path)).unwrap()
}

/// Where the built programs are.
fn bin_dir() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_nbtunneld")).parent().unwrap().to_owned()
}

/// Runs the line of a template that installs it, in a home of its own. The service manager that it calls
/// last is replaced by a program that says what it was asked to do.
fn install(template_path: &str) -> (tempfile::TempDir, String) {
    let text = template(template_path);
    let line = text.lines().find(|line| line.contains("mkdir -p ~/")).unwrap().trim_start_matches(['#', ' ']);
    let home = tempfile::tempdir().unwrap();
    for program in ["systemctl", "launchctl"] {
        let path = home.path().join("fake").join(program);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "#!/bin/sh\necho \"$@\"\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}:/usr/bin:/bin", home.path().join("fake").display(), bin_dir().display());
    let output = Command::new("sh")
        .args(["-c", line])
        .current_dir(project_dir())
        .env("HOME", home.path())
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    (home, String::from_utf8(output.stdout).unwrap())
}

/// The settings of a unit, as `Section.Key`. A key that stands twice has both values, on two lines.
fn settings(unit: &str) -> BTreeMap<String, String> {
    let (mut found, mut section) = (BTreeMap::<String, String>::new(), "");
    for line in unit.lines().filter(|line| !line.starts_with(['#', ';']) && !line.trim().is_empty()) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            continue;
        }
        let (key, value) = line.split_once('=').unwrap();
        found
            .entry(format!("{section}.{key}"))
            .and_modify(|values| values.push_str(&format!("\n{value}")))
            .or_insert_with(|| value.to_owned());
    }
    found
}

fn assert_settings(unit: &str, expected: &[(&str, &str)]) {
    let settings = settings(unit);
    for (key, value) in expected {
        assert_eq!(settings.get(*key).map(String::as_str), Some(*value), "{key}");
    }
}

#[test]
fn the_service_says_what_it_must_and_nothing_that_harms() {
    let service = template("systemd/nbtunneld.service");
    assert_settings(
        &service,
        &[
            ("Service.Type", "notify"),
            ("Service.NotifyAccess", "main"),
            ("Service.ExecStart", "\"@BINDIR@/nbtunneld\""),
            ("Service.Restart", "on-failure"),
            ("Service.RestartPreventExitStatus", "10"),
            ("Service.WatchdogSec", "30s"),
            ("Service.KillMode", "mixed"),
            ("Service.TimeoutStopSec", "10s"),
            ("Service.FileDescriptorStoreMax", "2048"),
            ("Service.LimitCORE", "0"),
            ("Service.UMask", "0077"),
            ("Install.WantedBy", "default.target"),
        ],
    );
    let forbidden = [
        "RuntimeDirectory",
        // These imply NoNewPrivileges in a user's manager, and a ProxyCommand may be setuid.
        "LockPersonality",
        "RestrictRealtime",
        "RestrictSUIDSGID",
        "RestrictAddressFamilies",
        "SystemCallArchitectures",
        "MemoryDenyWriteExecute",
        "RestrictNamespaces",
        "NoNewPrivileges",
        "SystemCallFilter",
        "User",
    ];
    for key in settings(&service).keys() {
        let key = key.strip_prefix("Service.").unwrap_or(key);
        assert!(!forbidden.contains(&key), "{key}");
        assert!(!key.starts_with("Protect") && !key.starts_with("Private"), "{key}");
    }
}

#[test]
fn the_socket_makes_the_directory_and_lets_nobody_else_in() {
    let socket = template("systemd/nbtunneld.socket");
    assert_settings(
        &socket,
        &[
            ("Socket.ListenStream", "%t/nbtunnel/control.sock"),
            ("Socket.SocketMode", "0600"),
            ("Socket.DirectoryMode", "0700"),
            ("Install.WantedBy", "sockets.target"),
        ],
    );
}

#[cfg(target_os = "linux")]
#[test]
fn systemd_has_nothing_to_say_about_the_installed_units() {
    let (home, asked) = install("systemd/nbtunneld.service");
    assert_eq!(asked, "--user enable --now nbtunneld.socket nbtunneld.service\n");
    let units = home.path().join(".config/systemd/user");
    let service = std::fs::read_to_string(units.join("nbtunneld.service")).unwrap();
    let program = format!("\"{}/nbtunneld\"", bin_dir().display());
    assert_settings(&service, &[("Service.ExecStart", &program)]);
    assert_eq!(verify(&units), "");

    // It would speak up: a misspelt key is only a warning there, with exit code 0.
    std::fs::write(units.join("nbtunneld.service"), service.replace("WatchdogSec", "WatchdogSecs")).unwrap();
    assert!(verify(&units).contains("WatchdogSecs"), "{}", verify(&units));
}

/// What `systemd-analyze --user verify` says about the two units in `units`.
#[cfg(target_os = "linux")]
fn verify(units: &Path) -> String {
    let runtime_dir = tempfile::tempdir().unwrap();
    let output = Command::new("systemd-analyze")
        .args(["--user", "verify"])
        .args([units.join("nbtunneld.service"), units.join("nbtunneld.socket")])
        .env("XDG_RUNTIME_DIR", runtime_dir.path())
        .output()
        .unwrap();
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        said.push_str(&format!("{}", output.status));
    }
    said
}

#[test]
fn the_launch_agent_holds_exactly_what_it_should() {
    // `sed > file` into ~/Library works on every Unix; only launchctl itself is missing elsewhere.
    let (home, asked) = install("launchd/org.nbtunnel.nbtunneld.plist");
    let installed = home.path().join("Library/LaunchAgents/org.nbtunnel.nbtunneld.plist");
    assert!(
        asked.starts_with("bootstrap gui/") && asked.ends_with("/org.nbtunnel.nbtunneld.plist\n"),
        "{asked}"
    );
    let script = "import json, plistlib, sys; print(json.dumps(plistlib.load(open(sys.argv[1], 'rb'))))";
    let output = Command::new("python3").args(["-c", script]).arg(&installed).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = serde_json::json!({
        "Label": "org.nbtunnel.nbtunneld",
        "ProgramArguments": [env!("CARGO_BIN_EXE_nbtunneld")],
        "RunAtLoad": true,
        "KeepAlive": {"SuccessfulExit": false},
        "ProcessType": "Interactive",
        "LimitLoadToSessionType": "Aqua",
        "ExitTimeOut": 10,
        "Umask": 0o077,
        "HardResourceLimits": {"Core": 0},
        "SoftResourceLimits": {"Core": 0},
    });
    assert_eq!(found, expected);
    assert!(!std::fs::read_to_string(&installed).unwrap().contains("<string>~"), "launchd expands no ~");
}
