//! The servers: connections, the log's entries, and what rules do to a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming as HyperBody;
use hyper::service::service_fn;
use hyper::{HeaderMap, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::incoming::Incoming;
use crate::log::Request;
use crate::reply::Reply;
use crate::script::{Action, Answer, Body, Server, Subject};
use crate::throttle::Standing;
use crate::wire::{Connection, Payload};
use crate::world::{Shared, World};
use crate::{entra, graph, metadata};

/// A larger request body closes the connection.
const BODY_LIMIT: usize = 4 << 20;
/// A larger body is logged as its length.
const LOGGED_BODY: usize = 256 << 10;

/// A connection that ends without an answer.
#[derive(Debug)]
struct Aborted;

impl std::fmt::Display for Aborted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("no answer")
    }
}

impl std::error::Error for Aborted {}

/// What every connection of a service shares.
pub(crate) struct Service {
    pub(crate) shared: Arc<Shared>,
    pub(crate) server: Server,
    /// How TLS is spoken; nothing for plain HTTP.
    pub(crate) acceptor: Option<TlsAcceptor>,
    pub(crate) connections: Arc<AtomicU64>,
}

/// Accepts for ever.
pub(crate) async fn serve(listener: TcpListener, service: Arc<Service>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connect(stream, Arc::clone(&service)));
            }
            // Out of descriptors, most likely: others close theirs soon.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn connect(stream: TcpStream, service: Arc<Service>) {
    drop(stream.set_nodelay(true));
    let number = service.connections.fetch_add(1, Ordering::SeqCst) + 1;
    let connection = Arc::new(Connection::new(number));
    let wire = connection.wire(stream);
    match &service.acceptor {
        None => converse(wire, &service, &connection).await,
        Some(acceptor) => {
            if let Ok(tls) = acceptor.accept(wire).await {
                converse(tls, &service, &connection).await;
            }
        }
    }
}

/// Serves what comes over a connection, until it ends or is reset.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: &Arc<Service>,
    connection: &Arc<Connection>,
) {
    let answer = service_fn(|request| handle(Arc::clone(service), Arc::clone(connection), request));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().title_case_headers(true);
    let serving = builder.serve_connection(TokioIo::new(stream), answer);
    tokio::select! {
        _ = serving => {}
        () = connection.wait_for_reset() => {}
    }
}

