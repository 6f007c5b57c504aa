//! `nbctl start`, `stop`, `restart`: one order, for one tunnel or many, with or without waiting.

use std::time::Duration;

use nbtunnel_proto::{Order, Outcome, Problem, Reached, Reply, Request, Selection, TunnelStatus};
use serde_json::{Value, json};

use super::unlock::unlock;
use crate::args::{OrderArgs, Which};
use crate::daemon::{Daemon, ask, unexpected};
use crate::exit::{CommandError, Exit, exit_for};
use crate::person::Person;
use crate::printer::Printer;

pub(crate) async fn run(
    order: Order,
    args: OrderArgs,
    daemon: &Daemon,
    printer: &Printer,
) -> Result<Exit, CommandError> {
    let limit = args.wait.map(limit).transpose()?;
    let select = selection(args.which);
    let request = Request::Order { select: select.clone(), order, wait: args.wait.is_some() };
    let mut client = daemon.connect().await?;
    let reply = match limit {
        None => ask(&mut client, &request).await?,
        Some(limit) => match tokio::time::timeout(limit, client.ask(&request)).await {
            Ok(reply) => reply?,
            Err(_) => return Err(timed_out(order, &select, limit.as_secs_f64(), daemon).await?),
        },
    };
    let mut outcomes = match reply {
        Reply::Ordered(outcomes) => outcomes,
        other => return Err(unexpected(&other)),
    };
    if order != Order::Stop && !printer.is_json() {
        answer_for(&mut outcomes, daemon, printer).await?;
    }
    settle(order, &outcomes, printer)
}

/// Lets whoever is there answer for the tunnels that only wait for that. One answer may serve several of them.
async fn answer_for(
    outcomes: &mut [Outcome],
    daemon: &Daemon,
    printer: &Printer,
) -> Result<(), CommandError> {
    let mut tried: Vec<String> = Vec::new();
    loop {
        let waits = |outcome: &&Outcome| wants_an_answer(outcome) && !tried.contains(&outcome.name);
        let Some(next) = outcomes.iter().find(waits).map(|outcome| outcome.name.clone()) else {
            return Ok(());
        };
        // Who runs this in a script is not stopped by a question.
        let person = Person::find().filter(|person| *person != Person::Terminal || printer.can_ask());
        let Some(person) = person else { return Ok(()) };
        replace(outcomes, unlock(&next, &person, daemon).await?);
        tried.push(next);
        let others =
            outcomes.iter().filter(|outcome| wants_an_answer(outcome) && !tried.contains(&outcome.name));
        let others: Vec<String> = others.map(|outcome| outcome.name.clone()).collect();
        if !others.is_empty() {
            let select = Selection::Names(others);
            let request = Request::Order { select, order: Order::Start, wait: true };
            match ask(&mut daemon.connect().await?, &request).await? {
                Reply::Ordered(now) => replace(outcomes, now),
                other => return Err(unexpected(&other)),
            }
        }
    }
}

fn replace(outcomes: &mut [Outcome], newer: Vec<Outcome>) {
    for newer in newer {
        if let Some(outcome) = outcomes.iter_mut().find(|outcome| outcome.name == newer.name) {
            *outcome = newer;
        }
    }
}

/// Whether a person who types something is all that it lacks.
fn wants_an_answer(outcome: &Outcome) -> bool {
    match &outcome.reached {
        Reached::Stuck(problem) => problem.code == "answer_needed" || problem.hint.contains("nbctl unlock"),
        Reached::Accepted | Reached::There | Reached::Overtaken => false,
    }
}

fn limit(seconds: f64) -> Result<Duration, CommandError> {
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        CommandError::new(
            Exit::Usage,
            format!("--wait={seconds} is not a time to wait"),
            "give seconds, as in --wait=30",
        )
    })
}

fn selection(which: Which) -> Selection {
    match which.tag {
        Some(tag) => Selection::Tag(tag),
        None if which.all => Selection::All,
        None => Selection::Names(which.names),
    }
}

