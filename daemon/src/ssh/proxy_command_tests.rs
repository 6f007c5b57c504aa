use std::fs;
use std::time::Duration;

use nbtunnel_core::{FailureKind, LinkReport, Route, SshConfig};

use crate::ssh::AgentAt;
use crate::ssh::testbed::{Sshd, Watched, links, start, until};

/// The way to `sshd` by `command`, in which `%p` is its port.
fn by(sshd: &Sshd, command: &str) -> Route {
    let config = sshd.at("config");
    fs::write(&config, format!("Host *\n  ProxyCommand {command}\n")).unwrap();
    Route { ssh_config: SshConfig::File(config), ..sshd.route() }
}

fn go(route: Route) -> Watched {
    start(&links(AgentAt::Nowhere), route)
}

/// Whether a process of that number is there and has not ended.
fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

/// Carries standard input and output to a port; a line of the `sh` that tests can rely on.
const RELAY: &str = "python3 -c \"import socket,threading,os,sys
s=socket.create_connection(('127.0.0.1',int(sys.argv[1])))
def up():
  while True:
    b=os.read(0,65536)
    if not b: break
    s.sendall(b)
  s.shutdown(1)
threading.Thread(target=up,daemon=True).start()
while True:
  b=s.recv(65536)
  if not b: break
  os.write(1,b)\" %p";

fn relay(sshd: &Sshd) -> String {
    let script = sshd.at("relay.py");
    let source = RELAY.trim_start_matches("python3 -c \"").trim_end_matches("\" %p");
    fs::write(&script, source).unwrap();
    format!("python3 {} %p", script.display())
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_proxy_command_carries_complains_and_ends_with_all_that_it_began() {
    let sshd = Sshd::start("ed25519", "");
    let (pids, relay) = (sshd.at("pids"), relay(&sshd));
    // The command is the leader; a helper of it does not end by itself.
    let script = sshd.at("proxy.sh");
    let text = format!(
        "echo 'careful: this is slow' >&2\nsleep 1000 & echo $! >{p}\necho $$ >>{p}\nexec {relay}\n",
        p = pids.display(),
        relay = relay.replace("%p", "$1")
    );
    fs::write(&script, text).unwrap();
    let mut link = go(by(&sshd, &format!("sh {} %p", script.display())));
    link.up().await;
    link.link.probe();
    assert!(matches!(link.report().await, LinkReport::Answers(_)));
    assert!(link.seen.iter().any(|seen| seen.contains("careful: this is slow")), "{:?}", link.seen);
    let pids = fs::read_to_string(pids).unwrap();
    assert!(pids.lines().count() == 2 && pids.lines().all(runs), "{pids}");
    link.link.close();
    assert_eq!(link.report().await, LinkReport::Closed);
    until("nothing of it is left", || !pids.lines().any(runs)).await;
}

#[tokio::test]
async fn a_proxy_command_that_ends_says_why() {
    let sshd = Sshd::start("ed25519", "");
    let failure = go(by(&sshd, "sh -c 'echo no way to %h >&2; exit 7'")).lost().await;
    assert_eq!(failure.kind, FailureKind::Disconnected);
    assert!(failure.message.contains("ended with status 7: no way to 127.0.0.1"), "{failure}");
    // One that the shell does not know.
    let failure = go(by(&sshd, "/nonexistent/proxy %h")).lost().await;
    assert!(
        failure.message.contains("status 127") && failure.message.contains("/nonexistent/proxy"),
        "{failure}"
    );
    // And in the middle of a session.
    let pid = sshd.at("pid");
    let relay = relay(&sshd);
    let script = sshd.at("proxy.sh");
    fs::write(&script, format!("echo $$ >{}\nexec {}\n", pid.display(), relay.replace("%p", "$1"))).unwrap();
    let mut link = go(by(&sshd, &format!("sh {} %p", script.display())));
    link.up().await;
    crate::ssh::testbed::run("kill", &["-9", fs::read_to_string(pid).unwrap().trim()]);
    let failure = link.lost().await;
    assert!(
        failure.message.contains("the ProxyCommand for") && failure.message.contains("signal"),
        "{failure}"
    );
}

#[tokio::test]
async fn a_proxy_command_that_never_speaks_is_ended_when_it_is_given_up() {
    let sshd = Sshd::start("ed25519", "");
    let pid = sshd.at("pid");
    let script = sshd.at("proxy.sh");
    fs::write(&script, format!("echo $$ >{}\ntrap '' TERM\nwhile :; do sleep 1; done\n", pid.display()))
        .unwrap();
    let mut link = go(by(&sshd, &format!("sh {}", script.display())));
    link.step("banner").await;
    until("it runs", || fs::read_to_string(&pid).is_ok_and(|pid| pid.ends_with('\n'))).await;
    link.link.close();
    assert_eq!(link.report().await, LinkReport::Closed);
    // It does not listen to being asked.
    let pid = fs::read_to_string(pid).unwrap();
    until("it is gone", || !std::path::Path::new(&format!("/proc/{}", pid.trim())).exists()).await;
}

#[tokio::test]
async fn names_that_a_shell_could_misread_start_nothing() {
    let sshd = Sshd::start("ed25519", "");
    let mark = sshd.at("mark");
    let command = format!("sh -c 'touch {}; exit 1'", mark.display());
    for host in ["$(id)", "a;id", "-oProxyCommand=id", "a`id`", "x y"] {
        let route = Route { host: host.into(), ..by(&sshd, &command) };
        let failure = go(route).lost().await;
        assert_eq!(failure.kind, FailureKind::Config, "{host}");
    }
    let route = Route { user: Some("$(id)".into()), ..by(&sshd, &command) };
    assert_eq!(go(route).lost().await.kind, FailureKind::Config);
    let route = Route { jump: Some(vec!["a;id@b".into()]), ..by(&sshd, &command) };
    assert_eq!(go(route).lost().await.kind, FailureKind::Config);
    assert!(!mark.exists());
}

#[tokio::test]
async fn ssh_itself_may_be_the_proxy_command() {
    let (sshd, jump) = (Sshd::start("ed25519", ""), Sshd::start("ed25519", ""));
    let user = jump.route().user.unwrap();
    let command = format!(
        "ssh -F none -i {} -o UserKnownHostsFile={} -p {} -l {user} -W %h:%p 127.0.0.1",
        jump.at("id").display(),
        jump.at("known_hosts").display(),
        jump.port
    );
    let mut link = go(by(&sshd, &command));
    link.up().await;
    link.link.close();
    assert_eq!(link.report().await, LinkReport::Closed);
    until("the other session is over", || !jump.has_sessions()).await;
    tokio::time::timeout(Duration::from_secs(1), async {}).await.unwrap();
}