/// An entry of the log that waits for its end.
struct Ticket {
    shared: Arc<Shared>,
    server: Server,
    seq: u64,
    started: Instant,
    status: Option<u16>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        {
            let mut world = self.shared.lock();
            world.in_flight.leave(self.server);
            if let Some(entry) = world.log.entry(self.seq) {
                entry.status = self.status;
                entry.aborted = self.status.is_none();
                let elapsed = self.started.elapsed();
                entry.duration_millis = Some(millis(elapsed));
                entry.duration_micros = Some(micros(elapsed));
            }
        }
        self.shared.notify();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What was decided as the request came in.
struct Decision {
    ticket: Ticket,
    delay: Duration,
    action: Action,
    standing: Standing,
}

async fn handle(
    service: Arc<Service>,
    connection: Arc<Connection>,
    request: hyper::Request<HyperBody>,
) -> Result<Response<Payload>, Aborted> {
    let version = request.version();
    let (parts, body) = request.into_parts();
    let incoming = receive(service.server, &parts, body).await?;
    let shared = &service.shared;
    let Decision {
        mut ticket,
        delay,
        action,
        standing,
    } = arrive(shared, &incoming, connection.number, version);
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let mut cut = None;
    let reply = match action {
        Action::Continue => process(shared, ticket.seq, &incoming, &standing),
        Action::Answer(answer) => scripted(&answer, &incoming),
        Action::ApplyThenAnswer(answer) => {
            let reply = process(shared, ticket.seq, &incoming, &standing);
            if (200..300).contains(&reply.status) {
                scripted(&answer, &incoming)
            } else {
                reply
            }
        }
        Action::Truncate(length) => {
            cut = Some(length);
            process(shared, ticket.seq, &incoming, &standing)
        }
        Action::Reset => return abort(ticket, &connection).await,
        Action::ApplyThenReset => {
            process(shared, ticket.seq, &incoming, &standing);
            return abort(ticket, &connection).await;
        }
        Action::Hang => std::future::pending().await,
        Action::ApplyThenHang => {
            process(shared, ticket.seq, &incoming, &standing);
            std::future::pending().await
        }
    };
    ticket.status = Some(reply.status);
    Ok(respond(reply, cut))
}

async fn receive(server: Server, parts: &hyper::http::request::Parts, body: HyperBody) -> Result<Incoming, Aborted> {
    let body = Limited::new(body, BODY_LIMIT).collect().await.map_err(|_| Aborted)?;
    Ok(Incoming {
        server,
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().map(str::to_owned),
        headers: text_headers(&parts.headers),
        body: body.to_bytes().to_vec(),
        request_id: graph::new_request_id(),
    })
}

/// Resets the connection; the task that serves it is dropped while this waits.
async fn abort(ticket: Ticket, connection: &Connection) -> Result<Response<Payload>, Aborted> {
    drop(ticket);
    connection.reset();
    std::future::pending().await
}

fn text_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| {
            (
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect()
}

/// Enters the request in the log, notes violations, counts it, and finds the rule that takes it.
fn arrive(shared: &Arc<Shared>, incoming: &Incoming, connection: u64, version: Version) -> Decision {
    let started = Instant::now();
    let mut entry = entry(shared, incoming, connection, version);
    let mut world = shared.lock();
    attribute(&world, incoming, &mut entry);
    entry.in_flight = world.in_flight.enter(incoming.server);

    let target = incoming.target();
    let subject = Subject {
        server: incoming.server,
        method: &incoming.method,
        path: &incoming.path,
        target: &target,
        tenant: entry.tenant.as_deref(),
    };
    let taken = world.scripts.take(&subject);
    entry.script = taken.as_ref().map(|(id, _, _)| *id);
    let seq = world.log.push(entry);
    let mut standing = Standing::default();
    let mut delay = Duration::ZERO;
    match incoming.server {
        Server::Graph => {
            graph::inspect(&mut world, seq, incoming);
            standing = graph::count(&mut world, incoming);
            delay = world.settings.graph_delay;
        }
        Server::Entra => entra::inspect(&mut world, seq, incoming),
        Server::Metadata => metadata::inspect(&mut world, seq, incoming),
    }
    drop(world);
    shared.notify();
    let (more, action) = taken.map_or((Duration::ZERO, Action::Continue), |(_, delay, action)| (delay, action));
    let ticket = Ticket {
        shared: Arc::clone(shared),
        server: incoming.server,
        seq,
        started,
        status: None,
    };
    Decision {
        ticket,
        delay: delay.saturating_add(more),
        action,
        standing,
    }
}

/// Finds out whose request it is, as far as it says so itself.
fn attribute(world: &World, incoming: &Incoming, entry: &mut Request) {
    if let Some(grant) = incoming.bearer().and_then(|token| world.tokens.find(token)) {
        entry.token = Some(grant.number);
        entry.tenant = Some(grant.tenant.clone());
        entry.client_id = Some(grant.client_id.clone());
    }
    if incoming.server == Server::Entra {
        entry.tenant = entra::tenant_of(&incoming.path).map(str::to_ascii_lowercase);
        entry.client_id = entry
            .body
            .as_ref()
            .and_then(|body| body.get("client_id")?.as_str().map(str::to_owned));
    }
    if incoming.server == Server::Metadata
        && let Ok(own) = metadata::identity(world, incoming)
    {
        entry.tenant = Some(own.tenant.clone());
        entry.client_id = Some(own.client_id.clone());
    }
}

fn entry(shared: &Shared, incoming: &Incoming, connection: u64, version: Version) -> Request {
    let authorization = incoming
        .header("authorization")
        .map(|value| shared.digests.of(value.as_bytes()));
    let headers = incoming
        .headers
        .iter()
        .map(|(name, value)| match (name.as_str(), &authorization) {
            ("authorization", Some(digest)) => (name.clone(), digest.clone()),
            _ => (name.clone(), value.clone()),
        })
        .collect();
    let body = match (incoming.server, incoming.body.as_slice()) {
        (_, []) => None,
        (_, long) if long.len() > LOGGED_BODY => Some(Value::String(format!("{} bytes", long.len()))),
        (Server::Entra, form) => Some(entra::logged_form(form, &shared.digests)),
        (Server::Graph | Server::Metadata, body) => Some(
            serde_json::from_slice(body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned())),
        ),
    };
    let client_assertion = (incoming.server == Server::Entra && incoming.body.len() <= LOGGED_BODY)
        .then(|| entra::readable_assertion(&incoming.body))
        .flatten();
    let at = shared.started.elapsed();
    Request {
        seq: 0,
        time: jiff::Timestamp::now().to_string(),
        at_millis: millis(at),
        at_micros: micros(at),
        server: incoming.server,
        method: incoming.method.clone(),
        path: incoming.path.clone(),
        query: logged_query(shared, incoming),
        headers,
        authorization,
        token: None,
        issued_token: None,
        tenant: None,
        client_id: None,
        body,
        client_assertion,
        status: None,
        aborted: false,
        script: None,
        connection,
        http_version: if version == Version::HTTP_2 { "2" } else { "1.1" }.to_owned(),
        in_flight: 0,
        request_id: incoming.request_id.clone(),
        duration_millis: None,
        duration_micros: None,
    }
}

/// The query, or its digest where somebody put a secret into it.
fn logged_query(shared: &Shared, incoming: &Incoming) -> Option<String> {
    let query = incoming.query.as_ref()?;
    let secret = incoming.query_pairs().iter().any(|(name, _)| entra::is_secret(name));
    Some(if secret {
        shared.digests.of(query.as_bytes())
    } else {
        query.clone()
    })
}

fn process(shared: &Shared, seq: u64, incoming: &Incoming, standing: &Standing) -> Reply {
    let mut world = shared.lock();
    let endpoints = &shared.endpoints;
    let (reply, number) = match incoming.server {
        Server::Graph => return graph::answer_within(&mut world, endpoints, seq, incoming, standing),
        Server::Entra => entra::answer(&mut world, endpoints, incoming),
        Server::Metadata => metadata::answer(&mut world, endpoints, incoming),
    };
    if let Some(entry) = world.log.entry(seq) {
        entry.issued_token = number;
    }
    reply
}

fn scripted(answer: &Answer, incoming: &Incoming) -> Reply {
    let body = match &answer.body {
        Body::Empty => Vec::new(),
        Body::Json(value) => value.to_string().into_bytes(),
        Body::Text(text) => text.clone().into_bytes(),
        Body::Bytes(bytes) => bytes.clone(),
    };
    let mut reply = Reply {
        status: answer.status,
        headers: answer.headers.clone(),
        body,
    };
    let has = |reply: &Reply, name: &str| reply.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
    if matches!(answer.body, Body::Json(_)) && !has(&reply, "content-type") {
        reply = reply.header("Content-Type", "application/json");
    }
    if incoming.server == Server::Graph && !has(&reply, "request-id") {
        reply = graph::dress(reply, incoming);
    }
    reply
}

fn respond(reply: Reply, cut: Option<usize>) -> Response<Payload> {
    let payload = match cut {
        Some(length) => Payload::cut(reply.body, length),
        None => Payload::whole(reply.body),
    };
    let mut response = Response::new(payload);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in &reply.headers {
        let name = hyper::header::HeaderName::from_bytes(name.as_bytes());
        let value = hyper::header::HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            response.headers_mut().append(name, value);
        }
    }
    response
}
