//! What was seen becomes findings in the order of the layers, however far it went.

use std::sync::{Arc, Mutex, PoisonError};

use super::*;
use crate::finding::Verdict;
use crate::ssh::testbed::hop;

/// A walk over two machines, about which something is known here, and what it told.
fn walk() -> (Walk, Arc<Mutex<Vec<Finding>>>) {
    let told: Arc<Mutex<Vec<Finding>>> = Arc::default();
    let tell = Arc::clone(&told);
    let on: OnFinding =
        Arc::new(move |finding| tell.lock().unwrap_or_else(PoisonError::into_inner).push(finding));
    let plan = Plan { jumps: vec![hop("jump", 22)], server: hop("server", 22) };
    let mut walk = Walk::new(&plan, on, crate::wake::stopwatch());
    for hop in plan.jumps.iter().chain([&plan.server]) {
        walk.carries(hop, vec![Finding::ok(Layer::Agent, "a"), Finding::ok(Layer::Credentials, "c")]);
    }
    (walk, told)
}

fn key() -> OfferedKey {
    OfferedKey {
        hop: "jump:22".into(),
        algorithm: "ssh-ed25519".into(),
        fingerprint: "SHA256:x".into(),
        randomart: String::new(),
        public_key: String::new(),
        file: None,
        recorded: vec![],
        revoked: None,
        alias: None,
        address: None,
        doubt: None,
    }
}

/// All that is seen at a machine that lets us in.
fn passes(walk: &mut Walk, hop: &str, until: Layer) {
    let seen = [
        (Layer::Dns, Seen::Turn),
        (Layer::Dns, Seen::Addresses(vec!["10.0.0.1:22".parse().unwrap()])),
        (Layer::Tcp, Seen::Connected("10.0.0.1:22".parse().unwrap())),
        (Layer::Banner, Seen::Version("SSH-2.0-\x1b[2Jx".into())),
        (Layer::HostKey, Seen::HostKey(Box::new(key()))),
        (Layer::Authentication, Seen::Methods(vec!["publickey".into()])),
        (Layer::Authentication, Seen::LetIn(vec!["the key".into()])),
    ];
    for (layer, seen) in seen.into_iter().filter(|(layer, _)| *layer <= until) {
        if layer == Layer::Authentication {
            walk.take(LinkEvent::Report(LinkReport::Step(Step::Authenticate)));
        }
        walk.take(LinkEvent::Saw(Box::new(Sight { hop: hop.into(), seen })));
    }
}

fn told(told: &Mutex<Vec<Finding>>) -> Vec<(String, Verdict, String)> {
    let told = told.lock().unwrap();
    let at = |finding: &Finding| finding.at.clone().unwrap_or_default();
    told.iter().map(|finding| (finding.layer.word().to_owned(), finding.verdict, at(finding))).collect()
}

fn line(layer: &str, verdict: Verdict, at: &str) -> (String, Verdict, String) {
    (layer.into(), verdict, at.into())
}

#[test]
fn every_layer_of_every_machine_has_its_line_in_order() {
    let (mut walk, all) = walk();
    passes(&mut walk, "jump:22", Layer::Authentication);
    passes(&mut walk, "server:22", Layer::Authentication);
    walk.ended(None);
    let layers = ["dns", "tcp", "banner", "host_key", "agent", "credentials", "authentication"];
    let expected: Vec<_> = [line("way", Verdict::Ok, "")]
        .into_iter()
        .chain(layers.map(|layer| line(layer, Verdict::Ok, "jump:22")))
        .chain(layers.map(|layer| line(layer, Verdict::Ok, "server:22")))
        .collect();
    assert_eq!(told(&all), expected);
    let all = all.lock().unwrap();
    assert!(all.iter().all(|finding| !finding.message.contains('\x1b')), "{all:?}");
    assert_eq!(all[0].message, "to u@server:22 over u@jump:22");
}

