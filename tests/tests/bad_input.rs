//! Bad input never panics, never blocks, never loses what was there: it gets one clear sentence.

use std::fs;

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::told::{Told, tell};
use nbtunnel_tests::{Server, Sshd, World, net, wait};

/// A user that is not root, whom file modes bind.
#[cfg(unix)]
const NOBODY: u32 = 65_534;

/// A world whose tunnel `alice` is up and has to stay so.
struct Witness {
    _sshd: Sshd,
    _echo: Server,
    world: World,
    local: u16,
}

impl Witness {
    fn start() -> Result<Witness> {
        let (sshd, echo) = (Sshd::start()?, Server::echo()?);
        let (world, local) = World::with_alice(&sshd, echo.port())?;
        Ok(Witness { _sshd: sshd, _echo: echo, world, local })
    }

    /// What was there is there, and nothing panicked.
    fn swears(&self) -> Result<()> {
        ensure!(net::echoes(self.local, wait::SOON), "the other tunnel is harmed");
        ensure!(!self.world.log().contains("panicked"), "something panicked");
        let told = self.world.nbctl(["status"])?;
        ensure!(told.code == 0, "{told:?}");
        Ok(())
    }

    /// The problem that `status` shows for the file of `name`.
    fn problem(&self, name: &str) -> Result<serde_json::Value> {
        let file = format!("tunnels/{name}.toml");
        wait::until_some(&format!("{file} has a problem"), wait::SOON, || {
            let status = self.world.status().ok()?;
            status["problems"].as_array()?.iter().find(|problem| problem["file"] == file.as_str()).cloned()
        })
    }
}

/// An error that a person can use: no panic, few lines, something in it.
fn is_clear(told: &Told, code: i32, word: &str) -> Result<()> {
    ensure!(told.code == code, "exit code {code} was expected: {told:?}");
    ensure!(!told.stderr.contains("panicked"), "it panicked: {told:?}");
    ensure!(told.stderr.lines().count() <= 8, "one clear sentence was expected: {told:?}");
    ensure!(told.stderr.contains(word), "{word:?} does not stand in it: {told:?}");
    Ok(())
}

#[test]
fn bad_values_are_shown_with_their_line_and_harm_nobody() -> Result<()> {
    let witness = Witness::start()?;
    let cases: &[(&str, &str, Option<u64>)] = &[
        ("port-zero", "host = \"localhost\"\nforward = [\"0:localhost:80\"]\n", Some(2)),
        ("port-high", "host = \"localhost\"\nforward = [\"70000:localhost:80\"]\n", Some(2)),
        ("target-high", "host = \"localhost\"\nforward = [\"7000:localhost:70000\"]\n", Some(2)),
        ("ssh-port", "host = \"localhost\"\nport = 70000\n", Some(2)),
        ("dash-host", "host = \"-oProxyCommand=touch pwned\"\n", Some(1)),
        ("shell-host", "host = \"a;b\"\n", Some(1)),
        ("dash-user", "host = \"localhost\"\nuser = \"-l\"\n", Some(2)),
        ("unknown-key", "host = \"localhost\"\nprot = 22\n", Some(2)),
        ("wrong-type", "host = \"localhost\"\n\ntags = 5\n", Some(3)),
        ("no-toml", "host = \"localhost\"\nthis is no TOML\n", Some(2)),
        ("no-host", "user = \"me\"\n", None),
        ("nothing", "", None),
        ("duration", "host = \"localhost\"\nhold = \"soon\"\n", Some(2)),
        ("contradiction", "host = \"localhost\"\nstart = \"demand\"\nhold = \"0s\"\n", None),
    ];
    for (name, text, _) in cases {
        witness.world.write_text(name, text)?;
    }
    for (name, _, line) in cases {
        let problem = witness.problem(name)?;
        for part in ["message", "hint"] {
            ensure!(
                problem[part].as_str().is_some_and(|text| !text.is_empty()),
                "{name} has no {part}: {problem}"
            );
        }
        if let Some(line) = line {
            ensure!(problem["line"] == *line, "{name} is wrong in line {line}: {problem}");
        }
    }
    witness.swears()
}

