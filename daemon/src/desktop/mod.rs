//! Words on the user's desktop, where there is one: that a login is gone which only that user can open again. Never
//! waited for, and never with more in them than names of tunnels.

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
pub struct Desktop(mpsc::Sender<String>);

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
        let _ = self.0.try_send(tunnel.to_owned());
    }
}

async fn tell_all(mut lost: mpsc::Receiver<String>) {
    while let Some(first) = lost.recv().await {
        sleep(TOGETHER).await;
        let mut tunnels = vec![first];
        while let Ok(another) = lost.try_recv() {
            tunnels.push(another);
        }
        let (summary, body) = words(&tunnels);
        match timeout(DEADLINE, system::notify(&summary, &body)).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => tracing::debug!("there is no desktop to tell: {why}"),
            Err(_) => tracing::debug!("there is no desktop to tell: it does not answer"),
        }
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
