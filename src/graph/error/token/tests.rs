use reqwest::header::{HeaderValue, RETRY_AFTER};
use serde_json::json;

use super::*;

const KNOWN: [u32; 19] = [
    7_000_215, 7_000_222, 700_016, 7_000_112, 90_002, 900_023, 900_382, 900_432, 700_027, 700_024, 70_021, 700_211,
    700_213, 90_061, 53_003, 70_025, 700_212, 7_002_138, 7_000_272,
];

fn answer(status: u16, body: &[u8]) -> TokenFailure {
    classify_token(status, &HeaderMap::new(), body, Timestamp::UNIX_EPOCH)
}

/// An answer of Entra's.
fn entra(status: u16, error: &str, code: u32) -> TokenFailure {
    let body = json!({
        "error": error,
        "error_description": format!("AADSTS{code}: A sentence of Entra's. Trace ID: T1 Correlation ID: C1 Timestamp: 2026-11-25 10:00:00Z"),
        "error_codes": [code], "timestamp": "2026-11-25 10:00:00Z", "trace_id": "T1", "correlation_id": "C1",
        "error_uri": format!("https://login.microsoftonline.com/error?code={code}"),
    });
    answer(status, body.to_string().as_bytes())
}

#[test]
fn known_codes_get_advice_of_their_own() {
    let mut messages = std::collections::BTreeSet::new();
    for code in KNOWN {
        for status in [400, 401] {
            let failure = entra(status, "invalid_client", code);
            assert_eq!(failure.kind, TokenFailureKind::Rejected, "{code}");
            assert_eq!(failure.aadsts, Some(code));
            assert_eq!(failure.error, "invalid_client");
            assert!(
                failure.message.ends_with(&format!(" (AADSTS{code})")),
                "{}",
                failure.message
            );
            assert!(!failure.message.contains("sentence"), "{}", failure.message);
            assert!(failure.message.chars().count() < 256, "{}", failure.message);
            messages.insert(failure.message);
        }
    }
    assert_eq!(messages.len(), KNOWN.len());
}

#[test]
fn other_codes_show_the_word_and_the_number_alone() {
    for code in [7_000_229, 123_456_789] {
        for error in [
            "invalid_client",
            "unauthorized_client",
            "invalid_grant",
            "invalid_request",
            "access_denied",
            "interaction_required",
        ] {
            let failure = entra(400, error, code);
            assert_eq!(failure.kind, TokenFailureKind::Rejected);
            assert_eq!(
                failure.message,
                format!("Entra refuses the token request: {error}, AADSTS{code}")
            );
        }
    }
}

#[test]
fn without_a_code_the_word_is_left() {
    for body in [
        json!({ "error": "invalid_client" }),
        json!({ "error": "invalid_client", "error_codes": [] }),
        json!({ "error": "invalid_client", "error_codes": null, "error_description": "No code here" }),
        json!({ "error": "invalid_client", "error_codes": ["x", -1, 1.5, 99_999_999_999_u64], "error_description": 7 }),
    ] {
        let failure = answer(401, body.to_string().as_bytes());
        assert_eq!(failure.kind, TokenFailureKind::Rejected, "{body}");
        assert_eq!(failure.aadsts, None);
        assert_eq!(failure.message, "Entra refuses the token request: invalid_client");
    }
}

#[test]
fn a_code_is_found_wherever_it_stands() {
    for body in [
        json!({ "error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided." }),
        json!({ "error": "invalid_client", "error_codes": ["7000215"] }),
        json!({ "error": "invalid_client", "error_codes": ["AADSTS7000215"] }),
        json!({ "error": "invalid_client", "error_codes": [123, 7_000_215] }),
    ] {
        assert_eq!(
            answer(401, body.to_string().as_bytes()).aadsts,
            Some(7_000_215),
            "{body}"
        );
    }
}

#[test]
fn a_wrong_cloud_names_the_candidates() {
    for code in [90_002, 900_382, 900_432] {
        let message = entra(400, "invalid_request", code).message;
        for part in [
            "spec.cloud",
            "GCC tenant is in Global",
            "GCC High in USGov",
            "DoD in USGovDoD",
        ] {
            assert!(message.contains(part), "{message}");
        }
    }
}

#[test]
fn a_loop_is_throttling_and_no_bad_credential() {
    let failure = entra(400, "invalid_client", 50_196);
    assert_eq!(failure.kind, TokenFailureKind::Throttled);
    assert_eq!(failure.aadsts, Some(50_196));
    assert_eq!(failure.message, answer(429, b"").message);
}

#[test]
fn trouble_that_passes_is_no_bad_credential() {
    for (status, body) in [
        (500, &b""[..]),
        (502, b"<html>Bad Gateway</html>"),
        (503, b"{\"error\":\"temporarily_unavailable\"}"),
        (400, b"{\"error\":\"temporarily_unavailable\",\"error_codes\":[90033]}"),
        (504, b"{\"error\":\"invalid_client\",\"error_codes\":[7000215]}"),
        (200, b"<html>blocked</html>"),
        (302, b""),
        (400, b"<html>blocked</html>"),
        (401, b""),
        (403, b"[]"),
        (404, b"{\"error\":\"not_found\"}"),
        (410, b"{\"error\":\"gone\"}"),
        (400, b"{\"error\":{\"code\":\"BadRequest\"}}"),
        (400, b"{\"error\":null}"),
    ] {
        let failure = answer(status, body);
        assert_eq!(
            failure.kind,
            TokenFailureKind::Unavailable,
            "{status} {}",
            String::from_utf8_lossy(body)
        );
        assert!(
            failure.message.contains(&format!("HTTP {status}")),
            "{}",
            failure.message
        );
    }
    assert_eq!(entra(404, "invalid_request", 90_002).kind, TokenFailureKind::Rejected);
}

#[test]
fn the_metadata_service_says_when_it_has_no_identity() {
    let failure = answer(
        400,
        br#"{"error":"invalid_request","error_description":"Identity not found"}"#,
    );
    assert_eq!(failure.kind, TokenFailureKind::Rejected);
    assert_eq!(failure.message, "Entra refuses the token request: invalid_request");
}

#[test]
fn a_word_that_is_none_is_not_repeated() {
    for error in ["<script>", "eyJhbGciOi.J9.x", &"a".repeat(100), "two words", "\u{202E}"] {
        let failure = answer(400, json!({ "error": error }).to_string().as_bytes());
        assert_eq!(
            failure.message,
            "Entra refuses the token request: an error of another kind"
        );
        assert_eq!(failure.kind, TokenFailureKind::Rejected);
        assert!(failure.error.chars().count() <= CODE_CHARS);
    }
}

#[test]
fn retry_after_counts_where_waiting_helps() {
    let mut headers = HeaderMap::new();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("2.128"));
    let wait = |status, body: &[u8]| classify_token(status, &headers, body, Timestamp::UNIX_EPOCH).retry_after;
    assert_eq!(wait(429, b""), Some(Duration::from_secs(3)));
    assert_eq!(wait(503, b""), Some(Duration::from_secs(3)));
    assert_eq!(
        wait(400, br#"{"error":"x","error_codes":[50196]}"#),
        Some(Duration::from_secs(3))
    );
    assert_eq!(wait(401, br#"{"error":"invalid_client"}"#), None);
}

#[test]
fn trouble_on_the_way_is_unavailable() {
    let failure = TokenFailure::unavailable("Entra cannot be reached");
    assert_eq!(failure.kind, TokenFailureKind::Unavailable);
    assert_eq!(failure.to_string(), "Entra cannot be reached");
}
