//! The layers of a notebook for `nbctl doctor`: whether its server is there, what it is, and how it fares.

use std::sync::Arc;

use nbtunnel_core::{Did, Launcher, Task};

use crate::finding::{Finding, Layer};
use crate::forward::FarSide;
use crate::notebook::{Done, Errand, carry_out, look};

/// Looks for a notebook's server, and how it fares.
pub(super) async fn layers(far: Option<Arc<dyn FarSide>>, errand: Errand) -> Vec<Finding> {
    let name = errand.spec.name.to_string();
    let Some(far) = far else {
        return vec![Finding::skipped(Layer::Notebook, "not looked for: the tunnel is not up").at(name)];
    };
    let in_a_cluster = matches!(errand.spec.launcher, Launcher::Slurm(_));
    if in_a_cluster && errand.job.as_ref().and_then(|job| job.node()).is_none() {
        return vec![Finding::skipped(Layer::Notebook, "not looked for: no job of it runs").at(name)];
    }
    let machine = errand.machine(Arc::clone(&far));
    let server = match carry_out(far, errand, Task::Find).await {
        Done { server: Some(server), .. } => server,
        Done { did: Did::Missing(why) | Did::Failed(why), .. } => {
            return vec![Finding::broken(Layer::Notebook, &why).at(name)];
        }
        Done { server: None, .. } => return Vec::new(),
    };
    let (what, place) = (server.kind.word(), server.place());
    let version = server.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let mut found =
        vec![Finding::ok(Layer::Notebook, format!("{what}{version} at {place}")).at(name.clone())];
    found.extend(
        server.notes().into_iter().map(|note| Finding::warn(Layer::Notebook, note, "").at(name.clone())),
    );
    let health = look(machine, &server).await;
    let words = health.words();
    found.push(
        match (health.why(), health.vitals()) {
            (Some(why), _) => Finding::broken(Layer::Notebook, why),
            (None, Some(vitals)) => {
                let last = vitals
                    .last_activity
                    .as_ref()
                    .map(|last| format!(", last used {last}"))
                    .unwrap_or_default();
                let (kernels, busy) = (vitals.kernels, vitals.busy);
                Finding::ok(Layer::Notebook, format!("{words}: kernels {kernels}, busy {busy}{last}"))
            }
            (None, None) => Finding::ok(Layer::Notebook, words),
        }
        .at(name),
    );
    found
}
