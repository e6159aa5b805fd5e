//! The log of all requests, and the list of what a client did wrong without being refused for it.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::script::Server;

/// One request as the simulator saw it. Credentials are kept as digests, never as they were.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Number of the request, counted over all services, from 1.
    pub seq: u64,
    /// When it came, RFC 3339.
    pub time: String,
    /// Milliseconds since the simulator started, by a clock that never jumps.
    pub at_millis: u64,
    /// The same in microseconds.
    pub at_micros: u64,
    /// Which service it came to.
    pub server: Server,
    /// The method.
    pub method: String,
    /// The path as it stood in the request line, still encoded.
    pub path: String,
    /// The query as it stood, without its question mark.
    pub query: Option<String>,
    /// Headers, names in lower case; the value of `authorization` is a digest.
    pub headers: Vec<(String, String)>,
    /// The digest of the `Authorization` header.
    pub authorization: Option<String>,
    /// The number of the access token it carried, if it is one of ours.
    pub token: Option<u64>,
    /// The number of the access token it was answered with.
    pub issued_token: Option<u64>,
    /// The tenant: of the path at Entra, of the token at Graph, of the identity at the metadata service.
    pub tenant: Option<String>,
    /// The app: of the form at Entra, of the token at Graph, of the identity at the metadata service.
    pub client_id: Option<String>,
    /// The body: JSON as it was; a form as an object with `client_secret` and `client_assertion` as digests.
    pub body: Option<Value>,
    /// Header and claims of the form's assertion, where it is a JWT. They are not secret; the signature is left out.
    pub client_assertion: Option<Value>,
    /// Status that was answered; absent while there is no answer, and for good where none was given.
    pub status: Option<u16>,
    /// Whether the client went away, or the connection was reset, before the answer.
    pub aborted: bool,
    /// Number of the rule that took it.
    pub script: Option<u64>,
    /// Number of the connection, counted over all services.
    pub connection: u64,
    /// `1.1` or `2`.
    pub http_version: String,
    /// Requests of this service in flight as it came, itself among them.
    pub in_flight: u64,
    /// The `request-id` that Graph answered with.
    pub request_id: String,
    /// How long the answer took, in milliseconds.
    pub duration_millis: Option<u64>,
    /// The same in microseconds.
    pub duration_micros: Option<u64>,
}

impl Request {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Whether it came to Graph.
    #[must_use]
    pub fn is_graph(&self) -> bool {
        self.server == Server::Graph
    }

    /// Whether it is a request for a token.
    #[must_use]
    pub fn is_token(&self) -> bool {
        self.server == Server::Entra && self.method == "POST"
    }

    /// Whether it came to the metadata service.
    #[must_use]
    pub fn is_metadata(&self) -> bool {
        self.server == Server::Metadata
    }

    /// The assertion that a token request carried: `{"header": …, "claims": …}`.
    #[must_use]
    pub fn assertion(&self) -> Option<Value> {
        self.client_assertion.clone()
    }

    /// Whether it is a PATCH to Graph.
    #[must_use]
    pub fn is_patch(&self) -> bool {
        self.is_graph() && self.method == "PATCH"
    }

    /// Whether it lists the collection (any page of it).
    #[must_use]
    pub fn is_list(&self) -> bool {
        self.is_graph() && self.method == "GET" && self.path.ends_with("/complianceManagementPartners")
    }

    /// Whether it reads one row.
    #[must_use]
    pub fn is_get(&self) -> bool {
        self.is_graph() && self.method == "GET" && self.path.contains("/complianceManagementPartners/")
    }

    /// Names of the properties in the body, annotations left out, sorted.
    #[must_use]
    pub fn properties(&self) -> Vec<&str> {
        let mut names: Vec<&str> = match &self.body {
            Some(Value::Object(body)) => body
                .keys()
                .map(String::as_str)
                .filter(|name| !name.contains('@'))
                .collect(),
            _ => Vec::new(),
        };
        names.sort_unstable();
        names
    }
}

/// Something a right client never does, whatever it was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Violation {
    /// The request's number.
    pub seq: u64,
    /// A word per kind, for tests.
    pub kind: ViolationKind,
    /// What it was about, for people.
    pub detail: String,
}

