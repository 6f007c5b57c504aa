//! `nbctl doctor`: what the driver itself knows of the layers, and then a task that looks at the way of each tunnel.
//! Neither the loop nor the tunnels take part in that.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use nbtunnel_core::{
    Failure, FailureKind, ForwardKind, ForwardView, Name, State, Target, TunnelView, Wanted,
};
use nbtunnel_proto::{Fault, FileProblem, Reply};
use tokio::sync::mpsc;

use super::Driver;
use super::layers::layers;
use crate::control::convert;
use crate::event::Asked;
use crate::finding::{Finding, Layer};
use crate::forward::FarSide;
use crate::history::span;
use crate::notebook::Errand;
use crate::service::starter::starter;
use crate::ssh::{HAS_KERBEROS, Links, OnFinding, Patient};

/// So many tunnels are looked at at a time: each takes a login.
const AT_ONCE: usize = 4;

/// A tunnel to look at, and what its file has to say.
pub(super) struct Case {
    name: Name,
    config: Finding,
    pub(super) patient: Patient,
    notebooks: Vec<Errand>,
    /// Its far end, if it is up.
    far: Option<Arc<dyn FarSide>>,
}

impl Driver {
    /// Begins to answer; the rest comes from a task that ends with its client.
    pub(super) fn doctor(&self, asked: &Asked, name: Option<&str>) -> Result<(), Fault> {
        let only = match name {
            None => None,
            Some(name) => match self.meant(name) {
                Ok(known) => Some(known),
                // A new file with a mistake makes no tunnel: that mistake is what was to be found.
                Err(_) if self.problem_of(name).is_some() => None,
                Err(fault) => return Err(fault),
            },
        };
        let name = only.as_ref().map(Name::as_str).or(name);
        let general = [self.about_daemon(), about_build()].into_iter().chain(self.about_directory(name));
        let mut first: Vec<_> = general.map(|finding| convert::finding(None, finding)).collect();
        let cases: Vec<Case> = match (name, &only) {
            (None, _) => self.present().filter_map(|name| self.case(name)).collect(),
            (Some(_), Some(known)) => self.case(known).into_iter().collect(),
            (Some(name), None) => {
                let broken = self.problem_of(name).map(broken_file);
                first.extend(broken.map(|finding| convert::finding(Some(name), finding)));
                Vec::new()
            }
        };
        let (links, answer) = (Arc::clone(self.effects.links()), asked.answer.clone());
        tokio::spawn(async move {
            let looked = async {
                for finding in first {
                    answer.send(Reply::Finding(Box::new(finding))).await.ok()?;
                }
                let walks = cases.into_iter().map(|case| look_at(&links, case, &answer));
                stream::iter(walks).buffer_unordered(AT_ONCE).collect::<()>().await;
                answer.send(Reply::Done).await.ok()
            };
            tokio::select! {
                _ = looked => {}
                () = answer.closed() => {}
            }
        });
        Ok(())
    }

    fn about_daemon(&self) -> Finding {
        let up = self.clock.now().since(self.started);
        let text = format!(
            "nbtunneld {} (pid {}), started by {} {} ago",
            env!("CARGO_PKG_VERSION"),
            std::process::id(),
            starter(),
            span(up)
        );
        match self.exhausted {
            false => Finding::ok(Layer::Daemon, text),
            true => Finding::warn(
                Layer::Daemon,
                format!("{text}; it is out of file descriptors, and new connections wait"),
                "close some connections, or raise the limit (`ulimit -n`, LimitNOFILE=)",
            ),
        }
    }

    /// What is wrong with the directory, beside the file of the tunnel `but`.
    fn about_directory(&self, but: Option<&str>) -> Vec<Finding> {
        let of_it = but.map(file_of);
        let others: Vec<&FileProblem> =
            self.problems.iter().filter(|problem| problem.file != of_it || of_it.is_none()).collect();
        let dir = self.config_dir.display();
        match (others.as_slice(), but) {
            ([], _) => vec![Finding::ok(Layer::Config, format!("{dir} with {}", self.count()))],
            // Other people's mistakes are no business of this tunnel.
            (others, Some(_)) => vec![Finding::warn(
                Layer::Config,
                format!("{dir} with {}, and {} in other files", self.count(), mistakes(others.len())),
                "see `nbctl check`",
            )],
            (others, None) => {
                FileProblem::once_each(others.iter().copied()).iter().map(broken_file).collect()
            }
        }
    }

    fn problem_of(&self, name: &str) -> Option<&FileProblem> {
        let file = file_of(name);
        self.problems.iter().find(|problem| problem.file.as_ref() == Some(&file))
    }

