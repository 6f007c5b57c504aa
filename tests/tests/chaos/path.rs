//! The path between here and there: reset, cut, half open, unplugged, and this end at another address.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, ensure};
use nbtunnel_tests::netns::{Cut, ELSEWHERE, HERE};
use nbtunnel_tests::{Callers, wait};

use crate::lab::{Lab, Line, PATIENT};
use crate::table::told;

/// The patience of core with a suspect link.
const PATIENCE: Duration = Duration::from_secs(60);

/// Breaks the connection so that both ends know it. Whoever calls is let in and answered by a new link.
fn lost_at_once(what: &str, lab: &Lab, break_it: impl FnOnce() -> Result<()>) -> Result<()> {
    let callers = Callers::start(lab.local)?;
    let mut line = Line::open(lab.local)?;
    let began = Instant::now();
    break_it()?;
    line.is_cut()?;
    let soon = callers.answered_after(began, PATIENT)?;
    ensure!(soon < Duration::from_secs(10), "{soon:?}");
    lab.wait("the loss is counted", |tunnel| tunnel["state"] == "up" && tunnel["reconnects"] == 1)?;
    told(what, lab.outcome(), soon, Some(callers.settle(PATIENT)?))
}

#[test]
fn a_reset_leads_to_a_new_link_at_once() -> Result<()> {
    let lab = Lab::start()?;
    lost_at_once("RST", &lab, || lab.networks.reset(lab.sshd.port()))
}

#[test]
fn a_session_that_was_killed_is_followed_by_a_new_one_at_once() -> Result<()> {
    let lab = Lab::start()?;
    lost_at_once("sshd's session killed", &lab, || {
        ensure!(lab.sshd.kill_sessions() > 0);
        Ok(())
    })
}

#[test]
fn a_path_that_is_back_within_patience_costs_no_connection_and_no_byte() -> Result<()> {
    let lab = Lab::start()?;
    let callers = Callers::start(lab.local)?;
    let mut line = Line::open(lab.local)?;
    lab.networks.cut(Cut::Everything)?;
    line.say(50_000)?;
    lab.wait("it is suspect", |tunnel| tunnel["health"] == "suspect")?;
    wait::throughout("the open connection stands", Duration::from_secs(8), || line.stands())?;
    let healed = Instant::now();
    lab.networks.heal()?;
    let soon = callers.answered_again(healed, PATIENT)?;
    line.hear()?;
    line.close()?;
    let called = callers.settle(PATIENT)?;
    ensure!(called.cut_off == 0, "who was held is answered: {called:?}");
    told("all packets dropped, path healed before patience ends", lab.outcome(), soon, Some(called))
}

#[test]
fn a_path_that_is_back_after_patience_gets_a_new_link() -> Result<()> {
    let lab = Lab::start()?;
    let mut line = Line::open(lab.local)?;
    let began = Instant::now();
    lab.networks.cut(Cut::Everything)?;
    line.is_cut()?;
    let given_up = began.elapsed();
    ensure!(given_up > PATIENCE && given_up < PATIENCE * 2, "{given_up:?}");
    let callers = Callers::start(lab.local)?;
    lab.wait("it dials again", |tunnel| tunnel["state"] != "up")?;
    let healed = Instant::now();
    lab.networks.heal()?;
    let soon = callers.answered_again(healed, PATIENT)?;
    let called = callers.settle(PATIENT)?;
    ensure!(called.cut_off == 0, "who was held is answered: {called:?}");
    told("all packets dropped, path healed after patience", lab.outcome(), soon, Some(called))
}

/// Lets the packets of the tunnel's own connection vanish, and of no other. Says when it was suspect.
fn half_open(lab: &Lab, line: &mut Line) -> Result<(Instant, Duration)> {
    lab.networks.cut(Cut::Connection(lab.own_port()?))?;
    let (began, at) = (Instant::now(), SystemTime::now());
    let suspect = lab.events.wait("suspect", at)?;
    lab.events.wait("replaced", at)?;
    lab.wait("the new link is up", |tunnel| tunnel["state"] == "up" && tunnel["health"] == "ok")?;
    // It had its chance: as long again as it was silent.
    line.is_cut()?;
    ensure!(began.elapsed() < PATIENCE * 2, "{:?}", began.elapsed());
    Ok((began, suspect))
}

#[test]
fn a_half_open_link_under_traffic_is_suspect_soon_and_replaced() -> Result<()> {
    let lab = Lab::start()?;
    let callers = Callers::start(lab.local)?;
    let mut line = Line::open(lab.local)?;
    let (began, suspect) = half_open(&lab, &mut line)?;
    ensure!(suspect < Duration::from_secs(30), "suspect after {suspect:?}");
    told("half open under traffic: suspect", lab.outcome(), suspect, None)?;
    let soon = callers.answered_after(began, PATIENT)?;
    told("half open under traffic", lab.outcome(), soon, Some(callers.settle(PATIENT)?))
}

#[test]
fn a_half_open_link_that_is_idle_is_suspect_before_anybody_calls() -> Result<()> {
    let lab = Lab::start()?;
    let mut line = Line::open(lab.local)?;
    let (_, suspect) = half_open(&lab, &mut line)?;
    ensure!(suspect < PATIENCE, "suspect after {suspect:?}");
    let called = Instant::now();
    let callers = Callers::start(lab.local)?;
    let soon = callers.answered_after(called, PATIENT)?;
    told("half open and idle: suspect", lab.outcome(), suspect, None)?;
    told("half open and idle, called when replaced", lab.outcome(), soon, Some(callers.settle(PATIENT)?))
}

#[test]
fn a_cable_that_was_out_for_a_while_costs_no_connection_and_no_byte() -> Result<()> {
    let lab = Lab::start()?;
    let callers = Callers::start(lab.local)?;
    let mut line = Line::open(lab.local)?;
    lab.networks.plug(false)?;
    line.say(50_000)?;
    wait::throughout("the open connection stands", Duration::from_secs(6), || line.stands())?;
    let back = Instant::now();
    lab.networks.plug(true)?;
    let soon = callers.answered_again(back, PATIENT)?;
    line.hear()?;
    line.close()?;
    let called = callers.settle(PATIENT)?;
    ensure!(called.cut_off == 0, "who was held is answered: {called:?}");
    told("cable out for 6 s and in again", lab.outcome(), soon, Some(called))
}

#[test]
fn another_address_leads_to_a_new_link() -> Result<()> {
    let lab = Lab::start()?;
    let callers = Callers::start(lab.local)?;
    let mut line = Line::open(lab.local)?;
    let began = Instant::now();
    lab.networks.move_to(HERE, ELSEWHERE)?;
    let soon = callers.answered_after(began, PATIENT)?;
    line.is_cut()?;
    let from = format!("from {ELSEWHERE} port");
    ensure!(lab.sshd.log().lines().any(|line| line.contains("Accepted publickey") && line.contains(&from)));
    told("another address at this end", lab.outcome(), soon, Some(callers.settle(PATIENT)?))
}
