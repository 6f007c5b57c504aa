//! Whole directories, read from a real disk.

use std::time::Duration;

use nbtunnel_core::{HostKeyPolicy, Policy, Route, Start};
use tempfile::TempDir;

use super::*;

fn ctx() -> Context {
    Context {
        home: "/home/me".into(),
        user: "me".into(),
        env: BTreeMap::new(),
        ask_ssh: false,
        ports_path: None,
        owner_only: true,
    }
}

/// A config directory with these files.
fn dir_with(files: &[(&str, &str)]) -> TempDir {
    let temp = tempfile::tempdir().unwrap();
    std::fs::create_dir(temp.path().join("tunnels")).unwrap();
    for (name, text) in files {
        std::fs::write(temp.path().join(name), text).unwrap();
    }
    temp
}

fn load_files(files: &[(&str, &str)]) -> Loaded {
    load(dir_with(files).path(), &ctx())
}

/// The problems, each as `file:line:column message`.
fn lines(loaded: &Loaded) -> Vec<String> {
    let line = |p: &FileProblem| {
        let place = [p.line, p.column].into_iter().flatten().map(|n| format!(":{n}")).collect::<String>();
        format!("{}{place} {}", p.file.as_deref().unwrap_or("-"), p.message)
    };
    loaded.problems.iter().map(line).collect()
}

#[test]
fn a_host_and_a_forward_are_enough() {
    let loaded = load_files(&[(
        "tunnels/alice.toml",
        "host = \"dest.ination.com\"\nforward = \"6000:localhost:7000\"",
    )]);
    assert_eq!(lines(&loaded), [""; 0]);
    let spec = &loaded.tunnels["alice"];
    // Everything else is for ssh_config to say, and then for what is usual.
    assert_eq!(spec.route, Route::to("dest.ination.com"));
    assert_eq!(spec.start, Start::Login);
    assert_eq!(spec.forwards[0].to_string(), "localhost:6000:localhost:7000");
    assert_eq!(spec.policy, Policy::default());
    assert_eq!(loaded.daemon, DaemonSettings::default());
}

#[test]
fn every_key_reaches_the_spec() {
    let temp = dir_with(&[(
        "tunnels/a.toml",
        r#"
        host = "10.0.0.1"
        user = "alice"
        port = 2222
        forward = ["6000:localhost:7000", "/tmp/x:/tmp/y"]
        start = "demand"
        tags = ["lab", "gpu"]
        identity_file = ["~/k", "keys/k"]
        known_hosts = "/kh"
        host_key = "accept-new"
        keepalive = "5s"
        connect_timeout = "1m"
        hold = "10s"
        idle = "1h30m"
        buffer = "1MiB"
        renew_after = "24h"
        renew_bytes = "1GiB"
        drain = "10m"
        remote = ["0:localhost:3000", "/run/x"]
        dynamic = "1080"
        ssh_config = "none"
        owner_only = false
        "#,
    )]);
    let loaded = load(temp.path(), &ctx());
    assert_eq!(lines(&loaded), [""; 0]);
    let spec = &loaded.tunnels["a"];
    assert_eq!((spec.route.host.as_str(), spec.route.port), ("10.0.0.1", Some(2222)));
    assert_eq!((spec.route.user.as_deref(), spec.start), (Some("alice"), Start::Demand));
    assert_eq!(spec.route.identity_files, Some(vec!["/home/me/k".into(), temp.path().join("keys/k")]));
    assert_eq!(spec.route.known_hosts, Some(vec![PathBuf::from("/kh")]));
    assert_eq!(spec.route.host_key, Some(HostKeyPolicy::AcceptNew));
    assert_eq!((spec.forwards.len(), spec.tags.join(" ")), (3, "lab gpu".into()));
    let shown: Vec<String> = spec.remotes.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["localhost:0:localhost:3000", "/run/x"]);
    assert_eq!(spec.forwards[2].to_string(), "localhost:1080");
    let secs = Duration::from_secs;
    let policy = Policy {
        keepalive: secs(5),
        unanswered: None,
        connect_timeout: secs(60),
        hold: secs(10),
        idle: secs(5400),
        buffer: 1 << 20,
        renew_after: secs(86400),
        renew_bytes: 1 << 30,
        drain: secs(600),
        trusted: Policy::default().trusted,
        all_or_nothing: false,
        owner_only: false,
    };
    assert_eq!(spec.policy, policy);
}

