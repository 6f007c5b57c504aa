//! In which order methods are tried, and which are left out (PreferredAuthentications), as the log of a real server
//! tells it of a real ssh and of us.

use std::process::{Command, Stdio};
use std::sync::Arc;

use super::bed::{log_in, person};
use crate::ssh::AgentAt;
use crate::ssh::agent::Agents;
use crate::ssh::testbed::{Sshd, until};
use crate::test_program::write_program;

/// The methods that were tried, each as often as it was, without what only begins one.
fn tried(log: &str) -> Vec<String> {
    let asked = log
        .lines()
        .filter_map(|line| line.split_once("userauth-request for user ")?.1.split_once(" method "));
    let mut methods: Vec<String> = Vec::new();
    for (_, method) in asked {
        let method = method.split(' ').next().unwrap().replace("-hostbound-v00@openssh.com", "");
        // How often one asks within a method is each program's own business.
        if methods.last() != Some(&method) {
            methods.push(method);
        }
    }
    methods
}

#[tokio::test]
async fn methods_are_tried_in_the_preferred_order_and_no_others() {
    let sshd = Sshd::start("ed25519", "PasswordAuthentication yes\nLogLevel DEBUG1\nMaxAuthTries 20");
    let askpass = sshd.at("askpass");
    write_program(&askpass, "#!/bin/sh\necho wrong\n");
    let hop = sshd.hop();
    let agents = Agents::new(AgentAt::Nowhere, "/nonexistent".into());
    for (preferred, comes_in) in [
        (None, true),
        (Some("password,publickey"), true),
        (Some("publickey,password"), true),
        (Some("keyboard-interactive,password,publickey"), true),
        (Some("password"), false),
        (Some("keyboard-interactive"), false),
        (Some("gssapi-with-mic,publickey"), true),
    ] {
        let before = sshd.log().len();
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-o", "StrictHostKeyChecking=yes", "-o", "IdentityAgent=none"]);
        ssh.args(["-o", "NumberOfPasswordPrompts=1", "-p", &hop.port.to_string()]);
        ssh.arg("-o").arg(format!("UserKnownHostsFile={}", sshd.at("known_hosts").display()));
        ssh.arg("-i")
            .arg(sshd.at("id"))
            .args(preferred.map(|all| format!("-oPreferredAuthentications={all}")));
        ssh.arg("127.0.0.1").arg("true").env("SSH_ASKPASS", &askpass).env("SSH_ASKPASS_REQUIRE", "force");
        let told = ssh.stdin(Stdio::null()).output().unwrap();
        assert_eq!(
            told.status.success(),
            comes_in,
            "{preferred:?}: {}",
            String::from_utf8_lossy(&told.stderr)
        );
        until("ssh is gone", || {
            sshd.log()[before..].contains("Connection closed")
                || sshd.log()[before..].contains("Disconnected")
                || sshd.log()[before..].contains("disconnect")
        })
        .await;
        let theirs = tried(&sshd.log()[before..]);

        let before = sshd.log().len();
        let mut hop = hop.clone();
        hop.login.preferred = preferred.map(|all| all.split(',').map(str::to_owned).collect());
        let (asker, _asked) = person(&["wrong", "wrong", "wrong"]);
        let attempt = log_in(&hop, &Arc::clone(&agents), Some(&asker)).await;
        assert_eq!(attempt.end.is_ok(), comes_in, "{preferred:?}: {:?}", attempt.seen);
        assert_eq!(tried(&sshd.log()[before..]), theirs, "{preferred:?}");
    }
}
