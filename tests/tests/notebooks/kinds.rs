//! Every sort of server: found, looked at, and code runs there.

use anyhow::Result;
use nbtunnel_tests::jupyter::Recipe;
use nbtunnel_tests::{http, wait};

use super::lab::{Lab, Visit};

/// Finds a server of this sort by itself, and runs code through the port that it was given here.
fn found_and_used(recipe: impl FnOnce(Recipe) -> Recipe, url: impl Fn(u16) -> String) -> Result<()> {
    let lab = Lab::new("[notebook.alice]\nfind = \"auto\"\n")?;
    let jupyter = recipe(lab.recipe()).start()?;
    lab.found("alice")?;
    let port = lab.port("alice")?;
    assert_eq!(lab.says("token", "alice")?, jupyter.token());
    assert_eq!(lab.says("url", "alice")?, format!("{}?token={}", url(port), jupyter.token()));
    opened(&lab, &url(port), jupyter.token())?;
    let kernel = jupyter.start_kernel(port)?;
    assert_eq!(jupyter.run_code(port, &kernel, "print(6 * 7)")?, "42\n");
    let alice = lab.until("alice", "its kernel is seen", |notebook| notebook["server"]["kernels"] == 1)?;
    assert_eq!(alice["health"], "server ok", "{alice:#}");
    assert!(alice["server"]["version"].is_string(), "{alice:#}");
    Ok(())
}

/// A browser gets to its page by the address that works once, and in; nobody else learns the token.
fn opened(lab: &Lab, url: &str, token: &str) -> Result<()> {
    let Visit { told, called, led, page } = lab.browse(&["alice"])?;
    assert!(led.starts_with(&format!("200 {url}")), "{led}");
    assert!(page.contains("Jupyter") && !page.contains("name=\"password\""), "{page}");
    assert!(called.starts_with("http://127.0.0.1:") && !called.contains(token), "{called}");
    assert!(!told.stdout.contains(token) && !told.stderr.contains(token), "{told:?}");
    Ok(())
}

#[test]
fn a_jupyter_server_2() -> Result<()> {
    found_and_used(|recipe| recipe, |port| format!("http://localhost:{port}/"))
}

#[test]
fn a_notebook_6() -> Result<()> {
    found_and_used(Recipe::classic, |port| format!("http://localhost:{port}/"))
}

#[test]
fn a_server_with_a_base_url() -> Result<()> {
    found_and_used(
        |recipe| recipe.base_url("/team/alice/"),
        |port| format!("http://localhost:{port}/team/alice/"),
    )
}

#[test]
fn a_server_with_a_certificate_that_vouches_for_itself() -> Result<()> {
    let lab = Lab::new("[notebook.alice]\nfind = \"auto\"\n")?;
    let jupyter = lab.recipe().https().start()?;
    let alice = lab.found("alice")?;
    let port = lab.port("alice")?;
    assert_eq!(alice["url"], format!("https://localhost:{port}/"));
    assert!(alice["note"].as_str().unwrap_or_default().contains("certificate"), "{alice:#}");
    opened(&lab, &format!("https://localhost:{port}/"), jupyter.token())?;
    let kernel = jupyter.start_kernel(port)?;
    assert_eq!(jupyter.run_code(port, &kernel, "print(6 * 7)")?, "42\n");
    Ok(())
}

#[test]
fn a_server_with_a_password_has_a_url_and_no_token() -> Result<()> {
    let lab = Lab::new("[notebook.alice]\nfind = \"auto\"\n")?;
    // Its first page is not for everybody, as JupyterLab's.
    let first_page = "c.ServerApp.default_url = '/files/'";
    let _jupyter = lab.recipe().password("hunter2").setting(first_page).start()?;
    lab.found("alice")?;
    let port = lab.port("alice")?;
    for command in ["token", "url"] {
        let told = lab.nbctl(&[command, "alice"])?;
        assert_eq!((told.code, told.stdout.as_str()), (4, ""), "{told:?}");
        assert!(
            told.stderr.contains("password") && told.stderr.contains(&format!("localhost:{port}/")),
            "{told:?}"
        );
    }
    // The browser is led to where the password is asked for.
    let Visit { told, led, page, .. } = lab.browse(&["alice"])?;
    assert!(told.stderr.contains("alice asks for its password in the browser"), "{told:?}");
    assert!(led.starts_with(&format!("200 http://localhost:{port}/login")), "{led}");
    assert!(page.contains("name=\"password\""), "{page}");
    assert_eq!(http::get(port, "/api", &[], wait::SOON)?.status, 200);
    Ok(())
}
