//! JupyterLab, Jupyter Notebook: what a server was installed with is shown, and what it lacks is said.

use anyhow::{Result, ensure};
use nbtunnel_tests::jupyter::Recipe;
use nbtunnel_tests::{http, wait};

use super::lab::Lab;

/// Opens both faces of a server, and finds that those have a page there which it says that it has.
fn shown(recipe: impl FnOnce(Recipe) -> Recipe, has_notebook: bool) -> Result<()> {
    let lab = Lab::new("[notebook.alice]\nfind = \"auto\"\n")?;
    let jupyter = recipe(lab.recipe()).start()?;
    lab.found("alice")?;
    let port = lab.port("alice")?;
    for (face, path, is_there) in [("--lab", "lab", false), ("--notebook", "tree", has_notebook)] {
        let told = lab.nbctl(&["open", "alice", face, "--print"])?;
        let path = if is_there { path } else { "" };
        let url = format!("http://localhost:{port}/{path}?token={}\n", jupyter.token());
        ensure!((told.code, &told.stdout) == (0, &url), "{face}: {told:?}");
        ensure!(told.stderr.contains("the server of alice has no ") != is_there, "{face}: {told:?}");
        let login = format!("token {}", jupyter.token());
        let status = http::get(port, &format!("/{path}"), &[("Authorization", &login)], wait::SOON)?.status;
        ensure!(status != 404, "{face} leads to a page that is not there");
    }
    Ok(())
}

#[test]
fn a_notebook_6_has_no_lab() -> Result<()> {
    shown(Recipe::classic, true)
}

#[test]
fn a_server_alone_has_neither() -> Result<()> {
    shown(|recipe| recipe, false)
}
