//! An sshd that asks for a password and a one-time code, by a PAM service of its own: codes count up (RFC 4226),
//! and each is good once.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::{Sshd, programs};

/// The password.
pub const PASSWORD: &str = "Tr0ub4dor-and-3";
/// The shared secret of the codes, in base32, and as it is.
const SECRET: (&str, &[u8]) = ("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", b"12345678901234567890");

/// What the server asks for, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factors {
    /// The password alone.
    Password,
    /// A one-time code alone.
    Code,
    /// Both.
    PasswordAndCode,
}

/// A PAM service, and a name for sshd under which it uses it. Both go with this.
#[derive(Debug)]
pub struct SecondFactor {
    service: PathBuf,
    /// `sshd` under a name of its own.
    program: PathBuf,
    dir: TempDir,
    next: u64,
}

impl SecondFactor {
    /// Sets it up.
    ///
    /// # Errors
    /// We are not root, or the PAM module is missing.
    pub fn new(factors: Factors) -> Result<SecondFactor> {
        let dir = tempfile::Builder::new().prefix("nbt-pam-").tempdir()?;
        let at = |name: &str| dir.path().join(name);
        let check = format!("#!/bin/sh\nread -r typed\n[ \"$typed\" = '{PASSWORD}' ]\n");
        programs::write_program(&at("check"), &check)?;
        fs::write(at("codes"), format!("{}\n\" HOTP_COUNTER 1\n", SECRET.0))?;
        fs::set_permissions(at("codes"), fs::Permissions::from_mode(0o600))?;
        let password = format!("auth required pam_exec.so expose_authtok quiet {}\n", at("check").display());
        let code = format!(
            "auth required pam_google_authenticator.so secret={} user=root no_strict_owner\n",
            at("codes").display()
        );
        let auth = match factors {
            Factors::Password => password,
            Factors::Code => code,
            Factors::PasswordAndCode => password + &code,
        };
        // PAM knows services in small letters only.
        let name = dir.path().file_name().context("it has a name")?.to_string_lossy().to_lowercase();
        let service = PathBuf::from("/etc/pam.d").join(&name);
        fs::write(
            &service,
            format!("{auth}account required pam_permit.so\nsession required pam_permit.so\n"),
        )
        .context("only root can make a PAM service")?;
        let program = dir.path().join(&name);
        std::os::unix::fs::symlink(programs::system("sshd")?, &program)?;
        Ok(SecondFactor { service, program, dir, next: 1 })
    }

    /// An sshd that asks so; `settings` are lines of sshd_config(5).
    ///
    /// # Errors
    /// As [`Sshd::start`].
    pub fn sshd(&self, settings: &[&str]) -> Result<Sshd> {
        self.sshd_at(Ipv4Addr::LOCALHOST.into(), settings)
    }

    /// The same at an address of the network where the calling thread is.
    ///
    /// # Errors
    /// As [`Sshd::start`].
    pub fn sshd_at(&self, host: IpAddr, settings: &[&str]) -> Result<Sshd> {
        let mut all = settings.to_vec();
        all.extend(["UsePAM yes", "PermitRootLogin yes", "KbdInteractiveAuthentication yes"]);
        Sshd::called(&self.program, host, &all)
    }

    /// The next code that is good.
    ///
    /// # Errors
    /// openssl is missing.
    pub fn code(&mut self) -> Result<String> {
        let counter = self.dir.path().join("counter");
        fs::write(&counter, self.next.to_be_bytes())?;
        self.next += 1;
        let key = format!("hexkey:{}", SECRET.1.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        let mut command = Command::new("openssl");
        command.args(["dgst", "-sha1", "-mac", "HMAC", "-macopt", &key, "-binary"]).arg(&counter);
        let mac = command.output().context("openssl is missing")?;
        ensure!(mac.status.success() && mac.stdout.len() == 20, "openssl: {mac:?}");
        Ok(truncated(&mac.stdout))
    }

    /// How many codes were used up.
    ///
    /// # Errors
    /// The file of the codes is gone.
    pub fn used(&self) -> Result<u64> {
        let codes = fs::read_to_string(self.dir.path().join("codes"))?;
        let counter = codes.lines().find_map(|line| line.strip_prefix("\" HOTP_COUNTER "));
        Ok(counter.context("it has a counter")?.trim().parse::<u64>()? - 1)
    }
}

impl Drop for SecondFactor {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.service);
    }
}

/// Six digits of a message authentication code (RFC 4226 §5.3).
fn truncated(mac: &[u8]) -> String {
    let at = usize::from(mac[19] & 0xf);
    let number = u32::from_be_bytes([mac[at] & 0x7f, mac[at + 1], mac[at + 2], mac[at + 3]]);
    format!("{:06}", number % 1_000_000)
}
