//! The simulator as a program: for demonstrations, benches and tests in other languages.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use graph_simulator::{Options, ServiceOwned, Simulator, Throttling, TokenStyle};

/// Simulates the parts of Microsoft Graph v1.0 and Microsoft Entra that the operator talks to.
#[derive(Parser)]
#[command(version, about)]
#[allow(clippy::struct_excessive_bools, reason = "flags of a command line")]
struct Arguments {
    /// Where it listens; the control interface is at 127.0.0.1 always.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,
    /// Port of Graph (TLS); 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    graph_port: u16,
    /// Port of Entra (TLS); 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    entra_port: u16,
    /// Port of the control interface (plain HTTP); 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    control_port: u16,
    /// Port of the metadata service (plain HTTP); 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    metadata_port: u16,
    /// The root of Graph that tokens, scopes and pages name, if it is not where Graph listens.
    #[arg(long)]
    public_graph: Option<String>,
    /// The authority that issuers and assertions name, if it is not where Entra listens.
    #[arg(long)]
    public_authority: Option<String>,
    /// Where to write the certificate to trust (PEM).
    #[arg(long)]
    ca_file: Option<PathBuf>,
    /// Rows on a page of a listing.
    #[arg(long, default_value_t = 100)]
    page_size: usize,
    /// How long every answer of Graph takes, in milliseconds.
    #[arg(long, default_value_t = 0)]
    delay_millis: u64,
    /// How long a token is good, in seconds.
    #[arg(long, default_value_t = 3599)]
    expires_in: u64,
    /// How many requests the log holds.
    #[arg(long, default_value_t = 20_000)]
    log_capacity: usize,
    /// Give out opaque words for tokens.
    #[arg(long)]
    opaque_tokens: bool,
    /// Offer HTTP/1.1 alone.
    #[arg(long)]
    no_http2: bool,
    /// Take the properties of a PATCH that belong to the service.
    #[arg(long)]
    accept_service_owned: bool,
    /// Answer 429 over the published limits.
    #[arg(long)]
    enforce_throttling: bool,
    /// Tell how much of a limit is used.
    #[arg(long)]
    throttle_headers: bool,
    /// End when standard input closes.
    #[arg(long)]
    until_stdin_closes: bool,
}

impl Arguments {
    fn options(&self) -> Options {
        Options {
            address: self.address,
            graph_port: self.graph_port,
            entra_port: self.entra_port,
            control_port: self.control_port,
            metadata_port: self.metadata_port,
            public_graph: self.public_graph.clone(),
            public_authority: self.public_authority.clone(),
            page_size: self.page_size,
            graph_delay: Duration::from_millis(self.delay_millis),
            expires_in: self.expires_in,
            token_style: if self.opaque_tokens {
                TokenStyle::Opaque
            } else {
                TokenStyle::Jwt
            },
            http2: !self.no_http2,
            log_capacity: self.log_capacity,
            service_owned: if self.accept_service_owned {
                ServiceOwned::Accept
            } else {
                ServiceOwned::Refuse
            },
            throttling: if self.enforce_throttling {
                Throttling::Enforce
            } else {
                Throttling::Count
            },
            throttle_headers: self.throttle_headers,
            ..Options::default()
        }
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("graph-simulator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let simulator = Simulator::start(arguments.options())?;
        if let Some(path) = &arguments.ca_file {
            std::fs::write(path, simulator.ca_pem()).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let endpoints = serde_json::to_string(&simulator.control().endpoints())?;
        {
            let mut output = std::io::stdout().lock();
            writeln!(output, "{endpoints}")?;
            output.flush()?;
        }
        tokio::select! {
            _ = terminate.recv() => {}
            result = tokio::signal::ctrl_c() => result?,
            () = stdin_closed(), if arguments.until_stdin_closes => {}
        }
        simulator.shutdown().await;
        Ok(())
    })
}

/// Reads standard input to its end on a thread of its own, which ends with the process.
async fn stdin_closed() {
    let (closed_tx, closed) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        // However it ends, there is nothing more to read.
        drop(std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()));
        drop(closed_tx);
    });
    drop(closed.await);
}