#[test]
fn what_breaks_is_told_once_and_what_is_behind_it_is_skipped() {
    use FailureKind::*;
    let cases = [
        // How far it came, how it ended, which layer that is.
        (None, Dns, "dns"),
        (Some(Layer::Dns), Refused, "tcp"),
        (Some(Layer::Tcp), TimedOut, "banner"),
        (Some(Layer::Banner), NoCommonAlgorithm, "key_exchange"),
        (Some(Layer::Banner), TimedOut, "key_exchange"),
        (Some(Layer::Banner), HostKeyChanged, "host_key"),
        (Some(Layer::HostKey), NoCredentials, "credentials"),
        (None, PassphraseNeeded, "credentials"),
        (Some(Layer::HostKey), AuthRefused, "authentication"),
        (Some(Layer::HostKey), Disconnected, "authentication"),
        (Some(Layer::HostKey), AnswerNeeded, "authentication"),
    ];
    for (until, kind, layer) in cases {
        let (mut walk, all) = walk();
        if let Some(until) = until {
            passes(&mut walk, "jump:22", until);
        }
        walk.ended(Some(&Failure::new(kind, "m", "h")));
        let told = told(&all);
        let broken: Vec<_> = told.iter().filter(|(_, verdict, _)| *verdict == Verdict::Broken).collect();
        assert_eq!(broken, [&line(layer, Verdict::Broken, "jump:22")], "{kind:?} after {until:?}: {told:?}");
        for local in ["agent", "credentials"].into_iter().filter(|local| *local != layer) {
            assert!(told.contains(&line(local, Verdict::Ok, "jump:22")), "{kind:?}: {told:?}");
        }
        assert_eq!(told.last(), Some(&line("way", Verdict::Skipped, "server:22")), "{kind:?}");
        let mut once: Vec<_> = told.iter().map(|(layer, _, at)| (layer, at)).collect();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), told.len(), "{kind:?}: {told:?}");
    }
}

#[test]
fn a_machine_that_is_passed_over_a_session_that_is_up_is_told_as_such() {
    let (mut walk, all) = walk();
    // It is known from the first that the server is wanted.
    walk.take(LinkEvent::Saw(Box::new(Sight { hop: "server:22".into(), seen: Seen::Turn })));
    walk.take(LinkEvent::Saw(Box::new(Sight { hop: "jump:22".into(), seen: Seen::Turn })));
    // Whoever comes to a session hears at which step it is.
    walk.take(LinkEvent::Report(LinkReport::Step(Step::Authenticate)));
    passes(&mut walk, "server:22", Layer::Authentication);
    walk.ended(None);
    assert_eq!(told(&all)[1], line("authentication", Verdict::Ok, "jump:22"));
    assert_eq!(told(&all)[2], line("dns", Verdict::Ok, "server:22"));
}

#[test]
fn a_server_whose_session_is_used_is_told_as_such_and_one_that_is_not_asked_is_what_breaks() {
    let (mut used, all) = walk();
    used.take(LinkEvent::Saw(Box::new(Sight { hop: "server:22".into(), seen: Seen::Turn })));
    used.take(LinkEvent::Report(LinkReport::Step(Step::Authenticate)));
    used.ended(None);
    assert_eq!(
        told(&all)[1..],
        [line("authentication", Verdict::Ok, "jump:22"), line("authentication", Verdict::Ok, "server:22")]
    );

    let (mut asks, all) = walk();
    asks.take(LinkEvent::Saw(Box::new(Sight { hop: "server:22".into(), seen: Seen::Turn })));
    asks.ended(Some(&Failure::new(FailureKind::AnswerNeeded, "m", "nbctl unlock")));
    let told = told(&all);
    assert!(told.contains(&line("authentication", Verdict::Broken, "server:22")), "{told:?}");
    assert!(told.contains(&line("way", Verdict::Skipped, "jump:22")), "{told:?}");
}
