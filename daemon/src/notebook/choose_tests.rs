//! Whose server is whose, on far ends that tell much and little.

use super::super::listener::Listener;
use super::super::listing::Process;
use super::super::mark::Mark;
use super::*;

const ME: u32 = 1000;
const PORT: u16 = 7000;

fn on(port: u16) -> Wanted {
    Wanted { port: Some(port), ..Wanted::any() }
}

fn written(pid: u32, port: u16, changed: i64) -> Written {
    let file = ServerFile {
        hostname: "localhost".to_owned(),
        port,
        https: false,
        base_url: "/".to_owned(),
        token: Some(Secret::new("t".to_owned())),
        root_dir: Some(format!("/work/{pid}")),
        pid: Some(pid),
        classic: false,
    };
    Written {
        server: Ok(file),
        name: format!("jpserver-{pid}.json"),
        dir: "/runtime".to_owned(),
        owners: Some((ME, ME)),
        open_to_others: false,
        changed: Some(changed),
    }
}

fn listener(address: &str, port: u16, uid: u32, inode: u64) -> Listener {
    Listener { address: address.parse().ok(), port, uid, inode: Some(inode) }
}

/// A server of ours, process 77, on port 7000 of IPv4's loopback; it wrote that at 1000.
fn ours() -> Listing {
    Listing {
        me: Some(ME),
        who: Some(ME),
        whole: true,
        files: vec![written(77, PORT, 1000)],
        processes: [(77, Process { uid: ME, began: Some(990), sockets: Some(vec![1, 2]) })].into(),
        table: Some(Table::Everybodys),
        listeners: vec![listener("127.0.0.1", PORT, ME, 2)],
        ..Listing::default()
    }
}

/// The kind of failure, or the host, and whether its token may be used.
fn verdict(listing: &Listing, wanted: &Wanted) -> Result<(String, bool), FailureKind> {
    let chosen = choose(listing, wanted).map_err(|why| why.kind)?;
    Ok((chosen[0].hosts[0].clone(), chosen[0].token().is_some()))
}

fn fine(host: &str) -> Result<(String, bool), FailureKind> {
    Ok((host.to_owned(), true))
}

const MISSING: Result<(String, bool), FailureKind> = Err(FailureKind::NotebookMissing);
const NOT_YOURS: Result<(String, bool), FailureKind> = Err(FailureKind::NotYours);

#[test]
fn ours_is_ours_and_each_thing_that_is_wrong_makes_it_another() {
    assert_eq!(verdict(&ours(), &Wanted::any()), fine("127.0.0.1"));
    assert_eq!(verdict(&ours(), &on(PORT)), fine("127.0.0.1"));
    type Change = fn(&mut Listing);
    let changes: [(Change, _); 10] = [
        (|l| l.processes.clear(), MISSING),
        (|l| l.processes.get_mut(&77).unwrap().uid = 1001, MISSING),
        (|l| l.processes.get_mut(&77).unwrap().sockets = Some(vec![3]), MISSING),
        (|l| l.listeners.clear(), MISSING),
        (|l| l.listeners = vec![listener("127.0.0.1", PORT, 1001, 9)], MISSING),
        (|l| l.listeners.insert(0, listener("0.0.0.0", PORT, 1001, 9)), NOT_YOURS),
        (|l| l.files[0].owners = Some((1001, ME)), NOT_YOURS),
        (|l| l.files[0].owners = Some((ME, 1001)), NOT_YOURS),
        (|l| l.files[0].open_to_others = true, NOT_YOURS),
        (|l| l.whole = false, Err(FailureKind::NotebookFailed)),
    ];
    for (at, (change, expected)) in changes.into_iter().enumerate() {
        let mut listing = ours();
        change(&mut listing);
        assert_eq!(verdict(&listing, &Wanted::any()), expected, "change {at}");
    }
}

