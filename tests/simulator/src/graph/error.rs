//! Graph's errors, and those that Intune nests inside of them (FACTS 3).

use serde_json::{Value, json};
use uuid::Uuid;

use crate::reply::Reply;

/// Why Graph refuses a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) message: Message,
    pub(crate) retry_after: Option<u64>,
}

/// How the sentence is wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// As it is.
    Plain(String),
    /// As it is, and again in `innerError`, as the model's validation does it (FACTS 3.5).
    Twice(String),
    /// Inside a JSON string with ids, a URL and a build that differ each time (FACTS 3.2).
    Intune { sentence: String, path: String },
}

impl Failure {
    pub(crate) fn plain(status: u16, code: &'static str, sentence: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: Message::Plain(sentence.into()),
            retry_after: None,
        }
    }

    pub(crate) fn model(sentence: impl Into<String>) -> Self {
        let message = Message::Twice(sentence.into());
        Self {
            status: 400,
            code: "ModelValidationFailure",
            message,
            retry_after: None,
        }
    }

    pub(crate) fn intune(status: u16, code: &'static str, sentence: impl Into<String>, path: &str) -> Self {
        let message = Message::Intune {
            sentence: sentence.into(),
            path: path.to_owned(),
        };
        Self {
            status,
            code,
            message,
            retry_after: None,
        }
    }

    pub(crate) fn token(sentence: &str) -> Self {
        Self::plain(401, "InvalidAuthenticationToken", sentence)
    }

    /// No such route: what Intune says to a wrong path or verb (FACTS 3.7).
    pub(crate) fn no_route(method: &str, template: &str, path: &str) -> Self {
        let sentence = format!(
            "No OData route exists that match template {template} with http verb {method} for request \
             /StatelessOnboardingService/{path}."
        );
        Self::plain(400, "No method match route template", sentence)
    }

    pub(crate) fn reply(&self, request_id: &str, client_request_id: &str) -> Reply {
        let date = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S").to_string();
        let mut inner = json!({ "date": date, "request-id": request_id, "client-request-id": client_request_id });
        let message = match &self.message {
            Message::Plain(sentence) => sentence.clone(),
            Message::Twice(sentence) => {
                if let Value::Object(inner) = &mut inner {
                    inner.insert("message".to_owned(), json!(sentence));
                }
                sentence.clone()
            }
            Message::Intune { sentence, path } => nested(sentence, path),
        };
        let body = json!({ "error": { "code": self.code, "message": message, "innerError": inner } });
        let mut reply = Reply::json(self.status, &body);
        if self.status == 401 {
            reply = reply.header("WWW-Authenticate", "Bearer realm=\"\"");
        }
        match self.retry_after {
            Some(seconds) => reply.header("Retry-After", seconds.to_string()),
            None => reply,
        }
    }
}

/// Intune's own error, as a string: indented, with an activity id, a host and a service build of the day.
pub(crate) fn nested(sentence: &str, path: &str) -> String {
    let activity = Uuid::new_v4();
    let unit = fastrandom(9) + 1;
    let build = 2501 + fastrandom(12);
    let version = format!("5025-{:02}-{:02}", fastrandom(12) + 1, fastrandom(28) + 1);
    let message = format!(
        "{sentence} - Operation ID (for customer support): 00000000-0000-0000-0000-000000000000 - Activity ID: \
         {activity} - Url: https://fef.msub{unit:02}.manage.microsoft.com/Onboarding_{build}/\
         StatelessOnboardingService/{path}?api-version={version}"
    );
    let message = Value::String(message);
    format!(
        "{{\r\n  \"_version\": 3,\r\n  \"Message\": {message},\r\n  \"CustomApiErrorPhrase\": \"\",\r\n  \
         \"RetryAfter\": null,\r\n  \"ErrorSourceService\": \"\",\r\n  \"HttpHeaders\": \"{{}}\"\r\n}}"
    )
}

/// A number below `bound`, of random bits.
fn fastrandom(bound: u16) -> u16 {
    let (bits, _) = Uuid::new_v4().as_u64_pair();
    u16::try_from(bits % u64::from(bound)).unwrap_or(0)
}
