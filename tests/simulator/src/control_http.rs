//! The control interface over plain HTTP: JSON in, JSON out. See the README for the routes.

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::SignedDuration;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::control::Control;
use crate::entra::is_readable;
use crate::incoming::{form_pairs, percent_decode};
use crate::log;
use crate::options::TokenStyle;
use crate::rows::IgnoreWrites;
use crate::script::{Script, Server};
use crate::world::{App, FederatedCredential};

const BODY_LIMIT: usize = 16 << 20;

/// Accepts for ever.
pub(crate) async fn serve(listener: TcpListener, control: Control) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let control = control.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| handle(control.clone(), request));
            // The client went away: nobody is left to tell.
            drop(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer)
                    .await,
            );
        });
    }
}

/// Why a request of the control interface is refused.
enum Refusal {
    /// 404
    Missing(String),
    /// 400
    Wrong(String),
    /// 408
    Late(String),
}

type Outcome = Result<Value, Refusal>;

async fn handle(control: Control, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    if path == "/ca.pem" {
        return Ok(Response::new(Full::from(control.ca_pem().to_owned())));
    }
    let query = form_pairs(parts.uri.query().unwrap_or_default().as_bytes());
    let segments: Option<Vec<String>> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(percent_decode)
        .collect();
    let outcome = match (segments, Limited::new(body, BODY_LIMIT).collect().await) {
        (Some(segments), Ok(body)) => {
            let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
            dispatch(&control, parts.method.as_str(), &segments, &query, &body.to_bytes()).await
        }
        _ => Err(Refusal::Wrong("the path or the body cannot be read".to_owned())),
    };
    let (status, body) = match outcome {
        Ok(value) => (StatusCode::OK, value),
        Err(Refusal::Missing(message)) => (StatusCode::NOT_FOUND, json!({ "error": message })),
        Err(Refusal::Wrong(message)) => (StatusCode::BAD_REQUEST, json!({ "error": message })),
        Err(Refusal::Late(message)) => (StatusCode::REQUEST_TIMEOUT, json!({ "error": message })),
    };
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
    Ok(response)
}

async fn dispatch(
    control: &Control,
    method: &str,
    segments: &[&str],
    query: &[(String, String)],
    body: &[u8],
) -> Outcome {
    match (method, segments) {
        ("GET", []) => show(&control.endpoints()),
        ("GET", ["healthz"]) => done(),
        ("PUT", ["settings"]) => settings(control, &parse(body)?),
        (_, ["tenants", tenant, rest @ ..]) => tenant_routes(control, method, tenant, rest, body),
        ("POST", ["scripts"]) => Ok(json!({ "id": control.script(parse::<Script>(body)?) })),
        ("GET", ["scripts"]) => show(&control.scripts()),
        ("DELETE", ["scripts"]) => {
            control.clear_scripts();
            done()
        }
        ("DELETE", ["scripts", id]) => {
            let id = number(id)?;
            if control.remove_script(id) {
                done()
            } else {
                Err(Refusal::Missing(format!("no script {id}")))
            }
        }
        ("GET", ["requests"]) => {
            let filter = Filter::from_query(query)?;
            show(&control.requests_where(|request| filter.matches(request)))
        }
        ("GET", ["requests", "wait"]) => wait(control, query).await,
        ("DELETE", ["requests"]) => {
            control.clear_log();
            done()
        }
        (_, ["issuers" | "identities"]) => trust_routes(control, method, segments, body),
        ("GET", ["in-flight"]) => show(&control.in_flight()),
        ("GET", ["violations"]) => show(&control.violations()),
        ("DELETE", ["violations"]) => {
            control.clear_violations();
            done()
        }
        ("GET", ["throttle"]) => show(&control.throttle_peaks()),
        ("GET", ["limit-violations"]) => Ok(json!({
            "count": control.limit_violations(),
            "byScope": control.limit_violations_by_scope(),
        })),
        ("DELETE", ["throttle"]) => {
            control.clear_throttle();
            done()
        }
        _ => Err(Refusal::Missing(format!("no route {method} /{}", segments.join("/")))),
    }
}

