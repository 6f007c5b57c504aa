use super::*;
use crate::failure::FailureKind;

fn at(seconds: f64) -> Moment {
    Moment::from_origin(Duration::from_secs_f64(seconds))
}

fn up(policy: &Policy) -> Session {
    let mut session = Session::queued(Epoch(1), at(0.0));
    assert!(session.go(at(0.0), policy));
    assert!(session.came_up(at(0.0)));
    session.answered(at(0.0), Duration::ZERO, policy);
    session
}

#[test]
fn every_step_has_a_deadline_of_its_own() {
    let policy = Policy::default();
    let mut session = Session::queued(Epoch(1), at(0.0));
    assert_eq!(session.timer(&policy), None, "waiting for a turn is not the server's fault");
    session.go(at(100.0), &policy);
    session.stepped(at(115.0), Step::Tcp, &policy);
    session.stepped(at(130.0), Step::Banner, &policy);
    assert_eq!(session.due(at(149.9), &policy), None, "a banner after 15 s still connects");
    assert!(
        matches!(session.due(at(150.0), &policy), Some(Due::Overdue(f)) if f.kind == FailureKind::TimedOut)
    );
}

#[test]
fn the_way_on_from_a_jump_host_has_deadlines_of_its_own() {
    let policy = Policy::default();
    let mut session = Session::queued(Epoch(1), at(0.0));
    session.go(at(0.0), &policy);
    for (second, step) in
        [(15.0, Step::Tcp), (30.0, Step::Authenticate), (45.0, Step::Tcp), (60.0, Step::Banner)]
    {
        session.stepped(at(second), step, &policy);
        assert_eq!(session.step(), Some(step));
    }
    session.stepped(at(70.0), Step::Tcp, &policy);
    assert_eq!(session.step(), Some(Step::Banner), "one machine goes through them in order");
    assert_eq!(session.due(at(79.9), &policy), None);
    assert!(session.due(at(80.0), &policy).is_some());
}

/// Lets it run, with nobody answering, until it is over; says when it became suspect and when it was over.
fn silence(session: &mut Session, from: f64, policy: &Policy) -> (f64, f64) {
    let (mut now, mut suspect) = (at(from), None);
    loop {
        now = now.max(session.timer(policy).unwrap().0);
        while let Some(due) = session.due(now, policy) {
            let seconds = now.since(Moment::ZERO).as_secs_f64();
            if matches!(due, Due::Overdue(f) if f.kind == FailureKind::DeadPeer) {
                return (suspect.unwrap(), seconds);
            }
            if session.is_suspect() {
                suspect = suspect.or(Some(seconds));
            }
        }
    }
}

#[test]
fn silence_makes_it_suspect_and_ends_it_when_patience_does() {
    let policy = Policy::default();
    let mut session = up(&policy);
    assert_eq!(silence(&mut session, 0.0, &policy), (15.0, 75.0));
    let mut session = Session::queued(Epoch(1), at(0.0));
    session.go(at(0.0), &policy);
    session.asked();
    session.came_up(at(0.0));
    assert_eq!(silence(&mut session, 0.0, &policy), (5.0, 905.0));
}

#[test]
fn what_is_sent_and_not_answered_makes_it_suspect_sooner() {
    let policy = Policy::default();
    for (rtt, most) in [(0.0, 2.6), (0.5, 5.0)] {
        let mut session = Session::queued(Epoch(1), at(0.0));
        session.go(at(0.0), &policy);
        session.came_up(at(0.0));
        for _ in 0..2 {
            session.answered(at(0.0), Duration::from_secs_f64(rtt), &policy);
        }
        assert!(session.unanswered(at(1.0)) && !session.unanswered(at(1.1)), "one probe is enough");
        let (suspect, _) = silence(&mut session, 1.0, &policy);
        assert!(suspect - 1.0 <= most, "{suspect} with a round trip of {rtt} s");
    }
}

