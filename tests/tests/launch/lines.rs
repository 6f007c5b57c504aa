//! Any line that a user writes, at any far end: login shells, `sh`s, activation lines, and what goes wrong.

use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use nbtunnel_core::FailureKind;
use nbtunnel_tests::{net, wait};
use nbtunneld::launch::{Begun, log, start, stop};

use super::yard::{Said, Yard, ask, did, ends, on_runtime, ours};

/// Starts `launch` by that shell's login, and asks the server.
fn said(yard: &Yard, line: &str, shell: &str) -> Result<Said> {
    let far = std::sync::Arc::new(yard.here().env("SHELL", shell));
    let launch = yard.launch(line);
    let (_, port) = ours(&did(start(far, &launch)).with_context(|| format!("{shell}: {line}"))?)?;
    let said = ask(port)?;
    did(stop(yard.far(), &launch, None))?;
    Ok(said)
}

#[test]
fn a_line_reaches_the_shell_as_it_was_written() -> Result<()> {
    let yard = Yard::new()?;
    let line = yard.small(
        "'a'\"'\"'b' \"100% %s \\\\\\\\n\" 'two\nlines' 'ünï ☃' $((1+1)) \"$(echo x; echo 'y')\" {port}x '!' '$HOME' # no word",
    );
    let said = said(&yard, &line, "/bin/bash")?;
    let words: Vec<_> = said.words[1..].iter().map(String::as_str).collect();
    let port = words[6].to_owned();
    ensure!(
        words == ["a'b", "100% %s \\\\n", "two\nlines", "ünï ☃", "2", "x\ny", &*port, "!", "$HOME"],
        "{words:?}"
    );
    ensure!(port.strip_suffix('x').is_some_and(|port| port.parse::<u16>().is_ok()), "{port}");
    Ok(())
}

#[test]
fn every_login_shell_sets_its_environment_and_bash_reads_the_line() -> Result<()> {
    let yard = Yard::new()?;
    yard.write(".bash_profile", "export SEEN=bash; echo noise\n")?;
    yard.write(".zprofile", "export SEEN=zsh\n")?;
    yard.write(".config/fish/config.fish", "set -gx SEEN fish\n")?;
    yard.write(".tcshrc", "setenv SEEN tcsh\n")?;
    yard.write("active", "ACTIVE=$SEEN\n")?;
    // `source` is no word of a POSIX shell, `[[` neither of that nor of fish or csh.
    let line =
        format!("source ~/active && [[ $SEEN == \"$ACTIVE\" ]] && {}", yard.small("'it'\\''s' \"$SEEN\""));
    for (shell, seen) in [
        ("/bin/bash", "bash"),
        ("/bin/dash", "bash"),
        ("/bin/mksh", "bash"),
        ("/usr/bin/zsh", "zsh"),
        ("/usr/bin/fish", "fish"),
        ("/usr/bin/tcsh", "tcsh"),
        ("/bin/not-installed", "bash"),
        // As on a machine of a job that was submitted from another.
        ("/opt/not-installed/zsh", "bash"),
        ("/opt/not-installed/fish", "bash"),
        ("/opt/not-installed/tcsh", "bash"),
    ] {
        let said = said(&yard, &line, shell)?;
        ensure!(
            said.seen == seen && said.words[1..] == ["it's", seen],
            "{shell}: {} {:?}",
            said.seen,
            said.words
        );
    }
    Ok(())
}

