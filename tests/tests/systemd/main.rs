//! The units as shipped, installed by their own line, under a real `systemd --user` of an ordinary user.

#![cfg(target_os = "linux")]

mod agents;
mod lasting;
mod manager;
mod units;
