//! What `nbctl keygen` and `nbctl key` take.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct KeygenArgs {
    /// An RSA key, where a platform takes no other, with so many bits [default: 4096]
    #[arg(long, value_name = "BITS", num_args = 0..=1, default_missing_value = "4096",
          value_parser = clap::value_parser!(u32).range(2048..=16384))]
    pub rsa: Option<u32>,
    /// Where the private key goes; the public one goes beside it [default: ~/.ssh/id_ed25519, or id_rsa]
    #[arg(short, long, value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// What the public key says of itself [default: this user and host]
    #[arg(short = 'C', long, value_name = "COMMENT")]
    pub comment: Option<String>,
    /// Ask for no passphrase: who gets the file can log in as you
    #[arg(long)]
    pub no_passphrase: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    pub command: KeyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Print a public key, for the page of a platform, and copy it
    Show(ShowArgs),
    /// Log in to a tunnel's server, to see whether it takes the key
    Test(TestArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// A key file, or the name of a tunnel [default: the first of ssh's usual key files]
    #[arg(value_name = "FILE|NAME")]
    pub what: Option<PathBuf>,
    /// Copy it also where stdout is no terminal, and fail where it cannot be copied
    #[arg(long, conflicts_with = "no_copy")]
    pub copy: bool,
    /// Do not copy it
    #[arg(long)]
    pub no_copy: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// The name of a tunnel
    pub name: String,
    /// Offer this key alone [default: those that the tunnel offers]
    #[arg(short, long, value_name = "KEY")]
    pub file: Option<PathBuf>,
}
