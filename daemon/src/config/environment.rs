//! The top layer: variables of the environment such as `NBTUNNEL_CFG__KEEPALIVE=5s`.
//!
//! Each variable is written down as a line of TOML and read like a file, so that it obeys the same rules.

use config::{Environment, Source};
use nbtunnel_proto::FileProblem;

use super::document::Document;
use super::layer::Layer;
use super::schema::{DaemonKeys, Keys, MainFile};
use super::{Context, syntax, values::Flaw, vet};

/// What the environment says. A variable that makes no sense is left out, and is a problem.
#[derive(Default)]
pub(super) struct FromEnvironment {
    pub(super) layer: Layer,
    pub(super) daemon: DaemonKeys,
    pub(super) problems: Vec<FileProblem>,
}

pub(super) fn read(ctx: &Context) -> FromEnvironment {
    let variables = ctx.env.clone().into_iter().collect();
    let source = Environment::with_prefix("NBTUNNEL_CFG")
        .prefix_separator("__")
        .separator("__")
        .source(Some(variables));
    let mut found = FromEnvironment::default();
    let values = match source.collect() {
        Ok(values) => values,
        Err(error) => {
            let flaw =
                Flaw::new(format!("the environment cannot be read: {error}"), "look at NBTUNNEL_CFG__…");
            found.problems.push(problem("NBTUNNEL_CFG__", flaw));
            return found;
        }
    };
    let mut lines = (String::new(), String::new());
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (key, value) in values {
        let variable = format!("NBTUNNEL_CFG__{}", key.to_uppercase().replace('.', "__"));
        let text = value.into_string().unwrap_or_default();
        let (of_daemon, key) = match key.strip_prefix("daemon.") {
            Some(key) => (true, key),
            None => (false, key.as_str()),
        };
        let line = line(key, text);
        match one(of_daemon, &line, ctx) {
            Ok(()) if of_daemon => lines.1.push_str(&line),
            Ok(()) => lines.0.push_str(&line),
            Err(flaw) => found.problems.push(problem(&variable, flaw)),
        }
    }
    let text = format!("[defaults]\n{}[daemon]\n{}", lines.0, lines.1);
    match syntax::parse::<MainFile>(&Document { file: "", text: &text }) {
        Ok(all) => {
            found.layer = all.defaults.unwrap_or_default().into();
            found.daemon = all.daemon.unwrap_or_default();
        }
        Err(why) => found.problems.push(problem("NBTUNNEL_CFG__", Flaw::new(why.message, why.hint))),
    }
    found
}

fn line(key: &str, text: String) -> String {
    let value = match text.parse::<i64>() {
        Ok(number) if key == "port" => toml::Value::Integer(number),
        _ => match text.parse::<bool>() {
            Ok(switch) if matches!(key, "share" | "ssh_forwards" | "owner_only") => {
                toml::Value::Boolean(switch)
            }
            _ => toml::Value::String(text),
        },
    };
    format!("{} = {value}\n", toml::Value::String(key.to_owned()))
}

/// Checks one line as if it stood in a file.
fn one(of_daemon: bool, line: &str, ctx: &Context) -> Result<(), Flaw> {
    let document = Document { file: "", text: line };
    let problems = if of_daemon {
        syntax::parse::<DaemonKeys>(&document).map(|keys| vet::daemon_keys(&keys, &document))
    } else {
        let base = &ctx.home;
        syntax::parse::<Keys>(&document).map(|keys| vet::tunnel_keys(&keys, &document, &ctx.home, base))
    };
    match problems.unwrap_or_else(|problem| vec![*problem]).into_iter().next() {
        Some(problem) => Err(Flaw::new(problem.message, problem.hint)),
        None => Ok(()),
    }
}

/// There is no file to point at, so that the variable is named in the sentence.
fn problem(variable: &str, flaw: Flaw) -> FileProblem {
    FileProblem {
        file: None,
        line: None,
        column: None,
        source: None,
        message: format!("environment variable {variable}: {}", flaw.message),
        hint: flaw.hint,
    }
}
