//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use reqwest::Url;
use tracing_subscriber::filter::LevelFilter;

use crate::api::reason::Timing;
use crate::graph::cloud::Endpoints;
use crate::partner::status::HeartbeatRules;
use crate::runtime::context::Config;

/// Keeps Microsoft Intune's compliance management partners as Kubernetes resources say.
#[derive(Debug, Parser)]
#[command(version, about, long_about = None)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator
    Run(Box<RunOptions>),
    /// Print the custom resource definitions, for `kubectl apply -f -`
    Crd,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum LogFormat {
    Text,
    Json,
}

/// The least important lines that are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// The same as a filter of log lines.
    #[must_use]
    pub const fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

/// How the operator runs.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// Watch these namespaces alone, separated by commas; absent: all. Namespaces need Roles in the place of the
    /// cluster's one
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',', value_parser = namespace)]
    pub watch_namespaces: Vec<String>,

    /// How often Graph is compared with resources that have no spec.syncInterval; 1s to 24h
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = sync_interval)]
    pub sync_interval: Duration,

    /// A partner's heartbeat older than this is stale
    #[arg(long, value_name = "DURATION", default_value = "72h", value_parser = duration)]
    pub heartbeat_stale_after: Duration,

    /// A heartbeat is written to status by itself only when it has moved by this much
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = duration)]
    pub heartbeat_resolution: Duration,

    /// Never write to Graph, whatever the resources say: tell in status what would be changed
    #[arg(long)]
    pub observe_only: bool,

    /// For tests: the root of Graph, without /v1.0, in the place of Microsoft's
    #[arg(long, value_name = "URL", value_parser = endpoint)]
    pub graph_endpoint: Option<String>,

    /// For tests: the root of the token endpoint in the place of Microsoft's
    #[arg(long, value_name = "URL", value_parser = endpoint)]
    pub authority_host: Option<String>,

    /// For tests: the metadata service of an Azure node, by plain http, in the place of 169.254.169.254
    #[arg(long, value_name = "URL", value_parser = plain_endpoint)]
    pub metadata_endpoint: Option<String>,

    /// The namespaces whose connections may use the operator's own identity or its node's, separated by commas; absent:
    /// the one of the operator's ServiceAccount
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',', value_parser = namespace)]
    pub operator_identity_namespaces: Vec<String>,

    /// Let a deleted resource go without its Reset once its connection, Secret or ServiceAccount has been gone for this
    /// time; `never` keeps waiting
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = abandon)]
    pub abandon_cleanup_after: Abandon,

    /// Where /livez, /readyz and /metrics are served
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    pub admin_address: SocketAddr,

    /// The form of log lines
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,

    /// The least important lines that are logged
    #[arg(long, value_enum, default_value = "info")]
    pub log_level: LogLevel,
}

/// When a blocked clean-up is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abandon(pub Option<Duration>);

impl RunOptions {
    /// The library's configuration. Of the environment the pod's name is read, for events, and where the operator's own
    /// token is: Azure Workload Identity's webhook sets that, and its place is not promised.
    #[must_use]
    pub fn config(&self) -> Config {
        Config {
            watch_namespaces: self.watch_namespaces.clone(),
            timing: Timing {
                sync_interval: self.sync_interval,
                ..Timing::default()
            },
            heartbeat: HeartbeatRules {
                stale_after: self.heartbeat_stale_after,
                resolution: self.heartbeat_resolution,
            },
            observe_only: self.observe_only,
            endpoints: Endpoints {
                graph: self.graph_endpoint.clone(),
                authority: self.authority_host.clone(),
                metadata: self.metadata_endpoint.clone(),
            },
            operator_identity_namespaces: self.operator_identity_namespaces.clone(),
            federated_token_file: std::env::var_os("AZURE_FEDERATED_TOKEN_FILE").map(PathBuf::from),
            abandon_cleanup_after: self.abandon_cleanup_after.0,
            extra_roots: None,
            instance: std::env::var("HOSTNAME").unwrap_or_else(|_| "compliance-partner-operator".to_owned()),
        }
    }
}

/// Reads a duration in Go's style: numbers with a unit of h, m, s or ms, such as 72h or 1h30m.
///
/// # Errors
/// A sentence on what is expected.
pub fn duration(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "expected numbers with a unit of h, m, s or ms, such as 72h or 1h30m";
    let mut total = Duration::ZERO;
    let mut rest = text;
    if rest.is_empty() {
        return Err(EXPECTED.to_owned());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at_checked(digits).ok_or(EXPECTED)?;
        let number: u64 = number.parse().map_err(|_| EXPECTED)?;
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at_checked(letters).ok_or(EXPECTED)?;
        let millis: u64 = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return Err(EXPECTED.to_owned()),
        };
        let part = number
            .checked_mul(millis)
            .map(Duration::from_millis)
            .ok_or("too long")?;
        total = total.checked_add(part).ok_or("too long")?;
        rest = tail;
    }
    // A century: beyond it, sums with the clock's time overflow.
    if total > Duration::from_secs(100 * 365 * 86_400) {
        return Err("too long".to_owned());
    }
    Ok(total)
}

fn sync_interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if (Duration::from_secs(1)..=Duration::from_secs(86_400)).contains(&interval) {
        Ok(interval)
    } else {
        Err("expected a duration from 1s to 24h".to_owned())
    }
}

fn abandon(text: &str) -> Result<Abandon, String> {
    if text == "never" {
        return Ok(Abandon(None));
    }
    duration(text)
        .map(|wait| Abandon(Some(wait)))
        .map_err(|error| format!("{error}, or never"))
}

fn namespace(text: &str) -> Result<String, String> {
    let inside = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    let edges = !text.starts_with('-') && !text.ends_with('-');
    if (1..=63).contains(&text.len()) && text.chars().all(inside) && edges {
        Ok(text.to_owned())
    } else {
        Err("expected the name of a namespace: lower-case letters, digits and -".to_owned())
    }
}

fn endpoint(text: &str) -> Result<String, String> {
    origin(text, "https", "https://127.0.0.1:8443")
}

fn plain_endpoint(text: &str) -> Result<String, String> {
    origin(text, "http", "http://127.0.0.1:8080")
}

fn origin(text: &str, scheme: &str, example: &str) -> Result<String, String> {
    let url = Url::parse(text).map_err(|error| format!("expected an {scheme} address: {error}"))?;
    let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if url.scheme() == scheme && url.has_host() && plain {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err(format!("expected an {scheme} address without query, such as {example}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_go_style() {
        for (text, millis) in [
            ("72h", 259_200_000),
            ("1h30m", 5_400_000),
            ("90s", 90_000),
            ("1m500ms", 60_500),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "10",
            "1d",
            "h",
            "-1s",
            "1.5h",
            "1h ",
            "99999999999999999999h",
            "9999999999h",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn flags_have_the_bounds_that_help_says() {
        assert!(sync_interval("1s").is_ok() && sync_interval("24h").is_ok());
        assert!(sync_interval("999ms").is_err() && sync_interval("24h1s").is_err());
        assert_eq!(abandon("never"), Ok(Abandon(None)));
        assert!(namespace("kube-system").is_ok() && namespace("Kube").is_err() && namespace("").is_err());
        assert!(endpoint("https://127.0.0.1:1/").is_ok() && endpoint("http://graph").is_err());
        assert!(plain_endpoint("http://127.0.0.1:1").is_ok() && plain_endpoint("https://127.0.0.1:1").is_err());
    }
}
