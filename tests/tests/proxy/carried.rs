//! What a tunnel's file says of a server goes along with its Host: without it, ssh itself would not get in.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use nbtunnel_tests::agent::Agent;
use nbtunnel_tests::kerberos::Realm;
use nbtunnel_tests::second_factor::{Factors, SecondFactor};
use nbtunnel_tests::sshd::keygen;
use nbtunnel_tests::terminal::Typist;
use nbtunnel_tests::tunnel_file::{paths, quoted};
use nbtunnel_tests::{Sshd, TunnelFile, World, programs, told, wait};

/// A tunnel `alice` that is up, and what ssh was told of her.
struct Exported {
    world: World,
    ours: String,
}

impl Exported {
    fn new(tunnel: &TunnelFile) -> Result<Exported> {
        let mut world = World::new()?;
        world.write("alice", tunnel)?;
        world.start()?;
        world.wait_for("alice", "up")?;
        let into = world.path("config_of_ssh").display().to_string();
        let told = world.nbctl(["export", "ssh-config", "--yes", "--into", &into])?;
        ensure!(told.code == 0 && !told.stderr.contains("asks a person"), "{told:?}");
        let ours = fs::read_to_string(world.config_dir().join("ssh_config"))?;
        Ok(Exported { world, ours })
    }

    /// Goes to alice as the Host says, but for the lines that begin with `without`.
    fn ssh(&self, without: Option<&str>, args: &[&str], env: &[(&str, &Path)]) -> Result<told::Told> {
        let is_kept = |line: &&str| without.is_none_or(|word| !line.trim_start().starts_with(word));
        let config = self.world.path("lines");
        fs::write(
            &config,
            self.ours.lines().filter(is_kept).map(|line| format!("{line}\n")).collect::<String>(),
        )?;
        let mut ssh = self.world.command(&programs::system("ssh")?);
        ssh.arg("-F").arg(config).args(["-o", "BatchMode=yes"]).args(args).args(["alice", "true"]);
        ssh.envs(env.iter().copied());
        told::tell(&mut ssh, b"", wait::SOON * 3)
    }

    /// Whether ssh tells of `words` when it goes without the lines that begin with `without`.
    fn tells(&self, without: Option<&str>, words: &str) -> Result<bool> {
        let told = self.ssh(without, &["-v"], &[])?;
        ensure!(told.code == 0, "{told:?}");
        Ok(told.stderr.contains(words))
    }

    /// It goes as the Host says, and not without those of its lines that begin with `keyword`.
    fn needs(&self, keyword: &str, args: &[&str], env: &[(&str, &Path)]) -> Result<()> {
        let told = self.ssh(None, args, env)?;
        ensure!(told.code == 0, "{keyword}: {told:?}\n{}", self.ours);
        let told = self.ssh(Some(keyword), args, env)?;
        ensure!(told.code == 255, "it went without {keyword}: {told:?}\n{}", self.ours);
        Ok(())
    }
}

#[test]
fn a_server_with_none_but_old_algorithms_is_reached() -> Result<()> {
    let server =
        ["Ciphers aes128-cbc", "KexAlgorithms diffie-hellman-group14-sha1", "MACs hmac-sha1,hmac-sha2-256"];
    let sshd = Sshd::with(&server)?;
    let old = ["Ciphers=aes128-cbc", "KexAlgorithms=diffie-hellman-group14-sha1", "MACs=hmac-sha1"];
    let exported = Exported::new(&sshd.tunnel().set("options", format!("{old:?}")))?;
    exported.needs("Ciphers", &[], &[])?;
    exported.needs("KexAlgorithms", &[], &[])?;
    // Both could speak another one.
    let spoken = |without| exported.tells(without, "cipher: aes128-cbc MAC: hmac-sha1 ");
    ensure!(spoken(None)? && !spoken(Some("MACs"))?, "{}", exported.ours);
    Ok(())
}

