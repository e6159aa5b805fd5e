//! One request to Graph at a time: addresses, headers, bounded bodies, paging. Decides nothing.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::{Method, StatusCode, Url, header};

use super::error::{Failure, FailureKind, classify};
use super::http::{MOST_SENT, is_broken, read_whole, without_url};
use super::json;
use super::model::{Page, Partner, Patch, Undecodable, decode_entity, decode_page};
use super::throttle::{Permit, usage};
use super::token::Token;
use crate::runtime::metrics::Metrics;
use crate::runtime::text;

/// The most that is read of an answer of Graph: 8 MiB.
pub const LARGEST_BODY: usize = 8 * 1024 * 1024;

/// The most pages of a list that are followed.
pub const MOST_PAGES: usize = 100;

const COLLECTION: [&str; 3] = ["v1.0", "deviceManagement", "complianceManagementPartners"];

/// One row of a listing.
pub type Row = Result<Partner, Undecodable>;

/// Graph of one cloud, or of a test's endpoint.
#[derive(Clone, Debug)]
pub struct GraphClient {
    http: reqwest::Client,
    root: Url,
    timeout: Duration,
    metrics: Metrics,
}

/// What Graph said to a change that it took.
#[derive(Debug)]
pub struct Taken {
    /// Graph's id of the request, for the audit line.
    pub request_id: Option<String>,
}

struct Answer {
    status: StatusCode,
    headers: header::HeaderMap,
    body: bytes::Bytes,
}

impl Answer {
    /// Graph's id of the request.
    fn request_id(&self) -> Option<String> {
        let id = self.headers.get("request-id")?.to_str().ok()?;
        text::request_id(id)
    }
}

impl GraphClient {
    /// A client for the Graph at `root`, which has no `/v1.0`. `timeout` bounds one request.
    #[must_use]
    pub fn new(http: reqwest::Client, root: Url, timeout: Duration, metrics: Metrics) -> Self {
        Self {
            http,
            root,
            timeout,
            metrics,
        }
    }

    /// Reads one page of the tenant's partners: the first one, or the one that a `@odata.nextLink` names.
    pub async fn page(&self, token: &Token, permit: Permit<'_>, next_link: Option<&str>) -> Result<Page, Failure> {
        let url = match next_link {
            None => self.address(None)?,
            Some(link) => self.same_origin(link)?,
        };
        let answer = self.send(Method::GET, url, token, permit, None).await?;
        decode_page(&answer.body).map_err(|why| Failure::unavailable(format!("Graph's answer cannot be read: {why}")))
    }

    /// Reads one partner.
    pub async fn get(&self, token: &Token, permit: Permit<'_>, id: &str) -> Result<Partner, Failure> {
        let url = self.address(Some(id))?;
        let answer = self.send(Method::GET, url, token, permit, None).await?;
        let partner = decode_entity(&answer.body).map_err(|row| Failure::unavailable(undecodable(&row)))?;
        if partner.id.eq_ignore_ascii_case(id) {
            Ok(partner)
        } else {
            Err(Failure::unavailable(
                "Graph answered with another object than the one that was asked for",
            ))
        }
    }

    /// Changes one partner. Any 2xx counts as taken, whatever its body; a body that is an error does not.
    pub async fn patch(&self, token: &Token, permit: Permit<'_>, id: &str, patch: &Patch) -> Result<Taken, Failure> {
        let url = self.address(Some(id))?;
        let answer = self.send(Method::PATCH, url, token, permit, Some(patch)).await?;
        let request_id = answer.request_id();
        let body = json::parse(&answer.body);
        let error = body.as_ref().and_then(|body| body.get("error"));
        if error.is_some_and(|error| !error.is_null()) {
            return Err(Failure {
                request_id,
                ..Failure::unavailable("Graph answered a change with success and an error in one")
            });
        }
        Ok(Taken { request_id })
    }

    fn address(&self, id: Option<&str>) -> Result<Url, Failure> {
        let mut url = self.root.clone();
        {
            let mut path = url
                .path_segments_mut()
                .map_err(|()| Failure::unavailable("The Graph endpoint is no address that paths can be added to"))?;
            path.pop_if_empty().extend(COLLECTION).extend(id);
        }
        // A segment of dots would be resolved away, and the request would go to the collection.
        let segments = url.path_segments().map_or(0, Iterator::count);
        let expected = self
            .root
            .path_segments()
            .map_or(0, |path| path.filter(|part| !part.is_empty()).count());
        if segments == expected + COLLECTION.len() + usize::from(id.is_some()) {
            Ok(url)
        } else {
            Err(Failure::unavailable("The id of the object cannot stand in an address"))
        }
    }

    /// A link to the next page carries the token to wherever it points: only to where the token is for.
    fn same_origin(&self, link: &str) -> Result<Url, Failure> {
        match Url::parse(link) {
            Ok(url) if url.origin() == self.root.origin() => Ok(url),
            _ => Err(Failure::unavailable(
                "Graph's link to the next page leads to another host, and was not followed",
            )),
        }
    }