#[test]
fn where_sockets_of_a_process_cannot_be_read_the_clock_tells_a_recycled_number() {
    let mut mac = Listing { table: Some(Table::Own), ..ours() };
    mac.listeners[0].inode = None;
    for (began, expected) in [(990, fine("127.0.0.1")), (1002, fine("127.0.0.1")), (1010, MISSING)] {
        mac.processes.insert(77, Process { uid: ME, began: Some(began), sockets: None });
        assert_eq!(verdict(&mac, &Wanted::any()), expected, "{began}");
    }
    // lsof shows our own alone: what it does not show is not ours.
    mac.listeners.clear();
    assert_eq!(verdict(&mac, &on(PORT)), MISSING);
}

#[test]
fn where_nothing_can_be_read_that_is_told() {
    let blind = Listing { table: None, listeners: Vec::new(), ..ours() };
    for wanted in [Wanted::any(), on(PORT)] {
        let chosen = choose(&blind, &wanted).unwrap();
        assert_eq!((&*chosen[0].hosts[0], chosen[0].checked), ("localhost", Checked::NotReadable));
    }
}

#[test]
fn a_port_without_a_file_is_taken_if_it_is_ours_and_only_then() {
    let mut bare = ours();
    bare.files.clear();
    assert_eq!(verdict(&bare, &on(PORT)), Ok(("127.0.0.1".to_owned(), false)));
    assert_eq!(verdict(&bare, &Wanted::any()), MISSING);
    bare.listeners = vec![listener("127.0.0.1", PORT, 1001, 9), listener("::1", PORT, ME, 8)];
    assert_eq!(verdict(&bare, &on(PORT)), Ok(("::1".to_owned(), false)));
    bare.listeners = vec![listener("::", PORT, 1001, 9), listener("127.0.0.1", PORT, ME, 8)];
    assert_eq!(verdict(&bare, &on(PORT)), NOT_YOURS);
    bare.listeners = vec![listener("10.1.2.3", PORT, ME, 8)];
    assert_eq!(verdict(&bare, &on(PORT)), Ok(("10.1.2.3".to_owned(), false)));
}

#[test]
fn a_file_that_others_wrote_gives_no_token_but_the_port_may_be_used_with_ours() {
    let mut listing = ours();
    listing.files[0].open_to_others = true;
    assert_eq!(verdict(&listing, &on(PORT)), NOT_YOURS);
    let given = Wanted { token: Some(Secret::new("ours".to_owned())), ..on(PORT) };
    assert_eq!(verdict(&listing, &given), Ok(("127.0.0.1".to_owned(), false)));
}

#[test]
fn the_newest_comes_first_and_what_is_named_has_to_fit() {
    let mut listing = ours();
    listing.files.push(written(78, 7001, 2000));
    listing.processes.insert(78, Process { uid: ME, began: Some(1), sockets: Some(vec![4]) });
    listing.listeners.push(listener("::1", 7001, ME, 4));
    let ports =
        |wanted: &Wanted| choose(&listing, wanted).map(|c| c.iter().map(|c| c.port).collect::<Vec<_>>());
    assert_eq!(ports(&Wanted::any()), Ok(vec![7001, 7000]));
    assert_eq!(ports(&Wanted { ports: Some((7000, 7000)), ..Wanted::any() }), Ok(vec![7000]));
    assert_eq!(ports(&Wanted { pid: Some(77), ..Wanted::any() }), Ok(vec![7000]));
    assert_eq!(ports(&Wanted { dir: Some("/work/77/".to_owned()), ..Wanted::any() }), Ok(vec![7000]));
    let none = Wanted { dir: Some("/work".to_owned()), ..Wanted::any() };
    assert_eq!(ports(&none).map_err(|why| why.kind), Err(FailureKind::NotebookMissing));
}

