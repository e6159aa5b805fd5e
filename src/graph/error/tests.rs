use proptest::prelude::*;
use reqwest::header::{HeaderName, HeaderValue, RETRY_AFTER};
use serde_json::json;

use super::*;

fn now() -> Timestamp {
    "2026-11-25T10:00:00Z".parse().unwrap()
}

fn answer(status: u16, body: &[u8]) -> Failure {
    classify(status, &HeaderMap::new(), body, now())
}

/// An answer in Graph's envelope.
fn graph(status: u16, code: &str, message: &str) -> Failure {
    let body = json!({ "error": {
        "code": code, "message": message,
        "innerError": { "date": "2026-11-25T10:00:00", "request-id": "a1", "client-request-id": "C1" },
    } });
    answer(status, body.to_string().as_bytes())
}

/// Intune's error, as it stands in the message of Graph's.
fn intune(message: &str) -> String {
    json!({
        "_version": 3, "Message": message, "CustomApiErrorPhrase": "", "RetryAfter": null, "ErrorSourceService": "",
        "HttpHeaders": "{}",
    })
    .to_string()
}

#[test]
fn every_status_has_its_kind() {
    use FailureKind::{Forbidden, NotFound, PreconditionFailed, Rejected, Throttled, Unauthorized, Unavailable};
    for (kind, statuses) in [
        (Unauthorized, &[401][..]),
        (Forbidden, &[403]),
        (NotFound, &[404]),
        (PreconditionFailed, &[412]),
        (Throttled, &[429]),
        (
            Rejected,
            &[400, 402, 405, 406, 410, 411, 413, 414, 415, 422, 424, 451, 499],
        ),
        (
            Unavailable,
            &[
                200, 204, 301, 302, 304, 307, 308, 408, 409, 423, 500, 501, 502, 503, 504, 507, 509, 599,
            ],
        ),
    ] {
        for status in statuses {
            let mut graphs_own = HeaderMap::new();
            graphs_own.insert("request-id", HeaderValue::from_static("3f0e9a4c"));
            for failure in [
                graph(*status, "Some", "A sentence"),
                classify(*status, &graphs_own, b"", now()),
                classify(*status, &graphs_own, b"<html>", now()),
            ] {
                assert_eq!(failure.kind, kind, "{status}");
                assert_eq!(failure.status, Some(*status));
            }
        }
    }
}

#[test]
fn a_gateways_page_is_not_graphs_word() {
    for status in [400, 402, 403, 404, 405, 407, 410, 422, 451] {
        for body in [&b""[..], b"<html>", b"{}", b"[]", b"\"no\""] {
            assert_eq!(answer(status, body).kind, FailureKind::Unavailable, "{status}");
        }
        assert_ne!(
            graph(status, "Some", "A sentence").kind,
            FailureKind::Unavailable,
            "{status}"
        );
    }
}

#[test]
fn an_unknown_service_principal_is_told_from_a_bad_token() {
    let message = "The identity of the calling application could not be established.";
    assert_eq!(
        graph(401, "Authorization_IdentityNotFound", message).kind,
        FailureKind::PrincipalNotFound
    );
    assert_eq!(
        graph(401, "InvalidAuthenticationToken", message).kind,
        FailureKind::Unauthorized
    );
    assert_eq!(
        graph(400, "Authorization_IdentityNotFound", message).kind,
        FailureKind::Rejected
    );
}

#[test]
fn a_claims_challenge_asks_for_a_fresh_token() {
    let failure = graph(
        401,
        "InvalidAuthenticationToken",
        "Continuous access evaluation resulted in challenge with result: InteractionRequired and code: TokenCreatedWithOutdatedPolicies",
    );
    assert_eq!(failure.kind, FailureKind::Unauthorized);
    assert_eq!(failure.code, "InvalidAuthenticationToken");
}

