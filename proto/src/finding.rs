//! What `nbctl doctor` is told: one look at one layer, field for field what `--json` prints.

use serde::{Deserialize, Serialize};

/// What a look at one layer found. The layers of a way are looked at in the order in which a connection meets
/// them; the first that is `broken` is what keeps the tunnel from working.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which tunnel; `None` for what all tunnels share.
    pub tunnel: Option<String>,
    /// A stable snake_case word: `daemon`, `build`, `config`, `ssh_config`, `way`, `dns`, `tcp`, `banner`,
    /// `key_exchange`, `host_key`, `agent`, `credentials`, `authentication`, `listener`, `target` or `remote`; behind
    /// these, for each notebook, `notebook` (is its server there, and whose), `server`, `token` and `kernel`.
    pub layer: String,
    /// Which machine on the way, as `host:port`.
    pub hop: Option<String>,
    /// Which forward, as `listen:target`, or which notebook, by its name.
    pub forward: Option<String>,
    /// `ok`, `warn`, `broken` or `skipped`.
    pub verdict: String,
    /// The stable word of the failure, as in [`crate::Problem`], where something is broken.
    pub code: Option<String>,
    /// What was found.
    pub message: String,
    /// What to do; empty when there is nothing to be done.
    pub hint: String,
    /// How long it took, in milliseconds, where something was waited for.
    pub took_ms: Option<u64>,
}
