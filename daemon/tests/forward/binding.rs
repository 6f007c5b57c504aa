//! Where a forward listens, and what is in its way.

use super::world::*;
use nbtunnel_core::{Failure, FailureKind, Input, ListenAt, ListenerReport, Name, Target};
use std::net::TcpListener as StdListener;
use tokio::net::TcpStream;

async fn bound(world: &World, id: u32) -> (Vec<String>, Option<String>) {
    match world.listener(id).await {
        ListenerReport::Bound { listens, note } => (listens, note),
        other => panic!("{other:?}"),
    }
}

async fn failed(world: &World, id: u32) -> Failure {
    match world.listener(id).await {
        ListenerReport::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

/// A port that is free on 127.0.0.1, kept by a listener on another address only.
fn port_of(listener: &StdListener) -> u16 {
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn loopback_and_any_are_both_families_on_one_port() {
    let world = World::new();
    for (id, listen) in [(0, ListenAt::Loopback(0)), (1, ListenAt::Any(0))] {
        let _forward = world.forward(id, listen);
        let (listens, note) = bound(&world, id).await;
        assert_eq!((listens.len(), note), (2, None), "{listens:?}");
        let port = |at: &str| at.rsplit(':').next().unwrap().to_owned();
        assert_eq!(port(&listens[0]), port(&listens[1]));
        assert!(listens[1].starts_with('['));
        for at in ["127.0.0.1", "[::1]"] {
            TcpStream::connect(format!("{at}:{}", port(&listens[0]))).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_port_in_use_names_who_has_it_and_harms_no_other_forward() {
    let world = World::new();
    let other = StdListener::bind("127.0.0.1:0").unwrap();
    let taken = world.forward(0, ListenAt::Loopback(port_of(&other)));
    let _free = world.forward(1, ListenAt::Loopback(0));
    let failure = failed(&world, 0).await;
    assert_eq!(failure.kind, FailureKind::PortInUse);
    assert!(failure.message.starts_with(&format!("port {} is in use by ", port_of(&other))), "{failure}");
    if cfg!(target_os = "linux") {
        assert!(failure.message.ends_with(&format!("(pid {})", std::process::id())), "{failure}");
        assert!(failure.message.contains("another tunnel") && !failure.hint.contains("stop it"), "{failure}");
    }
    bound(&world, 1).await;
    // Tried again once it is free, by another forward of the same id.
    drop((taken, other.local_addr().unwrap()));
    let port = port_of(&other);
    drop(other);
    let _again = world.forward(0, ListenAt::Loopback(port));
    until(|| {
        let inputs = world.inputs.lock().unwrap();
        let bound = |i: &Input| matches!(i, Input::Listener(id, ListenerReport::Bound { .. }) if id.0 == 0);
        inputs.iter().any(bound).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_port_of_a_notebook_that_is_in_use_says_which_word_names_another() {
    let world = World::new();
    let other = StdListener::bind("127.0.0.1:0").unwrap();
    let notebook = Target::Notebook(Name::parse("alice").unwrap());
    let _forward = world.forward_to(0, ListenAt::Loopback(port_of(&other)), notebook);
    let failure = failed(&world, 0).await;
    assert_eq!(failure.kind, FailureKind::PortInUse);
    assert!(failure.hint.contains("local_port = 6000 below [notebook.alice]"), "{failure}");
}

#[tokio::test]
async fn a_taken_ipv6_loopback_beside_a_good_ipv4_one_is_a_note() {
    let world = World::new();
    let other = StdListener::bind("[::1]:0").unwrap();
    let _forward = world.forward(0, ListenAt::Loopback(port_of(&other)));
    let (listens, note) = bound(&world, 0).await;
    assert_eq!(listens, [format!("127.0.0.1:{}", port_of(&other))]);
    let note = note.unwrap();
    assert!(note.starts_with("not on ::1: port ") && note.contains(" is in use by "), "{note}");
}

#[tokio::test]
async fn a_forward_that_failed_still_reports_its_unbind() {
    let world = World::new();
    let other = StdListener::bind("127.0.0.1:0").unwrap();
    let forward = world.forward(0, ListenAt::Loopback(port_of(&other)));
    failed(&world, 0).await;
    forward.unbind();
    until(|| {
        let last = world.inputs.lock().unwrap().last().cloned();
        matches!(last, Some(Input::Listener(_, ListenerReport::Unbound))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_listened_on_says_why() {
    let world = World::new();
    let cases = [
        (
            ListenAt::Address("192.0.2.1".into(), 6000),
            FailureKind::CannotListen,
            "192.0.2.1 is not an address",
        ),
        (ListenAt::Address("no.such.invalid".into(), 6000), FailureKind::Dns, "no.such.invalid"),
        (ListenAt::Socket("/no/such/dir/s".into()), FailureKind::CannotListen, "/no/such/dir/s"),
    ];
    for (id, (listen, kind, says)) in (0..).zip(cases) {
        let _forward = world.forward(id, listen);
        let failure = failed(&world, id).await;
        assert!(
            failure.kind == kind && failure.message.contains(says) && !failure.hint.is_empty(),
            "{failure:?}"
        );
    }
}

#[tokio::test]
async fn the_port_can_be_had_again_right_after_unbind_also_with_connections_open() {
    let world = World::new();
    let (mut forward, address) = world.listening().await;
    let port = address.rsplit(':').next().unwrap().parse().unwrap();
    for id in 1..=5 {
        let (_local, _far) = world.connected(&address).await;
        forward.unbind();
        until(|| (world.activity.held_and_open() == (0, 0)).then_some(())).await;
        forward = world.forward(id, ListenAt::Address("127.0.0.1".into(), port));
        bound(&world, id).await;
    }
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener as StdUnixListener;
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;

    #[tokio::test]
    async fn a_socket_is_private_carries_and_is_unlinked_at_the_end() {
        let world = World::new();
        let path = world.dir.path().join("s");
        let forward = world.forward(0, ListenAt::Socket(path.clone()));
        assert_eq!(bound(&world, 0).await.0, [path.display().to_string()]);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut link = world.link();
        let mut local = UnixStream::connect(&path).await.unwrap();
        let mut far = link.channel().await;
        local.write_all(b"hello").await.unwrap();
        local.shutdown().await.unwrap();
        assert_eq!(far.hears_all().await, (b"hello".to_vec(), Sent::Eof));
        far.data(b"there");
        far.say(nbtunneld::forward::FarMessage::Eof);
        assert_eq!(read_out(&mut local).await, (b"there".to_vec(), false));
        forward.unbind();
        until(|| (!path.exists()).then_some(())).await;
    }

    #[tokio::test]
    async fn a_live_socket_is_never_unlinked_and_a_stale_one_is_taken_over() {
        let world = World::new();
        let path = world.dir.path().join("s");
        let live = StdUnixListener::bind(&path).unwrap();
        let _refused = world.forward(0, ListenAt::Socket(path.clone()));
        let failure = failed(&world, 0).await;
        assert_eq!(failure.kind, FailureKind::PortInUse);
        if cfg!(target_os = "linux") {
            assert!(failure.message.contains(&format!("(pid {})", std::process::id())), "{failure}");
        }
        std::os::unix::net::UnixStream::connect(&path).unwrap();
        drop(live);
        let _forward = world.forward(1, ListenAt::Socket(path.clone()));
        bound(&world, 1).await;
    }

    #[tokio::test]
    async fn a_file_is_left_alone_and_so_is_a_socket_that_took_our_place() {
        let world = World::new();
        let file = world.dir.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        let _refused = world.forward(0, ListenAt::Socket(file.clone()));
        assert_eq!(failed(&world, 0).await.kind, FailureKind::CannotListen);
        assert_eq!(std::fs::read(&file).unwrap(), b"precious");

        let path = world.dir.path().join("s");
        let forward = world.forward(1, ListenAt::Socket(path.clone()));
        bound(&world, 1).await;
        std::fs::remove_file(&path).unwrap();
        let _successor = StdUnixListener::bind(&path).unwrap();
        forward.unbind();
        until(|| {
            matches!(world.inputs.lock().unwrap().last(), Some(Input::Listener(_, ListenerReport::Unbound)))
                .then_some(())
        })
        .await;
        assert!(path.exists());
    }
}