#[test]
fn a_missing_licence_is_told_from_a_missing_role() {
    let not_applicable = intune("Request not applicable to target tenant. - Activity ID: A - Url: https://x.example/y");
    for status in [400, 401, 403] {
        let failure = graph(status, "BadRequest", &not_applicable);
        assert_eq!(failure.kind, FailureKind::NotLicensed, "{status}");
        assert_eq!(failure.message, "Request not applicable to target tenant.");
    }
    assert_eq!(graph(404, "X", &not_applicable).kind, FailureKind::NotFound);
    for message in [
        "Tenant is not licensed for Intune.",
        "No valid license, or licence",
        "(Unlicensed)",
    ] {
        assert_eq!(
            graph(403, "Forbidden", message).kind,
            FailureKind::NotLicensed,
            "{message}"
        );
        assert_eq!(
            graph(400, "BadRequest", message).kind,
            FailureKind::Rejected,
            "{message}"
        );
    }
    for message in [
        "Application must have one of the following scopes: DeviceManagementServiceConfig.ReadWrite.All",
        "Application must have one of the following scopes: LicenseAssignment.Read.All, LicenseAssignment.ReadWrite.All.",
        "",
    ] {
        assert_eq!(
            graph(403, "Forbidden", message).kind,
            FailureKind::Forbidden,
            "{message}"
        );
    }
}

#[test]
fn a_refusal_of_app_only_access_keeps_the_services_sentence() {
    let body = r#"{"error":{"code":"Forbidden","message":"{\"_version\":3,\"Message\":\"Tenant is not Global Admin or Intune Service Admin. Operation is restricted. - Operation ID ... - Activity ID: <guid> - Url: https://fef.example/StatelessOnboardingService/x?api-version=5023-03-29\"}"}}"#;
    let failure = answer(403, body.as_bytes());
    assert_eq!(failure.kind, FailureKind::Forbidden);
    assert_eq!(failure.code, "Forbidden");
    assert_eq!(
        failure.message,
        "Tenant is not Global Admin or Intune Service Admin. Operation is restricted."
    );
}

#[test]
fn the_months_build_of_the_service_changes_no_message() {
    let one = intune(
        "An error has occurred - Operation ID (for customer support): 0 - Activity ID: A - Url: https://fef.a.example/DeviceConfiguration_2501/Svc/x('1')?api-version=5024-10-08",
    );
    let other = intune(
        "An error has occurred - Operation ID (for customer support): 0 - Activity ID: B - Url: https://fef.b.example/DeviceConfiguration_2511/Svc/x('1')?api-version=5025-02-01",
    );
    for message in [one, other] {
        let failure = graph(400, "BadRequest", &message);
        assert_eq!(failure.message, "An error has occurred");
        assert_eq!(failure.kind, FailureKind::Rejected);
        assert_eq!(failure.request_id.as_deref(), Some("a1"));
    }
}

#[test]
fn an_error_is_found_in_every_wrapping() {
    let inner = intune("An error has occurred - Activity ID: A");
    let twice = json!({ "ErrorCode": "Forbidden", "Message": inner, "Target": null, "Details": null,
        "InnerError": null, "InstanceAnnotations": [] })
    .to_string();
    let spaced = inner.replace(',', ",\r\n  ");
    let quoted = json!(inner).to_string();
    let cut = inner.split(" - Activity").next().unwrap().to_owned();
    for (name, message) in [
        ("once", &inner),
        ("twice", &twice),
        ("spaced", &spaced),
        ("quoted", &quoted),
        ("cut", &cut),
    ] {
        assert_eq!(
            graph(400, "BadRequest", message).message,
            "An error has occurred",
            "{name}"
        );
    }
    for body in [
        json!({ "Message": "An error has occurred" }),
        json!({ "error": "invalid", "error_description": "An error has occurred" }),
        json!({ "odata.error": { "code": "x", "message": { "lang": "en", "value": "An error has occurred" } } }),
        json!({ "error": { "code": "x", "message": "", "details": [{ "code": "y", "message": "An error has occurred" }] } }),
        json!({ "error": { "code": "x", "message": null, "innererror": { "message": "An error has occurred" } } }),
        json!({ "ERROR": { "CODE": "x", "MESSAGE": "An error has occurred" } }),
    ] {
        assert_eq!(
            answer(400, body.to_string().as_bytes()).message,
            "An error has occurred",
            "{body}"
        );
    }
}

