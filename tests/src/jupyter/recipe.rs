//! What sort of server a test wants: old or new, with a certificate, a password, a base URL, on a port of its own.

use std::fmt::Write as _;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Jupyter;
use crate::child::Running;
use crate::programs::{repository, system};
use crate::told::tell;
use crate::{net, wait};

/// Which of Jupyter's servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Edition {
    /// jupyter-server 2, as `tests/run` installs it under `target/jupyter`.
    #[default]
    Server2,
    /// notebook 6, under `target/jupyter-classic`.
    Classic,
    /// The one on `$PATH`.
    Path,
}

/// How to start a server. What is not said is: jupyter-server 2, http, a free port, a random token, the base URL `/`.
#[derive(Clone, Debug, Default)]
pub struct Recipe {
    edition: Edition,
    port: Option<u16>,
    token: Option<String>,
    password: Option<String>,
    https: bool,
    base_url: Option<String>,
    runtime_dir: Option<PathBuf>,
    root_dir: Option<PathBuf>,
    settings: Vec<String>,
    kernels: Vec<(String, String)>,
    env: Vec<(String, String)>,
}

impl Recipe {
    /// The plainest.
    pub fn new() -> Recipe {
        Recipe::default()
    }

    /// notebook 6.
    pub fn classic(self) -> Recipe {
        Recipe { edition: Edition::Classic, ..self }
    }

    /// The one on `$PATH`.
    pub fn from_path(self) -> Recipe {
        Recipe { edition: Edition::Path, ..self }
    }

    /// On this port.
    pub fn port(self, port: u16) -> Recipe {
        Recipe { port: Some(port), ..self }
    }

    /// With this token; an empty one lets everybody in.
    pub fn token(self, token: impl Into<String>) -> Recipe {
        Recipe { token: Some(token.into()), ..self }
    }

    /// With a password in place of a token.
    pub fn password(self, password: impl Into<String>) -> Recipe {
        Recipe { password: Some(password.into()), token: Some(String::new()), ..self }
    }

    /// Over TLS, with a certificate that it signed itself.
    pub fn https(self) -> Recipe {
        Recipe { https: true, ..self }
    }

    /// Its pages begin here: `/user/me/`.
    pub fn base_url(self, path: impl Into<String>) -> Recipe {
        Recipe { base_url: Some(path.into()), ..self }
    }

    /// It writes down that it runs here, beside others.
    pub fn runtime_dir(self, dir: impl Into<PathBuf>) -> Recipe {
        Recipe { runtime_dir: Some(dir.into()), ..self }
    }

    /// It serves this directory.
    pub fn root_dir(self, dir: impl Into<PathBuf>) -> Recipe {
        Recipe { root_dir: Some(dir.into()), ..self }
    }

    /// It has a sort of kernel, `name`, that is this program.
    pub fn kernel(mut self, name: impl Into<String>, program: impl Into<String>) -> Recipe {
        self.kernels.push((name.into(), program.into()));
        self
    }

    /// One more line of its configuration.
    pub fn setting(mut self, line: impl Into<String>) -> Recipe {
        self.settings.push(line.into());
        self
    }

    /// With this in its environment.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Recipe {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// It is not installed, or does not come up.
    pub fn start(self) -> Result<Jupyter> {
        let dir = tempfile::Builder::new().prefix("nbt-jupyter-").tempdir()?;
        let (bin, python) = self.programs()?;
        let port = self.port.map_or_else(net::free_port, Ok)?;
        let token = self.token.clone().unwrap_or_else(random_token);
        let base_url = self.base_url.clone().unwrap_or_else(|| "/".to_owned());
        let runtime_dir = self.runtime_dir.clone().unwrap_or_else(|| dir.path().join("runtime"));
        let config = dir.path().join("server_config.py");
        fs::create_dir(dir.path().join("work"))?;
        fs::write(&config, self.config(dir.path(), port, &token, &base_url)?)?;

        let log = fs::File::create(dir.path().join("log"))?;
        let mut command = Command::new(bin.join("jupyter"));
        command.arg(if self.edition == Edition::Classic { "notebook" } else { "server" });
        command.arg("--config").arg(&config);
        for (name, below) in [
            ("HOME", "home"),
            ("IPYTHONDIR", "ipython"),
            ("JUPYTER_CONFIG_DIR", "config"),
            ("JUPYTER_DATA_DIR", "data"),
        ] {
            fs::create_dir(dir.path().join(below))?;
            command.env(name, dir.path().join(below));
        }
        command.env("JUPYTER_RUNTIME_DIR", &runtime_dir);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        for (name, program) in &self.kernels {
            let spec = dir.path().join("data/kernels").join(name);
            fs::create_dir_all(&spec)?;
            let text = serde_json::json!({"argv": [program], "display_name": name, "language": "none"});
            fs::write(spec.join("kernel.json"), text.to_string())?;
        }
        // `jupyter` looks for its subcommands beside itself, and then on the path.
        command.env("PATH", path_with(&bin)?);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = Running::spawn(&mut command)?;
        let server = Jupyter { process, dir, port, token, base_url, https: self.https, runtime_dir, python };
        let url = format!("{}://127.0.0.1:{port}{}api", scheme(self.https), server.base_url);
        wait::until("jupyter answers", Duration::from_secs(60), || answers(&url))
            .with_context(|| server.log())?;
        Ok(server)
    }

