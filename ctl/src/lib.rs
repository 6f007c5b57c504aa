//! What nbctl makes of the words that people have already: a command line of ssh, the address of a notebook. Pure;
//! the binary is `nbctl`, and this library exists so that the tests can reach these readers.

pub mod server_url;
pub mod ssh_line;