#[test]
fn the_one_that_was_there_last_stays_and_after_it_one_with_its_directory() {
    let mut listing = ours();
    for (pid, port, changed) in [(78, 7001, 1500), (79, 7002, 2000)] {
        listing.files.push(written(pid, port, changed));
        let sockets = Some(vec![u64::from(pid)]);
        listing.processes.insert(pid, Process { uid: ME, began: Some(1), sockets });
        listing.listeners.push(listener("127.0.0.1", port, ME, pid.into()));
    }
    let last = |pid, port, root_dir: &str| Last { pid: Some(pid), port, root_dir: Some(root_dir.to_owned()) };
    for (last, expected) in [
        (None, [7002, 7001, 7000]),
        (Some(last(77, 7000, "/work/77")), [7000, 7002, 7001]),
        (Some(last(79, 7002, "/work/77")), [7002, 7000, 7001]),
        // The same number or port alone is another server.
        (Some(last(77, 7001, "/")), [7002, 7001, 7000]),
        (Some(last(5, 7000, "/work/78")), [7001, 7002, 7000]),
        (Some(Last { pid: None, port: 7001, root_dir: None }), [7001, 7002, 7000]),
    ] {
        let wanted = Wanted { last: last.clone(), ..Wanted::any() };
        let ports: Vec<u16> = choose(&listing, &wanted).unwrap().iter().map(|c| c.port).collect();
        assert_eq!(ports, expected, "{last:?}");
    }
}

#[test]
fn the_one_that_was_there_last_has_ended_only_where_that_is_seen() {
    let last = Last { pid: Some(77), port: PORT, root_dir: None };
    let any = Wanted { last: Some(last.clone()), ..Wanted::any() };
    assert!(!has_ended(&ours(), &any));
    assert!(!has_ended(&ours(), &Wanted::any()));
    assert!(!has_ended(&ours(), &Wanted { last: Some(Last { pid: None, ..last.clone() }), ..Wanted::any() }));
    type Change = fn(&mut Listing);
    let changes: [(Change, bool); 5] = [
        (|l| l.files.clear(), false),
        (|l| l.processes.clear(), true),
        // Another process has its number.
        (|l| l.processes.get_mut(&77).unwrap().sockets = Some(vec![3]), true),
        (|l| (l.table, l.listeners) = (None, Vec::new()), false),
        (|l| (l.whole, l.processes) = (false, [].into()), false),
    ];
    for (at, (change, expected)) in changes.into_iter().enumerate() {
        let mut listing = ours();
        change(&mut listing);
        assert_eq!(has_ended(&listing, &any), expected, "change {at}");
    }
    let there = Wanted { host: "node7".to_owned(), ..any };
    let mut elsewhere = Listing { table: None, processes: [].into(), ..ours() };
    assert!(!has_ended(&elsewhere, &there));
    elsewhere.files.clear();
    assert!(has_ended(&elsewhere, &there));
}

#[test]
fn of_another_user_the_ports_are_seen_and_nothing_else() {
    let mut listing = Listing { who: Some(1001), files: Vec::new(), ..ours() };
    listing.listeners = vec![listener("127.0.0.1", 7005, 1001, 8), listener("127.0.0.1", 7001, 1001, 9)];
    listing.listeners.push(listener("127.0.0.1", PORT, ME, 2));
    let hers = |wanted: Wanted| Wanted { owner: Some("alice".to_owned()), ..wanted };
    let found = choose(&listing, &hers(Wanted { ports: Some((7000, 7009)), ..Wanted::any() })).unwrap();
    assert_eq!(found.iter().map(|c| c.port).collect::<Vec<_>>(), [7001, 7005]);
    assert_eq!(verdict(&listing, &hers(on(PORT))), NOT_YOURS);
    assert_eq!(verdict(&listing, &hers(Wanted::any())), MISSING);
    let nobody = Listing { nobody: true, ..Listing::default() };
    assert_eq!(verdict(&nobody, &hers(Wanted::any())), Err(FailureKind::Config));
}

#[test]
fn on_another_machine_the_name_has_to_fit_and_no_more_can_be_seen() {
    let mut listing = ours();
    (listing.table, listing.processes) = (None, [].into());
    let there = |host: &str| Wanted { host: host.to_owned(), ..Wanted::any() };
    let told = |listing: &mut Listing, hostname: &str| {
        let Ok(file) = &mut listing.files[0].server else { panic!("no file") };
        file.hostname = hostname.to_owned();
    };
    assert_eq!(verdict(&listing, &there("node7")), MISSING);
    for (hostname, host) in [
        ("node7", "node7"),
        ("node7.cluster", "Node7"),
        ("node7", "node7.cluster"),
        ("node7.cluster", "node7.cluster."),
        ("10.0.0.7", "10.0.0.7"),
        ("fd00::7", "fd00:0::7"),
    ] {
        told(&mut listing, hostname);
        assert_eq!(verdict(&listing, &there(host)), fine(host), "{hostname} is {host}");
    }
    listing.files[0].open_to_others = true;
    assert_eq!(verdict(&listing, &there("fd00::7")), NOT_YOURS);
}

