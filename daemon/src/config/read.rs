//! What the files mean: bytes, and what ssh says of the hosts, into specs and problems. Does no I/O but by
//! `interpret_asking`, and holds for any bytes.

use std::collections::BTreeMap;

use nbtunnel_core::{FailureKind, Name, TunnelSpec};
use nbtunnel_proto::{FileProblem, Secret};

use super::document::Document;
use super::environment::{self, FromEnvironment};
use super::gather::{Contents, Gathered, MAX_TUNNELS};
use super::hosts::{Answers, Hosts};
use super::layer::{self, Layer, Misfit};
use super::notebook::{self, Section};
use super::schema::{DaemonKeys, Keys, MainFile};
use super::values::{self, Flaw};
use super::{Context, DaemonSettings, Loaded, owner_only, syntax, vet};
use crate::forward::TELLS_OWNERS;
use crate::ssh_config::{HostConfig, Query};

/// The name of the file with the defaults and the daemon's own settings.
pub(super) const MAIN_FILE: &str = "nbtunnel.toml";

/// Makes sense of everything that was gathered, and asks ssh for the hosts that are named there.
pub(super) fn interpret_asking(found: &Gathered, ctx: &Context, hosts: &mut Hosts) -> Loaded {
    let loaded = interpret(found, ctx, &Answers::default());
    if !ctx.ask_ssh {
        return loaded;
    }
    let queries = loaded.tunnels.values().map(|spec| Query::of(&spec.route)).filter(|query| !query.is_idle());
    let answers = hosts.ask(&queries.collect());
    interpret(found, ctx, &answers)
}

/// Makes sense of everything that was gathered, and of what ssh says of the hosts.
pub(super) fn interpret(found: &Gathered, ctx: &Context, answers: &Answers) -> Loaded {
    let mut loaded = Loaded { digest: found.digest() ^ answers.digest(), ..Loaded::default() };
    if let Some((dir, flaw)) = &found.unreadable {
        loaded.all_broken = true;
        let message = match dir.as_str() {
            "" => format!("the config directory {}: {}", found.dir.display(), flaw.message),
            _ => flaw.message.clone(),
        };
        loaded.problems.push(whole_file(dir, Flaw::new(message, flaw.hint.clone())));
        return loaded;
    }
    let reader = match Reader::new(found, ctx, answers) {
        Ok(reader) => reader,
        Err(problems) => {
            loaded.all_broken = true;
            loaded.problems = problems;
            return loaded;
        }
    };
    loaded.daemon = reader.daemon_settings();
    loaded.problems.clone_from(&reader.above.problems);
    let twins = case_twins(&found.tunnels);
    for (file_name, contents) in &found.tunnels {
        let file = format!("tunnels/{file_name}");
        let name = match tunnel_name(file_name) {
            Ok(name) => name,
            Err(flaw) => {
                loaded.problems.push(whole_file(&file, flaw));
                continue;
            }
        };
        let read = match twins.get(file_name) {
            Some(twin) => Err(vec![whole_file(
                &file,
                Flaw::new(
                    format!("its name differs from tunnels/{twin} only in case"),
                    "rename one of the two, since some systems cannot tell them apart",
                ),
            )]),
            None => reader.tunnel(&file, contents, found.exposed.contains(file_name)),
        };
        match read {
            Ok(Read { spec, tokens, notes, problems }) => {
                loaded
                    .tokens
                    .extend(tokens.into_iter().map(|(notebook, token)| ((name.clone(), notebook), token)));
                loaded.tunnels.insert(name, spec);
                loaded.notes.extend(notes);
                loaded.problems.extend(problems);
            }
            Err(problems) => {
                loaded.problems.extend(problems);
                loaded.broken.insert(name);
            }
        }
    }
    if let Some(first) = found.surplus.first() {
        let message =
            format!("there are more than {MAX_TUNNELS} tunnel files; from {first} on they are not read");
        loaded.problems.push(whole_file("tunnels", Flaw::new(message, "remove some")));
        loaded.broken.extend(found.surplus.iter().filter_map(|file_name| tunnel_name(file_name).ok()));
    }
    loaded
}

