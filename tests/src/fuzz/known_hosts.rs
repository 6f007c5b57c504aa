//! A known_hosts file: whatever is in it, and whichever host is looked for, it is read to its end.

use nbtunneld::ssh::lines_that_name;

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "known_hosts",
    feed,
    words: &[
        "@revoked ",
        "@cert-authority ",
        "|1|",
        "[h]:2222",
        "*",
        "?",
        "!",
        ",",
        " ",
        "\t",
        "\n",
        "#",
        "\0",
        "ssh-ed25519 ",
        "AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ",
    ],
};

/// The first line of the input is the name, the rest the file.
fn feed(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (name, file) = (String::from_utf8_lossy(&bytes[..end]), bytes.get(end + 1..).unwrap_or_default());
    let found = lines_that_name(file, &name);
    let count = file.split(|byte| *byte == b'\n').count();
    assert!(
        found.is_sorted() && found.iter().all(|line| (1..=count).contains(&(*line as usize))),
        "{found:?}"
    );
    // A line says what it says, whatever stands before it.
    let moved = lines_that_name(&[b"# a comment\n\n", file].concat(), &name);
    assert_eq!(moved, found.iter().map(|line| line + 2).collect::<Vec<_>>());
}
