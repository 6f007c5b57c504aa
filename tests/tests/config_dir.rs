//! Files come, change, break and go; a tunnel whose file did not change does not notice.

use std::fs;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nbtunnel_tests::child::Signal;
use nbtunnel_tests::{Server, Sshd, World, net, wait};

/// A tunnel with an open connection that has to survive everything.
struct Bystander {
    local: u16,
    stream: TcpStream,
}

impl Bystander {
    fn new(world: &World, sshd: &Sshd, echo: &Server) -> Result<Bystander> {
        let local = net::free_port()?;
        world.write("bystander", &sshd.tunnel().forward(local, echo.port()))?;
        world.wait_for("bystander", "up")?;
        Ok(Bystander { local, stream: net::connect(local, wait::SOON)? })
    }

    /// Another connection, under a daemon that was started anew.
    fn again(&mut self, world: &World) -> Result<()> {
        world.wait_for("bystander", "up")?;
        self.stream = net::connect(self.local, wait::SOON)?;
        Ok(())
    }

    fn is_unharmed(&mut self, after: &str) -> Result<()> {
        net::echo(&mut self.stream, b"still here").with_context(|| format!("harmed: a file was {after}"))
    }
}

#[test]
fn a_file_is_added_edited_broken_mended_and_removed_and_the_others_do_not_notice() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let mut world = World::new()?;
    world.start()?;
    let mut bystander = Bystander::new(&world, &sshd, &echo)?;
    let (first, second) = (net::free_port()?, net::free_port()?);
    let good = sshd.tunnel().forward(first, echo.port());

    world.write("bob", &good)?;
    world.wait_for("bob", "up")?;
    ensure!(net::echoes(first, wait::SOON), "the new tunnel does not carry");
    bystander.is_unharmed("added")?;

    let edited = sshd.tunnel().forward(second, echo.port());
    world.write("bob", &edited)?;
    wait::until("the new port carries", wait::SOON, || net::echoes(second, wait::SOON))?;
    wait::until("the old port is closed", wait::SOON, || net::connect(first, wait::SOON).is_err())?;
    bystander.is_unharmed("edited")?;

    world.write_text("bob", format!("{}keepalive = \"soon\"\n", edited.text().replace("keepalive", "#")))?;
    let problem = problem_of(&world, "bob")?;
    let line = edited.text().lines().count() as u64 + 1;
    ensure!(problem["line"] == line, "the problem is in line {line}: {problem}");
    ensure!(problem["message"].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
    ensure!(net::echoes(second, wait::SOON), "a bad file took the old tunnel away");
    bystander.is_unharmed("broken")?;

    world.write("bob", &edited)?;
    wait::until("the problem is gone", wait::SOON, || problem_now(&world, "bob").is_ok_and(|p| p.is_none()))?;
    bystander.is_unharmed("mended")?;

    world.remove("bob")?;
    wait::until("the tunnel is gone", wait::SOON, || world.tunnel("bob").is_err())?;
    wait::until("its port is closed", wait::SOON, || net::connect(second, wait::SOON).is_err())?;
    bystander.is_unharmed("removed")?;
    ensure!(world.tunnel("bystander")?["reconnects"] == 0);
    Ok(())
}

/// What `status` says of the file of `name`, if anything.
fn problem_now(world: &World, name: &str) -> Result<Option<serde_json::Value>> {
    let file = format!("tunnels/{name}.toml");
    let status = world.status()?;
    let problems = status["problems"].as_array().context("problems is a list")?;
    Ok(problems.iter().find(|problem| problem["file"] == file.as_str()).cloned())
}

fn problem_of(world: &World, name: &str) -> Result<serde_json::Value> {
    wait::until_some("a problem is shown", wait::SOON, || problem_now(world, name).ok().flatten())
}

#[test]
fn a_tag_changes_in_place_and_connections_stay() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let (world, local) = World::with_alice(&sshd, echo.port())?;
    let mut stream = net::connect(local, wait::SOON)?;
    net::echo(&mut stream, b"before")?;
    let edited = sshd.tunnel().forward(local, echo.port()).set("tags", "[\"lab\"]");
    world.write("alice", &edited)?;
    world.wait_until("alice", "the tag is there", |tunnel| tunnel["tags"][0] == "lab")?;
    net::echo(&mut stream, b"after")?;
    ensure!(world.tunnel("alice")?["reconnects"] == 0);
    Ok(())
}

/// Half a second is the daemon's; a machine that is busy with something else may be slow at one of these, not
/// at each.
#[test]
fn a_change_takes_effect_within_half_a_second() -> Result<()> {
    let sshd = Sshd::start()?;
    let (world, local) = World::with_alice(&sshd, 1)?;
    let mut quickest = Duration::MAX;
    for number in 0..5 {
        let tag = format!("tag-{number}");
        let edited = sshd.tunnel().forward(local, 1).set("tags", format!("[\"{tag}\"]"));
        let began = Instant::now();
        if number % 2 == 0 {
            world.write("alice", &edited)?;
        } else {
            // In place, as `echo >` and some editors do.
            fs::write(world.tunnel_path("alice"), edited.text())?;
        }
        world.wait_until("alice", "the tag is there", |tunnel| tunnel["tags"][0] == tag.as_str())?;
        quickest = quickest.min(began.elapsed());
    }
    ensure!(quickest < Duration::from_millis(500), "each change took {quickest:?} or more");
    Ok(())
}

