//! Config directories over an ssh_config of their own, which the ssh of this machine reads.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nbtunnel_core::{Policy, SshConfig};
use tempfile::TempDir;

use super::hosts::Hosts;
use super::*;
use crate::ssh_config::{ConfigFile, Query};

struct Dir {
    temp: TempDir,
}

impl Dir {
    /// A tunnel file `a`, which reads the ssh_config `text`.
    fn new(tunnel: &str, text: &str) -> Dir {
        let dir = Dir { temp: tempfile::tempdir().unwrap() };
        fs::create_dir(dir.path().join("tunnels")).unwrap();
        fs::write(dir.ssh_config(), text).unwrap();
        dir.tunnel("a", tunnel);
        dir
    }

    fn path(&self) -> &Path {
        self.temp.path()
    }

    fn ssh_config(&self) -> PathBuf {
        self.path().join("ssh_config")
    }

    fn tunnel(&self, name: &str, text: &str) {
        let text = format!("{text}\nssh_config = \"ssh_config\"\n");
        fs::write(self.path().join("tunnels").join(format!("{name}.toml")), text).unwrap();
    }

    fn ctx(&self) -> Context {
        Context {
            home: self.path().join("home"),
            user: "me".into(),
            env: BTreeMap::new(),
            ask_ssh: true,
            ports_path: None,
            owner_only: true,
        }
    }

    fn load(&self) -> Loaded {
        load(self.path(), &self.ctx())
    }
}

fn forwards(loaded: &Loaded) -> Vec<String> {
    loaded.tunnels["a"].forwards.iter().map(ToString::to_string).collect()
}

const HOST: &str = "Host lab\n LocalForward 6000 localhost:7000\n LocalForward 6001 localhost:7001\n \
    ServerAliveInterval 40\n ConnectTimeout 7\n RekeyLimit 2G\n";

#[test]
fn the_forwards_and_times_of_the_host_are_the_tunnels() {
    let dir = Dir::new("host = \"lab\"\nforward = [\"6001:localhost:7001\", \"6002:h:1\"]", HOST);
    let loaded = dir.load();
    assert_eq!(loaded.problems, []);
    assert_eq!(
        forwards(&loaded),
        ["localhost:6001:localhost:7001", "localhost:6002:h:1", "localhost:6000:localhost:7000"]
    );
    let TunnelSpec { route, policy, .. } = &loaded.tunnels["a"];
    assert_eq!(
        (policy.keepalive, policy.connect_timeout, policy.renew_bytes),
        (Duration::from_secs(40), Duration::from_secs(7), 2 << 30)
    );
    assert_eq!(route.ssh_config, SshConfig::File(dir.ssh_config()));
}

#[test]
fn the_file_wins_over_the_host_and_may_refuse_its_forwards() {
    let dir = Dir::new("host = \"lab\"\nssh_forwards = false\nkeepalive = \"5s\"", HOST);
    fs::write(dir.path().join("nbtunnel.toml"), "[defaults]\nconnect_timeout = \"9s\"\n").unwrap();
    let loaded = dir.load();
    let policy = &loaded.tunnels["a"].policy;
    assert_eq!(forwards(&loaded), [""; 0]);
    assert_eq!((policy.keepalive.as_secs(), policy.connect_timeout.as_secs()), (5, 9));
}

#[test]
fn an_interval_of_zero_never_switches_our_probe_off() {
    let dir = Dir::new("host = \"lab\"\noptions = [\"ServerAliveInterval=0\"]", HOST);
    assert_eq!(dir.load().tunnels["a"].policy.keepalive, Policy::default().keepalive);
}

#[test]
fn what_is_not_followed_is_a_note_of_that_tunnel() {
    let dir = Dir::new("host = \"lab\"", "Host lab\n HostbasedAuthentication yes\n LocalForward 1 h:2\n");
    dir.tunnel("b", "host = \"other\"");
    let loaded = dir.load();
    assert_eq!((loaded.problems.len(), loaded.notes.len()), (0, 1));
    let note = &loaded.notes[0];
    assert_eq!((note.file.as_deref(), note.line), (Some("tunnels/a.toml"), Some(1)));
    assert!(note.message.contains("HostbasedAuthentication yes"), "{}", note.message);
    let report = check(None, dir.path(), &dir.ctx());
    assert_eq!((report.problems.len(), report.notes.len()), (0, 1));
    let report = check(Some(&dir.path().join("tunnels/a.toml")), dir.path(), &dir.ctx());
    assert_eq!((report.problems.len(), report.notes.len()), (0, 1));
    let (text, code) = check_main(None, dir.path(), &dir.ctx(), false);
    assert!(text.contains("note: HostbasedAuthentication"), "{text}");
    assert_eq!(code, 0);
}

