//! Notebooks that a file does not say enough of.

use anyhow::Result;
use nbtunnel_tests::net;

use super::lab::Lab;

#[test]
fn a_tunnel_with_a_plain_forward_is_told_which_section_makes_it_a_notebook() -> Result<()> {
    let (here, there) = (net::free_port()?, net::free_port()?);
    let forward = format!("forward = [\"localhost:{here}:localhost:{there}\"]\n");
    let lab = Lab::with(&forward, "")?;
    let jupyter = lab.recipe().port(there).start()?;
    lab.world.wait_for("lab", "up")?;
    let told = lab.nbctl(&["open", "lab", "--print"])?;
    assert_eq!(told.code, 3, "{told:?}");
    let section =
        ["[notebook.lab]".to_owned(), format!("remote_port = {there}"), format!("local_port = {here}")];
    for line in &section {
        assert!(told.stderr.contains(line), "{line}: {told:?}");
    }
    let text = std::fs::read_to_string(lab.world.tunnel_path("lab"))?;
    assert!(text.contains(&forward), "{text}");
    lab.world.write_text("lab", text.replace(&forward, "") + &section.join("\n"))?;
    lab.found("lab")?;
    let told = lab.nbctl(&["open", "lab", "--print"])?;
    assert!(
        told.stdout.contains(&format!("localhost:{here}/")) && told.stdout.contains(jupyter.token()),
        "{told:?}"
    );
    Ok(())
}

#[test]
fn a_page_that_asks_for_a_token_which_nobody_wrote_down_is_opened_all_the_same() -> Result<()> {
    let port = net::free_port()?;
    let lab = Lab::new(&format!("[notebook.alice]\nremote_port = {port}\n"))?;
    let elsewhere = tempfile::tempdir()?;
    let _jupyter = lab.recipe().port(port).runtime_dir(elsewhere.path()).start()?;
    let told = lab.nbctl(&["open", "alice", "--print"])?;
    assert_eq!((told.code, told.stdout.contains("token=")), (0, false), "{told:?}");
    assert!(told.stderr.contains("its page asks for it"), "{told:?}");
    for command in ["token", "url"] {
        let told = lab.nbctl(&[command, "alice"])?;
        assert_ne!(told.code, 0, "{told:?}");
        assert!(told.stderr.contains("wants a token"), "{told:?}");
    }
    Ok(())
}

#[test]
fn who_names_yesterdays_port_is_told_of_the_server_on_todays() -> Result<()> {
    let (yesterday, today) = (net::free_port()?, net::free_port()?);
    let lab = Lab::new(&format!("[notebook.alice]\nremote_port = {yesterday}\n"))?;
    let _jupyter = lab.recipe().port(today).start()?;
    let told = lab.nbctl(&["open", "alice", "--print"])?;
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.stderr.contains(&format!("a server runs on {today} ")), "{told:?}");
    Ok(())
}
