//! Asked once for all tunnels to the same account, and not again for what another login does not mend.

use std::time::Duration;

use anyhow::{Result, ensure};
use nbtunnel_tests::desktop::Desktop;
use nbtunnel_tests::netns::{Cut, Networks, THERE};
use nbtunnel_tests::second_factor::{Factors, SecondFactor};
use nbtunnel_tests::terminal::Typist;
use nbtunnel_tests::{Server, World, net, wait};

use super::{KEY_AND_CODE, parked, unlock};

const TUNNELS: [&str; 5] = ["a", "b", "c", "d", "e"];

#[test]
fn after_one_code_five_tunnels_are_up_and_without_one_nobody_asks_the_server() -> Result<()> {
    let mut factor = SecondFactor::new(Factors::Code)?;
    let (sshd, desktop) = (factor.sshd(&[KEY_AND_CODE])?, Desktop::start()?);
    let (mut world, echo) = (World::new()?, Server::echo()?);
    world.set_env("DBUS_SESSION_BUS_ADDRESS", desktop.address());
    let mut locals = Vec::new();
    for name in TUNNELS {
        locals.push(net::free_port()?);
        let local = locals[locals.len() - 1];
        world.write(name, &sshd.tunnel().forward(local, echo.port()))?;
    }
    world.start()?;
    for name in TUNNELS {
        parked(&world, name)?;
    }
    ensure!(factor.used()? == 0 && sshd.count_log("Postponed keyboard-interactive") == 0, "{}", sshd.log());

    let mut person = Typist::run(&world.nbctl_command(["start", "--all", "--wait"]))?;
    let code = factor.code()?;
    person.answers("Verification code:", &code)?;
    ensure!(person.ends()? == 0, "{}", person.shown());
    for (name, local) in TUNNELS.iter().zip(&locals) {
        world.wait_for(name, "up")?;
        wait::until("it carries", wait::SOON, || net::echoes(*local, wait::SOON))?;
    }
    ensure!(factor.used()? == 1, "{} codes were used", factor.used()?);
    sshd.has_let_in("keyboard-interactive/pam", 1)?;

    // The target of the forwards goes: that costs no login.
    let before = sshd.count_log("Connection from");
    drop(echo);
    wait::throughout("the tunnels stay up", Duration::from_secs(2), || {
        let _ = net::echoes(locals[0], Duration::from_millis(300));
        TUNNELS.iter().all(|name| world.tunnel(name).is_ok_and(|tunnel| tunnel["state"] == "up"))
    })?;
    ensure!(sshd.count_log("Connection from") == before, "{}", sshd.log());

    // The session goes: nobody asks the server for anything until somebody is there.
    sshd.kill_sessions();
    for name in TUNNELS {
        parked(&world, name)?;
    }
    wait::throughout("the server is left alone", Duration::from_secs(4), || {
        sshd.count_log("Connection from") == before
    })?;
    wait::until("the desktop tells", wait::SOON, || !desktop.shown().is_empty())?;
    let shown = desktop.shown();
    ensure!(shown.len() == 1 && shown[0].contains("5 tunnels need you"), "{shown:?}");
    let told = world.nbctl(["logs", "a"])?;
    ensure!(told.stdout.contains("the session is gone that you had logged in to"), "{told:?}");

    let mut person = unlock(&world, "c")?;
    let code = factor.code()?;
    person.answers("Verification code:", &code)?;
    ensure!(person.ends()? == 0, "{}", person.shown());
    for name in TUNNELS {
        world.wait_for(name, "up")?;
    }
    ensure!(factor.used()? == 2, "{} codes were used", factor.used()?);

    // It does not answer any more: who logs in anew does so for all who are stuck in it.
    sshd.freeze_sessions(true);
    for name in TUNNELS {
        world.wait_until(name, "it is suspect", |tunnel| tunnel["health"] == "suspect")?;
    }
    let mut person = unlock(&world, "b")?;
    let code = factor.code()?;
    person.answers("Verification code:", &code)?;
    ensure!(person.ends()? == 0, "{}", person.shown());
    for name in TUNNELS {
        world.wait_until(name, "it answers", |tunnel| tunnel["health"] == "ok")?;
    }
    ensure!(factor.used()? == 3, "{} codes were used", factor.used()?);
    Ok(())
}

#[test]
fn a_half_open_minute_costs_no_code() -> Result<()> {
    let mut factor = SecondFactor::new(Factors::Code)?;
    let networks = Networks::enter()?;
    let sshd = networks.there(|| factor.sshd_at(THERE, &[KEY_AND_CODE]))??;
    let echo = networks.make_there(Server::echo)?;
    let (mut world, local) = (World::new()?, net::free_port()?);
    world.write("alice", &sshd.tunnel().forward(local, echo.port()))?;
    world.start()?;
    let mut person = unlock(&world, "alice")?;
    let code = factor.code()?;
    person.answers("Verification code:", &code)?;
    ensure!(person.ends()? == 0, "{}", person.shown());
    let before = sshd.count_log("Connection from");

    networks.cut(Cut::Everything)?;
    world.wait_until("alice", "it is suspect", |tunnel| tunnel["health"] == "suspect")?;
    wait::throughout("it is waited for, and nothing else", Duration::from_secs(60), || {
        world.tunnel("alice").is_ok_and(|tunnel| tunnel["state"] == "up" && tunnel["health"] == "suspect")
    })?;
    networks.heal()?;
    // As late as TCP sends again what got no answer.
    wait::until("the same link answers", Duration::from_secs(120), || {
        world.tunnel("alice").is_ok_and(|tunnel| tunnel["health"] == "ok")
    })?;
    wait::until("it carries", wait::SOON, || net::echoes(local, wait::SOON))?;
    ensure!(sshd.count_log("Connection from") == before, "{}", sshd.log());
    ensure!(factor.used()? == 1, "{} codes were used", factor.used()?);
    Ok(())
}
