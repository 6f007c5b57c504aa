//! Words on the user's desktop, where there is one: that a login is gone which only that user can open again, or that
//! a cluster will end a notebook soon. Never waited for, and never with more in them than names.

#[cfg_attr(target_os = "linux", path = "notify_linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "notify_other.rs")]
mod system;

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// Logins that are lost within this time are told of together: one session may have served several tunnels.
const TOGETHER: Duration = Duration::from_secs(1);
/// A desktop that does not take it within this time does not want it.
const DEADLINE: Duration = Duration::from_secs(10);
/// So many names wait to be told at most, and so many are told.
const MOST: usize = 64;
const MOST_NAMED: usize = 5;

/// The user's desktop.
pub struct Desktop(mpsc::Sender<News>);

/// What there is to tell.
enum News {
    /// The session of this tunnel is gone.
    LostLogin(String),
    /// This is about to happen to the notebook of this name.
    Ending(String, String),
}

impl Desktop {
    /// A desktop that is told of things by a task on `runtime`.
    pub fn new(runtime: &Handle) -> Desktop {
        let (tell, told) = mpsc::channel(MOST);
        runtime.spawn(tell_all(told));
        Desktop(tell)
    }

    /// The session of `tunnel` is gone, and another one takes its user.
    pub fn lost_login(&self, tunnel: &str) {
        // A desktop that hangs is told no more than it takes.
        let _ = self.0.try_send(News::LostLogin(tunnel.to_owned()));
    }

    /// A notebook is about to end, as `what` says.
    pub fn ends_soon(&self, notebook: &str, what: &str) {
        let _ = self.0.try_send(News::Ending(notebook.to_owned(), what.to_owned()));
    }
}

async fn tell_all(mut news: mpsc::Receiver<News>) {
    while let Some(first) = news.recv().await {
        sleep(TOGETHER).await;
        let (mut tunnels, mut endings) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(one) = next {
            match one {
                News::LostLogin(tunnel) => tunnels.push(tunnel),
                News::Ending(notebook, what) => endings.push((format!("{notebook} ends soon"), what)),
            }
            next = news.try_recv().ok();
        }
        if !tunnels.is_empty() {
            tell(words(&tunnels)).await;
        }
        for ending in endings {
            tell(ending).await;
        }
    }
}

async fn tell((summary, body): (String, String)) {
    match timeout(DEADLINE, system::notify(&summary, &body)).await {
        Ok(Ok(())) => {}
        Ok(Err(why)) => tracing::debug!("there is no desktop to tell: {why}"),
        Err(_) => tracing::debug!("there is no desktop to tell: it does not answer"),
    }
}

fn words(tunnels: &[String]) -> (String, String) {
    let first = tunnels.first().map(String::as_str).unwrap_or_default();
    let summary = match tunnels.len() {
        1 => format!("{first} needs you"),
        more => format!("{more} tunnels need you"),
    };
    let named = tunnels.iter().take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let rest = if tunnels.len() > MOST_NAMED { ", …" } else { "" };
    (
        summary,
        format!("The session of {named}{rest} is gone, and the server asks again. Run: nbctl unlock {first}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_losses_are_few_words() {
        let names = |count| (0..count).map(|number| format!("t{number}")).collect::<Vec<_>>();
        assert_eq!(words(&names(1)).0, "t0 needs you");
        let (summary, body) = words(&names(60));
        assert_eq!(summary, "60 tunnels need you");
        assert!(
            body.contains("t0, t1, t2, t3, t4, … is gone") && body.ends_with("nbctl unlock t0"),
            "{body}"
        );
    }
}
