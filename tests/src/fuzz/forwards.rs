//! The grammar of forwards: whatever is accepted is written as something that means the same.

use nbtunnel_core::ForwardSpec;

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "forwards",
    feed,
    words: &[":", "[", "]", "*", "localhost", "127.0.0.1", "::1", "0", "65535", "65536", "/run/x", "-", "%"],
};

fn feed(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(spec) = text.parse::<ForwardSpec>() else { return };
    assert!(!text.chars().any(char::is_control), "{text:?} was accepted");
    let shown = spec.to_string();
    assert_eq!(shown.parse::<ForwardSpec>().as_ref(), Ok(&spec), "{text:?} is shown as {shown:?}");
}