#[test]
fn a_symlinked_file_and_a_directory_that_is_made_anew_are_followed() -> Result<()> {
    let (sshd, echo) = (Sshd::start()?, Server::echo()?);
    let mut world = World::new()?;
    fs::remove_dir_all(world.config_dir())?;
    world.start()?;
    ensure!(world.status()?["tunnels"].as_array().is_some_and(Vec::is_empty), "tunnels without a directory");

    fs::create_dir_all(world.config_dir().join("tunnels"))?;
    let (elsewhere, local) = (world.path("home/alice.toml"), net::free_port()?);
    let file = sshd.tunnel().forward(local, echo.port());
    fs::write(&elsewhere, file.text())?;
    link(&elsewhere, &world.tunnel_path("alice"))?;
    world.wait_for("alice", "up")?;

    fs::write(&elsewhere, file.clone().set("tags", "[\"linked\"]").text())?;
    world.wait_until("alice", "the target's edit is seen", |tunnel| tunnel["tags"][0] == "linked")?;

    fs::remove_dir_all(world.config_dir().join("tunnels"))?;
    wait::until("the tunnel is gone", wait::SOON, || world.tunnel("alice").is_err())?;
    fs::create_dir_all(world.config_dir().join("tunnels"))?;
    world.write("alice", &file)?;
    world.wait_for("alice", "up")?;
    Ok(())
}

#[cfg(unix)]
fn link(target: &std::path::Path, link: &std::path::Path) -> Result<()> {
    Ok(std::os::unix::fs::symlink(target, link)?)
}

#[cfg(windows)]
fn link(target: &std::path::Path, link: &std::path::Path) -> Result<()> {
    Ok(std::os::windows::fs::symlink_file(target, link)?)
}

#[test]
fn what_editors_leave_beside_a_file_is_no_tunnel() -> Result<()> {
    let (sshd, mut world) = (Sshd::start()?, World::new()?);
    let file = sshd.tunnel().forward(net::free_port()?, 1);
    world.write("alice", &file)?;
    for litter in [".alice.toml.swp", "alice.toml~", "#alice.toml#", ".#alice.toml", "4913", "alice.toml.bak"]
    {
        fs::write(world.config_dir().join("tunnels").join(litter), file.text())?;
    }
    world.start()?;
    world.wait_for("alice", "up")?;
    let status = world.status()?;
    ensure!(status["tunnels"].as_array().map(Vec::len) == Some(1), "{status:#}");
    ensure!(status["problems"].as_array().is_some_and(Vec::is_empty), "{status:#}");
    Ok(())
}

#[test]
fn five_hundred_files_are_loaded() -> Result<()> {
    let (sshd, echo, mut world) = (Sshd::start()?, Server::echo()?, World::new()?);
    world.start()?;
    let mut bystander = Bystander::new(&world, &sshd, &echo)?;
    for number in 0..500 {
        let file = sshd.tunnel().forward(net::free_port()?, 1).set("start", "\"manual\"");
        world.write(&format!("tunnel-{number:03}"), &file)?;
    }
    let all_there = |world: &World| {
        wait::until("all are there", wait::SOON, || {
            world.status().is_ok_and(|status| status["tunnels"].as_array().map(Vec::len) == Some(501))
        })
    };
    all_there(&world)?;
    bystander.is_unharmed("added five hundred times")?;
    world.end(Signal::Term)?;
    world.start()?;
    all_there(&world)?;
    bystander.again(&world)?;
    let told = world.nbctl(["start", "tunnel-25*", "--wait=20"])?;
    ensure!(told.code == 0, "{told:?}");
    let up = |status: serde_json::Value| {
        status["tunnels"].as_array().map(|all| all.iter().filter(|tunnel| tunnel["state"] == "up").count())
    };
    ensure!(up(world.status()?) == Some(11), "a glob starts those that it fits, and no other");
    for number in 0..500 {
        world.remove(&format!("tunnel-{number:03}"))?;
    }
    wait::until("they are gone", wait::SOON, || {
        world.status().is_ok_and(|status| status["tunnels"].as_array().map(Vec::len) == Some(1))
    })?;
    bystander.is_unharmed("removed five hundred times")
}

#[test]
fn defaults_are_below_the_file_and_check_agrees_with_the_daemon() -> Result<()> {
    let (sshd, mut world) = (Sshd::start()?, World::new()?);
    fs::write(
        world.config_dir().join("nbtunnel.toml"),
        "[defaults]\ntags = [\"all\"]\nstart = \"manual\"\n",
    )?;
    world.write("alice", &sshd.tunnel().forward(net::free_port()?, 1))?;
    world.write("bob", &sshd.tunnel().forward(net::free_port()?, 1).set("start", "\"login\""))?;
    world.start()?;
    world.wait_for("bob", "up")?;
    let alice = world.wait_for("alice", "stopped")?;
    ensure!(alice["tags"][0] == "all", "{alice}");
    ensure!(world.nbctl(["check"])?.code == 0);
    world.write_text("bob", "host = 5\n")?;
    let told = world.nbctl(["check"])?;
    ensure!(told.code == 1 && (told.stderr.clone() + &told.stdout).contains("bob.toml"), "{told:?}");
    Ok(())
}
