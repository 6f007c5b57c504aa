//! People who do not answer, who are elsewhere, or who answer in a window.

use std::fs;

use anyhow::{Result, ensure};
use nbtunnel_tests::child::Signal;
use nbtunnel_tests::programs::write_program;
use nbtunnel_tests::second_factor::{Factors, PASSWORD, SecondFactor};
use nbtunnel_tests::terminal::Typist;
use nbtunnel_tests::{World, net};

use super::{parked, unlock, without_key};

const PASSWORDS: [&str; 2] = ["PasswordAuthentication yes", "KbdInteractiveAuthentication no"];

fn asks_you(world: &World) -> Result<()> {
    world.wait_until("alice", "it asks", |tunnel| tunnel["asking"] == "you")?;
    let tunnel = world.tunnel("alice")?;
    let left = tunnel["answer_in_s"].as_f64().unwrap_or_default();
    ensure!((1.0..=600.0).contains(&left), "{tunnel:#}");
    Ok(())
}

#[test]
fn who_presses_ctrl_c_or_goes_away_parks_the_tunnel_and_leaves_the_terminal_as_it_was() -> Result<()> {
    let factor = SecondFactor::new(Factors::Password)?;
    let (sshd, mut world) = (factor.sshd(&PASSWORDS)?, World::new()?);
    world.write("alice", &without_key(&sshd, &world).forward(net::free_port()?, 1))?;
    world.start()?;
    for end in ["\x03", "half a word\x03", "\x04"] {
        let mut person = unlock(&world, "alice")?;
        person.sees("password of")?;
        asks_you(&world)?;
        ensure!(!person.is_as_before()?, "the terminal shows what is typed");
        ensure!(!person.programs().is_empty(), "nobody asks");
        person.programs().into_iter().try_for_each(writes_no_image)?;
        person.types(end)?;
        ensure!(person.ends()? == 4, "{}", person.shown());
        ensure!(person.is_as_before()?, "the terminal is not as before after {end:?}");
        ensure!(!person.shown().contains("half"), "{}", person.shown());
        parked(&world, "alice")?;
    }
    // A second person is told that there is one.
    let mut first = unlock(&world, "alice")?;
    first.sees("password of")?;
    let mut second = unlock(&world, "alice")?;
    second.sees("somebody is being asked for alice already")?;
    ensure!(second.ends()? == 1, "{}", second.shown());
    // One who is killed can leave nothing as it was; the daemon notices.
    drop(first);
    parked(&world, "alice")?;
    // One who is told to end can.
    for signal in [Signal::Term, Signal::Hup, Signal::Quit] {
        let mut person = unlock(&world, "alice")?;
        person.sees("password of")?;
        person.signal(signal);
        ensure!(person.ends()? == 4 && person.is_as_before()?, "{signal:?}: {}", person.shown());
    }
    ensure!(sshd.count_log("Accepted") == 0, "{}", sshd.log());
    Ok(())
}

#[test]
fn without_a_terminal_a_program_asks_in_a_window_or_it_is_said_that_nobody_can() -> Result<()> {
    let factor = SecondFactor::new(Factors::Password)?;
    let (sshd, mut world) = (factor.sshd(&PASSWORDS)?, World::new()?);
    world.write("alice", &without_key(&sshd, &world).forward(net::free_port()?, 1))?;
    world.start()?;
    world.wait_for("alice", "parked")?;
    let nobody = Typist::without_terminal(&world.nbctl_command(["unlock", "alice"]))?;
    ensure!(nobody.code == 4 && nobody.stderr.contains("nobody can be asked"), "{nobody:?}");
    ensure!(sshd.count_log("Connection from") == 0, "{}", sshd.log());

    let window = world.path("window");
    let asked = world.path("asked");
    write_program(&window, &format!("#!/bin/sh\necho \"$1\" >'{}'\necho '{PASSWORD}'\n", asked.display()))?;
    world.set_env("SSH_ASKPASS", &window);
    world.set_env("DISPLAY", ":99");
    let told = Typist::without_terminal(&world.nbctl_command(["unlock", "alice"]))?;
    ensure!(told.code == 0 && !format!("{told:?}").contains(PASSWORD), "{told:?}");
    let asked = fs::read_to_string(asked)?;
    ensure!(asked.contains("password of root@127.0.0.1"), "{asked}");
    world.wait_for("alice", "up")?;

    // A window that is closed is no answer.
    write_program(&window, "#!/bin/sh\nexit 1\n")?;
    sshd.kill_sessions();
    parked(&world, "alice")?;
    let told = Typist::without_terminal(&world.nbctl_command(["unlock", "alice"]))?;
    ensure!(told.code == 4, "{told:?}");
    parked(&world, "alice")
}

#[test]
fn a_server_that_does_not_wait_is_told_to_the_person_at_once() -> Result<()> {
    let factor = SecondFactor::new(Factors::Code)?;
    let (sshd, mut world) = (factor.sshd(&[])?, World::new()?);
    world.write("alice", &without_key(&sshd, &world).forward(net::free_port()?, 1))?;
    world.start()?;
    let mut person = unlock(&world, "alice")?;
    person.sees("Verification code:")?;
    // As at the end of its LoginGraceTime, which may be any moment.
    ensure!(sshd.kill_sessions() > 0, "nobody asks");
    person.sees("did not wait for the answer any longer")?;
    ensure!(person.ends()? == 4 && person.is_as_before()?, "{}", person.shown());
    parked(&world, "alice")
}

#[test]
fn the_daemon_keeps_its_memory_to_itself() -> Result<()> {
    let mut world = World::new()?;
    world.start()?;
    writes_no_image(world.daemon()?.id())
}

fn writes_no_image(pid: u32) -> Result<()> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap_or_default();
    // The soft limit is nothing on many systems anyway; the hard one is not.
    let limits: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
    ensure!(limits == ["0", "0"], "{core}");
    Ok(())
}