    /// Where its programs are, and a Python with the modules of the kernel client.
    fn programs(&self) -> Result<(PathBuf, PathBuf)> {
        let target = repository().join("target");
        let (own, classic) = (target.join("jupyter/bin"), target.join("jupyter-classic/bin"));
        if self.edition == Edition::Classic {
            ensure!(classic.join("jupyter").is_file(), "notebook 6 is not installed; tests/run installs it");
            return Ok((classic, own.join("python")));
        }
        if self.edition == Edition::Server2 && own.join("jupyter").is_file() {
            return Ok((own.clone(), own.join("python")));
        }
        let jupyter = system("jupyter")?;
        Ok((jupyter.parent().context("a program lies in a directory")?.to_owned(), system("python3")?))
    }

    fn config(&self, dir: &Path, port: u16, token: &str, base_url: &str) -> Result<String> {
        let classic = self.edition == Edition::Classic;
        let (app, identity, root, passwd) = if classic {
            ("NotebookApp", "NotebookApp.token", "notebook_dir", "notebook.auth")
        } else {
            ("ServerApp", "IdentityProvider.token", "root_dir", "jupyter_server.auth")
        };
        let mut text = format!(
            "c.{app}.ip = '127.0.0.1'\nc.{app}.port = {port}\nc.{app}.port_retries = 0\nc.{app}.allow_root = True\n\
             c.{app}.open_browser = False\nc.{app}.{root} = {:?}\nc.{identity} = {token:?}\n\
             c.{app}.base_url = {base_url:?}\n",
            self.root_dir.clone().unwrap_or_else(|| dir.join("work")),
        );
        if let Some(password) = &self.password {
            let place =
                if classic { "NotebookApp.password" } else { "PasswordIdentityProvider.hashed_password" };
            writeln!(text, "from {passwd} import passwd\nc.{place} = passwd({password:?})")?;
        }
        if self.https {
            let (certificate, key) = self_signed(dir)?;
            writeln!(text, "c.{app}.certfile = {certificate:?}\nc.{app}.keyfile = {key:?}")?;
        }
        for line in &self.settings {
            writeln!(text, "{line}")?;
        }
        Ok(text)
    }
}

/// A certificate that signed itself, for localhost, and its key, as files in `dir`.
///
/// # Errors
/// openssl makes none.
pub fn self_signed(dir: &Path) -> Result<(PathBuf, PathBuf)> {
    let (certificate, key) = (dir.join("certificate.pem"), dir.join("key.pem"));
    let mut openssl = Command::new(system("openssl")?);
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]);
    openssl.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    let told = tell(&mut openssl, &[], wait::SOON)?;
    ensure!(told.code == 0, "openssl makes no certificate: {}", told.stderr);
    Ok((certificate, key))
}

fn scheme(https: bool) -> &'static str {
    if https { "https" } else { "http" }
}

/// Whether `url` answers with success, whoever signed its certificate.
pub(super) fn answers(url: &str) -> bool {
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--fail",
        "--insecure",
        "--noproxy",
        "*",
        "--max-time",
        "10",
        "--output",
        "-",
        url,
    ]);
    tell(&mut curl, &[], wait::SOON).is_ok_and(|told| told.code == 0)
}

/// `$PATH` with `dir` before it.
pub(super) fn path_with(dir: &Path) -> Result<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(std::iter::once(dir.to_owned()).chain(std::env::split_paths(&path)))?)
}

pub(super) fn random_token() -> String {
    // The standard library seeds each RandomState from the system's randomness; enough for a server that
    // lives for seconds on loopback.
    format!("{:016x}{:016x}", RandomState::new().hash_one(0), RandomState::new().hash_one(1))
}
