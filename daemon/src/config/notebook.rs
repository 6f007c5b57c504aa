//! The sections `[notebook.NAME]` of a tunnel file: the words that may stand there, and what they mean together.
//!
//! What a single value may be is the business of `notebook_values`; which local port is chosen where none is named,
//! that of `ports`. A token is kept apart from the spec from here on.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use nbtunnel_core::{Launcher, ListenAt, Name, NotebookSpec, Scheme, SlurmSpec};
use nbtunnel_proto::{FileProblem, Secret};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use toml::Spanned;

use super::document::Document;
use super::notebook_values as values;
use super::schema::List;
use super::values::Flaw;
use crate::notebook::is_loopback;

/// The most notebooks of one tunnel.
const MOST: usize = 256;

/// The sections of one file, in its order.
#[derive(Debug, Default)]
pub(super) struct Notebooks(Vec<(Spanned<String>, NotebookKeys)>);

/// One section.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NotebookKeys {
    remote_port: Option<Spanned<i64>>,
    find: Option<Spanned<List>>,
    host: Option<Spanned<String>>,
    local_port: Option<Spanned<i64>>,
    token: Option<Spanned<Secret>>,
    scheme: Option<Spanned<String>>,
    start: Option<Spanned<String>>,
    dir: Option<Spanned<String>>,
    launcher: Option<Spanned<String>>,
    owner_only: Option<bool>,
    slurm: Option<Spanned<SlurmKeys>>,
}

/// `[notebook.NAME.slurm]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SlurmKeys {
    partition: Option<Spanned<String>>,
    account: Option<Spanned<String>>,
    time: Option<Spanned<String>>,
    cpus: Option<Spanned<i64>>,
    memory: Option<Spanned<String>>,
    gres: Option<Spanned<String>>,
    options: Option<Spanned<List>>,
    script: Option<Spanned<String>>,
    job: Option<Spanned<String>>,
}

impl Notebooks {
    /// Where the first one stands, if there is one.
    pub(super) fn place(&self) -> Option<Range<usize>> {
        self.0.first().map(|(name, _)| name.span())
    }
}

impl<'de> Deserialize<'de> for Notebooks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sections;

        impl<'de> Visitor<'de> for Sections {
            type Value = Notebooks;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a section such as [notebook.alice]")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Notebooks, A::Error> {
                let mut sections: Vec<(Spanned<String>, NotebookKeys)> = Vec::new();
                while let Some(section) = map.next_entry()? {
                    sections.push(section);
                }
                // The parser hands them out in the order of their names.
                sections.sort_by_key(|(name, _)| name.span().start);
                Ok(Notebooks(sections))
            }
        }

        deserializer.deserialize_map(Sections)
    }
}

/// What one section says.
#[derive(Debug)]
pub(super) struct Section {
    /// Its local port is 0 where the file names none.
    pub(super) spec: NotebookSpec,
    /// Its token, and where that stands.
    pub(super) token: Option<(Secret, Range<usize>)>,
}

/// Makes sense of the sections of `document`, whose forwards listen on `taken`; the ports that notebooks name come to
/// these. What is wrong stands in the second half, and then the first is not to be used.
pub(super) fn read(
    notebooks: &Notebooks,
    document: &Document<'_>,
    taken: &mut Vec<ListenAt>,
) -> (Vec<Section>, Vec<FileProblem>) {
    let mut problems = Vec::new();
    let mut sections = Vec::new();
    for (count, (name, keys)) in notebooks.0.iter().enumerate() {
        if count == MOST {
            let message = format!("a tunnel has at most {MOST} notebooks");
            let flaw = Flaw::new(message, "give the others a tunnel file of their own");
            problems.push(document.problem(Some(name.span()), flaw));
            break;
        }
        let mut reading = Reading { document, problems: &mut problems };
        sections.extend(reading.section(name, keys, taken));
    }
    (sections, problems)
}

struct Reading<'a> {
    document: &'a Document<'a>,
    problems: &'a mut Vec<FileProblem>,
}

