//! What a tunnel is called in ssh: never what means something already, and never what leads the tunnel into itself.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use nbtunnel_tests::{Sshd, TunnelFile, World, programs, told, wait};

/// A user's ssh_config, with a file that it includes, and tunnels that are not wanted.
struct Desk {
    world: World,
    sshd: Sshd,
    config: PathBuf,
}

impl Desk {
    /// `{inner}` stands for what ssh has to know of the server, but for its name.
    fn new(config: &str, included: &str, tunnels: &[(&str, &str)]) -> Result<Desk> {
        let (sshd, mut world) = (Sshd::start()?, World::new()?);
        let desk = |text: &str| {
            let inner = format!(
                " HostName 127.0.0.1\n Port {}\n User {}\n IdentityFile {}\n UserKnownHostsFile {}\n \
                 IdentitiesOnly yes\n IdentityAgent none\n",
                sshd.port(),
                sshd.user(),
                sshd.user_key().display(),
                sshd.known_hosts().display(),
            );
            text.replace("{inner}", &inner)
        };
        let (file, more) = (world.path("config_of_ssh"), world.path("more"));
        fs::write(&more, desk(included))?;
        fs::write(&file, format!("Include {}\n{}", more.display(), desk(config)))?;
        for (name, host) in tunnels {
            let tunnel = TunnelFile::default()
                .set("host", format!("{host:?}"))
                .set("ssh_config", format!("{:?}", file.display().to_string()))
                .set("start", "\"manual\"");
            world.write(name, &tunnel)?;
        }
        world.start()?;
        for (name, _) in tunnels {
            world.wait_for(name, "stopped")?;
        }
        Ok(Desk { world, sshd, config: file })
    }

    fn export(&self, more: &[&str]) -> Result<told::Told> {
        let into = self.config.display().to_string();
        let told = self.world.nbctl([&["export", "ssh-config", "--yes", "--into", &into], more].concat())?;
        ensure!(told.code == 0, "{told:?}");
        Ok(told)
    }

    fn ours(&self) -> Result<String> {
        Ok(fs::read_to_string(self.world.config_dir().join("ssh_config"))?)
    }

    /// The names that ssh was given.
    fn hosts(&self) -> Result<Vec<String>> {
        Ok(self.ours()?.lines().filter_map(|line| line.strip_prefix("Host ")).map(str::to_owned).collect())
    }

    fn ssh(&self, args: &[&str]) -> Result<told::Told> {
        let mut ssh = Command::new(programs::system("ssh")?);
        ssh.arg("-F").arg(&self.config).args(["-o", "BatchMode=yes"]).args(args);
        told::tell(&mut ssh, b"", wait::SOON * 3)
    }
}

#[test]
fn what_means_something_to_ssh_already_is_left_to_the_user() -> Result<()> {
    let tunnels = ["aside", "fits1", "matched", "bastion", "plain", "nbt-aside"];
    let tunnels = tunnels.map(|name| (name, "127.0.0.1"));
    let config = "Host fits*\n ForwardAgent yes\nMatch originalhost matched\n User else\nHost *\n LogLevel ERROR\n\
                  Host far\n ProxyJump me@bastion:22\n";
    let desk = Desk::new(config, "Host other ASIDE # said aside\n", &tunnels)?;
    let told = desk.export(&[])?;
    let given = ["nbt-aside", "nbt-aside-2", "nbt-bastion", "nbt-fits1", "nbt-matched", "plain"];
    ensure!(desk.hosts()? == given, "{:?} {told:?}", desk.hosts()?);
    ensure!(
        told.stderr.contains("aside means something to ssh already: this one is `ssh nbt-aside-2`"),
        "{told:?}"
    );
    ensure!(desk.export(&[])?.stderr.contains("nothing changes"), "what is ours does not count");
    // One that was given a name keeps it where the user goes over it, and not where it is the user's own now.
    let mine = fs::read_to_string(&desk.config)?;
    fs::write(&desk.config, format!("{mine}Host further\n ProxyJump plain\n"))?;
    ensure!(desk.export(&["plain"])?.stderr.contains("nothing changes"));
    fs::write(&desk.config, format!("{mine}Host plain\n"))?;
    desk.export(&["plain"])?;
    ensure!(desk.hosts()?.contains(&"nbt-plain".to_owned()), "{:?}", desk.hosts()?);
    Ok(())
}

