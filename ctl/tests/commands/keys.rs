//! Where a public key is copied to, and what becomes of a clipboard that is in the way.

use std::fs;

use crate::support::{Bed, write_program};

const LINE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAus1GCeWMgm84D8LFiDIYyjXsus7JGwD0HORyb+6T2y me@x";

/// A bed with the public key `key.pub`, and `program` as the one that has the clipboard.
fn with(program: &str, script: &str) -> Bed {
    let bed = Bed::new();
    fs::write(bed.path("key.pub"), format!("{LINE}\n")).unwrap();
    write_program(&bed.path(program), &format!("#!/bin/bash\n{script}\n"));
    bed
}

fn show(bed: &Bed, args: &[&str], env: &[(&str, &str)]) -> crate::support::Ran {
    let key = bed.path("key.pub");
    let path = format!("{}:/usr/bin:/bin", bed.path("").display());
    let args = [&["key", "show"], args, &[key.to_str().unwrap()]].concat();
    let none = [("PATH", path.as_str()), ("DISPLAY", ""), ("WAYLAND_DISPLAY", ""), ("WSL_DISTRO_NAME", "")];
    bed.nbctl_env(&args, &[&none[..], &[("SSH_TTY", ""), ("SSH_CONNECTION", "")], env].concat())
}

#[cfg(target_os = "linux")]
#[test]
fn the_program_of_the_session_gets_the_line_and_may_stay_behind() {
    // As xclip and wl-copy do, it leaves somebody who serves the clipboard.
    let bed = with("xclip", "echo \"$@\" >\"$HOME/args\"; cat >\"$HOME/copied\"; (sleep 5) & exit 0");
    let ran = show(&bed, &["--copy"], &[("DISPLAY", ":7")]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, &*format!("{LINE}\n")), "{}", ran.stderr);
    assert!(ran.stderr.contains("in the clipboard, too (by xclip)"), "{}", ran.stderr);
    assert_eq!(fs::read_to_string(bed.path("copied")).unwrap(), LINE);
    assert_eq!(fs::read_to_string(bed.path("args")).unwrap(), "-selection clipboard -in\n");
    let ran = show(&bed, &["--copy", "--json"], &[("DISPLAY", ":7")]);
    assert_eq!((&ran.json()["copied_by"], &ran.json()["key"]["public"]), (&"xclip".into(), &LINE.into()));
}

#[cfg(target_os = "linux")]
#[test]
fn a_script_gets_the_line_alone() {
    let bed = with("wl-copy", "touch \"$HOME/copied\"");
    for args in [&[][..], &["--no-copy"], &["--json"]] {
        let ran = show(&bed, args, &[("WAYLAND_DISPLAY", "wayland-0")]);
        assert!(ran.code == 0 && ran.stdout.contains(LINE), "{}", ran.stderr);
        assert!(!bed.path("copied").exists(), "{args:?} copied it");
    }
    assert_eq!(show(&bed, &["-q"], &[]).stderr, "");
    assert_eq!(show(&bed, &["--copy", "--no-copy"], &[]).code, 2);
}

#[cfg(target_os = "linux")]
#[test]
fn a_clipboard_that_hangs_or_fails_keeps_nobody_from_the_key() {
    let bed = with("wl-copy", "exec sleep 100");
    let ran = show(&bed, &["--copy"], &[("WAYLAND_DISPLAY", "wayland-0")]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, &*format!("{LINE}\n")));
    assert!(ran.stderr.contains("wl-copy did not end within 3 s"), "{}", ran.stderr);
    let json = show(&bed, &["--copy", "--json"], &[]).json();
    assert_eq!((&json["key"]["public"], &json["error"]["code"]), (&LINE.into(), &"failed".into()));
    // One that cannot is no reason not to try the next.
    let bed = with("xclip", "exit 1");
    write_program(&bed.path("xsel"), "#!/bin/bash\nexit 1\n");
    let ran = show(&bed, &["--copy"], &[("DISPLAY", ":7")]);
    assert!(ran.stderr.contains("xclip failed") && ran.stderr.contains("xsel failed"), "{}", ran.stderr);
    write_program(&bed.path("xsel"), "#!/bin/bash\ncat >/dev/null\n");
    let ran = show(&bed, &["--copy"], &[("DISPLAY", ":7")]);
    assert!(ran.code == 0 && ran.stderr.contains("(by xsel)"), "{}", ran.stderr);
    let ran = show(&bed, &["--copy"], &[]);
    assert!(ran.code == 1 && ran.stderr.contains("there is no clipboard here"), "{}", ran.stderr);
}
