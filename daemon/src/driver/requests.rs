//! What `nbctl` asks, answered.

use glob::Pattern;
use nbtunnel_core::{Change, Failure, FailureKind, FleetInput, Input, Moment, Name, State, WaitFor};
use nbtunnel_proto::{
    DaemonStatus, Fault, FaultCode, FileProblem, LogLine, Order, Outcome, Reached, Reply, Request, Selection,
    Status, TunnelStatus,
};

use super::Driver;
use crate::control::convert;
use crate::event::{Asked, Event};
use crate::journal::Wants;
use crate::ssh::{self, Hop, OfferedKey, Written};

impl Driver {
    pub(super) fn asked(&mut self, asked: Asked) {
        let request = asked.request.clone();
        let result = match request {
            Request::Status { names } => match self.status_asked(&asked, names) {
                Ok(Some(reply)) => Ok(reply),
                Ok(None) => return,
                Err(fault) => Err(fault),
            },
            Request::Order { select, order, wait } => match self.order(&asked, &select, order, wait) {
                Ok(Some(reply)) => Ok(reply),
                Ok(None) => return,
                Err(fault) => Err(fault),
            },
            Request::Reload => {
                self.reloads.push((self.watch.reload_now(), asked));
                return;
            }
            Request::Logs { name, lines, follow } => {
                match self.logs(&asked, name.as_deref(), lines, follow) {
                    Ok(()) if follow => return,
                    Ok(()) => Ok(Reply::Done),
                    Err(fault) => Err(fault),
                }
            }
            Request::Events => {
                self.journal.follow(asked.answer.clone(), Wants::Events);
                return;
            }
            Request::HostKey { name } => self.host_key(&name),
            Request::Trust { name, fingerprint, replace } => {
                match self.trust(&asked, &name, &fingerprint, replace) {
                    Ok(()) => return,
                    Err(fault) => Err(fault),
                }
            }
            Request::Unlock { name } => match self.unlock(&asked, &name) {
                Ok(()) => return,
                Err(fault) => Err(fault),
            },
            Request::Answers { .. } => Err(Fault::new(
                FaultCode::Protocol,
                "an answer came, and nothing had been asked",
                "use `nbctl unlock`",
            )),
            Request::Environment { agent } => return self.effects.agent_is_at(agent.into()),
            Request::Doctor { name } => match self.doctor(&asked, name.as_deref()) {
                Ok(()) => return,
                Err(fault) => Err(fault),
            },
            Request::Notebook { name, ask } => match self.notebook_asked(&asked, &name, ask) {
                Ok(()) => return,
                Err(fault) => Err(fault),
            },
            Request::Proxy { name, target } => match self.proxy(&asked, &name, target.as_deref()) {
                Ok(()) => return,
                Err(fault) => Err(fault),
            },
            Request::ProxyEnd { number } => self.proxy_end(number),
            Request::SshHosts { names } => match self.ssh_hosts(&asked, &names) {
                Ok(()) => return,
                Err(fault) => Err(fault),
            },
            Request::Keys { name } => match self.keys(&asked, &name) {
                Ok(()) => return,
                Err(fault) => Err(fault),
            },
            Request::TestKey { name, file } => match self.test_key(&asked, &name, file) {
                Ok(()) => return,
                Err(fault) => Err(fault),
            },
            #[cfg(debug_assertions)]
            Request::Hang => loop {
                std::thread::park();
            },
        };
        asked.answer(result.unwrap_or_else(Reply::Fault));
    }

    /// The tunnels that `patterns` (names or globs) mean; every pattern has to fit one.
    pub(super) fn select(&self, patterns: &[String]) -> Result<Vec<Name>, Fault> {
        let mut chosen = Vec::new();
        for pattern in patterns {
            let glob = Pattern::new(pattern).map_err(|why| {
                Fault::new(
                    FaultCode::Usage,
                    format!("{pattern:?} is no name and no pattern: {}", why.msg),
                    "write a name, or a pattern with *, ? or […] as in 'lab-*'",
                )
            })?;
            let before = chosen.len();
            chosen.extend(self.present().filter(|name| glob.matches(name.as_str())).cloned());
            if chosen.len() == before {
                return Err(self.no_such_tunnel(pattern));
            }
        }
        chosen.sort();
        chosen.dedup();
        Ok(chosen)
    }

    /// The tunnels that there are, without those that are only being cleared away.
    pub(super) fn present(&self) -> impl Iterator<Item = &Name> {
        self.fleet.tunnels().iter().filter(|(_, tunnel)| !tunnel.is_leaving()).map(|(name, _)| name)
    }

