//! A real Slurm cluster: a controller and two nodes of one processor each, which are this machine twice, on loopback or
//! across a cable.
//!
//! Debian's slurmd is not built for several on a machine; it takes them if their names and addresses differ.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::child::{Running, Signal, signal_pid};
use crate::here::Here;
use crate::netns::{HERE, Networks, THERE, give};
use crate::{net, programs, wait};

/// The nodes, which Slurm knows by these names.
pub const NODES: [&str; 2] = ["n1", "n2"];

/// How long a program waits for an answer, in seconds: for a machine that is busy, and for nobody.
const PATIENT: u32 = 60;
const HASTY: u32 = 5;

/// A cluster until it is dropped.
#[derive(Debug)]
pub struct Slurm {
    controller: Option<Running>,
    nodes: Vec<Running>,
    _munge: Running,
    addresses: [IpAddr; 2],
    dir: TempDir,
}

impl Slurm {
    /// Starts one; its nodes are idle when this returns.
    ///
    /// # Errors
    /// munge, slurmctld, slurmd or slurm-client is missing, or the cluster does not come up.
    pub fn start() -> Result<Slurm> {
        let here = Ipv4Addr::LOCALHOST;
        Slurm::at(here.into(), [here.into(), Ipv4Addr::new(127, 0, 0, 2).into()], |start| start())
    }

    /// The same whose controller is here, and whose nodes are there: what listens on their loopback, nobody here reaches.
    ///
    /// # Errors
    /// As [`Slurm::start`].
    pub fn across(networks: &Networks) -> Result<Slurm> {
        let second = Ipv4Addr::new(10, 99, 0, 4);
        networks.there(|| give(second))??;
        Slurm::at(HERE.into(), [THERE, second.into()], |start| networks.there(start)?)
    }

    fn at(
        controller: IpAddr,
        addresses: [IpAddr; 2],
        within: impl Fn(&dyn Fn() -> Result<Running>) -> Result<Running>,
    ) -> Result<Slurm> {
        let dir = tempfile::Builder::new().prefix("nbt-slurm-").tempdir()?;
        let at = dir.path();
        fs::create_dir(at.join("state"))?;
        fs::create_dir(at.join("spool"))?;
        write_key(&at.join("key"))?;
        fs::write(at.join("slurm.conf"), configuration(at, controller, addresses)?)?;
        let file = |name: &str| format!("--{}={}", name, at.join(name).display());
        let mut munge = command("munged", at)?;
        munge.args(["--force", "--foreground", &file("socket"), &file("key-file"), &file("pid-file")]);
        munge.args([file("log-file"), file("seed-file")]);
        fs::rename(at.join("key"), at.join("key-file"))?;
        let munge = Running::spawn(&mut munge)?;
        wait::until("munged listens", wait::SOON, || at.join("socket").exists())?;
        let nodes = NODES.iter().map(|node| {
            within(&|| {
                let mut slurmd = command("slurmd", at)?;
                Running::spawn(slurmd.args(["-D", "-N", node]))
            })
        });
        let nodes = nodes.collect::<Result<_>>()?;
        let mut slurm = Slurm { controller: None, nodes, _munge: munge, addresses, dir };
        slurm.start_controller()?;
        Ok(slurm)
    }

    /// Starts the controller, and waits until both nodes are idle.
    ///
    /// # Errors
    /// They do not become so.
    pub fn start_controller(&mut self) -> Result<()> {
        self.asked_for(PATIENT)?;
        let mut controller = command("slurmctld", self.dir.path())?;
        self.controller = Some(Running::spawn(controller.arg("-D"))?);
        wait::until("two nodes are there", Duration::from_secs(60), || {
            self.run("sinfo", &["-h", "-N", "-o", "%t"]).is_ok_and(|said| {
                said.lines().filter(|state| matches!(*state, "idle" | "alloc" | "mix")).count() == NODES.len()
            })
        })
        .with_context(|| fs::read_to_string(self.dir.path().join("slurmctld.log")).unwrap_or_default())
    }

