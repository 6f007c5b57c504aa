//! How connections end, on every kind of forward: a cut at one end is a cut at the other and never a clean end, and
//! one direction that ends leaves the other open. And how they wait.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::child::Signal;
use nbtunnel_tests::door::Door;
use nbtunnel_tests::socks::{self, Ask};
use nbtunnel_tests::strange_listener::{Answer, StrangeListener, Visit};
use nbtunnel_tests::{Server, Sshd, World, net, wait};
use socket2::SockRef;

use crate::support::{listening, up, with};

/// The kinds, by how a connection begins.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Local,
    LocalToSocket,
    Dynamic,
    Remote,
    RemoteSocket,
    RemoteDynamic,
}

const KINDS: [Kind; 6] =
    [Kind::Local, Kind::LocalToSocket, Kind::Dynamic, Kind::Remote, Kind::RemoteSocket, Kind::RemoteDynamic];

/// A tunnel with a forward of every kind, and its two ends.
struct Ends {
    server: StrangeListener,
    here: TcpListener,
    ports: [u16; 3],
    _world: World,
}

impl Ends {
    fn start() -> Result<Ends> {
        let server = StrangeListener::answering(|_, _| Answer::Port(0))?;
        let here = net::listener()?;
        let to = here.local_addr()?.port();
        let ports = [net::free_port()?, net::free_port()?, net::free_port()?];
        let local = [format!("{}:127.0.0.1:80", ports[0]), format!("{}:/run/there", ports[1])];
        let remote = [format!("8080:127.0.0.1:{to}"), format!("/run/x:127.0.0.1:{to}"), "1080".to_owned()];
        let file = with(server.tunnel(), "forward", &local);
        let file = with(file, "dynamic", &[ports[2].to_string()]);
        let world = up(&with(file, "remote", &remote))?;
        listening(&world)?;
        Ok(Ends { server, here, ports, _world: world })
    }

    /// A new connection: its end here, and its end at the server.
    fn connect(&self, kind: Kind) -> Result<(TcpStream, Visit)> {
        let port = self.here.local_addr()?.port();
        let far = match kind {
            Kind::Local => return Ok((net::connect(self.ports[0], wait::SOON)?, self.server.led_out()?)),
            Kind::LocalToSocket => {
                return Ok((net::connect(self.ports[1], wait::SOON)?, self.server.led_out()?));
            }
            Kind::Dynamic => {
                let near = socks::connect(self.ports[2], Ask::Five("there"), 80, &[])?;
                return Ok((near, self.server.led_out()?));
            }
            Kind::Remote => self.server.come_to("localhost", 8080)?,
            Kind::RemoteSocket => self.server.come_to_socket("/run/x")?,
            Kind::RemoteDynamic => {
                let mut far = self.server.come_to("localhost", 1080)?;
                let request = [&b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01"[..], &port.to_be_bytes()];
                far.send(&request.concat())?;
                ensure!(far.hear(12)?[..4] == [5, 0, 5, 0], "the proxy says no");
                far
            }
        };
        let near = self.here.accept()?.0;
        near.set_read_timeout(Some(wait::SOON))?;
        Ok((near, far))
    }
}

#[test]
fn a_cut_at_one_end_is_a_cut_at_the_other() -> Result<()> {
    let ends = Ends::start()?;
    for kind in KINDS {
        // The server closes without an end.
        let (mut near, far) = ends.connect(kind)?;
        far.send(b"half of it")?;
        let mut some = [0; 10];
        near.read_exact(&mut some).with_context(|| format!("{kind:?}"))?;
        far.close()?;
        let ended = near.read(&mut some);
        ensure!(ended.as_ref().is_err_and(|e| e.kind() == ErrorKind::ConnectionReset), "{kind:?}: {ended:?}");
        // The program here is killed.
        let (mut near, mut far) = ends.connect(kind)?;
        near.write_all(b"half of it")?;
        ensure!(far.hear(10)? == b"half of it", "{kind:?}");
        SockRef::from(&near).set_linger(Some(Duration::ZERO))?;
        drop(near);
        let (bytes, ended) = far.heard()?;
        ensure!(bytes.is_empty() && !ended, "{kind:?}: {bytes:?}, as if it had ended in order");
    }
    Ok(())
}

#[test]
fn each_direction_ends_by_itself_whoever_is_first() -> Result<()> {
    let ends = Ends::start()?;
    for kind in KINDS {
        let (mut near, mut far) = ends.connect(kind)?;
        far.send(b"theirs")?;
        far.end()?;
        let mut all = Vec::new();
        near.read_to_end(&mut all).with_context(|| format!("{kind:?}"))?;
        near.write_all(b"ours, later")?;
        near.shutdown(Shutdown::Write)?;
        ensure!(all == b"theirs" && far.hear(11)? == b"ours, later", "{kind:?}");
        ensure!(far.heard()? == (Vec::new(), true), "{kind:?}: it does not end in order");
        far.close()?;

        let (mut near, mut far) = ends.connect(kind)?;
        near.write_all(b"ours")?;
        near.shutdown(Shutdown::Write)?;
        ensure!(far.hear(4)? == b"ours", "{kind:?}");
        far.send(b"theirs, later")?;
        let mut later = [0; 13];
        near.read_exact(&mut later).with_context(|| format!("{kind:?}"))?;
        far.end()?;
        ensure!(near.read(&mut later)? == 0, "{kind:?}: more came");
        ensure!(far.heard()? == (Vec::new(), true), "{kind:?}: it does not end in order");
        far.close()?;
    }
    Ok(())
}

#[test]
fn whoever_comes_to_a_socket_or_goes_to_one_is_held_too() -> Result<()> {
    let (mut sshd, echo) = (Sshd::start()?, Server::echo()?);
    let path = |name: &str| sshd.path(name);
    let there = path("there");
    let _door = Door::to(echo.port(), &there)?;
    let (a, b, port) = (path("a"), path("b"), net::free_port()?);
    let list = [
        format!("{}:127.0.0.1:{}", a.display(), echo.port()),
        format!("{}:{}", b.display(), there.display()),
        format!("{port}:{}", there.display()),
    ];
    let mut world = up(&with(sshd.tunnel(), "forward", &list))?;
    let mut cut = UnixStream::connect(&a)?;
    cut.set_read_timeout(Some(wait::SOON))?;
    cut.write_all(b"x")?;
    cut.read_exact(&mut [0])?;
    sshd.stop()?;
    // A socket knows no reset: what was open is just over.
    ensure!(cut.read(&mut [0]).is_ok_and(|count| count == 0), "it hangs on");
    world.wait_until("alice", "the link is gone", |tunnel| tunnel["state"] != "up")?;
    let mut streams = [UnixStream::connect(&a)?, UnixStream::connect(&b)?];
    let mut tcp = net::connect(port, wait::SOON)?;
    for stream in &mut streams {
        stream.set_read_timeout(Some(wait::SOON))?;
        stream.write_all(b"held")?;
    }
    tcp.write_all(b"held")?;
    world
        .wait_until("alice", "each is held", |tunnel| (0..3).all(|at| tunnel["forwards"][at]["held"] == 1))?;
    sshd.start_again()?;
    let mut back = [0; 4];
    for stream in &mut streams {
        stream.read_exact(&mut back)?;
        ensure!(&back == b"held");
    }
    tcp.read_exact(&mut back)?;
    ensure!(&back == b"held");
    ensure!(world.end(Signal::Term)?.success());
    ensure!(!a.exists() && !b.exists(), "a socket of ours is left behind");
    Ok(())
}
