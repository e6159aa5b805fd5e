//! TLS in front of prism, which speaks plain HTTP, and a look at all that passes through it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use harness::Authority;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What prism calls an answer that it makes itself: where the request, or the answer to it, is not as the document says.
const PRISM_ERRORS: &str = "https://stoplight.io/prism/errors#";

/// A request that passed through prism, and what prism said of it and of its answer.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    /// `GET`, `PATCH`, …
    pub(crate) method: String,
    /// The path and the query.
    pub(crate) target: String,
    /// Of the answer: Graph's, or prism's own where there is a violation.
    pub(crate) status: u16,
    /// What is not as the document says, in prism's words.
    pub(crate) violations: Vec<Value>,
}

/// The front. It stops when it is dropped.
pub(crate) struct Front {
    /// What clients are told: `https://127.0.0.1:PORT`.
    pub(crate) url: String,
    /// The certificate to trust, PEM.
    pub(crate) root_pem: String,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    behind: OnceLock<SocketAddr>,
    exchanges: Mutex<Vec<Exchange>>,
}

impl Front {
    /// Listens on a free port. What is behind is named later, by [`Self::set_behind`]: it has to know this address first.
    pub(crate) async fn open() -> Result<Self> {
        let authority = Authority::new()?;
        let identity = authority.server(&[])?;
        let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("https://{}", listener.local_addr()?);
        let shared = Arc::new(Shared::default());
        let serving = tokio::spawn(serve(listener, acceptor, Arc::clone(&shared)));
        Ok(Self {
            url,
            root_pem: authority.pem(),
            shared,
            serving,
        })
    }

    /// Names what is behind. The first name counts.
    pub(crate) fn set_behind(&self, address: SocketAddr) {
        let _ = self.shared.behind.set(address);
    }

    /// All that has passed so far.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        self.shared.lock().clone()
    }

    /// Sends a request the way that everything takes which comes in, and gives what was made of it.
    pub(crate) async fn pass(&self, request: Request<Full<Bytes>>) -> Result<Exchange> {
        let (exchange, _) = pass(&self.shared, request).await?;
        Ok(exchange)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Exchange>> {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let answer = service_fn(|request: Request<hyper::body::Incoming>| {
                let shared = Arc::clone(&shared);
                async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await?.to_bytes();
                    let (_, response) = pass(&shared, Request::from_parts(parts, Full::new(body))).await?;
                    anyhow::Ok(response)
                }
            });
            // The client sees a broken connection, and its test fails by that.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

/// Sends a request to what is behind, each on a connection of its own, and notes what came back.
async fn pass(shared: &Shared, request: Request<Full<Bytes>>) -> Result<(Exchange, Response<Full<Bytes>>)> {
    let behind = shared.behind.get().context("nothing is behind the front yet")?;
    let stream = TcpStream::connect(behind).await.context("prism cannot be reached")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let method = request.method().to_string();
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let target = target.to_owned();
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    connection.abort();
    let exchange = Exchange {
        method,
        target,
        status: parts.status.as_u16(),
        violations: violations(&parts.headers, &body)?,
    };
    shared.lock().push(exchange.clone());
    let mut response = Response::from_parts(parts, Full::new(body));
    // The body is whole here: its length is the server's to say.
    response.headers_mut().remove(header::TRANSFER_ENCODING);
    Ok((exchange, response))
}

/// What prism found: in a header beside an answer that it let pass, or in an answer of its own.
fn violations(headers: &http::HeaderMap, body: &[u8]) -> Result<Vec<Value>> {
    let mut found: Vec<Value> = match headers.get("sl-violations") {
        Some(violations) => serde_json::from_slice(violations.as_bytes()).context("sl-violations is no list")?,
        None => Vec::new(),
    };
    if let Ok(Value::Object(mut answer)) = serde_json::from_slice(body)
        && answer
            .get("type")
            .and_then(Value::as_str)
            .is_some_and(|kind| kind.starts_with(PRISM_ERRORS))
    {
        match answer.remove("validation") {
            Some(Value::Array(violations)) => found.extend(violations),
            // No such path, no such server: an answer of prism's own all the same.
            _ => found.push(Value::Object(answer)),
        }
    }
    Ok(found)
}