#[test]
fn an_answer_or_anything_else_that_is_heard_clears_the_suspicion() {
    let policy = Policy::default();
    for heard in [true, false] {
        let mut session = up(&policy);
        session.due(at(10.0), &policy);
        session.due(at(15.0), &policy);
        assert!(session.is_suspect());
        if heard {
            session.heard(at(16.0));
            assert_eq!(session.timer(&policy), Some((at(21.0), TimerReason::ProbeDeadline)));
        } else {
            session.answered(at(16.0), Duration::from_millis(30), &policy);
            assert_eq!(session.timer(&policy), Some((at(26.0), TimerReason::ProbeDue)));
        }
        assert_eq!(session.health(), Some(Health::Ok));
    }
}

#[test]
fn a_slow_path_has_longer_deadlines() {
    let policy = Policy::default();
    let mut session = Session::queued(Epoch(1), at(0.0));
    session.go(at(0.0), &policy);
    session.came_up(at(0.0));
    session.answered(at(1.0), Duration::from_secs(2), &policy);
    assert_eq!(session.due(at(11.0), &policy), Some(Due::Probe));
    // srtt 2 s, variation 1 s: 3 · (2 + 4) + 1 = 19 s.
    assert_eq!(session.timer(&policy), Some((at(30.0), TimerReason::ProbeDeadline)));
}

#[test]
fn one_bad_answer_does_not_make_it_blind() {
    let policy = Policy::default();
    let mut session = up(&policy);
    session.answered(at(1.0), Duration::from_secs(8 * 3600), &policy);
    session.nudged(at(2.0));
    assert!(session.timer(&policy).unwrap().0 <= at(62.0));
}

#[test]
fn a_deadline_that_passed_while_nobody_looked_proves_nothing() {
    let policy = Policy::default();
    let mut session = up(&policy);
    session.due(at(10.0), &policy);
    assert_eq!(session.due(at(30_000.0), &policy), Some(Due::Steady));
    assert_eq!(session.due(at(30_000.0), &policy), Some(Due::Probe));
    assert_eq!(session.health(), Some(Health::Ok));
    assert_eq!(session.timer(&policy), Some((at(30_002.5), TimerReason::ProbeDeadline)));
    session.due(at(30_002.5), &policy);
    assert!(session.is_suspect());
    // Patience, too, begins anew after a night.
    assert_eq!(session.due(at(60_000.0), &policy), Some(Due::Probe));
    assert_eq!(session.due(at(60_000.1), &policy), None);

    let mut dial = Session::queued(Epoch(2), at(0.0));
    dial.go(at(0.0), &policy);
    assert_eq!(dial.due(at(9000.0), &policy), None);
    assert_eq!(dial.timer(&policy), Some((at(9020.0), TimerReason::StepDeadline)));
}

#[test]
fn the_silence_of_one_that_is_left_unread_means_nothing() {
    let policy = Policy::default();
    let mut session = up(&policy);
    session.due(at(10.0), &policy);
    session.clogged(at(11.0), true, &policy);
    assert_eq!(session.due(at(15.0), &policy), None);
    assert_eq!(session.timer(&policy), Some((at(30.0), TimerReason::Steady)));
    assert!(!session.serves() && !session.nudged(at(16.0)) && !session.unanswered(at(16.0)));
    session.clogged(at(20.0), false, &policy);
    assert!(session.serves());
    assert_eq!(session.due(at(30.0), &policy), Some(Due::Steady));
    assert_eq!(session.due(at(30.0), &policy), Some(Due::Probe));
}

/// Until it is given up, in seconds after the last answer, though it is probed.
fn given_up_after(policy: &Policy, asked: bool) -> f64 {
    let mut session = Session::queued(Epoch(1), at(0.0));
    session.go(at(0.0), policy);
    if asked {
        session.asked();
    }
    session.came_up(at(0.0));
    session.answered(at(0.0), Duration::from_millis(20), policy);
    loop {
        let (next, _) = session.timer(policy).unwrap();
        while let Some(due) = session.due(next, policy) {
            if let Due::Overdue(_) = due {
                return next.since(at(0.0)).as_secs_f64();
            }
        }
    }
}

