//! The only crossing between what core knows and what goes over the socket.

use std::path::PathBuf;
use std::time::Duration;

use nbtunnel_core::{Asks, Failure, Name, TunnelView};
use nbtunnel_proto::{
    Finding, ForwardStatus, History, HostKeyOffer, Keys, NotebookStatus, OfferedKey, Order, PastFailure,
    Problem, RecordedKey, Secret, SshHost, TunnelStatus,
};
use secrecy::SecretString;

use crate::ask::{Prompt, Question};
use crate::finding;
use crate::forward::Counts;
use crate::history::Past;
use crate::ssh::{self, AgentAt, Candidate, Hop, Plan, Recorded, Signs, Trial};

/// A failure as users see it.
pub fn problem(failure: &Failure) -> Problem {
    Problem {
        code: failure.kind.code().to_owned(),
        message: failure.message.clone(),
        hint: failure.hint.clone(),
    }
}

/// What was found about `tunnel`, or about what all tunnels share.
pub fn finding(tunnel: Option<&str>, found: finding::Finding) -> Finding {
    let (hop, forward) =
        if found.layer < finding::Layer::Listener { (found.at, None) } else { (None, found.at) };
    Finding {
        tunnel: tunnel.map(str::to_owned),
        layer: found.layer.word().to_owned(),
        hop,
        forward,
        verdict: found.verdict.word().to_owned(),
        code: found.kind.map(|kind| kind.code().to_owned()),
        message: found.message,
        hint: found.hint,
        took_ms: found.took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
    }
}

/// Where a tunnel leads, as other SSH clients have to know it.
pub fn ssh_host(name: &Name, server: Hop, on_the_way: Vec<String>, asks: bool) -> SshHost {
    let options = options(&server);
    let texts = |paths: Vec<PathBuf>| paths.iter().map(|path| path.display().to_string()).collect();
    SshHost {
        name: name.to_string(),
        host: server.host,
        port: server.port,
        user: server.user,
        alias: server.host_keys.alias,
        identity_files: texts(server.login.identity_files),
        certificate_files: texts(server.login.certificate_files),
        identities_only: server.login.identities_only,
        identity_agent: server.login.agent.and_then(|agent| match agent {
            AgentAt::Usual => None,
            AgentAt::Nowhere => Some("none".to_owned()),
            AgentAt::Variable(name) => Some(format!("${name}")),
            AgentAt::Socket(path) => Some(path.display().to_string()),
        }),
        known_hosts: texts(server.host_keys.known_hosts),
        options,
        asks,
        on_the_way,
    }
}

/// What is spoken with a machine and how one logs in, where that is not the usual.
fn options(server: &Hop) -> Vec<(String, String)> {
    let (spoken, login) = (&server.algorithms, &server.login);
    let lists = [
        ("HostKeyAlgorithms", &spoken.host_keys),
        ("KexAlgorithms", &spoken.kex),
        ("Ciphers", &spoken.ciphers),
        ("MACs", &spoken.macs),
        ("PubkeyAcceptedAlgorithms", &login.key_algorithms),
        ("PreferredAuthentications", &login.preferred),
    ];
    let lists = lists.into_iter().filter_map(|(keyword, list)| Some((keyword, list.as_ref()?.join(","))));
    let words =
        [("GSSAPIAuthentication", login.gssapi), ("GSSAPIDelegateCredentials", login.gssapi_delegate)];
    let words = words.into_iter().filter(|(_, is_so)| *is_so).map(|(keyword, _)| (keyword, "yes".to_owned()));
    lists.chain(words).map(|(keyword, value)| (keyword.to_owned(), value)).collect()
}

/// Keys, and what a server makes of them.
pub fn keys(trial: Trial) -> Keys {
    let key = |key: Candidate| OfferedKey {
        file: key.file.map(|path| path.display().to_string()),
        holder: match key.holder {
            Signs::Agent => "agent",
            Signs::File => "file",
            Signs::Locked => "locked",
        }
        .to_owned(),
        public: key.public,
        fingerprint: key.fingerprint,
        certificate: key.certificate,
        verdict: key.is_taken.map(|is_taken| if is_taken { "taken" } else { "refused" }.to_owned()),
    };
    let Trial { account, keys, notes, let_in } = trial;
    Keys { account, keys: keys.into_iter().map(key).collect(), notes, let_in }
}

/// A user's word as core knows it.
pub fn order(order: Order) -> nbtunnel_core::Order {
    match order {
        Order::Start => nbtunnel_core::Order::Start,
        Order::Stop => nbtunnel_core::Order::Stop,
        Order::Restart => nbtunnel_core::Order::Restart,
    }
}

/// What is remembered of a tunnel as users see it.
fn history(past: Past) -> History {
    History {
        since_ms: past.since_ms,
        reconnects: past.reconnects,
        up_s: Duration::from_millis(past.up_ms).as_secs_f64(),
        longest_gap_s: Duration::from_millis(past.longest_gap_ms).as_secs_f64(),
        last_failure: past.last_failure.map(|failure| PastFailure {
            at_ms: failure.at_ms,
            code: failure.code,
            message: failure.message,
        }),
    }
}

