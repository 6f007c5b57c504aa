//! Forwards as files and ssh_config write them, whose sockets on this machine are found from any directory: the
//! daemon runs in none of its user's. `vet` and `layer` read them by this.

use std::path::{Path, PathBuf};

use nbtunnel_core::{ForwardSpec, ListenAt, RemoteSpec, Target};

/// Reads what `ssh -L` takes. `~` is `home`.
///
/// # Errors
/// One sentence that says what is wrong with it.
pub(super) fn local(text: &str, home: &Path) -> Result<ForwardSpec, String> {
    listens_here(text.parse()?, home)
}

/// Reads what `ssh -D` takes.
///
/// # Errors
/// As [`local`].
pub(super) fn dynamic(text: &str, home: &Path) -> Result<ForwardSpec, String> {
    listens_here(ForwardSpec::dynamic(text)?, home)
}

/// Reads what `ssh -R` takes. A path at the far end is that server's business.
///
/// # Errors
/// As [`local`].
pub(super) fn remote(text: &str, home: &Path) -> Result<RemoteSpec, String> {
    let mut spec: RemoteSpec = text.parse()?;
    if let Target::Socket(path) = &mut spec.target {
        *path = whole(Path::new(path), home)?.to_string_lossy().into_owned();
    }
    Ok(spec)
}

/// Whether a local or dynamic forward listens on a port and says nothing of the address.
pub(super) fn names_no_address(text: &str) -> bool {
    // An address may be a number, too, and a host one in brackets.
    let listen = text.parse().map(|spec: ForwardSpec| spec.listen.port());
    let listen = listen.or_else(|_| ForwardSpec::dynamic(text).map(|spec| spec.listen.port()));
    let first = text.split(':').next().and_then(|first| first.parse().ok());
    first.is_some() && listen.is_ok_and(|port| port == first)
}

fn listens_here(mut spec: ForwardSpec, home: &Path) -> Result<ForwardSpec, String> {
    if let ListenAt::Socket(path) = &mut spec.listen {
        *path = whole(path, home)?;
    }
    Ok(spec)
}

fn whole(path: &Path, home: &Path) -> Result<PathBuf, String> {
    let whole = match path.strip_prefix("~") {
        Ok(rest) => home.join(rest),
        Err(_) => path.to_owned(),
    };
    let (shown, length) = (path.display(), whole.as_os_str().len());
    if !whole.has_root() {
        return Err(format!("the socket {shown} on this machine needs its whole path, or one from ~/ on"));
    }
    if length > ListenAt::LONGEST_PATH {
        let most = ListenAt::LONGEST_PATH;
        return Err(format!(
            "the path of a socket has at most {most} bytes, {} has {length}",
            whole.display()
        ));
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_address_listens_where_the_file_does_not_say() {
        for unplaced in ["80:h:81", "80:/x", "1080"] {
            assert!(names_no_address(unplaced), "{unplaced}");
        }
        for placed in [
            "localhost:80:h:81",
            "*:80:h:81",
            ":80:h:81",
            "[::1]:80:h:81",
            "/x:h:81",
            "localhost:1080",
            "*:1080",
        ] {
            assert!(!names_no_address(placed), "{placed}");
        }
    }

    #[test]
    fn sockets_of_this_machine_are_found_from_any_directory() {
        let home = Path::new("/home/me");
        let shown = |text: &str| {
            let local = local(text, home).map(|spec| spec.to_string());
            (local, remote(text, home).map(|spec| spec.to_string()))
        };
        let both = |local: &str, remote: &str| (Ok(local.to_owned()), Ok(remote.to_owned()));
        assert_eq!(shown("~/a:~/b"), both("/home/me/a:~/b", "~/a:/home/me/b"));
        assert_eq!(shown("/a:/b"), both("/a:/b", "/a:/b"));
        assert_eq!(shown("80:h:81"), both("localhost:80:h:81", "localhost:80:h:81"));
        assert_eq!(dynamic("~/proxy", home).map(|spec| spec.to_string()), Ok("/home/me/proxy".to_owned()));
        let long = format!("~/{}", "x".repeat(98));
        for bad in ["./a", "run/a", "~other/a", &long] {
            assert!(local(&format!("{bad}:h:1"), home).is_err(), "{bad}");
            assert!(dynamic(bad, home).is_err(), "{bad}");
            assert!(remote(&format!("80:{bad}"), home).is_err(), "{bad}");
            assert!(remote(&format!("{bad}:h:1"), home).is_ok(), "{bad}");
        }
    }
}