#[test]
fn a_token_goes_to_no_other_machine_than_the_one_that_its_file_names() {
    let mut listing = ours();
    (listing.table, listing.processes) = (None, [].into());
    for (hostname, host) in [
        ("0.0.0.0", "node7"),
        ("*", "node7"),
        ("", "node7"),
        ("::", "node7"),
        ("0.0.0.0", "10.0.0.7"),
        ("0.0.0.0", "0.0.0.0"),
        ("::", "::"),
        ("localhost", "localhost.localdomain"),
        ("127.0.0.1", "node7"),
        ("10.0.0.7", "10.0.0.8"),
        ("10.0.0.7", "10"),
        ("node7", "node8"),
        ("node7.here", "node7.there"),
    ] {
        let Ok(file) = &mut listing.files[0].server else { panic!("no file") };
        file.hostname = hostname.to_owned();
        let there = Wanted { host: host.to_owned(), ..Wanted::any() };
        assert_eq!(verdict(&listing, &there), MISSING, "{hostname:?} is not {host}");
        // A port that our file names may be used, with a token of ours.
        let bare = Ok((host.to_owned(), false));
        assert_eq!(verdict(&listing, &Wanted { port: Some(PORT), ..there }), bare, "{hostname:?}, {host}");
    }
    let missing = choose(&listing, &Wanted { host: "node9".to_owned(), ..Wanted::any() }).unwrap_err();
    assert!(missing.hint.contains("--ip=node9") && missing.hint.contains("remote_port"), "{missing}");
}

#[test]
fn a_jobs_server_goes_by_the_name_of_its_node_only_where_all_that_others_reach_is_theirs() {
    let wanted = Wanted { node: Some("n1".to_owned()), ..on(PORT) };
    type Case = (&'static [(&'static str, u32)], &'static [&'static str]);
    let cases: [Case; 9] = [
        (&[("0.0.0.0", ME)], &["n1", "127.0.0.1"]),
        (&[("::", ME)], &["n1", "127.0.0.1"]),
        (&[("*", ME)], &["n1", "127.0.0.1"]),
        (&[("10.1.2.3", ME)], &["n1", "10.1.2.3"]),
        (&[("127.0.0.1", ME), ("::1", ME), ("::ffff:127.0.0.1", ME)], &["127.0.0.1"]),
        (&[("127.0.0.1", ME), ("10.1.2.3", 1001)], &["127.0.0.1"]),
        (&[("::1", ME), ("0.0.0.0", 1001)], &["::1"]),
        (&[("10.1.2.3", ME), ("10.9.2.3", 1001)], &["10.1.2.3"]),
        (&[("127.0.0.1", 1001), ("10.1.2.3", ME)], &["n1", "10.1.2.3"]),
    ];
    for (listeners, hosts) in cases {
        let listeners: Vec<_> = listeners.iter().map(|(at, uid)| listener(at, PORT, *uid, 2)).collect();
        let listing = Listing { listeners, ..ours() };
        let chosen = choose(&listing, &wanted).unwrap_or_else(|why| panic!("{hosts:?}: {why}"));
        assert_eq!(chosen[0].hosts, hosts);
        assert_eq!((chosen[0].checked, chosen[0].barred.is_some()), (Checked::Mine, hosts[0] != "n1"));
        // Later looks ask the same of the address that was taken.
        for host in hosts {
            let leads = leads(&listing, ME, wanted.node.as_deref(), host, PORT);
            assert_eq!(leads, Leads::Theirs((*host).to_owned()));
        }
        let by_name = leads(&listing, ME, wanted.node.as_deref(), "n1", PORT);
        assert_eq!(by_name == Leads::Theirs("n1".to_owned()), hosts[0] == "n1", "{hosts:?}");
    }
    let taken = Listing { listeners: vec![listener("0.0.0.0", PORT, 1001, 2)], ..ours() };
    assert_eq!(verdict(&taken, &wanted), NOT_YOURS);
    // Where nobody else's sockets can be seen, somebody may have one beside it.
    let partly = Listing { table: Some(Table::Own), listeners: vec![listener("*", PORT, ME, 2)], ..ours() };
    assert_eq!(choose(&partly, &wanted).unwrap()[0].hosts, ["127.0.0.1"]);
}