impl Reading<'_> {
    /// None where its name is none, and something else may be wrong with one that is there.
    fn section(
        &mut self,
        name: &Spanned<String>,
        keys: &NotebookKeys,
        taken: &mut Vec<ListenAt>,
    ) -> Option<Section> {
        let port = self.value(&keys.remote_port, |number| values::port(*number));
        let mut which = keys.find.as_ref().map(|find| self.find(find, port)).unwrap_or_default();
        which.port = port;
        let host = self.value(&keys.host, |text| values::host(text));
        let local_port = self.value(&keys.local_port, |number| local_port(*number, taken));
        let scheme = self.value(&keys.scheme, |text| values::scheme(text));
        let start = self.value(&keys.start, |text| {
            values::line(text, "the command", "start = \"jupyter lab --no-browser --port={port}\"")
        });
        let dir = self.value(&keys.dir, |text| values::place(text, "the directory", "dir = \"~/project\""));
        // Started anywhere else, it would not be the one that is looked for.
        let dir = dir.or_else(|| which.dir.clone().filter(|_| keys.start.is_some()));
        self.value(&keys.token, |token| values::token(token.expose()));
        let launcher = self.launcher(keys);
        if let Some(host) = &host {
            self.machine(host, keys, &launcher);
        }
        let name = self.keep(name.span(), values::name(name.get_ref()))?;
        let spec = NotebookSpec {
            name,
            host: host.unwrap_or_else(|| "localhost".to_owned()),
            which,
            local_port: local_port.unwrap_or(0),
            scheme: scheme.unwrap_or(Scheme::Auto),
            start,
            dir,
            launcher,
            owner_only: keys.owner_only,
        };
        let token = keys.token.as_ref().map(|token| (token.get_ref().clone(), token.span()));
        Some(Section { spec, token })
    }

    /// Where a port is named, too, a word that says where to look for it contradicts that.
    fn find(&mut self, find: &Spanned<List>, port: Option<u16>) -> nbtunnel_core::Which {
        let mut which = nbtunnel_core::Which::default();
        for item in &find.get_ref().0 {
            let place = item.span.clone().unwrap_or_else(|| find.span());
            let Some(word) = self.keep(place.clone(), values::find(&item.text)) else { continue };
            let looks_for_port = matches!(word, values::Find::Anywhere | values::Find::Ports(..));
            if let (true, Some(port)) = (looks_for_port, port) {
                let message =
                    format!("remote_port = {port} names the port, and find = {:?} looks for it", item.text);
                let flaw = Flaw::new(
                    message,
                    "keep one of the two; a user or a directory may stand beside remote_port",
                );
                self.problems.push(self.document.problem(Some(place), flaw));
                continue;
            }
            if let Err(kind) = word.narrow(&mut which) {
                let flaw = Flaw::new(format!("find names a second {kind}"), format!("keep one {kind}"));
                self.problems.push(self.document.problem(Some(place), flaw));
            }
        }
        which
    }

    fn launcher(&mut self, keys: &NotebookKeys) -> Launcher {
        let named = self.value(&keys.launcher, |text| values::launcher(text)).is_some();
        let slurm = keys.slurm.as_ref().map(|table| (table.span(), self.slurm(table.get_ref())));
        let Some(word) = &keys.launcher else {
            if let Some((place, _)) = slurm {
                let flaw = Flaw::new(
                    "what Slurm is asked for stands here, and Slurm is not to be asked",
                    "add launcher = \"slurm\" to the notebook's section, or remove this",
                );
                self.problems.push(self.document.problem(Some(place), flaw));
            }
            return Launcher::Here;
        };
        let place = word.span();
        let spec = slurm.map(|(_, spec)| spec).unwrap_or_default();
        let flaw = match (&keys.start, &spec.script, &spec.job) {
            _ if !named => None,
            (None, None, None) => Some(Flaw::new(
                "launcher = \"slurm\" has nothing to submit",
                "add start = \"jupyter lab --no-browser --port={port}\", or a script or job to its slurm table",
            )),
            (Some(_), Some(_), _) => Some(Flaw::new(
                "start and script both say what the job runs",
                "keep one of the two; a script starts its notebook itself",
            )),
            (Some(_), None, Some(_)) | (None, Some(_), Some(_)) => Some(Flaw::new(
                "job names one that is there already, so that start or script would never run",
                "keep job, or what is to be submitted",
            )),
            _ => None,
        };
        self.problems.extend(flaw.map(|flaw| self.document.problem(Some(place), flaw)));
        Launcher::Slurm(Box::new(spec))
    }

    /// Whatever runs a notebook runs it where it can: a machine that `host` names is only looked at.
    fn machine(&mut self, named: &str, keys: &NotebookKeys, launcher: &Launcher) {
        let Some(host) = keys.host.as_ref().filter(|_| !is_loopback(named)) else { return };
        let (place, flaw) = match (launcher, &keys.start) {
            (Launcher::Slurm(_), _) => (
                host.span(),
                Flaw::new(
                    format!("the cluster says where its job runs, and host = {named:?} names a machine"),
                    "leave host out; a node can be asked for with options = [\"--nodelist=NODE\"] in its slurm table",
                ),
            ),
            (Launcher::Here, Some(start)) => (
                start.span(),
                Flaw::new(
                    format!("start runs its command on the far end itself, and not on host = {named:?}"),
                    "give that machine a tunnel of its own, with the far end as jump; or leave out one of the two",
                ),
            ),
            (Launcher::Here, None) => return,
        };
        self.problems.push(self.document.problem(Some(place), flaw));
    }

    fn slurm(&mut self, keys: &SlurmKeys) -> SlurmSpec {
        let mut options = Vec::new();
        if let Some(list) = &keys.options {
            for item in &list.get_ref().0 {
                let place = item.span.clone().unwrap_or_else(|| list.span());
                options.extend(self.keep(place, values::slurm_option(&item.text)));
            }
        }
        SlurmSpec {
            partition: self.value(&keys.partition, |text| values::word(text, "partition", "gpu")),
            account: self.value(&keys.account, |text| values::word(text, "account", "physics")),
            time: self.value(&keys.time, |text| values::time(text)),
            cpus: self.value(&keys.cpus, |number| values::cpus(*number)),
            memory: self.value(&keys.memory, |text| values::memory(text)),
            gres: self.value(&keys.gres, |text| values::word(text, "gres", "gpu:1")),
            options,
            script: self.value(&keys.script, |text| {
                values::place(text, "the script", "script = \"~/jupyter.sbatch\"")
            }),
            job: self.value(&keys.job, |text| values::word(text, "job", "jupyter")),
        }
    }

    fn value<T, R>(
        &mut self,
        value: &Option<Spanned<T>>,
        read: impl FnOnce(&T) -> Result<R, Flaw>,
    ) -> Option<R> {
        let value = value.as_ref()?;
        self.keep(value.span(), read(value.get_ref()))
    }

    fn keep<R>(&mut self, place: Range<usize>, read: Result<R, Flaw>) -> Option<R> {
        match read {
            Ok(value) => Some(value),
            Err(flaw) => {
                self.problems.push(self.document.problem(Some(place), flaw));
                None
            }
        }
    }
}

