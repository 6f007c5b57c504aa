//! Where the control socket is, and the directory around it: found in the same way by both programs.
//! Only the daemon prepares the directory; whoever calls [`Endpoint::prepare`] takes the lock before it binds.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::fault::{Fault, FaultCode};
use crate::system;

/// Looks up an environment variable. An argument everywhere, since tests cannot change the real environment.
pub(crate) type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The real environment, where an empty variable counts as unset.
pub(crate) fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The control socket: a path, on Windows the name of a pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    path: PathBuf,
}

impl Endpoint {
    /// Finds it: `flag` (`--socket`), else `$NBTUNNEL_SOCKET`, else the system's place for it.
    /// Touches nothing.
    ///
    /// # Errors
    /// [`FaultCode::Usage`] for a path that is too long for a socket or has no file name.
    pub fn resolve(flag: Option<PathBuf>) -> Result<Endpoint, Fault> {
        Self::resolve_in(flag, &environment)
    }

    /// The system's place for it, whatever was said: the same for every daemon of this user.
    ///
    /// # Errors
    /// [`FaultCode::Usage`] as for [`Endpoint::resolve`].
    pub fn usual() -> Result<Endpoint, Fault> {
        let but_ours = |name: &str| environment(name).filter(|_| name != "NBTUNNEL_SOCKET");
        Self::resolve_in(None, &but_ours)
    }

    fn resolve_in(flag: Option<PathBuf>, env: Env<'_>) -> Result<Endpoint, Fault> {
        let named = flag.or_else(|| env("NBTUNNEL_SOCKET").map(PathBuf::from));
        let path = match named {
            Some(path) => std::path::absolute(&path).map_err(|error| {
                Fault::new(
                    FaultCode::Usage,
                    format!("{} cannot be the control socket: {error}", path.display()),
                    "give --socket (or $NBTUNNEL_SOCKET) an absolute path",
                )
            })?,
            None => system::default_endpoint(env)?,
        };
        system::check_endpoint(&path)?;
        Ok(Endpoint { path })
    }

    /// The path of the socket, or the name of the pipe.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same for people.
    pub fn display(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    /// Where the daemon keeps what shall survive its crash and end with the login session. Its own for each
    /// socket; [`Endpoint::prepare`] makes it.
    ///
    /// # Errors
    /// On Windows, when there is no place for it.
    pub fn runtime_dir(&self) -> Result<PathBuf, Fault> {
        system::beside(&self.path, ".d", &environment)
    }

    /// Makes the directory of the socket and [`Endpoint::runtime_dir`], each 0700, or makes sure that what is
    /// there is a directory (no symlink), ours, and closed to everybody else. For the daemon.
    ///
    /// # Errors
    /// [`FaultCode::Failed`] with the directory and what is wrong with it.
    pub fn prepare(&self) -> Result<(), Fault> {
        system::prepare_around(&self.path)?;
        system::prepare_dir(&self.runtime_dir()?)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn resolved(flag: Option<&str>, vars: &[(&str, &str)]) -> Result<Endpoint, Fault> {
        let env =
            |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        Endpoint::resolve_in(flag.map(PathBuf::from), &env)
    }

    #[test]
    fn the_flag_wins_then_the_variable_then_the_system() {
        let vars = [("NBTUNNEL_SOCKET", "/a/env.sock"), ("XDG_RUNTIME_DIR", "/run/user/42")];
        assert_eq!(resolved(Some("/a/flag.sock"), &vars).unwrap().path(), Path::new("/a/flag.sock"));
        assert_eq!(resolved(None, &vars).unwrap().path(), Path::new("/a/env.sock"));
        let here = resolved(Some("x.sock"), &[]).unwrap();
        assert_eq!(here.path(), std::env::current_dir().unwrap().join("x.sock"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn without_a_word_it_is_in_the_runtime_directory() {
        let path = resolved(None, &[("XDG_RUNTIME_DIR", "/run/user/42")]).unwrap();
        assert_eq!(path.path(), Path::new("/run/user/42/nbtunnel/control.sock"));
        let path = resolved(None, &[("XDG_RUNTIME_DIR", "relative")]).unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let run = PathBuf::from(format!("/run/user/{uid}/nbtunnel/control.sock"));
        let tmp = PathBuf::from(format!("/tmp/nbtunnel-{uid}/control.sock"));
        assert!([run, tmp].contains(&path.path().to_path_buf()), "{path:?}");
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_a_usage_fault() {
        let long = format!("/tmp/{}.sock", "x".repeat(120));
        let fault = resolved(Some(&long), &[]).unwrap_err();
        assert_eq!(fault.code, FaultCode::Usage);
        assert!(fault.message.contains("bytes"), "{}", fault.message);
        assert_eq!(resolved(Some("/"), &[]).unwrap_err().code, FaultCode::Usage);
    }

    #[test]
    fn prepare_makes_what_is_missing_and_closes_it() {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = resolved(Some(dir.path().join("a/b/c.sock").to_str().unwrap()), &[]).unwrap();
        endpoint.prepare().unwrap();
        endpoint.prepare().unwrap();
        for made in [dir.path().join("a"), dir.path().join("a/b"), endpoint.runtime_dir().unwrap()] {
            assert_eq!(std::fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700, "{made:?}");
        }
    }

    #[test]
    fn prepare_refuses_an_open_directory_a_symlink_and_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let in_dir =
            |name: &str| resolved(Some(dir.path().join(name).join("s").to_str().unwrap()), &[]).unwrap();
        let open = dir.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o750)).unwrap();
        let fault = in_dir("open").prepare().unwrap_err();
        assert!(fault.message.contains("0750") && fault.hint.contains("chmod 700"), "{fault:?}");
        let closed = dir.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
        in_dir("closed").prepare().unwrap();
        symlink(&closed, dir.path().join("link")).unwrap();
        assert!(in_dir("link").prepare().unwrap_err().message.contains("symbolic link"));
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(in_dir("file").prepare().is_err());
    }
}
