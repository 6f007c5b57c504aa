//! For which notebook a server was started, as its environment tells: two sections that look for whatever runs are two
//! notebooks all the same.

use super::Wanted;

/// What a server was started for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The name of the notebook's directory at the far end, see [`Wanted::started_as`].
    pub(super) notebook: Option<String>,
    /// The number of its job.
    pub(super) job: Option<u64>,
}

/// How what a server was started for goes with what is wanted; what goes better comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// It was started for it.
    Own,
    /// Somebody started it by hand, or it cannot be seen, or who asks starts none.
    Anybodys,
    /// It was started for a notebook that we do not know: on another machine of the user's, or before its section was
    /// called something else.
    Adopted,
    /// It is another notebook's.
    No,
}

impl Mark {
    pub(super) fn fit(&self, wanted: &Wanted) -> Fit {
        if let (Some(job), Some(wanted)) = (self.job, wanted.job) {
            return if job == wanted { Fit::Own } else { Fit::No };
        }
        let Some(notebook) = &self.notebook else { return Fit::Anybodys };
        // One that is named by its port or its directory is meant, whoever started it.
        let is_named = wanted.port.is_some() || wanted.dir.is_some() || wanted.pid.is_some();
        match &wanted.started_as {
            Some(own) if own == notebook => Fit::Own,
            _ if wanted.not.contains(notebook) && !is_named => Fit::No,
            Some(_) => Fit::Adopted,
            None => Fit::Anybodys,
        }
    }
}