fn local_port(number: i64, taken: &mut Vec<ListenAt>) -> Result<u16, Flaw> {
    let port = values::port(number)?;
    let listen = ListenAt::Loopback(port);
    if let Some(other) = taken.iter().find(|other| other.collides(&listen)) {
        return Err(Flaw::new(
            format!("another forward of this tunnel listens on {other} already"),
            "give each notebook a local_port of its own, or leave it out and one is chosen",
        ));
    }
    taken.push(listen);
    Ok(port)
}

/// What is wrong with a `[defaults]` that has notebooks.
pub(super) fn not_in_defaults(notebooks: &Notebooks, document: &Document<'_>) -> Option<FileProblem> {
    let place = notebooks.place()?;
    let flaw = Flaw::new("a notebook belongs to one tunnel", "move it into a file of tunnels/");
    Some(document.problem(Some(place), flaw))
}

/// The forward of a notebook that has a local port.
pub(super) fn forward(spec: &NotebookSpec) -> nbtunnel_core::ForwardSpec {
    nbtunnel_core::ForwardSpec {
        listen: ListenAt::Loopback(spec.local_port),
        target: nbtunnel_core::Target::Notebook(spec.name.clone()),
        owner_only: spec.owner_only,
    }
}

/// The problem with a token that others can read.
pub(super) fn exposed(name: &Name, file: &Path) -> Flaw {
    Flaw::new(
        format!("others on this machine can read this file, so the token of {name} is not used"),
        format!("run `chmod 600 {}`; until then that notebook has no token from here", file.display()),
    )
}
