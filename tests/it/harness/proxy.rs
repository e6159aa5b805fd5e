//! A forward proxy as companies have them: it takes `CONNECT`, sees who asks for what, and can do what networks do.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The longest head of a request that is read, in bytes.
const HEAD: usize = 16 * 1_024;

/// A request for a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// `host:port`, as it was asked for.
    pub target: String,
    /// The value of `Proxy-Authorization`.
    pub authorization: Option<String>,
}

/// A proxy on a free port of 127.0.0.1. It ends when it is dropped, and its tunnels with it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The numbers of the last tunnel that is cut, and of the last one that is silent.
    fates: watch::Sender<Fates>,
}

#[derive(Debug, Default)]
struct State {
    tunnels: Vec<Tunnel>,
    opened: u64,
    refuses: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Fates {
    cut: u64,
    silent: u64,
}

impl Proxy {
    /// Starts one that lets everybody through.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port for a proxy")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            fates: watch::Sender::new(Fates::default()),
        });
        let serving = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A client that goes away is no trouble of the proxy's.
                tokio::spawn(serve(client, Arc::clone(&serving)));
            }
        });
        Ok(Self {
            address,
            shared,
            accepting,
        })
    }

    /// The address for `HTTPS_PROXY`; `user` is `name:password` in percent-encoding, or empty.
    #[must_use]
    pub fn url(&self, user: &str) -> String {
        let at = if user.is_empty() { "" } else { "@" };
        format!("http://{user}{at}{}", self.address)
    }

    /// All tunnels that were asked for.
    #[must_use]
    pub fn tunnels(&self) -> Vec<Tunnel> {
        self.shared.lock().tunnels.clone()
    }

    /// Forgets which tunnels were asked for.
    pub fn forget(&self) {
        self.shared.lock().tunnels.clear();
    }

    /// From now on answers 407 to whoever comes, or lets them through again.
    pub fn refuse(&self, refuses: bool) {
        self.shared.lock().refuses = refuses;
    }

    /// Closes each tunnel that is open now as soon as its client sends something, which is dropped: as a server does that
    /// has given up the connection just before.
    pub fn cut(&self) {
        let opened = self.shared.lock().opened;
        self.shared.fates.send_modify(|fates| fates.cut = opened);
    }

    /// Lets nothing more through the tunnels that are open now, and does not close them.
    pub fn silence(&self) {
        let opened = self.shared.lock().opened;
        self.shared.fates.send_modify(|fates| fates.silent = opened);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        let all = Fates {
            cut: u64::MAX,
            silent: 0,
        };
        self.shared.fates.send_replace(all);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes who asks for what; gives the tunnel's number where there is to be one.
    fn opens(&self, tunnel: Tunnel) -> Option<u64> {
        let mut state = self.lock();
        state.tunnels.push(tunnel);
        state.opened += 1;
        (!state.refuses).then_some(state.opened)
    }
}

async fn serve(mut client: TcpStream, shared: Arc<Shared>) -> Result<()> {
    let head = head(&mut client).await?;
    let tunnel = asked(&head).context("no CONNECT")?;
    let target = tunnel.target.clone();
    let Some(number) = shared.opens(tunnel) else {
        let answer = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"proxy\"\r\n\
                      Content-Length: 0\r\nConnection: close\r\n\r\n";
        client.write_all(answer.as_bytes()).await?;
        return Ok(());
    };
    let server = TcpStream::connect(target).await?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    pump(client, server, number, shared.fates.subscribe()).await
}

async fn head(client: &mut TcpStream) -> Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD {
        head.push(client.read_u8().await?);
    }
    Ok(String::from_utf8(head)?)
}

fn asked(head: &str) -> Option<Tunnel> {
    let mut lines = head.lines();
    let target = lines.next()?.strip_prefix("CONNECT ")?.split(' ').next()?;
    let authorization = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("proxy-authorization")
            .then(|| value.trim().to_owned())
    });
    Some(Tunnel {
        target: target.to_owned(),
        authorization,
    })
}

async fn pump(client: TcpStream, server: TcpStream, number: u64, fates: watch::Receiver<Fates>) -> Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (mut up, mut down) = (vec![0; HEAD], vec![0; HEAD]);
    loop {
        let (length, of_client) = tokio::select! {
            length = from_client.read(&mut up) => (length?, true),
            length = from_server.read(&mut down) => (length?, false),
        };
        let Fates { cut, silent } = *fates.borrow();
        if length == 0 || (of_client && number <= cut) {
            return Ok(());
        }
        if number <= silent {
            continue;
        }
        if of_client {
            to_server.write_all(up.get(..length).unwrap_or_default()).await?;
        } else {
            to_client.write_all(down.get(..length).unwrap_or_default()).await?;
        }
    }
}
