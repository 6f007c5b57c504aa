//! Names to addresses, by the system's resolver, off the runtime.
//!
//! getaddrinfo(3) blocks and cannot be cancelled. So a name is asked for once however many wait for it,
//! and only a few are asked for at a time.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use nbtunnel_core::{Failure, FailureKind};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::system;

/// How many names are asked for at a time.
const AT_ONCE: usize = 8;

type Answer = Result<Vec<SocketAddr>, Failure>;
type Pending = Shared<BoxFuture<'static, Answer>>;

/// Resolves names for every link.
#[derive(Clone)]
pub(super) struct Resolver {
    runtime: Handle,
    turns: Arc<Semaphore>,
    asked: Arc<Mutex<HashMap<String, Pending>>>,
}

impl Resolver {
    pub(super) fn new(runtime: Handle) -> Resolver {
        Resolver { runtime, turns: Arc::new(Semaphore::new(AT_ONCE)), asked: Arc::default() }
    }

    /// The addresses of `host`, in the order of the system, never none.
    ///
    /// # Errors
    /// `dns`, or `exhausted` when this process has no descriptor left to ask with.
    pub(super) async fn resolve(&self, host: &str, port: u16) -> Answer {
        if host.is_empty() || host.contains('\0') {
            return Err(unresolved(host, "it is no host name"));
        }
        // An address needs nobody's answer: names that hang must not keep it waiting for its turn.
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let pending = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.entry(host.to_owned()).or_insert_with(|| self.ask(host.to_owned())).clone()
        };
        let mut addresses = pending.await?;
        for address in &mut addresses {
            address.set_port(port);
        }
        Ok(addresses)
    }

    /// Asks in a task of its own, so that it goes on, and is forgotten, even when nobody waits any more.
    fn ask(&self, host: String) -> Pending {
        let (turns, asked) = (Arc::clone(&self.turns), Arc::clone(&self.asked));
        let name = host.clone();
        let task = self.runtime.spawn(async move {
            // The semaphore is never closed.
            let turn = turns.acquire_owned().await.ok();
            let wanted = name.clone();
            let answer = tokio::task::spawn_blocking(move || (getaddrinfo(&wanted), turn)).await;
            asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
            match answer {
                Ok((answer, _turn)) => answer,
                Err(_) => Err(unresolved(&name, "the resolver failed")),
            }
        });
        let lost = unresolved(&host, "the daemon is going away");
        async move { task.await.unwrap_or(Err(lost)) }.boxed().shared()
    }
}

fn getaddrinfo(host: &str) -> Answer {
    match (host, 0).to_socket_addrs() {
        Ok(addresses) => {
            let mut all: Vec<SocketAddr> = Vec::new();
            for address in addresses {
                if !all.contains(&address) {
                    all.push(address);
                }
            }
            if all.is_empty() { Err(unresolved(host, "it has no address")) } else { Ok(all) }
        }
        Err(error) if system::is_exhausted(&error) => Err(Failure::new(
            FailureKind::Exhausted,
            format!("{host} could not be looked up: {error}"),
            "close other programs, or raise the limit on open files (ulimit -n)",
        )),
        Err(error) => {
            let text = error.to_string();
            let why = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
            Err(unresolved(host, why))
        }
    }
}

fn unresolved(host: &str, why: &str) -> Failure {
    Failure::new(
        FailureKind::Dns,
        format!("the name {host} could not be resolved: {why}"),
        "check its spelling in the tunnel's file, and whether this machine is online (or needs a VPN)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_name_is_asked_for_once_and_then_forgotten() {
        let resolver = Resolver::new(Handle::current());
        let answers = futures_util::future::join_all((1..=20).map(|port| {
            let resolver = resolver.clone();
            async move { resolver.resolve("localhost", port).await.unwrap()[0].port() }
        }));
        assert_eq!(answers.await, (1..=20).collect::<Vec<u16>>());
        assert!(resolver.asked.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_is_a_dns_failure_that_names_it() {
        let resolver = Resolver::new(Handle::current());
        for bad in ["no-such-host.invalid", "", "a\0b"] {
            let failure = resolver.resolve(bad, 22).await.unwrap_err();
            assert_eq!(failure.kind, FailureKind::Dns, "{bad}");
            assert!(failure.message.contains(bad) && !failure.hint.is_empty());
        }
    }

    #[tokio::test]
    async fn addresses_need_no_name_server_and_no_turn() {
        let resolver = Resolver::new(Handle::current());
        let _hanging = resolver.turns.acquire_many(AT_ONCE as u32).await.unwrap();
        assert_eq!(resolver.resolve("127.0.0.1", 22).await.unwrap(), ["127.0.0.1:22".parse().unwrap()]);
        assert_eq!(resolver.resolve("::1", 22).await.unwrap(), ["[::1]:22".parse().unwrap()]);
    }
}
