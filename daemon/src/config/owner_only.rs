//! What `owner_only` is where no file says, and what `owner_only = true` cannot do for a tunnel, so that nobody relies on
//! it where it is in vain.

use std::net::IpAddr;

use nbtunnel_core::{ForwardSpec, ListenAt, Policy};

use super::values::Flaw;

/// What it is where nobody says, on a system whose kernel has this release. In the Linux of a Windows (WSL:
/// `5.15.90.1-microsoft-standard-WSL2`) the user's browser runs outside: its connections come as root's through a relay,
/// or as nobody's, and the page would stay empty.
pub(super) fn usual(kernel_release: &str) -> bool {
    Policy::default().owner_only && !kernel_release.to_ascii_lowercase().contains("microsoft")
}

/// What has to be said where a file asks for it; `told` is whether this system tells whose a connection is.
pub(super) fn in_vain(forwards: &[ForwardSpec], told: bool) -> Option<Flaw> {
    if !told {
        return Some(Flaw::new(
            "owner_only has no effect on this system, which does not tell whose a connection is",
            "other users of this machine can connect to these forwards; take the line out, or live with that",
        ));
    }
    let open = forwards.iter().find(|forward| is_open(&forward.listen))?;
    Some(Flaw::new(
        format!("owner_only holds for loopback alone: at {} everybody is let in", open.listen),
        "listen on localhost there, which is what a forward does that names no address",
    ))
}

/// Whether other machines may connect. Names are not looked up here.
fn is_open(listen: &ListenAt) -> bool {
    match listen {
        ListenAt::Any(_) => true,
        ListenAt::Address(host, _) => host.parse().is_ok_and(|ip: IpAddr| !ip.to_canonical().is_loopback()),
        ListenAt::Loopback(_) | ListenAt::Socket(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Context, load};
    use super::*;

    #[test]
    fn the_browser_of_a_windows_gets_into_its_linux_where_nobody_says_otherwise() {
        for (release, expected) in [
            ("5.15.90.1-microsoft-standard-WSL2", false),
            ("4.4.0-19041-Microsoft", false),
            ("6.1.0-18-amd64", true),
            ("23.6.0", true),
            ("", true),
        ] {
            assert_eq!(usual(release), expected, "{release}");
        }
    }

    #[test]
    fn what_the_system_lets_in_by_default_a_file_can_still_refuse() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tunnels")).unwrap();
        for (file, text) in
            [("tunnels/a.toml", "host = \"h\""), ("tunnels/b.toml", "host = \"h\"\nowner_only = true")]
        {
            std::fs::write(dir.path().join(file), text).unwrap();
        }
        for owner_only in [false, true] {
            let ctx = Context { owner_only, ask_ssh: false, ..Context::of_this_user() };
            let loaded = load(dir.path(), &ctx);
            let asked: Vec<bool> = loaded.tunnels.values().map(|spec| spec.policy.owner_only).collect();
            assert_eq!(asked, [owner_only, true]);
        }
    }

    #[test]
    fn whoever_asked_for_it_in_whichever_file_hears_that_it_is_in_vain() {
        let noted = |defaults: &str, file: &str| {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join("tunnels")).unwrap();
            std::fs::write(dir.path().join("nbtunnel.toml"), defaults).unwrap();
            let file = format!("host = \"h\"\nforward = [\"*:6000:h:1\"]\n{file}");
            std::fs::write(dir.path().join("tunnels/a.toml"), file).unwrap();
            let ctx = Context { ask_ssh: false, ..Context::of_this_user() };
            let notes = load(dir.path(), &ctx).notes;
            notes.iter().any(|note| note.message.contains("owner_only"))
        };
        let by_all = "[defaults]\nowner_only = true\n";
        assert!(noted("", "owner_only = true"));
        assert!(noted(by_all, ""));
        assert!(!noted(by_all, "owner_only = false"));
        assert!(!noted("", ""));
    }

    #[test]
    fn it_is_said_where_others_can_connect_all_the_same() {
        let forwards = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        let mine = forwards(&[
            "6000:h:1",
            "127.0.0.2:6001:h:1",
            "[::1]:6002:h:1",
            "[::ffff:127.0.0.1]:6004:h:1",
            "/run/s:h:1",
            "name:6003:h:1",
        ]);
        assert!(in_vain(&mine, true).is_none());
        assert!(in_vain(&mine, false).is_some());
        for open in ["*:6000:h:1", "10.0.0.1:6000:h:1", "[fe80::1]:6000:h:1"] {
            assert!(in_vain(&forwards(&["6009:h:1", open]), true).is_some(), "{open}");
        }
    }
}
