//! A real dropbear on loopback: the SSH server of small machines, which knows less than OpenSSH's.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::child::{Running, with_mounts};
use crate::sshd::{keygen, local_user};
use crate::tunnel_file::{paths, quoted};
use crate::{TunnelFile, net, programs, wait};

/// One that runs until it is dropped.
#[derive(Debug)]
pub struct Dropbear {
    dir: TempDir,
    port: u16,
    user: String,
    _server: Running,
}

impl Dropbear {
    /// Starts one that lets in who has its `user_key`.
    ///
    /// # Errors
    /// We are not root, dropbear-bin is missing, or it does not come up.
    pub fn start() -> Result<Dropbear> {
        let dir = tempfile::Builder::new().prefix("nbt-dropbear-").tempdir()?;
        let (at, port, user) = (|name: &str| dir.path().join(name), net::free_port()?, local_user()?);
        keygen(&at("user_key"), "")?;
        fs::create_dir_all(at("home/.ssh"))?;
        fs::copy(at("user_key.pub"), at("home/.ssh/authorized_keys"))?;
        for (path, mode) in [("home", 0o700), ("home/.ssh", 0o700), ("home/.ssh/authorized_keys", 0o600)] {
            fs::set_permissions(at(path), fs::Permissions::from_mode(mode))?;
        }
        let made = Command::new(programs::system("dropbearkey")?)
            .args(["-t", "ed25519", "-f"])
            .arg(at("host_key"))
            .stdin(Stdio::null())
            .output()?;
        let told = String::from_utf8_lossy(&made.stdout);
        let public = told.lines().find(|line| line.starts_with("ssh-ed25519 "));
        let public = public.with_context(|| format!("dropbearkey shows no key: {made:?}"))?;
        fs::write(at("known_hosts"), format!("[127.0.0.1]:{port} {public}\n"))?;
        // It looks for keys in the home of the user and nowhere else: a private one lies over that.
        let mut server = Command::new(programs::system("dropbear")?);
        server.args(["-F", "-E", "-s", "-p", &format!("127.0.0.1:{port}"), "-r"]).arg(at("host_key"));
        server.envs(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "HOME"));
        let mut server = with_mounts(&format!("mount --bind {} ~", at("home").display()), &server);
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(at("log"))?);
        let mut server = Running::spawn(&mut server)?;
        wait::until("dropbear listens", wait::SOON, || {
            server.ended().is_some() || TcpStream::connect(("127.0.0.1", port)).is_ok()
        })?;
        let log = fs::read_to_string(at("log")).unwrap_or_default();
        ensure!(server.ended().is_none(), "dropbear did not start:\n{log}");
        Ok(Dropbear { dir, port, user, _server: server })
    }

    /// A file of its own directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What ssh_config says of it, below the line of its Host.
    pub fn said(&self) -> String {
        format!(
            "  HostName 127.0.0.1\n  Port {}\n  User {}\n  IdentityFile {}\n  UserKnownHostsFile {}\n",
            self.port,
            self.user,
            self.path("user_key").display(),
            self.path("known_hosts").display()
        )
    }

    /// A tunnel file that leads here.
    pub fn tunnel(&self) -> TunnelFile {
        TunnelFile::default()
            .set("host", quoted("127.0.0.1"))
            .set("port", self.port)
            .set("user", quoted(&self.user))
            .set("identity_file", paths(&[&self.path("user_key")]))
            .set("known_hosts", paths(&[&self.path("known_hosts")]))
            .set("ssh_config", quoted("none"))
    }
}
