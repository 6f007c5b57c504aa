//! The two programs under test: taken from `$NBTUNNEL_BIN_DIR`, or built once into the same target
//! directory, with the same profile, as the running test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};

/// Where `nbtunneld` and `nbctl` are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The daemon.
    pub nbtunneld: PathBuf,
    /// What drives it.
    pub nbctl: PathBuf,
}

impl Programs {
    /// Finds or builds them; only the first call of a process builds.
    ///
    /// # Errors
    /// `$NBTUNNEL_BIN_DIR` lacks one, or cargo cannot build them.
    pub fn find() -> Result<Programs> {
        static FOUND: OnceLock<Result<Programs, String>> = OnceLock::new();
        FOUND
            .get_or_init(|| find_or_build().map_err(|e| format!("{e:#}")))
            .clone()
            .map_err(|e| anyhow!("no programs to test: {e}"))
    }

    fn within(dir: &Path) -> Result<Programs> {
        let program = |name: &str| {
            let path = dir.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
            ensure!(path.is_file(), "{} is not there", path.display());
            Ok(path)
        };
        Ok(Programs { nbtunneld: program("nbtunneld")?, nbctl: program("nbctl")? })
    }
}

fn find_or_build() -> Result<Programs> {
    if let Some(dir) = std::env::var_os("NBTUNNEL_BIN_DIR") {
        return Programs::within(Path::new(&dir)).context("$NBTUNNEL_BIN_DIR");
    }
    let dir = own_dir()?;
    build(&dir)?;
    Programs::within(&dir)
}

/// A daemon that was built with the cargo feature `gssapi`: from `$NBTUNNEL_GSSAPI_DAEMON`, or built into a target
/// directory of its own, so that the usual one is not replaced.
///
/// # Errors
/// It is not there, or cargo cannot build it.
pub fn with_kerberos() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("NBTUNNEL_GSSAPI_DAEMON") {
        let path = PathBuf::from(path);
        ensure!(path.is_file(), "$NBTUNNEL_GSSAPI_DAEMON is not there");
        return Ok(path);
    }
    let target = repository().join("target/gssapi");
    let wanted = ["-p", "nbtunneld", "--features", "gssapi", "--bin", "nbtunneld"];
    cargo_build(&target, &wanted).context("there is no daemon with Kerberos")?;
    Ok(target.join("debug/nbtunneld"))
}

/// `target/PROFILE`, where the running program lies; tests lie in `deps` below it.
fn own_dir() -> Result<PathBuf> {
    let exe = std::env::current_exe().context("cannot tell where this program is")?;
    let dir = exe.parent().context("this program is in no directory")?;
    let dir = if dir.ends_with("deps") { dir.parent().unwrap_or(dir) } else { dir };
    Ok(dir.to_path_buf())
}

fn build(dir: &Path) -> Result<()> {
    let profile = match dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(other) => other,
        None => return Err(anyhow!("{} is no target directory", dir.display())),
    };
    let target = dir.parent().with_context(|| format!("{} is no target directory", dir.display()))?;
    // All three packages are named, so that dependencies are built with the features they have already.
    let packages = ["-p", "nbtunneld", "-p", "nbctl", "-p", "nbtunnel-tests"];
    let wanted = [&["--profile", profile][..], &packages, &["--bin", "nbtunneld", "--bin", "nbctl"]].concat();
    cargo_build(target, &wanted)
}

fn cargo_build(target: &Path, wanted: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--target-dir"])
        .arg(target)
        .args(wanted)
        .arg("--manifest-path")
        .arg(repository().join("Cargo.toml"))
        .stdin(Stdio::null())
        .output()
        .context("cannot run cargo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo cannot build them:\n{said}");
    Ok(())
}

/// Writes a script, or one anew, that everybody may run. Another process does, since one that is started at the
/// same moment by another test would inherit our descriptor for writing, and the kernel runs no program that is open
/// for that (ETXTBSY).
///
/// # Errors
/// It cannot be written.
#[cfg(unix)]
pub fn write_program(path: &Path, text: &str) -> Result<()> {
    let mut command = Command::new("sh");
    command.args(["-c", "printf %s \"$1\" >\"$2\" && chmod 755 \"$2\"", "sh", text]).arg(path);
    let status = command.stdin(Stdio::null()).status().context("cannot run sh")?;
    ensure!(status.success(), "cannot write {}: {status}", path.display());
    Ok(())
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// A program of the system, by its name.
///
/// # Errors
/// It is not installed: a test that needs it fails, it is never skipped.
pub fn system(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(usual)
        .map(|dir| dir.join(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is not installed; tests/run installs what the tests need"))
}
