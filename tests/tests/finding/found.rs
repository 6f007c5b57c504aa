//! What runs is found: old and new, with and without TLS, wherever its pages begin.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;
use nbtunnel_core::FailureKind;
use nbtunnel_proto::Secret;
use nbtunnel_tests::child::Running;
use nbtunnel_tests::here::Here;
use nbtunnel_tests::jupyter::{Hub, Recipe};
use nbtunnel_tests::programs::{repository, write_program};
use nbtunnel_tests::{net, wait};
use nbtunneld::notebook::{Checked, Health, Kind, Scheme, Wanted};

use super::{found, look, me, missed, on, token};

#[test]
fn a_new_server_is_found_by_itself_and_is_well() -> Result<()> {
    let server = Recipe::new().start()?;
    let far = me(server.runtime_dir());
    let seen = found(&far, &Wanted::any())?;
    assert_eq!((seen.port, seen.https, &*seen.base_url), (server.port(), false, "/"));
    assert_eq!((&*seen.host, seen.kind, seen.checked), ("127.0.0.1", Kind::Server2, Checked::Mine));
    assert_eq!((token(&seen), seen.pid), (Some(server.token()), Some(server.pid())));
    assert!(seen.version.as_deref().is_some_and(|version| version.starts_with("2.")));
    assert!((seen.token_problem.is_none(), seen.others.is_empty()) == (true, true), "{seen:?}");
    assert!(!format!("{seen:?}").contains(server.token()));
    assert!(matches!(look(&far, &seen)?, Health::Fine(vitals) if vitals.kernels == 0), "{seen:?}");
    Ok(())
}

#[test]
fn https_with_its_own_certificate_and_a_base_url_is_found_old_and_new() -> Result<()> {
    for (recipe, kind) in [(Recipe::new(), Kind::Server2), (Recipe::new().classic(), Kind::Notebook6)] {
        let server = recipe.https().base_url("/alice/").start()?;
        let far = me(server.runtime_dir());
        let seen = found(&far, &Wanted::any())?;
        assert_eq!((seen.https, seen.self_signed, &*seen.base_url, seen.kind), (true, true, "/alice/", kind));
        assert_eq!((token(&seen), seen.token_problem.clone()), (Some(server.token()), None));
        assert!(look(&far, &seen)?.vitals().is_some());
        // Where nothing is written down, its scheme and its pages are learned from itself.
        let bare = Wanted { token: Some(Secret::new(server.token().to_owned())), ..on(server.port()) };
        let elsewhere = Here::with([]);
        let learned = found(&elsewhere, &bare)?;
        assert_eq!((learned.https, &*learned.base_url, learned.token_problem), (true, "/alice/", None));
    }
    Ok(())
}

#[test]
fn a_token_of_yesterday_gives_way_to_the_servers_own() -> Result<()> {
    let server = Recipe::new().classic().start()?;
    let yesterday = || Some(Secret::new("yesterday".to_owned()));
    let seen = found(&me(server.runtime_dir()), &Wanted { token: yesterday(), ..Wanted::any() })?;
    assert_eq!((token(&seen), seen.token_problem.clone()), (Some(server.token()), None));
    let seen = found(&Here::with([]), &Wanted { token: yesterday(), ..on(server.port()) })?;
    assert_eq!(seen.token_problem.map(|why| why.kind), Some(FailureKind::TokenRefused));
    let seen = found(&Here::with([]), &on(server.port()))?;
    assert_eq!(
        (token(&seen), seen.token_problem.clone().map(|why| why.kind)),
        (None, Some(FailureKind::TokenRefused))
    );
    Ok(())
}

#[test]
fn a_password_is_told_and_needs_no_token() -> Result<()> {
    for recipe in [Recipe::new(), Recipe::new().classic()] {
        let server = recipe.password("swordfish").start()?;
        let far = me(server.runtime_dir());
        let seen = found(&far, &Wanted::any())?;
        assert_eq!((seen.password, token(&seen), seen.token_problem.clone()), (true, None, None));
        let Health::TokenRefused(why, _) = look(&far, &seen)? else { panic!("a password is asked for") };
        assert!(why.message.ends_with("asks for a password"), "{why}");
    }
    Ok(())
}

