//! What ssh_config says and a tunnel follows already when it is read: its forwards, and times where the files say
//! nothing. The way to the server is asked for anew at each attempt, elsewhere.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use nbtunnel_core::{ForwardSpec, RemoteSpec, TunnelSpec};

use super::here;
use super::layer::Layer;
use super::values;
use crate::ssh_config::HostConfig;

/// RekeyLimit is a hint: a new session costs more than new keys, so that it is not followed to the letter.
const LEAST_RENEWAL: u64 = 1 << 30;

/// ServerAliveInterval, ConnectTimeout and RekeyLimit. An interval of zero says nothing: our own probe stays.
pub(super) fn layer(host: &HostConfig) -> Layer {
    let within = |time: Duration, bounds: &RangeInclusive<Duration>| {
        format!("{}ms", time.clamp(*bounds.start(), *bounds.end()).as_millis())
    };
    let interval = host.server_alive_interval.filter(|interval| !interval.is_zero());
    let mut layer = Layer::default();
    layer.keepalive = interval.map(|interval| within(interval, &values::KEEPALIVE));
    layer.connect_timeout = host.connect_timeout.map(|time| within(time, &values::CONNECT_TIMEOUT));
    layer.renew_bytes =
        host.rekey_bytes.map(|bytes| bytes.clamp(LEAST_RENEWAL, *values::RENEW_BYTES.end()).to_string());
    layer
}

/// Adds the forwards of the Host to the tunnel's own. One that stands there twice is taken once. What cannot be had
/// beside the tunnel's own, or not from here, is said.
pub(super) fn add_forwards(spec: &mut TunnelSpec, host: &HostConfig, home: &Path) -> Vec<String> {
    let mut notes = Vec::new();
    let local = host.local_forwards.iter().map(|text| ("LocalForward", text, here::local(text, home)));
    let dynamic =
        host.dynamic_forwards.iter().map(|text| ("DynamicForward", text, here::dynamic(text, home)));
    for (keyword, text, forward) in local.chain(dynamic) {
        let same_place = |one: &ForwardSpec, other: &ForwardSpec| one.listen.collides(&other.listen);
        notes.extend(add(
            &mut spec.forwards,
            forward,
            same_place,
            |other| other.listen.to_string(),
            keyword,
            text,
        ));
    }
    for text in &host.remote_forwards {
        let same_place = |one: &RemoteSpec, other: &RemoteSpec| one.listen.collides(&other.listen);
        let place = |other: &RemoteSpec| other.listen.to_string();
        notes.extend(add(
            &mut spec.remotes,
            here::remote(text, home),
            same_place,
            place,
            "RemoteForward",
            text,
        ));
    }
    notes
}

/// Adds one, or says why not.
fn add<T: PartialEq>(
    all: &mut Vec<T>,
    one: Result<T, String>,
    same_place: impl Fn(&T, &T) -> bool,
    place: impl Fn(&T) -> String,
    keyword: &str,
    text: &str,
) -> Option<String> {
    let one = match one {
        Ok(one) => one,
        Err(why) => return Some(format!("{keyword} {text} is not followed: {why}")),
    };
    if all.contains(&one) {
        return None;
    }
    if let Some(other) = all.iter().find(|other| same_place(other, &one)) {
        let place = place(other);
        return Some(format!("{keyword} {text} is not followed: another forward listens on {place} already"));
    }
    all.push(one);
    None
}

#[cfg(test)]
mod tests {
    use nbtunnel_core::{Policy, Route, Start};

    use super::*;

    #[test]
    fn a_forward_of_both_is_taken_once_and_the_file_wins_where_they_clash() {
        let mut spec = TunnelSpec {
            route: Route::to("h"),
            forwards: vec!["6000:a:1".parse().unwrap(), "6001:a:1".parse().unwrap()],
            remotes: vec!["9000:a:1".parse().unwrap()],
            notebooks: Vec::new(),
            start: Start::Login,
            tags: Vec::new(),
            policy: Policy::default(),
        };
        let host = HostConfig {
            local_forwards: ["localhost:6000:a:1", "6001:b:2", "6002:c:3", "0:c:3"].map(Into::into).to_vec(),
            dynamic_forwards: ["6002", "1080"].map(Into::into).to_vec(),
            remote_forwards: ["9000:a:1", "9000:b:1", "9001", "9002:./x"].map(Into::into).to_vec(),
            ..HostConfig::default()
        };
        let notes = add_forwards(&mut spec, &host, Path::new("/home/me"));
        let shown: Vec<String> = spec.forwards.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            ["localhost:6000:a:1", "localhost:6001:a:1", "localhost:6002:c:3", "localhost:1080"]
        );
        let remotes: Vec<String> = spec.remotes.iter().map(ToString::to_string).collect();
        assert_eq!(remotes, ["localhost:9000:a:1", "localhost:9001"]);
        assert_eq!(notes.len(), 5, "{notes:?}");
    }
}
