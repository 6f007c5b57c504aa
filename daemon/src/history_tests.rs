//! The bookkeeping, with moments that are made up.

use nbtunnel_core::FailureKind;

use super::*;

fn name(name: &str) -> Name {
    Name::parse(name).unwrap()
}

fn at(seconds: u64) -> Moment {
    Moment::from_origin(Duration::from_secs(seconds))
}

/// Plays transitions of `alice`: the second, the state, whether it is wanted.
fn play(history: &mut History, story: &[(u64, &str, bool)]) -> Vec<Option<u64>> {
    let told = |&(second, to, wanted): &(u64, &'static str, bool)| Told {
        at: at(second),
        wall_ms: second * 1000,
        to,
        wanted,
        why: None,
    };
    let story: Vec<(u64, &'static str, bool)> =
        story.iter().map(|&(second, to, wanted)| (second, known(to), wanted)).collect();
    story.iter().map(|step| history.told(&name("alice"), told(step)).map(|gap| gap.as_secs())).collect()
}

/// The word as core spells it: a misspelt one would be no state at all.
fn known(word: &str) -> &'static str {
    let all = [
        State::Stopped,
        State::Idle,
        State::Binding,
        State::Connecting,
        State::Up,
        State::Waiting,
        State::Parked,
        State::Closing,
    ];
    all.map(State::word).into_iter().find(|known| *known == word).unwrap()
}

/// Seconds up and the longest gap after `story`, at second 1000.
fn sums(story: &[(u64, &str, bool)]) -> (u64, u64) {
    let mut history = History::default();
    play(&mut history, story);
    let past = history.past(&name("alice"), at(1000), 0);
    (past.up_ms / 1000, past.longest_gap_ms / 1000)
}

#[test]
fn a_port_that_a_server_chose_is_written_down_at_once_and_only_if_it_is_new() {
    let mut history = History::default();
    play(&mut history, &[(10, "up", true)]);
    assert!(history.is_due(at(10)) && !history.is_due(at(11)));
    let chosen = vec![("localhost:0:localhost:3000".to_owned(), 41_234)];
    history.chose(&name("alice"), chosen.clone());
    assert!(history.is_due(at(11)));
    history.chose(&name("alice"), chosen.clone());
    assert!(!history.is_due(at(12)));
    let kept = serde_json::to_string(&history.past(&name("alice"), at(12), 0)).unwrap();
    assert_eq!(serde_json::from_str::<Past>(&kept).unwrap().ports, chosen);
    assert!(!serde_json::to_string(&Past::default()).unwrap().contains("ports"));
}

#[test]
fn time_up_is_summed_and_goes_on_while_it_is_up() {
    let story = [(10, "connecting", true), (20, "up", true), (50, "waiting", true), (990, "up", true)];
    assert_eq!(sums(&story), (30 + 10, 940));
    // Told of a failure without leaving the state: nothing is counted twice.
    assert_eq!(sums(&[(0, "up", true), (400, "up", true)]), (1000, 0));
}

#[test]
fn a_gap_lasts_from_the_loss_until_it_is_up_again_whatever_comes_between() {
    let mut history = History::default();
    let story = [
        (0, "up", true),
        (100, "connecting", true),
        (101, "waiting", true),
        (110, "parked", true),
        (150, "connecting", true),
        (160, "up", true),
        (200, "waiting", true),
        (210, "up", true),
    ];
    assert_eq!(play(&mut history, &story), [None, None, None, None, None, Some(60), None, Some(10)]);
    assert_eq!(history.past(&name("alice"), at(1000), 0).longest_gap_ms, 60_000);
}

#[test]
fn what_somebody_wanted_or_nobody_missed_is_no_gap() {
    let before_the_first_up = [(0, "binding", true), (1, "connecting", true), (600, "up", true)];
    let stopped_while_up =
        [(0, "up", true), (10, "closing", false), (11, "stopped", false), (500, "up", true)];
    let stopped_while_away =
        [(0, "up", true), (10, "waiting", true), (20, "stopped", false), (500, "up", true)];
    let idle = [(0, "up", true), (10, "closing", true), (11, "idle", true), (500, "up", true)];
    let lost_but_nobody_there =
        [(0, "up", true), (10, "idle", true), (500, "connecting", true), (501, "up", true)];
    let restarted = [(0, "up", true), (10, "closing", true), (12, "connecting", true), (500, "up", true)];
    for story in [
        &before_the_first_up[..],
        &stopped_while_up,
        &stopped_while_away,
        &idle,
        &lost_but_nobody_there,
        &restarted,
    ] {
        assert_eq!(sums(story).1, 0, "{story:?}");
    }
    // A restart of one that is away makes it no less away.
    let restarted_while_away = [
        (0, "up", true),
        (10, "waiting", true),
        (20, "closing", true),
        (21, "connecting", true),
        (40, "up", true),
    ];
    assert_eq!(sums(&restarted_while_away).1, 30);
}