#[test]
fn a_tunnel_does_not_find_the_way_through_itself() -> Result<()> {
    // One is called as its own host, one as the jump host before it, one as what another one is reached over.
    let tunnels = [("gpu", "gpu"), ("login", "inner"), ("gate", "gpu"), ("by", "piped")];
    let config = "Host inner\n{inner} ProxyJump login\nHost logi?\n HostName localhost\n StrictHostKeyChecking accept-new\n\
                  {inner}Host piped\n{inner} ProxyCommand ssh -F {config} -W %h:%p gate\n\
                  Host gat?\n{inner}Host *\n{inner}";
    let desk = Desk::new(config, "", &tunnels)?;
    let text = fs::read_to_string(&desk.config)?.replace("{config}", &desk.config.display().to_string());
    fs::write(&desk.config, text)?;
    desk.export(&[])?;
    ensure!(desk.hosts()? == ["by", "nbt-gate", "nbt-gpu", "nbt-login"], "{:?}", desk.hosts()?);
    for (name, _) in tunnels {
        ensure!(desk.world.nbctl(["start", name, "--wait"])?.code == 0, "{:#}", desk.world.tunnel(name)?);
    }
    for name in desk.hosts()? {
        let told = desk.ssh(&[&name, "echo", "there"])?;
        ensure!(told.stdout == "there\n", "{name}: {told:?}");
    }
    Ok(())
}

#[test]
fn a_circle_that_is_made_by_hand_is_a_sentence() -> Result<()> {
    let desk = Desk::new("Host gpu\n{inner}", "", &[("alice", "gpu")])?;
    let by_hand = format!(
        "Host gpu\n ProxyCommand {} --socket {} proxy alice\n{}",
        desk.world.programs().nbctl.display(),
        desk.world.socket().display(),
        fs::read_to_string(&desk.config)?,
    );
    fs::write(&desk.config, by_hand)?;
    ensure!(desk.world.nbctl(["start", "alice"])?.code == 0);
    desk.world.wait_until("alice", "it says so", |alice| {
        alice["problem"]["message"]
            .as_str()
            .is_some_and(|why| why.contains("the way of alice leads through alice itself"))
    })?;
    Ok(())
}

#[test]
fn one_that_was_never_up_leads_where_ssh_config_says() -> Result<()> {
    let desk = Desk::new("Host gpu\n{inner} CertificateFile ~/no-cert.pub\n", "", &[("alice", "gpu")])?;
    let broken = desk.world.path("broken");
    fs::write(&broken, "")?;
    let bad = TunnelFile::default().set("host", "\"h\"").set("start", "\"manual\"");
    desk.world.write("bad", &bad.set("ssh_config", format!("{:?}", broken.display().to_string())))?;
    desk.world.wait_for("bad", "stopped")?;
    fs::write(&broken, "NoSuchWord yes\n")?;
    let told = desk.export(&[])?;
    ensure!(told.stderr.contains("bad stays as it was, since it is not clear where it leads"), "{told:?}");
    let ours = desk.ours()?;
    let key = format!("IdentityFile {}\n", desk.sshd.user_key().display());
    let port = format!("Port {}\n", desk.sshd.port());
    let said =
        ["Host alice\n", "HostName 127.0.0.1\n", &port, &key, "IdentitiesOnly yes\n", "IdentityAgent none\n"];
    for line in said {
        ensure!(ours.contains(line), "{line:?} is not in {ours}");
    }
    ensure!(ours.contains("/no-cert.pub\n") && ours.contains("CertificateFile /"), "{ours}");
    ensure!(!ours.contains("bad"), "{ours}");
    let alone = desk.world.nbctl(["export", "putty", "bad"])?;
    ensure!(
        alone.code == 1 && alone.stdout.is_empty() && alone.stderr.contains("where bad leads is not clear"),
        "{alone:?}"
    );
    ensure!(desk.world.nbctl(["start", "alice", "--wait"])?.code == 0);
    let told = desk.ssh(&["alice", "echo", "there"])?;
    ensure!(told.stdout == "there\n", "{told:?}");
    Ok(())
}
