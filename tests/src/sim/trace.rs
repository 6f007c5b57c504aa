//! What happened, line by line: the last of it to be read, all of it as one number.

use std::collections::VecDeque;
use std::fmt::{self, Write};

use nbtunnel_core::io::About;
use nbtunnel_core::{Change, FleetInput, Output, Transition, TunnelSpec};

/// So many lines are shown when a rule is broken.
const KEPT: usize = 50;

/// The lines of one run.
#[derive(Debug, Default)]
pub(super) struct Trace {
    last: VecDeque<String>,
    hash: u64,
    lines: u64,
}

impl Trace {
    /// Takes down one line.
    pub(super) fn line(&mut self, text: fmt::Arguments<'_>) {
        let mut line =
            if self.last.len() < KEPT { String::new() } else { self.last.pop_front().unwrap_or_default() };
        line.clear();
        // Writing to a string cannot fail.
        let _ = line.write_fmt(text);
        // FNV-1a (Fowler, Noll, Vo), by line.
        for byte in line.bytes().chain([b'\n']) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        self.lines += 1;
        self.last.push_back(line);
    }

    /// One number for everything that was taken down.
    pub(super) fn hash(&self) -> u64 {
        self.hash ^ self.lines
    }

    /// The last lines.
    pub(super) fn last(&self) -> impl Iterator<Item = &str> {
        self.last.iter().map(String::as_str)
    }
}

/// An input in a few words.
pub(super) fn input(input: &FleetInput) -> impl fmt::Display + '_ {
    Words(move |f: &mut fmt::Formatter<'_>| match input {
        FleetInput::Apply(changes) => changes.iter().try_for_each(|change| match change {
            Change::Add(name, spec) => write!(f, "add {name} {}", brief(spec)),
            Change::Respec(name, spec) => write!(f, "respec {name} {}", brief(spec)),
            Change::Remove(name) => write!(f, "remove {name}"),
        }),
        FleetInput::Tunnel(name, input) => write!(f, "{name} {input:?}"),
        FleetInput::Nudge(nudge) => write!(f, "{nudge:?}"),
        FleetInput::Timeout => f.write_str("timeout"),
    })
}

fn brief(spec: &TunnelSpec) -> impl fmt::Display + '_ {
    Words(move |f: &mut fmt::Formatter<'_>| {
        let TunnelSpec { route, forwards, remotes, notebooks: _, start, tags, policy } = spec;
        write!(
            f,
            "[{} {:?} {start:?} {} forwards, {} remotes, {} tags, ",
            route.host,
            route.host_key,
            forwards.len(),
            remotes.len(),
            tags.len()
        )?;
        write!(f, "keepalive {:?}, hold {:?}, idle {:?}]", policy.keepalive, policy.hold, policy.idle)
    })
}

/// Outputs in a few words.
pub(super) fn outputs(outputs: &[(usize, Output)]) -> impl fmt::Display + '_ {
    Words(move |f: &mut fmt::Formatter<'_>| {
        outputs.iter().try_for_each(|(slot, output)| match output {
            Output::Connect(epoch, route, _) => write!(f, "t{slot}: Connect({}, {}) ", epoch.0, route.host),
            Output::Repolicy(_) => write!(f, "t{slot}: Repolicy "),
            Output::Announce(Transition { about: About::Forward(_), to, .. }) => {
                write!(f, "t{slot}: forward {to} ")
            }
            Output::Announce(Transition { from, to, why, retry_in, .. }) => {
                let why = why.as_ref().map(|why| why.kind);
                write!(f, "t{slot}: {from} to {to} for {why:?}, again in {retry_in:?} ")
            }
            other => write!(f, "t{slot}: {other:?} "),
        })
    })
}

/// Something that writes itself.
struct Words<F>(F);

impl<F: Fn(&mut fmt::Formatter<'_>) -> fmt::Result> fmt::Display for Words<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.0)(f)
    }
}
