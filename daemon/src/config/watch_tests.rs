//! The watcher against real directories. Every wait is for a reading that shows the change.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::*;

const LONG: Duration = Duration::from_secs(20);

struct Bench {
    _temp: tempfile::TempDir,
    root: PathBuf,
    dir: PathBuf,
    readings: Receiver<Loaded>,
    watch: Watch,
    _runtime: tokio::runtime::Runtime,
}

impl Bench {
    /// `prepare` makes the directory as it is before the watcher starts; it is given its parent.
    fn new(prepare: impl FnOnce(&Path)) -> Bench {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap();
        prepare(&root);
        let dir = root.join("cfg");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (tell, readings) = channel();
        let ctx = Context {
            home: root.join("home"),
            user: "me".into(),
            env: BTreeMap::new(),
            ask_ssh: false,
            ports_path: None,
            owner_only: true,
        };
        let on_loaded: OnLoaded = Arc::new(move |loaded| drop(tell.send(loaded)));
        let watch = spawn(runtime.handle(), dir.clone(), ctx, on_loaded);
        Bench { _temp: temp, root, dir, readings, watch, _runtime: runtime }
    }

    /// Waits for a reading in which `wanted` holds.
    fn until(&self, what: &str, wanted: impl Fn(&Loaded) -> bool) -> Loaded {
        loop {
            let reading = self.readings.recv_timeout(LONG).unwrap_or_else(|_| panic!("never seen: {what}"));
            if wanted(&reading) {
                return reading;
            }
        }
    }

    fn until_host(&self, name: &str, host: &str) {
        self.until(&format!("{name} = {host}"), |l| {
            l.tunnels.get(name).is_some_and(|t| t.route.host == host)
        });
    }

    fn tunnel(&self, name: &str) -> PathBuf {
        self.dir.join("tunnels").join(format!("{name}.toml"))
    }
}

fn write_host(path: &Path, host: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, format!("host = \"{host}\"\n")).unwrap();
}

fn with_alice(root: &Path) {
    write_host(&root.join("cfg/tunnels/alice.toml"), "one");
}

#[test]
fn a_file_is_added_edited_renamed_over_broken_mended_and_removed() {
    let bench = Bench::new(with_alice);
    bench.until_host("alice", "one");
    write_host(&bench.tunnel("bob"), "b");
    bench.until_host("bob", "b");
    write_host(&bench.tunnel("alice"), "two");
    bench.until_host("alice", "two");
    let beside = bench.dir.join("tunnels/.alice.toml.tmp");
    for host in ["three", "four"] {
        write_host(&beside, host);
        std::fs::rename(&beside, bench.tunnel("alice")).unwrap();
        bench.until_host("alice", host);
    }
    std::fs::write(bench.tunnel("alice"), "host = ").unwrap();
    let broken = bench.until("alice broken", |l| l.broken.contains("alice"));
    assert_eq!(broken.problems.len(), 1);
    assert!(broken.tunnels.contains_key("bob"));
    write_host(&bench.tunnel("alice"), "five");
    bench.until_host("alice", "five");
    std::fs::remove_file(bench.tunnel("alice")).unwrap();
    bench.until("alice gone", |l| !l.tunnels.contains_key("alice") && l.tunnels.contains_key("bob"));
    std::fs::write(bench.dir.join("nbtunnel.toml"), "[defaults]\nport = 2222\n").unwrap();
    bench.until("the default port", |l| l.tunnels["bob"].route.port == Some(2222));
}

#[test]
fn a_directory_that_is_not_there_yet_is_found_when_it_comes() {
    let bench = Bench::new(|_| {});
    bench.until("nothing", |l| l.tunnels.is_empty() && l.problems.is_empty());
    write_host(&bench.tunnel("alice"), "one");
    bench.until_host("alice", "one");
}

#[test]
fn a_directory_that_is_removed_and_made_again_is_still_watched() {
    let bench = Bench::new(with_alice);
    bench.until_host("alice", "one");
    for host in ["two", "three", "four"] {
        std::fs::remove_dir_all(&bench.dir).unwrap();
        bench.until("empty", |l| l.tunnels.is_empty());
        write_host(&bench.tunnel("alice"), host);
        bench.until_host("alice", host);
    }
    // At once, so that a watch on the old directory would hear nothing of the new one.
    std::fs::remove_dir_all(&bench.dir).unwrap();
    write_host(&bench.tunnel("alice"), "five");
    bench.until_host("alice", "five");
    write_host(&bench.tunnel("alice"), "six");
    bench.until_host("alice", "six");
}

#[test]
fn a_directory_that_is_moved_away_is_not_confused_with_its_successor() {
    let bench = Bench::new(with_alice);
    bench.until_host("alice", "one");
    std::fs::rename(&bench.dir, bench.root.join("old")).unwrap();
    write_host(&bench.tunnel("alice"), "two");
    bench.until_host("alice", "two");
    write_host(&bench.tunnel("alice"), "three");
    bench.until_host("alice", "three");
}

