//! The text of a tunnel file, from what a command line said. Pure; whether it makes sense is for the daemon to judge.

use nbctl::ssh_line::Tunnel;
use toml_edit::{Array, DocumentMut, Item, Table, value};

use super::notebook::Notebook;
use crate::args::AddArgs;

/// The text of the file, in the order of the documentation.
pub(super) fn toml(name: &str, tunnel: &Tunnel, notebook: Option<&Notebook>, args: &AddArgs) -> String {
    let mut doc = DocumentMut::new();
    let list = |items: &[String]| value(items.iter().map(String::as_str).collect::<Array>());
    doc["host"] = value(&tunnel.host);
    if let Some(user) = &tunnel.user {
        doc["user"] = value(user);
    }
    if let Some(port) = tunnel.port {
        doc["port"] = value(i64::from(port));
    }
    let forwards =
        [("forward", &tunnel.forwards), ("remote", &tunnel.remotes), ("dynamic", &tunnel.dynamics)];
    for (key, forwards) in forwards {
        if !forwards.is_empty() {
            doc[key] = list(forwards);
        }
    }
    if !tunnel.jump.is_empty() {
        doc["jump"] = list(&tunnel.jump);
    }
    if let Some(start) = args.start {
        doc["start"] = value(start.word());
    }
    if !args.tags.is_empty() {
        doc["tags"] = list(&args.tags);
    }
    if !tunnel.identity_files.is_empty() {
        doc["identity_file"] = list(&tunnel.identity_files);
    }
    if let Some(policy) = tunnel.host_key {
        doc["host_key"] = value(policy);
    }
    if !tunnel.known_hosts.is_empty() {
        doc["known_hosts"] = list(&tunnel.known_hosts);
    }
    if let Some(file) = &tunnel.ssh_config {
        doc["ssh_config"] = value(file);
    }
    if !tunnel.options.is_empty() {
        doc["options"] = list(&tunnel.options);
    }
    let times = [
        ("keepalive", &tunnel.keepalive),
        ("connect_timeout", &tunnel.connect_timeout),
        ("hold", &args.hold),
    ];
    for (key, time) in times {
        if let Some(time) = time {
            doc[key] = value(time);
        }
    }
    if let Some(notebook) = notebook {
        // Without a head of its own.
        let mut all = Table::new();
        all.set_implicit(true);
        all[name] = notebook.section();
        doc["notebook"] = Item::Table(all);
    }
    doc.to_string()
}