/// The tunnel that a file name stands for.
pub(super) fn tunnel_name(file_name: &str) -> Result<Name, Flaw> {
    let stem = file_name.strip_suffix(".toml").unwrap_or(file_name);
    Name::parse(stem).map_err(|why| Flaw::new(why, "rename the file"))
}

/// A problem with a file as a whole; the empty name is the config directory itself, which the message names.
pub(super) fn whole_file(file: &str, flaw: Flaw) -> FileProblem {
    let problem = Document { file, text: "" }.problem(None, flaw);
    FileProblem { file: problem.file.filter(|file| !file.is_empty()), ..problem }
}

/// Names that differ only in case, each with the other.
fn case_twins(files: &[(String, Contents)]) -> BTreeMap<&String, &String> {
    let mut by_folded: BTreeMap<String, &String> = BTreeMap::new();
    let mut twins = BTreeMap::new();
    for (name, _) in files {
        if let Some(other) = by_folded.insert(name.to_lowercase(), name) {
            twins.insert(name, other);
            twins.insert(other, name);
        }
    }
    twins
}

/// Reads tunnel files over the layers that all of them share.
pub(super) struct Reader<'a> {
    ctx: &'a Context,
    found: &'a Gathered,
    answers: &'a Answers,
    defaults: Layer,
    daemon: DaemonKeys,
    pub(super) above: FromEnvironment,
}

impl<'a> Reader<'a> {
    /// Reads `nbtunnel.toml` and the environment.
    ///
    /// # Errors
    /// Everything that is wrong with `nbtunnel.toml`; then nothing that depends on it can be trusted.
    pub(super) fn new(
        found: &'a Gathered,
        ctx: &'a Context,
        answers: &'a Answers,
    ) -> Result<Self, Vec<FileProblem>> {
        let mut reader = Reader {
            ctx,
            found,
            answers,
            defaults: Layer::default(),
            daemon: DaemonKeys::default(),
            above: environment::read(ctx),
        };
        if let Some(contents) = &found.main {
            let main = reader.main_file(contents)?;
            reader.defaults = main.defaults.unwrap_or_default().into();
            reader.daemon = main.daemon.unwrap_or_default();
        }
        Ok(reader)
    }

    fn main_file(&self, contents: &Contents) -> Result<MainFile, Vec<FileProblem>> {
        let text = text(MAIN_FILE, contents)?;
        let document = Document { file: MAIN_FILE, text };
        let main: MainFile = syntax::parse(&document).map_err(|problem| vec![*problem])?;
        let mut problems = Vec::new();
        if let Some(keys) = &main.defaults {
            problems.extend(vet::tunnel_keys(keys, &document, &self.ctx.home, &self.found.dir));
            problems.extend(notebook::not_in_defaults(&keys.notebook, &document));
        }
        if let Some(keys) = &main.daemon {
            problems.extend(vet::daemon_keys(keys, &document));
        }
        if problems.is_empty() { Ok(main) } else { Err(problems) }
    }

    fn daemon_settings(&self) -> DaemonSettings {
        let layers = [&self.daemon, &self.above.daemon];
        let mut settings = DaemonSettings::default();
        for keys in layers {
            if let Some(log) = &keys.log {
                settings.log = Some(log.get_ref().clone());
            }
            if let Some(Ok(spool)) =
                keys.spool.as_ref().map(|text| values::size(text.get_ref(), &values::SPOOL))
            {
                settings.spool = spool;
            }
        }
        settings
    }

