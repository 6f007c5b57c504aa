//! Sockets that were handed over, as a process finds them that has only just begun.
//!
//! Without a test harness, since that starts threads: each case runs this program again, with the socket as
//! descriptor 3, and looks at its first moments.

#![allow(clippy::unwrap_used)]

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    assert!(nbtunneld::service::activation::take().control.is_empty());
}

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::process::{Command, Stdio};

    use nbtunneld::service::activation::take;

    pub(super) fn main() {
        match std::env::var("NBTUNNEL_TEST_CASE").as_deref() {
            Err(_) => all_cases(),
            Ok("taken once and passed to no child") => taken_once_and_passed_to_no_child(),
            Ok("kept by the store") => {
                let taken = take();
                assert!(taken.control.is_empty() && taken.forwards.len() == 1, "{taken:?}");
            }
            Ok(_) => assert!(take().control.is_empty()),
        }
    }

    fn all_cases() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let _waiting = UnixStream::connect(&path).unwrap();
        let copy = || OwnedFd::from(listener.try_clone().unwrap());
        case("taken once and passed to no child", copy(), "$$", "1");
        case("left alone when it is for another process", copy(), "1", "1");
        case("not there", copy(), "$$", "many");
        case("fewer than announced", copy(), "$$", "2");
        let (end, _other_end) = UnixStream::pair().unwrap();
        case("connected, not listening", end.into(), "$$", "1");
        case("a file", std::fs::File::open("/dev/null").unwrap().into(), "$$", "1");
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        case("listening, but for the network", tcp.into(), "$$", "1");
        let kept = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        case("kept by the store", kept.into(), "$$", "1");
    }

    fn case(name: &str, handed: OwnedFd, listen_pid: &str, listen_fds: &str) {
        let called = if name == "kept by the store" { "forward-1f" } else { "control" };
        let line = format!("exec 3<&0 0</dev/null; export LISTEN_PID={listen_pid}; exec \"$0\"");
        let status = Command::new("sh")
            .args(["-c", &line])
            .arg(std::env::current_exe().unwrap())
            .envs([("LISTEN_FDS", listen_fds), ("LISTEN_FDNAMES", called), ("NBTUNNEL_TEST_CASE", name)])
            .stdin(Stdio::from(handed))
            .status()
            .unwrap();
        assert!(status.success(), "{name}");
    }

    fn taken_once_and_passed_to_no_child() {
        let mut taken = take().control;
        assert_eq!(taken.len(), 1);
        assert!(take().control.is_empty());
        let flags = rustix::io::fcntl_getfd(taken[0].as_fd()).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        assert!(std::env::vars_os().all(|(name, _)| !name.to_string_lossy().starts_with("LISTEN_")));
        let listener = UnixListener::from(taken.remove(0));
        listener.accept().unwrap();
    }
}
