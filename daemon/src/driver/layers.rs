//! The layers of a notebook for `nbctl doctor`, behind those of its tunnel: whether its server is there, what it is,
//! whether it lets us in, and how its kernels are. The first that breaks ends the walk.

use std::sync::Arc;

use nbtunnel_core::{Did, Failure, FailureKind, Launcher, NotebookSpec, Task};

use crate::finding::{Finding, Layer};
use crate::forward::FarSide;
use crate::notebook::{Checked, Done, Errand, Health, Server, Vitals, carry_out, look};

/// In the order in which a browser meets them.
const WAY: [Layer; 4] = [Layer::Notebook, Layer::Server, Layer::Token, Layer::Kernel];
const NOT_REACHED: &str = "not reached";

/// Looks for a notebook's server, and how it fares.
pub(super) async fn layers(far: Option<Arc<dyn FarSide>>, errand: Errand) -> Vec<Finding> {
    let name = errand.spec.name.to_string();
    walk(far, errand).await.into_iter().map(|finding| finding.at(name.clone())).collect()
}

async fn walk(far: Option<Arc<dyn FarSide>>, errand: Errand) -> Vec<Finding> {
    let Some(far) = far else { return not_looked_for("the tunnel is not up", "") };
    if let Some(why) = waits_for_a_job(&errand) {
        return why;
    }
    let machine = errand.machine(Arc::clone(&far));
    let server = match carry_out(far, errand, Task::Find).await {
        Done { server: Some(server), .. } => server,
        Done { did: Did::Missing(why) | Did::Failed(why), .. } => return not_found(&why),
        Done { server: None, .. } => return Vec::new(),
    };
    let health = look(machine, &server).await;
    let mut found = told(&server, &health);
    // A certificate that vouches for itself, other servers: of interest where nothing is broken.
    if health.why().is_none() {
        found.extend(server.notes().into_iter().map(|note| Finding::warn(Layer::Notebook, note, "")));
    }
    found
}

/// A job that does not run has no server yet.
fn waits_for_a_job(errand: &Errand) -> Option<Vec<Finding>> {
    let NotebookSpec { name, launcher, .. } = &errand.spec;
    match (launcher, &errand.job) {
        (Launcher::Here, _) => None,
        (Launcher::Slurm(_), None) => {
            Some(not_looked_for("it has no job", &format!("submit it with `nbctl open {name}`")))
        }
        (Launcher::Slurm(_), Some(job)) if job.node().is_none() => {
            let why = format!("its job {} does not run ({})", job.id, job.word);
            Some(not_looked_for(&why, &format!("see `nbctl status {name}` for when it may start")))
        }
        (Launcher::Slurm(_), Some(_)) => None,
    }
}

fn not_looked_for(why: &str, hint: &str) -> Vec<Finding> {
    let first = Finding::skipped(Layer::Notebook, format!("not looked for: {why}"));
    vec![Finding { hint: hint.to_owned(), ..first }]
}

/// What a search met instead of a server that it could use.
fn not_found(why: &Failure) -> Vec<Finding> {
    // Something answers, and not as it should.
    let layer = if why.kind == FailureKind::NotebookFailed { Layer::Server } else { Layer::Notebook };
    vec![Finding::broken(layer, why)].into_iter().chain(behind(layer)).collect()
}

/// What is known of each layer up to the one that breaks, and that those behind it were not reached.
fn told(server: &Server, health: &Health) -> Vec<Finding> {
    let broken = breaks_at(health);
    let fine = WAY.into_iter().take_while(|layer| broken.is_none_or(|(at, _)| at != *layer));
    let mut found: Vec<Finding> =
        fine.map(|layer| Finding::ok(layer, words(layer, server, health.vitals()))).collect();
    if let Some((layer, why)) = broken {
        found.push(Finding::broken(layer, why));
        found.extend(behind(layer));
    }
    found
}

fn behind(broken: Layer) -> impl Iterator<Item = Finding> {
    let behind = WAY.into_iter().filter(move |layer| *layer > broken);
    behind.map(|layer| Finding::skipped(layer, NOT_REACHED))
}

/// The layer that keeps the notebook from working, and why.
fn breaks_at(health: &Health) -> Option<(Layer, &Failure)> {
    match health {
        Health::LinkGone(why) | Health::Unsure(why) | Health::PortRefused(why) => {
            Some((Layer::Notebook, why))
        }
        Health::WrongScheme(why) | Health::NotJupyter(why) | Health::Silent(why) => {
            Some((Layer::Server, why))
        }
        Health::TokenRefused(why, _) => Some((Layer::Token, why)),
        Health::KernelsUntold(why) | Health::KernelDead(why, _) => Some((Layer::Kernel, why)),
        Health::Fine(_) => None,
    }
}

/// What is so of a layer that works.
fn words(layer: Layer, server: &Server, vitals: Option<&Vitals>) -> String {
    match layer {
        Layer::Server => {
            let scheme = if server.https { "https" } else { "http" };
            let version = server.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
            format!("{}{version} speaks {scheme}", server.kind.word())
        }
        Layer::Token if server.token.is_none() => "it lets everybody in".to_owned(),
        Layer::Token => "it takes the token".to_owned(),
        Layer::Kernel => kernels(vitals),
        _ => {
            let whose = match (server.checked, &server.owner) {
                (Checked::Mine, None) => "yours",
                (Checked::Mine, Some(owner)) => &format!("{owner}'s"),
                (Checked::NotReadable, _) => "nobody can see whose",
            };
            format!("a server at {}, {whose}", server.place())
        }
    }
}

fn kernels(vitals: Option<&Vitals>) -> String {
    let Some(Vitals { kernels, busy, last_activity, .. }) = vitals else { return String::new() };
    let last = last_activity.as_ref().map(|last| format!(", last used {last}")).unwrap_or_default();
    format!("kernels {kernels}, busy {busy}{last}")
}
