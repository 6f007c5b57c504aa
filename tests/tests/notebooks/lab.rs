//! A far end with notebook servers, and a tunnel to it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::jupyter::Recipe;
use nbtunnel_tests::programs::write_program;
use nbtunnel_tests::slurm::Slurm;
use nbtunnel_tests::told::tell;
use nbtunnel_tests::tunnel_file::quoted;
use nbtunnel_tests::{Sshd, Told, TunnelFile, World, net, wait};
use serde_json::Value;

/// Follows every address, keeps cookies, and takes any certificate, as somebody does who is asked.
const BROWSER: &str = "#!/bin/sh\necho \"$@\" >\"$0.called\"\n\
    curl -ksSL -b '' --noproxy '*' --max-time 20 -o \"$0.page\" -w '%{http_code} %{url_effective}' \"$1\" \
    >\"$0.part\" 2>&1\nmv \"$0.part\" \"$0.led\"\n";

/// What came of opening a notebook in the browser.
#[derive(Debug)]
pub(crate) struct Visit {
    /// What `nbctl open` said.
    pub(crate) told: Told,
    /// The words that the browser was called with.
    pub(crate) called: String,
    /// The status of the last page, and its address.
    pub(crate) led: String,
    /// That page.
    pub(crate) page: String,
}

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
        Lab::make("", sections, Some((slurm, Nodes::Closed)))
    }

    /// The same where `node` is what ssh finds on all of its nodes, with the keys that are on the login machine.
    pub(crate) fn beside_with_ssh(sections: &str, slurm: &Slurm, node: &Sshd) -> Result<Lab> {
        Lab::make("", sections, Some((slurm, Nodes::FromLogin(node))))
    }

    /// The same with keys that are only here.
    pub(crate) fn beside_with_ssh_from_here(sections: &str, slurm: &Slurm, node: &Sshd) -> Result<Lab> {
        Lab::make("", sections, Some((slurm, Nodes::FromHere(node))))
    }

    fn make(keys: &str, sections: &str, cluster: Option<(&Slurm, Nodes)>) -> Result<Lab> {
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
        if let Some((slurm, _)) = &cluster {
            places.push(("SLURM_CONF", slurm.config()));
            // Other tests have nodes of the same names.
            places.push(("XDG_RUNTIME_DIR", below("run")));
            std::fs::create_dir(below("run"))?;
        }
        let places: Vec<String> = places.iter().map(|(name, place)| format!("{name}={place}")).collect();
        let mut sshd = Sshd::with(&[&format!("SetEnv {}", places.join(" "))])?;
        if let Some((slurm, nodes)) = &cluster {
            // Its nodes have names that no other machine knows. And ssh looks for what is the user's in the home of
            // the passwd entry.
            let (hosts, home) = (below("hosts"), below("home"));
            std::fs::write(&hosts, slurm.hosts())?;
            std::fs::create_dir_all(format!("{home}/.ssh"))?;
            std::fs::write(format!("{home}/.ssh/config"), nodes.on_login())?;
            sshd.mount(&format!("mount --bind {hosts} /etc/hosts; mount --bind {home} /root"));
            sshd.stop()?;
            sshd.start_again()?;
        }
        let mut world = World::new()?;
        let mut lab = TunnelFile::to(&sshd);
        if let Some((_, Nodes::FromHere(node))) = &cluster {
            let config = world.path("ssh_config");
            std::fs::write(&config, ssh_config(node))?;
            lab = lab.set("ssh_config", quoted(&config.display().to_string()));
        }
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
        let mut last = None;
        // Some servers take their time, and some things are looked at only every half a minute.
        let found = wait::until_some(what, wait::SOON * 4, || {
            last = self.notebook(name).ok();
            last.clone().filter(|notebook| holds(notebook))
        });
        found.with_context(|| format!("{last:?}"))
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

    /// Opens it in a browser that writes down how it was called and where that led it.
    pub(crate) fn browse(&self, args: &[&str]) -> Result<Visit> {
        let browser = self.world.path("browser");
        let beside = |what: &str| browser.with_extension(what);
        if !browser.exists() {
            write_program(&browser, BROWSER)?;
        }
        let mut open = self.world.nbctl_command(["open"].iter().chain(args));
        let told = tell(open.env("BROWSER", &browser), &[], wait::SOON)?;
        ensure!(told.code == 0, "{told:?}");
        let led =
            wait::until_some("the browser is there", wait::SOON, || fs::read_to_string(beside("led")).ok())?;
        fs::remove_file(beside("led"))?;
        // Where it gets nowhere, there is none, and what it was told instead stands in the place of the address.
        let page = fs::read_to_string(beside("page")).unwrap_or_default();
        Ok(Visit { told, called: fs::read_to_string(beside("called"))?, led, page })
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
        // A file stays where its server was killed, and its number may be somebody else's by now.
        let means = format!("JUPYTER_RUNTIME_DIR={}", self.runtime.path().display());
        let is_there = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|entry| entry == means.as_bytes())
        };
        for pid in self.servers().into_iter().filter(is_there) {
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

/// From where ssh gets to the nodes of a cluster.
enum Nodes<'a> {
    Closed,
    FromLogin(&'a Sshd),
    FromHere(&'a Sshd),
}

impl Nodes<'_> {
    /// What ssh_config says on the login machine.
    fn on_login(&self) -> String {
        match self {
            Nodes::FromLogin(node) => ssh_config(node),
            Nodes::Closed | Nodes::FromHere(_) => String::new(),
        }
    }
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
