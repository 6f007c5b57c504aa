//! TLS to a notebook. On the SSH host's own loopback any certificate is taken: SSH vouches for the machine, and no
//! authority signs `localhost`. On any other machine it must be one that this system trusts.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls_native_certs::load_native_certs;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::http::NoAnswer;
use super::is_loopback;
use crate::forward::far_side::FarStream;

/// A server that speaks no TLS often waits for more of what it takes for a line.
const PATIENCE: Duration = Duration::from_secs(5);

/// Speaks TLS over `stream` to `host`.
pub(super) async fn over(stream: FarStream, host: &str) -> Result<TlsStream<FarStream>, NoAnswer> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| NoAnswer::Certificate(error.to_string()))?;
    let config = if is_loopback(host) {
        let vouched = Arc::new(Vouched(provider));
        config.dangerous().with_custom_certificate_verifier(vouched).with_no_client_auth()
    } else {
        config.with_root_certificates(roots().await?).with_no_client_auth()
    };
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| NoAnswer::Certificate("it cannot be checked against such a name".to_owned()))?;
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream);
    match tokio::time::timeout(PATIENCE, shaken).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(refused(&error)),
        Err(_) => Err(NoAnswer::OtherTongue),
    }
}

/// What this system trusts.
async fn roots() -> Result<RootCertStore, NoAnswer> {
    // Reads a few hundred files on some systems.
    let found = tokio::task::spawn_blocking(load_native_certs).await;
    let mut roots = RootCertStore::empty();
    if let Ok(found) = found {
        roots.add_parsable_certificates(found.certs);
    }
    if roots.is_empty() {
        return Err(NoAnswer::Certificate("this system names no authority that it trusts".to_owned()));
    }
    Ok(roots)
}

fn refused(error: &io::Error) -> NoAnswer {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(why)) => NoAnswer::Certificate(why.to_string()),
        _ => NoAnswer::OtherTongue,
    }
}

/// Takes any certificate, from whoever has its key.
#[derive(Debug)]
struct Vouched(Arc<CryptoProvider>);

impl ServerCertVerifier for Vouched {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
