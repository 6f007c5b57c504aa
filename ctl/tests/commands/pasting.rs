//! What stands beside a pasted line: the address of a notebook, nbctl's own options, and a tunnel of the same name.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::Bed;

#[test]
fn the_address_of_a_notebook_is_taken_wherever_it_stands() {
    const URL: &str = "http://localhost:8888/?token=5ec7e7";
    let words = [
        &["add", "ssh", "me@h", URL][..],
        &["add", "ssh", "me@h", URL, "-p", "22"],
        &["add", "--", "ssh", "-p", "22", "me@h", URL],
        &["add", "h", "ssh", "me@h", URL],
        &["add", URL, "ssh", "me@h"],
        &["add", &format!("ssh me@h '{URL}'")],
    ];
    for words in words {
        let bed = Bed::new();
        let ran = bed.nbctl(words);
        assert_eq!(ran.code, 0, "{words:?}: {}", ran.stderr);
        let file = fs::read_to_string(bed.config().join("tunnels/h.toml")).unwrap();
        assert!(file.starts_with("host = \"h\"\nuser = \"me\"\n"), "{words:?}: {file}");
        assert!(file.contains("[notebook.h]\n") && file.contains("token = \"5ec7e7\""), "{words:?}: {file}");
        assert!(!ran.stderr.contains("left out") && !ran.stderr.contains("5ec7e7"), "{}", ran.stderr);
    }
    let bed = Bed::new();
    for words in [&["add", "ssh", "me@h", URL, URL][..], &["add", URL, "ssh", "me@h", URL]] {
        let ran = bed.nbctl(words);
        assert_eq!(ran.code, 2, "{words:?}");
        assert!(ran.stderr.contains("two addresses") && !ran.stderr.contains("5ec7e7"), "{}", ran.stderr);
    }
    assert!(bed.tunnel_files().is_empty());
}

#[test]
fn what_is_said_of_nbctl_behind_the_line_is_told_where_to_stand() {
    let bed = Bed::new();
    for words in [&["add", "ssh", "me@h", "--start", "demand"][..], &["add", "ssh me@h --start=demand"]] {
        let ran = bed.nbctl(words);
        assert_eq!(ran.code, 2, "{words:?}");
        assert!(ran.stderr.contains("--start is no option of ssh"), "{}", ran.stderr);
        assert!(ran.stderr.contains("`nbctl add --start demand ssh …`"), "{}", ran.stderr);
    }
    assert_eq!(bed.nbctl(&["add", "--start", "demand", "ssh", "me@h"]).code, 0);
}

#[test]
fn a_way_that_is_given_twice_is_refused_and_none_is_dropped() {
    for line in ["ssh -J a h", "ssh -o ProxyJump=a h", "ssh -o 'ProxyCommand=nc %h %p' h", "ssh -J none h"] {
        let bed = Bed::new();
        let ran = bed.nbctl(&["add", line, "-J", "b"]);
        assert_eq!(ran.code, 2, "{line}: {}", ran.stderr);
        assert!(ran.stderr.contains("-J cannot be honoured beside another"), "{}", ran.stderr);
        assert!(bed.tunnel_files().is_empty());
    }
    let bed = Bed::new();
    assert_eq!(bed.nbctl(&["add", "ssh h", "-J", "b"]).code, 0);
}

#[test]
fn a_new_port_goes_into_the_place_of_the_old_one_if_somebody_says_so() {
    let bed = Bed::new();
    assert_eq!(bed.nbctl(&["add", "Lab", "ssh", "me@h", "-p", "2200"]).code, 0);
    let (file, elsewhere) = (bed.config().join("tunnels/Lab.toml"), bed.path("elsewhere.toml"));
    let before = fs::read_to_string(&file).unwrap();
    let ran = bed.nbctl(&["add", "Lab", "ssh", "me@h", "-p", "2300"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("nbctl add --replace"), "{}", ran.stderr);
    // What is wrong replaces nothing.
    assert_eq!(bed.nbctl(&["add", "--replace", "Lab", "ssh", "me@h", "-L", "1:BAD:1"]).code, 1);
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    // A link stays a link, and a mode a mode.
    fs::rename(&file, &elsewhere).unwrap();
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&elsewhere, &file).unwrap();
    let ran = bed.nbctl(&["add", "--replace", "lab", "ssh", "me@h", "-p", "2300"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(fs::read_link(&file).unwrap(), elsewhere);
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), before.replace("2200", "2300"));
    assert_eq!(fs::metadata(&elsewhere).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(bed.tunnel_files(), ["Lab.toml"]);
    // A token is for nobody else.
    let url = "http://localhost:8888/?token=5ecret";
    assert_eq!(bed.nbctl(&["add", "--replace", "lab", "ssh", "me@h", url]).code, 0);
    assert!(fs::read_to_string(&elsewhere).unwrap().contains("5ecret"));
    assert_eq!(fs::metadata(&elsewhere).unwrap().permissions().mode() & 0o777, 0o600);
    // Where there is none, it is the same as without.
    assert_eq!(bed.nbctl(&["add", "--replace", "new", "ssh", "me@h"]).code, 0);
}
