//! A real Kerberos realm of its own on loopback: a key distribution centre, an account for the local user, a host key
//! for sshd, and kinit(1).

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::child::Running;
use crate::{net, programs, wait};

/// Of the account whose tickets are made.
const PASSWORD: &str = "throwaway";

/// A realm that lasts until it is dropped.
#[derive(Debug)]
pub struct Realm {
    dir: TempDir,
    user: String,
    _centre: Running,
}

impl Realm {
    /// Starts one with an account for `user`.
    ///
    /// # Errors
    /// krb5-kdc, krb5-admin-server or krb5-user is missing, or the centre does not come up.
    pub fn start(user: &str) -> Result<Realm> {
        let dir = tempfile::Builder::new().prefix("nbt-realm-").tempdir()?;
        let (port, at) = (net::free_port()?, dir.path().display().to_string());
        fs::write(
            dir.path().join("krb5.conf"),
            format!(
                "[libdefaults]\n default_realm = TEST\n dns_lookup_kdc = false\n dns_lookup_realm = false\n\
                 rdns = false\n dns_canonicalize_hostname = false\n forwardable = true\n\
                 default_keytab_name = FILE:{at}/keytab\n default_ccache_name = FILE:{at}/tickets\n\
                 [realms]\n TEST = {{\n kdc = 127.0.0.1:{port}\n }}\n"
            ),
        )?;
        fs::write(
            dir.path().join("kdc.conf"),
            format!(
                "[kdcdefaults]\n kdc_listen = 127.0.0.1:{port}\n kdc_tcp_listen = 127.0.0.1:{port}\n\
                 [realms]\n TEST = {{\n database_name = {at}/principal\n key_stash_file = {at}/stash\n\
                 acl_file = {at}/acl\n }}\n[logging]\n kdc = FILE:{at}/kdc.log\n"
            ),
        )?;
        fs::write(dir.path().join("acl"), "")?;
        let run = |program: &str, arguments: &[&str]| -> Result<()> {
            let told = command(dir.path(), program)?.args(arguments).output()?;
            let said = String::from_utf8_lossy(&told.stderr);
            ensure!(told.status.success(), "{program} {arguments:?} failed: {said}");
            Ok(())
        };
        run("kdb5_util", &["create", "-s", "-r", "TEST", "-P", "throwaway"])?;
        run("kadmin.local", &["-q", &format!("addprinc -pw {PASSWORD} {user}")])?;
        run("kadmin.local", &["-q", "addprinc -randkey host/127.0.0.1"])?;
        run("kadmin.local", &["-q", "ktadd host/127.0.0.1"])?;
        let mut centre = command(dir.path(), "krb5kdc")?;
        centre.arg("-n").stdout(Stdio::null());
        let mut centre = Running::spawn(&mut centre)?;
        wait::until("the key distribution centre listens", wait::SOON, || {
            centre.ended().is_some() || TcpStream::connect(("127.0.0.1", port)).is_ok()
        })?;
        ensure!(centre.ended().is_none(), "krb5kdc did not start");
        Ok(Realm { dir, user: user.to_owned(), _centre: centre })
    }

    /// What `KRB5_CONFIG` should say.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("krb5.conf")
    }

    /// Gets a ticket that is good for so many seconds.
    ///
    /// # Errors
    /// kinit fails.
    pub fn kinit(&self, seconds: u32) -> Result<()> {
        let mut kinit = command(self.dir.path(), "kinit")?;
        kinit.args(["-l", &format!("{seconds}s"), &self.user]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = kinit.stderr(Stdio::piped()).spawn()?;
        let mut pipe = child.stdin.take().context("it has a standard input")?;
        std::io::Write::write_all(&mut pipe, format!("{PASSWORD}\n").as_bytes())?;
        drop(pipe);
        let told = child.wait_with_output()?;
        ensure!(told.status.success(), "kinit failed: {}", String::from_utf8_lossy(&told.stderr));
        Ok(())
    }

    /// Whether there is a ticket that has not expired.
    ///
    /// # Errors
    /// klist is missing.
    pub fn has_ticket(&self) -> Result<bool> {
        Ok(command(self.dir.path(), "klist")?.arg("-s").status()?.success())
    }
}

fn command(dir: &Path, program: &str) -> Result<Command> {
    let mut command = Command::new(programs::system(program)?);
    command.env("KRB5_CONFIG", dir.join("krb5.conf")).env("KRB5_KDC_PROFILE", dir.join("kdc.conf"));
    command.env_remove("KRB5CCNAME").env_remove("KRB5_KTNAME");
    command.stdin(Stdio::null()).stderr(Stdio::null());
    Ok(command)
}