    pub(super) fn case(&self, name: &Name) -> Option<Case> {
        let tunnel = self.fleet.tunnels().get(name)?;
        let view = tunnel.view(self.clock.now());
        let config = match self.problem_of(name.as_str()) {
            Some(problem) => broken_file(problem),
            None => Finding::ok(
                Layer::Config,
                format!("{} is right; the tunnel is {}", file_of(name.as_str()), is(&view)),
            ),
        };
        let patient = Patient {
            name: name.to_string(),
            route: view.spec.route.clone(),
            policy: view.spec.policy.clone(),
            listeners: listeners(&view),
            targets: view
                .spec
                .forwards
                .iter()
                // Where a SOCKS client goes, only that client knows; notebooks are looked at by themselves.
                .filter(|forward| !matches!(forward.target, Target::Socks | Target::Notebook(_)))
                .map(|forward| (forward.to_string(), forward.target.clone()))
                .collect(),
        };
        let notebooks = view.spec.notebooks.iter();
        let notebooks =
            notebooks.filter_map(|spec| self.errand(&(name.clone(), spec.name.clone()))).collect();
        Some(Case { name: name.clone(), config, patient, notebooks, far: self.effects.far_side_now(name) })
    }
}

/// Looks at one tunnel, and tells the client what is found as fast as it reads.
async fn look_at(links: &Arc<Links>, case: Case, answer: &mpsc::Sender<Reply>) {
    let Case { name, config, patient, notebooks, far } = case;
    let look = |on: OnFinding| async move {
        on(config);
        links.diagnose(patient, Arc::clone(&on)).await;
        for errand in notebooks {
            layers(far.clone(), errand).await.into_iter().for_each(&*on);
        }
    };
    tell(name.as_str(), answer, look).await;
}

/// Tells the client what `look` finds about the tunnel `name`, as fast as it reads.
pub(super) async fn tell<T, L: Future<Output = T>>(
    name: &str,
    answer: &mpsc::Sender<Reply>,
    look: impl FnOnce(OnFinding) -> L,
) -> T {
    let (tell, mut found) = mpsc::unbounded_channel();
    let on: OnFinding = Arc::new(move |finding| {
        let _ = tell.send(finding);
    });
    let pass_on = async {
        while let Some(finding) = found.recv().await {
            let finding = convert::finding(Some(name), finding);
            if answer.send(Reply::Finding(Box::new(finding))).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(look(on), pass_on).0
}

fn about_build() -> Finding {
    let kerberos = if HAS_KERBEROS { "with Kerberos" } else { "without Kerberos (GSSAPIAuthentication)" };
    Finding::ok(
        Layer::Build,
        format!("{kerberos}, for {} on {}", std::env::consts::OS, std::env::consts::ARCH),
    )
}

fn file_of(name: &str) -> String {
    format!("tunnels/{name}.toml")
}

/// A mistake in a file, as the layer shows it.
fn broken_file(problem: &FileProblem) -> Finding {
    let failure = Failure::new(FailureKind::Config, problem.with_place(), problem.hint.clone());
    Finding::broken(Layer::Config, &failure)
}

/// What the tunnel is now, beside what was wanted of it.
fn is(view: &TunnelView) -> String {
    let wanted = match view.wanted {
        Wanted::Up => "",
        Wanted::Demand => ", on demand",
        Wanted::Down => ", as it is not wanted",
    };
    let why = match &view.problem {
        Some(failure) if view.state != State::Up => format!(" ({})", failure.message),
        _ => String::new(),
    };
    format!("{}{wanted}{why}", view.state.word())
}

/// Where the forwards listen, here or over there.
fn listeners(view: &TunnelView) -> Vec<Finding> {
    let look = |forward: &ForwardView| {
        let (layer, place) = match forward.kind {
            ForwardKind::Local | ForwardKind::Dynamic => (Layer::Listener, "listens"),
            ForwardKind::Remote | ForwardKind::RemoteDynamic => (Layer::Remote, "the server listens"),
        };
        let found = match (&forward.problem, forward.listens.as_slice()) {
            // That a target is not there is told by the look at it.
            (Some(failure), []) => Finding::broken(layer, failure),
            (_, []) => Finding::skipped(layer, format!("not listening: the tunnel is {}", view.state.word())),
            (_, listens) => {
                let text = format!("{place} on {}", listens.join(", "));
                match &forward.note {
                    Some(note) => Finding::warn(layer, format!("{text}; {note}"), ""),
                    None => Finding::ok(layer, text),
                }
            }
        };
        found.at(format!("{}:{}", forward.listen, forward.target))
    };
    view.forwards.iter().map(look).collect()
}

fn mistakes(count: usize) -> String {
    if count == 1 { "1 mistake".to_owned() } else { format!("{count} mistakes") }
}
