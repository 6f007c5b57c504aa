//! Another user of the same machine, who listens where a notebook was yesterday and writes down what he is told.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::child::Running;
use crate::programs::{repository, system};
use crate::{net, wait};

/// A server of another uid, until it is dropped.
#[derive(Debug)]
pub struct Stranger {
    process: Running,
    dir: TempDir,
}

impl Stranger {
    /// The usual nobody.
    pub const UID: u32 = 65534;

    /// Listens on `port` of 127.0.0.1.
    ///
    /// # Errors
    /// The port is taken, or we are not root and cannot become somebody else.
    pub fn on(port: u16) -> Result<Stranger> {
        Stranger::at("127.0.0.1", port)
    }

    /// Listens on `port` of `address`.
    ///
    /// # Errors
    /// As [`Stranger::on`].
    pub fn at(address: &str, port: u16) -> Result<Stranger> {
        let dir = tempfile::Builder::new().prefix("nbt-stranger-").tempdir()?;
        let heard = fs::File::create(dir.path().join("heard"))?;
        // Read by us: whoever he becomes may not be able to.
        let script = fs::read_to_string(repository().join("tests/fixtures/stranger.py"))?;
        let mut command = Command::new(system("setpriv")?);
        command.arg(format!("--reuid={}", Stranger::UID)).args(["--clear-groups", "/usr/bin/python3", "-c"]);
        command.arg(script).arg(address).arg(port.to_string()).current_dir("/");
        command.stdin(Stdio::null()).stdout(heard.try_clone()?).stderr(heard);
        let mut stranger = Stranger { process: Running::spawn(&mut command)?, dir };
        let listens = || std::net::TcpStream::connect((address, port)).is_ok();
        wait::until("the stranger listens", wait::SOON, listens).with_context(|| stranger.heard())?;
        let ended = stranger.process.ended();
        anyhow::ensure!(ended.is_none(), "the stranger gave up: {}", stranger.heard());
        Ok(stranger)
    }

    /// On a free port of 127.0.0.1.
    ///
    /// # Errors
    /// As [`Stranger::on`].
    pub fn somewhere() -> Result<(Stranger, u16)> {
        let port = net::free_port()?;
        Ok((Stranger::on(port)?, port))
    }

    /// All that he was told, one request a line.
    pub fn heard(&self) -> String {
        fs::read_to_string(self.dir.path().join("heard")).unwrap_or_default()
    }
}
