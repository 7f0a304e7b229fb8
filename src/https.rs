//! TLS for what this process asks others: the system's roots, TLS 1.2 and 1.3, HTTP/1.1 and HTTP/2. Which addresses may be
//! dialled is the caller's to say.

use std::{io, time::Duration};

use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;

#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the system's certificates cannot be read: {0}; install them (ca-certificates) or set SSL_CERT_FILE")]
    Roots(#[from] io::Error),
}

/// TLS over a connector of one's own, where the address asks for it.
///
/// # Errors
/// [`HttpsError`].
pub fn over<C>(connector: C) -> Result<HttpsConnector<C>, HttpsError> {
    let tls = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_native_roots()?
        .with_no_client_auth();
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(connector))
}

/// For addresses that an operator or an author names: none is refused.
///
/// # Errors
/// [`HttpsError`].
pub fn anywhere(connect_timeout: Duration) -> Result<HttpsConnector<HttpConnector>, HttpsError> {
    let mut http = HttpConnector::new();
    http.set_connect_timeout(Some(connect_timeout));
    http.enforce_http(false);
    over(http)
}
