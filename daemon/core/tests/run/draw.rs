//! What can happen to a tunnel, drawn at random. Numbers are relative to what is there, so that most of what
//! is drawn means something and the rest is stale.

use std::time::Duration;

use nbtunnel_core::{
    AskerId, Asks, Failure, FailureKind, ForwardReport, ForwardSpec, HostKeyPolicy, Input, LinkReport,
    ListenAt, ListenerReport, LoginKey, Nudge, Order, Policy, RemoteReport, RemoteSpec, Route, Start, Step,
    Target, TunnelSpec, WaitFor,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Say(Input),
    Respec(Vec<Edit>),
    /// `back` counts from the newest listener; a negative one was never asked for.
    Listener {
        back: i8,
        report: ListenerReport,
    },
    Forward {
        back: i8,
        report: ForwardReport,
    },
    /// `back` counts from the newest request to a server.
    Remote {
        back: i8,
        report: RemoteReport,
    },
    /// `back` counts from the newest link.
    Link {
        back: i8,
        report: LinkReport,
    },
    Wait(WaitFor),
    Unwait(u8),
    /// Time passes and timers fire when they are due.
    Pass(Duration),
    /// Time jumps over all timers.
    Sleep(Duration),
    /// The world does what it was asked for.
    Oblige,
}

/// One difference between two readings of a file.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Tag(bool),
    Policy(Policy),
    Start(Start),
    Host(bool),
    HostKey(HostKeyPolicy),
    Forwards(Vec<ForwardSpec>),
    Remotes(Vec<RemoteSpec>),
    Retarget(u16),
    OwnerOnly(Option<bool>),
}

impl Edit {
    pub(crate) fn apply(&self, spec: &mut TunnelSpec) {
        match self {
            Edit::Tag(tagged) => spec.tags = if *tagged { vec!["lab".into()] } else { Vec::new() },
            Edit::Policy(policy) => spec.policy = policy.clone(),
            Edit::Start(start) => spec.start = *start,
            Edit::Host(there) => spec.route.host = if *there { "there" } else { "here" }.into(),
            Edit::HostKey(policy) => spec.route.host_key = Some(*policy),
            Edit::Forwards(forwards) => spec.forwards = forwards.clone(),
            Edit::Remotes(remotes) => spec.remotes = remotes.clone(),
            Edit::Retarget(port) => {
                if let Some(remote) = spec.remotes.first_mut() {
                    remote.target = Target::Tcp("localhost".into(), *port);
                }
                if let Some(forward) = spec.forwards.first_mut() {
                    forward.target = Target::Tcp("localhost".into(), *port);
                }
            }
            Edit::OwnerOnly(owner_only) => {
                if let Some(forward) = spec.forwards.first_mut() {
                    forward.owner_only = *owner_only;
                }
            }
        }
    }
}

/// What it may say in the file, and what happens then.
pub(crate) fn story(
    ops: impl Strategy<Value = Op>,
    len: usize,
) -> impl Strategy<Value = (TunnelSpec, Vec<Op>)> {
    (spec(), vec(ops, 1..len))
}

pub(crate) fn spec() -> impl Strategy<Value = TunnelSpec> {
    (forwards(), remotes(), start(), policy()).prop_map(|(forwards, remotes, start, policy)| TunnelSpec {
        route: Route::to("here"),
        forwards,
        remotes,
        notebooks: Vec::new(),
        start,
        tags: Vec::new(),
        policy,
    })
}

fn start() -> impl Strategy<Value = Start> {
    prop_oneof![3 => Just(Start::Login), 2 => Just(Start::Demand), 1 => Just(Start::Manual)]
}

/// Odd numbers, so that no two timers of the same origin tie.
pub(crate) fn policy() -> impl Strategy<Value = Policy> {
    let idle = select(vec![40_003, 900_017]);
    let (renew_after, drain) = (select(vec![0, 0, 30_029]), select(vec![0, 25_031, 3_600_037]));
    (select(vec![10_007, 15_011]), select(vec![20_019, 3_023]), idle, renew_after, drain).prop_map(
        |(keepalive, connect_timeout, idle, renew_after, drain)| Policy {
            keepalive: Duration::from_millis(keepalive),
            connect_timeout: Duration::from_millis(connect_timeout),
            idle: Duration::from_millis(idle),
            renew_after: Duration::from_millis(renew_after),
            drain: Duration::from_millis(drain),
            ..Policy::default()
        },
    )
}

