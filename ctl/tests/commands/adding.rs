//! What people have, pasted into `nbctl add` as it is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::{Bed, Ran, write_program};

/// `nbctl add` with these words, in a place of its own. The tunnel file, if there is one.
fn added(words: &[&str]) -> (Ran, Option<String>) {
    let bed = Bed::new();
    let ran = bed.nbctl(&[&["add"], words].concat());
    let [file] = <[String; 1]>::try_from(bed.tunnel_files()).ok().unwrap_or_default();
    (ran, fs::read_to_string(bed.config().join("tunnels").join(file)).ok())
}

/// The file, which has to be there.
fn file(words: &[&str]) -> String {
    let (ran, file) = added(words);
    assert_eq!(ran.code, 0, "{words:?}: {}", ran.stderr);
    file.unwrap()
}

const BY_ITSELF: &str = "\n[notebook.mockhost]\nfind = \"auto\"\n";

/// Where the documents that people follow say: copy this.
#[test]
fn every_command_of_the_usual_instructions_makes_the_tunnel_that_it_describes() {
    let platform = format!("host = \"mockhost\"\nuser = \"username\"\nport = 2222\n{BY_ITSELF}");
    let line = "ssh username@mockhost -p 2222";
    let unquoted: Vec<&str> = line.split(' ').collect();
    assert_eq!(file(&[line]), platform);
    assert_eq!(file(&unquoted), platform);
    assert_eq!(file(&[&["--"], &unquoted[..]].concat()), platform);
    assert_eq!(file(&["username@mockhost", "-p", "2222"]), platform);

    let tunnel =
        "host = \"dest.ination.com\"\nuser = \"username\"\nforward = [\"localhost:6000:localhost:7000\"]\n";
    let line = "ssh -N -f -L localhost:6000:localhost:7000 username@dest.ination.com";
    let unquoted: Vec<&str> = line.split(' ').collect();
    assert_eq!(file(&[line]), tunnel);
    assert_eq!(file(&unquoted), tunnel);
    assert_eq!(file(&[&["alice", "--"], &unquoted[..]].concat()), tunnel);

    for (line, hint) in [
        ("ssh-keygen -t rsa -b 4096", "`nbctl keygen --rsa 4096` makes one"),
        (
            "ipython notebook --no-browser --port=7000",
            "start = \"ipython notebook --no-browser --port={port}\"",
        ),
    ] {
        let unquoted: Vec<&str> = line.split(' ').collect();
        for words in [&[line][..], &unquoted] {
            let (ran, file) = added(words);
            assert_eq!((ran.code, file), (2, None), "{line}");
            assert!(ran.stderr.contains(hint), "{}", ran.stderr);
        }
    }
}

#[test]
fn a_line_without_quotes_is_taken_whatever_stands_around_it() {
    let expected = "host = \"h\"\nuser = \"me\"\nforward = [\"1:a:2\"]\n";
    let typed = "ssh -N -f -L 1:a:2 me@h";
    for before in [&["add"][..], &["add", "alice"], &["--json", "add"], &["add", "--quiet"]] {
        let bed = Bed::new();
        let ran = bed.nbctl(&before.iter().copied().chain(typed.split(' ')).collect::<Vec<_>>());
        assert_eq!(ran.code, 0, "{before:?} {}", ran.stderr);
        let name = if before.contains(&"alice") { "alice" } else { "h" };
        assert_eq!(fs::read_to_string(bed.config().join(format!("tunnels/{name}.toml"))).unwrap(), expected);
    }
    assert!(file(&["--start", "demand", "ssh", "me@h", "-L", "1:a:2"]).ends_with("start = \"demand\"\n"));
    assert_eq!(added(&["--start", "demand", "ssh", "-V"]).0.code, 2);
}

#[test]
fn a_token_stands_in_the_private_file_and_nowhere_else() {
    const URL: &str = "http://localhost:8888/lab?token=5ec7e7";
    let bed = Bed::new();
    for words in [&["add", "one", URL, "--host", "me@h"][..], &["--json", "add", "two", "ssh me@h", URL]] {
        let ran = bed.nbctl(words);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(!ran.stdout.contains("5ec7e7") && !ran.stderr.contains("5ec7e7"), "{words:?}");
        assert!(!words.contains(&"--json") || ran.json()["added"]["notebook"] == "two", "{}", ran.stdout);
    }
    let one = bed.config().join("tunnels/one.toml");
    assert!(fs::read_to_string(&one).unwrap().ends_with("remote_port = 8888\ntoken = \"5ec7e7\"\n"));
    assert_eq!(fs::metadata(&one).unwrap().permissions().mode() & 0o777, 0o600);
    // The stand-in for the checker finds a line with BAD wrong, and shows it.
    let wrong = "http://localhost:8888/lab?token=5ec7e7BAD";
    for words in [
        &["add", "three", wrong, "--host", "me@h"][..],
        &["--json", "add", "three", wrong, "--host", "me@h"],
        &["add", "http://localhost:8888/lab?token=5ec7e7"],
        &["add", "http://me:5ec7e7@localhost:8888/lab?token=5ec7e7"],
        &["add", "--", "http://localhost:8888/lab?token=5ec7e7"],
        &["add", "--", "http://h:8888/lab?token=5ec7e7", "x"],
        &["add", "ssh me@h http://localhost:8888/lab?token=5ec7e7", "x", "y"],
    ] {
        let ran = bed.nbctl(words);
        assert_ne!(ran.code, 0, "{words:?}");
        assert!(
            !ran.stdout.contains("5ec7e7") && !ran.stderr.contains("5ec7e7"),
            "{words:?}: {}",
            ran.stderr
        );
    }
    assert_eq!(bed.tunnel_files(), ["one.toml", "two.toml"]);
}

