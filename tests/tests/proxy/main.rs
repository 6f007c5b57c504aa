//! What speaks SSH by itself goes over a tunnel's session: real OpenSSH clients with `ProxyCommand nbctl proxy`.
#![cfg(target_os = "linux")]

mod carried;
mod desktop;
mod exporting;
mod including;
mod inner;
mod names;
mod waiting;