#[test]
fn the_tunnel_file_wins_over_the_defaults_and_the_environment_over_both() {
    let temp = dir_with(&[
        (
            "nbtunnel.toml",
            "[defaults]\nuser = \"all\"\nkeepalive = \"1m\"\ntags = [\"x\", \"y\"]\n[daemon]\nlog = \"debug\"\nspool = \"1GiB\"\n",
        ),
        ("tunnels/a.toml", "host = \"a\"\ntags = []\n"),
        ("tunnels/b.toml", "host = \"b\"\nuser = \"bob\"\nkeepalive = \"2m\"\nhold = \"1m\"\n"),
    ]);
    let mut ctx = ctx();
    let set = |ctx: &mut Context, name: &str, value: &str| drop(ctx.env.insert(name.into(), value.into()));
    set(&mut ctx, "NBTUNNEL_CFG__HOLD", "2s");
    set(&mut ctx, "NBTUNNEL_CFG__PORT", "2222");
    set(&mut ctx, "NBTUNNEL_CFG__DAEMON__LOG", "trace");
    set(&mut ctx, "NBTUNNEL_LOG", "not ours");
    let loaded = load(temp.path(), &ctx);
    assert_eq!(lines(&loaded), [""; 0]);
    let (a, b) = (&loaded.tunnels["a"], &loaded.tunnels["b"]);
    assert_eq!((a.route.user.as_deref(), a.policy.keepalive.as_secs(), a.tags.len()), (Some("all"), 60, 0));
    assert_eq!((b.route.user.as_deref(), b.policy.keepalive.as_secs(), b.tags.len()), (Some("bob"), 120, 2));
    assert_eq!((a.policy.hold.as_secs(), b.policy.hold.as_secs(), b.route.port), (2, 2, Some(2222)));
    assert_eq!(loaded.daemon, DaemonSettings { log: Some("trace".into()), spool: 1 << 30 });

    // A number is a number, and a typo a problem; neither costs anything but itself.
    set(&mut ctx, "NBTUNNEL_CFG__PORT", "no");
    set(&mut ctx, "NBTUNNEL_CFG__KEEPALVE", "1s");
    set(&mut ctx, "NBTUNNEL_CFG__DAEMON__SPOOL", "lots");
    let loaded = load(temp.path(), &ctx);
    assert_eq!(loaded.problems.len(), 3, "{:#?}", loaded.problems);
    assert!(loaded.problems.iter().all(|p| p.message.starts_with("environment variable NBTUNNEL_CFG__")));
    assert!(loaded.problems.iter().any(|p| p.hint == "did you mean `keepalive`?"));
    assert_eq!((loaded.tunnels["a"].policy.hold.as_secs(), loaded.tunnels["a"].route.port), (2, None));
    assert_eq!(loaded.daemon.spool, 1 << 30);
}

#[test]
fn a_bad_file_is_broken_and_the_others_are_untouched() {
    let loaded = load_files(&[
        ("tunnels/good.toml", "host = \"h\""),
        ("tunnels/typo.toml", "host = \"h\"\nforwrad = []\n"),
        ("tunnels/none.toml", "port = 22"),
        ("tunnels/many.toml", "host = \"-x\"\nforward = [\"6000:h:1\", \"6000:h:2\"]\njump = \"me@\""),
        ("tunnels/hold.toml", "host = \"h\"\nstart = \"demand\"\nhold = \"0s\""),
    ]);
    assert_eq!(loaded.tunnels.keys().map(Name::as_str).collect::<Vec<_>>(), ["good"]);
    assert_eq!(loaded.broken.iter().map(Name::as_str).collect::<Vec<_>>(), ["hold", "many", "none", "typo"]);
    assert!(!loaded.all_broken);
    assert_eq!(
        lines(&loaded),
        [
            "tunnels/hold.toml:3:8 hold = \"0s\" refuses every connection before start = \"demand\" could act on it",
            "tunnels/many.toml:1:8 the host begins with '-', so that programs would read it as an option",
            "tunnels/many.toml:3:8 \"me@\" is not a jump host; expected [user@]host[:port]",
            "tunnels/many.toml:2:24 another forward of this tunnel listens on localhost:6000 already",
            "tunnels/none.toml no host is named",
            "tunnels/typo.toml:2:1 `forwrad` is not a key here",
        ]
    );
    assert_eq!(loaded.problems[5].hint, "did you mean `forward`?");
    assert_eq!(loaded.problems[5].source.as_deref(), Some("forwrad = []"));
    assert!(loaded.problems.iter().all(|p| !p.hint.is_empty()));
}

