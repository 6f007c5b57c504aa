//! What happens to a tunnel when the path, the server or this machine fails, with real ones of each. Every test
//! prints one line: what became of the link, how soon somebody was answered, who was turned away.

#![cfg(target_os = "linux")]

mod far;
mod lab;
mod limits;
mod path;
mod server;
mod slow;
mod table;
