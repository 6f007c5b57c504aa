//! Systems whose service managers keep no environment beside that of their programs.

use std::path::PathBuf;

/// No environment.
#[derive(Default)]
pub(super) struct Environment;

impl Environment {
    /// Nothing.
    pub(super) async fn get(&self, _name: &str) -> Option<PathBuf> {
        None
    }
}