pub(super) fn settle(order: Order, outcomes: &[Outcome], printer: &Printer) -> Result<Exit, CommandError> {
    let mut failed: Vec<(Exit, String, Option<&Problem>, &str)> = Vec::new();
    for Outcome { name, reached } in outcomes {
        match reached {
            Reached::Accepted => printer.say(&format!("{name}: {}", doing(order))),
            Reached::There => printer.say(&format!("{name}: {}", done(order))),
            Reached::Stuck(problem) => {
                let message = format!("{name}: {}", problem.message);
                failed.push((exit_for(problem), message, Some(problem), name));
            }
            Reached::Overtaken => {
                let message = format!("{name}: somebody else wanted the opposite meanwhile");
                failed.push((Exit::Failed, message, None, name));
            }
        }
    }
    let outcomes: Value = outcomes.iter().map(as_json).collect();
    // What needs a human counts for more than what merely failed.
    let Some(worst) = failed.iter().max_by_key(|(exit, ..)| *exit) else {
        if printer.is_json() {
            printer.json(&json!({"outcomes": outcomes}))?;
        }
        return Ok(Exit::Done);
    };
    let (exit, _, problem, name) = worst;
    let messages: Vec<&str> = failed.iter().map(|(_, message, ..)| message.as_str()).collect();
    let hint = match problem {
        Some(problem) => hint_for(name, problem),
        None => "look at it with `nbctl status`, and give the order again".to_owned(),
    };
    let error = CommandError::new(*exit, messages.join("\n"), hint);
    let error = match problem {
        Some(problem) => error.with_code(&problem.code),
        None => error.with_code("overtaken"),
    };
    Err(error.with("outcomes", outcomes))
}

/// The problem's own hint; for a host key always with the command that mends it.
pub(crate) fn hint_for(name: &str, problem: &Problem) -> String {
    let about_key = matches!(problem.code.as_str(), "host_key_unknown" | "host_key_changed");
    if about_key && !problem.hint.contains("nbctl trust") {
        format!("look at the key with `nbctl trust {name}`; {}", problem.hint)
            .trim_end_matches("; ")
            .to_owned()
    } else {
        problem.hint.clone()
    }
}

fn as_json(outcome: &Outcome) -> Value {
    let (reached, problem) = match &outcome.reached {
        Reached::Accepted => ("accepted", None),
        Reached::There => ("there", None),
        Reached::Stuck(problem) => ("stuck", Some(problem)),
        Reached::Overtaken => ("overtaken", None),
    };
    json!({"name": outcome.name, "reached": reached, "problem": problem})
}

fn doing(order: Order) -> &'static str {
    match order {
        Order::Start => "starting",
        Order::Stop => "stopping",
        Order::Restart => "restarting",
    }
}

fn done(order: Order) -> &'static str {
    match order {
        Order::Start | Order::Restart => "ready",
        Order::Stop => "stopped",
    }
}

/// The error that says how far each of them got.
async fn timed_out(
    order: Order,
    select: &Selection,
    seconds: f64,
    daemon: &Daemon,
) -> Result<CommandError, CommandError> {
    let names = match select {
        Selection::Names(names) => names.clone(),
        Selection::All | Selection::Tag(_) => Vec::new(),
    };
    let status = daemon.status(names).await?;
    let meant = |tunnel: &&TunnelStatus| match select {
        Selection::Tag(tag) => tunnel.tags.contains(tag),
        Selection::All | Selection::Names(_) => true,
    };
    let late: Vec<&TunnelStatus> =
        status.tunnels.iter().filter(meant).filter(|tunnel| !is_there(order, tunnel)).collect();
    let mut message = format!("not {} after {seconds} s", done(order));
    for tunnel in &late {
        message += &format!("\n{} is {}", tunnel.name, tunnel.state);
        if let Some(problem) = problem_of(tunnel) {
            message += &format!(": {}", problem.message);
        }
    }
    let hint =
        late.iter().find_map(|tunnel| problem_of(tunnel).map(|problem| hint_for(&tunnel.name, problem)));
    let hint = hint.filter(|hint| !hint.is_empty()).unwrap_or_else(|| {
        let of = match late.as_slice() {
            [one] => format!(" {}", one.name),
            _ => String::new(),
        };
        format!("it goes on trying; `nbctl logs{of}` says what happened so far, and --wait=SECS waits longer")
    });
    let late: Value = late
        .iter()
        .map(|tunnel| json!({"name": tunnel.name, "state": tunnel.state, "problem": problem_of(tunnel)}))
        .collect();
    Ok(CommandError::new(Exit::TimedOut, message, hint).with("late", late))
}

fn problem_of(tunnel: &TunnelStatus) -> Option<&Problem> {
    tunnel.problem.as_ref().or_else(|| tunnel.forwards.iter().find_map(|forward| forward.problem.as_ref()))
}

fn is_there(order: Order, tunnel: &TunnelStatus) -> bool {
    match order {
        Order::Start | Order::Restart => {
            matches!(tunnel.state.as_str(), "up" | "idle") && problem_of(tunnel).is_none()
        }
        Order::Stop => tunnel.state == "stopped",
    }
}