    /// Ends the controller.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop_controller(&mut self) -> Result<()> {
        if let Some(mut controller) = self.controller.take() {
            controller.signal(Signal::Kill);
            controller.wait(wait::SOON)?;
        }
        self.asked_for(HASTY)
    }

    /// How long programs that are run from now on ask the controller. That is short only while nobody answers.
    fn asked_for(&self, seconds: u32) -> Result<()> {
        let file = self.dir.path().join("slurm.conf");
        let text = fs::read_to_string(&file)?;
        let lines = text.lines().filter(|line| !line.starts_with("MessageTimeout="));
        let kept: String = lines.flat_map(|line| [line, "\n"]).collect();
        Ok(fs::write(&file, format!("{kept}MessageTimeout={seconds}\n"))?)
    }

    /// The controller freezes, or goes on.
    ///
    /// # Errors
    /// There is none, or its configuration cannot be written.
    pub fn signal_controller(&self, signal: Signal) -> Result<()> {
        self.asked_for(if matches!(signal, Signal::Stop) { HASTY } else { PATIENT })?;
        signal_pid(self.controller.as_ref().context("there is no controller")?.id(), signal)
    }

    /// The lines of /etc/hosts that say where the nodes are.
    pub fn hosts(&self) -> String {
        let nodes = NODES.iter().zip(self.addresses).map(|(node, address)| format!("{address} {node}\n"));
        "127.0.0.1 localhost\n::1 localhost\n".chars().chain(nodes.collect::<String>().chars()).collect()
    }

    /// Where its nodes are.
    pub fn addresses(&self) -> [IpAddr; 2] {
        self.addresses
    }

    /// What leads its programs to it.
    pub fn config(&self) -> String {
        self.dir.path().join("slurm.conf").display().to_string()
    }

    /// A login machine of it, where the user has that home directory.
    pub fn login(&self, home: &Path) -> Here {
        NODES.iter().fold(Here::new(home).env("SLURM_CONF", self.config()), |here, node| here.knows(node))
    }

    /// Runs one of its programs, and says what it printed.
    ///
    /// # Errors
    /// It fails.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(programs::system(program)?);
        let said = command.args(arguments).env("SLURM_CONF", self.config()).output()?;
        let errors = String::from_utf8_lossy(&said.stderr).into_owned();
        ensure!(said.status.success(), "{program} {arguments:?}: {errors}");
        Ok(String::from_utf8(said.stdout)?)
    }

    /// The jobs that are in the queue: number, name and state.
    ///
    /// # Errors
    /// squeue fails.
    pub fn jobs(&self) -> Result<Vec<(u64, String, String)>> {
        let said = self.run("squeue", &["-h", "-o", "%A %j %T"])?;
        let mut jobs = Vec::new();
        for line in said.lines() {
            let mut words = line.split(' ');
            let mut next = || words.next().context("too few words").map(str::to_owned);
            jobs.push((next()?.parse()?, next()?, next()?));
        }
        Ok(jobs)
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        // A node that is killed leaves what its jobs run; and without a controller nobody cancels them.
        self.nodes.clear();
        self.controller = None;
        let dir = self.dir.path().display().to_string();
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        for pid in all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
            let env = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            if pid != self._munge.id() && String::from_utf8_lossy(&env).contains(&dir) {
                let _ = signal_pid(pid, Signal::Kill);
            }
        }
    }
}

fn write_key(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    // It keeps nobody out but other clusters of the same tests.
    fs::write(path, format!("{:064}{}", std::process::id(), path.display()))?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
}

fn configuration(at: &Path, host: IpAddr, addresses: [IpAddr; 2]) -> Result<String> {
    let (controller, at) = (net::free_port()?, at.display());
    let mut text = format!(
        "ClusterName=nbt\nSlurmctldHost=localhost({host})\nSlurmUser=root\nSlurmctldPort={controller}\n\
         AuthType=auth/munge\nAuthInfo=socket={at}/socket\nStateSaveLocation={at}/state\nSlurmdSpoolDir={at}/spool/%n\n\
         SlurmctldPidFile={at}/slurmctld.pid\nSlurmdPidFile={at}/slurmd-%n.pid\n\
         SlurmctldLogFile={at}/slurmctld.log\nSlurmdLogFile={at}/slurmd-%n.log\n\
         ProctrackType=proctrack/pgid\nTaskPlugin=task/none\nSelectType=select/cons_tres\nMpiDefault=none\n\
         JobAcctGatherType=jobacct_gather/none\nAccountingStorageType=accounting_storage/none\n\
         SlurmdParameters=config_overrides\nSchedulerParameters=bf_interval=1,sched_min_interval=100000\n\
         ReturnToService=2\nKillWait=2\nMessageTimeout={PATIENT}\n"
    );
    for (node, address) in NODES.iter().zip(addresses) {
        let port = net::free_port()?;
        text.push_str(&format!(
            "NodeName={node} NodeHostname={node} NodeAddr={address} Port={port} CPUs=1 RealMemory=1000\n"
        ));
    }
    text.push_str(&format!("PartitionName=debug Nodes={} Default=YES State=UP\n", NODES.join(",")));
    Ok(text)
}

fn command(program: &str, dir: &Path) -> Result<Command> {
    let mut command = Command::new(programs::system(program)?);
    command.env("SLURM_CONF", dir.join("slurm.conf"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command)
}
