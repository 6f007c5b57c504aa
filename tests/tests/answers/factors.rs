//! Passwords and one-time codes, with a real sshd.

use std::time::Duration;

use anyhow::{Result, ensure};
use nbtunnel_tests::second_factor::{Factors, PASSWORD, SecondFactor};
use nbtunnel_tests::terminal::Typist;
use nbtunnel_tests::{Server, World, net, wait};

use super::{KEY_AND_CODE, parked, unlock, without_key};

#[test]
fn a_password_is_asked_for_at_the_terminal_and_shown_nowhere() -> Result<()> {
    let factor = SecondFactor::new(Factors::Password)?;
    let sshd = factor.sshd(&["PasswordAuthentication yes", "KbdInteractiveAuthentication no"])?;
    let (mut world, echo, local) = (World::new()?, Server::echo()?, net::free_port()?);
    world.write("alice", &without_key(&sshd, &world).forward(local, echo.port()))?;
    world.log_filter("trace");
    world.start()?;
    world.wait_for("alice", "parked")?;
    ensure!(sshd.count_log("Connection from") == 0, "{}", sshd.log());

    let mut person = unlock(&world, "alice")?;
    person.answers("password of", "wrong")?;
    person.answers("password of", PASSWORD)?;
    ensure!(person.ends()? == 0, "{}", person.shown());
    wait::until("it carries", wait::SOON, || net::echoes(local, wait::SOON))?;
    ensure!(person.is_as_before()?, "the terminal is not as before");
    ensure!(!person.shown().contains(PASSWORD), "{}", person.shown());
    ensure!(!world.log().contains(PASSWORD) && world.log().contains("DEBUG"), "the password is in the log");
    let events = world.nbctl(["logs", "-n", "1000"])?;
    ensure!(!events.stdout.contains(PASSWORD), "{events:?}");
    Ok(())
}

#[test]
fn a_key_is_not_enough_and_a_code_is_asked_for_besides() -> Result<()> {
    let mut factor = SecondFactor::new(Factors::Code)?;
    let sshd = factor.sshd(&[KEY_AND_CODE])?;
    let (mut world, echo, local) = (World::new()?, Server::echo()?, net::free_port()?);
    world.write("alice", &sshd.tunnel().forward(local, echo.port()))?;
    world.start()?;
    parked(&world, "alice")?;
    ensure!(sshd.count_log("Postponed keyboard-interactive") == 0, "{}", sshd.log());

    let mut person = unlock(&world, "alice")?;
    let code = factor.code()?;
    person.answers("Verification code:", &code)?;
    ensure!(person.ends()? == 0, "{}", person.shown());
    wait::until("it carries", wait::SOON, || net::echoes(local, wait::SOON))?;
    ensure!(factor.used()? == 1, "{} codes were used", factor.used()?);

    // Cut: a code that was used up is not sent again, and nobody is asked by the server in the meantime.
    let before = sshd.log().len();
    sshd.kill_sessions();
    parked(&world, "alice")?;
    wait::throughout("no dialogue is begun", Duration::from_secs(3), || {
        !sshd.log()[before..].contains("keyboard-interactive")
    })?;
    let mut person = unlock(&world, "alice")?;
    let code = factor.code()?;
    person.answers("Verification code:", &code)?;
    ensure!(person.ends()? == 0, "{}", person.shown());
    world.wait_for("alice", "up")?;
    Ok(())
}

#[test]
fn two_factors_are_asked_one_after_the_other() -> Result<()> {
    let mut factor = SecondFactor::new(Factors::PasswordAndCode)?;
    let sshd = factor.sshd(&[])?;
    let (mut world, echo, local) = (World::new()?, Server::echo()?, net::free_port()?);
    world.write("alice", &without_key(&sshd, &world).forward(local, echo.port()))?;
    world.start()?;
    world.wait_for("alice", "parked")?;
    let mut person = Typist::run(&world.nbctl_command(["start", "alice", "--wait"]))?;
    person.answers("Password:", PASSWORD)?;
    let code = factor.code()?;
    person.answers("Verification code:", &code)?;
    ensure!(person.ends()? == 0, "{}", person.shown());
    wait::until("it carries", wait::SOON, || net::echoes(local, wait::SOON))
}
