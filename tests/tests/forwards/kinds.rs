//! Every kind of forward carries bytes both ways, whole, with the end of one direction told before the other's.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Result, ensure};
use nbtunnel_tests::door::Door;
use nbtunnel_tests::socks::{self, Ask};
use nbtunnel_tests::{Sshd, net, wait};

use crate::support::{Servers, download, listening, port_of, up, upload, with};

const COUNT: u64 = 3_000_017;

fn tcp(port: u16) -> Result<TcpStream> {
    net::connect(port, wait::SOON)
}

fn unix(path: &Path) -> Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(wait::SOON))?;
    Ok(stream)
}

#[test]
fn local_and_remote_forwards_lead_from_ports_and_sockets_to_ports_and_sockets() -> Result<()> {
    let (sshd, servers) = (Sshd::start()?, Servers::start()?);
    let at = |name: &str| sshd.path(name);
    let (source, sink) = (servers.source.port(), servers.sink.port());
    let _doors = [Door::to(source, &at("source"))?, Door::to(sink, &at("sink"))?];
    let ports: Vec<u16> = (0..8).map(|_| net::free_port()).collect::<Result<_>>()?;
    // Sources come first, sinks second, of: port to port, port to socket, socket to port, socket to socket.
    let forwards = |ports: &[u16], side: &str| {
        let socket = |name: &str| at(&format!("{side}-{name}")).display().to_string();
        let (to_source, to_sink) = (at("source").display().to_string(), at("sink").display().to_string());
        vec![
            format!("{}:127.0.0.1:{source}", ports[0]),
            format!("{}:localhost:{sink}", ports[1]),
            format!("{}:{to_source}", ports[2]),
            format!("{}:{to_sink}", ports[3]),
            format!("{}:127.0.0.1:{source}", socket("a")),
            format!("{}:127.0.0.1:{sink}", socket("b")),
            format!("{}:{to_source}", socket("c")),
            format!("{}:{to_sink}", socket("d")),
        ]
    };
    let file = with(sshd.tunnel(), "forward", &forwards(&ports[..4], "here"));
    let world = up(&with(file, "remote", &forwards(&ports[4..], "there")))?;
    let shown = listening(&world)?;
    for (side, ports, kind) in [("here", &ports[..4], "local"), ("there", &ports[4..], "remote")] {
        for pair in [&ports[..2], &ports[2..]] {
            download(tcp(pair[0])?, COUNT)?;
            upload(tcp(pair[1])?, COUNT)?;
        }
        for (from, to) in [("a", "b"), ("c", "d")] {
            download(unix(&at(&format!("{side}-{from}")))?, COUNT)?;
            upload(unix(&at(&format!("{side}-{to}")))?, COUNT)?;
        }
        let mode = std::fs::metadata(at(&format!("{side}-a")))?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "the socket {side} is {mode:o}");
        ensure!(shown.iter().filter(|forward| forward["kind"] == kind).count() == 8, "{shown:#?}");
    }
    // What each counted is what each carried, in the direction in which it was carried.
    world.wait_until("alice", "all is counted and over", |tunnel| {
        let forwards = tunnel["forwards"].as_array().cloned().unwrap_or_default();
        forwards.iter().enumerate().all(|(number, forward)| {
            let remote = forward["kind"] == "remote";
            let to_client = if number % 2 == 0 { COUNT } else { 8 };
            let from_client = if number % 2 == 0 { 8 } else { COUNT };
            // Towards the local user: the client of a local forward, the server of a remote one.
            let (bytes_in, bytes_out) =
                if remote { (from_client, to_client) } else { (to_client, from_client) };
            forward["total"] == 1
                && forward["open"] == 0
                && forward["bytes_in"] == bytes_in
                && forward["bytes_out"] == bytes_out
        })
    })?;
    Ok(())
}

#[test]
fn both_proxies_lead_wherever_they_are_asked_to() -> Result<()> {
    let (sshd, servers) = (Sshd::start()?, Servers::start()?);
    let (here, there) = (net::free_port()?, net::free_port()?);
    let file = with(sshd.tunnel(), "dynamic", &[here.to_string()]);
    let world = up(&with(file, "remote", &[there.to_string()]))?;
    let shown = listening(&world)?;
    ensure!(port_of(&shown[0]["listens"][0])? == here && shown[0]["kind"] == "dynamic", "{shown:#?}");
    ensure!(port_of(&shown[1]["listens"][0])? == there && shown[1]["kind"] == "remote_dynamic", "{shown:#?}");
    ensure!(shown.iter().all(|forward| forward["target"] == "socks"), "{shown:#?}");
    for proxy in [here, there] {
        for ask in [
            Ask::Five("localhost"),
            Ask::FiveAddress([127, 0, 0, 1]),
            Ask::Four([127, 0, 0, 1]),
            Ask::FourA("localhost"),
        ] {
            download(socks::connect(proxy, ask, servers.source.port(), &[])?, COUNT)?;
            upload(socks::connect(proxy, ask, servers.sink.port(), &[])?, COUNT)?;
        }
    }
    Ok(())
}
