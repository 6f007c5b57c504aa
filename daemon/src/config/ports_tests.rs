//! The local ports of notebooks that name none: read from a real disk, bound at real addresses.

use std::net::{Ipv4Addr, TcpListener};

use nbtunnel_core::Target;
use tempfile::TempDir;

use super::gather::Gathered;
use super::read::interpret;
use super::*;

/// A config directory, and a place for the ports beside it.
pub(super) struct World {
    pub(super) dir: TempDir,
}

impl World {
    pub(super) fn new(files: &[(&str, &str)]) -> World {
        let world = World { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(world.dir.path().join("tunnels")).unwrap();
        files.iter().for_each(|(name, text)| world.write(name, text));
        world
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(format!("tunnels/{name}.toml")), text).unwrap();
    }

    fn ports_path(&self) -> PathBuf {
        self.dir.path().join("state/ports.json")
    }

    pub(super) fn ctx(&self) -> Context {
        Context {
            home: "/home/me".into(),
            user: "me".into(),
            env: BTreeMap::new(),
            ask_ssh: false,
            ports_path: Some(self.ports_path()),
            owner_only: true,
        }
    }

    /// What a daemon reads that has just begun.
    pub(super) fn load(&self) -> Loaded {
        load(self.dir.path(), &self.ctx())
    }

    /// The local port of the only notebook of `tunnel`.
    fn port(&self, tunnel: &str) -> u16 {
        let loaded = self.load();
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        loaded.tunnels[tunnel].notebooks[0].local_port
    }
}

/// A notebook by a name that no other test has: the same names lead to the same ports, and tests bind them.
fn notebook(name: &str) -> String {
    format!("host = \"h\"\n[notebook.{name}]\nremote_port = 7000")
}

#[test]
fn a_port_is_chosen_once_and_kept_over_restarts_and_removals() {
    let notebook = notebook("kept");
    let world = World::new(&[("a", &notebook), ("b", &notebook)]);
    let (a, b) = (world.port("a"), world.port("b"));
    assert!(a != b && (20_000..30_000).contains(&a) && (20_000..30_000).contains(&b));
    let forward = &world.load().tunnels["a"].forwards[0];
    assert_eq!(forward.listen.port(), Some(a));
    assert_eq!(forward.target, Target::Notebook(Name::parse("kept").unwrap()));
    let written = std::fs::read(world.ports_path()).unwrap();
    // Another program has it meanwhile: that is said when it is bound, and the port stays.
    let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, a)).unwrap();
    assert_eq!(world.port("a"), a);
    std::fs::remove_file(world.dir.path().join("tunnels/a.toml")).unwrap();
    assert!(!world.load().tunnels.contains_key("a"));
    world.write("a", &notebook);
    assert_eq!((world.port("a"), world.port("b")), (a, b));
    assert_eq!(std::fs::read(world.ports_path()).unwrap(), written);
}

#[test]
fn a_port_that_is_somebodys_is_not_chosen() {
    let notebook = notebook("somebodys");
    let first = World::new(&[("a", &notebook)]);
    let port = first.port("a");
    // The same names lead to the same port, unless somebody listens there …
    let held = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let world = World::new(&[("a", &notebook)]);
    assert_ne!(world.port("a"), port);
    drop(held);
    // … or another file of ours names it, before or afterwards …
    let other = format!("host = \"h\"\nforward = \"{port}:h:1\"");
    let world = World::new(&[("a", &notebook), ("b", &other)]);
    assert_ne!(world.port("a"), port);
    first.write("b", &other);
    assert_ne!(first.port("a"), port);
    // … or it was given to another one, even where that is not there any more.
    let world = World::new(&[("a", &notebook)]);
    std::fs::create_dir(world.dir.path().join("state")).unwrap();
    std::fs::write(world.ports_path(), format!("{{\"ports\":{{\"old/x\":{port}}}}}")).unwrap();
    assert_ne!(world.port("a"), port);
}

#[test]
fn where_nothing_can_be_written_the_port_is_there_and_the_problem_too() {
    let notebook = notebook("unwritten");
    let world = World::new(&[("a", &notebook)]);
    std::fs::write(world.dir.path().join("state"), "in the way").unwrap();
    let mut ports = ports::Ports::open(world.ctx().ports_path);
    let reading = |ports: &mut ports::Ports| {
        let mut loaded =
            interpret(&Gathered::from_dir(world.dir.path()), &world.ctx(), &hosts::Answers::default());
        ports.choose(&mut loaded);
        loaded
    };
    let first = reading(&mut ports);
    let port = first.tunnels["a"].notebooks[0].local_port;
    assert!(port != 0 && first.problems.len() == 1, "{:?}", first.problems);
    assert!(first.problems[0].message.contains("cannot be kept"), "{:?}", first.problems);
    let _ours = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let second = reading(&mut ports);
    assert_eq!((second.tunnels["a"].notebooks[0].local_port, second.digest), (port, first.digest));
    std::fs::remove_file(world.dir.path().join("state")).unwrap();
    let third = reading(&mut ports);
    assert!(third.problems.is_empty() && third.digest != first.digest, "it is tried again, and told");
    drop(_ours);
    assert_eq!(world.port("a"), port);
}

#[test]
fn what_remembers_the_ports_may_be_broken_and_a_check_leaves_it_alone() {
    let notebook = notebook("broken");
    let world = World::new(&[("a", &notebook)]);
    let report = check(None, world.dir.path(), &world.ctx());
    assert!(report.problems.is_empty() && !world.ports_path().exists());
    std::fs::create_dir(world.dir.path().join("state")).unwrap();
    for broken in ["{", "[]", "{\"ports\":{\"a/broken\":70000}}", "{\"ports\":{\"a/broken\":-1}}"] {
        std::fs::write(world.ports_path(), broken).unwrap();
        assert_ne!(world.port("a"), 0, "{broken}");
    }
}
