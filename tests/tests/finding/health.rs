//! Which layer broke: port, scheme, server, token, kernel.

use std::time::Duration;

use anyhow::Result;
use nbtunnel_core::FailureKind;
use nbtunnel_proto::Secret;
use nbtunnel_tests::here::Here;
use nbtunnel_tests::jupyter::Recipe;
use nbtunnel_tests::{net, server, wait};
use nbtunneld::notebook::{Health, Server, Wanted};

use super::{found, look, me, missed, on};

#[test]
fn each_layer_has_its_words() -> Result<()> {
    let mut running = Recipe::new().start()?;
    let far = me(running.runtime_dir());
    let seen = found(&far, &Wanted::any())?;
    let port = running.port();

    let wrong = Server { token: Some(Secret::new("wrong".to_owned())), ..seen.clone() };
    assert_eq!(look(&far, &wrong)?.words(), "server ok · token refused");
    let https = Server { https: true, ..seen.clone() };
    assert!(
        matches!(look(&far, &https)?, Health::WrongScheme(why) if why.message.starts_with("http on an https"))
    );
    let page = server::Server::page("<h1>hello</h1>")?;
    let other = Server { port: page.port(), ..seen.clone() };
    let words = look(&far, &other)?.words();
    assert_eq!(
        words,
        format!("port ok · something answers on {}, but it is not a Jupyter server", page.port())
    );
    running.kill()?;
    assert_eq!(look(&far, &seen)?.words(), format!("ssh ok · port refused (no server on {port})"));

    let running = Recipe::new().https().start()?;
    let far = me(running.runtime_dir());
    let http = Server { https: false, ..found(&far, &Wanted::any())? };
    assert!(
        matches!(look(&far, &http)?, Health::WrongScheme(why) if why.message.starts_with("https on an http"))
    );
    Ok(())
}

#[test]
fn a_server_that_does_not_tell_its_kernels_is_not_well() -> Result<()> {
    // Who is let in and may not see kernels, and a server that fails over them.
    let refuses = "from jupyter_server.auth import Authorizer\n\
        class Nothing(Authorizer):\n    def is_authorized(self, handler, user, action, resource):\n        \
        return resource != 'kernels'\n\
        c.ServerApp.authorizer_class = Nothing";
    let fails = "import jupyter_server.services.kernels.handlers as handlers\n\
        async def get(self):\n    raise OSError('full')\n\
        handlers.MainKernelHandler.get = get";
    for (setting, words) in [(refuses, "not shown to this token"), (fails, "asked for them it answers 500")] {
        let running = Recipe::new().setting(setting).start()?;
        let far = me(running.runtime_dir());
        let seen = found(&far, &Wanted::any())?;
        let health = look(&far, &seen)?;
        let Health::KernelsUntold(why) = &health else { panic!("{health:?}") };
        assert!(why.message.contains(words), "{why}");
        assert!(health.words().starts_with("server ok · kernels not ") && health.vitals().is_none());
        assert!(!health.is_doubtful(&seen), "it is where it was found");
    }
    // One that cannot even say how it is, is a notebook's server all the same.
    let status = "import jupyter_server.services.api.handlers as handlers\n\
        async def get(self):\n    raise OSError('full')\n\
        handlers.APIStatusHandler.get = get";
    let running = Recipe::new().setting(status).start()?;
    let (kind, message) = missed(&me(running.runtime_dir()), &Wanted::any())?;
    assert_eq!(kind, FailureKind::NotebookFailed);
    let expected = format!("the server on {} does not say how it is: it answers 500", running.port());
    assert_eq!(message, expected);
    Ok(())
}

#[test]
fn what_is_no_notebook_is_told_also_where_it_says_nothing_or_nonsense() -> Result<()> {
    let far = Here::with([]);
    for nonsense in [server::Server::echo()?, server::Server::source()?] {
        let (kind, message) = missed(&far, &on(nonsense.port()))?;
        assert_eq!(kind, FailureKind::NotebookFailed, "{message}");
    }
    let free = net::free_port()?;
    let (kind, message) = missed(&far, &on(free))?;
    assert_eq!(
        (kind, message),
        (FailureKind::NotebookMissing, format!("port refused (no server on {free})"))
    );
    Ok(())
}

#[test]
fn kernels_are_counted_busy_and_dead() -> Result<()> {
    // One that dies is begun again, and taken off the list in the end; one that cannot begin is dead.
    let running = Recipe::new()
        .setting("c.AsyncMultiKernelManager.use_pending_kernels = True")
        .kernel("broken", "/nonexistent/kernel")
        .start()?;
    let far = me(running.runtime_dir());
    let seen = found(&far, &Wanted::any())?;
    let (busy, broken) =
        (running.start_kernel(running.port())?, running.start_kernel_named(running.port(), "broken")?);
    let _busy = running.begin_code(running.port(), &busy, "import time; time.sleep(600)")?;
    wait::until("one of two kernels is busy", Duration::from_secs(60), || {
        look(&far, &seen).is_ok_and(|health| health.vitals().is_some_and(|v| (v.kernels, v.busy) == (2, 1)))
    })?;
    assert!(running.run_code(running.port(), &broken, "1").is_err());
    wait::until("the other one is dead", Duration::from_secs(60), || {
        look(&far, &seen).is_ok_and(|health| matches!(health, Health::KernelDead(_, v) if v.dead == 1))
    })?;
    assert_eq!(look(&far, &seen)?.words(), "server ok · kernel dead");
    Ok(())
}
