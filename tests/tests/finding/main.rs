//! Finding a notebook's server, seeing whose it is, and asking how it fares: against real ones.

#![cfg(target_os = "linux")]

mod found;
mod health;
mod over_ssh;
mod theirs;

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use nbtunnel_core::{Failure, FailureKind};
use nbtunnel_proto::Secret;
use nbtunnel_tests::here::Here;
use nbtunneld::notebook::{self, Health, Server, Wanted};

/// The one on this port.
fn on(port: u16) -> Wanted {
    Wanted { port: Some(port), ..Wanted::any() }
}

/// Somebody whose servers write down here that they run.
fn me(runtime_dir: &Path) -> Arc<Here> {
    // A home of its own: servers of one home are found wherever they write.
    Here::with([("HOME", runtime_dir.into()), ("JUPYTER_RUNTIME_DIR", runtime_dir.into())])
}

fn token(server: &Server) -> Option<&str> {
    server.token.as_ref().map(Secret::expose)
}

/// What a future comes to: each test has a runtime of its own.
fn now<T>(future: impl Future<Output = T>) -> Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}

fn find(far: &Arc<Here>, wanted: &Wanted) -> Result<Result<Server, Failure>> {
    now(notebook::find(far.clone(), wanted))
}

/// Found, or the sentence why not.
fn found(far: &Arc<Here>, wanted: &Wanted) -> Result<Server> {
    find(far, wanted)?.map_err(|why| anyhow::anyhow!("{why}"))
}

/// Not found: the kind of failure and its sentence.
fn missed(far: &Arc<Here>, wanted: &Wanted) -> Result<(FailureKind, String)> {
    match find(far, wanted)? {
        Ok(server) => Err(anyhow::anyhow!("found {server:?}")),
        Err(why) => Ok((why.kind, why.message)),
    }
}

fn look(far: &Arc<Here>, server: &Server) -> Result<Health> {
    now(notebook::look(far.clone(), server))
}
