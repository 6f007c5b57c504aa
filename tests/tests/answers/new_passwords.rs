//! Passwords that are right and not enough, since the server wants a new one.

use anyhow::{Result, ensure};
use nbtunnel_tests::new_password::{NewPassword, PASSWORD};

use super::{asked_by, parked, unlock};

#[test]
fn a_server_that_wants_a_new_password_is_told_of_at_once() -> Result<()> {
    let server = NewPassword::start(false)?;
    let world = asked_by(server.tunnel())?;
    let mut person = unlock(&world, "alice")?;
    person.answers("password of", "wrong")?;
    person.answers("password of", PASSWORD)?;
    person.sees("seems to want a new one")?;
    person.sees("ssh -p")?;
    ensure!(person.ends()? == 4, "{}", person.shown());
    parked(&world, "alice")?;
    ensure!(server.passwords() == 2, "{} passwords came", server.passwords());
    Ok(())
}

#[test]
fn a_server_that_takes_its_time_and_says_so_is_waited_for() -> Result<()> {
    let server = NewPassword::start(true)?;
    let world = asked_by(server.tunnel())?;
    let mut person = unlock(&world, "alice")?;
    person.answers("password of", PASSWORD)?;
    ensure!(person.ends()? == 0, "{}", person.shown());
    world.wait_for("alice", "up")?;
    Ok(())
}
