//! The harness of nbtunnel's end-to-end tests, of its demo and of its bench: real servers, real agents,
//! real notebooks, and the two real programs, each in a temporary world of its own.
//!
//! Everything that runs is owned by a value here and ended by its `Drop`, also when a test panics. Only
//! [`wait`] sleeps.

pub mod agent;
#[cfg(target_os = "linux")]
pub mod as_user;
pub mod callers;
pub mod child;
#[cfg(target_os = "linux")]
pub mod delay;
pub mod demo;
#[cfg(target_os = "linux")]
pub mod desktop;
#[cfg(target_os = "linux")]
pub mod dns;
#[cfg(unix)]
pub mod door;
#[cfg(target_os = "linux")]
pub mod dropbear;
pub mod fuzz;
#[cfg(unix)]
pub mod here;
pub mod http;
pub mod jupyter;
pub mod kerberos;
pub mod knocker;
#[cfg(target_os = "linux")]
pub mod logind;
pub mod net;
#[cfg(target_os = "linux")]
pub mod netns;
pub mod new_password;
pub mod plain_ssh;
pub mod programs;
pub mod relay;
#[cfg(target_os = "linux")]
pub mod second_factor;
pub mod server;
#[cfg(target_os = "linux")]
pub mod shim;
pub mod sim;
#[cfg(target_os = "linux")]
pub mod slurm;
pub mod socks;
pub mod sshd;
pub mod strange_listener;
pub mod strange_server;
#[cfg(target_os = "linux")]
pub mod terminal;
pub mod told;
#[cfg(target_os = "linux")]
mod tun;
pub mod tunnel_file;
pub mod wait;
pub mod world;

pub use agent::Agent;
pub use callers::Callers;
pub use jupyter::Jupyter;
pub use knocker::Knocker;
pub use relay::Relay;
pub use server::Server;
pub use sshd::Sshd;
pub use tunnel_file::TunnelFile;
pub use world::{Told, World};
