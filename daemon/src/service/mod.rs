//! What the daemon is to the system: one instance, started by a service manager that wants to be told how
//! it is, with enough file descriptors. Everything here is a no-op where the system knows nothing of it.

#[cfg_attr(target_os = "linux", path = "activation_linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "activation_other.rs")]
pub mod activation;
#[cfg_attr(target_os = "linux", path = "dumps_linux.rs")]
#[cfg_attr(all(unix, not(target_os = "linux")), path = "dumps_unix.rs")]
#[cfg_attr(not(unix), path = "dumps_other.rs")]
pub mod dumps;
pub mod instance;
#[cfg_attr(unix, path = "limits_unix.rs")]
#[cfg_attr(not(unix), path = "limits_other.rs")]
pub mod limits;
#[cfg_attr(target_os = "linux", path = "readiness_linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "readiness_other.rs")]
pub mod readiness;
pub mod signals;
pub mod starter;
#[cfg_attr(target_os = "linux", path = "store_linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "store_other.rs")]
pub mod store;