#[test]
fn a_host_that_ssh_cannot_resolve_is_that_tunnels_problem_alone() {
    let dir = Dir::new("host = \"lab\"", "Host lab\n VerifyHostKeyDNS yes\n");
    dir.tunnel("b", "host = \"other\"");
    dir.tunnel("c", "host = \"lab\"\noptions = [\"NoSuchThing=1\"]");
    let loaded = dir.load();
    assert_eq!(loaded.tunnels.keys().map(Name::as_str).collect::<Vec<_>>(), ["b"]);
    assert_eq!(loaded.broken.iter().map(Name::as_str).collect::<Vec<_>>(), ["a", "c"]);
    assert!(loaded.problems[0].message.contains("VerifyHostKeyDNS yes"), "{:?}", loaded.problems);
    assert!(loaded.problems[1].message.contains("nosuchthing"), "{:?}", loaded.problems);
}

#[test]
fn an_edit_of_ssh_config_and_a_new_included_file_take_effect() {
    let dir = Dir::new("host = \"lab\"", "");
    let included = dir.path().join("conf.d");
    fs::create_dir(&included).unwrap();
    fs::write(dir.ssh_config(), format!("Include {}/*\n", included.display())).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (tell, readings) = channel();
    let tell = Mutex::new(tell);
    let on_loaded: OnLoaded = Arc::new(move |loaded| drop(tell.lock().unwrap().send(loaded)));
    let _watch = spawn(runtime.handle(), dir.path().to_owned(), dir.ctx(), on_loaded);
    let until = |what: &str, count: usize| {
        loop {
            let loaded: Loaded = readings
                .recv_timeout(Duration::from_secs(20))
                .unwrap_or_else(|_| panic!("never seen: {what}"));
            if loaded.tunnels["a"].forwards.len() == count {
                return;
            }
        }
    };
    until("nothing", 0);
    fs::write(included.join("lab.conf"), HOST).unwrap();
    until("a new file", 2);
    fs::write(included.join("lab.conf"), "Host lab\n LocalForward 1 h:2\n").unwrap();
    until("an edit of it", 1);
    fs::write(dir.ssh_config(), "").unwrap();
    until("an edit of what included it", 0);
}

#[test]
fn gateway_ports_open_no_forward_of_the_tunnels_own_and_that_is_said() {
    let text = "Host lab\n GatewayPorts yes\n LocalForward 6000 localhost:7000\n";
    let dir =
        Dir::new("host = \"lab\"\nforward = [\"*:6002:h:1\", \"6001:h:1\"]\ndynamic = \"[::1]:1080\"", text);
    let loaded = dir.load();
    let expected = ["*:6002:h:1", "localhost:6001:h:1", "[::1]:1080", "*:6000:localhost:7000"];
    assert_eq!(forwards(&loaded), expected);
    assert!(loaded.notes[0].message.contains("\"6001:h:1\""), "{:?}", loaded.notes);
    dir.tunnel("a", "host = \"lab\"\nforward = [\"*:6002:h:1\", \"localhost:6001:h:1\"]");
    assert_eq!(dir.load().notes, []);
}

#[test]
fn ssh_is_asked_again_only_when_a_file_changed() {
    let dir = Dir::new("host = \"lab\"", "");
    let asked = dir.path().join("asked");
    let text = format!("Match exec \"echo >> {}\"\n", asked.display());
    fs::write(dir.ssh_config(), &text).unwrap();
    let count = || fs::read_to_string(&asked).map_or(0, |lines| lines.lines().count());
    let queries =
        [Query { config: ConfigFile::At(dir.ssh_config()), ..Query::new("lab") }].into_iter().collect();
    let mut hosts = Hosts::new(dir.path());
    let first = hosts.ask(&queries).digest();
    assert_eq!((count(), hosts.ask(&queries).digest(), count()), (1, first, 1));
    fs::write(dir.ssh_config(), format!("{text} Port 5\n")).unwrap();
    assert_ne!(hosts.ask(&queries).digest(), first);
    assert_eq!(count(), 2);
    hosts.forget();
    hosts.ask(&queries);
    assert_eq!(count(), 3);
}
