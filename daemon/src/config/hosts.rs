//! What ssh says of the hosts of all tunnels: asked a few at a time, and again only when a file of ssh_config changed.
//!
//! Blocks, as the rest of a reading does. Whoever asks gets an answer within seconds whatever ssh does.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use nbtunnel_core::{Failure, FailureKind};
use tokio::runtime::Builder;

use crate::ssh_config::{self, ConfigFile, HostConfig, Query};

/// How many are asked for at a time.
const AT_ONCE: usize = 8;
/// How long all of them may take together. One takes a few milliseconds, but a `Match exec` may hang for each.
const ALTOGETHER: Duration = Duration::from_secs(20);
const LONGEST_FILE: u64 = 1 << 20;

/// What ssh says of one host; nothing, where there is no ssh.
pub(super) type Answer = Result<Option<Arc<HostConfig>>, Failure>;

/// What is known of the hosts of one reading.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers(BTreeMap<Query, Answer>);

impl Answers {
    pub(super) fn get(&self, query: &Query) -> Option<&Answer> {
        self.0.get(query)
    }

    /// Differs when an answer differs.
    pub(super) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (query, answer) in &self.0 {
            query.hash(&mut hasher);
            match answer {
                Ok(host) => host.hash(&mut hasher),
                Err(failure) => (failure.kind, &failure.message).hash(&mut hasher),
            }
        }
        hasher.finish()
    }
}

/// Everything that was asked, and the state of the files that it was asked in.
#[derive(Debug)]
pub(super) struct Hosts {
    home: PathBuf,
    known: BTreeMap<Query, Known>,
    /// Files that ssh read though their names were not seen in the text of the others.
    unseen: BTreeMap<ConfigFile, BTreeSet<PathBuf>>,
    places: Places,
}

#[derive(Debug)]
struct Known {
    answer: Answer,
    state: u64,
}

/// Where ssh_config stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// Files that were read, or would have been.
    pub(super) files: BTreeSet<PathBuf>,
    /// Directories in which a new file may count.
    pub(super) dirs: BTreeSet<PathBuf>,
}

impl Hosts {
    pub(super) fn new(home: &Path) -> Hosts {
        let (known, unseen) = (BTreeMap::new(), BTreeMap::new());
        Hosts { home: home.to_owned(), known, unseen, places: Places::default() }
    }

    /// Asks for everything anew: a `Match exec` may say something else today.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }

    /// What was looked at for the last answers.
    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    /// The answers for `queries`, an answer for each.
    pub(super) fn ask(&mut self, queries: &BTreeSet<Query>) -> Answers {
        // The files are looked at before ssh reads them: what changes meanwhile is asked for again.
        self.places = Places::default();
        let configs: BTreeSet<&ConfigFile> = queries.iter().map(|query| &query.config).collect();
        let states: BTreeMap<&ConfigFile, u64> =
            configs.into_iter().map(|config| (config, self.look(config))).collect();
        let state = |query: &Query| states.get(&query.config).copied().unwrap_or_default();
        let is_known = |query: &&Query| {
            self.known
                .get(query)
                .is_some_and(|known| known.state == state(query) && !is_passing(&known.answer))
        };
        let new: Vec<Query> = queries.iter().filter(|query| !is_known(query)).cloned().collect();
        let mut fresh = ask_all(new);
        let mut answers = BTreeMap::new();
        for query in queries {
            let before = self.known.remove(query);
            let state = state(query);
            let known = match (fresh.remove(query), before) {
                (None, Some(known)) => known,
                (Some(answer), Some(before)) if is_passing(&answer) && before.answer.is_ok() => {
                    // What it said last is better than nothing; it is asked again.
                    Known { state: !state, ..before }
                }
                (answer, _) => Known { answer: answer.unwrap_or_else(|| Err(too_late(query))), state },
            };
            let answer = &known.answer;
            if let Ok(Some(host)) = answer {
                let unseen = host.read_from.iter().filter(|place| !self.places.covers(place)).cloned();
                self.unseen.entry(query.config.clone()).or_default().extend(unseen);
            }
            answers.insert(query.clone(), known);
        }
        self.known = answers;
        Answers(self.known.iter().map(|(query, known)| (query.clone(), known.answer.clone())).collect())
    }

    /// Notes the places of `config`, and hashes what is there.
    fn look(&mut self, config: &ConfigFile) -> u64 {
        let roots = match config {
            ConfigFile::None => return 0,
            ConfigFile::Usual => ssh_config::usual_files(&self.home).to_vec(),
            ConfigFile::At(path) => vec![path.clone()],
        };
        let mut hasher = DefaultHasher::new();
        let mut files: BTreeSet<PathBuf> = self.unseen.get(config).cloned().unwrap_or_default();
        for root in roots {
            let seen = ssh_config::follow(&root, &self.home);
            files.extend(seen.files);
            for pattern in seen.includes {
                let matches = glob::glob(&pattern).into_iter().flatten().flatten();
                (&pattern, matches.collect::<Vec<PathBuf>>()).hash(&mut hasher);
                self.places.dirs.extend(fixed_part(Path::new(&pattern)));
            }
        }
        for file in &files {
            (file, contents(file)).hash(&mut hasher);
        }
        self.places.files.extend(files);
        hasher.finish()
    }
}

impl Places {
    fn covers(&self, place: &Path) -> bool {
        self.files.contains(place) || self.dirs.iter().any(|dir| place.parent() == Some(dir))
    }
}

/// The directory below which a pattern looks.
fn fixed_part(pattern: &Path) -> Option<PathBuf> {
    let is_wild = |dir: &Path| dir.to_string_lossy().contains(['*', '?', '[']);
    pattern.ancestors().skip(1).find(|dir| !is_wild(dir)).map(Path::to_owned)
}

fn contents(file: &Path) -> Option<Vec<u8>> {
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::open(file).ok()?.take(LONGEST_FILE).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Whether it may be another the next time, though no file changed.
fn is_passing(answer: &Answer) -> bool {
    answer.as_ref().is_err_and(|failure| failure.kind != FailureKind::Config)
}

fn too_late(query: &Query) -> Failure {
    Failure::new(
        FailureKind::TimedOut,
        format!("ssh was not asked for {:?}: it was too slow for other hosts", query.host),
        "look at Match exec and CanonicalizeHostname in ssh_config",
    )
}

/// Those that are answered in time.
fn ask_all(queries: Vec<Query>) -> BTreeMap<Query, Answer> {
    let mut answers = BTreeMap::new();
    if queries.is_empty() {
        return answers;
    }
    // A runtime of its own, since this blocks wherever it is called from.
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = Failure::new(
                FailureKind::Exhausted,
                format!("ssh could not be asked: {error}"),
                "close other programs; it is tried again by itself",
            );
            return queries.into_iter().map(|query| (query, Err(failure.clone()))).collect();
        }
    };
    runtime.block_on(async {
        let asks = stream::iter(queries).map(|query| async move {
            let answer = ssh_config::ask(&query).await.map(|host| host.map(Arc::new));
            (query, answer)
        });
        let mut asks = pin!(asks.buffer_unordered(AT_ONCE));
        let mut late = pin!(tokio::time::sleep(ALTOGETHER));
        loop {
            tokio::select! {
                () = &mut late => return,
                next = asks.next() => match next {
                    Some((query, answer)) => drop(answers.insert(query, answer)),
                    None => return,
                },
            }
        }
    });
    answers
}
