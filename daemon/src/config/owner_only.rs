//! What `owner_only = true` cannot do for a tunnel, so that nobody relies on it where it is in vain.

use std::net::IpAddr;

use nbtunnel_core::{ForwardSpec, ListenAt};

use super::values::Flaw;

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
    use super::*;

    #[test]
    fn it_is_said_where_others_can_connect_all_the_same() {
        let forwards = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        let mine =
            forwards(&["6000:h:1", "127.0.0.2:6001:h:1", "[::1]:6002:h:1", "/run/s:h:1", "name:6003:h:1"]);
        assert!(in_vain(&mine, true).is_none());
        assert!(in_vain(&mine, false).is_some());
        for open in ["*:6000:h:1", "10.0.0.1:6000:h:1", "[fe80::1]:6000:h:1"] {
            assert!(in_vain(&forwards(&["6009:h:1", open]), true).is_some(), "{open}");
        }
    }
}