/// An ssh that reads `config`.
fn ssh_with(dir: &Path, config: &str) -> String {
    let (file, program) = (dir.join("config"), dir.join("ssh"));
    fs::write(&file, config).unwrap();
    write_program(&program, &format!("#!/bin/sh\nexec ssh -F '{}' \"$@\"\n", file.display()));
    program.to_str().unwrap().to_owned()
}

#[test]
fn a_word_alone_is_a_host_of_ssh_config_or_no_host() {
    let dir = tempfile::tempdir().unwrap();
    let ssh = ssh_with(
        dir.path(),
        "Host mycluster\n  User me\nHost gpu-*\n  ProxyJump mycluster\nHost lab\n  HostName 10.0.0.9\n\
         Host *\n  ServerAliveInterval 5\n  HostName %h.example.org\n",
    );
    let bed = Bed::new();
    for word in ["mycluster", "gpu-7", "lab"] {
        let ran = bed.nbctl_env(&["add", word], &[("NBTUNNEL_SSH", &ssh)]);
        assert_eq!(ran.code, 0, "{word}: {}", ran.stderr);
        let text = fs::read_to_string(bed.config().join(format!("tunnels/{word}.toml"))).unwrap();
        assert_eq!(text, format!("host = \"{word}\"\n\n[notebook.{word}]\nfind = \"auto\"\n"));
    }
    for word in ["mycluste", "gpu7", "-x", "$(id)"] {
        let ran = bed.nbctl_env(&["add", "--", word], &[("NBTUNNEL_SSH", &ssh)]);
        assert_eq!(ran.code, 2, "{word}");
        let ran = bed.nbctl_env(&["add", word], &[("NBTUNNEL_SSH", &ssh)]);
        assert_eq!(ran.code, 2, "{word}: {}", ran.stderr);
    }
    let ran = bed.nbctl_env(&["add", "gpu7"], &[("NBTUNNEL_SSH", &ssh)]);
    assert!(
        ran.stderr.contains("no Host of ssh_config") && ran.stderr.contains("--host gpu7"),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_no_list_of_processes_should_show_comes_by_standard_input() {
    let there = "host = \"h\"\nuser = \"me\"\n\n[notebook.h]\nremote_port = 8888\ntoken = \"5ec7e7\"\n";
    for script in [
        "printf %s 'http://localhost:8888/lab?token=5ec7e7' | $NBCTL add --host me@h -",
        "printf 'http://localhost:8888/lab?token=5ec7e7\\r\\n' | $NBCTL add - ssh me@h",
        "echo 'http://localhost:8888/lab?token=5ec7e7' | $NBCTL add h - -- ssh me@h",
    ] {
        let bed = Bed::new();
        let ran = bed.shell(script);
        assert_eq!(ran.code, 0, "{script}: {}", ran.stderr);
        assert!(!ran.stdout.contains("5ec7e7") && !ran.stderr.contains("5ec7e7"), "{}", ran.stderr);
        assert_eq!(fs::read_to_string(bed.config().join("tunnels/h.toml")).unwrap(), there, "{script}");
    }
    let bed = Bed::new();
    let ran =
        bed.shell("printf 'ssh -N -L 6000:localhost:7000 \\\\\\n  -p 2222 me@h\\n' | $NBCTL add alice -");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let text = fs::read_to_string(bed.config().join("tunnels/alice.toml")).unwrap();
    assert_eq!(text, "host = \"h\"\nuser = \"me\"\nport = 2222\nforward = [\"6000:localhost:7000\"]\n");
}

#[test]
fn what_standard_input_cannot_mean_is_said_without_a_word_of_it() {
    let bed = Bed::new();
    for (script, why) in [
        ("$NBCTL add - < /dev/null", "there is nothing on standard input"),
        ("printf 'ssh a\\nssh 5ec7e7\\n' | $NBCTL add -", "several lines"),
        ("printf 'a\\377 5ec7e7' | $NBCTL add -", "no text"),
        ("echo 'http://h/?token=5ec7e7' | $NBCTL add - -", "twice"),
        ("echo 'htp://h/?token=5ec7e7' | $NBCTL add -", "does not begin with http://"),
        ("echo 'localhost:8888/?token=5ec7e7' | $NBCTL add --host h -", "does not begin with http://"),
        ("echo 'http://h:x5/?token=5ec7e7' | $NBCTL add alice -", "not a port"),
    ] {
        let ran = bed.shell(script);
        assert_eq!(ran.code, 2, "{script}: {}", ran.stderr);
        assert!(ran.stderr.contains(why) && !ran.stderr.contains("5ec7e7"), "{script}: {}", ran.stderr);
    }
    assert!(bed.tunnel_files().is_empty());
}