#[test]
fn lines_that_activate_an_environment_work_without_an_interactive_shell() -> Result<()> {
    let yard = Yard::new()?;
    // As Debian's own .bashrc begins, and as `conda init` ends it.
    let conda = "conda() { [ \"$1\" = activate ] && export SEEN=\"conda $2\"; }";
    yard.write(
        ".bashrc",
        &format!(
            "case $- in *i*) ;; *) return ;; esac\nexec sleep 600\n\
             # >>> conda initialize >>>\n{conda}\n# <<< conda initialize <<<\n"
        ),
    )?;
    yard.write(
        ".zshrc",
        &format!("exit 9\n# >>> conda initialize >>>\n{conda}z\n# <<< conda initialize <<<\n")
            .replace("}z", "}"),
    )?;
    yard.write(".bash_profile", ". ~/.bashrc\n")?;
    yard.write("miniconda3/bin/activate", "export SEEN=\"source $1\"\n")?;
    for (line, shell, seen) in [
        ("conda activate lab", "/bin/bash", "conda lab"),
        ("conda activate lab", "/usr/bin/zsh", "conda lab"),
        ("source ~/miniconda3/bin/activate lab", "/bin/bash", "source lab"),
        ("source ~/miniconda3/bin/activate lab", "/usr/bin/fish", "source lab"),
        (". ~/miniconda3/bin/activate lab", "/bin/sh", "source lab"),
    ] {
        let said = said(&yard, &format!("{line} && {}", yard.small("x")), shell)?;
        ensure!(said.seen == seen, "{shell}: {line}: {}", said.seen);
    }
    Ok(())
}

#[test]
fn conda_that_was_made_ready_for_another_shell_than_the_one_that_runs_the_line_works() -> Result<()> {
    let yard = Yard::new()?;
    let hook = "[ \"$*\" = 'shell.posix hook' ] && echo 'conda() { [ \"$1\" = activate ] && export SEEN=\"conda $2\"; }'";
    yard.stand_in("conda", hook)?;
    let program = yard.home().join("bin/conda").display().to_string();
    yard.write(".config/fish/config.fish", &format!("set -gx CONDA_EXE {program}\n"))?;
    yard.write(".tcshrc", &format!("setenv CONDA_EXE {program}\n"))?;
    yard.write(".bash_profile", &format!("PATH={}/bin:$PATH\n", yard.home().display()))?;
    for shell in ["/usr/bin/fish", "/usr/bin/tcsh", "/bin/bash"] {
        let said = said(&yard, &format!("conda activate lab && {}", yard.small("x")), shell)?;
        ensure!(said.seen == "conda lab", "{shell}: {}", said.seen);
    }
    Ok(())
}

#[test]
fn what_ends_at_once_says_its_last_words() -> Result<()> {
    let yard = Yard::new()?;
    for (line, words) in [
        (
            "echo 'no \x1b[31mluck ?token=secret'; echo '  why' >&2; exit 3",
            ["status 3", "no \\u{1b}[31mluck ?token=… / why"],
        ),
        (
            "jupyter-that-is-not-there --port={port}",
            ["status 127", "jupyter-that-is-not-there: command not found"],
        ),
        ("true", ["without an error", "it wrote nothing"]),
        ("kill -9 $$", ["status 137", "Killed"]),
    ] {
        let why = ends(&yard, &yard.launch(line))?;
        ensure!(why.kind == FailureKind::NotebookFailed, "{why}");
        ensure!(
            words.iter().all(|word| why.message.contains(word)) && !why.to_string().contains("secret"),
            "{why}"
        );
    }
    Ok(())
}

#[test]
fn a_port_in_use_and_a_missing_directory_are_said() -> Result<()> {
    let yard = Yard::new()?;
    let taken = net::listener()?;
    let mut launch = yard.launch(yard.small("x"));
    launch.port = Some(taken.local_addr()?.port());
    let why = on_runtime(start(yard.far(), &launch)).expect_err("somebody has it");
    ensure!(why.message.contains(&format!("port {} is in use", taken.local_addr()?.port())), "{why}");

    launch.dir = Some("my work".into());
    let why = on_runtime(start(yard.far(), &launch)).expect_err("there is none");
    ensure!(why.message.ends_with("/my work at the far end"), "{why}");
    std::fs::create_dir(yard.home().join("my work"))?;
    let at = taken.local_addr()?;
    drop(taken);
    // Another test's child may hold the descriptor between its fork and its exec.
    wait::until("the port is given back", wait::SOON, || TcpStream::connect(at).is_err())?;
    launch.dir = Some("~/my work".into());
    let (_, port) = ours(&did(start(yard.far(), &launch))?)?;
    ensure!(Some(port) == launch.port && ask(port)?.dir.ends_with("my work"));

    launch.command.push('\0');
    let why = on_runtime(start(yard.far(), &launch)).expect_err("no shell takes that");
    ensure!(why.kind == FailureKind::Config, "{why}");
    Ok(())
}

