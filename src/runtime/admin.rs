//! The admin port: `/livez`, `/readyz` and `/metrics`, over plain HTTP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::sync::watch;

use super::context::Context;
use super::health::Health;
use super::text;

/// How many connections are served at once.
const MOST_CONNECTIONS: usize = 32;

/// What the port serves once the operator is made.
#[derive(Clone)]
pub struct Served {
    /// What the metrics are read from.
    pub context: Arc<Context>,
    /// What the probes ask.
    pub health: Arc<Health>,
}

/// Opens the port.
///
/// # Errors
/// Where the address is taken or not ours.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until the process ends. Before there is an operator, it is live and not ready.
pub async fn serve(listener: TcpListener, served: watch::Receiver<Option<Served>>) {
    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Such as too many open files: it passes, and probes try again.
                let error = text::of_error(&error);
                tracing::debug!(error, "a connection to the admin port failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let served = served.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request: Request<Incoming>| {
                let served = served.borrow().clone();
                async move { Ok::<_, Infallible>(answer(request.method(), request.uri().path(), served.as_ref())) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .serve_connection(TokioIo::new(stream), answer);
            let _ = connection.await;
            drop(slot);
        });
    }
}

fn answer(method: &Method, path: &str, served: Option<&Served>) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
    }
    match (path, served) {
        ("/livez", None) => plain(StatusCode::OK, "ok: waiting for the API server\n"),
        ("/livez", Some(served)) if served.health.live() => plain(StatusCode::OK, "ok\n"),
        ("/livez", Some(_)) => plain(StatusCode::INTERNAL_SERVER_ERROR, "passes make no progress\n"),
        ("/readyz", Some(served)) if served.health.ready() => plain(StatusCode::OK, "ok\n"),
        ("/readyz", _) => plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "waiting for the API server, for the CustomResourceDefinitions, or for rights: the log tells which\n",
        ),
        ("/metrics", None) => plain(StatusCode::SERVICE_UNAVAILABLE, "waiting for the API server\n"),
        ("/metrics", Some(served)) => match served
            .context
            .metrics
            .encode(&served.context.index, &served.context.budgets)
        {
            Ok(text) => {
                let mut response = Response::new(Full::new(Bytes::from(text)));
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                response
                    .headers_mut()
                    .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
                response
            }
            Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written\n"),
        },
        _ => plain(StatusCode::NOT_FOUND, "served here: /livez, /readyz, /metrics\n"),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
