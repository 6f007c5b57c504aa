use std::fs;

use nbtunnel_core::{Route, SshConfig};
use tempfile::TempDir;

use super::*;

fn account() -> Account {
    Account { home: "/home/u".into(), user: "u".into() }
}

/// A route to `server` with this ssh_config.
fn route(config: &str) -> (TempDir, Route) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config");
    fs::write(&path, config).unwrap();
    (dir, Route { ssh_config: SshConfig::File(path), ..Route::to("server") })
}

async fn planned(route: &Route) -> Result<Plan, Failure> {
    plan(route, &account()).await.map(|planned| planned.plan)
}

fn labels(plan: &Plan) -> Vec<String> {
    plan.hops().map(|hop| format!("{}@{}", hop.user, hop.label())).collect()
}

const HOSTS: &str = "Host server\n HostName s.example\n ProxyJump b,me@c:7\n Port 2222\n User root\n\
                     Host b\n HostName b.example\n User bob\n ProxyJump a\n IdentityFile /b_key\n HostKeyAlias bee\n\
                     Host a\n HostName a.example\n User ann\n ProxyCommand nc -X %h %p\n\
                     Host c\n HostName c.example\n ProxyJump never\n Port 9\n";

#[tokio::test]
async fn each_jump_host_has_its_own_settings_and_the_first_its_own_way() {
    let (_dir, route) = route(HOSTS);
    let plan = planned(&route).await.unwrap();
    assert_eq!(
        labels(&plan),
        ["ann@a.example:22", "bob@b.example:22", "me@c.example:7", "root@s.example:2222"]
    );
    assert_eq!(plan.jumps[0].dialling.proxy_command.as_deref(), Some("nc -X a.example 22"));
    assert_eq!(plan.jumps[1].login.identity_files, [PathBuf::from("/b_key")]);
    assert_eq!(plan.jumps[1].host_keys.alias.as_deref(), Some("bee"));
    assert!(plan.jumps[1..].iter().chain([&plan.server]).all(|hop| hop.dialling.proxy_command.is_none()));
    let keys: Vec<_> = plan.keys().collect();
    assert!(keys.len() == 4 && keys[3].starts_with(&keys[2]) && keys[1].starts_with(&keys[0]));
}

#[tokio::test]
async fn the_file_wins_over_ssh_config_and_that_over_what_is_usual() {
    let (_dir, route) = route(
        "Host *\n User someone\n Port 2200\n IdentityFile /theirs\n UserKnownHostsFile /k1 /k2\n\
         StrictHostKeyChecking accept-new\n ProxyCommand nc %h %p\n IdentityAgent none\n AddressFamily inet6\n\
         ConnectTimeout 7\n TCPKeepAlive no\n",
    );
    let said = planned(&route).await.unwrap().server;
    assert_eq!((said.user.as_str(), said.port), ("someone", 2200));
    assert_eq!(said.login.identity_files, [PathBuf::from("/theirs")]);
    assert_eq!(said.login.agent, Some(AgentAt::Nowhere));
    assert_eq!(said.host_keys.known_hosts, [PathBuf::from("/k1"), "/k2".into()]);
    assert_eq!(said.host_keys.policy, HostKeyPolicy::AcceptNew);
    assert_eq!(said.host_keys.update, UpdateHostKeys::No);
    assert_eq!(said.dialling.family, Family::Inet6);
    assert_eq!(said.dialling.connect_timeout, Some(std::time::Duration::from_secs(7)));
    assert!(said.dialling.no_tcp_keepalive && said.dialling.proxy_command.is_some());
    let files = Route {
        user: Some("me".into()),
        port: Some(1),
        identity_files: Some(vec!["/mine".into()]),
        known_hosts: Some(vec!["/k".into()]),
        host_key: Some(HostKeyPolicy::Strict),
        jump: Some(Vec::new()),
        ..route
    };
    let said = planned(&files).await.unwrap();
    assert!(said.jumps.is_empty());
    let said = said.server;
    assert_eq!((said.user.as_str(), said.port), ("me", 1));
    assert_eq!(said.login.identity_files, [PathBuf::from("/mine")]);
    assert_eq!(said.host_keys.known_hosts, [PathBuf::from("/k")]);
    assert_eq!((said.host_keys.policy, said.dialling.proxy_command), (HostKeyPolicy::Strict, None));
    let usual = planned(&Route { ssh_config: SshConfig::Nothing, ..Route::to("h") }).await.unwrap().server;
    assert_eq!(usual.login.identity_files[2], PathBuf::from("/home/u/.ssh/id_ed25519"));
    assert_eq!(usual.host_keys.update, UpdateHostKeys::Yes);
}