#[test]
fn where_nothing_can_be_kept_nothing_is_started() -> Result<()> {
    let yard = Yard::new()?;
    yard.write(".local/state/nbtunnel", "a file in the way")?;
    let why =
        on_runtime(start(yard.far(), &yard.launch(yard.small("x")))).expect_err("nothing can be claimed");
    ensure!(why.message.contains("nothing can be kept in ") && yard.servers().is_empty(), "{why}");
    Ok(())
}

#[test]
fn where_systemd_ends_what_a_login_leaves_the_server_escapes_if_it_may() -> Result<()> {
    let yard = Yard::new()?;
    yard.stand_in("busctl", "echo b true")?;
    yard.stand_in("loginctl", "cat ~/linger")?;
    yard.stand_in(
        "systemd-run",
        "echo \"$@\" >~/scope; while [ \"$1\" != sh ]; do shift; done; exec \"$@\"",
    )?;
    let path = format!("{}/bin:/usr/bin:/bin", yard.home().display());
    let far = || std::sync::Arc::new(yard.here().env("PATH", &path));
    let launch = yard.launch(yard.small("x"));
    yard.write("linger", "Linger=no\n")?;
    let begun = did(start(far(), &launch))?;
    ensure!(matches!(begun, Begun::Ours { mortal: true, .. }), "{begun:?}");
    ensure!(!yard.home().join("scope").exists());
    did(stop(far(), &launch, None))?;

    yard.write("linger", "Linger=yes\n")?;
    let begun = did(start(far(), &launch))?;
    ensure!(matches!(begun, Begun::Ours { mortal: false, .. }), "{begun:?}");
    let scope = std::fs::read_to_string(yard.home().join("scope"))?;
    ensure!(scope.starts_with("--user --scope "), "{scope}");
    Ok(())
}

#[test]
fn a_real_jupyter_is_started_and_ended() -> Result<()> {
    let yard = Yard::new()?;
    let jupyter = nbtunnel_tests::programs::repository().join("target/jupyter/bin/jupyter");
    let root = "--ServerApp.allow_root=True --no-browser";
    let launch = yard.launch(format!("{} server {root} --port={{port}}", jupyter.display()));
    let (_, port) = ours(&did(start(yard.far(), &launch))?)?;
    let written = wait::until_some("it says where it is", std::time::Duration::from_secs(60), || {
        did(log(yard.far(), &launch, 50)).ok().filter(|log| log.contains("?token="))
    })?;
    ensure!(written.contains(&format!(":{port}/?token=…")), "{written}");
    did(stop(yard.far(), &launch, None))?;
    ensure!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    // It was asked kindly, and tidied up.
    ensure!(
        did(log(yard.far(), &launch, 50))?.contains("Shutting down"),
        "{}",
        did(log(yard.far(), &launch, 50))?
    );
    Ok(())
}

#[test]
fn what_the_line_makes_has_the_modes_that_its_user_is_used_to() -> Result<()> {
    let yard = Yard::new()?;
    let line = yard.small("\"$(umask)\"");
    let said = said(&yard, &line, "/bin/bash")?;
    let usual = std::process::Command::new("sh").args(["-c", "umask"]).output()?.stdout;
    ensure!(said.words[1] == String::from_utf8(usual)?.trim(), "{:?}", said.words);
    Ok(())
}
