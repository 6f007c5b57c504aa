//! SOCKS as programs use it.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use nbtunnel_tests::socks::{self, Ask};
use nbtunnel_tests::{Server, Sshd, World, net, programs, wait};

use crate::support::{listening, up, with};

/// An sshd, a world whose tunnel `alice` has a proxy, and its port.
fn proxy(settings: &[&str]) -> Result<(Sshd, World, u16)> {
    let (sshd, port) = (Sshd::with(settings)?, net::free_port()?);
    let world = up(&with(sshd.tunnel(), "dynamic", &[port.to_string()]))?;
    listening(&world)?;
    Ok((sshd, world, port))
}

fn curl(flag: &str, proxy: u16, url: &str) -> Result<(Option<i32>, String)> {
    let output = Command::new(programs::system("curl")?)
        .args(["-sS", "--max-time", "30", "--noproxy", "", flag, &format!("127.0.0.1:{proxy}"), url])
        .env_clear()
        .stdin(Stdio::null())
        .output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn curl_fetches_a_page_by_every_version_and_learns_why_not() -> Result<()> {
    let (_sshd, world, port) = proxy(&[])?;
    let page = Server::page("<h1>over there</h1>")?;
    for flag in ["--socks5-hostname", "--socks5", "--socks4a", "--socks4"] {
        let url = format!("http://localhost:{}/", page.port());
        // Without names of its own the old version knows IPv4 only.
        let url = if flag == "--socks4" { url.replace("localhost", "127.0.0.1") } else { url };
        let (code, text) = curl(flag, port, &url)?;
        ensure!(code == Some(0) && text == "<h1>over there</h1>", "{flag}: {code:?} {text}");
    }
    let dead = net::free_port()?;
    let (code, text) = curl("--socks5-hostname", port, &format!("http://localhost:{dead}/"))?;
    ensure!(code == Some(97) && text.contains("(5)"), "{code:?} {text}");
    let (code, text) = curl("--socks4a", port, &format!("http://localhost:{dead}/"))?;
    ensure!(code == Some(97), "{code:?} {text}");
    // One dead target of many is no problem of the forward.
    ensure!(world.tunnel("alice")?["forwards"][0]["problem"].is_null(), "{:#}", world.tunnel("alice")?);
    Ok(())
}

#[test]
fn what_the_server_forbids_is_told_to_the_client_and_shown() -> Result<()> {
    let (_sshd, world, port) = proxy(&["PermitOpen 127.0.0.1:1"])?;
    let refused = socks::connect(port, Ask::FiveAddress([127, 0, 0, 1]), net::free_port()?, &[]);
    ensure!(refused.as_ref().is_err_and(|e| e.to_string() == "the proxy says 2"), "{refused:?}");
    world.wait_until("alice", "the denial is shown", |tunnel| {
        tunnel["forwards"][0]["problem"]["code"] == "forwarding_denied"
    })?;
    Ok(())
}

#[test]
fn what_a_client_sends_before_the_answer_is_not_lost() -> Result<()> {
    let (_sshd, _world, port) = proxy(&[])?;
    let echo = Server::echo()?;
    let early = vec![7; 5000];
    for ask in [Ask::Five("localhost"), Ask::FourA("localhost")] {
        let mut stream = socks::connect(port, ask, echo.port(), &early)?;
        stream.write_all(b"late")?;
        let mut back = vec![0; early.len() + 4];
        stream.read_exact(&mut back)?;
        ensure!(back == [&early[..], b"late"].concat(), "{ask:?}: something else came back");
    }
    Ok(())
}

#[test]
fn a_client_is_held_unread_until_the_link_is_there() -> Result<()> {
    let (mut sshd, world, port) = proxy(&[])?;
    let echo = Server::echo()?;
    sshd.stop()?;
    world.wait_until("alice", "the link is gone", |tunnel| tunnel["state"] != "up")?;
    let echo_port = echo.port();
    let client = std::thread::spawn(move || {
        let mut stream = socks::connect(port, Ask::Five("localhost"), echo_port, b"patience")?;
        let mut back = [0; 8];
        stream.read_exact(&mut back)?;
        ensure!(&back == b"patience");
        Ok(())
    });
    world.wait_until("alice", "the client is held", |tunnel| tunnel["forwards"][0]["held"] == 1)?;
    sshd.start_again()?;
    client.join().unwrap_or_else(|_| anyhow::bail!("the client panicked"))
}

#[test]
fn what_is_no_socks_is_turned_away_and_harms_nobody() -> Result<()> {
    let (_sshd, world, port) = proxy(&[])?;
    for bytes in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x05\x01\x02", b"\x05\x01\x00\x05\x02\x00\x01", b"\x04\x02\0\0"]
    {
        let mut stream = net::connect(port, wait::SOON)?;
        stream.write_all(bytes)?;
        let ended = stream.read_to_end(&mut Vec::new());
        ensure!(ended.is_ok(), "{bytes:?}: {ended:?}");
    }
    world.wait_until("alice", "nobody is left", |tunnel| tunnel["forwards"][0]["open"] == 0)?;
    let echo = Server::echo()?;
    let mut stream = socks::connect(port, Ask::Five("localhost"), echo.port(), &[])?;
    net::echo(&mut stream, b"still there")
}

#[test]
fn a_hundred_at_once_each_get_their_own() -> Result<()> {
    let (_sshd, world, port) = proxy(&[])?;
    let echo = Server::echo()?;
    let mut streams = Vec::new();
    for number in 0..100_u32 {
        let ask = if number % 2 == 0 { Ask::Five("localhost") } else { Ask::FourA("localhost") };
        streams.push(socks::connect(port, ask, echo.port(), &number.to_be_bytes())?);
    }
    for (number, stream) in (0_u32..).zip(&mut streams) {
        let mut back = [0; 4];
        stream.read_exact(&mut back)?;
        ensure!(u32::from_be_bytes(back) == number);
    }
    let tunnel = world.tunnel("alice")?;
    ensure!(tunnel["forwards"][0]["open"] == 100, "{tunnel:#}");
    drop(streams);
    world.wait_until("alice", "all are over", |tunnel| tunnel["forwards"][0]["open"] == 0)?;
    wait::until("the server saw them all end", Duration::from_secs(20), || echo.served() == 100)
}
