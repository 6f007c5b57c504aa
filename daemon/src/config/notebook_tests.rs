//! Notebooks in tunnel files: what they mean, and what is wrong with them.

use nbtunnel_core::{Launcher, NotebookSpec, Scheme, SlurmSpec, Which};
use proptest::prelude::*;

use super::gather::Gathered;
use super::ports_tests::World;
use super::read::interpret;
use super::*;

fn read_text(text: &str) -> Loaded {
    let files = vec![("a.toml".to_owned(), Ok(text.as_bytes().to_vec()))];
    let found = Gathered { dir: "/cfg".into(), tunnels: files, ..Gathered::default() };
    let ctx = Context {
        home: "/home/me".into(),
        user: "me".into(),
        env: BTreeMap::new(),
        ask_ssh: false,
        ports_path: None,
        owner_only: true,
    };
    interpret(&found, &ctx, &hosts::Answers::default())
}

/// The notebooks of a file that is good.
fn notebooks(text: &str) -> Vec<NotebookSpec> {
    let loaded = read_text(&format!("host = \"h\"\n{text}"));
    assert!(loaded.problems.is_empty(), "{text}: {:?}", loaded.problems);
    loaded.tunnels["a"].notebooks.clone()
}

/// The problems of a file, whose host stands in its first line.
fn wrong(text: &str) -> Vec<String> {
    let loaded = read_text(&format!("host = \"h\"\n{text}"));
    assert_eq!(loaded.tunnels.len(), usize::from(loaded.problems.is_empty()));
    let place = |p: &FileProblem| format!("{}:{}", p.line.unwrap_or(0), p.column.unwrap_or(0));
    loaded.problems.iter().map(|p| format!("{} {} -- {}", place(p), p.message, p.hint)).collect()
}

#[test]
fn a_team_is_one_host_and_a_line_a_person() {
    let text = "[notebook.zoe]\nremote_port = 7001\nlocal_port = 6001\n\
                [notebook.bob]\nremote_port = 7002\nlocal_port = 6002\n\
                [notebook.carol]\nremote_port = 7003\nlocal_port = 6003\n";
    let loaded = read_text(&format!("host = \"h\"\nforward = \"6000:localhost:7000\"\n{text}"));
    let spec = &loaded.tunnels["a"];
    let names: Vec<&str> = spec.notebooks.iter().map(|notebook| notebook.name.as_str()).collect();
    assert_eq!(names, ["zoe", "bob", "carol"], "the order of the file");
    let forwards: Vec<(Option<u16>, Option<&str>)> = spec
        .forwards
        .iter()
        .map(|forward| (forward.listen.port(), forward.target.notebook().map(Name::as_str)))
        .collect();
    let expected = [
        (Some(6000), None),
        (Some(6001), Some("zoe")),
        (Some(6002), Some("bob")),
        (Some(6003), Some("carol")),
    ];
    assert_eq!(forwards, expected);
    assert_eq!(spec.notebooks[0].which, Which { port: Some(7001), ..Which::default() });
}