/// Forwards that overlap with those of other drawings, and sometimes with each other; a file cannot name the
/// very same address twice.
fn forwards() -> impl Strategy<Value = Vec<ForwardSpec>> {
    let listen = prop_oneof![
        3 => (6000..6003u16).prop_map(ListenAt::Loopback),
        1 => (6000..6003u16).prop_map(ListenAt::Any),
        1 => (6000..6003u16).prop_map(|port| ListenAt::Address("127.0.0.1".into(), port)),
        1 => Just(ListenAt::Socket("/run/user/1/s".into())),
    ];
    let forward = (listen, 7000..7003u16)
        .prop_map(|(listen, port)| ForwardSpec::new(listen, Target::Tcp("localhost".into(), port)));
    vec(forward, 0..4).prop_map(|mut forwards: Vec<ForwardSpec>| {
        let mut seen = Vec::new();
        forwards.retain(|forward| {
            let news = !seen.contains(&forward.listen);
            seen.push(forward.listen.clone());
            news
        });
        forwards
    })
}

/// Half of the tunnels have none.
fn remotes() -> impl Strategy<Value = Vec<RemoteSpec>> {
    let listen = prop_oneof![
        3 => (8000..8002u16).prop_map(ListenAt::Loopback),
        1 => Just(ListenAt::Loopback(0)),
        1 => Just(ListenAt::Any(8000)),
        1 => Just(ListenAt::Socket("/run/user/1/there".into())),
    ];
    let target = prop_oneof![
        2 => (3000..3002u16).prop_map(|port| Target::Tcp("localhost".into(), port)),
        1 => Just(Target::Socks),
    ];
    let remote = (listen, target).prop_map(|(listen, target)| RemoteSpec { listen, target });
    prop_oneof![
        1 => Just(Vec::new()),
        1 => vec(remote, 1..3).prop_map(|mut remotes: Vec<RemoteSpec>| {
            remotes.dedup_by(|one, other| one.listen == other.listen);
            remotes
        }),
    ]
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        1 => any::<bool>().prop_map(Edit::Tag),
        1 => policy().prop_map(Edit::Policy),
        1 => start().prop_map(Edit::Start),
        1 => any::<bool>().prop_map(Edit::Host),
        1 => select(vec![HostKeyPolicy::Strict, HostKeyPolicy::AcceptNew]).prop_map(Edit::HostKey),
        3 => forwards().prop_map(Edit::Forwards),
        1 => remotes().prop_map(Edit::Remotes),
        1 => (7000..7003u16).prop_map(Edit::Retarget),
        1 => any::<Option<bool>>().prop_map(Edit::OwnerOnly),
    ]
}

pub(crate) fn failure() -> impl Strategy<Value = Failure> {
    prop_oneof![
        // Most runs should get somewhere.
        2 => Just(FailureKind::Refused),
        1 => Just(FailureKind::AuthRefused),
        3 => select(FailureKind::ALL.to_vec()),
    ]
    .prop_map(|kind| Failure::new(kind, "it did not work", "try something else"))
}

fn back() -> impl Strategy<Value = i8> {
    prop_oneof![8 => Just(0i8), 2 => 0..4i8, 1 => -3..0i8]
}

/// Beside the newest session there often is the one that it is to follow.
fn link_back() -> impl Strategy<Value = i8> {
    prop_oneof![6 => Just(0i8), 4 => Just(1i8), 1 => 0..4i8, 1 => -3..0i8]
}

fn listener_report() -> impl Strategy<Value = ListenerReport> {
    prop_oneof![
        3 => Just(ListenerReport::Bound { listens: vec!["127.0.0.1:6000".into()], note: None }),
        2 => failure().prop_map(ListenerReport::Failed),
        1 => Just(ListenerReport::Failed(Failure::new(FailureKind::PortInUse, "taken", ""))),
        2 => Just(ListenerReport::Unbound),
    ]
}

fn remote_report() -> impl Strategy<Value = RemoteReport> {
    prop_oneof![
        3 => Just(RemoteReport::Listens { port: 40_000 }),
        2 => failure().prop_map(RemoteReport::Denied),
        1 => Just(RemoteReport::Closed),
    ]
}

