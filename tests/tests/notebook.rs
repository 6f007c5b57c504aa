//! What all this is for: a kernel behind a tunnel that is cut.

use anyhow::Result;
use nbtunnel_tests::{Jupyter, Sshd, World, wait};

#[test]
fn a_kernel_is_reached_again_with_its_variables_after_the_session_was_killed() -> Result<()> {
    let (sshd, jupyter) = (Sshd::start()?, Jupyter::start()?);
    let (world, local) = World::with_alice(&sshd, jupyter.port())?;

    let kernel = jupyter.start_kernel(local)?;
    assert_eq!(jupyter.run_code(local, &kernel, "x = 6 * 7\nprint(x)")?, "42\n");
    let mut websocket = jupyter.hold_websocket(local, &kernel)?;

    assert!(!websocket.is_cut(), "the websocket was not open when the session was killed");
    assert!(sshd.kill_sessions() > 0, "there was no session to kill");
    websocket.wait_cut(wait::SOON)?;
    world.wait_until("alice", "the tunnel is back", |tunnel| {
        tunnel["state"] == "up" && tunnel["reconnects"].as_u64() >= Some(1)
    })?;
    assert_eq!(jupyter.run_code(local, &kernel, "print(x + 1)")?, "43\n");
    Ok(())
}
