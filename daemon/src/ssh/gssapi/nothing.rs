//! A build without Kerberos.

use russh::GssapiStep;

const ABSENT: &str = "this build of nbtunneld has no Kerberos (GSSAPIAuthentication)";

/// Whether this build knows Kerberos at all.
pub(in crate::ssh) const IS_HERE: bool = false;

/// Nobody has a ticket here.
pub(in crate::ssh) fn principal() -> Result<String, String> {
    Err(ABSENT.to_owned())
}

/// No exchange.
pub(super) struct Context;

impl Context {
    pub(super) fn new(_host: &str, _delegate: bool) -> Context {
        Context
    }

    pub(super) fn step(&mut self, _token: Option<&[u8]>, _to_prove: &[u8]) -> Result<GssapiStep, String> {
        Err(ABSENT.to_owned())
    }
}
