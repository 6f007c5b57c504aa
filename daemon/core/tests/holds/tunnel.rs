//! One tunnel, whatever the world does.

use nbtunnel_core::{Epoch, Moment, Tunnel, TunnelSpec};
use proptest::prelude::*;

use super::{reported, runs};
use crate::run::draw::{op, op_or_sleep, story};
use crate::run::{Broken, Run, draw::Op};

/// Only says which kind of machine is meant.
pub(super) fn real(spec: &TunnelSpec) -> Tunnel {
    Tunnel::new(Moment::ZERO, spec.clone(), Epoch(1), 0, None)
}

pub(super) fn play(spec: &TunnelSpec, ops: &[Op]) -> Result<Run<Tunnel>, Broken> {
    let mut run = Run::new(&real(spec), spec.clone())?;
    ops.iter().try_for_each(|op| run.apply(op))?;
    Ok(run)
}

proptest! {
    #![proptest_config(runs(1500))]

    #[test]
    fn every_rule_holds_and_the_model_agrees_whatever_happens((spec, ops) in story(op(), 80)) {
        reported(play(&spec, &ops))?;
    }

    #[test]
    fn every_rule_holds_when_the_machine_sleeps_over_its_timers((spec, ops) in story(op_or_sleep(), 60)) {
        reported(play(&spec, &ops))?;
    }
}
