//! The real core in simulated worlds: a million steps, checked after each; a year of reconnects; and bugs that
//! are planted to see the rules find them.

use std::collections::BTreeMap;
use std::time::Duration;

use nbtunnel_core::{ForwardSpec, Policy, Route, Start, TunnelSpec};
use nbtunnel_tests::sim::{self, Report, Sim};

mod planted;

/// So many worlds with so many steps each are a million.
const WORLDS: u64 = 40;
const STEPS: u64 = 25_000;

/// What has to happen somewhere in a million steps, or they prove nothing.
const MUST_BE_SEEN: [&str; 48] = [
    "Step",
    "Asked",
    "Asking",
    "Needs",
    "Opened",
    "lost",
    "unlock",
    "prompt",
    "left",
    "Up",
    "Answers",
    "Heard",
    "Unanswered",
    "AddressGone",
    "Clogged",
    "Worn",
    "Drained",
    "Closed",
    "suspect",
    "replaced",
    "renewed",
    "ok",
    "parked",
    "waiting",
    "idle",
    "crash",
    "host_key_unknown",
    "host_key_changed",
    "auth_refused",
    "no_credentials",
    "answer_needed",
    "unreachable",
    "refused",
    "disconnected",
    "wish",
    "find",
    "start",
    "stop",
    "queue",
    "submit",
    "notebook found",
    "notebook missing",
    "notebook started",
    "notebook stopped",
    "notebook job",
    "notebook failed",
    "led",
    "refused there",
];

fn played(seed: u64, steps: u64) -> Report {
    sim::run(seed, steps).unwrap_or_else(|broken| panic!("{broken}"))
}

/// Runs `worlds` on two threads.
fn all(worlds: Vec<(u64, u64)>) -> Vec<Report> {
    let half = worlds.len() / 2;
    let play =
        |worlds: &[(u64, u64)]| worlds.iter().map(|(seed, steps)| played(*seed, *steps)).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| play(&worlds[half..]));
        let mut reports = play(&worlds[..half]);
        reports.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        reports
    })
}

#[test]
fn everything_holds_in_a_million_steps() {
    let found_bugs = include_str!("seeds.txt").lines().filter(|line| !line.starts_with('#'));
    let kept = found_bugs.map(|line| {
        let mut words = line.split(' ').map(|word| word.parse::<u64>());
        (words.next().unwrap().unwrap(), words.next().unwrap().unwrap())
    });
    let kept: Vec<_> = kept.collect();
    assert!(!kept.is_empty(), "the list of seeds is not read");
    all(kept);
    let reports = all((1000..1000 + WORLDS).map(|seed| (seed, STEPS)).collect());
    let mut seen = BTreeMap::<&str, u64>::new();
    for (what, times) in reports.iter().flat_map(|report| &report.seen) {
        *seen.entry(what).or_default() += times;
    }
    let missing: Vec<_> = MUST_BE_SEEN.iter().filter(|what| !seen.contains_key(**what)).collect();
    assert!(missing.is_empty(), "never happened: {missing:?}, but {seen:?}");
    println!("{seen:?}");
}

#[test]
fn the_same_seed_does_the_same_and_another_does_not() {
    let (once, again, other) = (played(7, 20_000), played(7, 20_000), played(8, 20_000));
    assert_eq!(once, again);
    assert_ne!(once.trace, other.trace);
}

#[test]
fn a_year_of_reconnects_leaves_nothing_behind() {
    let forward: ForwardSpec = "6000:localhost:7000".parse().unwrap();
    let spec = TunnelSpec {
        route: Route::to("h0"),
        forwards: vec![forward],
        remotes: Vec::new(),
        notebooks: Vec::new(),
        start: Start::Login,
        tags: Vec::new(),
        policy: Policy { keepalive: Duration::from_secs(200), ..Policy::default() },
    };
    let mut sim = Sim::quiet(1, spec).unwrap_or_else(|broken| panic!("{broken}"));
    let rounds: u64 = 365 * 24 * 12;
    let mut largest = [0; 4];
    for round in 0..rounds {
        let report = sim.pass(Duration::from_secs(300)).unwrap_or_else(|broken| panic!("{broken}"));
        assert!(report.seen.get("Up").is_some_and(|ups| *ups > round), "it is not back after cut {round}");
        if round % 500 == 0 {
            let quarter = &mut largest[usize::try_from(round * 4 / rounds).unwrap()];
            *quarter = sim.size_of_core().max(*quarter);
        }
        sim.cut_links();
    }
    // Numbers have more digits in the end; one thing kept of each reconnect would be tens of thousands of bytes.
    assert!(largest[3] <= largest[1] + 64, "the core's state grows: {largest:?}");
}
