//! The HTTPS client that Graph and Entra are asked with.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::runtime::text;

/// Why an HTTP client could not be made at start.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot make an HTTPS client: {0}. Install the system's CA certificates, or name a file of them in SSL_CERT_FILE"
)]
pub struct NoClient(String);

/// The HTTPS client for Graph and Entra: it follows no redirect, honours `HTTPS_PROXY` and `NO_PROXY`, and trusts the
/// system's CA certificates, those of `SSL_CERT_FILE`, and `extra_roots` (PEM).
///
/// # Errors
/// Where there is no CA certificate to trust, or one cannot be read.
pub fn http_client(extra_roots: Option<&str>) -> Result<reqwest::Client, NoClient> {
    let broken = |error: &dyn std::fmt::Display| NoClient(error.to_string());
    let mut roots = Vec::new();
    for certificate in system_roots() {
        roots.push(reqwest::Certificate::from_der(&certificate).map_err(|error| broken(&error))?);
    }
    if let Some(pem) = extra_roots {
        roots.extend(reqwest::Certificate::from_pem_bundle(pem.as_bytes()).map_err(|error| broken(&error))?);
    }
    if roots.is_empty() {
        return Err(NoClient("no CA certificate was found on this system".to_owned()));
    }
    builder(roots)
        .https_only(true)
        .connect_timeout(Duration::from_secs(10))
        .build()
        .map_err(|error| broken(&error))
}

/// The client for the metadata service of an Azure node: plain HTTP to an address of the node's own, never by a proxy,
/// whatever the environment names.
///
/// # Errors
/// Where the library cannot make one.
pub fn metadata_client() -> Result<reqwest::Client, NoClient> {
    builder(Vec::new())
        .no_proxy()
        // It is next door: where nobody answers within this time, this is no node of Azure's.
        .connect_timeout(Duration::from_secs(3))
        .build()
        .map_err(|error| NoClient(error.to_string()))
}

fn builder(roots: Vec<reqwest::Certificate>) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_certs_only(roots)
        .redirect(reqwest::redirect::Policy::none())
        .pool_idle_timeout(Duration::from_secs(90))
        .user_agent(concat!("compliance-partner-operator/", env!("CARGO_PKG_VERSION")))
}

/// The system's certificates and those of `SSL_CERT_FILE`. The library that finds them takes the variable's file
/// *instead of* the system's; a private CA is wanted beside them.
fn system_roots() -> BTreeSet<Vec<u8>> {
    const BUNDLES: [&str; 4] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ];
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        let error = text::clean(&error.to_string(), 300);
        tracing::warn!(error, "a CA certificate of this system cannot be read");
    }
    let bundle = BUNDLES.iter().map(std::path::Path::new).find(|bundle| bundle.exists());
    let system = bundle.map(|bundle| rustls_native_certs::load_certs_from_paths(Some(bundle), None));
    let system = system.map(|system| system.certs).unwrap_or_default();
    found
        .certs
        .into_iter()
        .chain(system)
        .map(|certificate| certificate.to_vec())
        .collect()
}

/// An error with its causes, less the address of the request: a query or a proxy's address may hold a secret.
pub(super) fn without_url(error: &reqwest::Error) -> String {
    let mut text = String::from(if error.is_timeout() {
        "time-out"
    } else if error.is_connect() {
        "no connection"
    } else {
        "broken exchange"
    });
    let mut cause = std::error::Error::source(error);
    let mut depth = 0;
    while let Some(inner) = cause {
        depth += 1;
        // The inner causes are of the TLS and socket layers, which know no address but the peer's.
        if depth > 1 {
            text.push_str(": ");
            text.push_str(&inner.to_string());
        }
        cause = inner.source();
    }
    text
}

/// Reads a body of at most `most` bytes; `None` where it is longer.
pub(super) async fn read_bounded(
    response: &mut reqwest::Response,
    most: usize,
) -> Result<Option<Bytes>, reqwest::Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > most {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body.freeze()))
}
