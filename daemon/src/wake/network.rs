//! Tells when the machine's addresses changed. Loopback and link-local IPv6 do not count: no server is
//! reached from them, and every container that starts brings one of the latter.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use if_watch::tokio::IfWatcher;
use if_watch::{IfEvent, IpNet};
use nbtunnel_core::Nudge;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Hint, Hints};

/// After the first change it is seen for so long what else changes.
const SETTLES_IN: Duration = Duration::from_millis(750);
/// A watcher that failed is made anew after this.
const AGAIN_IN: Duration = Duration::from_secs(60);
/// After more events than this in one go, some may have been lost: what the system keeps for us is bounded, and
/// the watcher does not say when it overran. Then it begins anew, with the addresses that there are.
const MANY: usize = 32;
/// So many addresses are named.
const NAMED: usize = 3;

type Addresses = BTreeSet<IpAddr>;

/// Follows the addresses for ever.
pub(super) async fn watch(hints: Hints) {
    // Kept over a watcher's end, so that what changed until the next is not lost.
    let mut known = None;
    loop {
        if let Err(why) = follow(&hints, &mut known).await {
            tracing::debug!("changes of the network cannot be watched for now: {why}");
        }
        if hints.is_closed() {
            return;
        }
        sleep(AGAIN_IN).await;
    }
}

/// Until the watcher fails, or nobody listens any more.
async fn follow(hints: &Hints, known: &mut Option<Addresses>) -> io::Result<()> {
    let mut watcher = IfWatcher::new()?;
    let mut nets = BTreeSet::<IpNet>::new();
    // A watcher begins with the addresses that are there already. There may be none.
    let mut settled_at = Some(Instant::now() + SETTLES_IN);
    let (mut begins, mut events) = (true, 0);
    loop {
        tokio::select! {
            event = poll_fn(|cx| watcher.poll_if_event(cx)) => {
                match event? {
                    IfEvent::Up(net) => nets.insert(net),
                    IfEvent::Down(net) => nets.remove(&net),
                };
                events += 1;
                settled_at.get_or_insert_with(|| Instant::now() + SETTLES_IN);
            }
            () = sleep_until(settled_at.unwrap_or_else(Instant::now)), if settled_at.is_some() => {
                settled_at = None;
                let now: Addresses = nets.iter().map(IpNet::addr).filter(counts).collect();
                let reason = known.as_ref().and_then(|before| change(before, &now));
                *known = Some(now);
                if let Some(reason) = reason
                    && hints.send(Hint { nudge: Nudge::Network, reason }).is_err()
                {
                    return Ok(());
                }
                let expected = if std::mem::take(&mut begins) { nets.len() } else { 0 };
                if std::mem::take(&mut events) > expected + MANY {
                    watcher = IfWatcher::new()?;
                    (begins, settled_at) = (true, Some(Instant::now() + SETTLES_IN));
                    nets.clear();
                }
            }
        }
    }
}

fn counts(address: &IpAddr) -> bool {
    let is_link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    !(address.is_loopback() || address.is_unspecified() || is_link_local)
}

/// What changed, in one sentence, if anything did.
fn change(before: &Addresses, now: &Addresses) -> Option<String> {
    let gone = named(before.difference(now))
        .map(|(names, one)| format!("{names} {} gone", if one { "is" } else { "are" }));
    let came = named(now.difference(before)).map(|(names, _)| format!("{names} came"));
    let parts: Vec<String> = gone.into_iter().chain(came).collect();
    (!parts.is_empty()).then(|| format!("the network changed: {}", parts.join(", ")))
}

/// The addresses in words, and whether it is one alone.
fn named<'a>(addresses: impl Iterator<Item = &'a IpAddr>) -> Option<(String, bool)> {
    let all: Vec<String> = addresses.map(IpAddr::to_string).collect();
    let (shown, others) = all.split_at(all.len().min(NAMED));
    let text = match (shown, others.len()) {
        ([], _) => return None,
        (shown, 0) => match shown {
            [one] => one.clone(),
            [first @ .., last] => format!("{} and {last}", first.join(", ")),
            [] => return None,
        },
        (shown, others) => format!("{} and {others} more", shown.join(", ")),
    };
    Some((text, all.len() == 1))
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn set(addresses: &[&str]) -> Addresses {
        addresses.iter().map(|address| address.parse().unwrap()).filter(counts).collect()
    }

    #[test]
    fn a_change_is_a_difference_between_before_and_after() {
        let table: &[(&[&str], &[&str], Option<&str>)] = &[
            (&[], &[], None),
            (&["10.0.0.5"], &["10.0.0.5"], None),
            (&["10.0.0.5"], &[], Some("10.0.0.5 is gone")),
            (&[], &["10.0.1.7"], Some("10.0.1.7 came")),
            (&["10.0.0.5"], &["10.0.1.7"], Some("10.0.0.5 is gone, 10.0.1.7 came")),
            (&["10.0.0.5", "2001:db8::1"], &[], Some("10.0.0.5 and 2001:db8::1 are gone")),
            (&[], &["10.0.0.1", "10.0.0.2", "10.0.0.3"], Some("10.0.0.1, 10.0.0.2 and 10.0.0.3 came")),
            (
                &["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"],
                &[],
                Some("10.0.0.1, 10.0.0.2, 10.0.0.3 and 2 more are gone"),
            ),
            // Neither loopback nor what a container brings.
            (&[], &["127.0.0.1", "::1", "fe80::42:acff:fe11:2"], None),
            (&["fe80::1", "10.0.0.5"], &["fe80::2", "127.0.0.2", "10.0.0.5"], None),
            (&["169.254.3.4"], &["10.0.0.5"], Some("169.254.3.4 is gone, 10.0.0.5 came")),
        ];
        for (before, now, expected) in table {
            let expected = expected.map(|what| format!("the network changed: {what}"));
            assert_eq!(change(&set(before), &set(now)), expected, "from {before:?} to {now:?}");
        }
    }

    #[tokio::test]
    async fn the_addresses_of_the_start_are_no_change() {
        let (hints, mut heard) = mpsc::unbounded_channel();
        let mut known = None;
        let followed = tokio::time::timeout(SETTLES_IN * 2, follow(&hints, &mut known)).await;
        assert!(followed.is_err(), "it ended: {followed:?}");
        assert!(known.is_some(), "nobody looked");
        assert!(heard.try_recv().is_err());
    }
}