    /// Reads one tunnel file; `file` is what problems call it. The tokens of one that is `exposed` to others on this
    /// machine are left out.
    ///
    /// # Errors
    /// Everything that is wrong with it, at least one thing.
    pub(super) fn tunnel(
        &self,
        file: &str,
        contents: &Contents,
        exposed: bool,
    ) -> Result<Read, Vec<FileProblem>> {
        let text = text(file, contents)?;
        let document = Document { file, text };
        let keys: Keys = syntax::parse(&document).map_err(|problem| vec![*problem])?;
        let problems = vet::tunnel_keys(&keys, &document, &self.ctx.home, &self.found.dir);
        if !problems.is_empty() {
            return Err(problems);
        }
        let (sections, _) = notebook::read(&keys.notebook, &document, &mut Vec::new());
        let (mut notebooks, mut tokens, mut exposures) = (Vec::new(), Vec::new(), Vec::new());
        for Section { spec, token } in sections {
            match token {
                Some((_, place)) if exposed => exposures.push(
                    document.problem(Some(place), notebook::exposed(&spec.name, &self.found.dir.join(file))),
                ),
                Some((token, _)) => tokens.push((spec.name.clone(), token)),
                None => {}
            }
            notebooks.push(spec);
        }
        let mut spans: BTreeMap<&str, _> = BTreeMap::new();
        spans.extend(keys.host.as_ref().map(|host| ("host", host.span())));
        spans.extend(keys.hold.as_ref().map(|hold| ("hold", hold.span())));
        spans.extend(keys.start.as_ref().map(|start| ("start", start.span())));
        spans.extend(keys.notebook.place().map(|place| ("notebook", place)));
        let wants_owner_only = keys.owner_only.as_ref().filter(|wanted| *wanted.get_ref());
        spans.extend(wants_owner_only.map(|wanted| ("owner_only", wanted.span())));
        let by_all = keys.owner_only.as_ref().map_or(self.defaults.owner_only, |its| Some(*its.get_ref()));
        let asks_owner_only = by_all == Some(true)
            || !TELLS_OWNERS && notebooks.iter().any(|notebook| notebook.owner_only == Some(true));
        let problem = |keys: &[&str], flaw: Flaw| {
            let place = keys.iter().find_map(|key| spans.get(key).cloned());
            document.problem(place, flaw)
        };
        let layers = [&self.defaults, &keys.into(), &self.above.layer];
        let lay = |host: Option<&HostConfig>| {
            layer::lay(&layers, &notebooks, host, self.ctx, &self.found.dir)
                .map_err(|Misfit { keys, flaw }| vec![problem(keys, flaw)])
        };
        let (spec, _) = lay(None)?;
        let of_host = |flaw| problem(&["host"], flaw);
        let owner_only = |spec: &TunnelSpec| {
            let flaw = owner_only::in_vain(&spec.forwards, TELLS_OWNERS).filter(|_| asks_owner_only);
            flaw.map(|flaw| problem(&["owner_only", "notebook", "host"], flaw))
        };
        let (spec, mut notes) = match self.answers.get(&Query::of(&spec.route)) {
            None | Some(Ok(None)) => (spec, Vec::new()),
            Some(Ok(Some(host))) => {
                let (spec, notes) = lay(Some(host))?;
                let hint = "ssh would; take it out of ssh_config for this host, or live without it";
                (spec, notes.into_iter().map(|note| of_host(Flaw::new(note, hint))).collect())
            }
            Some(Err(failure)) => {
                let problem = of_host(Flaw::new(failure.message.clone(), failure.hint.clone()));
                match failure.kind {
                    // As with a bad file, what was good before stays.
                    FailureKind::Config => return Err(vec![problem]),
                    _ => (spec, vec![problem]),
                }
            }
        };
        notes.extend(owner_only(&spec));
        Ok(Read { spec, tokens, notes, problems: exposures })
    }
}

/// A tunnel file that is good.
pub(super) struct Read {
    pub(super) spec: TunnelSpec,
    /// The tokens of its notebooks.
    pub(super) tokens: Vec<(Name, Secret)>,
    /// What ssh would do for its host and we do not.
    pub(super) notes: Vec<FileProblem>,
    /// What is wrong with it, and keeps it from nothing else.
    pub(super) problems: Vec<FileProblem>,
}

/// The text of a file, without the mark that Windows editors put in front.
fn text<'c>(file: &str, contents: &'c Contents) -> Result<&'c str, Vec<FileProblem>> {
    let bytes = match contents {
        Ok(bytes) => bytes,
        Err(flaw) => return Err(vec![whole_file(file, Flaw::new(flaw.message.clone(), flaw.hint.clone()))]),
    };
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.trim_start_matches('\u{feff}')),
        Err(error) => {
            let good = error.valid_up_to();
            let flaw = Flaw::new(
                format!("it is not UTF-8: byte {} of the file is 0x{:02x}", good + 1, bytes[good]),
                "save the file as UTF-8",
            );
            let lossy = String::from_utf8_lossy(bytes);
            Err(vec![Document { file, text: &lossy }.problem(Some(good..good), flaw)])
        }
    }
}