    pub(super) fn no_such_tunnel(&self, pattern: &str) -> Fault {
        let broken = format!("tunnels/{pattern}.toml");
        let hint = if self.problems.iter().any(|problem| problem.file.as_deref() == Some(&broken)) {
            format!("its file has a mistake: see `nbctl check {pattern}` or `nbctl status`")
        } else if self.specs.is_empty() {
            "there are no tunnels yet: add one with `nbctl add 'ssh -L … user@host'`".into()
        } else {
            let names: Vec<&str> = self.present().map(Name::as_str).take(12).collect();
            let more = if self.specs.len() > names.len() { ", …" } else { "" };
            format!("there are: {}{more}", names.join(", "))
        };
        Fault::new(FaultCode::NoSuchTunnel, format!("there is no tunnel {pattern:?}"), hint)
    }

    pub(super) fn status(&self, patterns: &[String]) -> Result<Status, Fault> {
        let now = self.clock.now();
        let names =
            if patterns.is_empty() { self.present().cloned().collect() } else { self.select(patterns)? };
        let mut problems = [self.problems.as_slice(), &self.notes].concat();
        let of_the_daemon =
            |message, hint: &str| FileProblem { message, hint: hint.into(), ..FileProblem::default() };
        if self.exhausted {
            problems.push(of_the_daemon(
                "the daemon is out of file descriptors; new connections wait".into(),
                "close some connections, or raise the limit (`ulimit -n`, LimitNOFILE=)",
            ));
        }
        if let Some(why) = self.orders.trouble() {
            problems.push(of_the_daemon(
                format!("what you started and stopped cannot be written down: {why}"),
                "make room beside the control socket; until then a crash of the daemon forgets it",
            ));
        }
        if let Some((why, path)) = self.memory.trouble() {
            problems.push(of_the_daemon(
                format!("the history of the tunnels cannot be written down: {why}"),
                &format!("make room for {path}, or mend its directory; until then a restart forgets it"),
            ));
        }
        let tunnels = names.iter().filter_map(|name| self.tunnel_status(now, name)).collect();
        let daemon = DaemonStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            protocol: nbtunnel_proto::hello::PROTOCOL,
            pid: std::process::id(),
            uptime_s: now.since(self.started).as_secs_f64(),
            config_dir: self.config_dir.display().to_string(),
            socket: self.socket.clone(),
            now_ms: self.clock.wall_ms(),
        };
        Ok(Status { daemon, tunnels, problems })
    }

    fn tunnel_status(&self, now: Moment, name: &Name) -> Option<TunnelStatus> {
        let tunnel = self.fleet.tunnels().get(name)?;
        let view = tunnel.view(now);
        let tallies = view.forwards.iter().map(|forward| {
            let tally = forward.id.and_then(|id| self.effects.tally(name, id));
            tally.map(|tally| tally.snapshot()).unwrap_or_default()
        });
        let tallies: Vec<_> = tallies.collect();
        let planned = self.effects.planned(name);
        let notebooks = self.notebook_statuses(name, &view, now);
        Some(convert::tunnel(name, view, planned, &tallies, notebooks, self.memory.past(name, tunnel, now)))
    }

    fn order(
        &mut self,
        asked: &Asked,
        select: &Selection,
        order: Order,
        wait: bool,
    ) -> Result<Option<Reply>, Fault> {
        let names = match select {
            Selection::All => self.present().cloned().collect(),
            Selection::Names(patterns) => self.select(patterns)?,
            Selection::Tag(tag) => self.tagged(tag)?,
        };
        let wait_for = match order {
            Order::Start | Order::Restart => WaitFor::Up,
            Order::Stop => WaitFor::Down,
        };
        for name in &names {
            self.tell(FleetInput::Tunnel(name.clone(), Input::Order(convert::order(order))));
        }
        if wait && !names.is_empty() {
            for (name, id) in self.waits.begin(asked.clone(), &names) {
                self.tell(FleetInput::Tunnel(name, Input::Wait(id, wait_for)));
            }
            return Ok(None);
        }
        let accepted = |name: &Name| Outcome { name: name.to_string(), reached: Reached::Accepted };
        Ok(Some(Reply::Ordered(names.iter().map(accepted).collect())))
    }

    fn tagged(&self, tag: &str) -> Result<Vec<Name>, Fault> {
        let has_tag = |name: &&Name| {
            self.fleet
                .tunnels()
                .get(*name)
                .is_some_and(|tunnel| tunnel.spec().tags.iter().any(|has| has == tag))
        };
        let names: Vec<Name> = self.present().filter(has_tag).cloned().collect();
        if names.is_empty() {
            let mut tags: Vec<&str> =
                self.specs.values().flat_map(|spec| &spec.tags).map(String::as_str).collect();
            tags.sort_unstable();
            tags.dedup();
            let hint = match tags.as_slice() {
                [] => "give a tunnel tags in its file: tags = [\"lab\"]".into(),
                tags => format!("there are: {}", tags.join(", ")),
            };
            return Err(Fault::new(FaultCode::NoSuchTunnel, format!("no tunnel has the tag {tag:?}"), hint));
        }
        Ok(names)
    }

    fn logs(&mut self, asked: &Asked, name: Option<&str>, lines: u32, follow: bool) -> Result<(), Fault> {
        let names = name.map(|name| self.select(&[name.to_owned()])).transpose()?;
        let accepts = move |tunnel: Option<&str>| match &names {
            None => true,
            Some(names) => tunnel.is_some_and(|tunnel| names.iter().any(|name| name.as_str() == tunnel)),
        };
        // The channel to the client is bounded: more lines than fit are older than the reader wants.
        // What happens from now on needs room besides.
        let room = asked.answer.capacity() / 2;
        let lines = usize::try_from(lines).unwrap_or(usize::MAX).min(room);
        let past: Vec<LogLine> = self.journal.last(lines, &accepts);
        past.into_iter().for_each(|line| asked.answer(Reply::Log(line)));
        if follow {
            self.journal.follow(asked.answer.clone(), Wants::Lines(Box::new(accepts)));
        }
        Ok(())
    }

    pub(super) fn one(&self, name: &str) -> Result<Name, Fault> {
        match self.present().find(|present| present.as_str() == name) {
            Some(name) => Ok(name.clone()),
            None => Err(self.no_such_tunnel(name)),
        }
    }

    fn host_key(&self, name: &str) -> Result<Reply, Fault> {
        let name = self.one(name)?;
        match self.offered(&name) {
            Some((hop, offered)) => {
                let planned = self.effects.planned(&name);
                Ok(Reply::HostKey(Box::new(convert::host_key(&name, hop, planned, offered))))
            }
            None => Err(self.no_host_key(&name)),
        }
    }

    /// The key that awaits a decision, and the machine that showed it.
    fn offered(&self, name: &Name) -> Option<(&Hop, &OfferedKey)> {
        self.effects.offered(name, &self.fleet.tunnels().get(name)?.spec().route)
    }

    fn no_host_key(&self, name: &Name) -> Fault {
        let tunnel = self.fleet.tunnels().get(name);
        if tunnel.is_some_and(|tunnel| tunnel.state() == State::Up) {
            return Fault::new(
                FaultCode::Failed,
                format!("{name} is up: the server's host key is trusted already"),
                "there is nothing to do",
            );
        }
        Fault::new(
            FaultCode::Failed,
            format!("the server of {name} has not shown a host key that needs a decision"),
            format!("see what it is doing with `nbctl status {name}`, start it with `nbctl start {name}`"),
        )
    }

    /// Has the key written down by another thread; [`Driver::trusted`] hears of it.
    fn trust(&mut self, asked: &Asked, name: &str, fingerprint: &str, replace: bool) -> Result<(), Fault> {
        let name = self.one(name)?;
        let Some((hop, offered)) = self.offered(&name) else {
            return Err(self.no_host_key(&name));
        };
        let (hop, offered) = (hop.clone(), offered.clone());
        if offered.fingerprint != fingerprint {
            return Err(Fault::new(
                FaultCode::NeedsYou,
                format!("the server shows the key {} now, not {fingerprint}", offered.fingerprint),
                format!("look again with `nbctl trust {name}`"),
            ));
        }
        let (events, asked) = (self.events.clone(), asked.clone());
        tokio::task::spawn_blocking(move || {
            let result = ssh::trust(name.as_str(), &hop, &offered, replace);
            let _ = events.send(Event::Trusted(asked, name, result));
        });
        Ok(())
    }

    pub(super) fn trusted(&mut self, asked: &Asked, name: Name, result: Result<Written, Failure>) {
        match result {
            Ok(written) => {
                let file = written.file.display().to_string();
                self.note(Some(&name), &format!("its host key was trusted, written to {file}"));
                asked.answer(Reply::Trusted { file, replaced: written.replaced });
                self.nudge(name);
            }
            Err(failure) => {
                let code = match failure.kind {
                    FailureKind::HostKeyChanged | FailureKind::HostKeyUnknown => FaultCode::NeedsYou,
                    _ => FaultCode::Failed,
                };
                asked.answer(Reply::Fault(Fault::new(code, failure.message, failure.hint)));
            }
        }
    }

    /// Answers those who asked before the reading began, the `read`th and the ones before it.
    pub(super) fn answer_reloads(&mut self, read: u64, changes: &[Change]) {
        let names = |wanted: fn(&Change) -> bool| -> Vec<String> {
            changes.iter().filter(|change| wanted(change)).map(|change| change.name().to_string()).collect()
        };
        let added = names(|change| matches!(change, Change::Add(..)));
        let changed = names(|change| matches!(change, Change::Respec(..)));
        let removed = names(|change| matches!(change, Change::Remove(_)));
        for (_, asked) in self.reloads.extract_if(.., |(number, _)| *number <= read) {
            asked.answer(Reply::Reloaded {
                added: added.clone(),
                changed: changed.clone(),
                removed: removed.clone(),
                problems: self.problems.clone(),
            });
        }
    }
}