#[test]
fn hold_and_demand_clash_also_when_they_come_from_two_files() {
    let loaded = load_files(&[
        ("nbtunnel.toml", "[defaults]\nhold = \"0s\""),
        ("tunnels/a.toml", "host = \"h\"\n"),
        ("tunnels/b.toml", "host = \"h\"\nstart = \"demand\""),
    ]);
    assert!(loaded.tunnels.contains_key("a") && loaded.broken.contains("b"));
    assert_eq!((loaded.problems[0].line, loaded.problems[0].column), (Some(2), Some(9)));
}

#[test]
fn who_asks_for_owner_only_where_it_is_in_vain_is_told() {
    let open = |rest: &str| format!("host = \"h\"\nforward = \"*:6000:h:1\"\n{rest}");
    let loaded = load_files(&[
        ("nbtunnel.toml", "[defaults]\nowner_only = true"),
        ("tunnels/a.toml", &open("owner_only = true")),
        ("tunnels/b.toml", &open("owner_only = false")),
        ("tunnels/c.toml", &open("")),
    ]);
    let told: Vec<_> =
        loaded.notes.iter().map(|note| (note.file.as_deref(), note.line, note.column)).collect();
    let (a, c) = (Some("tunnels/a.toml"), Some("tunnels/c.toml"));
    assert_eq!(told, [(a, Some(3), Some(14)), (c, Some(1), Some(8))], "{:?}", loaded.problems);
    let asked: Vec<bool> = loaded.tunnels.values().map(|spec| spec.policy.owner_only).collect();
    assert_eq!(asked, [true, false, true]);
}

#[test]
fn a_tunnel_that_nobody_on_this_side_can_bring_up_does_not_wait_for_somebody() {
    let demand = |rest: &str| format!("host = \"h\"\nstart = \"demand\"\n{rest}");
    let loaded = load_files(&[
        ("tunnels/a.toml", &demand("remote = \"8080:localhost:80\"")),
        ("tunnels/b.toml", &demand("remote = \"8080:localhost:80\"\ndynamic = \"1080\"")),
    ]);
    assert!(loaded.broken.contains("a") && loaded.tunnels.contains_key("b"), "{:?}", loaded.problems);
    assert_eq!((loaded.problems[0].line, loaded.problems[0].column), (Some(2), Some(9)));
}

#[test]
fn a_bad_main_file_keeps_everything_as_it_was() {
    for main in
        ["[defaults]\nport = 0", "[daemon]\nlog = \"a=b=c\"", "[deamon]", "[defaults", "hold = \"1s\""]
    {
        let loaded = load_files(&[("nbtunnel.toml", main), ("tunnels/a.toml", "host = \"h\"")]);
        assert!(loaded.all_broken && loaded.tunnels.is_empty() && loaded.broken.is_empty(), "{main}");
        assert_eq!(loaded.problems.len(), 1, "{main}");
        assert_eq!(loaded.problems[0].file.as_deref(), Some("nbtunnel.toml"), "{main}");
        assert!(loaded.problems[0].line.is_some(), "{main}");
    }
}

