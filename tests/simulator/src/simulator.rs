//! Starting and stopping.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::control::Control;
use crate::options::Options;
use crate::script::Server;
use crate::server::Service;
use crate::tls::Identity;
use crate::world::{Endpoints, Shared};
use crate::{control_http, server};

/// A running simulator. It has a thread and a runtime of its own, so it outlives the runtime that started it and its
/// clock is never paused. It stops when it is dropped.
pub struct Simulator {
    shared: Arc<Shared>,
    control_address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    stopped: Option<oneshot::Receiver<()>>,
}

struct Started {
    shared: Arc<Shared>,
    control_address: SocketAddr,
}

impl Simulator {
    /// Starts Graph, Entra, the metadata service and the control interface. May be called from anywhere.
    pub fn start(options: Options) -> anyhow::Result<Self> {
        let (report, started) = std::sync::mpsc::channel();
        let (stop, stopping) = oneshot::channel();
        let (stopped_tx, stopped) = oneshot::channel();
        std::thread::Builder::new()
            .name("graph-simulator".to_owned())
            .spawn(move || {
                match set_up(&options) {
                    Ok((runtime, started)) => {
                        drop(report.send(Ok(started)));
                        drop(runtime.block_on(stopping));
                        runtime.shutdown_timeout(Duration::from_secs(2));
                    }
                    Err(error) => drop(report.send(Err(error))),
                }
                drop(stopped_tx);
            })?;
        let Started {
            shared,
            control_address,
        } = started.recv().context("the simulator's thread ended")??;
        Ok(Self {
            shared,
            control_address,
            stop: Some(stop),
            stopped: Some(stopped),
        })
    }

    /// Root of Graph, `https://ADDRESS:PORT`, without `/v1.0`.
    #[must_use]
    pub fn graph_endpoint(&self) -> &str {
        &self.shared.endpoints.graph
    }

    /// The authority host, `https://ADDRESS:PORT`.
    #[must_use]
    pub fn authority_host(&self) -> &str {
        &self.shared.endpoints.authority
    }

    /// The metadata service of the node, `http://ADDRESS:PORT`.
    #[must_use]
    pub fn metadata_endpoint(&self) -> &str {
        &self.shared.endpoints.metadata
    }

    /// Where the control interface listens, plain HTTP.
    #[must_use]
    pub fn control_address(&self) -> SocketAddr {
        self.control_address
    }

    /// The certificate to trust, PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.shared.ca_pem
    }

    /// The control interface, in process.
    #[must_use]
    pub fn control(&self) -> Control {
        Control::new(Arc::clone(&self.shared))
    }

    /// Stops and waits until every connection is closed.
    pub async fn shutdown(mut self) {
        drop(self.stop.take());
        if let Some(stopped) = self.stopped.take() {
            // The sender is dropped as the thread ends.
            drop(stopped.await);
        }
    }
}

fn set_up(options: &Options) -> anyhow::Result<(tokio::runtime::Runtime, Started)> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("graph-simulator")
        .enable_all()
        .build()?;
    let identity = Identity::generate(options.http2, options.address)?;
    let entered = runtime.enter();
    let (graph, graph_address) = bind((options.address, options.graph_port).into())?;
    let (entra, entra_address) = bind((options.address, options.entra_port).into())?;
    let (control, control_address) = bind((Ipv4Addr::LOCALHOST, options.control_port).into())?;
    let (metadata, metadata_address) = bind((options.address, options.metadata_port).into())?;
    let endpoints = name(options, graph_address, entra_address, control_address, metadata_address);
    let shared = Arc::new(Shared::new(
        options,
        endpoints,
        identity.ca_pem,
        runtime.handle().clone(),
    ));
    let connections = Arc::new(AtomicU64::new(0));
    let tls = TlsAcceptor::from(Arc::clone(&identity.config));
    let listeners = [
        (graph, Server::Graph, Some(tls.clone())),
        (entra, Server::Entra, Some(tls)),
        (metadata, Server::Metadata, None),
    ];
    for (listener, which, acceptor) in listeners {
        let service = Service {
            shared: Arc::clone(&shared),
            server: which,
            acceptor,
            connections: Arc::clone(&connections),
        };
        runtime.spawn(server::serve(listener, Arc::new(service)));
    }
    runtime.spawn(control_http::serve(control, Control::new(Arc::clone(&shared))));
    drop(entered);
    Ok((
        runtime,
        Started {
            shared,
            control_address,
        },
    ))
}

fn name(
    options: &Options,
    graph: SocketAddr,
    entra: SocketAddr,
    control: SocketAddr,
    metadata: SocketAddr,
) -> Endpoints {
    let (graph, authority) = (format!("https://{graph}"), format!("https://{entra}"));
    let public = |asked: &Option<String>, own: &str| {
        let name = asked.as_deref().unwrap_or(own);
        name.trim_end_matches('/').to_owned()
    };
    Endpoints {
        public_graph: public(&options.public_graph, &graph),
        public_authority: public(&options.public_authority, &authority),
        graph,
        authority,
        control: format!("http://{control}"),
        metadata: format!("http://{metadata}"),
    }
}

fn bind(address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = std::net::TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((TcpListener::from_std(listener)?, address))
}