#[test]
fn a_file_of_10_mb_and_one_that_is_no_text_get_a_sentence() -> Result<()> {
    let witness = Witness::start()?;
    witness.world.write_text("huge", "# filler\n".repeat(10 << 20 >> 3))?;
    witness.world.write_text("binary", b"host = \"loc\xff\xfealhost\"\n")?;
    witness.problem("huge")?;
    witness.problem("binary")?;
    witness.swears()
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_whose_name_is_no_text_gets_a_sentence() -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let witness = Witness::start()?;
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9.toml");
    fs::write(witness.world.config_dir().join("tunnels").join(name), "host = \"localhost\"\n")?;
    witness.problem("caf\u{fffd}")?;
    witness.swears()
}

#[test]
fn names_that_are_no_names_are_refused() -> Result<()> {
    let witness = Witness::start()?;
    let world = &witness.world;
    for name in ["a/b", "../../escape", ".hidden", "con", "a b", "x\u{e9}"] {
        let told = world.nbctl(["add", name, "--host", "localhost", "-L", "7000:localhost:80"])?;
        is_clear(&told, 2, "name")?;
    }
    // A name with a slash removes and opens nothing either, whatever lies there.
    fs::write(world.path("config/outside.toml"), "host = \"localhost\"\n")?;
    for command in [&["rm", "--yes", "../outside"][..], &["edit", "../outside"], &["trust", "../outside"]] {
        let told = world.nbctl(command)?;
        ensure!(told.code != 0 && !told.stderr.is_empty(), "{command:?}: {told:?}");
        ensure!(!told.stderr.contains("panicked"), "{told:?}");
    }
    ensure!(world.path("config/outside.toml").exists(), "a file outside of tunnels/ was removed");
    ensure!(!world.path("escape.toml").exists() && !world.path("config/escape.toml").exists());
    fs::write(world.config_dir().join("tunnels/a b.toml"), "host = \"localhost\"\n")?;
    witness.problem("a b")?;
    witness.swears()
}

#[test]
fn bad_forwards_and_hosts_on_the_command_line_are_refused_before_anything_is_written() -> Result<()> {
    let witness = Witness::start()?;
    let tunnels = witness.world.config_dir().join("tunnels");
    let before = fs::read_dir(&tunnels)?.count();
    for command in [
        "ssh -N -L 0:localhost:80 me@host",
        "ssh -N -L 70000:localhost:80 me@host",
        "ssh -N -L nonsense me@host",
        "ssh -N -L 7000:localhost:80 -- -oProxyCommand=x",
        "ssh -N -L 7000:localhost:80",
        "ssh 'unclosed",
    ] {
        let told = witness.world.nbctl(["add", command])?;
        ensure!(told.code != 0 && !told.stderr.is_empty(), "{command} was taken: {told:?}");
        ensure!(!told.stderr.contains("panicked"), "{told:?}");
    }
    ensure!(fs::read_dir(&tunnels)?.count() == before, "something was written");
    witness.swears()
}

#[test]
fn an_ssh_command_line_becomes_a_tunnel_file_once() -> Result<()> {
    let witness = Witness::start()?;
    let command = "ssh -N -f -L localhost:6000:localhost:7000 username@dest.invalid";
    let told = witness.world.nbctl(["add", command])?;
    ensure!(told.code == 0, "{told:?}");
    let file = fs::read_to_string(witness.world.tunnel_path("dest"))?;
    for part in ["dest.invalid", "username", "6000:localhost:7000"] {
        ensure!(file.contains(part), "{part} is missing:\n{file}");
    }
    let told = witness.world.nbctl(["add", command])?;
    ensure!(told.code != 0 && told.stderr.contains("dest-2"), "a clash proposes a free name: {told:?}");
    ensure!(fs::read_to_string(witness.world.tunnel_path("dest"))? == file, "the file was overwritten");
    witness.swears()
}

