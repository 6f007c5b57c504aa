//! Kerberos by GSSAPI (RFC 4462): whether there is a ticket, and the exchange that it takes part in. The library is
//! asked only where the cargo feature `gssapi` is on; without it there is no ticket, and that is said.

#[cfg_attr(all(feature = "gssapi", unix), path = "library.rs")]
#[cfg_attr(not(all(feature = "gssapi", unix)), path = "nothing.rs")]
mod library;

use std::time::Duration;

use russh::{GssapiAuthenticator, GssapiError, GssapiStep, SendError};
use tokio::time::timeout;

use super::classify::quote;
use library::Context;
pub(super) use library::IS_HERE;

/// The object identifier of Kerberos 5 (RFC 4121 §1), as it goes over the wire.
pub(super) const KERBEROS: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02";

/// The library may ask a key distribution centre, which may be far, or gone.
const STEP_DEADLINE: Duration = Duration::from_secs(30);

/// What Kerberos has to offer: whose ticket, or why none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ticket(Option<Result<String, String>>);

impl Ticket {
    /// Looks for a ticket, if one is wanted. Blocks on wherever tickets are kept.
    pub(super) fn look(is_wanted: bool) -> Ticket {
        Ticket(is_wanted.then(library::principal))
    }

    /// Whether one is wanted.
    pub(super) fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// Whether there is one that has not expired.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.0, Some(Ok(_)))
    }

    /// Why there is none where one is wanted.
    pub(super) fn missing(&self) -> Option<&str> {
        self.0.as_ref()?.as_ref().err().map(String::as_str)
    }
}

/// One exchange with a server.
pub(super) struct Exchange {
    /// Away while the library works with it.
    context: Option<Context>,
    /// What the server said of a failure.
    pub(super) heard: Option<String>,
}

/// Why an exchange ended.
#[derive(Debug)]
pub(super) enum Failed {
    /// The SSH session is gone.
    Session,
    /// The library, or the key distribution centre, says no.
    Library(String),
}

impl From<SendError> for Failed {
    fn from(_: SendError) -> Failed {
        Failed::Session
    }
}

impl Exchange {
    /// With the service `host` on the machine of this name; it gets the ticket too if `delegate` says so.
    pub(super) fn new(host: &str, delegate: bool) -> Exchange {
        Exchange { context: Some(Context::new(host, delegate)), heard: None }
    }
}

impl GssapiAuthenticator for Exchange {
    type Error = Failed;

    async fn gssapi_step(
        &mut self,
        selected: Option<Vec<u8>>,
        token: Option<Vec<u8>>,
        to_prove: Vec<u8>,
    ) -> Result<GssapiStep, Failed> {
        if selected.is_some_and(|mechanism| mechanism != KERBEROS) {
            return Err(Failed::Library("the server chose what was not offered".to_owned()));
        }
        let Some(mut context) = self.context.take() else {
            return Err(Failed::Library("the exchange is over".to_owned()));
        };
        let stepping = tokio::task::spawn_blocking(move || {
            let step = context.step(token.as_deref(), &to_prove);
            (context, step)
        });
        match timeout(STEP_DEADLINE, stepping).await {
            Ok(Ok((context, step))) => {
                self.context = Some(context);
                step.map_err(Failed::Library)
            }
            Ok(Err(_)) => Err(Failed::Library("the Kerberos library failed".to_owned())),
            Err(_) => Err(Failed::Library("the key distribution centre did not answer".to_owned())),
        }
    }

    async fn gssapi_error(&mut self, error: GssapiError) {
        if let GssapiError::Status { message, .. } = error {
            self.heard = Some(quote(&message));
        }
    }
}