/// Ours beside one on 7001, process 78, which wrote that later.
fn beside() -> Listing {
    let mut listing = ours();
    listing.files.push(written(78, 7001, 1001));
    listing.processes.insert(78, Process { uid: ME, began: Some(991), sockets: Some(vec![3]) });
    listing.listeners.push(listener("127.0.0.1", 7001, ME, 3));
    listing
}

#[test]
fn a_server_that_was_started_for_another_notebook_is_not_meant_unless_it_is_named() {
    let started = |notebook: Option<&str>, job| Mark { notebook: notebook.map(str::to_owned), job };
    let ports = |marks: &[(u32, Mark)], wanted: &Wanted| {
        let listing = Listing { marks: marks.iter().cloned().collect(), ..beside() };
        let chosen = choose(&listing, wanted).map_err(|why| why.kind);
        chosen.map(|all| all.iter().map(|one| one.port).collect::<Vec<_>>())
    };
    let (alice, bob) = (started(Some("alice-1"), None), started(Some("bob-2"), None));
    let started_as = Some("alice-1".to_owned());
    let alices = Wanted { started_as, not: vec!["bob-2".to_owned()], ..Wanted::any() };
    let both = [(77, alice.clone()), (78, bob.clone())];
    assert_eq!(ports(&both, &alices), Ok(vec![7000]), "hers alone");
    assert_eq!(ports(&both[1..], &alices), Ok(vec![7000]), "what somebody started by hand is hers");
    assert_eq!(ports(&both[..1], &alices), Ok(vec![7000, 7001]), "her own first");
    assert_eq!(ports(&[(77, bob.clone()), (78, bob.clone())], &alices), Err(FailureKind::NotebookMissing));
    let in_range = Wanted { ports: Some((7000, 7001)), ..alices.clone() };
    assert_eq!(ports(&both, &in_range), Ok(vec![7000]));
    let dir = Some("/work/78".to_owned());
    for named in [Wanted { dir, ..alices.clone() }, Wanted { port: Some(7001), ..alices.clone() }] {
        assert_eq!(ports(&both, &named), Ok(vec![7001]));
    }
    let renamed = started(Some("ally-3"), None);
    assert_eq!(ports(&[(77, renamed.clone()), (78, bob)], &alices), Ok(vec![7000]), "nobody's by now");
    assert_eq!(ports(&[(77, alice), (78, renamed)], &alices), Ok(vec![7000, 7001]), "but not before her own");
    assert_eq!(ports(&both, &Wanted::any()), Ok(vec![7001, 7000]), "who starts none takes what there is");
    let last = Some(Last { pid: Some(78), port: 7001, root_dir: None });
    assert_eq!(ports(&both, &Wanted { last, ..alices }), Ok(vec![7000]), "though it was taken once");

    let in_job = Wanted { job: Some(5), ..Wanted::any() };
    let jobs = [(77, started(None, Some(5))), (78, started(None, Some(6)))];
    assert_eq!(ports(&jobs, &in_job), Ok(vec![7000]));
    assert_eq!(ports(&jobs[1..], &in_job), Ok(vec![7000]), "a container may hide in which job it is");
    assert_eq!(ports(&jobs[..1], &in_job), Ok(vec![7000, 7001]));
    assert_eq!(ports(&jobs, &Wanted::any()), Ok(vec![7001, 7000]));
}