/// Needs root for a small disk in a mount namespace of its own.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_while_a_file_is_written_loses_nothing() -> Result<()> {
    use std::{process::Command, time::Duration};
    let mut world = World::new()?;
    world.start()?;
    let script = "mount -t tmpfs -o size=16k,mode=700 tmpfs \"$1\" && mkdir \"$1/tunnels\" && cd \"$1/tunnels\" \
                  && echo 'host = \"old\"' > old.toml && { cat /dev/zero > filler 2>/dev/null; shift; \"$@\"; \
                  code=$?; cat old.toml; ls; exit $code; }";
    let nbctl = world.nbctl_command(["add", "new", "--host", "localhost", "-L", "7000:localhost:80"]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(world.config_dir());
    command.arg(nbctl.get_program()).args(nbctl.get_args());
    command.env_clear().envs(nbctl.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let told = tell(&mut command, &[], Duration::from_secs(30))?;
    is_clear(&told, 1, "space")?;
    let left: Vec<_> = told.stdout.lines().collect();
    ensure!(left == ["host = \"old\"", "filler", "old.toml"], "something else is left: {told:?}");
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_directory_that_cannot_be_read_is_a_problem_and_not_the_end() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let (mut world, local) = (World::new()?, net::free_port()?);
    let key = world.path("home/key");
    fs::copy(sshd.user_key(), &key)?;
    let known_hosts = world.path("home/known_hosts");
    fs::copy(sshd.known_hosts(), &known_hosts)?;
    let own = |path: &std::path::Path| nbtunnel_tests::tunnel_file::paths(&[path]);
    let file = sshd.tunnel().set("identity_file", own(&key)).set("known_hosts", own(&known_hosts));
    // We are root, and another user to that daemon.
    world.write("alice", &file.forward(local, echo.port()).set("owner_only", false))?;
    world.give_to(NOBODY)?;
    world.start()?;
    world.wait_for("alice", "up")?;

    let closed = fs::Permissions::from_mode(0o000);
    let tunnels = world.config_dir().join("tunnels");
    fs::set_permissions(&tunnels, closed)?;
    world.nbctl(["reload"])?;
    wait::until("a problem is shown", wait::SOON, || {
        world.status().is_ok_and(|status| status["problems"].as_array().is_some_and(|all| !all.is_empty()))
    })?;
    ensure!(net::echoes(local, wait::SOON), "the tunnel was taken away");
    fs::set_permissions(&tunnels, fs::Permissions::from_mode(0o755))?;
    world.nbctl(["reload"])?;
    wait::until("the problem is gone", wait::SOON, || {
        world.status().is_ok_and(|status| status["problems"].as_array().is_some_and(Vec::is_empty))
    })
}

#[test]
fn a_home_that_does_not_exist_is_no_obstacle() -> Result<()> {
    let mut world = World::new()?;
    let nowhere = world.path("no/such/home");
    world.set_env("HOME", &nowhere);
    world.set_env("XDG_CONFIG_HOME", nowhere.join(".config"));
    world.set_env("XDG_STATE_HOME", nowhere.join(".local/state"));
    world.start()?;
    ensure!(world.nbctl(["status"])?.code == 0);
    ensure!(!world.log().contains("panicked"));
    Ok(())
}

#[test]
fn command_lines_that_make_no_sense_to_the_daemon_end_with_a_sentence() -> Result<()> {
    let world = World::new()?;
    let long = format!("/tmp/{}/control.sock", "x".repeat(200));
    for args in [vec!["--nonsense"], vec!["--log", "=;=,"], vec!["--socket", &long]] {
        let mut command = world.command(&world.programs().nbtunneld);
        if args.first() != Some(&"--socket") {
            command.arg("--socket").arg(world.socket());
        }
        command.arg("--config-dir").arg(world.config_dir()).args(&args);
        let told = tell(&mut command, &[], wait::SOON).with_context(|| format!("{args:?}"))?;
        ensure!(told.code > 0 && !told.stderr.contains("panicked"), "{args:?}: {told:?}");
        ensure!(!told.stderr.is_empty(), "{args:?}: not a word");
    }
    Ok(())
}