#[tokio::test]
async fn keys_are_kept_up_to_date_as_ssh_would_with_the_known_hosts_of_the_file() {
    use UpdateHostKeys::{Ask, No, Yes};
    let usual = account().home.join(".ssh/known_hosts");
    let cases: [(&str, &[&str], Option<&str>, UpdateHostKeys); 10] = [
        ("", &[], None, Yes),
        ("", &[], Some("/k"), No),
        ("", &[], usual.to_str(), Yes),
        ("UserKnownHostsFile /theirs", &[], usual.to_str(), Yes),
        ("UserKnownHostsFile /theirs", &[], None, No),
        ("UpdateHostKeys yes", &[], Some("/k"), Yes),
        ("UpdateHostKeys ask", &[], Some("/k"), Ask),
        ("UpdateHostKeys no", &[], usual.to_str(), No),
        ("UpdateHostKeys no", &["UpdateHostKeys=yes"], Some("/k"), Yes),
        ("", &["UserKnownHostsFile=~/.ssh/known_hosts"], Some("/k"), No),
    ];
    for (config, options, file, update) in cases {
        let (_dir, mut route) = route(&format!("{config}\n"));
        route.options = options.iter().map(|&option| option.to_owned()).collect();
        route.known_hosts = file.map(|file| vec![file.into()]);
        let host_keys = planned(&route).await.unwrap().server.host_keys;
        assert_eq!(host_keys.update, update, "{config:?} {options:?} {file:?}");
        if let Some(file) = file {
            assert_eq!(host_keys.known_hosts, [PathBuf::from(file)]);
        }
        if config.is_empty() && options.is_empty() {
            // Without ssh_config it is the same, and no ssh is run.
            route.ssh_config = SshConfig::Nothing;
            assert_eq!(planned(&route).await.unwrap().server.host_keys.update, update, "{file:?}");
        }
    }
}

#[tokio::test]
async fn a_way_that_leads_in_a_circle_or_is_too_long_is_refused() {
    let (_dir, all) = route("Host *\n ProxyJump bastion\n");
    let failure = planned(&all).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Config);
    // Newer ones of ssh see it themselves.
    let is_told =
        failure.message.contains("bastion:22 twice") || failure.message.contains("loop via bastion");
    assert!(is_told, "{failure}");
    let (_dir, two) = route("Host server\n ProxyJump a\nHost a\n ProxyJump b\nHost b\n ProxyJump a\n");
    assert!(planned(&two).await.unwrap_err().message.contains("a:22 twice"));
    let many = (0..17).map(|number| format!("j{number}")).collect();
    let long = Route { jump: Some(many), ssh_config: SshConfig::Nothing, ..Route::to("server") };
    assert!(planned(&long).await.unwrap_err().message.contains("more than 16"));
}

#[tokio::test]
async fn a_jump_list_that_cannot_be_read_is_a_word_about_the_file() {
    for bad in ["a b", "-x", "h:0", "$(id)"] {
        let route = Route { jump: Some(vec![bad.into()]), ssh_config: SshConfig::Nothing, ..Route::to("h") };
        let failure = planned(&route).await.unwrap_err();
        assert!(failure.kind == FailureKind::Config && failure.hint.contains("jump"), "{bad}: {failure}");
    }
}
