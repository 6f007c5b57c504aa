//! A far end with notebook servers, and a tunnel to it.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::jupyter::Recipe;
use nbtunnel_tests::slurm::Slurm;
use nbtunnel_tests::{Sshd, Told, TunnelFile, World, net};
use serde_json::Value;

/// A far end whose servers write down what they are in a directory of its own.
pub(crate) struct Lab {
    pub(crate) world: World,
    pub(crate) sshd: Sshd,
    runtime: tempfile::TempDir,
    /// Whatever else servers keep.
    _kept: tempfile::TempDir,
}

impl Lab {
    /// With these sections in the file of the tunnel `lab`.
    pub(crate) fn new(sections: &str) -> Result<Lab> {
        Lab::make("", sections, None)
    }

    /// The same with these keys of the tunnel itself.
    pub(crate) fn with(keys: &str, sections: &str) -> Result<Lab> {
        Lab::make(keys, sections, None)
    }

    /// The same on the login machine of a cluster.
    pub(crate) fn beside(sections: &str, slurm: &Slurm) -> Result<Lab> {
        Lab::make("", sections, Some((slurm, None)))
    }

    /// The same where `node` is what ssh finds on all of its nodes.
    pub(crate) fn beside_with_ssh(sections: &str, slurm: &Slurm, node: &Sshd) -> Result<Lab> {
        Lab::make("", sections, Some((slurm, Some(node))))
    }

    fn make(keys: &str, sections: &str, cluster: Option<(&Slurm, Option<&Sshd>)>) -> Result<Lab> {
        let runtime = tempfile::tempdir()?;
        let kept = tempfile::tempdir()?;
        let below = |name: &str| kept.path().join(name).display().to_string();
        let mut places = vec![
            ("JUPYTER_RUNTIME_DIR", runtime.path().display().to_string()),
            ("JUPYTER_CONFIG_DIR", below("config")),
            ("JUPYTER_DATA_DIR", below("data")),
            ("IPYTHONDIR", below("ipython")),
            ("XDG_STATE_HOME", below("state")),
        ];
        if let Some((slurm, _)) = cluster {
            places.push(("SLURM_CONF", slurm.config()));
            // Other tests have nodes of the same names.
            places.push(("XDG_RUNTIME_DIR", below("run")));
            std::fs::create_dir(below("run"))?;
        }
        let places: Vec<String> = places.iter().map(|(name, place)| format!("{name}={place}")).collect();
        let mut sshd = Sshd::with(&[&format!("SetEnv {}", places.join(" "))])?;
        if let Some((slurm, node)) = cluster {
            // Its nodes have names that no other machine knows. And ssh looks for what is the user's in the home of
            // the passwd entry.
            let (hosts, home) = (below("hosts"), below("home"));
            std::fs::write(&hosts, slurm.hosts())?;
            std::fs::create_dir_all(format!("{home}/.ssh"))?;
            std::fs::write(format!("{home}/.ssh/config"), node.map(ssh_config).unwrap_or_default())?;
            sshd.mount(&format!("mount --bind {hosts} /etc/hosts; mount --bind {home} /root"));
            sshd.stop()?;
            sshd.start_again()?;
        }
        let mut world = World::new()?;
        let lab = TunnelFile::to(&sshd);
        let sections = with_ports(sections)?;
        world.write_text("lab", format!("{}\n{keys}{sections}", lab.text()))?;
        world.start()?;
        Ok(Lab { world, sshd, runtime, _kept: kept })
    }

    /// A server there, to be started.
    pub(crate) fn recipe(&self) -> Recipe {
        Recipe::new().runtime_dir(self.runtime_dir())
    }

    /// Where servers write down what they are.
    pub(crate) fn runtime_dir(&self) -> PathBuf {
        self.runtime.path().to_owned()
    }

    /// The processes of the servers that are written down there.
    pub(crate) fn servers(&self) -> Vec<u32> {
        let files = std::fs::read_dir(self.runtime.path()).into_iter().flatten().flatten();
        let names = files.filter_map(|file| file.file_name().into_string().ok());
        let pid = |name: String| name.strip_prefix("jpserver-")?.strip_suffix(".json")?.parse().ok();
        names.filter_map(pid).collect()
    }

    /// What the only server wrote down of itself.
    pub(crate) fn written(&self, key: &str) -> Result<Value> {
        let pid = *self.servers().first().context("no server is written down")?;
        let text = std::fs::read_to_string(self.runtime.path().join(format!("jpserver-{pid}.json")))?;
        Ok(serde_json::from_str::<Value>(&text)?[key].clone())
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

    /// The process of the daemon.
    pub(crate) fn daemon_pid(&self) -> Result<u32> {
        let pid = self.world.status()?["daemon"]["pid"].as_u64().context("no pid")?;
        Ok(u32::try_from(pid)?)
    }

    /// What `nbctl` says, however it ends.
    pub(crate) fn nbctl(&self, args: &[&str]) -> Result<Told> {
        self.world.nbctl(args)
    }
}

/// Ends what the daemon started.
impl Drop for Lab {
    fn drop(&mut self) {
        for pid in self.servers() {
            let _ = nbtunnel_tests::child::signal_pid(pid, nbtunnel_tests::child::Signal::Kill);
        }
    }
}

/// What leads ssh to `node`, whichever node it is asked for.
fn ssh_config(node: &Sshd) -> String {
    let (host, port) = (node.host(), node.port());
    let (key, known) = (node.user_key(), node.known_hosts());
    format!(
        "Host n1 n2\nHostName {host}\nPort {port}\nIdentityFile {}\nUserKnownHostsFile {}\n",
        key.display(),
        known.display()
    )
}

/// The same sections with ports of this machine that are free: a daemon that chooses by itself asks what is free now,
/// and those of other tests choose at the same time.
fn with_ports(sections: &str) -> Result<String> {
    let line = |line: &str| match line.starts_with("[notebook.") && line.matches('.').count() == 1 {
        true => Ok(format!("{line}\nlocal_port = {}\n", net::free_port()?)),
        false => Ok(format!("{line}\n")),
    };
    sections.lines().map(line).collect()
}
