//! What a change of the file may touch, and what it must leave alone.

use nbtunnel_core::tunnel::Desire;
use nbtunnel_core::{Input, Output};

use super::rules::Step;
use super::{Checked, Machine, NOTHING, hold, told};

pub(super) fn check<M: Machine>(step: &Step<'_, M>) -> Checked {
    let Input::Respec(new) = step.input else { return Ok(()) };
    let old = step.before.tunnel().spec();
    if step.before.tunnel().is_leaving() || step.tunnel().desire() == Desire::Down {
        return Ok(());
    }
    let said = || step.said();
    for output in step.outputs {
        match output {
            Output::Unbind(id) => {
                let named = step.ledger.listeners().get(id).is_some_and(|listener| {
                    new.forwards.iter().any(|forward| forward.listen == listener.spec.listen)
                });
                hold("an_address_that_stays_keeps_its_listener", !named, said)?;
            }
            Output::Close(epoch) if step.ledger.was_closed_as_link(*epoch) => {
                hold("only_a_new_route_ends_a_link", old.route != new.route, said)?;
                let in_place = old.route.leads_where(&new.route)
                    && step.before.tunnel().state() == nbtunnel_core::State::Up;
                hold("a_new_way_to_log_in_waits_for_the_next_login", !in_place, said)?;
            }
            _ => {}
        }
    }
    let same_forwards = (&old.forwards, &old.remotes) == (&new.forwards, &new.remotes);
    if same_forwards && (&old.route, old.start) == (&new.route, new.start) {
        let mut untouched = step.before.clone();
        let mut outputs: Vec<Output> =
            (old.policy != new.policy).then(|| Output::Repolicy(new.policy.clone())).into_iter().collect();
        outputs.extend(told(&mut untouched, step.now, NOTHING));
        hold("tags_and_policy_change_in_place", outputs == step.outputs, said)?;
    }
    Ok(())
}
