//! What is at the far end of the demo's tunnel: an SSH server, and a notebook behind it.

use anyhow::{Result, ensure};

use super::ssh_server::SshServer;
use crate::http::{self, Answer};
use crate::{Jupyter, Server, Sshd, TunnelFile, programs, wait};

/// The SSH server.
#[derive(Debug)]
pub enum Gateway {
    /// One inside this program.
    Own(SshServer),
    /// OpenSSH's.
    OpenSsh(Sshd),
}

impl Gateway {
    /// Starts OpenSSH's server, or our own.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start(openssh: bool) -> Result<Gateway> {
        Ok(if openssh { Gateway::OpenSsh(Sshd::start()?) } else { Gateway::Own(SshServer::start()?) })
    }

    /// What it is, in words.
    pub fn what(&self) -> &'static str {
        match self {
            Gateway::Own(_) => "an SSH server inside this program",
            Gateway::OpenSsh(_) => "a real sshd",
        }
    }

    /// Its TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        match self {
            Gateway::Own(server) => server.port(),
            Gateway::OpenSsh(sshd) => sshd.port(),
        }
    }

    /// A tunnel file that leads there.
    pub fn tunnel(&self) -> TunnelFile {
        match self {
            Gateway::Own(server) => server.tunnel(),
            Gateway::OpenSsh(sshd) => sshd.tunnel(),
        }
    }

    /// Cuts every connection and refuses new ones.
    ///
    /// # Errors
    /// It cannot be stopped.
    pub fn go_away(&mut self) -> Result<()> {
        match self {
            Gateway::Own(server) => server.go_away(),
            Gateway::OpenSsh(sshd) => sshd.stop(),
        }
    }

    /// Is there again, as it was.
    ///
    /// # Errors
    /// It does not come up.
    pub fn come_back(&mut self) -> Result<()> {
        match self {
            Gateway::Own(server) => server.come_back(),
            Gateway::OpenSsh(sshd) => sshd.start_again(),
        }
    }
}

const PAGE: &str = "<!doctype html><title>nbtunnel</title><h1>It works</h1>\
                    <p>This page stands in for a notebook. It came to you through an SSH tunnel.</p>";

/// The notebook behind it.
#[derive(Debug)]
pub enum Notebook {
    /// A page that stands in for one.
    Page(Server),
    /// A real one.
    Jupyter(Box<Jupyter>),
}

impl Notebook {
    /// Starts the `jupyter` on `$PATH`; the page where there is none or it does not start.
    ///
    /// # Errors
    /// Not even the page could be served.
    pub fn start() -> Result<Notebook> {
        if programs::system("jupyter").is_ok()
            && let Ok(jupyter) = Jupyter::from_path()
        {
            return Ok(Notebook::Jupyter(Box::new(jupyter)));
        }
        Ok(Notebook::Page(Server::page(PAGE)?))
    }

    /// What it is, in words.
    pub fn what(&self) -> &'static str {
        match self {
            Notebook::Page(_) => "a small page that stands in for a notebook",
            Notebook::Jupyter(_) => "your Jupyter server",
        }
    }

    /// Its TCP port on 127.0.0.1, at the far end.
    pub fn port(&self) -> u16 {
        match self {
            Notebook::Page(page) => page.port(),
            Notebook::Jupyter(jupyter) => jupyter.port(),
        }
    }

    /// The address for a browser, through the local `port`.
    pub fn address(&self, port: u16) -> String {
        match self {
            Notebook::Page(_) => format!("http://localhost:{port}/"),
            Notebook::Jupyter(jupyter) => format!("http://localhost:{port}/?token={}", jupyter.token()),
        }
    }

    /// Asks it something through the local `port`, and checks that the answer is its own.
    ///
    /// # Errors
    /// No answer, or another one.
    pub fn ask(&self, port: u16) -> Result<Answer> {
        let path = match self {
            Notebook::Page(_) => "/".to_owned(),
            Notebook::Jupyter(jupyter) => jupyter.status_path(),
        };
        let answer = http::get(port, &path, &[], wait::SOON)?;
        let own = match self {
            Notebook::Page(_) => answer.body == PAGE,
            Notebook::Jupyter(_) => answer.body.contains("\"kernels\""),
        };
        ensure!(answer.status == 200 && own, "an unexpected answer: {answer:?}");
        Ok(answer)
    }
}
