//! An error's body: Graph's envelope, and Intune's errors inside of it, which come as JSON in a string, once or twice.

use serde_json::{Map, Value as Json};

use super::super::json;

/// Largest body that is looked at, in bytes. An error has some hundreds; what is larger is some other page.
const BODY_BYTES: usize = 256 * 1024;

/// How many layers are opened, an object being one and a text that may hold the next another. Intune has been seen to
/// put an error in an error in Graph's envelope, which makes seven.
const LAYERS: usize = 12;

/// What an error says, in whatever layer it says so.
#[derive(Debug, Default)]
pub(super) struct Envelope {
    /// The error codes, outermost first.
    codes: Vec<String>,
    /// The innermost sentence, as it was written.
    pub(super) message: Option<String>,
    /// Intune's own `RetryAfter`.
    pub(super) retry_after: Option<String>,
    /// The id of the request.
    pub(super) request_id: Option<String>,
}

impl Envelope {
    /// Reads a body. One that is no JSON, such as a gateway's page, says nothing.
    pub(super) fn read(body: &[u8]) -> Self {
        let mut envelope = Self::default();
        if body.len() <= BODY_BYTES
            && let Some(body @ Json::Object(_)) = json::parse(body)
        {
            envelope.open(&body, LAYERS);
        }
        envelope
    }

    /// The outermost code that says anything; empty where none does.
    pub(super) fn code(&self) -> &str {
        let telling = self
            .codes
            .iter()
            .find(|code| !matches!(code.as_str(), "UnknownError" | "Unknown"));
        telling.or(self.codes.first()).map_or("", String::as_str)
    }

    /// Whether it says nothing at all.
    pub(super) fn is_silent(&self) -> bool {
        self.codes.is_empty() && self.message.is_none()
    }

    /// Whether any layer has this code.
    pub(super) fn has_code(&self, code: &str) -> bool {
        self.codes.iter().any(|own| own == code)
    }

    /// Whether the sentence holds this phrase, which is given in lower case.
    pub(super) fn says(&self, phrase: &str) -> bool {
        self.message
            .as_ref()
            .is_some_and(|message| message.to_ascii_lowercase().contains(phrase))
    }

    fn open(&mut self, error: &Json, layers: usize) {
        let Some(layers) = layers.checked_sub(1) else { return };
        match error {
            Json::Object(members) => self.open_members(members, layers),
            Json::String(text) => self.open_text(text, layers),
            _ => {}
        }
    }

    fn open_members(&mut self, members: &Map<String, Json>, layers: usize) {
        match member(members, &["error", "odata.error"]) {
            Some(error @ Json::Object(_)) => return self.open(error, layers),
            // OAuth's shape, which gateways in front of Graph use as well.
            Some(Json::String(code)) => self.codes.push(code.clone()),
            _ => {}
        }
        if let Some(Json::String(code)) = member(members, &["code", "errorcode"])
            && !code.is_empty()
        {
            self.codes.push(code.clone());
        }
        match member(members, &["retryafter"]) {
            Some(Json::String(wait)) => self.retry_after = Some(wait.clone()),
            Some(Json::Number(wait)) => self.retry_after = Some(wait.to_string()),
            _ => {}
        }
        if let Some(Json::String(id)) = member(members, &["request-id", "requestid"]) {
            self.request_id = Some(id.clone());
        }
        match member(members, &["message", "error_description"]) {
            // OData's older shape: a text with its language.
            Some(Json::Object(message)) => member(message, &["value"])
                .into_iter()
                .for_each(|text| self.open(text, layers)),
            Some(message) => self.open(message, layers),
            None => {}
        }
        // Both are read for the ids, and for a sentence where there was none up to here.
        let details = member(members, &["details"])
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
            .take(1);
        for inner in details.chain(member(members, &["innererror"])) {
            let sentence = self.message.take();
            let codes = self.codes.len();
            self.open(inner, layers);
            if sentence.is_some() {
                self.message = sentence;
                self.codes.truncate(codes);
            }
        }
    }

    fn open_text(&mut self, text: &str, layers: usize) {
        let text: String = text
            .chars()
            .map(|character| if character.is_control() { ' ' } else { character })
            .collect();
        let text = text.trim();
        if text.starts_with(['{', '"'])
            && let Some(error) = json::parse_text(text)
        {
            return self.open(&error, layers);
        }
        if text.starts_with('{') {
            // Graph cuts long texts: what is left of the sentence can still be read.
            if let Some(rest) = cut_message(text) {
                self.open(&Json::String(rest), layers);
            }
            return;
        }
        // A gateway's page in an error's clothes.
        if !text.is_empty() && !text.starts_with('<') {
            self.message = Some(text.to_owned());
        }
    }
}

/// The first member with one of these names, which are given in lower case.
fn member<'a>(members: &'a Map<String, Json>, names: &[&str]) -> Option<&'a Json> {
    members
        .iter()
        .find(|(name, _)| names.iter().any(|known| name.eq_ignore_ascii_case(known)))
        .map(|(_, value)| value)
}

/// The text of `"Message"` in JSON that ends too early.
fn cut_message(text: &str) -> Option<String> {
    const NAME: &str = "\"message\"";
    let start = text.to_ascii_lowercase().find(NAME)? + NAME.len();
    let quoted = text
        .get(start..)?
        .trim_start()
        .strip_prefix(':')?
        .trim_start()
        .strip_prefix('"')?;
    let mut escaped = false;
    let end = quoted.find(|character| {
        let ends = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        ends
    });
    let quoted = quoted.get(..end.unwrap_or(quoted.len()))?;
    // The cut may have gone through an escape.
    let whole = quoted.trim_end_matches('\\');
    Some(serde_json::from_str(&format!("\"{whole}\"")).unwrap_or_else(|_| whole.to_owned()))
}