#[cfg(unix)]
#[test]
fn the_target_of_a_link_is_followed_wherever_it_lies() {
    use std::os::unix::fs::symlink;
    let bench = Bench::new(|root| {
        write_host(&root.join("dotfiles/v1/alice"), "one");
        write_host(&root.join("dotfiles/v2/alice"), "two");
        symlink("v1", root.join("dotfiles/current")).unwrap();
        std::fs::create_dir_all(root.join("cfg/tunnels")).unwrap();
        symlink(root.join("dotfiles/current/alice"), root.join("cfg/tunnels/alice.toml")).unwrap();
    });
    bench.until_host("alice", "one");
    write_host(&bench.root.join("dotfiles/v1/alice"), "edited");
    bench.until_host("alice", "edited");
    // A link in the middle of the way is turned elsewhere.
    symlink("v2", bench.root.join("dotfiles/next")).unwrap();
    std::fs::rename(bench.root.join("dotfiles/next"), bench.root.join("dotfiles/current")).unwrap();
    bench.until_host("alice", "two");
    write_host(&bench.root.join("dotfiles/v2/alice"), "three");
    bench.until_host("alice", "three");
    std::fs::remove_file(bench.root.join("dotfiles/v2/alice")).unwrap();
    bench.until("a dangling link", |l| l.broken.contains("alice"));
}

#[cfg(unix)]
#[test]
fn the_whole_directory_may_be_a_link() {
    use std::os::unix::fs::symlink;
    let bench = Bench::new(|root| {
        write_host(&root.join("a/tunnels/alice.toml"), "one");
        write_host(&root.join("b/tunnels/alice.toml"), "two");
        symlink("a", root.join("cfg")).unwrap();
    });
    bench.until_host("alice", "one");
    symlink("b", bench.root.join("next")).unwrap();
    std::fs::rename(bench.root.join("next"), &bench.dir).unwrap();
    bench.until_host("alice", "two");
    write_host(&bench.root.join("b/tunnels/alice.toml"), "three");
    bench.until_host("alice", "three");
}

#[test]
fn only_a_difference_is_told_unless_somebody_asks() {
    let bench = Bench::new(with_alice);
    bench.until_host("alice", "one");
    // What editors leave, and the same contents again, are no news; the marker after them is the next.
    std::fs::write(bench.dir.join("tunnels/.alice.toml.swp"), "x").unwrap();
    std::fs::write(bench.dir.join("tunnels/alice.toml~"), "x").unwrap();
    std::fs::write(bench.dir.join("tunnels/4913"), "x").unwrap();
    // Over itself: cut off first, as by `write`, it may be read while it is empty, and that is a difference.
    let mut alice = std::fs::OpenOptions::new().write(true).open(bench.tunnel("alice")).unwrap();
    alice.write_all(b"host = \"one\"\n").unwrap();
    bench.watch.reload_now();
    let asked = bench.readings.recv_timeout(LONG).unwrap();
    assert_eq!(asked.tunnels["alice"].route.host, "one");
    bench.watch.reload_now();
    let again = bench.readings.recv_timeout(LONG).unwrap();
    assert_eq!(again, Loaded { asked: 2, ..asked }, "asked again, the same again");
    write_host(&bench.tunnel("bob"), "b");
    let next = bench.readings.recv_timeout(LONG).unwrap();
    assert!(next.tunnels.contains_key("bob") || next.broken.contains("bob"), "news without a difference");
}

#[cfg(target_os = "linux")]
#[test]
fn without_inotify_changes_are_still_seen() {
    if std::env::var_os("NBTUNNEL_TEST_NO_INOTIFY").is_none() {
        // A user namespace has limits of its own: there, and nowhere else, no inotify instance is left.
        let line = "echo 0 >/proc/sys/user/max_inotify_instances && exec \"$0\" \"$@\"";
        let output = std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "sh", "-c", line])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "config::watch::tests::without_inotify_changes_are_still_seen"])
            .env("NBTUNNEL_TEST_NO_INOTIFY", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
        return;
    }
    assert!(notify::recommended_watcher(|_| {}).is_err(), "inotify is still there");
    let bench = Bench::new(with_alice);
    bench.until_host("alice", "one");
    write_host(&bench.tunnel("alice"), "two");
    bench.until_host("alice", "two");
}

#[test]
fn our_own_reading_is_no_news() {
    let scope = Scope { dirs: vec![], roots: vec!["/c".into()], places: vec!["/d/target".into()] };
    let event = |kind, path: &str| Event { kind, paths: vec![path.into()], attrs: Default::default() };
    let modify = EventKind::Modify(notify::event::ModifyKind::Any);
    assert!(!scope.concerns(&event(EventKind::Access(notify::event::AccessKind::Any), "/c/x")));
    assert!(scope.concerns(&event(modify, "/c/tunnels/x.toml")));
    assert!(scope.concerns(&event(modify, "/d/target")) && !scope.concerns(&event(modify, "/d/other")));
    assert!(scope.concerns(&event(modify, "/")));
    let overflow = Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
    assert!(scope.concerns(&overflow));
}

#[test]
fn a_reading_says_which_requests_it_answers_and_none_is_lost() {
    let bench = Bench::new(with_alice);
    for n in 1..=50 {
        write_host(&bench.tunnel("alice"), &format!("h{n}"));
        let asked = bench.watch.reload_now();
        assert_eq!(asked, n);
        // Whatever was under way: the reading that answers this request has seen what was written before it.
        let answer = bench.until("the answer", |loaded| loaded.asked >= asked);
        assert_eq!(answer.tunnels.get("alice").unwrap().route.host, format!("h{n}"));
    }
}

#[test]
fn a_directory_that_is_gone_when_it_is_to_be_watched_is_told() {
    let temp = tempfile::tempdir().unwrap();
    let scope = |dirs: &[&Path]| {
        Arc::new(Scope {
            dirs: dirs.iter().map(|dir| dir.to_path_buf()).collect(),
            roots: vec![],
            places: vec![],
        })
    };
    let (there, gone) = (temp.path(), temp.path().join("gone"));
    let nudges = Arc::default();
    assert!(arm(&scope(&[there]), &nudges).unwrap().1);
    assert!(!arm(&scope(&[there, &gone]), &nudges).unwrap().1);
}