#[test]
fn every_key_of_a_notebook_reaches_the_spec() {
    let found = notebooks(
        r#"
        [notebook.alice]
        find = ["~/project", "user:alice", "7000-7099"]
        local_port = 6000
        token = "3f9c"
        scheme = "https"
        start = "conda activate x && jupyter lab --port={port}"
        dir = "~/project"
        launcher = "slurm"
        owner_only = false

        [notebook.alice.slurm]
        partition = "gpu"
        account = "physics"
        time = "8:00:00"
        cpus = 4
        memory = "16G"
        gres = "gpu:1"
        options = ["--qos=short", "--exclusive"]
        "#,
    );
    let text = |text: &str| Some(text.to_owned());
    let slurm = SlurmSpec {
        partition: text("gpu"),
        account: text("physics"),
        time: text("8:00:00"),
        cpus: Some(4),
        memory: text("16G"),
        gres: text("gpu:1"),
        options: vec!["--qos=short".into(), "--exclusive".into()],
        script: None,
        job: None,
    };
    let expected = NotebookSpec {
        name: Name::parse("alice").unwrap(),
        host: "localhost".into(),
        which: Which { port: None, owner: text("alice"), dir: text("~/project"), ports: Some((7000, 7099)) },
        local_port: 6000,
        scheme: Scheme::Https,
        start: text("conda activate x && jupyter lab --port={port}"),
        dir: text("~/project"),
        launcher: Launcher::Slurm(Box::new(slurm)),
        owner_only: Some(false),
    };
    assert_eq!(found, [expected]);
    assert_eq!(notebooks("[notebook.b]\nhost = \"gpu7\"")[0].host, "gpu7");
    let plain = notebooks("[notebook.b]\nlocal_port = 6000\nremote_port = 7000\nfind = \"user:alice\"");
    assert_eq!(plain[0].which.owner.as_deref(), Some("alice"), "a port and a user go together");
    assert_eq!((plain[0].host.as_str(), &plain[0].launcher), ("localhost", &Launcher::Here));
    let text =
        "host = \"h\"\n[notebook.x]\nlocal_port = 6000\nowner_only = false\n[notebook.y]\nlocal_port = 6001";
    let forwards = &read_text(text).tunnels["a"].forwards;
    assert_eq!(forwards.iter().map(|forward| forward.owner_only).collect::<Vec<_>>(), [Some(false), None]);
    for good in [
        "notebook.x = {}",
        "[notebook]",
        "notebook = {}",
        "[notebook.x]\nfind = \"auto\"",
        "[notebook.x]\nstart = \"jupyter lab\"",
        "[notebook.x]\nhost = \"LocalHost\"\nstart = \"jupyter lab\"",
        "[notebook.x]\nhost = \"::1\"\nlauncher = \"slurm\"\nstart = \"jupyter lab\"",
        "[notebook.x]\nlauncher = \"slurm\"\n[notebook.x.slurm]\nscript = \"~/a.sbatch\"",
        "[notebook.x]\nlauncher = \"slurm\"\nslurm.job = \"mine\"",
        "[notebook.\"a.b\"]",
    ] {
        notebooks(good);
    }
}

#[test]
fn what_is_started_for_a_directory_that_find_names_is_started_in_it() {
    let dir = |text: &str| {
        notebooks(&format!("[notebook.x]\nfind = [\"~/project\", \"7-9\"]\n{text}"))[0].dir.clone()
    };
    assert_eq!(dir("start = \"jupyter lab\"").as_deref(), Some("~/project"));
    assert_eq!(dir("start = \"jupyter lab\"\nlauncher = \"slurm\"").as_deref(), Some("~/project"));
    assert_eq!(dir("start = \"jupyter lab ~/project\"\ndir = \"/data\"").as_deref(), Some("/data"));
    assert_eq!(dir(""), None, "nothing is started");
    assert_eq!(
        dir("launcher = \"slurm\"\nslurm.script = \"~/a.sbatch\""),
        None,
        "a script goes where it likes"
    );
}

