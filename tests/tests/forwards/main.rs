//! Forwards of every kind over a real sshd: bytes both ways, what is denied, what comes back.
#![cfg(unix)]

mod dynamic;
mod ends;
mod kinds;
mod remote;
mod strange;
mod support;
mod words;