#[test]
fn an_open_server_needs_nothing() -> Result<()> {
    let server = Recipe::new().token("").start()?;
    let far = me(server.runtime_dir());
    let seen = found(&far, &Wanted::any())?;
    assert_eq!((token(&seen), seen.token_problem.clone()), (None, None));
    assert!(matches!(look(&far, &seen)?, Health::Fine(_)));
    Ok(())
}

#[test]
fn of_two_the_named_one_is_taken_else_the_newest_and_the_other_is_told() -> Result<()> {
    let runtime = tempfile::tempdir()?;
    let (old, new) = (runtime.path().join("old work"), runtime.path().join("it's new"));
    let place = runtime.path().join("runtime");
    [&old, &new].into_iter().try_for_each(fs::create_dir)?;
    let start = |dir| Recipe::new().runtime_dir(&place).root_dir(dir).start();
    let (first, second) = (start(&old)?, start(&new)?);
    let far = me(&place);
    let seen = found(&far, &Wanted::any())?;
    assert_eq!(seen.port, second.port());
    assert_eq!(seen.others, [format!("port {} ({})", first.port(), old.display())]);
    let dir = |dir: &std::path::Path| Wanted { dir: Some(dir.display().to_string()), ..Wanted::any() };
    assert_eq!(found(&far, &dir(&old))?.port, first.port());
    assert_eq!(found(&far, &dir(&new))?.port, second.port());
    let linked = runtime.path().join("linked");
    std::os::unix::fs::symlink(&old, &linked)?;
    assert_eq!(found(&far, &dir(&linked))?.port, first.port());
    assert_eq!(
        found(&far, &Wanted { ports: Some((first.port(), first.port())), ..Wanted::any() })?.port,
        first.port()
    );
    assert_eq!(found(&far, &Wanted { pid: Some(first.pid()), ..Wanted::any() })?.port, first.port());
    assert_eq!(found(&far, &on(first.port()))?.port, first.port());
    let (kind, message) = missed(&far, &dir(&runtime.path().join("none")))?;
    assert_eq!(kind, FailureKind::NotebookMissing, "{message}");
    Ok(())
}

#[test]
fn a_hubs_server_is_found_and_its_token_has_to_be_given_where_the_written_one_opens_nothing() -> Result<()> {
    let hub = Hub::start()?;
    let far = Here::with([("HOME", hub.home().into())]);
    let seen = found(&far, &Wanted::any())?;
    assert_eq!((seen.kind, &*seen.base_url, seen.token_problem.clone()), (Kind::Hub, "/user/me/", None));
    assert!(matches!(look(&far, &seen)?, Health::Fine(_)));
    drop(hub);

    let hub = Hub::older()?;
    let far = Here::with([("HOME", hub.home().into())]);
    let seen = found(&far, &Wanted::any())?;
    let problem = seen.token_problem.clone().map(|why| why.hint).unwrap_or_default();
    assert!(seen.kind == Kind::Hub && problem.contains("the hub's page of tokens"), "{seen:?} {}", hub.log());
    assert_eq!(look(&far, &seen)?.words(), "server ok · token refused");
    let given = Wanted { token: Some(Secret::new(hub.token().to_owned())), ..Wanted::any() };
    let seen = found(&far, &given)?;
    assert_eq!((token(&seen), seen.token_problem.clone()), (Some(hub.token()), None));
    assert!(matches!(look(&far, &seen)?, Health::Fine(_)));
    Ok(())
}

/// A site's own `jupyter`, which keeps its files where nobody would look.
#[test]
fn jupyter_itself_is_asked_where_its_files_are_nowhere_usual() -> Result<()> {
    for (recipe, environment) in [(Recipe::new(), "jupyter"), (Recipe::new().classic(), "jupyter-classic")] {
        let server = recipe.start()?;
        let bin = tempfile::tempdir()?;
        let own = repository().join("target").join(environment).join("bin");
        let wrapper = format!(
            "#!/bin/sh\nPATH={}:$PATH JUPYTER_RUNTIME_DIR={} exec jupyter \"$@\"\n",
            own.display(),
            server.runtime_dir().display()
        );
        let jupyter = bin.path().join("jupyter");
        write_program(&jupyter, &wrapper)?;
        let path = format!("{}:/usr/bin:/bin", bin.path().display());
        let seen = found(&Here::with([("PATH", path.into())]), &Wanted::any())?;
        assert_eq!(
            (seen.port, token(&seen), seen.checked),
            (server.port(), Some(server.token()), Checked::Mine)
        );
    }
    Ok(())
}