#[test]
fn what_is_wrong_with_a_notebook_is_pointed_at() {
    let cases = [
        (
            "[notebook.alice]\nremote_prot = 1",
            "3:1 `remote_prot` is not a key here -- did you mean `remote_port`?",
        ),
        (
            "[notebook.alice]\nremote_port = \"7000\"",
            "3:15 invalid type: string \"7000\", expected a whole number -- write it like remote_port = 7000",
        ),
        (
            "[notebook.alice]\nstart = 7",
            "3:9 invalid type: integer `7`, expected a string -- \
             write it like start = \"jupyter lab --no-browser --port={port}\"",
        ),
        (
            "[notebook.alice]\nslurm.cpus = 4\n",
            "3:1 what Slurm is asked for stands here, and Slurm is not to be asked -- \
             add launcher = \"slurm\" to the notebook's section, or remove this",
        ),
        (
            "[notebook.alice]\nlauncher = \"slurm\"",
            "3:12 launcher = \"slurm\" has nothing to submit -- \
             add start = \"jupyter lab --no-browser --port={port}\", or a script or job to its slurm table",
        ),
        ("[notebook.alice]\nremote_port = 0", "3:15 0 is not a port -- ports go from 1 to 65535"),
        (
            "[notebook.alice]\nremote_port = 7000\nfind = [\"user:a\", \"auto\"]",
            "4:19 remote_port = 7000 names the port, and find = \"auto\" looks for it -- \
             keep one of the two; a user or a directory may stand beside remote_port",
        ),
        ("[notebook.alice]\nfind = [\"user:a\", \"b\"]", "3:19 find names a second user -- keep one user"),
        (
            "forward = \"6000:a:1\"\n[notebook.alice]\nlocal_port = 6000",
            "4:14 another forward of this tunnel listens on localhost:6000 already -- \
             give each notebook a local_port of its own, or leave it out and one is chosen",
        ),
        (
            "[notebook.alice]\nhost = \"gpu7\"\nstart = \"jupyter lab\"",
            "4:9 start runs its command on the far end itself, and not on host = \"gpu7\" -- \
             give that machine a tunnel of its own, with the far end as jump; or leave out one of the two",
        ),
        (
            "[notebook.alice]\nhost = \"gpu7\"\nlauncher = \"slurm\"\nstart = \"jupyter lab\"",
            "3:8 the cluster says where its job runs, and host = \"gpu7\" names a machine -- \
             leave host out; a node can be asked for with options = [\"--nodelist=NODE\"] in its slurm table",
        ),
        (
            "[notebook.alice]\nhost = \"0.0.0.0\"",
            "3:8 0.0.0.0 is the address of no machine -- \
             leave host out where the server runs on the far end itself, or name its machine",
        ),
        (
            "[notebook.\"a b\"]",
            "2:11 a notebook's name has only letters, digits, '.', '_' and '-', not ' ' -- \
             write it like [notebook.alice]",
        ),
        (
            "token = \"x\"",
            "2:1 `token` is not a key here -- a notebook's token stands in its section, [notebook.NAME]",
        ),
        (
            "notebook = 5",
            "2:12 invalid type: integer `5`, expected a section such as [notebook.alice] -- \
             a line is a key, '=' and a value; text stands in double quotes, a list in [ ]",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(wrong(text), [expected], "{text}");
    }
    for bad in [
        "[notebook.x]\nremote_port = 1\nfind = \"1-2\"",
        "[notebook.x]\nscheme = \"ftp\"",
        "[notebook.x]\nlauncher = \"pbs\"",
        "[notebook.x]\nhost = \"a@b\"",
        "[notebook.x]\nhost = \"a@b\"\nstart = \"jupyter lab\"",
        "[notebook.x]\ndir = \"\"",
        "[notebook.x]\nstart = \"a\\nb\"",
        "[notebook.x]\nlauncher = \"slurm\"\nstart = \"a\"\nslurm.job = \"b\"",
        "[notebook.x]\nlauncher = \"slurm\"\nstart = \"a\"\nslurm.script = \"b\"",
        "[notebook.x]\nlauncher = \"slurm\"\nslurm.script = \"a\"\nslurm.time = \"8h\"",
        "[notebook.x]\nlocal_port = 6000\n[notebook.y]\nlocal_port = 6000",
    ] {
        assert_eq!(wrong(bad).len(), 1, "{bad}: {:?}", wrong(bad));
    }
    let all = wrong(
        "[notebook.x]\nremote_port = 0\nhost = \"\"\nscheme = \"a\"\n[notebook.y]\nfind = [\"7\", \"0-1\"]",
    );
    assert_eq!(all.len(), 5, "{all:?}");
}

#[test]
fn the_defaults_have_no_notebooks_and_their_forwards_clash_with_those_of_files() {
    let world = World::new(&[("a", "host = \"h\"\n[notebook.x]\nlocal_port = 6000")]);
    let main = world.dir.path().join("nbtunnel.toml");
    std::fs::write(&main, "[defaults.notebook.x]\nremote_port = 1").unwrap();
    let loaded = world.load();
    assert!(loaded.all_broken && loaded.problems[0].message.contains("belongs to one tunnel"));
    std::fs::write(&main, "[defaults]\nforward = \"6000:h:1\"").unwrap();
    let loaded = world.load();
    assert_eq!((loaded.problems.len(), loaded.problems[0].line), (1, Some(2)), "{:?}", loaded.problems);
}

#[test]
fn no_token_shows_up_anywhere() {
    for text in [
        "[notebook.x]\ntoken = \"hunter 2\"\n",
        "[notebook.x]\ntoken = 4242hunter\n",
        "[notebook.x]\ntoken = 4242\n",
        "[notebook.x]\ntoken = [\"hunter2\"]\n",
        "[notebook.x]\ntoken = \"hunter2\n",
        "[notebook.x]\ntoken = hunter2\n",
        "[notebook.x]\ntoken = \"hunter2\"\ntoken = \"hunter2\"\n",
        "[notebook.x]\ntoken = \"\"\"\nhunter2\\z\"\"\"\n",
        "[notebook.x]\ntoken = '''\nhunter2\n4242''' x\n",
        "notebook.x = { token = \"hunter2\", remote_port = 0 }\n",
        "notebook.x = { remote_port = 1, token = 4242, host = 3 }\n",
        "notebook.x.token = 4242\n",
    ] {
        let loaded = read_text(&format!("host = \"h\"\n{text}"));
        let shown = format!("{loaded:?}");
        assert!(!loaded.problems.is_empty(), "{text}");
        assert!(!shown.contains("hunter") && !shown.contains("4242"), "{text}: {shown}");
    }
    let good = read_text("host = \"h\"\n[notebook.x]\ntoken = \"hunter2\"");
    assert!(!format!("{good:?} {good:#?}").contains("hunter"));
    let key = (Name::parse("a").unwrap(), Name::parse("x").unwrap());
    assert_eq!(good.tokens[&key].expose(), "hunter2");
    assert!(wrong("[notebook.x]\nhost = 4242")[0].contains("4242"), "only secrets are kept back");
}

#[cfg(unix)]
#[test]
fn a_token_that_others_can_read_is_not_used_and_all_else_goes_on() {
    use std::os::unix::fs::PermissionsExt;

    let world = World::new(&[("a", "host = \"h\"\n[notebook.x]\nremote_port = 7000\ntoken = \"hunter2\"")]);
    let file = world.dir.path().join("tunnels/a.toml");
    let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o640);
    let loaded = world.load();
    assert!(loaded.tokens.is_empty() && loaded.broken.is_empty());
    assert_eq!(loaded.tunnels["a"].notebooks[0].which.port, Some(7000));
    let [problem] = loaded.problems.as_slice() else { panic!("{:?}", loaded.problems) };
    assert_eq!((problem.line, problem.source.as_deref()), (Some(4), Some("token =…")));
    assert!(problem.hint.contains("chmod 600"), "{}", problem.hint);
    assert_eq!(check(Some(&file), world.dir.path(), &world.ctx()).problems.len(), 1);
    mode(0o600);
    let mended = world.load();
    assert_eq!((mended.problems.len(), mended.tokens.len()), (0, 1));
    assert_ne!(mended.digest, loaded.digest, "a change of the mode alone is a change");
}

