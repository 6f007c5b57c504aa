use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use proptest::prelude::*;
use socket2::{Domain, Socket, Type};

use super::*;

const LOOPBACKS: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Waits for it: another test's child may hold a descriptor of ours between its fork and its exec.
fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    (0..500).any(|_| {
        let so = holds();
        if !so {
            std::thread::sleep(Duration::from_millis(10));
        }
        so
    })
}

#[test]
fn both_ends_of_a_connection_are_ours_in_every_family_and_half_closed_too() {
    let mut diag = Diag::open().unwrap();
    for host in LOOPBACKS {
        let listener = TcpListener::bind(host).unwrap();
        let at = listener.local_addr().unwrap();
        let client = TcpStream::connect(at).unwrap();
        let (near, accepted) = (client.local_addr().unwrap(), listener.accept().unwrap());
        client.shutdown(Shutdown::Write).unwrap();
        for (near, far) in [(near, at), (at, near)] {
            let entry = diag.entry(near, far).unwrap().unwrap();
            assert_eq!((entry.near, entry.far, entry.uid), (near, far, me()));
        }
        assert!(diag.entry(near, at).unwrap().unwrap().is_connected());
        drop(accepted);
    }
}

#[test]
fn a_client_is_found_that_speaks_ipv4_by_an_ipv6_socket_or_is_bound_to_the_device() {
    let mut diag = Diag::open().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let mapped = SocketAddr::new("::ffff:127.0.0.1".parse().unwrap(), at.port());
    let six = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
    six.connect(&mapped.into()).unwrap();
    let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    bound.bind_device(Some(b"lo")).unwrap();
    bound.connect(&at.into()).unwrap();
    for client in [six, bound] {
        let near = client.local_addr().unwrap().as_socket().unwrap();
        let near = SocketAddr::new(near.ip().to_canonical(), near.port());
        let entry = diag.entry(near, at).unwrap().unwrap();
        assert!(entry.is_connected() && entry.uid == me(), "{entry:?}");
    }
}

#[test]
fn whoever_sent_and_closed_is_connected_no_more() {
    let mut diag = Diag::open().unwrap();
    for host in LOOPBACKS {
        let listener = TcpListener::bind(host).unwrap();
        let at = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(at).unwrap();
        let near = client.local_addr().unwrap();
        client.write_all(b"x").unwrap();
        drop(client);
        let gone = eventually(|| !diag.entry(near, at).unwrap().is_some_and(|entry| entry.is_connected()));
        assert!(gone, "its bytes are there, and its socket is nobody's");
    }
}

#[test]
fn who_only_asks_to_connect_is_not_who_was_accepted() {
    let mut diag = Diag::open().unwrap();
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let at = listener.local_addr().unwrap();
    // The queue is full soon, and then nobody is answered.
    let asking: Vec<Socket> =
        (0..8).map(|_| Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()).collect();
    let waits = asking.iter().any(|client| {
        client.set_nonblocking(true).unwrap();
        let _ = client.connect(&at);
        let near = client.local_addr().unwrap().as_socket().unwrap();
        let entry = diag.entry(near, at.as_socket().unwrap()).unwrap();
        entry.is_some_and(|entry| entry.inode != 0 && !entry.is_connected())
    });
    assert!(waits, "all were accepted");
}

#[test]
fn a_listener_is_found_for_itself_and_never_for_a_connection() {
    let mut diag = Diag::open().unwrap();
    for host in LOOPBACKS {
        let listener = TcpListener::bind(host).unwrap();
        let at = listener.local_addr().unwrap();
        let nowhere: SocketAddr = if at.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().unwrap();
        assert!(diag.entry(at, nowhere).unwrap().unwrap().listens());
        let nobody = SocketAddr::new(at.ip(), 1);
        assert_eq!((diag.entry(nobody, at).unwrap(), diag.entry(at, nobody).unwrap()), (None, None));
    }
}

#[test]
fn an_answer_to_an_earlier_question_is_passed_over() {
    let mut diag = Diag::open().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let client = TcpStream::connect(at).unwrap();
    let near = client.local_addr().unwrap();
    let nobody = SocketAddr::new(at.ip(), 1);
    // Nobody reads the answer to this one.
    send(&diag.socket, &question(diag.asked.wrapping_sub(1), nobody, at), SendFlags::empty()).unwrap();
    assert!(diag.entry(near, at).unwrap().is_some());
}

proptest! {
    #[test]
    fn whatever_comes_is_an_answer_or_an_error(
        kind in prop_oneof![Just(SOCK_DIAG_BY_FAMILY), Just(NLMSG_ERROR), any::<u16>()],
        number in 0..3u32,
        rest in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 2]);
        bytes.extend(number.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(rest);
        for length in 0..bytes.len() {
            if let Ok(Some(Some(entry))) = answer(&bytes[..length], 1) {
                prop_assert!(kind == SOCK_DIAG_BY_FAMILY && number == 1 && length >= HEADER + 72, "{entry:?}");
            }
        }
    }
}