#[test]
fn a_host_key_of_the_kind_that_the_file_wants_is_asked_for() -> Result<()> {
    let mut sshd = Sshd::start()?;
    let other = sshd.path("ecdsa_host_key");
    let mut keygen = Command::new(programs::system("ssh-keygen")?);
    ensure!(keygen.args(["-q", "-t", "ecdsa", "-N", "", "-f"]).arg(&other).status()?.success());
    sshd.stop()?;
    sshd.set(&[&format!("HostKey {}", other.display())]);
    sshd.start_again()?;
    let public = fs::read_to_string(other.with_extension("pub"))?;
    let line = format!("[{}]:{} {public}", sshd.host(), sshd.port());
    fs::write(sshd.known_hosts(), sshd.known_hosts_line()? + &line)?;
    let tunnel = sshd.tunnel().set("options", r#"["HostKeyAlgorithms=ecdsa-sha2-nistp256"]"#);
    let exported = Exported::new(&tunnel)?;
    let is_ecdsa = |without| exported.tells(without, "host key algorithm: ecdsa-sha2-nistp256");
    ensure!(is_ecdsa(None)? && !is_ecdsa(Some("HostKeyAlgorithms"))?, "{}", exported.ours);
    Ok(())
}

#[test]
fn a_certificate_in_a_place_of_its_own_is_shown() -> Result<()> {
    let mut sshd = Sshd::start()?;
    let (authority, badge) = (sshd.path("authority"), sshd.path("badge-cert.pub"));
    keygen(&authority, "")?;
    let mut sign = Command::new(programs::system("ssh-keygen")?);
    sign.args(["-q", "-I", "badge", "-n", sshd.user(), "-s"]).arg(&authority);
    ensure!(sign.arg(sshd.path("user_key.pub")).status()?.success());
    fs::rename(sshd.path("user_key-cert.pub"), &badge)?;
    fs::write(sshd.path("authorized_keys"), "")?;
    sshd.stop()?;
    sshd.set(&[&format!("TrustedUserCAKeys {}", authority.with_extension("pub").display())]);
    sshd.start_again()?;
    let option = quoted(&format!("CertificateFile={}", badge.display()));
    let exported = Exported::new(&sshd.tunnel().set("options", format!("[{option}]")))?;
    exported.needs("CertificateFile", &[], &[])
}

#[test]
fn an_agent_that_no_shell_knows_of_is_asked() -> Result<()> {
    let (sshd, agent) = (Sshd::start()?, Agent::start()?);
    agent.add(&sshd.user_key())?;
    let option = quoted(&format!("IdentityAgent={}", agent.socket().display()));
    let tunnel = sshd.tunnel().set("options", format!("[{option}]"));
    let exported = Exported::new(&tunnel.set("identity_file", paths(&[&sshd.path("no_key")])))?;
    exported.needs("IdentityAgent", &[], &[])
}

#[test]
fn a_ticket_is_used_where_the_file_says_so() -> Result<()> {
    // The tunnel itself logs in by its key, whatever the daemon was built with.
    let mut sshd = Sshd::with(&["GSSAPIAuthentication yes", "GSSAPIStrictAcceptorCheck no"])?;
    let realm = Realm::start(sshd.user())?;
    sshd.stop()?;
    sshd.set_env("KRB5_CONFIG", realm.config());
    sshd.start_again()?;
    realm.kinit(600)?;
    let tunnel = sshd.tunnel().set("options", r#"["GSSAPIAuthentication=yes"]"#);
    let config = realm.config();
    let env: [(&str, &Path); 1] = [("KRB5_CONFIG", &config)];
    Exported::new(&tunnel)?.needs("GSSAPIAuthentication", &["-o", "PubkeyAuthentication=no"], &env)?;
    ensure!(sshd.count_log("Accepted gssapi-with-mic") == 1, "{}", sshd.log());
    Ok(())
}

#[test]
fn what_only_a_jump_host_asks_is_not_announced() -> Result<()> {
    let factor = SecondFactor::new(Factors::Code)?;
    let gate = factor.sshd(&["AuthenticationMethods publickey,keyboard-interactive"])?;
    let (sshd, mut world) = (Sshd::start()?, World::new()?);
    let config = world.path("ssh_config");
    let host = format!(
        "Host gate\n HostName {}\n Port {}\n User {}\n IdentityFile {}\n UserKnownHostsFile {}\n",
        gate.host(),
        gate.port(),
        gate.user(),
        gate.user_key().display(),
        gate.known_hosts().display()
    );
    fs::write(&config, host)?;
    let tunnel = sshd.tunnel().set("ssh_config", quoted(&config.display().to_string()));
    world.write("alice", &tunnel.set("jump", r#"["gate"]"#))?;
    world.start()?;
    let parked = world.wait_for("alice", "parked")?;
    ensure!(parked["problem"]["code"] == "answer_needed", "{parked:#}");
    let into = world.path("config_of_ssh").display().to_string();
    let told = world.nbctl(["export", "ssh-config", "--yes", "--into", &into])?;
    ensure!(told.code == 0 && told.stderr.contains("alice") && !told.stderr.contains("asks"), "{told:?}");
    Ok(())
}

#[test]
fn a_second_factor_is_announced_before_the_first_login_and_after_it() -> Result<()> {
    let mut factor = SecondFactor::new(Factors::Code)?;
    let sshd = factor.sshd(&["AuthenticationMethods publickey,keyboard-interactive"])?;
    let (easy, mut world) = (Sshd::start()?, World::new()?);
    world.write("alice", &sshd.tunnel())?;
    world.write("easy", &easy.tunnel())?;
    world.start()?;
    world.wait_for("alice", "parked")?;
    world.wait_for("easy", "up")?;
    let into = world.path("config_of_ssh").display().to_string();
    let said = || -> Result<String> {
        let told = world.nbctl(["export", "ssh-config", "--yes", "--into", &into])?;
        ensure!(told.code == 0 && !told.stderr.contains("easy asks"), "{told:?}");
        Ok(told.stderr)
    };
    let sentence = "alice asks a person at each login, a second factor perhaps";
    ensure!(said()?.contains(sentence), "{}", said()?);
    let mut person = Typist::run(&world.nbctl_command(["unlock", "alice"]))?;
    let code = factor.code()?;
    person.answers("Verification code:", &code)?;
    ensure!(person.ends()? == 0, "{}", person.shown());
    world.wait_for("alice", "up")?;
    ensure!(said()?.contains(sentence), "{}", said()?);
    // And so it is: the inner ssh is asked for a code of its own.
    let mut ssh = world.command(&programs::system("ssh")?);
    ssh.args(["-F", &into, "alice", "echo", "in"]);
    let mut person = Typist::run(&ssh)?;
    let code = factor.code()?;
    person.answers("Verification code:", &code)?;
    person.sees("in")?;
    ensure!(person.ends()? == 0, "{}", person.shown());
    Ok(())
}
