use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::Receiver;

use super::*;

fn store(handed: Handed) -> (Store, Receiver<Notice>) {
    let (tell, told) = channel();
    (Store::new(handed, tell), told)
}

/// What the manager was told: names, with a '+' or a '-' before, and what it has by that.
fn told(told: &Receiver<Notice>, manager: &mut HashMap<String, Socket>) -> Vec<String> {
    let hears = |notice| match notice {
        Notice::Keep(name, socket) => {
            assert!(name.len() < 256 && !name.contains(':') && name.is_ascii(), "{name}");
            manager.insert(name.clone(), socket);
            format!("+{name}")
        }
        Notice::LetGo(name) => {
            manager.remove(&name);
            format!("-{name}")
        }
    };
    told.try_iter().map(hears).collect()
}

/// What the next daemon is handed.
fn hand_over(manager: &HashMap<String, Socket>) -> Handed {
    Handed(manager.iter().map(|(name, socket)| (name.clone(), socket.try_clone().unwrap().into())).collect())
}

#[test]
fn a_listener_is_kept_adopted_by_its_address_alone_and_refuses_once_it_is_let_go() {
    for host in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(listener) = TcpListener::bind(host) else { continue };
        let (at, mut manager) = (listener.local_addr().unwrap(), HashMap::new());
        let (first, notices) = store(Handed::default());
        first.keep(SockRef::from(&listener));
        let names = told(&notices, &mut manager);
        assert!(names.len() == 1 && names[0].starts_with("+forward-"), "{names:?}");
        drop((listener, first));
        let mut waiting = TcpStream::connect(at).unwrap();

        let (second, notices) = store(hand_over(&manager));
        let mut other = at;
        other.set_port(at.port() ^ 1);
        assert!(second.adopt(&other.into()).is_none());
        let adopted = second.adopt(&at.into()).unwrap();
        second.keep(SockRef::from(&adopted));
        assert!(second.adopt(&at.into()).is_none(), "it is claimed");
        second.let_go_of_the_rest();
        assert_eq!(told(&notices, &mut manager), [""; 0], "it is there already");
        // Who came meanwhile is served.
        let adopted: TcpListener = adopted.into();
        drop(adopted.accept().unwrap());
        assert_eq!(waiting.read(&mut [0]).unwrap(), 0);

        second.let_go(SockRef::from(&adopted));
        TcpStream::connect(at).unwrap_err();
        assert_eq!(told(&notices, &mut manager), [names[0].replace('+', "-")]);
        second.let_go(SockRef::from(&adopted));
        assert!(told(&notices, &mut manager).is_empty());
    }
}

#[test]
fn what_nobody_claims_refuses_and_leaves_no_file() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("s");
    let (tcp, unix) = (TcpListener::bind("127.0.0.1:0").unwrap(), UnixListener::bind(&path).unwrap());
    let (at, mut manager) = (tcp.local_addr().unwrap(), HashMap::new());
    let (first, notices) = store(Handed::default());
    first.keep(SockRef::from(&tcp));
    first.keep(SockRef::from(&unix));
    assert_eq!(told(&notices, &mut manager).len(), 2);
    drop((tcp, unix, first));

    let (second, notices) = store(hand_over(&manager));
    second.let_go_of_the_rest();
    TcpStream::connect(at).unwrap_err();
    assert!(!path.exists());
    assert_eq!(told(&notices, &mut manager).len(), 2);
    assert!(manager.is_empty());
}

#[test]
fn a_socket_whose_path_leads_elsewhere_is_neither_adopted_nor_is_the_other_unlinked() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let mut manager = HashMap::new();
    let (first, notices) = store(Handed::default());
    first.keep(SockRef::from(&listener));
    told(&notices, &mut manager);
    drop((listener, first));

    let at = SockAddr::unix(&path).unwrap();
    let (second, _notices) = store(hand_over(&manager));
    assert!(second.adopt(&at).is_some());
    std::fs::remove_file(&path).unwrap();
    assert!(second.adopt(&at).is_none());
    let other = UnixListener::bind(&path).unwrap();
    assert!(second.adopt(&at).is_none());
    second.let_go_of_the_rest();
    UnixStream::connect(&path).unwrap();
    other.accept().unwrap();
}

#[test]
fn what_does_not_listen_any_more_is_taken_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (first, notices) = store(Handed::default());
    let mut manager = HashMap::new();
    first.keep(SockRef::from(&listener));
    let names = told(&notices, &mut manager);
    first.let_go(SockRef::from(&listener));
    let (second, notices) = store(hand_over(&manager));
    assert!(second.adopt(&listener.local_addr().unwrap().into()).is_none());
    assert_eq!(told(&notices, &mut manager), [names[0].replace('+', "-")]);
}

#[test]
fn a_listener_whose_forward_has_another_address_now_makes_way_for_it_and_no_other_does() {
    for (host, all) in [("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1")] {
        let (old, other) =
            (TcpListener::bind((host, 0)).unwrap(), TcpListener::bind(("127.0.0.1", 0)).unwrap());
        let (at, mut manager) = (old.local_addr().unwrap(), HashMap::new());
        let (first, notices) = store(Handed::default());
        first.keep(SockRef::from(&old));
        first.keep(SockRef::from(&other));
        told(&notices, &mut manager);
        let stays = other.local_addr().unwrap();
        drop((old, other, first));

        let (second, notices) = store(hand_over(&manager));
        let new = std::net::SocketAddr::new(all.parse().unwrap(), at.port());
        assert!(second.adopt(&new.into()).is_none());
        TcpListener::bind(new).unwrap_err();
        assert!(second.make_way(&new.into()));
        // The manager has not heard of it yet.
        TcpListener::bind(new).unwrap();
        assert_eq!(told(&notices, &mut manager).len(), 1);
        assert!(!second.make_way(&new.into()));
        assert!(second.adopt(&stays.into()).is_some(), "another one was given up too");
    }
}