/// Whom Entra trusts besides, and who the node is.
fn trust_routes(control: &Control, method: &str, segments: &[&str], body: &[u8]) -> Outcome {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Issuer {
        issuer: String,
        jwks: Option<Value>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Identity {
        tenant: String,
        client_id: String,
        #[serde(default)]
        system_assigned: bool,
    }
    match (method, segments) {
        ("PUT", ["issuers"]) => {
            let new: Issuer = parse(body)?;
            match new.jwks {
                Some(jwks) => control
                    .set_issuer(&new.issuer, jwks)
                    .map_err(|error| Refusal::Wrong(error.to_string()))?,
                None => drop(control.remove_issuer(&new.issuer)),
            }
            done()
        }
        ("PUT", ["identities"]) => {
            let new: Identity = parse(body)?;
            found(control.assign_identity(&new.tenant, &new.client_id, new.system_assigned))
        }
        ("DELETE", ["identities"]) => {
            control.clear_identities();
            done()
        }
        _ => Err(Refusal::Missing(format!("no route {method} /{}", segments.join("/")))),
    }
}

fn tenant_routes(control: &Control, method: &str, tenant: &str, rest: &[&str], body: &[u8]) -> Outcome {
    match (method, rest) {
        ("PUT", []) => {
            control.add_tenant(tenant);
            done()
        }
        ("DELETE", []) => found(control.remove_tenant(tenant)),
        ("DELETE", ["tokens"]) => Ok(json!({ "revoked": control.revoke_tokens(tenant, None) })),
        (_, ["apps", client_id, rest @ ..]) => app_routes(control, method, (tenant, client_id), rest, body),
        ("GET", ["rows"]) => show(&control.rows(tenant)),
        ("POST", ["rows"]) => {
            control
                .seed_row(tenant, parse(body)?)
                .map_err(|error| Refusal::Wrong(error.to_string()))?;
            done()
        }
        (_, ["rows", id, rest @ ..]) => row_routes(control, method, (tenant, id), rest, body),
        _ => Err(Refusal::Missing(format!(
            "no route {method} /tenants/{tenant}/{}",
            rest.join("/")
        ))),
    }
}

fn app_routes(control: &Control, method: &str, (tenant, id): (&str, &str), rest: &[&str], body: &[u8]) -> Outcome {
    match (method, rest) {
        ("PUT", []) => {
            control.add_app(tenant, id, parse::<App>(body)?);
            done()
        }
        ("DELETE", []) => found(control.remove_app(tenant, id)),
        ("PUT", ["secrets"]) => found(control.set_secrets(tenant, id, parse(body)?)),
        ("PUT", ["certificates"]) => {
            let texts: Vec<String> = parse(body)?;
            if !texts.iter().all(|pem| is_readable(pem)) {
                return Err(Refusal::Wrong("a text holds no certificate".to_owned()));
            }
            found(control.set_certificates(tenant, id, texts))
        }
        ("PUT", ["federated"]) => found(control.set_federated(tenant, id, parse::<Vec<FederatedCredential>>(body)?)),
        ("PUT", ["roles"]) => found(control.set_roles(tenant, id, parse::<Vec<String>>(body)?)),
        ("POST", ["tokens"]) => {
            #[derive(Deserialize, Default)]
            struct Wanted {
                audience: Option<String>,
            }
            let wanted: Wanted = if body.is_empty() {
                Wanted::default()
            } else {
                parse(body)?
            };
            Ok(json!({ "token": control.issue_token(tenant, id, wanted.audience.as_deref()) }))
        }
        ("DELETE", ["tokens"]) => Ok(json!({ "revoked": control.revoke_tokens(tenant, Some(id)) })),
        _ => Err(Refusal::Missing(format!(
            "no route {method} /tenants/{tenant}/apps/{id}/{}",
            rest.join("/")
        ))),
    }
}

fn row_routes(control: &Control, method: &str, (tenant, id): (&str, &str), rest: &[&str], body: &[u8]) -> Outcome {
    match (method, rest) {
        ("GET", []) => control
            .row(tenant, id)
            .ok_or_else(|| Refusal::Missing(format!("no row {id}"))),
        ("PUT", []) => {
            control.seed_row_as(tenant, id, parse(body)?);
            done()
        }
        ("PATCH", []) => found(control.change_row(tenant, id, parse(body)?)),
        ("DELETE", []) => found(control.delete_row(tenant, id)),
        ("PUT", ["ignore-writes"]) => found(control.ignore_writes(tenant, id, parse::<IgnoreWrites>(body)?)),
        ("DELETE", ["ignore-writes"]) => found(control.heed_writes(tenant, id)),
        _ => Err(Refusal::Missing(format!(
            "no route {method} /tenants/{tenant}/rows/{id}/{}",
            rest.join("/")
        ))),
    }
}

/// What `PUT /settings` may set; what is absent stays.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewSettings {
    graph_delay_millis: Option<u64>,
    page_size: Option<usize>,
    expires_in: Option<u64>,
    opaque_tokens: Option<bool>,
    clock_offset_seconds: Option<i64>,
}

