//! Bytes that nobody would write: they are read or are a problem, whatever they are.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::gather::Gathered;
use super::read::interpret;
use super::{Context, Loaded};

fn read_bytes(main: Option<Vec<u8>>, tunnel: Vec<u8>) -> Loaded {
    let found = Gathered {
        dir: "/cfg".into(),
        main: main.map(Ok),
        tunnels: vec![("a.toml".into(), Ok(tunnel))],
        ..Gathered::default()
    };
    interpret(
        &found,
        &Context {
            home: "/home/me".into(),
            user: "me".into(),
            env: BTreeMap::new(),
            ask_ssh: false,
            ports_path: None,
            owner_only: true,
        },
        &Default::default(),
    )
}

/// Good, or broken with a problem that has its sentences: never both, never neither.
fn is_sound(loaded: &Loaded) -> Result<(), TestCaseError> {
    let states = [loaded.all_broken, loaded.broken.len() == 1, loaded.tunnels.len() == 1];
    prop_assert_eq!(states.iter().filter(|on| **on).count(), 1);
    prop_assert_eq!(loaded.problems.is_empty(), loaded.tunnels.len() == 1);
    for problem in &loaded.problems {
        prop_assert!(!problem.message.is_empty() && !problem.hint.is_empty());
        let shown =
            [Some(&problem.message), Some(&problem.hint), problem.source.as_ref(), problem.file.as_ref()];
        prop_assert!(
            shown
                .into_iter()
                .flatten()
                .all(|text| text.chars().count() < 700 && !text.contains(char::is_control))
        );
    }
    Ok(())
}

const VALID: &str = "host = \"dest.ination.com\"\nuser = 'me'\nport = 22\nforward = [\"6000:localhost:7000\", \"/a:/b\"]\nstart = \"demand\"\ntags = [\"lab\"]\nidentity_file = [\"~/.ssh/id\"]\nhost_key = \"accept-new\"\nkeepalive = \"1m30s\"\nhold = \"30s\"\nbuffer = \"1MiB\"\n[notebook.alice]\nfind = [\"~/x\", \"user:a\"]\nlocal_port = 6001\ntoken = \"t\"\nlauncher = \"slurm\"\n[notebook.alice.slurm]\njob = \"j\"\n";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_bytes_at_all_are_read_or_are_a_problem(
        tunnel in prop::collection::vec(any::<u8>(), 0..200), main in prop::option::of("\\PC{0,60}"),
    ) {
        is_sound(&read_bytes(main.map(String::into_bytes), tunnel))?;
    }

    #[test]
    fn a_file_with_some_bytes_changed_is_read_or_is_a_problem(
        changes in prop::collection::vec((0..VALID.len(), any::<u8>(), any::<bool>()), 1..6),
    ) {
        let mut bytes = VALID.as_bytes().to_vec();
        for (at, byte, replace) in changes {
            let at = at.min(bytes.len());
            if replace && at < bytes.len() { bytes[at] = byte } else { bytes.insert(at, byte) }
        }
        is_sound(&read_bytes(None, bytes.clone()))?;
        let mut main = b"[defaults]\n".to_vec();
        main.append(&mut bytes);
        is_sound(&read_bytes(Some(main), VALID.into()))?;
    }

    #[test]
    fn any_value_of_any_key_is_read_or_is_a_problem(
        key in prop::sample::select(vec!["host", "user", "forward", "tags", "hold", "buffer", "known_hosts", "start"]),
        value in "\\PC{0,40}",
    ) {
        let value = toml::Value::String(value);
        is_sound(&read_bytes(None, format!("{key} = {value}\n").into_bytes()))?;
    }
}
