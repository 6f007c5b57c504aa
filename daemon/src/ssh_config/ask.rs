//! Asks ssh what it would do for a host.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nbtunnel_core::{Failure, FailureKind};

use super::host_config::{HostConfig, Way};
use super::parse::{Said, parse};
use super::program::{Program, Silent};
use super::tokens::{Facts, In, Own, expand, tilde};
use super::{ConfigFile, Query, sources, vet};

/// What ssh_config says; none where there is no ssh program.
///
/// # Errors
/// `config`: the query holds what must not reach a shell, ssh_config has an error (in ssh's own words), or says what
/// we refuse. `timed_out`: ssh took longer than 5 s. `exhausted`: it could not be run for want of something.
pub async fn ask(query: &Query) -> Result<Option<HostConfig>, Failure> {
    vet::query(query).map_err(|why| {
        refused(query, &why, "write the host, the user and the options so that no shell could misread them")
    })?;
    match Program::find() {
        Some(program) => ask_program(&program, query).await.map(Some),
        None => Ok(None),
    }
}

pub(super) async fn ask_program(program: &Program, query: &Query) -> Result<HostConfig, Failure> {
    let baseline = baseline(program).await?;
    let said = run(program, query).await?;
    let own = Said::of(&said.stdout).one("controlpath").and_then(Own::from_answer).unwrap_or_default();
    let mut config = parse(&said.stdout, &baseline).map_err(|why| refused(query, &why, MEND))?;
    config.read_from = sources::read_from(&said.stderr, &query.config, &own.home);
    expand_all(&mut config, query, own).map_err(|why| refused(query, &why, MEND))?;
    Ok(config)
}

const MEND: &str = "mend that in ssh_config, or read none with ssh_config = \"none\" in the tunnel's file";

fn refused(query: &Query, why: &str, hint: &str) -> Failure {
    Failure::new(FailureKind::Config, format!("ssh_config for {:?}: {why}", query.host), hint)
}

/// What ssh does where nothing is configured. It is the same for every host, apart from what is always resolved.
async fn baseline(program: &Program) -> Result<String, Failure> {
    static KNOWN: Mutex<BTreeMap<Program, String>> = Mutex::new(BTreeMap::new());
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(program).cloned();
    if let Some(known) = known {
        return Ok(known);
    }
    let query = Query { config: ConfigFile::None, ..Query::new("localhost") };
    let said = run(program, &query).await?.stdout;
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).insert(program.clone(), said.clone());
    Ok(said)
}

struct Answer {
    stdout: String,
    stderr: String,
}

async fn run(program: &Program, query: &Query) -> Result<Answer, Failure> {
    match program.run(&arguments(query)).await {
        Ok(said) if said.good => Ok(Answer { stdout: said.stdout, stderr: said.stderr }),
        Ok(said) => {
            let why = match sources::complaint(&said.stderr) {
                words if words.is_empty() => "ssh -G fails without a word".to_owned(),
                words => words,
            };
            // ssh names the place; which host was asked for does not matter to it.
            Err(Failure::new(
                FailureKind::Config,
                format!("ssh refuses its configuration: {why}"),
                "mend it there, or in options of the tunnel's file; `ssh -G HOST` shows whether it is right",
            ))
        }
        Err(Silent::Late) => Err(Failure::new(
            FailureKind::TimedOut,
            format!("ssh took more than 5 s to read ssh_config for {:?}", query.host),
            "look at its Match exec and CanonicalizeHostname; `ssh -v -G` with that host shows where it hangs",
        )),
        Err(Silent::NotRun(error)) => Err(Failure::new(
            FailureKind::Exhausted,
            format!("ssh could not be run to read ssh_config: {error}"),
            "close other programs; it is tried again by itself",
        )),
    }
}

/// An argument list, never a shell.
fn arguments(query: &Query) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["-G".into(), "-v".into(), "-o".into(), Own::QUESTION.into()];
    match &query.config {
        ConfigFile::Usual => {}
        ConfigFile::None => args.extend(["-F".into(), "none".into()]),
        ConfigFile::At(path) => args.extend(["-F".into(), path.into()]),
    }
    if let Some(user) = &query.user {
        args.extend(["-l".into(), user.into()]);
    }
    if let Some(port) = query.port {
        args.extend(["-p".into(), port.to_string().into()]);
    }
    // The first word about something wins, and the words of their own win over options.
    for option in &query.options {
        args.extend(["-o".into(), option.into()]);
    }
    args.extend(["--".into(), OsString::from(&query.host)]);
    args
}

/// Expands what ssh has left.
fn expand_all(config: &mut HostConfig, query: &Query, own: Own) -> Result<(), String> {
    let jump = match &config.way {
        Some(Way::Jump(hops)) => hops.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        _ => String::new(),
    };
    let facts = Facts {
        original: query.host.clone(),
        host: config.hostname.clone(),
        port: config.port,
        user: config.user.clone(),
        key_alias: config.host_key_alias.clone().unwrap_or_else(|| query.host.clone()),
        jump,
        own,
    };
    let variable = |name: &str| std::env::var(name).ok();
    let path = |path: &Path| -> Result<PathBuf, String> {
        Ok(expand(&path.to_string_lossy(), In::Path, &facts, &variable)?.into())
    };
    for file in config.identity_files.iter_mut().flatten().chain(&mut config.certificate_files) {
        *file = path(file)?;
    }
    for file in config.user_known_hosts.iter_mut().chain(&mut config.global_known_hosts).flatten() {
        *file = tilde(&file.to_string_lossy(), &facts.own.home)?.into();
    }
    let proxy = |text: &str| expand(text, In::Proxy, &facts, &variable);
    match &mut config.way {
        None => {}
        Some(Way::Command(command)) => *command = proxy(command)?,
        Some(Way::Jump(hops)) => {
            for hop in hops {
                hop.host = proxy(&hop.host)?;
                hop.user = hop.user.take().map(|user| proxy(&user)).transpose()?;
            }
        }
    }
    Ok(())
}