#[test]
fn the_last_failure_stays_and_is_bounded() {
    let mut history = History::default();
    let why = Failure::new(FailureKind::DeadPeer, "ä".repeat(5000), "");
    let told = Told { at: at(1), wall_ms: 7, to: "waiting", wanted: true, why: Some(&why) };
    history.told(&name("alice"), told);
    play(&mut history, &[(2, "up", true)]);
    let failure = history.past(&name("alice"), at(3), 0).last_failure.unwrap();
    assert_eq!((failure.at_ms, failure.code.as_str()), (7, "dead_peer"));
    assert!(failure.message.len() <= LONGEST_MESSAGE + '…'.len_utf8());
}

#[test]
fn reconnects_add_up_over_the_lives_of_daemon_and_tunnel() {
    let kept = Past { since_ms: 5, reconnects: 40, up_ms: 60_000, ..Past::default() };
    let mut history = History::new([(name("alice"), kept)].into());
    history.know(&name("alice"), 99);
    play(&mut history, &[(20, "up", true)]);
    for so_often in [0, 1, 1, 3] {
        history.reconnected(&name("alice"), so_often);
    }
    let reconnects = |history: &History, so_often| history.past(&name("alice"), at(50), so_often).reconnects;
    assert_eq!((reconnects(&history, 3), reconnects(&history, 5)), (43, 45));
    history.gone(&name("alice"), at(30));
    // One of the same name begins to count anew.
    assert_eq!((reconnects(&history, 0), reconnects(&history, 1)), (43, 44));
    history.reconnected(&name("alice"), 2);
    assert_eq!(history.all(at(50))[&name("alice")].reconnects, 45);
    let past = history.past(&name("alice"), at(50), 2);
    assert_eq!((past.since_ms, past.up_ms), (5, 60_000 + 10_000), "a tunnel that is gone is not up");
}

#[test]
fn it_is_written_at_once_then_once_a_minute_and_seldom_when_only_time_passes() {
    let mut history = History::default();
    assert!(!history.is_due(at(0)), "there is nothing to write");
    history.know(&name("alice"), 0);
    assert!(history.is_due(at(0)) && !history.is_due(at(0)));
    play(&mut history, &[(1, "up", true)]);
    assert!(!history.is_due(at(59)));
    assert!(history.is_due(at(60)) && !history.is_due(at(200)));
    assert!(history.is_due(at(60 + 900)), "time passed");
    history.not_written();
    assert!(
        !history.is_due(at(961)) && history.is_due(at(1020)),
        "what failed is tried again, a minute later"
    );
    play(&mut history, &[(1100, "stopped", false)]);
    assert!(history.is_due(at(1100)));
    assert!(!history.is_due(at(100_000)), "nothing is up and nothing happens");
}

#[test]
fn those_that_are_gone_are_forgotten_at_the_next_start_or_when_there_are_too_many() {
    let mut history = History::default();
    let names: Vec<Name> = (0..=MOST_KEPT).map(|n| name(&format!("t{n}"))).collect();
    for name in &names {
        history.know(name, 1);
    }
    history.gone(&names[0], at(1));
    assert_eq!(history.all(at(1)).len(), MOST_KEPT, "one too many");
    history.gone(&names[1], at(1));
    assert_eq!(history.all(at(1)).len(), MOST_KEPT);
    let mut history = History::new(history.all(at(1)));
    history.keep_only(|name| *name == names[7]);
    assert!(history.is_due(at(2)));
    assert_eq!(history.all(at(2)).into_keys().collect::<Vec<_>>(), [names[7].clone()]);
}

#[test]
fn numbers_from_a_file_that_make_no_sense_do_no_harm() {
    let odd = Past { reconnects: u64::MAX, up_ms: u64::MAX, longest_gap_ms: u64::MAX, ..Past::default() };
    let mut history = History::new([(name("alice"), odd)].into());
    history.reconnected(&name("alice"), 9);
    history.reconnected(&name("alice"), 4);
    play(&mut history, &[(1, "up", true), (2, "waiting", true), (9, "up", true)]);
    let past = history.past(&name("alice"), at(1000), 0);
    assert_eq!((past.reconnects, past.up_ms), (u64::MAX, u64::MAX));
    assert!(past.sentence().is_some());
}

#[test]
fn a_past_is_a_sentence() {
    let past = Past {
        since_ms: 0,
        reconnects: 12,
        up_ms: (3 * 24 + 4) * 3_600_000,
        longest_gap_ms: 41_000,
        last_failure: Some(PastFailure {
            message: "the server stopped answering".into(),
            ..PastFailure::default()
        }),
        ..Past::default()
    };
    assert_eq!(
        past.sentence().unwrap(),
        "reconnected 12 times, up 3 d 4 h in all, longest gap 41 s, last failure: the server stopped answering"
    );
    assert_eq!(Past { since_ms: 9, ..Past::default() }.sentence(), None);
    let spans = [
        (0, "0 s"),
        (30, "0 s"),
        (420, "0.4 s"),
        (9_990, "9.9 s"),
        (61_000, "1 min 1 s"),
        (7_200_000, "2 h"),
    ];
    for (ms, text) in spans {
        assert_eq!(span(Duration::from_millis(ms)), text);
    }
}
