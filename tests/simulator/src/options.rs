//! What a test or a demo may choose before the simulator starts.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// How an access token looks to the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenStyle {
    /// `header.payload.signature` with `tid`, `appid`, `roles`, `aud` and `exp` in the payload.
    #[default]
    Jwt,
    /// A random word. The access token is opaque by contract, so a client has to live with it.
    Opaque,
}

/// What a PATCH that sends `id`, `partnerState` or `lastHeartbeatDateTime` gets. It is a violation either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceOwned {
    /// 400: a client that sends them fails its test.
    #[default]
    Refuse,
    /// What the documents show: taken like any other property.
    Accept,
}

/// What carries its `@odata.type` in an answer (FACTS 2.10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Annotations {
    /// Targets alone.
    #[default]
    Minimal,
    /// Entities and assignments too, as Microsoft's `OpenAPI` requires.
    Full,
}

/// What the published limits of Intune do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Throttling {
    /// The peak of each window is kept and can be read.
    #[default]
    Count,
    /// And a request over the limit is answered 429 with `Retry-After`.
    Enforce,
}

/// The options of [`Simulator::start`](crate::Simulator::start).
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "switches, each by itself")]
pub struct Options {
    /// Where it listens: 127.0.0.1, or an address of this machine that pods reach. The control interface, which asks nobody
    /// who he is, is at 127.0.0.1 always.
    pub address: IpAddr,
    /// Port of Graph; 0 takes a free one.
    pub graph_port: u16,
    /// Port of Entra; 0 takes a free one.
    pub entra_port: u16,
    /// Port of the plain control interface; 0 takes a free one.
    pub control_port: u16,
    /// Port of the metadata service (plain HTTP); 0 takes a free one.
    pub metadata_port: u16,
    /// The root of Graph that tokens, scopes and pages name, such as `https://graph.microsoft.us` or the address of a
    /// proxy in front; absent: where Graph listens. A slash at its end does not count.
    pub public_graph: Option<String>,
    /// The authority that issuers and the audience of assertions name; absent: where Entra listens. A slash at its end
    /// does not count.
    pub public_authority: Option<String>,
    /// Rows on a page of a listing.
    pub page_size: usize,
    /// How long every answer of Graph takes.
    pub graph_delay: Duration,
    /// `expires_in` of a token, in seconds.
    pub expires_in: u64,
    /// How tokens look.
    pub token_style: TokenStyle,
    /// Whether HTTP/2 is offered beside HTTP/1.1.
    pub http2: bool,
    /// How many requests (and how many violations) are remembered; the oldest go first.
    pub log_capacity: usize,
    /// What becomes of properties that belong to the service.
    pub service_owned: ServiceOwned,
    /// Whether the limits are enforced.
    pub throttling: Throttling,
    /// Whether Graph tells how much of a limit is used (`x-ms-throttle-limit-percentage`, from 0.8 up), and with a 429
    /// which limit it was (`x-ms-throttle-scope`).
    pub throttle_headers: bool,
    /// Whether `/complianceManagementPartners/{id}` finds its row in any letter case.
    pub ids_ignore_case: bool,
    /// Whether a written list comes back in another order and with group ids in lower case.
    pub reorder_assignments: bool,
    /// Who carries an `@odata.type`.
    pub annotations: Annotations,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            graph_port: 0,
            entra_port: 0,
            control_port: 0,
            metadata_port: 0,
            public_graph: None,
            public_authority: None,
            page_size: 100,
            graph_delay: Duration::ZERO,
            expires_in: 3599,
            token_style: TokenStyle::default(),
            http2: true,
            log_capacity: 20_000,
            service_owned: ServiceOwned::default(),
            throttling: Throttling::default(),
            throttle_headers: false,
            ids_ignore_case: true,
            reorder_assignments: false,
            annotations: Annotations::default(),
        }
    }
}
