//! `cargo demo`: a tunnel that is up, is cut, holds a request meanwhile and answers it, told step by step.
//!
//! Everything is real but the far end, which is on this machine too. It ends with an error unless every
//! step held.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::{World, net, wait};
use far_end::{Gateway, Notebook};

pub mod far_end;
pub mod ssh_server;

/// The name of the demo's tunnel.
const NAME: &str = "alice";

/// How long the server stays away.
const AWAY: Duration = Duration::from_secs(2);

/// How to run it.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Use OpenSSH's server instead of our own.
    pub sshd: bool,
    /// End by itself instead of staying up.
    pub once: bool,
}

/// Runs it.
///
/// # Errors
/// A step did not hold, or somebody pressed Ctrl-C before the end.
pub fn run(options: Options) -> Result<()> {
    say("Building nbtunneld and nbctl (the first time takes a few minutes) …")?;
    let mut world = World::new()?;
    world.quiet();
    let told = tell(&mut world, options);
    if told.is_err() && !wait::interrupted() {
        say(&format!("\nThe daemon logged:\n{}", world.log()))?;
    }
    told
}

fn tell(world: &mut World, options: Options) -> Result<()> {
    let mut gateway = Gateway::start(options.sshd)?;
    let notebook = Notebook::start()?;
    let (local, remote) = (net::free_port()?, notebook.port());
    step(1, "The far end, with throwaway keys, all on this machine:")?;
    say(&format!("    {} on port {}, and behind it", gateway.what(), gateway.port()))?;
    say(&format!("    {} on port {remote}.", notebook.what()))?;

    let file = gateway.tunnel().forward_text(&format!("{local}:localhost:{remote}"));
    world.write(NAME, &file)?;
    step(2, &format!("A tunnel is a file. This is {}:", world.tunnel_path(NAME).display()))?;
    say(&indented(&file.text()))?;

    step(3, "The daemon starts and brings the tunnel up:")?;
    world.start()?;
    world.wait_for(NAME, "up")?;
    show_status(world)?;

    let page = notebook.ask(local).context("the page did not come through the tunnel")?;
    step(4, &format!("Fetched through the tunnel: {} bytes, HTTP {}.", page.body.len(), page.status))?;

    step(5, &format!("The connection is cut, and the server stays away for {} s.", AWAY.as_secs()))?;
    let held_for = cut(world, &mut gateway, &notebook, local)?;
    step(
        7,
        &format!(
            "The server is back. The request was held for {:.1} s and then answered;",
            held_for.as_secs_f64()
        ),
    )?;
    say("    nobody had to reload, and nobody had to log in again:")?;
    let tunnel = world.wait_for(NAME, "up")?;
    ensure!(tunnel["reconnects"].as_u64() >= Some(1), "the tunnel does not count its reconnect: {tunnel}");
    show_status(world)?;

    if options.once {
        return say("Every step held.");
    }
    stay(world, &notebook.address(local))
}

/// Cuts the connection, makes a request that is held, lets the server come back; says how long it was held.
fn cut(world: &World, gateway: &mut Gateway, notebook: &Notebook, local: u16) -> Result<Duration> {
    let back_at = Instant::now() + AWAY;
    gateway.go_away()?;
    world.wait_until(NAME, "the tunnel notices the cut", |tunnel| tunnel["state"] != "up")?;
    std::thread::scope(|scope| {
        let asked_at = Instant::now();
        let request = scope.spawn(|| notebook.ask(local).map(|_| Instant::now()));
        let is_held = |tunnel: &serde_json::Value| tunnel["forwards"][0]["held"].as_u64() >= Some(1);
        let held = world.wait_until(NAME, "the request is held", is_held).and_then(|_| {
            step(6, "A request that is made now is not refused: it is held.")?;
            show_status(world)
        });
        wait::pace(back_at);
        let back = Instant::now();
        // Whatever went wrong, the server comes back first, so that the request can end.
        gateway.come_back()?;
        held?;
        let answered_at = request.join().map_err(|_| anyhow!("the request panicked"))??;
        ensure!(answered_at >= back, "the request was answered while there was no server");
        Ok(answered_at.saturating_duration_since(asked_at))
    })
}

/// Leaves everything up until Ctrl-C.
fn stay(world: &mut World, address: &str) -> Result<()> {
    say("\nThe tunnel stays up. Open this in a browser:\n")?;
    say(&format!("    {address}\n"))?;
    say("and look at it from another terminal:\n")?;
    let (nbctl, socket) = (world.programs().nbctl.display().to_string(), world.socket());
    say(&format!("    {nbctl} --socket {} status\n", socket.display()))?;
    say("Ctrl-C ends it.")?;
    let mut ended = None;
    while !wait::interrupted() && ended.is_none() {
        wait::pace(Instant::now() + Duration::from_millis(100));
        ended = world.daemon()?.ended();
    }
    match ended {
        Some(status) => Err(anyhow!("the daemon ended by itself with {status}")),
        None => say("\nEnded; nothing is left behind."),
    }
}

/// Lets the real `nbctl status` write to the terminal.
fn show_status(world: &World) -> Result<()> {
    say("\n    $ nbctl status")?;
    let mut command = world.nbctl_command(["status"]);
    let status = command.stdout(Stdio::inherit()).stderr(Stdio::inherit()).status()?;
    ensure!(status.success(), "nbctl status failed with {status}");
    say("")
}

fn step(number: u32, text: &str) -> Result<()> {
    say(&format!("{number}. {text}"))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

fn say(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}")?;
    Ok(stdout.flush()?)
}
