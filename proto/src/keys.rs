//! The keys that a tunnel offers to its server, and what the server makes of them.

use serde::{Deserialize, Serialize};

/// All that a tunnel offers to the server at its end, field for field what `--json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// The account there, as `user@host:port`.
    pub account: String,
    /// In the order in which they are offered.
    pub keys: Vec<OfferedKey>,
    /// What cannot be offered, and why, a sentence each.
    pub notes: Vec<String>,
    /// Whether it was logged in to; `None` where nobody tried.
    pub let_in: Option<bool>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedKey {
    /// The file of the private half; `None` for one that only an agent has.
    pub file: Option<String>,
    /// Who signs with it: `agent`, `file`, or `locked` for a file that needs its passphrase first.
    pub holder: String,
    /// The public half, as it stands in `authorized_keys`; `None` for encrypted files of old formats.
    pub public: Option<String>,
    /// `SHA256:…` of it.
    pub fingerprint: Option<String>,
    /// The name of the certificate that is offered for it (`ssh-keygen -I`).
    pub certificate: Option<String>,
    /// `taken` or `refused`, where the server saw it.
    pub verdict: Option<String>,
}