#[test]
fn every_shell_tells_the_same() -> Result<()> {
    let server = Recipe::new().start()?;
    for shell in [&["dash"][..], &["bash", "--posix"], &["busybox", "ash"], &["ksh"]] {
        let far = Here::in_shell(shell, [("JUPYTER_RUNTIME_DIR", server.runtime_dir().into())]);
        let seen = found(&far, &Wanted { dir: Some("/".to_owned()), ..Wanted::any() });
        assert!(seen.is_err(), "{shell:?}");
        let seen = found(&far, &Wanted::any())?;
        assert_eq!((seen.port, seen.checked), (server.port(), Checked::Mine), "{shell:?}");
    }
    Ok(())
}

#[test]
fn a_scheme_that_is_named_is_kept_to() -> Result<()> {
    let server = Recipe::new().start()?;
    let https = Wanted { scheme: Scheme::Https, ..on(server.port()) };
    let (kind, message) = missed(&me(server.runtime_dir()), &https)?;
    assert_eq!(kind, FailureKind::NotebookFailed);
    assert!(message.starts_with("http on an https forward"), "{message}");
    Ok(())
}

/// What a login shell's files set is not set for a script over there.
#[test]
fn a_server_of_this_home_is_found_where_its_own_environment_says() -> Result<()> {
    let server = Recipe::new().start()?;
    let home = server.home();
    let usual = home.join(".local/share/jupyter/runtime");
    fs::create_dir_all(&usual)?;
    fs::set_permissions(&usual, fs::Permissions::from_mode(0o700))?;
    for shell in
        [&["sh"][..], &["bash", "--posix"], &["busybox", "ash"], &["ksh"], &["zsh", "--emulate", "sh"]]
    {
        let seen = found(&Here::in_shell(shell, [("HOME", home.clone().into())]), &Wanted::any())?;
        assert_eq!((seen.port, seen.checked), (server.port(), Checked::Mine), "{shell:?}");
    }
    let other = tempfile::tempdir()?;
    assert_eq!(
        missed(&Here::with([("HOME", other.path().into())]), &Wanted::any())?.0,
        FailureKind::NotebookMissing
    );
    // A job's processes are looked at within the job alone.
    let job = Here::with([("HOME", home.into()), ("SLURM_JOB_ID", "7".into())]);
    assert_eq!(missed(&job, &Wanted::any())?.0, FailureKind::NotebookMissing);
    Ok(())
}

/// Nothing in their command lines says "jupyter".
#[test]
fn servers_that_are_called_ipython_or_notebook_are_found_where_their_environment_says() -> Result<()> {
    for words in [&["-m", "notebook"][..], &["ipython", "notebook"]] {
        let dir = tempfile::Builder::new().prefix("nbt-plain-").tempdir()?;
        let (home, port) = (dir.path(), net::free_port()?);
        symlink(repository().join("target/jupyter-classic"), home.join("venv"))?;
        let script = "import sys\nfrom notebook.notebookapp import main\nsys.exit(main(sys.argv[2:]))\n";
        fs::write(home.join("ipython"), script)?;
        let config = format!(
            "c.NotebookApp.ip = '127.0.0.1'\nc.NotebookApp.port = {port}\nc.NotebookApp.allow_root = True\n\
             c.NotebookApp.open_browser = False\nc.NotebookApp.token = 'plain'\n"
        );
        fs::write(home.join("config.py"), config)?;
        let mut command = Command::new(home.join("venv/bin/python"));
        command.args(words).arg("--config=config.py").current_dir(home).env("HOME", home);
        command.env("JUPYTER_RUNTIME_DIR", home.join("elsewhere")).stdin(Stdio::null());
        let _server = Running::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
        let far = Here::with([("HOME", home.into())]);
        let seen =
            wait::until_some("it is found", Duration::from_secs(60), || found(&far, &Wanted::any()).ok());
        assert_eq!((seen?.port, words), (port, words));
    }
    Ok(())
}
