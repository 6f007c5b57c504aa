//! Notebooks by name, end to end: real servers behind a real sshd, the daemon, and `nbctl`.

mod cluster;
mod kinds;
mod lab;
mod layers;
mod moving;
mod opening;
mod people;
mod starting;
