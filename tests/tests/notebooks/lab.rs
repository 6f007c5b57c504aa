//! A far end with notebook servers, and a tunnel to it.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::jupyter::Recipe;
use nbtunnel_tests::{Sshd, Told, TunnelFile, World};
use serde_json::Value;

/// A far end whose servers write down what they are in a directory of its own.
pub(crate) struct Lab {
    pub(crate) world: World,
    pub(crate) sshd: Sshd,
    runtime: tempfile::TempDir,
}

impl Lab {
    /// With these sections in the file of the tunnel `lab`.
    pub(crate) fn new(sections: &str) -> Result<Lab> {
        let runtime = tempfile::tempdir()?;
        let sshd = Sshd::with(&[&format!("SetEnv JUPYTER_RUNTIME_DIR={}", runtime.path().display())])?;
        let mut world = World::new()?;
        let lab = TunnelFile::to(&sshd);
        world.write_text("lab", format!("{}\n{sections}", lab.text()))?;
        world.start()?;
        Ok(Lab { world, sshd, runtime })
    }

    /// A server there, to be started.
    pub(crate) fn recipe(&self) -> Recipe {
        Recipe::new().runtime_dir(self.runtime_dir())
    }

    /// Where servers write down what they are.
    pub(crate) fn runtime_dir(&self) -> PathBuf {
        self.runtime.path().to_owned()
    }

    /// The notebook of this name as `nbctl status --json` shows it.
    pub(crate) fn notebook(&self, name: &str) -> Result<Value> {
        let tunnel = self.world.tunnel("lab")?;
        let all = tunnel["notebooks"].as_array().context("no notebooks")?;
        all.iter().find(|notebook| notebook["name"] == name).cloned().context("no such notebook")
    }

    /// Waits until the notebook fits.
    pub(crate) fn until(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        self.world.wait_until("lab", what, |_| self.notebook(name).is_ok_and(|notebook| holds(&notebook)))?;
        self.notebook(name)
    }

    /// Waits until it is found.
    pub(crate) fn found(&self, name: &str) -> Result<Value> {
        self.until(name, "the notebook is found", |notebook| notebook["state"] == "found")
    }

    /// Its port on this machine.
    pub(crate) fn port(&self, name: &str) -> Result<u16> {
        let port = self.notebook(name)?["local_port"].as_u64().context("no port")?;
        Ok(u16::try_from(port)?)
    }

    /// What `nbctl COMMAND NAME` prints, a line; it has to work.
    pub(crate) fn says(&self, command: &str, name: &str) -> Result<String> {
        let told = self.world.nbctl([command, name])?;
        ensure!(told.code == 0, "nbctl {command} {name}: {told:?}");
        Ok(told.stdout.trim_end().to_owned())
    }

    /// What `nbctl` says, however it ends.
    pub(crate) fn nbctl(&self, args: &[&str]) -> Result<Told> {
        self.world.nbctl(args)
    }
}
