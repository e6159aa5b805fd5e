//! An OAuth error as Entra words it (FACTS 5.2).

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::incoming::Incoming;
use crate::model::is_guid;
use crate::reply::Reply;
use crate::world::Endpoints;

/// Why no token is issued.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(super) status: u16,
    pub(super) error: &'static str,
    pub(super) code: u64,
    pub(super) sentence: String,
}

impl Refusal {
    pub(super) fn new(status: u16, error: &'static str, code: u64, sentence: impl Into<String>) -> Self {
        Self {
            status,
            error,
            code,
            sentence: sentence.into(),
        }
    }

    /// 401 `invalid_client`: the proof is not good.
    pub(super) fn client(code: u64, sentence: impl Into<String>) -> Self {
        Self::new(401, "invalid_client", code, sentence)
    }

    /// 400 `invalid_request`
    pub(super) fn request(code: u64, sentence: impl Into<String>) -> Self {
        Self::new(400, "invalid_request", code, sentence)
    }

    pub(super) fn missing(parameter: &str) -> Self {
        let sentence = format!("The request body must contain the following parameter: '{parameter}'.");
        Self::request(900_144, sentence)
    }

    /// The code and the sentence, as `error_description` begins.
    pub(crate) fn described(&self) -> String {
        format!("AADSTS{}: {}", self.code, self.sentence)
    }

    /// OAuth's word for it.
    pub(crate) fn word(&self) -> &'static str {
        self.error
    }

    pub(super) fn reply(&self, endpoints: &Endpoints, now: Timestamp, request: &Incoming) -> Reply {
        let trace = Uuid::new_v4().to_string();
        let correlation = match request.header("client-request-id") {
            Some(id) if is_guid(id) => id.to_owned(),
            _ => Uuid::new_v4().to_string(),
        };
        let timestamp = now.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
        let (code, described) = (self.code, self.described());
        let body: Value = json!({
            "error": self.error,
            "error_description": format!(
                "{described} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {timestamp}"
            ),
            "error_codes": [code],
            "timestamp": timestamp,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": format!("{}/error?code={code}", endpoints.public_authority),
        });
        Reply::json(self.status, &body)
    }
}
