//! A tunnel with the forwards that a test wants, and exchanges whose every byte is checked.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::net::Pattern;
use nbtunnel_tests::server::SEED;
use nbtunnel_tests::tunnel_file::quoted;
use nbtunnel_tests::{Server, Sshd, TunnelFile, World};
use serde_json::Value;

/// A stream that can be half-closed.
pub(crate) trait Stream: Read + Write {
    fn end(&self) -> std::io::Result<()>;
}

impl Stream for TcpStream {
    fn end(&self) -> std::io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Stream for UnixStream {
    fn end(&self) -> std::io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// Servers behind the forwards: one that sends, one that counts what is right.
pub(crate) struct Servers {
    pub(crate) source: Server,
    pub(crate) sink: Server,
}

impl Servers {
    pub(crate) fn start() -> Result<Servers> {
        Ok(Servers { source: Server::source()?, sink: Server::sink()? })
    }
}

/// Takes `count` bytes from a source at the other end.
pub(crate) fn download(mut stream: impl Stream, count: u64) -> Result<()> {
    stream.write_all(&count.to_be_bytes())?;
    Pattern::new(SEED).expect(&mut stream, count)?;
    ensure!(stream.read(&mut [0])? == 0, "more came than was asked for");
    Ok(())
}

/// Gives `count` bytes to a sink at the other end, which answers after our end of them.
pub(crate) fn upload(mut stream: impl Stream, count: u64) -> Result<()> {
    Pattern::new(SEED).write(&mut stream, count)?;
    stream.end()?;
    let mut right = [0; 8];
    stream.read_exact(&mut right).context("the sink does not answer after our end")?;
    ensure!(u64::from_be_bytes(right) == count, "{} of {count} bytes are right", u64::from_be_bytes(right));
    Ok(())
}

/// Sets `key` to a list of forwards.
pub(crate) fn with(file: TunnelFile, key: &str, forwards: &[String]) -> TunnelFile {
    let list: Vec<String> = forwards.iter().map(|forward| quoted(forward)).collect();
    file.set(key, format!("[{}]", list.join(", ")))
}

/// A world with the tunnel `alice` as `file` says, up.
pub(crate) fn up(file: &TunnelFile) -> Result<World> {
    let mut world = World::new()?;
    world.write("alice", file)?;
    world.start()?;
    world.wait_for("alice", "up")?;
    Ok(world)
}

/// Waits until each forward of `alice` listens, and gives them.
pub(crate) fn listening(world: &World) -> Result<Vec<Value>> {
    let tunnel = world.wait_until("alice", "every forward listens", |tunnel| {
        let forwards = tunnel["forwards"].as_array();
        tunnel["state"] == "up"
            && forwards.is_some_and(|all| all.iter().all(|one| one["listens"][0].is_string()))
    })?;
    tunnel["forwards"].as_array().cloned().context("forwards are a list")
}

/// A tunnel to `sshd` that lists `remotes`.
pub(crate) fn remotes(sshd: &Sshd, remotes: &[String]) -> TunnelFile {
    with(sshd.tunnel(), "remote", remotes)
}

/// The port at the end of an address.
pub(crate) fn port_of(address: &Value) -> Result<u16> {
    let text = address.as_str().context("an address is a text")?;
    Ok(text.rsplit(':').next().context("an address has a port")?.parse()?)
}
