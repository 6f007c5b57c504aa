//! Our own end of a TCP connection, where ssh_config names one (`BindAddress`, `BindInterface`).

use std::net::IpAddr;

use nbtunnel_core::{Failure, FailureKind};

use super::hop::Dialling;
use super::resolve::Resolver;

/// The addresses that a connection may come from; `None`: whichever the system takes.
///
/// # Errors
/// `config` or `dns`: nothing here has that name.
pub(super) async fn own_ends(
    hop: &str,
    how: &Dialling,
    resolver: &Resolver,
) -> Result<Option<Vec<IpAddr>>, Failure> {
    // As in ssh(1), an address counts more than an interface.
    if let Some(address) = &how.bind_address {
        let resolved = resolver.resolve(address, 0).await?;
        return Ok(Some(resolved.iter().map(|address| address.ip()).collect()));
    }
    let Some(interface) = how.bind_interface.clone() else { return Ok(None) };
    let looked = interface.clone();
    let found = tokio::task::spawn_blocking(move || addresses_of(&looked)).await.unwrap_or_default();
    if found.is_empty() {
        return Err(Failure::new(
            // It may come: a VPN that is not up yet.
            FailureKind::Unreachable,
            format!("{hop} is to be reached from {interface}, which has no address here"),
            "check BindInterface in ssh_config, and whether that network is up",
        ));
    }
    Ok(Some(found))
}

/// Its addresses, without those that only work with a scope.
fn addresses_of(interface: &str) -> Vec<IpAddr> {
    let all = if_addrs::get_if_addrs().unwrap_or_default();
    let its = all.into_iter().filter(|found| found.name == interface);
    its.map(|found| found.ip())
        .filter(|ip| !matches!(ip, IpAddr::V6(six) if six.is_unicast_link_local()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_has_its_addresses_and_an_unknown_one_none() {
        let all = if_addrs::get_if_addrs().unwrap();
        let loopback = all.iter().find(|found| found.is_loopback()).unwrap();
        assert!(addresses_of(&loopback.name).contains(&loopback.ip()));
        assert_eq!(addresses_of("nbt-none0"), Vec::<IpAddr>::new());
    }
}
