//! The place that the corpus speaks of: three servers, many keys, an agent, and everything that its files name.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::programs::{system, write_program};
use nbtunnel_tests::{Agent, Sshd, net};
use tempfile::TempDir;

/// The keys that the servers accept by name.
const ACCEPTED: [(&str, &str); 6] = [
    ("k1", "ed25519"),
    ("k2", "ed25519"),
    ("k3", "ed25519"),
    ("ecdsa", "ecdsa"),
    ("rsa", "rsa"),
    ("agent_only", "ed25519"),
];
/// Another account that can log in, though it has no shell.
pub(crate) const OTHER: &str = "daemon";

pub(crate) struct Lab {
    dir: TempDir,
    agent: Agent,
    /// Where every file of the corpus leads, and two servers on the way.
    pub(crate) servers: [Sshd; 3],
}

impl Lab {
    pub(crate) fn new() -> Result<Lab> {
        let dir = TempDir::with_prefix("nbt-corpus-")?;
        let agent = Agent::start()?;
        let keys = dir.path();
        for (name, kind) in ACCEPTED.iter().chain(&[
            ("stranger", "ed25519"),
            ("certified", "ed25519"),
            ("elsewhere", "ed25519"),
            ("ca", "ed25519"),
            ("second_host_key", "ecdsa"),
        ]) {
            ssh_keygen(&["-t", kind, "-N", "", "-f"], &keys.join(name))?;
        }
        let settings = [
            format!("AuthorizedKeysFile {}", keys.join("authorized").display()),
            format!("TrustedUserCAKeys {}", keys.join("ca.pub").display()),
            format!("HostKey {}", keys.join("second_host_key").display()),
            "LogLevel DEBUG1".into(),
            "ListenAddress ::1".into(),
        ];
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let servers = [Sshd::with(&settings)?, Sshd::with(&settings)?, Sshd::with(&settings)?];
        let lab = Lab { dir, agent, servers };
        lab.furnish()?;
        Ok(lab)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn me(&self) -> &str {
        self.servers[0].user()
    }

    /// What the placeholders of the corpus stand for.
    pub(crate) fn fill(&self, text: &str, conf: &Path, port: u16) -> String {
        let [a, b, c] = &self.servers;
        [
            ("@A@", a.port().to_string()),
            ("@B@", b.port().to_string()),
            ("@C@", c.port().to_string()),
            ("@K@", self.dir.path().display().to_string()),
            ("@NC@", self.path("relay").display().to_string()),
            ("@CONF@", conf.display().to_string()),
            ("@P@", port.to_string()),
            ("@OTHER@", OTHER.to_owned()),
            ("@ME@", self.me().to_owned()),
        ]
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    /// Variables that the corpus names.
    pub(crate) fn variables(&self) -> [(&'static str, PathBuf); 2] {
        [("CORPUS_KEYS", self.dir.path().to_owned()), ("CORPUS_AGENT", self.agent.socket())]
    }

    /// As it was before anybody wrote to it.
    pub(crate) fn freshen(&self) -> Result<()> {
        for name in ["fresh", "proxied"] {
            fs::write(self.path(name), "")?;
        }
        Ok(())
    }

    fn furnish(&self) -> Result<()> {
        let accepted: Result<Vec<String>> = ACCEPTED
            .iter()
            .map(|(name, _)| Ok(fs::read_to_string(self.path(&format!("{name}.pub")))?))
            .collect();
        self.write("authorized", &accepted?.concat())?;
        // sshd reads it as the user who logs in.
        fs::set_permissions(self.path("authorized"), fs::Permissions::from_mode(0o644))?;
        fs::set_permissions(self.dir.path(), fs::Permissions::from_mode(0o711))?;
        self.known_hosts()?;
        self.certificates()?;
        self.copies_of_keys()?;
        self.included()?;
        let relay = "#!/usr/bin/env python3\nimport os, socket, sys, threading\n\
            far = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n\
            def back():\n    \
                while data := far.recv(65536):\n        os.write(1, data)\n    os._exit(0)\n\
            threading.Thread(target=back, daemon=True).start()\n\
            while data := os.read(0, 65536):\n    far.sendall(data)\n";
        write_program(&self.path("relay"), relay)?;
        self.agent.add(&self.path("agent_only"))?;
        self.agent.add(&self.path("k3"))?;
        fs::remove_file(self.path("agent_only"))?;
        std::os::unix::fs::symlink(self.agent.socket(), self.path("agent"))?;
        self.freshen()
    }

    fn known_hosts(&self) -> Result<()> {
        let second = fs::read_to_string(self.path("second_host_key.pub"))?;
        let mut text = String::new();
        for server in &self.servers {
            let line = server.known_hosts_line()?;
            let first = line.split_once(' ').context("a name and a key")?.1.trim_end().to_owned();
            for name in ["127.0.0.1", "localhost", "::1"] {
                for key in [first.as_str(), second.trim_end()] {
                    text += &format!("[{name}]:{} {key}\n", server.port());
                }
            }
            if server.port() == self.servers[0].port() {
                for key in [first.as_str(), second.trim_end()] {
                    text += &format!("pinned,pin-%h {key}\n");
                }
            }
        }
        self.write("known_hosts", &text)?;
        self.write("known_lab", &text)?;
        self.write("empty", "")?;
        let stranger = fs::read_to_string(self.path("stranger.pub"))?;
        self.write("wrong", &format!("[127.0.0.1]:{} {stranger}", self.servers[0].port()))
    }

    fn certificates(&self) -> Result<()> {
        let ca = self.path("ca");
        let principals = format!("{},{OTHER}", self.me());
        for name in ["certified", "elsewhere"] {
            let sign = ["-s", ca.to_str().context("a path is text")?, "-I", name, "-n", &principals];
            ssh_keygen(&sign, &self.path(&format!("{name}.pub")))?;
        }
        fs::create_dir(self.path("certs"))?;
        let place = self.path(&format!("certs/{}-cert.pub", self.me()));
        Ok(fs::rename(self.path("elsewhere-cert.pub"), place)?)
    }

    fn copies_of_keys(&self) -> Result<()> {
        let uid = rustix::process::getuid().as_raw();
        let (port, me) = (self.servers[0].port(), self.me());
        let by_tokens = format!("lab-127.0.0.1-{port}-{OTHER}-{me}-{uid}-%");
        fs::create_dir(self.path("with space"))?;
        for copy in ["with space/k2", &by_tokens] {
            fs::copy(self.path("k2"), self.path(copy))?;
            fs::copy(self.path("k2.pub"), self.path(&format!("{copy}.pub")))?;
        }
        Ok(())
    }

    fn included(&self) -> Result<()> {
        fs::create_dir_all(self.path("inc/many"))?;
        self.write("inc/user.conf", &format!("User {OTHER}\n"))?;
        self.write("inc/nobody.conf", "User nobody\n")?;
        self.write("inc/bad.conf", "Usr x\n")?;
        self.write("inc/nested.conf", &format!("Include {}\n", self.path("inc/user.conf").display()))?;
        self.write("inc/host_other.conf", "Host other\n  User nobody\n")?;
        self.write("inc/many/1.conf", &format!("Host lab\n  User {OTHER}\n"))?;
        self.write("inc/many/2.conf", "Host lab\n  User nobody\n  BindAddress 127.0.0.9\n")
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.path(name), text).with_context(|| name.to_owned())?;
        // ssh reads no configuration, and no key, that others could have written.
        Ok(fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600))?)
    }
}

fn ssh_keygen(args: &[&str], file: &Path) -> Result<()> {
    let mut command = Command::new(system("ssh-keygen")?);
    command.arg("-q").args(args).arg(file).stdin(Stdio::null());
    ensure!(command.status()?.success(), "ssh-keygen fails for {}", file.display());
    Ok(())
}

/// A port for a forward.
pub(crate) fn port() -> Result<u16> {
    net::free_port()
}