#[test]
fn names_that_are_none_are_problems_and_what_editors_leave_is_not_seen() {
    let host = "host = \"h\"";
    let loaded = load_files(&[
        ("tunnels/a b.toml", host),
        ("tunnels/nul.toml", host),
        ("tunnels/Twin.toml", host),
        ("tunnels/twin.toml", host),
        ("tunnels/good.toml", "\u{feff}host = \"h\""),
        ("tunnels/.good.toml", "?"),
        ("tunnels/.#good.toml", "?"),
        ("tunnels/#good.toml#", "?"),
        ("tunnels/good.toml~", "?"),
        ("tunnels/.good.toml.swp", "?"),
        ("tunnels/.good.toml.tmp", "?"),
        ("tunnels/4913", "?"),
        ("tunnels/README", "?"),
    ]);
    assert_eq!(loaded.tunnels.keys().map(Name::as_str).collect::<Vec<_>>(), ["good"]);
    assert_eq!(loaded.broken.iter().map(Name::as_str).collect::<Vec<_>>(), ["Twin", "twin"]);
    assert_eq!(loaded.problems.len(), 4, "{:#?}", loaded.problems);
}

#[test]
fn no_directory_is_no_tunnels_and_a_file_in_its_place_is_a_problem() {
    let temp = tempfile::tempdir().unwrap();
    let missing = load(&temp.path().join("gone"), &ctx());
    assert!(!missing.all_broken && missing.problems.is_empty() && missing.tunnels.is_empty());
    std::fs::write(temp.path().join("file"), "").unwrap();
    let places = [(temp.path().join("file"), None), (dir_with_tunnels_file(&temp), Some("tunnels"))];
    for (dir, named) in places {
        let loaded = load(&dir, &ctx());
        assert!(loaded.all_broken, "{}", dir.display());
        assert_eq!(loaded.problems.len(), 1, "{:?}", loaded.problems);
        assert_eq!(loaded.problems[0].file.as_deref(), named);
        let told = named.is_some() || loaded.problems[0].message.contains(dir.to_str().unwrap());
        assert!(told, "{:?}", loaded.problems);
    }
}

fn dir_with_tunnels_file(temp: &TempDir) -> PathBuf {
    std::fs::create_dir(temp.path().join("cfg")).unwrap();
    std::fs::write(temp.path().join("cfg/tunnels"), "").unwrap();
    temp.path().join("cfg")
}

#[test]
fn what_is_no_readable_text_is_one_clear_problem_each() {
    let temp = dir_with(&[("tunnels/good.toml", "host = \"h\"")]);
    let tunnels = temp.path().join("tunnels");
    std::fs::create_dir(tunnels.join("dir.toml")).unwrap();
    std::fs::write(tunnels.join("big.toml"), vec![b'#'; 10 << 20]).unwrap();
    std::fs::write(tunnels.join("bytes.toml"), b"host = \"h\"\nuser = \"b\xff\"\n").unwrap();
    std::fs::write(tunnels.join("utf16.toml"), b"\xff\xfeh\0o\0s\0t\0").unwrap();
    #[cfg_attr(not(unix), allow(unused_mut, reason = "nothing is added there"))]
    let mut expected = vec![
        "tunnels/big.toml it is larger than 1 MiB",
        "tunnels/bytes.toml:2:10 it is not UTF-8: byte 21 of the file is 0xff",
        "tunnels/dir.toml it is a directory, not a file",
        "tunnels/utf16.toml:1:1 it is not UTF-8: byte 1 of the file is 0xff",
    ];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("nowhere", tunnels.join("dangling.toml")).unwrap();
        std::os::unix::fs::symlink("loop.toml", tunnels.join("loop.toml")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", tunnels.join("zero.toml")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(tunnels.join("fifo.toml")).status().unwrap();
        assert!(made.success());
        expected.insert(2, "tunnels/dangling.toml it is a symbolic link to a file that is not there");
        expected.insert(4, "tunnels/fifo.toml it is not a regular file");
        expected.insert(
            5,
            "tunnels/loop.toml it cannot be read: Too many levels of symbolic links (os error 40)",
        );
        expected.push("tunnels/zero.toml it is not a regular file");
    }
    let loaded = load(temp.path(), &ctx());
    if cfg!(target_os = "linux") {
        assert_eq!(lines(&loaded), expected);
    }
    assert_eq!(loaded.tunnels.len(), 1);
    assert_eq!(loaded.broken.len(), loaded.problems.len());
}

