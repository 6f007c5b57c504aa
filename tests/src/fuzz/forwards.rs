//! The grammar of forwards: whatever is accepted is written as something that means the same.

use std::fmt::{Debug, Display};

use nbtunnel_core::{ForwardSpec, RemoteSpec};

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "forwards",
    feed,
    words: &[
        ":",
        "[",
        "]",
        "*",
        "localhost",
        "127.0.0.1",
        "::1",
        "0",
        "65535",
        "65536",
        "/run/x",
        "-",
        "%",
        "\\",
    ],
};

fn feed(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    reads_back(text, str::parse::<ForwardSpec>);
    reads_back(text, ForwardSpec::dynamic);
    reads_back(text, str::parse::<RemoteSpec>);
}

fn reads_back<T: Display + Debug + PartialEq>(text: &str, read: impl Fn(&str) -> Result<T, String>) {
    let Ok(spec) = read(text) else { return };
    assert!(!text.chars().any(char::is_control), "{text:?} was accepted");
    let shown = spec.to_string();
    assert_eq!(read(&shown).as_ref(), Ok(&spec), "{text:?} is shown as {shown:?}");
}
