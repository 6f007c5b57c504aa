//! The rows: each way to log in, with the servers that it takes and what their logs must say of it.

use std::any::Any;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::dropbear::Dropbear;
use nbtunnel_tests::kerberos::Realm;
use nbtunnel_tests::programs::{self, with_kerberos};
use nbtunnel_tests::second_factor::{Factors, PASSWORD, SecondFactor};
use nbtunnel_tests::sshd::keygen;
use nbtunnel_tests::tunnel_file::{paths, quoted};
use nbtunnel_tests::{Agent, Sshd, TunnelFile, World};

/// One way to log in, ready to be tried.
pub(crate) struct Login {
    pub(crate) world: World,
    pub(crate) file: TunnelFile,
    /// Another build of the daemon.
    pub(crate) daemon: Option<PathBuf>,
    /// What is asked, in its order, and what to say.
    pub(crate) answers: Vec<(&'static str, String)>,
    /// Logs, and what stands there once afterwards.
    pub(crate) proofs: Vec<(PathBuf, String)>,
    /// The columns that the server does not know.
    pub(crate) refuses: Vec<&'static str>,
    /// What has to live as long.
    _servers: Vec<Box<dyn Any>>,
}

impl Login {
    /// To `sshd`, whose log says `proofs` of it.
    fn to(sshd: Sshd, proofs: &[&str]) -> Result<Login> {
        let log = sshd.path("log");
        Ok(Login {
            world: World::new()?,
            file: sshd.tunnel(),
            daemon: None,
            answers: Vec::new(),
            proofs: proofs.iter().map(|&text| (log.clone(), text.to_owned())).collect(),
            refuses: Vec::new(),
            _servers: vec![Box::new(sshd)],
        })
    }