const WORDS: [&str; 24] = [
    "remote_port",
    "find",
    "host",
    "local_port",
    "token",
    "scheme",
    "start",
    "dir",
    "launcher",
    "owner_only",
    "slurm.time",
    "slurm.cpus",
    "slurm.memory",
    "slurm.options",
    "slurm.job",
    "\"auto\"",
    "\"user:a\"",
    "\"7-9\"",
    "[\"~/x\", \"b\"]",
    "7000",
    "true",
    "\"slurm\"",
    "\"https\"",
    "{}",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_notebook_is_read_or_is_a_problem_with_a_place(
        lines in prop::collection::vec((0..15usize, 15..WORDS.len(), "\\PC{0,12}", 0..4u8), 0..6),
        name in "[a-z.\" -]{0,6}",
    ) {
        let mut text = format!("host = \"h\"\n[notebook.{name}]\n");
        for (key, value, free, which) in lines {
            let value = match which {
                0 => toml::Value::String(free).to_string(),
                1 => free,
                _ => WORDS[value].to_owned(),
            };
            text += &format!("{} = {value}\n", WORDS[key]);
        }
        let mut loaded = read_text(&text);
        prop_assert_eq!(loaded.problems.is_empty(), loaded.tunnels.len() == 1);
        for problem in &loaded.problems {
            prop_assert!(problem.line.is_some() && !problem.message.is_empty() && !problem.hint.is_empty());
        }
        let count = loaded.tunnels.values().map(|spec| spec.notebooks.len()).sum::<usize>();
        ports::Ports::open(None).choose(&mut loaded);
        for spec in loaded.tunnels.values() {
            prop_assert_eq!((spec.notebooks.len(), spec.forwards.len()), (count, count));
            prop_assert!(spec.notebooks.iter().all(|notebook| notebook.local_port != 0));
        }
    }
}
