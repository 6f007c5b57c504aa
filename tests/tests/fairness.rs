//! A download at full speed: it ruins nobody's typing, and none of its bytes waits for more of them.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use nbtunnel_tests::net::{self, Pattern};
use nbtunnel_tests::server::SEED;
use nbtunnel_tests::{Server, Sshd, World, wait};

const MIB: u64 = 1 << 20;
const PATIENT: Duration = Duration::from_secs(90);

/// Ten times the aim for the slowest hundredth: the machine may be busy with something else.
const BOUND: Duration = Duration::from_millis(250);

#[test]
fn round_trips_beside_a_download_at_full_speed_stay_short_and_the_download_right() -> Result<()> {
    let (sshd, echo, source) = (Sshd::start()?, Server::echo()?, Server::source()?);
    let mut world = World::new()?;
    let (typing, loading) = (net::free_port()?, net::free_port()?);
    world.write("alice", &sshd.tunnel().forward(typing, echo.port()).forward(loading, source.port()))?;
    world.start()?;
    world.wait_for("alice", "up")?;
    let mut typist = net::connect(typing, PATIENT)?;
    net::echo(&mut typist, b"hello")?;

    let count = 256 * MIB;
    let mut load = net::connect(loading, PATIENT)?;
    load.write_all(&count.to_be_bytes())?;
    let is_loading = AtomicBool::new(true);
    let mut beside = Vec::new();
    std::thread::scope(|scope| {
        let loader = scope.spawn(|| {
            let loaded = Pattern::new(SEED).expect(&mut load, count);
            is_loading.store(false, Ordering::SeqCst);
            loaded
        });
        while is_loading.load(Ordering::SeqCst) {
            let sent = Instant::now();
            net::echo(&mut typist, b"x")?;
            beside.push(sent.elapsed());
            wait::pace(sent + Duration::from_millis(2));
        }
        loader.join().map_err(|_| anyhow!("the download panicked"))?
    })?;
    beside.sort();
    ensure!(beside.len() >= 20, "only {} round trips were made: this proves nothing", beside.len());
    let median = beside[beside.len() / 2];
    ensure!(median < BOUND, "half of the round trips took longer than {median:?}");
    Ok(())
}

#[test]
fn the_last_bytes_of_a_burst_do_not_wait_for_the_next_one() -> Result<()> {
    let bursts = [16 * MIB + 1, 8 * MIB + 32_767, 12 * MIB + 131_071, 4 * MIB, 1, 20 * MIB + 70_001];
    // The next burst is sent only after somebody has seen the whole of the one before.
    let source = Server::start(move |mut stream| {
        let mut pattern = Pattern::new(SEED);
        for burst in bursts {
            stream.read_exact(&mut [0; 1])?;
            pattern.write(&mut stream, burst)?;
        }
        Ok(())
    })?;
    let sshd = Sshd::start()?;
    let (_world, local) = World::with_alice(&sshd, source.port())?;
    let mut stream = net::connect(local, wait::SOON)?;
    let mut pattern = Pattern::new(SEED);
    for burst in bursts {
        stream.write_all(b"x")?;
        pattern.expect(&mut stream, burst)?;
    }
    ensure!(net::read(&mut stream, &mut [0; 1])? == 0, "more came than was sent");
    Ok(())
}