#[test]
fn a_forbidden_in_a_401_shows_its_inner_code() {
    let inner = json!({ "ErrorCode": "Forbidden", "Message": intune("An error has occurred - Activity ID: A") });
    let failure = graph(401, "UnknownError", &inner.to_string());
    assert_eq!(failure.kind, FailureKind::Unauthorized);
    assert_eq!(failure.code, "Forbidden");
    assert_eq!(failure.message, "An error has occurred");
}

#[test]
fn an_answer_without_a_sentence_gets_one_of_ours() {
    for body in [
        &b""[..],
        b"<html><body>502 Bad Gateway</body></html>",
        b"Service Unavailable",
        b"null",
        b"[]",
        b"\"text\"",
        b"{}",
        b"{\"error\":null}",
        b"{\"error\":{}}",
        b"{\"error\":{\"code\":\"\",\"message\":\"\"}}",
        b"{\"error\":{\"code\":7,\"message\":[]}}",
        b"{\"error\":{\"message\":\"<html>blocked</html>\"}}",
        b"{\"error\":{\"message\":\"{\\\"a\\\":1}\"}}",
        b"{\"error\":{\"message\":\"Activity ID: A - Url: https://x.example\"}}",
        b"\xFF\xFE\0",
    ] {
        let failure = answer(502, body);
        let body = String::from_utf8_lossy(body);
        assert_eq!(
            failure.message, "Graph answered HTTP 502 without a readable error",
            "{body}"
        );
        assert_eq!(failure.kind, FailureKind::Unavailable);
        assert_eq!(failure.code, "");
    }
    assert_eq!(
        graph(400, "BadRequest", "").message,
        "Graph answered HTTP 400 with the code BadRequest and without a readable error"
    );
    assert_eq!(
        answer(302, b"").message,
        "Graph answered with a redirect, HTTP 302, and redirects are not followed"
    );
}

#[test]
fn a_throttled_answers_message_counts_nothing() {
    let one = graph(
        429,
        "TooManyRequests",
        "Limit of 100 exceeded by 2, retry in 12 seconds",
    );
    let other = graph(429, "TooManyRequests", "Limit of 100 exceeded by 7, retry in 3 seconds");
    assert_eq!(one.message, other.message);
    assert_eq!(one.kind, FailureKind::Throttled);
}

#[test]
fn retry_after_is_honoured_where_waiting_helps() {
    let mut headers = HeaderMap::new();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("2.128"));
    for status in [429, 503, 500, 409, 423, 509] {
        assert_eq!(
            classify(status, &headers, b"", now()).retry_after,
            Some(Duration::from_secs(3)),
            "{status}"
        );
    }
    let refusal = json!({"error": {"code": "Some", "message": "A sentence"}}).to_string();
    for status in [400, 401, 403, 404, 412] {
        let failure = classify(status, &headers, refusal.as_bytes(), now());
        assert_eq!(failure.retry_after, None, "{status}");
    }
    assert_eq!(answer(429, b"").retry_after, None);
}

#[test]
fn intunes_own_retry_after_counts_where_the_header_says_nothing() {
    let nested = |wait: serde_json::Value| {
        let message = json!({ "_version": 3, "Message": "Busy", "RetryAfter": wait }).to_string();
        json!({ "error": { "code": "TooManyRequests", "message": message } }).to_string()
    };
    for (wait, expected) in [
        (json!("12"), Some(12)),
        (json!(12), Some(12)),
        (json!(2.128), Some(3)),
        (json!("Wed, 25 Nov 2026 10:00:30 GMT"), Some(30)),
        (json!(null), None),
        (json!("soon"), None),
        (json!(-5), None),
    ] {
        let expected = expected.map(Duration::from_secs);
        assert_eq!(
            answer(429, nested(wait.clone()).as_bytes()).retry_after,
            expected,
            "{wait}"
        );
    }
    let mut headers = HeaderMap::new();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
    let with_both = classify(429, &headers, nested(json!("12")).as_bytes(), now());
    assert_eq!(with_both.retry_after, Some(Duration::from_secs(7)));
    headers.insert(RETRY_AFTER, HeaderValue::from_static("soon"));
    let with_garbage = classify(503, &headers, nested(json!("12")).as_bytes(), now());
    assert_eq!(with_garbage.retry_after, Some(Duration::from_secs(12)));
}

