//! Windows has neither process groups in this sense nor signals: every way to stop is the hard one.

use std::process::{Child, Command};

use anyhow::{Result, bail};

use super::Signal;

pub(super) fn own_group(_command: &mut Command) {}

pub(super) fn signal(child: &mut Child, signal: Signal) {
    match signal {
        Signal::Term | Signal::Kill => kill_group(child),
        Signal::Hup | Signal::Stop | Signal::Cont | Signal::Quit => {}
    }
}

pub(super) fn kill_group(child: &mut Child) {
    let _ = child.kill();
}

pub(super) fn signal_pid(id: u32, _signal: Signal) -> Result<()> {
    bail!("process {id} is not a child, and Windows has no signals")
}