fn link_report() -> impl Strategy<Value = LinkReport> {
    let step = select(vec![
        Step::Queued,
        Step::Resolve,
        Step::Tcp,
        Step::Banner,
        Step::KeyExchange,
        Step::Authenticate,
    ]);
    prop_oneof![
        2 => step.prop_map(LinkReport::Step),
        3 => Just(LinkReport::Up),
        2 => prop_oneof![3 => 0..3000u64, 1 => any::<u64>()].prop_map(Duration::from_millis).prop_map(LinkReport::Answers),
        3 => failure().prop_map(LinkReport::Lost),
        1 => Just(LinkReport::Closed),
        1 => Just(LinkReport::Asked),
        2 => about_a_person(),
        4 => select(vec![
            LinkReport::Heard,
            LinkReport::Unanswered,
            LinkReport::AddressGone,
            LinkReport::Clogged(true),
            LinkReport::Clogged(false),
            LinkReport::Worn,
            LinkReport::Drained,
        ]),
    ]
}

fn about_a_person() -> impl Strategy<Value = LinkReport> {
    let key = || LoginKey("a".into());
    prop_oneof![
        2 => select(vec![Asks::Person, Asks::Agent, Asks::Nobody]).prop_map(LinkReport::Asking),
        1 => Just(LinkReport::Needs(key())),
        1 => Just(LinkReport::Opened(key())),
        1 => Just(LinkReport::Typed(key())),
    ]
}

fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![
        2 => Just(0u64),
        3 => 1..1_000u64,
        4 => 1_000..60_000u64,
        1 => 60_000..20_000_000u64,
    ]
    .prop_map(Duration::from_millis)
}

fn activity() -> impl Strategy<Value = Input> {
    let few = prop_oneof![3 => Just(0u32), 3 => 0..3u32, 1 => Just(u32::MAX)];
    (few.clone(), few).prop_map(|(held, open)| Input::Activity { held, open })
}

fn forward_report() -> impl Strategy<Value = ForwardReport> {
    prop_oneof![
        failure().prop_map(ForwardReport::Denied),
        Just(ForwardReport::Served),
        proptest::option::of(failure()).prop_map(ForwardReport::SlowReader),
        (0..3u32).prop_map(ForwardReport::Expired),
        (0..3u32).prop_map(ForwardReport::Missed),
        Just(ForwardReport::Overflow { most: 256 }),
        failure().prop_map(ForwardReport::Refused),
        proptest::option::of(failure()).prop_map(ForwardReport::Unsure),
    ]
}

/// Everything that happens while timers fire in time.
pub(crate) fn op() -> impl Strategy<Value = Op> {
    let orders = select(vec![Order::Start, Order::Stop, Order::Restart]);
    let nudges = select(vec![Nudge::Woke, Nudge::Network, Nudge::Operator]);
    prop_oneof![
        3 => orders.prop_map(|order| Op::Say(Input::Order(order))),
        3 => vec(edit(), 0..4).prop_map(Op::Respec),
        1 => Just(Op::Say(Input::Remove)),
        2 => nudges.prop_map(|nudge| Op::Say(Input::Nudge(nudge))),
        1 => Just(Op::Say(Input::Timeout)),
        8 => (back(), listener_report()).prop_map(|(back, report)| Op::Listener { back, report }),
        1 => (back(), forward_report()).prop_map(|(back, report)| Op::Forward { back, report }),
        2 => (back(), remote_report()).prop_map(|(back, report)| Op::Remote { back, report }),
        4 => activity().prop_map(Op::Say),
        9 => (link_back(), link_report()).prop_map(|(back, report)| Op::Link { back, report }),
        4 => Just(Op::Say(Input::Go)),
        1 => (0..3u64).prop_map(|id| Op::Say(Input::Unlock(AskerId(id)))),
        1 => (0..3u64).prop_map(|id| Op::Say(Input::Left(AskerId(id)))),
        1 => Just(Op::Say(Input::Opened)),
        1 => Just(Op::Say(Input::CredentialsChanged)),
        1 => Just(Op::Say(Input::KnownHostsChanged)),
        1 => Just(Op::Say(Input::FilesRead)),
        1 => Just(Op::Say(Input::AddressesFreed)),
        2 => select(vec![WaitFor::Up, WaitFor::Down]).prop_map(Op::Wait),
        1 => (0..3u8).prop_map(Op::Unwait),
        6 => time().prop_map(Op::Pass),
        6 => Just(Op::Oblige),
    ]
}

/// The same, with a machine that sleeps in between.
pub(crate) fn op_or_sleep() -> impl Strategy<Value = Op> {
    prop_oneof![8 => op(), 1 => time().prop_map(Op::Sleep)]
}
