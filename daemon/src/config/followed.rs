//! What ssh_config says and a tunnel follows already when it is read: its forwards, and times where the files say
//! nothing. The way to the server is asked for anew at each attempt, elsewhere.

use std::ops::RangeInclusive;
use std::time::Duration;

use nbtunnel_core::ForwardSpec;

use super::layer::Layer;
use super::{values, vet};
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
/// beside the tunnel's own is said.
pub(super) fn add_forwards(forwards: &mut Vec<ForwardSpec>, host: &HostConfig) -> Vec<String> {
    let mut notes = Vec::new();
    for text in &host.local_forwards {
        match text.parse::<ForwardSpec>() {
            Ok(forward) if forwards.contains(&forward) => {}
            Ok(forward) => match forwards.iter().find(|other| vet::collide(&other.listen, &forward.listen)) {
                None => forwards.push(forward),
                Some(other) => notes.push(format!(
                    "LocalForward {text} is not followed: another forward listens on {} already",
                    other.listen
                )),
            },
            Err(why) => notes.push(format!("LocalForward {text} is not followed: {why}")),
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forward_of_both_is_taken_once_and_the_file_wins_where_they_clash() {
        let mut forwards: Vec<ForwardSpec> = vec!["6000:a:1".parse().unwrap(), "6001:a:1".parse().unwrap()];
        let host = HostConfig {
            local_forwards: ["localhost:6000:a:1", "6001:b:2", "6002:c:3", "0:c:3"].map(Into::into).to_vec(),
            ..HostConfig::default()
        };
        let notes = add_forwards(&mut forwards, &host);
        let shown: Vec<String> = forwards.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["localhost:6000:a:1", "localhost:6001:a:1", "localhost:6002:c:3"]);
        assert_eq!(notes.len(), 2, "{notes:?}");
    }
}