    /// Sends a request, and gives its answer where that is a success. The permit is gone, and the request counts as ended,
    /// when this returns.
    ///
    /// A pooled connection that the server has closed meanwhile is no trouble of Graph's. Reads are sent again at once; a
    /// change may have been done, and whoever asked for it reads before it is sent again.
    async fn send(
        &self,
        method: Method,
        url: Url,
        token: &Token,
        mut permit: Permit<'_>,
        patch: Option<&Patch>,
    ) -> Result<Answer, Failure> {
        let mut sent = 1;
        loop {
            let failure = match self.attempt(&method, &url, token, &permit, patch).await {
                Err(failure) if failure.kind == FailureKind::Lost && method == Method::GET && sent < MOST_SENT => {
                    failure
                }
                result => return result,
            };
            sent += 1;
            // Where Microsoft has asked for a pause meanwhile, the next one who asks is told.
            permit = permit.again().await.map_err(|_| failure)?;
        }
    }

    async fn attempt(
        &self,
        method: &Method,
        url: &Url,
        token: &Token,
        permit: &Permit<'_>,
        patch: Option<&Patch>,
    ) -> Result<Answer, Failure> {
        let client_request_id = uuid::Uuid::new_v4().to_string();
        let mut authorization = header::HeaderValue::from_str(&format!("Bearer {}", token.secret()))
            .map_err(|_| Failure::unavailable("Entra's token has characters that no header may hold"))?;
        authorization.set_sensitive(true);
        let mut request = self
            .http
            .request(method.clone(), url.clone())
            .timeout(self.timeout)
            .header(header::AUTHORIZATION, authorization)
            .header(header::ACCEPT, "application/json")
            .header("client-request-id", &client_request_id);
        if let Some(patch) = patch {
            request = request.json(&patch.to_json());
        }
        let began = Instant::now();
        let answer = read(request, self.timeout).await;
        if let Some(usage) = answer.as_ref().ok().and_then(|answer| usage(&answer.headers)) {
            permit.heed(usage);
        }
        let elapsed = began.elapsed();
        let status = answer.as_ref().map(|answer| answer.status.as_u16()).ok();
        self.metrics.graph_request(method.as_str(), status, elapsed);
        // A link to the next page is as long as Graph likes.
        let address = text::clean(url.path(), 512);
        let request_id = answer.as_ref().ok().and_then(Answer::request_id);
        let elapsed_ms = elapsed.as_millis();
        tracing::debug!(%method, path = address, status, client_request_id, request_id, elapsed_ms, "graph request");
        let answer = answer?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let said = without_token(&answer.body, token);
        let failure = classify(answer.status.as_u16(), &answer.headers, &said, Timestamp::now());
        // No condition holds the ids that Microsoft's support asks for: they are told at the level that is the default.
        let (code, request_id) = (failure.code.as_str(), failure.request_id.as_deref());
        tracing::info!(%method, path = address, status, code, client_request_id, request_id, "Graph refused a request");
        Err(failure)
    }
}

/// A refusal's body less the token, which some services repeat in their sentence. A token may look like any word, so
/// that nobody further on could tell.
fn without_token<'a>(body: &'a [u8], token: &Token) -> Cow<'a, [u8]> {
    let token = token.secret();
    let text = String::from_utf8_lossy(body);
    if !token.is_empty() && text.contains(token) {
        Cow::Owned(text.replace(token, "\u{2026}").into_bytes())
    } else {
        Cow::Borrowed(body)
    }
}

async fn read(request: reqwest::RequestBuilder, limit: Duration) -> Result<Answer, Failure> {
    let began = Instant::now();
    let answer = read_whole(request, LARGEST_BODY).await;
    let (response, body) = answer.map_err(|error| transport(&error, began.elapsed(), limit))?;
    Ok(Answer {
        status: response.status(),
        headers: response.headers().clone(),
        body: body.ok_or_else(|| Failure::unavailable("Graph's answer is larger than 8 MiB"))?,
    })
}

/// A stable sentence for trouble on the way. The library's own text names addresses and system errors.
fn transport(error: &reqwest::Error, elapsed: Duration, limit: Duration) -> Failure {
    let detail = text::clean(&without_url(error), 256);
    tracing::debug!(error = detail, "no answer of Graph");
    if is_broken(error, elapsed, limit) {
        Failure::lost("The connection to Graph broke before the answer was whole")
    } else if error.is_connect() {
        Failure::unavailable(
            "Graph cannot be reached: check the network, the proxy and the CA certificates of the operator",
        )
    } else {
        Failure::unavailable("Graph did not answer in time")
    }
}

/// What is said of a row that cannot be read.
#[must_use]
pub fn undecodable(row: &Undecodable) -> String {
    format!("Graph's answer for this object cannot be read: {}", row.why)
}
