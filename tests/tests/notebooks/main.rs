//! Notebooks by name, end to end: real servers behind a real sshd, the daemon, and `nbctl`.

mod alone;
mod cluster;
mod faces;
mod kinds;
mod lab;
mod layers;
mod lives;
mod moving;
mod opening;
mod people;
mod starting;
mod unnamed;
