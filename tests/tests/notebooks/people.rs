//! A team: one host, one connection, a line a person.

use anyhow::Result;
use nbtunnel_tests::{http, wait};

use super::lab::Lab;

#[test]
fn five_people_share_one_connection_and_each_is_opened_by_name() -> Result<()> {
    let names = ["alice", "bob", "carol", "dave", "erin"];
    let ports: Vec<u16> = names.iter().map(|_| nbtunnel_tests::net::free_port()).collect::<Result<_>>()?;
    let section = |(name, port): (&&str, &u16)| format!("[notebook.{name}]\nremote_port = {port}\n");
    let sections: String = names.iter().zip(&ports).map(section).collect();
    let lab = Lab::new(&sections)?;
    let start = |(name, port): (&&str, &u16)| lab.recipe().port(*port).token(format!("of-{name}")).start();
    let servers: Vec<_> = names.iter().zip(&ports).map(start).collect::<Result<_>>()?;
    for (name, server) in names.iter().zip(&servers) {
        assert_eq!(lab.says("token", name)?, format!("of-{name}"));
        let kernel = server.start_kernel(lab.port(name)?)?;
        assert_eq!(
            server.run_code(lab.port(name)?, &kernel, &format!("print('{name}')"))?,
            format!("{name}\n")
        );
    }
    for name in names {
        let opened = lab.nbctl(&["open", name, "--print"])?;
        let url = format!("http://localhost:{}/?token=of-{name}", lab.port(name)?);
        assert_eq!((opened.code, opened.stdout.trim_end()), (0, &*url), "{opened:?}");
    }
    // The tunnel's name alone may mean any of them.
    let told = lab.nbctl(&["open", "lab", "--print"])?;
    assert_eq!((told.code, &*told.stdout), (2, ""), "{told:?}");
    assert!(names.iter().all(|name| told.stderr.contains(&format!("lab/{name}"))), "{told:?}");
    let mut locals: Vec<u16> = names.iter().map(|name| lab.port(name)).collect::<Result<_>>()?;
    locals.sort_unstable();
    locals.dedup();
    assert_eq!(locals.len(), 5);
    assert_eq!(lab.sshd.count_log("Accepted publickey"), 1, "{}", lab.sshd.log());
    Ok(())
}

#[test]
fn a_name_that_two_tunnels_have_is_told_apart_by_theirs() -> Result<()> {
    let lab = Lab::new("[notebook.alice]\nfind = \"auto\"\n")?;
    let jupyter = lab.recipe().start()?;
    lab.found("alice")?;
    let text = std::fs::read_to_string(lab.world.tunnel_path("lab"))?;
    // With a port that is chosen.
    let lines = text.lines().filter(|line| !line.starts_with("local_port"));
    lab.world.write_text("home", lines.collect::<Vec<_>>().join("\n"))?;
    lab.world.wait_for("home", "up")?;
    for command in [&["url", "alice"][..], &["open", "alice", "--print"]] {
        let told = lab.nbctl(command)?;
        assert_eq!((told.code, &*told.stdout), (2, ""), "{told:?}");
        assert!(told.stderr.contains("home/alice") && told.stderr.contains("lab/alice"), "{told:?}");
    }
    assert_eq!(lab.says("token", "home/alice")?, jupyter.token());
    // The tunnel's own name is enough where it has one notebook.
    assert_eq!(lab.says("token", "lab")?, jupyter.token());
    let told = lab.nbctl(&["url", "bob"])?;
    assert_eq!(told.code, 3, "{told:?}");
    Ok(())
}

#[test]
fn nothing_is_left_of_a_token_where_others_could_read_it() -> Result<()> {
    let lab = Lab::new("[notebook.alice]\nfind = \"auto\"\n")?;
    let jupyter = lab.recipe().token("not-for-others").start()?;
    lab.found("alice")?;
    assert_eq!(http::get(lab.port("alice")?, "/api", &[], wait::SOON)?.status, 200);
    assert!(lab.says("url", "alice")?.ends_with("?token=not-for-others"));
    let told = [
        lab.nbctl(&["status", "lab"])?.stdout,
        lab.nbctl(&["--json", "status"])?.stdout,
        lab.nbctl(&["logs", "lab"])?.stdout,
        lab.nbctl(&["doctor", "lab"])?.stdout,
        lab.world.log(),
    ];
    for text in told {
        assert!(!text.contains(jupyter.token()), "{text}");
    }
    Ok(())
}
