//! The HTTPS client that Graph and Entra are asked with.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::runtime::text;

/// How many connections to one host wait for the next request. Where HTTP/2 is offered, one is enough; elsewhere more would
/// save a handshake now and then, and each may have been closed by the time it is used.
const MOST_IDLE: usize = 2;

/// A connection that owes an answer and has been silent for so long is asked for a sign of life.
const SILENCE: Duration = Duration::from_secs(10);

/// How long the sign of life may take: with [`SILENCE`] less than a request may, so that it is sent again in time.
const PING_ANSWER: Duration = Duration::from_secs(10);

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
        .pool_max_idle_per_host(MOST_IDLE)
        // Where HTTP/2 is offered, all requests to a host share one connection. One that has gone silent without an end,
        // as behind a proxy that has lost the other side, would take each of them to its time-out, and the next ones
        // too: it is asked for a sign of life while it owes an answer, and left before that is up.
        .http2_keep_alive_interval(SILENCE)
        .http2_keep_alive_timeout(PING_ANSWER)
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
        let error = text::of_error(&error);
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

/// How often a request that may be repeated is sent at most, where its connection breaks each time. All that wait in the
/// pool may be dead; the one after them is new.
pub(super) const MOST_SENT: usize = MOST_IDLE + 1;

/// Whether a connection broke under a request: it was there, and the request's own time, `limit`, was not up. The library
/// calls a connection that the system or a sign of life has given up a time-out as well.
pub(super) fn is_broken(error: &reqwest::Error, elapsed: Duration, limit: Duration) -> bool {
    !error.is_connect() && elapsed < limit
}

/// Sends a request that harms nobody twice, and reads its answer of at most `most` bytes (`None`: it is longer). Where the
/// connection breaks, as one from the pool does that the server has closed meanwhile, it is sent again. `limit` is the
/// request's own time-out.
pub(super) async fn send_repeatable(
    request: reqwest::RequestBuilder,
    limit: Duration,
    most: usize,
) -> Result<(reqwest::Response, Option<Bytes>), reqwest::Error> {
    let mut request = request;
    let mut sent = 1;
    loop {
        let again = request.try_clone().filter(|_| sent < MOST_SENT);
        let began = Instant::now();
        let error = match read_whole(request, most).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        match again {
            Some(again) if is_broken(&error, began.elapsed(), limit) => request = again,
            _ => return Err(error),
        }
        sent += 1;
    }
}

/// Sends a request once, and reads its answer of at most `most` bytes; `None` where it is longer.
pub(super) async fn read_whole(
    request: reqwest::RequestBuilder,
    most: usize,
) -> Result<(reqwest::Response, Option<Bytes>), reqwest::Error> {
    let mut response = request.send().await?;
    let body = read_bounded(&mut response, most).await?;
    Ok((response, body))
}

/// Reads a body of at most `most` bytes; `None` where it is longer.
async fn read_bounded(response: &mut reqwest::Response, most: usize) -> Result<Option<Bytes>, reqwest::Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > most {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body.freeze()))
}