#[test]
fn it_is_given_up_after_as_many_unanswered_probes_as_somebody_said() {
    let policy = |keepalive, unanswered| Policy {
        keepalive: Duration::from_secs(keepalive),
        unanswered,
        ..Policy::default()
    };
    assert_eq!(given_up_after(&policy(10, None), false), 75.0);
    // As ssh does: an interval of silence, and one more for each probe.
    for (keepalive, count, after) in [(10, 1, 20.0), (10, 2, 30.0), (15, 3, 60.0), (15, 20, 315.0)] {
        assert_eq!(given_up_after(&policy(keepalive, Some(count)), false), after, "{count} of {keepalive} s");
    }
    // No probe is given up before its answer is overdue.
    for (keepalive, count) in [(1, 1), (2, 0)] {
        assert_eq!(given_up_after(&policy(keepalive, Some(count)), false), keepalive as f64 + 5.0);
    }
    // An answer that somebody typed is not given away for it.
    let usual = given_up_after(&policy(10, None), true);
    assert_eq!(given_up_after(&policy(10, Some(2)), true), usual);
    assert!(given_up_after(&policy(10, Some(200)), true) > usual);
}

#[test]
fn age_wears_it_out_once() {
    let policy = Policy { renew_after: Duration::from_secs(3), ..Policy::default() };
    let mut session = up(&policy);
    assert_eq!(session.timer(&policy), Some((at(3.0), TimerReason::Renew)));
    assert_eq!(session.due(at(3.0), &policy), Some(Due::Old));
    assert!(session.is_worn());
    assert_eq!(session.due(at(3.0), &policy), None);
    assert_eq!(session.timer(&policy), Some((at(10.0), TimerReason::ProbeDue)));
}

#[test]
fn only_a_dial_that_talks_to_nobody_is_stuck_after_a_nudge() {
    let policy = Policy::default();
    let mut session = Session::queued(Epoch(1), at(0.0));
    session.go(at(0.0), &policy);
    for (step, network, woke) in [
        (Step::Resolve, false, false),
        (Step::Tcp, true, true),
        (Step::Banner, false, true),
        (Step::KeyExchange, false, true),
        (Step::Authenticate, false, false),
    ] {
        session.stepped(at(1.0), step, &policy);
        for (now, slept) in [(1.0, false), (5.9, false), (6.0, true), (7201.0, true)] {
            assert_eq!(session.is_stuck_after(Nudge::Network, at(now)), network, "{step:?} at {now}");
            assert_eq!(session.is_stuck_after(Nudge::Woke, at(now)), woke && slept, "{step:?} at {now}");
            assert!(!session.is_stuck_after(Nudge::Operator, at(now)));
        }
    }
}

#[test]
fn sessions_that_fall_silent_within_a_second_are_asked_at_the_same_moment() {
    let policy = Policy { keepalive: Duration::from_secs(10), ..Policy::default() };
    let impatient = Policy { keepalive: Duration::from_secs(4), ..policy.clone() };
    for (heard, policy, asked) in
        [(1.1, &policy, 11.0), (1.9, &policy, 11.0), (2.0, &policy, 12.0), (1.5, &impatient, 5.5)]
    {
        let mut session = up(policy);
        session.answered(at(heard), Duration::from_millis(20), policy);
        assert_eq!(session.timer(policy), Some((at(asked), TimerReason::ProbeDue)));
    }
}

#[test]
fn the_round_trip_of_a_distant_server_is_soon_known() {
    let policy = Policy::default();
    let mut session = Session::queued(Epoch(1), at(0.0));
    session.go(at(0.0), &policy);
    session.came_up(at(0.0));
    let half = Duration::from_millis(500);
    for (now, next) in [(0.5, 1.5), (2.0, 3.0), (4.0, 14.0)] {
        session.answered(at(now), half, &policy);
        assert_eq!(session.timer(&policy), Some((at(next), TimerReason::ProbeDue)));
    }
    assert!(session.soon() <= Duration::from_secs(5), "{:?}", session.soon());
}
