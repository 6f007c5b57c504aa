//! Paths on which packets are late and some are lost: no reason to give a link up.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nbtunnel_tests::wait;

use crate::lab::{Lab, Line};
use crate::table::told;

/// Asks and is answered over one connection for the whole of `span`. Says how long the slowest answer took.
fn talk(line: &mut Line, span: Duration) -> Result<Duration> {
    let (began, mut slowest) = (Instant::now(), Duration::ZERO);
    while began.elapsed() < span {
        let asked = Instant::now();
        line.say(500)?;
        line.hear()?;
        slowest = slowest.max(asked.elapsed());
        wait::pace(asked + Duration::from_millis(100));
    }
    Ok(slowest)
}

/// A path that is slow, but no reason to doubt it.
fn carries(what: &str, one_way: Duration, lost: u32) -> Result<()> {
    let lab = Lab::slow(one_way, lost)?;
    let mut line = Line::open(lab.local)?;
    line.say(100_000)?;
    line.hear()?;
    let slowest = talk(&mut line, Duration::from_secs(10))?;
    ensure!(lab.logins() == 1, "the link was given up over it: {}", lab.sshd.log());
    line.close()?;
    told(what, lab.outcome(), slowest, None)
}

#[test]
fn forty_milliseconds_and_a_lost_packet_in_a_hundred_keep_the_link() -> Result<()> {
    carries("40 ms each way, 1 % lost: slowest answer", Duration::from_millis(40), 10)
}

#[test]
fn four_hundred_milliseconds_and_a_lost_packet_in_a_hundred_keep_the_link() -> Result<()> {
    carries("400 ms each way, 1 % lost: slowest answer", Duration::from_millis(400), 10)
}

/// A minute; ten with `NBTUNNEL_LONG=1`.
#[test]
fn two_seconds_of_round_trip_and_a_lost_packet_in_twenty_never_cost_a_connection() -> Result<()> {
    let lab = Lab::slow(Duration::from_secs(1), 50)?;
    let mut line = Line::open(lab.local)?;
    let minutes = if std::env::var_os("NBTUNNEL_LONG").is_some() { 10 } else { 1 };
    let slowest = talk(&mut line, Duration::from_secs(60 * minutes))?;
    line.close()?;
    told("2 s of round trip, 5 % lost: slowest answer", lab.outcome(), slowest, None)
}