/// A tunnel as users see it; `tallies` are those of its forwards, in the same order.
pub fn tunnel(
    name: &Name,
    view: TunnelView,
    planned: Option<&Plan>,
    tallies: &[Counts],
    notebooks: Vec<NotebookStatus>,
    past: Past,
) -> TunnelStatus {
    let forwards = view.forwards.into_iter().zip(tallies).map(|(forward, tally)| ForwardStatus {
        kind: forward.kind.word().to_owned(),
        listen: forward.listens.first().cloned().unwrap_or(forward.listen),
        listens: forward.listens,
        target: forward.target,
        open: tally.open,
        held: tally.held,
        total: tally.total,
        bytes_in: tally.bytes_in,
        bytes_out: tally.bytes_out,
        note: forward.note,
        problem: forward.problem.as_ref().map(problem),
        refused: tally.refused,
    });
    let server = planned.map(|plan| &plan.server);
    TunnelStatus {
        name: name.to_string(),
        wanted: view.wanted.word().to_owned(),
        state: view.state.word().to_owned(),
        step: view.step.map(|step| step.word().to_owned()),
        health: view.health.map(|health| health.word().to_owned()),
        host: view.spec.route.host,
        port: server.map(|server| server.port).or(view.spec.route.port).unwrap_or(22),
        user: server.map(|server| server.user.clone()).or(view.spec.route.user).unwrap_or_default(),
        via: planned.map(via).unwrap_or_default(),
        since_s: view.since.as_secs_f64(),
        attempt: view.attempt,
        retry_in_s: view.retry_in.map(|retry_in| retry_in.as_secs_f64()),
        reconnects: past.reconnects,
        rtt_ms: view.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
        tags: view.spec.tags,
        problem: view.problem.as_ref().map(problem),
        forwards: forwards.collect(),
        notebooks,
        draining: u32::try_from(view.draining).unwrap_or(u32::MAX),
        history: history(past),
        asking: asking(view.asks).map(str::to_owned),
        answer_in_s: view.answer_in.map(|left| left.as_secs_f64()),
    }
}

/// What a way leads over, nearest first.
fn via(plan: &Plan) -> Vec<String> {
    let proxied = plan.hops().next().is_some_and(|first| first.dialling.proxy_command.is_some());
    let proxy = proxied.then(|| "proxy command".to_owned());
    proxy.into_iter().chain(plan.jumps.iter().map(|jump| format!("{}@{}", jump.user, jump.label()))).collect()
}

/// Whom a login waits for, in the word that users see.
fn asking(asks: Asks) -> Option<&'static str> {
    match asks {
        Asks::Nobody => None,
        Asks::Person => Some("you"),
        Asks::Agent => Some("agent"),
    }
}

/// What a login asks, as `nbctl unlock` shows it.
pub fn question(number: u64, name: &Name, question: &Question) -> nbtunnel_proto::Question {
    let prompt = |prompt: &Prompt| nbtunnel_proto::Prompt { text: prompt.text.clone(), echo: prompt.echo };
    nbtunnel_proto::Question {
        number,
        tunnel: name.to_string(),
        from: question.from.clone(),
        title: question.title.clone(),
        instructions: question.instructions.clone(),
        prompts: question.prompts.iter().map(prompt).collect(),
    }
}

/// What was typed, as a login takes it.
pub fn answers(answers: Vec<Secret>) -> Vec<SecretString> {
    // A boxed string has exactly as much room as it needs; a longer one is wiped before it is given up.
    answers.iter().map(|answer| SecretString::from(answer.expose())).collect()
}

/// A host key as `nbctl trust` shows it. `hop` showed it, on the way `planned`.
pub fn host_key(name: &Name, hop: &Hop, planned: Option<&Plan>, offered: &ssh::OfferedKey) -> HostKeyOffer {
    let jumps = planned.map(|plan| plan.jumps.as_slice()).unwrap_or_default();
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    HostKeyOffer {
        name: name.to_string(),
        hop: offered.hop.clone(),
        jump: jumps.iter().position(|jump| jump == hop).map_or(0, |place| count(place + 1)),
        jumps: count(jumps.len()),
        alias: offered.alias.clone(),
        algorithm: offered.algorithm.clone(),
        fingerprint: offered.fingerprint.clone(),
        randomart: offered.randomart.clone(),
        file: offered.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default(),
        trusted: false,
        recorded: offered.recorded.iter().map(recorded).collect(),
        revoked: offered.revoked.is_some(),
        revoked_at: offered.revoked.as_ref().map(Recorded::place),
        doubt: offered.doubt.clone(),
    }
}

fn recorded(key: &Recorded) -> RecordedKey {
    RecordedKey {
        file: key.file.display().to_string(),
        line: key.line,
        algorithm: key.algorithm.clone(),
        fingerprint: key.fingerprint.clone(),
        randomart: key.randomart.clone(),
        pattern: key.pattern.clone(),
        stays: key.pattern.is_some() || key.read_only,
    }
}