#[test]
fn the_request_id_is_the_headers_before_the_bodys() {
    assert_eq!(graph(400, "BadRequest", "x").request_id.as_deref(), Some("a1"));
    assert_eq!(answer(400, b"").request_id, None);
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static("request-id"), HeaderValue::from_static("a2"));
    let body = json!({ "error": { "innerError": { "innerError": { "request-id": "a3" } } } }).to_string();
    assert_eq!(
        classify(400, &headers, body.as_bytes(), now()).request_id.as_deref(),
        Some("a2")
    );
    assert_eq!(answer(400, body.as_bytes()).request_id.as_deref(), Some("a3"));
}

#[test]
fn what_is_shown_is_bounded_and_clean() {
    let failure = graph(
        400,
        &"C\u{1B} ".repeat(100),
        &format!("Wrong\u{202E} {}", "word ".repeat(20_000)),
    );
    assert_eq!(failure.code.chars().count(), CODE_CHARS);
    assert_eq!(failure.message.chars().count(), MESSAGE_CHARS);
    assert!(failure.message.starts_with("Wrong\u{FFFD} word"));
    let huge = format!("{{\"error\":{{\"message\":\"{}\"}}}}", "x".repeat(9 << 20));
    assert_eq!(
        answer(400, huge.as_bytes()).message,
        "Graph answered HTTP 400 without a readable error"
    );
}

#[test]
fn errors_in_errors_are_opened_to_a_bound() {
    let mut message = "An error has occurred".to_owned();
    for _ in 0..8 {
        message = json!({ "Message": message }).to_string();
    }
    assert_eq!(graph(400, "BadRequest", &message).kind, FailureKind::Rejected);
    assert!(!graph(400, "BadRequest", &message).message.contains('{'));
}

#[test]
fn trouble_on_the_way_is_unavailable() {
    let failure = Failure::unavailable("Graph cannot be reached\n");
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert_eq!(failure.to_string(), "Graph cannot be reached\u{FFFD}");
    assert_eq!(
        (failure.status, failure.retry_after, failure.request_id),
        (None, None, None)
    );
}

#[test]
fn whoever_may_write_may_read() {
    assert!(WRITE_ROLES.iter().all(|role| READ_ROLES.contains(role)));
    assert_eq!(READ_ROLES[0], "DeviceManagementServiceConfig.Read.All");
    assert_eq!(WRITE_ROLES[0], "DeviceManagementServiceConfig.ReadWrite.All");
}

proptest! {
    #[test]
    fn no_answer_brings_the_classifier_down(
        status in any::<u16>(),
        body in prop::collection::vec(any::<u8>(), 0..200),
        message in any::<String>(),
        wait in "[ -~]{0,20}",
    ) {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(&wait).unwrap());
        let enveloped = json!({ "error": { "code": message, "message": message, "RetryAfter": wait } }).to_string();
        let nested = json!({ "error": { "code": message, "message": intune(&message) } }).to_string();
        for body in [&body[..], message.as_bytes(), enveloped.as_bytes(), nested.as_bytes()] {
            let failure = classify(status, &headers, body, now());
            prop_assert!(!failure.message.is_empty());
            prop_assert!(failure.message.chars().count() <= MESSAGE_CHARS);
            prop_assert_eq!(&text::clean(&failure.message, MESSAGE_CHARS), &failure.message);
            prop_assert_eq!(&text::clean(&failure.code, CODE_CHARS), &failure.code);
            let _ = classify_token(status, &headers, body, now());
        }
    }

    #[test]
    fn the_ids_of_an_answer_are_in_no_message(id in "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}") {
        for text in ["Failed {}", "Failed - Activity ID: {}", "Request ({}) failed", "id={} failed", "x('{}')/y failed"] {
            let failure = graph(500, "InternalServerError", &intune(&text.replace("{}", &id)));
            prop_assert!(!failure.message.contains(&id), "{}", failure.message);
        }
    }
}