#[test]
fn too_many_files_and_too_many_problems_stay_bounded() {
    let temp = dir_with(&[]);
    for n in 0..2003 {
        let text = if n < 1000 { "host = \"h\"" } else { "host = 1" };
        std::fs::write(temp.path().join(format!("tunnels/t{n:04}.toml")), text).unwrap();
    }
    let loaded = load(temp.path(), &ctx());
    assert_eq!((loaded.tunnels.len(), loaded.broken.len()), (1000, 1003));
    assert_eq!(loaded.problems.len(), MOST_PROBLEMS + 1);
    assert_eq!(check(None, temp.path(), &ctx()).problems.len(), 1001);
}

#[test]
fn the_digest_follows_what_is_found() {
    let temp = dir_with(&[("tunnels/a.toml", "host = \"h\"")]);
    let digest = || load(temp.path(), &ctx()).digest;
    let first = digest();
    assert_eq!(first, digest());
    std::fs::write(temp.path().join("tunnels/a.toml"), "host = \"i\"").unwrap();
    let second = digest();
    std::fs::rename(temp.path().join("tunnels/a.toml"), temp.path().join("tunnels/b.toml")).unwrap();
    let third = digest();
    std::fs::write(temp.path().join("nbtunnel.toml"), "").unwrap();
    let all = BTreeSet::from([first, second, third, digest()]);
    assert_eq!(all.len(), 4);
}

#[test]
fn a_candidate_is_checked_before_it_is_moved_into_its_place() {
    let temp = dir_with(&[
        ("nbtunnel.toml", "[defaults]\nhost = \"h\""),
        ("tunnels/.alice.toml.tmp", "port = 22"),
        ("tunnels/.bob.toml.tmp", "port = 0"),
        ("loose file", "port = 23"),
        ("tunnels/other.toml", "port = -1"),
    ]);
    let elsewhere = Path::new("/nonexistent");
    let at = |path: &str| check(Some(&temp.path().join(path)), elsewhere, &ctx());
    let good = at("tunnels/.alice.toml.tmp");
    assert_eq!(
        (good.tunnels, good.problems, good.config_dir),
        (vec!["alice".into()], vec![], temp.path().into())
    );
    let bad = at("tunnels/.bob.toml.tmp");
    assert_eq!((bad.tunnels.len(), bad.problems.len(), bad.problems[0].line), (0, 1, Some(1)));
    assert_eq!(bad.problems[0].file.as_deref(), Some("tunnels/.bob.toml.tmp"));
    assert_eq!(at("loose file").problems.len(), 2, "no host from elsewhere, and no name");
    assert_eq!(at("gone.toml").problems.len(), 1);
    assert_eq!(at("").problems.len(), 1, "the directory");
    assert_eq!(at("nbtunnel.toml").problems.len(), 1);
    assert_eq!(check(None, elsewhere, &ctx()).problems.len(), 1);
}

#[test]
fn check_prints_for_people_and_for_programs() {
    let temp =
        dir_with(&[("tunnels/a.toml", "host = \"h\""), ("tunnels/b.toml", "host = \"h\"\nprot = 22\n")]);
    let (text, code) = check_main(None, temp.path(), &ctx(), false);
    assert_eq!(code, 1);
    let expected = "tunnels/b.toml:2:1: `prot` is not a key here\n  2 | prot = 22\n    | ^\n  hint: did you mean `port`?\n";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.ends_with(": 1 good tunnel, 1 problem\n"), "{text}");
    let (text, code) = check_main(None, temp.path(), &ctx(), true);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &json["tunnels"]), (1, &serde_json::json!(["a"])));
    assert_eq!(json["config_dir"], temp.path().to_str().unwrap());
    assert_eq!(
        json["problems"][0],
        serde_json::json!({"file": "tunnels/b.toml", "line": 2, "column": 1, "source": "prot = 22",
            "message": "`prot` is not a key here", "hint": "did you mean `port`?"})
    );
    let (_, code) = check_main(Some(&temp.path().join("tunnels/a.toml")), temp.path(), &ctx(), true);
    assert_eq!(code, 0);
}
