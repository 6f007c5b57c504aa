//! What scripts print, on systems of every sort, and what nobody's script prints.

use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn file(pid: u32, port: u16) -> String {
    hex(&format!("{{\"base_url\":\"/\",\"port\":{port},\"pid\":{pid},\"token\":\"t\"}}"))
}

#[test]
fn a_linux_far_end_is_read() {
    let told = format!(
        "who 1000 1001\nnow 2000\nboot 1000 100\nroot {root}\ndir drwx------ 1001 {dir}\n\
         file jpserver-77.json -rw------- 1001 1500 {file}\nprocess 77 1001 ticks 40050 5,6,\n\
         table proc 0001\nlisten 0100007F 1B58 1001 6\nend\n",
        root = hex("/home/a b"),
        dir = hex("/home/a b/.local"),
        file = file(77, 7000),
    );
    let listing = Listing::read(told.as_bytes());
    assert_eq!((listing.me, listing.who, listing.whole), (Some(1000), Some(1001), true));
    assert_eq!((listing.root.as_deref(), listing.table), (Some("/home/a b"), Some(Table::Everybodys)));
    let written = &listing.files[0];
    assert_eq!(
        (written.owners, written.open_to_others, written.changed),
        (Some((1001, 1001)), false, Some(1500))
    );
    assert_eq!(
        written.server.as_ref().map(|file| (file.pid, file.port, file.classic)),
        Ok((Some(77), 7000, false))
    );
    let process = Process { uid: 1001, began: Some(1400), sockets: Some(vec![5, 6]) };
    assert_eq!(listing.processes.get(&77), Some(&process));
    assert_eq!(listing.listeners[0].inode, Some(6));
}

#[test]
fn a_mac_is_read() {
    let told = format!(
        "who 501 501\nnow 100000\ndir drwx------@ 501 {dir}\nfile nbserver-77.json -rw-r--r-- 501 99000 {file}\n\
         process 77 501 since 1-02:03:04 -\ntable lsof\nlsof p77\nlsof u501\nlsof f5\nlsof n127.0.0.1:7000\nend\n",
        dir = hex("/Users/a/Library/Jupyter/runtime"),
        file = file(77, 7000),
    );
    let listing = Listing::read(told.as_bytes());
    assert_eq!(listing.table, Some(Table::Own));
    let began = 100_000 - (26 * 3600 + 3 * 60 + 4);
    assert_eq!(listing.processes.get(&77), Some(&Process { uid: 501, began: Some(began), sockets: None }));
    assert!(listing.files[0].server.as_ref().is_ok_and(|file| file.classic));
    assert_eq!(listing.listeners.len(), 1);
}

#[test]
fn a_file_counts_once_and_only_by_the_number_in_its_name() {
    let told = format!(
        "dir drwx------ 1 {dir}\nfile jpserver-77.json -rw------- 1 1 {file}\n\
         file jpserver-77.json -rw------- 1 1 {file}\nfile jpserver-78.json -rw------- 1 1 {file}\n\
         huge jpserver-79.json\n",
        dir = hex("/x"),
        file = file(77, 7000),
    );
    let listing = Listing::read(told.as_bytes());
    let told: Vec<_> = listing.files.iter().map(|file| file.server.as_ref().err().copied()).collect();
    assert_eq!(told, [None, Some(Unfit::Malformed), Some(Unfit::Huge)]);
    assert!(!listing.whole);
}

#[test]
fn modes_that_let_others_write_are_seen() {
    for (mode, open) in [
        ("drwx------", false),
        ("drwxr-xr-x.", false),
        ("drwxrwx---+", true),
        ("drwxr-xrwt", true),
        ("-rw-r--r--", false),
        ("-rw--w----", true),
        ("", true),
    ] {
        assert_eq!(others_may_write(mode), open, "{mode}");
    }
}

proptest! {
    #[test]
    fn no_output_is_too_strange(
        lines in prop::collection::vec(
            "(who|now|boot|root|dir|file|huge|process|table|listen|ss|sockstat|lsof|listed|end)?( [-0-9A-Za-z:.,*\\[\\]é]{0,12}){0,7}",
            0..20,
        ),
        noise in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut told = lines.join("\n").into_bytes();
        told.extend(noise);
        let _ = Listing::read(&told);
    }
}
