//! The servers that the notebook tests are about: every sort comes up, is what it claims to be, and runs code.

#![cfg(target_os = "linux")]

use std::fs;

use anyhow::{Context, Result};
use nbtunnel_tests::http;
use nbtunnel_tests::jupyter::{Hub, Jupyter, Recipe, Stranger};
use nbtunnel_tests::wait;

fn runs_code(server: &Jupyter) -> Result<()> {
    let kernel = server.start_kernel(server.port())?;
    assert_eq!(server.run_code(server.port(), &kernel, "print(6 * 7)")?, "42\n");
    Ok(())
}

fn its_file(server: &Jupyter, prefix: &str) -> Result<String> {
    let path = server.runtime_dir().join(format!("{prefix}-{}.json", server.pid()));
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

#[test]
fn a_new_server_with_a_certificate_and_a_base_url_runs_code() -> Result<()> {
    let server = Recipe::new().https().base_url("/alice/").start()?;
    runs_code(&server)?;
    assert!(its_file(&server, "jpserver")?.contains("\"secure\": true"));
    Ok(())
}

#[test]
fn a_notebook_6_is_really_one_and_runs_code() -> Result<()> {
    let mut server = Recipe::new().classic().https().start()?;
    runs_code(&server)?;
    assert!(its_file(&server, "nbserver")?.contains(server.token()));
    server.kill()?;
    assert!(its_file(&server, "nbserver").is_ok(), "a server that was killed leaves its file");
    Ok(())
}

#[test]
fn a_password_takes_the_place_of_the_token() -> Result<()> {
    for recipe in [Recipe::new(), Recipe::new().classic()] {
        let server = recipe.password("swordfish").start()?;
        let answer = http::get(server.port(), "/api/status", &[], wait::SOON)?;
        assert_eq!(answer.status, 403, "{}", server.log());
    }
    Ok(())
}

#[test]
fn a_hub_starts_a_server_that_takes_the_hubs_token() -> Result<()> {
    let hub = Hub::older()?;
    let file = fs::read_dir(hub.runtime_dir())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "json"))
        .context("the server wrote its file")?;
    let told: serde_json::Value = serde_json::from_str(&fs::read_to_string(file)?)?;
    let port = u16::try_from(told["port"].as_u64().context("a port")?)?;
    let status = |token: &str| {
        let header = format!("token {token}");
        http::get(port, "/user/me/api/status", &[("Authorization", &header)], wait::SOON)
    };
    assert_eq!(status(hub.token())?.status, 200, "{}", hub.log());
    assert_eq!(status(told["token"].as_str().unwrap_or_default())?.status, 403);
    Ok(())
}

#[test]
fn a_stranger_writes_down_what_he_is_told() -> Result<()> {
    let (stranger, port) = Stranger::somewhere()?;
    assert_eq!(http::get(port, "/api?seen", &[], wait::SOON)?.status, 200);
    assert!(stranger.heard().contains("/api?seen"));
    Ok(())
}