/// The kinds of [`Violation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ViolationKind {
    /// A PATCH that sends a property that belongs to the service.
    ServiceOwnedProperty,
    /// A PATCH that sends `null` for a list, a flag or a target.
    NullValue,
    /// A PATCH of a property that has this very value already.
    UnchangedProperty,
    /// A PATCH that sends no property at all.
    EmptyPatch,
    /// No `@odata.type` on root, assignment or target.
    MissingODataType,
    /// No `client-request-id`, or one that is no GUID.
    MissingClientRequestId,
    /// A `client-request-id` that another request had before.
    RepeatedClientRequestId,
    /// No `User-Agent`.
    MissingUserAgent,
    /// A method that nobody should use here.
    UnexpectedMethod,
    /// A path that is none of ours.
    UnexpectedPath,
    /// A query option that is none of ours, or a page address that the simulator never gave out.
    UnexpectedQuery,
    /// A body that is not what `Content-Type` or the path call for.
    UnexpectedBody,
    /// A credential where it does not belong.
    MisplacedCredential,
    /// An assertion of a certificate's that is not signed with PS256, or does not name the certificate by `x5t#S256`.
    WeakAssertion,
    /// An assertion of a certificate's that is good for more than ten minutes.
    LongAssertion,
    /// An assertion of a certificate's without `jti`.
    MissingAssertionId,
    /// A request to the metadata service without `Metadata: true`.
    MissingMetadataHeader,
    /// A request to the metadata service that went through a proxy.
    ForwardedMetadata,
}

/// Digests with a key of this simulator: equal within one run, of no use outside.
#[derive(Default)]
pub(crate) struct Digests(RandomState);

impl Digests {
    pub(crate) fn of(&self, secret: &[u8]) -> String {
        format!("digest:{:016x}", self.0.hash_one(secret))
    }
}

/// The log: bounded, the oldest first.
pub(crate) struct Log {
    requests: VecDeque<Request>,
    capacity: usize,
    bytes: usize,
    last_seq: u64,
}

/// Headers and bodies in the log, all together.
const BYTES: usize = 64 << 20;

/// About how much memory an entry takes.
fn weight(request: &Request) -> usize {
    let headers: usize = request
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len() + 48)
        .sum();
    let body = request.body.as_ref().map_or(0, body_weight);
    let assertion = request.client_assertion.as_ref().map_or(0, body_weight);
    512 + headers + request.path.len() + request.query.as_ref().map_or(0, String::len) + body + assertion
}

fn body_weight(value: &Value) -> usize {
    match value {
        Value::String(text) => 32 + text.len(),
        Value::Array(elements) => 32 + elements.iter().map(body_weight).sum::<usize>(),
        Value::Object(object) => object
            .iter()
            .map(|(name, value)| 96 + name.len() + body_weight(value))
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 32,
    }
}

impl Log {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            requests: VecDeque::new(),
            capacity: capacity.max(1),
            bytes: 0,
            last_seq: 0,
        }
    }

    pub(crate) fn push(&mut self, mut request: Request) -> u64 {
        self.last_seq += 1;
        request.seq = self.last_seq;
        self.bytes += weight(&request);
        self.requests.push_back(request);
        while self.requests.len() > self.capacity || (self.bytes > BYTES && self.requests.len() > 1) {
            let gone = self.requests.pop_front();
            self.bytes = self.bytes.saturating_sub(gone.as_ref().map_or(0, weight));
        }
        self.last_seq
    }

    pub(crate) fn last_seq(&self) -> u64 {
        self.last_seq
    }

    pub(crate) fn entry(&mut self, seq: u64) -> Option<&mut Request> {
        let first = self.requests.front()?.seq;
        let offset = usize::try_from(seq.checked_sub(first)?).ok()?;
        self.requests.get_mut(offset).filter(|request| request.seq == seq)
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Request> {
        self.requests.iter()
    }

    pub(crate) fn clear(&mut self) {
        self.requests.clear();
        self.bytes = 0;
    }
}