fn settings(control: &Control, new: &NewSettings) -> Outcome {
    if let Some(millis) = new.graph_delay_millis {
        control.set_graph_delay(Duration::from_millis(millis));
    }
    if let Some(rows) = new.page_size {
        control.set_page_size(rows);
    }
    if let Some(seconds) = new.expires_in {
        control.set_expires_in(seconds);
    }
    if let Some(seconds) = new.clock_offset_seconds {
        control.set_clock(SignedDuration::from_secs(seconds));
    }
    if let Some(opaque) = new.opaque_tokens {
        control.set_token_style(if opaque { TokenStyle::Opaque } else { TokenStyle::Jwt });
    }
    done()
}

/// Which requests are meant.
#[derive(Default)]
struct Filter {
    server: Option<Server>,
    method: Option<String>,
    path: Option<String>,
    tenant: Option<String>,
    after: u64,
    status: Option<u16>,
}

impl Filter {
    fn from_query(query: &[(String, String)]) -> Result<Self, Refusal> {
        let mut filter = Self::default();
        for (name, value) in query {
            match name.as_str() {
                "server" if value == "graph" => filter.server = Some(Server::Graph),
                "server" if value == "entra" => filter.server = Some(Server::Entra),
                "server" if value == "metadata" => filter.server = Some(Server::Metadata),
                "method" => filter.method = Some(value.clone()),
                "path" => filter.path = Some(value.clone()),
                "tenant" => filter.tenant = Some(value.clone()),
                "after" => filter.after = number(value)?,
                "status" => filter.status = Some(number(value)?),
                "count" | "timeoutMillis" => {}
                _ => return Err(Refusal::Wrong(format!("{name}={value} is no filter"))),
            }
        }
        Ok(filter)
    }

    fn matches(&self, request: &log::Request) -> bool {
        self.server.is_none_or(|server| server == request.server)
            && self
                .method
                .as_ref()
                .is_none_or(|method| method.eq_ignore_ascii_case(&request.method))
            && self
                .path
                .as_ref()
                .is_none_or(|path| request.path.contains(path.as_str()))
            && self
                .tenant
                .as_ref()
                .is_none_or(|tenant| request.tenant.as_ref() == Some(tenant))
            && self.status.is_none_or(|status| request.status == Some(status))
            && request.seq > self.after
    }
}

async fn wait(control: &Control, query: &[(String, String)]) -> Outcome {
    let filter = Filter::from_query(query)?;
    let field = |name: &str| {
        query
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    };
    let count = field("count").map_or(Ok(1), number)?;
    let timeout = Duration::from_millis(field("timeoutMillis").map_or(Ok(10_000), number)?);
    let found = control
        .wait_for_requests(move |request| filter.matches(request), count, timeout)
        .await;
    show(&found.map_err(|error| Refusal::Late(error.to_string()))?)
}

#[allow(clippy::unnecessary_wraps, reason = "it stands where outcomes stand")]
fn done() -> Outcome {
    Ok(json!({}))
}

fn show(value: &impl Serialize) -> Outcome {
    serde_json::to_value(value).map_err(|error| Refusal::Wrong(error.to_string()))
}

fn found(result: anyhow::Result<()>) -> Outcome {
    result.map_err(|error| Refusal::Missing(error.to_string()))?;
    done()
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::Wrong(error.to_string()))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|_| Refusal::Wrong(format!("{text} is no number")))
}
