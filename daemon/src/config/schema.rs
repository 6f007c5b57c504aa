//! The words that a configuration file may use, and where in the file each value stands.
//!
//! Every key is optional here, and only its type is checked; what its value may be is `vet`'s business.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use toml::Spanned;

use super::notebook::Notebooks;

/// `nbtunnel.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MainFile {
    /// Any key of a tunnel file; what the tunnel file says wins.
    pub(super) defaults: Option<Keys>,
    pub(super) daemon: Option<DaemonKeys>,
}

/// The `[daemon]` table.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DaemonKeys {
    pub(super) log: Option<Spanned<String>>,
    pub(super) spool: Option<Spanned<String>>,
}

/// `tunnels/NAME.toml`, and `[defaults]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    pub(super) host: Option<Spanned<String>>,
    pub(super) user: Option<Spanned<String>>,
    pub(super) port: Option<Spanned<i64>>,
    pub(super) forward: Option<Spanned<List>>,
    pub(super) remote: Option<Spanned<List>>,
    pub(super) dynamic: Option<Spanned<List>>,
    pub(super) start: Option<Spanned<String>>,
    pub(super) tags: Option<Spanned<List>>,
    pub(super) identity_file: Option<Spanned<List>>,
    pub(super) known_hosts: Option<Spanned<List>>,
    pub(super) host_key: Option<Spanned<String>>,
    pub(super) keepalive: Option<Spanned<String>>,
    pub(super) connect_timeout: Option<Spanned<String>>,
    pub(super) hold: Option<Spanned<String>>,
    pub(super) idle: Option<Spanned<String>>,
    pub(super) buffer: Option<Spanned<String>>,
    pub(super) renew_after: Option<Spanned<String>>,
    pub(super) renew_bytes: Option<Spanned<String>>,
    pub(super) drain: Option<Spanned<String>>,
    pub(super) jump: Option<Spanned<List>>,
    pub(super) ssh_config: Option<Spanned<String>>,
    pub(super) ssh_forwards: Option<Spanned<bool>>,
    pub(super) options: Option<Spanned<List>>,
    pub(super) share: Option<Spanned<bool>>,
    pub(super) remember: Option<Spanned<String>>,
    pub(super) owner_only: Option<Spanned<bool>>,
    #[serde(default)]
    pub(super) notebook: Notebooks,
}

/// A list of words, or a single word that stands for a list of one.
#[derive(Debug)]
pub(super) struct List(pub(super) Vec<Item>);

/// A word of a list. Its place is unknown only where a single word stood for the list.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) text: String,
    pub(super) span: Option<Range<usize>>,
}

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;

        impl<'de> Visitor<'de> for Words {
            type Value = List;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of strings")
            }

            fn visit_str<E>(self, word: &str) -> Result<List, E> {
                Ok(List(vec![Item { text: word.to_owned(), span: None }]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut words: A) -> Result<List, A::Error> {
                let mut items = Vec::new();
                while let Some(word) = words.next_element::<Spanned<String>>()? {
                    let span = Some(word.span());
                    items.push(Item { text: word.into_inner(), span });
                }
                Ok(List(items))
            }
        }

        deserializer.deserialize_any(Words)
    }
}
