//! The system's GSSAPI library, MIT's or Heimdal's. Everything here blocks.

use libgssapi::context::{ClientCtx, CtxFlags, SecurityContext};
use libgssapi::credential::{Cred, CredUsage};
use libgssapi::error::Error;
use libgssapi::name::Name;
use libgssapi::oid::{GSS_MECH_KRB5, GSS_NT_HOSTBASED_SERVICE, OidSet};
use russh::GssapiStep;

/// Whether this build knows Kerberos at all.
pub(in crate::ssh) const IS_HERE: bool = true;

const EXPIRED: &str = "the Kerberos ticket has expired";

/// Whose ticket there is.
///
/// # Errors
/// In a sentence: there is none, or none any more.
pub(in crate::ssh) fn principal() -> Result<String, String> {
    let ticket = credentials().map_err(missing)?;
    if ticket.lifetime().map_err(missing)?.is_zero() {
        return Err(EXPIRED.to_owned());
    }
    let name = ticket.name().map_err(missing)?;
    Ok(name.to_string())
}

/// Libraries differ in which of their codes says that a ticket has expired; their sentences agree.
fn missing(error: Error) -> String {
    let why = error.to_string();
    tracing::trace!("no ticket: {why}");
    let has_expired = why.to_lowercase().contains("expired");
    if has_expired { EXPIRED } else { "there is no Kerberos ticket" }.to_owned()
}

fn credentials() -> Result<Cred, Error> {
    let mechanisms = OidSet::singleton(GSS_MECH_KRB5)?;
    Cred::acquire(None, None, CredUsage::Initiate, Some(&mechanisms))
}

/// Our end of one exchange.
pub(super) struct Context {
    service: String,
    flags: CtxFlags,
    begun: Option<ClientCtx>,
}

impl Context {
    pub(super) fn new(host: &str, delegate: bool) -> Context {
        let mut flags = CtxFlags::GSS_C_MUTUAL_FLAG | CtxFlags::GSS_C_INTEG_FLAG;
        flags.set(CtxFlags::GSS_C_DELEG_FLAG, delegate);
        Context { service: format!("host@{host}"), flags, begun: None }
    }

    /// Takes what the server sent, and gives what it gets. `to_prove` is what the end of it is a proof for.
    pub(super) fn step(&mut self, token: Option<&[u8]>, to_prove: &[u8]) -> Result<GssapiStep, String> {
        let context = match &mut self.begun {
            Some(context) => context,
            None => {
                let name = Name::new(self.service.as_bytes(), Some(GSS_NT_HOSTBASED_SERVICE)).map_err(say)?;
                let ticket = credentials().map_err(say)?;
                self.begun.insert(ClientCtx::new(Some(ticket), name, self.flags, Some(GSS_MECH_KRB5)))
            }
        };
        let token = context.step(token, None).map_err(say)?.map(|token| token.to_vec());
        match token {
            Some(token) if !context.is_complete() => Ok(GssapiStep::Continue { token }),
            token => {
                let mic = context.get_mic(to_prove).map_err(say)?.to_vec();
                Ok(GssapiStep::Complete { token, mic: Some(mic) })
            }
        }
    }
}

fn say(error: Error) -> String {
    error.to_string()
}
