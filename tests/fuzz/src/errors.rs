//! Refusals: of Graph, of Entra, and how long they ask to be left alone.

use std::time::Duration;

use compliance_partner_operator::graph::error::{
    Failure, FailureKind, TokenFailure, TokenFailureKind, classify, classify_token, retry_after as wait_of,
};
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};

use crate::input::cut;
use crate::is_fit;

/// The longest wait that is told: a year.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// 2026-11-25T10:00:00Z: an input means the same whenever it is run.
pub(crate) const NOW: Timestamp = Timestamp::constant(1_795_600_800, 0);

/// Two ids that differ in each of their digits and letters, and in nothing else.
const IDS: [&str; 2] = [
    "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
    "7a9648b5-8d13-75f7-4c6b-8749a36e7705",
];

/// An answer that is no success, written much as it comes: a line with the status, headers, an empty line, the body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Whatever cannot be read of the head is left out; without one it is a 400.
    pub(crate) fn read(input: &[u8]) -> Self {
        let (head, body) = cut(input, b"\n\n").unwrap_or((b"400", input));
        let mut lines = head.split(|byte| *byte == b'\n');
        let status = lines
            .next()
            .and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
        let mut headers = HeaderMap::new();
        for line in lines.take(64) {
            let Some((name, value)) = cut(line, b": ") else {
                continue;
            };
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                headers.append(name, value);
            }
        }
        Self {
            status: status.unwrap_or(400),
            headers,
            body: body.to_vec(),
        }
    }

    fn classify(&self) -> Failure {
        classify(self.status, &self.headers, &self.body, NOW)
    }

    fn classify_token(&self) -> TokenFailure {
        classify_token(self.status, &self.headers, &self.body, NOW)
    }
}

/// An answer of Graph.
pub(crate) fn error(input: &[u8]) {
    let mut answer = Answer::read(input);
    let failure = answer.classify();
    assert_eq!(failure.status, Some(answer.status));
    assert!(
        !failure.message.is_empty() && is_fit(&failure.message, 512),
        "{failure:?}"
    );
    assert!(is_fit(&failure.code, 64), "{failure:?}");
    assert!(
        failure.request_id.as_deref().is_none_or(|id| is_fit(id, 64)),
        "{failure:?}"
    );
    let passes = matches!(failure.kind, FailureKind::Throttled | FailureKind::Unavailable);
    assert!(
        failure.retry_after.is_none_or(|wait| passes && is_whole(wait)),
        "{failure:?}"
    );

    let [id, other_id] = IDS;
    if let Ok(body) = std::str::from_utf8(&answer.body)
        && body.contains(id)
    {
        answer.body = body.replace(id, other_id).into_bytes();
        let other = answer.classify();
        assert_eq!(other.kind, failure.kind);
        if failure.message.contains(id) {
            // The one id that is the user's own.
            let lower = failure.message.to_ascii_lowercase();
            assert!(lower.contains("group"), "{failure:?}");
        } else {
            assert_eq!(other.message, failure.message);
        }
    }
}

/// An answer of Entra's token endpoint.
pub(crate) fn token_error(input: &[u8]) {
    let answer = Answer::read(input);
    let failure = answer.classify_token();
    assert_eq!(failure.status, Some(answer.status));
    look_at_refusal(&failure);
}

/// What is said of a token request that failed.
pub(crate) fn look_at_refusal(failure: &TokenFailure) {
    assert!(
        !failure.message.is_empty() && is_fit(&failure.message, 512),
        "{failure:?}"
    );
    assert!(!failure.message.contains("  "), "{failure:?}");
    assert!(is_fit(&failure.error, 64), "{failure:?}");
    let rejected = failure.kind == TokenFailureKind::Rejected;
    assert!(
        !rejected || failure.status.is_some_and(|status| (400..=499).contains(&status)),
        "{failure:?}"
    );
    assert!(
        failure.retry_after.is_none_or(|wait| !rejected && is_whole(wait)),
        "{failure:?}"
    );
    // Sentences of Entra's hold ids and times: ours are told.
    let [id, _] = IDS;
    assert!(!failure.message.contains(id), "{failure:?}");
}

fn is_whole(wait: Duration) -> bool {
    wait <= LONGEST && wait.subsec_nanos() == 0
}

/// Values of `Retry-After`, one a line.
pub(crate) fn retry_after(input: &[u8]) {
    let mut headers = HeaderMap::new();
    for value in input.split(|byte| *byte == b'\n').take(64) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(RETRY_AFTER, value);
        }
    }
    for now in [NOW, Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH] {
        assert!(wait_of(&headers, now).is_none_or(is_whole));
    }
    seconds_are_what_they_say(input);
    if let Some(seconds) = input.first_chunk() {
        a_date_is_waited_for(u64::from_le_bytes(*seconds));
    }
}

fn seconds_are_what_they_say(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(header) = HeaderValue::from_str(text)
        && !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit())
    {
        let seconds = text.parse().map_or(LONGEST, Duration::from_secs).min(LONGEST);
        let headers = HeaderMap::from_iter([(RETRY_AFTER, header)]);
        assert_eq!(wait_of(&headers, NOW), Some(seconds));
    }
}

/// A date as HTTP writes it, some seconds from now or before.
fn a_date_is_waited_for(seed: u64) {
    let Ok(seconds) = i64::try_from(seed % (2 * LONGEST.as_secs())) else {
        return;
    };
    let seconds = seconds - 1_000_000;
    let date = NOW.saturating_add(SignedDuration::from_secs(seconds));
    let date = date.map(|date| date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
    if let Ok(date) = date
        && let Ok(date) = HeaderValue::from_str(&date)
    {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, date)]);
        let expected = Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(LONGEST);
        assert_eq!(wait_of(&headers, NOW), Some(expected), "{headers:?}");
    }
}
