use reqwest::header::{HeaderValue, RETRY_AFTER};
use serde_json::json;

use super::*;
use crate::graph::error::TokenFailureKind;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn ask(status: u16, body: &[u8]) -> Result<Token, TokenFailure> {
    read(status, &HeaderMap::new(), body, true, now())
}

/// For how many seconds from now a token is used.
fn valid_for(body: &Json) -> u64 {
    let before = std::time::Instant::now();
    let token = ask(200, body.to_string().as_bytes()).unwrap();
    token.ends_at.duration_since(before).as_secs_f64().round() as u64
}

#[test]
fn a_tokens_time_is_read_from_texts_and_numbers_and_survives_a_wrong_clock() {
    let on = |left: i64| (now().as_second() + left).to_string();
    for (times, expected) in [
        (json!({"expires_on": on(3_599), "expires_in": "86399"}), 3_599),
        (json!({"expires_on": now().as_second() + 600}), 600),
        (json!({"expires_on": on(600), "expires_in": 500}), 500),
        (json!({"expires_in": "3599"}), 3_599),
        // This node's clock is ahead by a day, or behind by as much.
        (json!({"expires_on": on(-80_000), "expires_in": "3599"}), 3_599),
        (json!({"expires_on": on(90_000), "expires_in": "3599"}), 3_599),
        (json!({"expires_on": on(i64::MAX / 2)}), 7 * 86_400),
    ] {
        let mut body = json!({"access_token": "opaque", "token_type": "Bearer"});
        body.as_object_mut().unwrap().extend(times.as_object().unwrap().clone());
        assert_eq!(valid_for(&body), expected, "{body}");
    }
}

#[test]
fn what_is_no_token_is_an_outage_and_not_a_refusal() {
    let bodies = [
        "",
        "<html>blocked</html>",
        "{}",
        "[]",
        r#"{"access_token":""}"#,
        r#"{"access_token":7,"expires_in":"3599"}"#,
        r#"{"access_token":"t"}"#,
        r#"{"access_token":"t","expires_in":"soon"}"#,
        r#"{"access_token":"t","expires_in":"-1"}"#,
        "\u{feff}",
    ];
    for body in bodies {
        let failure = ask(200, body.as_bytes()).unwrap_err();
        assert_eq!(failure.kind, TokenFailureKind::Unavailable, "{body}");
        assert!(failure.message.contains("proxy"), "{}", failure.message);
    }
}

#[test]
fn each_status_is_what_microsoft_says_of_it() {
    let refused = br#"{"error":"invalid_request","error_description":"Identity not found"}"#;
    for (status, body, kind) in [
        (400, &refused[..], TokenFailureKind::Rejected),
        (400, b"<html>", TokenFailureKind::Unavailable),
        (404, refused, TokenFailureKind::Unavailable),
        (410, b"", TokenFailureKind::Unavailable),
        (429, b"", TokenFailureKind::Throttled),
        (500, refused, TokenFailureKind::Unavailable),
        (503, b"", TokenFailureKind::Unavailable),
        (302, b"", TokenFailureKind::Unavailable),
    ] {
        assert_eq!(ask(status, body).unwrap_err().kind, kind, "{status}");
    }
    let mut headers = HeaderMap::new();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
    let throttled = read(429, &headers, b"", true, now()).unwrap_err();
    assert_eq!(throttled.retry_after, Some(Duration::from_secs(7)));
}

#[test]
fn a_missing_identity_is_told_by_what_was_asked_for() {
    let refused = br#"{"error":"invalid_request","error_description":"Identity not found, trace 7"}"#;
    let told = |named| read(400, &HeaderMap::new(), refused, named, now()).unwrap_err().message;
    assert!(told(true).contains("spec.clientId") && told(true).contains("assign the identity"));
    assert!(told(false).contains("system-assigned"));
    assert!(!told(true).contains("trace"));
}