    fn beside(mut self, server: impl Any) -> Login {
        self._servers.push(Box::new(server));
        self
    }
}

type Row = (&'static str, fn() -> Result<Login>);

pub(crate) const LOGINS: [Row; 17] = [
    ("ed25519", || key("ed25519", "256", "ssh-ed25519", "ssh2: ED25519 SHA256:")),
    ("ecdsa with 256 bits", || key("ecdsa", "256", "ecdsa-sha2-nistp256", "ssh2: ECDSA SHA256:")),
    ("ecdsa with 384 bits", || key("ecdsa", "384", "ecdsa-sha2-nistp384", "ssh2: ECDSA SHA256:")),
    ("ecdsa with 521 bits", || key("ecdsa", "521", "ecdsa-sha2-nistp521", "ssh2: ECDSA SHA256:")),
    ("rsa-sha2-256", || key("rsa", "2048", "rsa-sha2-256", "ssh2: RSA SHA256:")),
    ("rsa-sha2-512", || key("rsa", "2048", "rsa-sha2-512", "ssh2: RSA SHA256:")),
    ("a user certificate", user_certificate),
    ("a host certificate", host_certificate),
    ("a key of an agent", agent),
    ("a key with a passphrase", passphrase),
    ("a password", password),
    ("a password and a code by PAM", second_factor),
    ("a key, then a code", key_then_code),
    ("GSSAPI", gssapi),
    ("two jump hosts", jumps),
    ("a ProxyCommand", proxy_command),
    ("dropbear", dropbear),
];

/// What shows which algorithms were used.
const IN_DETAIL: &str = "LogLevel DEBUG1";
const NO_PASSWORD: &str = "KbdInteractiveAuthentication no";

/// Runs ssh-keygen, quietly.
fn ssh_keygen<A: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = A>) -> Result<()> {
    let status = Command::new(programs::system("ssh-keygen")?).arg("-q").args(arguments).status()?;
    ensure!(status.success(), "ssh-keygen failed");
    Ok(())
}

/// The words of the public key beside `key`, without its comment.
fn public(key: &Path) -> Result<String> {
    let text = fs::read_to_string(key.with_extension("pub"))?;
    Ok(text.split(' ').take(2).collect::<Vec<_>>().join(" "))
}

/// A key of that kind, at a server that takes no signature but by `algorithm`.
fn key(kind: &str, bits: &str, algorithm: &str, proof: &str) -> Result<Login> {
    let only = format!("PubkeyAcceptedAlgorithms {algorithm}");
    let sshd = Sshd::with(&[&only])?;
    let path = sshd.path("key");
    let what = ["-t", kind, "-b", bits, "-N", "", "-f"].map(PathBuf::from);
    ssh_keygen(what.into_iter().chain([path.clone()]))?;
    fs::copy(path.with_extension("pub"), sshd.path("authorized_keys"))?;
    let mut login = Login::to(sshd, &["Accepted publickey for", proof])?;
    // The server tells of more algorithms than it then takes, so ssh would have to be told, too.
    let only = quoted(&only.replace(' ', "="));
    login.file = login.file.set("identity_file", paths(&[&path])).set("options", format!("[{only}]"));
    Ok(login)
}

/// An authority vouches for us; the server knows no key of ours.
fn user_certificate() -> Result<Login> {
    let mut sshd = Sshd::start()?;
    let authority = sshd.path("authority");
    keygen(&authority, "")?;
    let who = ["-I", "badge", "-n", sshd.user(), "-s"].map(PathBuf::from);
    ssh_keygen(who.into_iter().chain([authority.clone(), sshd.user_key().with_extension("pub")]))?;
    fs::write(sshd.path("authorized_keys"), "")?;
    sshd.stop()?;
    sshd.set(&[&format!("TrustedUserCAKeys {}", authority.with_extension("pub").display())]);
    sshd.start_again()?;
    Login::to(sshd, &["Accepted publickey for", "ED25519-CERT", "ID badge (serial 0) CA ED25519"])
}

/// An authority vouches for the server; nobody wrote its key down.
fn host_certificate() -> Result<Login> {
    let mut sshd = Sshd::start()?;
    let authority = sshd.path("authority");
    keygen(&authority, "")?;
    let box_ = ["-I", "box", "-h", "-n", "box", "-s"].map(PathBuf::from);
    ssh_keygen(box_.into_iter().chain([authority.clone(), sshd.path("host_key.pub")]))?;
    sshd.stop()?;
    sshd.set(&[IN_DETAIL, &format!("HostCertificate {}", sshd.path("host_key-cert.pub").display())]);
    sshd.start_again()?;
    fs::write(sshd.known_hosts(), format!("@cert-authority box {}\n", public(&authority)?))?;
    let mut login = Login::to(
        sshd,
        &["Accepted publickey for", "kex: host key algorithm: ssh-ed25519-cert-v01@openssh.com"],
    )?;
    login.file = login.file.set("options", "[\"HostKeyAlias=box\"]");
    Ok(login)
}

/// The key is nowhere but in an agent.
fn agent() -> Result<Login> {
    let (sshd, agent) = (Sshd::start()?, Agent::start()?);
    agent.add(&sshd.user_key())?;
    fs::remove_file(sshd.user_key())?;
    let mut login = Login::to(sshd, &["Accepted publickey for"])?;
    login.world.set_env("SSH_AUTH_SOCK", agent.socket());
    Ok(login.beside(agent))
}

/// A key that only a person can open.
fn passphrase() -> Result<Login> {
    let sshd = Sshd::start()?;
    let locked = sshd.path("locked");
    keygen(&locked, PASSWORD)?;
    fs::copy(locked.with_extension("pub"), sshd.path("authorized_keys"))?;
    let mut login = Login::to(sshd, &["Accepted publickey for"])?;
    login.file = login.file.set("identity_file", paths(&[&locked]));
    login.answers = vec![("passphrase", PASSWORD.to_owned())];
    Ok(login)
}

/// A server behind PAM that asks for `factors`, and takes no key unless `with_key`.
fn by_pam(
    factors: Factors,
    settings: &[&str],
    with_key: bool,
    proofs: &[&str],
) -> Result<(Login, SecondFactor)> {
    let factor = SecondFactor::new(factors)?;
    let mut login = Login::to(factor.sshd(settings)?, proofs)?;
    if !with_key {
        login.file = login.file.set("identity_file", paths(&[&login.world.path("no_key")]));
    }
    Ok((login, factor))
}

fn password() -> Result<Login> {
    let settings = ["PasswordAuthentication yes", NO_PASSWORD];
    let (mut login, factor) = by_pam(Factors::Password, &settings, false, &["Accepted password for"])?;
    login.answers = vec![("password of", PASSWORD.to_owned())];
    Ok(login.beside(factor))
}

fn second_factor() -> Result<Login> {
    let proofs = ["Accepted keyboard-interactive/pam for"];
    let (mut login, mut factor) = by_pam(Factors::PasswordAndCode, &[], false, &proofs)?;
    login.answers = vec![("Password:", PASSWORD.to_owned()), ("Verification code:", factor.code()?)];
    Ok(login.beside(factor))
}

fn key_then_code() -> Result<Login> {
    let settings = ["AuthenticationMethods publickey,keyboard-interactive"];
    let proofs = ["Accepted keyboard-interactive/pam for"];
    let (mut login, mut factor) = by_pam(Factors::Code, &settings, true, &proofs)?;
    login.answers = vec![("Verification code:", factor.code()?)];
    Ok(login.beside(factor))
}

/// A ticket, and nothing else that the server takes.
fn gssapi() -> Result<Login> {
    let settings = ["GSSAPIAuthentication yes", "GSSAPIStrictAcceptorCheck no", "PubkeyAuthentication no"];
    let mut sshd = Sshd::with(&settings)?;
    let realm = Realm::start(sshd.user())?;
    sshd.stop()?;
    sshd.set_env("KRB5_CONFIG", realm.config());
    sshd.start_again()?;
    realm.kinit(600)?;
    let mut login = Login::to(sshd, &["Accepted gssapi-with-mic for"])?;
    login.world.set_env("KRB5_CONFIG", realm.config());
    login.daemon = Some(with_kerberos()?);
    login.file = login.file.set("options", "[\"GSSAPIAuthentication=yes\"]");
    Ok(login.beside(realm))
}

/// Each is told apart in the log of the one before it by where that leads.
fn jumps() -> Result<Login> {
    let (first, second, sshd) = (Sshd::with(&[IN_DETAIL])?, Sshd::with(&[IN_DETAIL])?, Sshd::start()?);
    let ports = [&second, &sshd].map(Sshd::port);
    let mut login = Login::to(sshd, &["Accepted publickey for"])?;
    let mut config = String::new();
    for (name, jump, next) in [("first", &first, ports[0]), ("second", &second, ports[1])] {
        config += &format!(
            "Host {name}\n HostName 127.0.0.1\n Port {}\n User {}\n IdentityFile {}\n UserKnownHostsFile {}\n",
            jump.port(),
            jump.user(),
            jump.user_key().display(),
            jump.known_hosts().display()
        );
        let leads = format!("target 127.0.0.1 port {next}");
        login
            .proofs
            .extend([(jump.path("log"), "Accepted publickey for".to_owned()), (jump.path("log"), leads)]);
    }
    let path = login.world.path("ssh_config");
    fs::write(&path, config)?;
    let quoted_path = quoted(path.to_str().context("the path is text")?);
    login.file = login.file.set("ssh_config", quoted_path).set("jump", "[\"first\", \"second\"]");
    Ok(login.beside(first).beside(second))
}

/// The usual ssh, over another server.
fn proxy_command() -> Result<Login> {
    let (way, sshd) = (Sshd::with(&[IN_DETAIL])?, Sshd::start()?);
    let command = format!(
        "ProxyCommand=ssh -F none -i {} -o UserKnownHostsFile={} -p {} -l {} -W %h:%p 127.0.0.1",
        way.user_key().display(),
        way.known_hosts().display(),
        way.port(),
        way.user()
    );
    let leads = format!("target 127.0.0.1 port {}", sshd.port());
    let mut login = Login::to(sshd, &["Accepted publickey for"])?;
    login.proofs.push((way.path("log"), leads));
    login.file = login.file.set("options", format!("[{}]", quoted(&command)));
    Ok(login.beside(way))
}

/// It knows of no Unix sockets, neither to listen at nor to connect to.
fn dropbear() -> Result<Login> {
    let server = Dropbear::start()?;
    Ok(Login {
        world: World::new()?,
        file: server.tunnel(),
        daemon: None,
        answers: Vec::new(),
        proofs: vec![(server.path("log"), "Pubkey auth succeeded for".to_owned())],
        refuses: vec!["local to a Unix socket", "remote Unix socket"],
        _servers: vec![Box::new(server)],
    })
}
