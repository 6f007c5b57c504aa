//! What people are told: one INFO line a transition, the same sentence in the history, and an event.

use std::time::Duration;

use nbtunnel_core::io::About;
use nbtunnel_core::{Name, State, Transition};
use nbtunnel_proto::{Event as WireEvent, FileProblem};

use super::Driver;
use crate::control::convert;

impl Driver {
    pub(super) fn announce(&mut self, name: &Name, transition: Transition) {
        let text = sentence(&transition);
        if transition.why.is_some() && transition.to == "parked" {
            tracing::warn!("{name}: {text}");
        } else {
            tracing::info!("{name}: {text}");
        }
        if matches!(transition.about, About::Tunnel | About::Link)
            && let Some(tunnel) = self.fleet.tunnels().get(name)
        {
            let refused = tunnel.refusal().map(|why| why.kind);
            self.effects.look_out(name, refused);
            if transition.to == State::Stopped.word() {
                self.effects.unwanted(name);
            }
        }
        self.notebooks.progress(name, &transition.about, &text);
        if let (About::Tunnel, Some(why)) = (&transition.about, &transition.why) {
            self.proxies.kept_waiting(name, why);
        }
        self.journal.event(WireEvent {
            at_ms: self.clock.wall_ms(),
            tunnel: Some(name.to_string()),
            forward: match &transition.about {
                About::Tunnel | About::Link | About::Login | About::Notebook(_) => None,
                About::Forward(forward) => Some(forward.clone()),
            },
            notebook: match &transition.about {
                About::Notebook(notebook) => Some(notebook.clone()),
                About::Tunnel | About::Link | About::Login | About::Forward(_) => None,
            },
            from: transition.from.to_owned(),
            to: transition.to.to_owned(),
            problem: transition.why.as_ref().map(convert::problem),
            retry_in_s: transition.retry_in.map(|retry_in| retry_in.as_secs_f64()),
            text,
        });
        if transition.about == About::Login {
            self.desktop.lost_login(name.as_str());
        }
        if let (About::Notebook(notebook), "ending", Some(why)) =
            (&transition.about, transition.to, &transition.why)
        {
            self.desktop.ends_soon(notebook, &format!("{}: {}", why.message, why.hint));
        }
        if transition.about == About::Tunnel {
            self.remember(name, &transition);
        }
    }

    /// Writes down a sentence that is no transition.
    pub(super) fn note(&mut self, name: Option<&Name>, text: &str) {
        match name {
            Some(name) => tracing::info!("{name}: {text}"),
            None => tracing::info!("{text}"),
        }
        self.journal.line(self.clock.wall_ms(), name.map(Name::as_str), text);
    }
}

/// The transition in one sentence.
fn sentence(transition: &Transition) -> String {
    let mut text = match &transition.about {
        About::Forward(forward) => format!("forward {forward}: {}", transition.to),
        About::Notebook(notebook) => format!("notebook {notebook}: {}", transition.to),
        About::Login => "the session is gone that you had logged in to".to_owned(),
        About::Link if transition.from == transition.to => "no other session could be made".to_owned(),
        About::Link => link_sentence(transition.to).to_owned(),
        About::Tunnel if transition.from == transition.to => format!("still {}", transition.to),
        About::Tunnel => format!("{}, was {}", transition.to, transition.from),
    };
    if let Some(why) = &transition.why {
        text.push_str(&format!(": {why}"));
    }
    if let Some(retry_in) = transition.retry_in {
        text.push_str(&format!("; next attempt {}", within(retry_in)));
    }
    text
}

/// What happened to the link of a tunnel that stayed up.
fn link_sentence(to: &str) -> &'static str {
    match to {
        "suspect" => "the server does not answer; new connections wait while another session is tried",
        "replaced" => "a new session took the place of one that did not answer",
        "renewed" => "a new session takes new connections; the old one finishes what it carries",
        _ => "the server answers again",
    }
}

/// When that will be, in a word or two.
pub(super) fn within(delay: Duration) -> String {
    match delay.as_secs_f64() {
        seconds if seconds < 0.05 => "now".into(),
        seconds if seconds < 10.0 => format!("in {seconds:.1} s"),
        seconds if seconds < 120.0 => format!("in {seconds:.0} s"),
        seconds if seconds < 7200.0 => format!("in {:.0} min", seconds / 60.0),
        seconds if seconds < 172_800.0 => format!("in {:.1} h", seconds / 3600.0),
        seconds => format!("in {:.1} days", seconds / 86_400.0),
    }
}

/// A problem of the configuration in one sentence.
pub(super) fn problem_sentence(problem: &FileProblem) -> String {
    let mut text = String::new();
    if let Some(file) = &problem.file {
        text.push_str(file);
        for number in [problem.line, problem.column].into_iter().flatten() {
            text.push_str(&format!(":{number}"));
        }
        text.push_str(": ");
    }
    text.push_str(&problem.message);
    if !problem.hint.is_empty() {
        text.push_str(&format!(" ({})", problem.hint));
    }
    text
}
