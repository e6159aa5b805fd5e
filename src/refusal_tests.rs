//! What is known of Graph's and Entra's refusals, row by row: what each means, which reason it becomes and when it is tried
//! again. Sources: Graph's "Microsoft Graph error responses and resource types" and "Microsoft Graph throttling guidance",
//! Entra's "Microsoft Entra authentication and authorization error codes", and what people have met with Intune.

use jiff::Timestamp;
use reqwest::header::HeaderMap;
use serde_json::json;

use crate::api::reason::{Applied, Reason, Retry};
use crate::connection::{Purpose, tell};
use crate::graph::error::{FailureKind as Kind, TokenFailureKind, WRITE_ROLES, classify, classify_token};
use crate::graph::session::Trouble;

use Wrap::{Intune, Plain, Twice};

/// Where the sentence stands in Graph's envelope.
#[derive(Clone, Copy, Debug)]
enum Wrap {
    Plain,
    /// In Intune's error, which is JSON in Graph's message.
    Intune,
    /// In Intune's error in another one.
    Twice,
}

/// Status, code, sentence and wrapping; what it means, the reason for a change, and when it is tried again.
type Row = (u16, &'static str, &'static str, Wrap, Kind, Reason, Retry);

#[rustfmt::skip]
const ROWS: [Row; 29] = [
    (400, "BadRequest", "Request not applicable to target tenant", Intune, Kind::NotLicensed, Reason::TenantNotLicensed, Retry::VerySlow),
    (400, "BadRequest", "Request not applicable to target tenant", Plain, Kind::NotLicensed, Reason::TenantNotLicensed, Retry::VerySlow),
    (401, "UnknownError", "Request not applicable to target tenant", Twice, Kind::NotLicensed, Reason::TenantNotLicensed, Retry::VerySlow),
    (400, "ModelValidationFailure", "Cannot create an abstract class.", Plain, Kind::Rejected, Reason::RejectedByGraph, Retry::Slow),
    (400, "ModelValidationFailure", "The property 'x' does not exist on type 'microsoft.management.services.api.y'", Plain, Kind::Rejected, Reason::RejectedByGraph, Retry::Slow),
    (400, "BadRequest", "Invalid OData type specified: \"microsoft.graph.#microsoft.graph.x\"", Plain, Kind::Rejected, Reason::RejectedByGraph, Retry::Slow),
    (400, "BadRequest", "Invalid GroupId : x a valid AADGroupId is expected", Intune, Kind::Rejected, Reason::RejectedByGraph, Retry::Slow),
    (400, "No method match route template", "No OData route exists", Plain, Kind::Rejected, Reason::RejectedByGraph, Retry::Slow),
    (401, "InvalidAuthenticationToken", "Access token has expired or is not yet valid.", Plain, Kind::Unauthorized, Reason::PermissionDenied, Retry::Slow),
    (401, "UnknownError", "Operation is restricted.", Twice, Kind::Unauthorized, Reason::PermissionDenied, Retry::Slow),
    (401, "Authorization_IdentityNotFound", "The identity could not be established.", Plain, Kind::PrincipalNotFound, Reason::PrincipalNotFound, Retry::Backoff),
    (403, "Forbidden", "Application is not authorized to perform this operation. Application must have one of the following scopes: DeviceManagementConfiguration.ReadWrite.All", Intune, Kind::Forbidden, Reason::PermissionDenied, Retry::Slow),
    (403, "Forbidden", "The call was made in app only context but does not have application permissions configured", Plain, Kind::Forbidden, Reason::PermissionDenied, Retry::Slow),
    (403, "Forbidden", "Tenant is not Global Admin or Intune Service Admin. Operation is restricted.", Intune, Kind::Forbidden, Reason::PermissionDenied, Retry::Slow),
    (409, "Conflict", "Conflict.", Plain, Kind::Unavailable, Reason::GraphUnavailable, Retry::Backoff),
    (412, "ConditionNotMet", "ETag mismatch.", Plain, Kind::PreconditionFailed, Reason::GraphUnavailable, Retry::Backoff),
    (423, "Locked", "Locked.", Plain, Kind::Unavailable, Reason::GraphUnavailable, Retry::Backoff),
    (429, "TooManyRequests", "Too many requests.", Plain, Kind::Throttled, Reason::Throttled, Retry::Backoff),
    (429, "UnknownError", "Too many requests.", Intune, Kind::Throttled, Reason::Throttled, Retry::Backoff),
    (500, "InternalServerError", "An error has occurred", Intune, Kind::Unavailable, Reason::GraphUnavailable, Retry::Backoff),
    (500, "Unknown", "", Plain, Kind::Unavailable, Reason::GraphUnavailable, Retry::Backoff),
    (501, "NotImplemented", "Not implemented.", Plain, Kind::Unavailable, Reason::GraphUnavailable, Retry::Backoff),
    (502, "BadGateway", "", Plain, Kind::Unavailable, Reason::GraphUnavailable, Retry::Backoff),
    (503, "ServiceUnavailable", "Busy.", Plain, Kind::Unavailable, Reason::GraphUnavailable, Retry::Backoff),
    (504, "GatewayTimeout", "Late.", Plain, Kind::Unavailable, Reason::GraphUnavailable, Retry::Backoff),
    (507, "InsufficientStorage", "Quota.", Plain, Kind::Unavailable, Reason::GraphUnavailable, Retry::Backoff),
    (509, "BandwidthLimitExceeded", "Bandwidth.", Plain, Kind::Unavailable, Reason::GraphUnavailable, Retry::Backoff),
    (405, "MethodNotAllowed", "Not allowed.", Plain, Kind::Rejected, Reason::RejectedByGraph, Retry::Slow),
    (422, "UnprocessableEntity", "Cannot be processed.", Plain, Kind::Rejected, Reason::RejectedByGraph, Retry::Slow),
];

fn body(code: &str, sentence: &str, wrap: Wrap, inner: &str) -> String {
    let intune = json!({
        "_version": 3, "CustomApiErrorPhrase": "", "RetryAfter": null, "ErrorSourceService": "", "HttpHeaders": "{}",
        "Message": format!("{sentence} - Operation ID (for customer support): 0 - Activity ID: A - Url: https://fef.x.example/y"),
    });
    let message = match wrap {
        Plain => sentence.to_owned(),
        Intune => intune.to_string(),
        Twice => json!({
            "ErrorCode": "Forbidden", "Message": intune.to_string(), "Target": null, "Details": null, "InnerError": null,
            "InstanceAnnotations": [],
        })
        .to_string(),
    };
    json!({"error": {"code": code, "message": message, "target": null, "details": [], inner: {"request-id": "0f6c9d1e-5a70"}}})
        .to_string()
}

#[test]
fn each_refusal_of_graph_has_its_reason_and_its_wait() {
    let roles = [WRITE_ROLES[0].to_owned()];
    for (status, code, sentence, wrap, kind, reason, retry) in ROWS {
        for inner in ["innerError", "innererror"] {
            let body = body(code, sentence, wrap, inner);
            let failure = classify(status, &HeaderMap::new(), body.as_bytes(), Timestamp::UNIX_EPOCH);
            assert_eq!(failure.kind, kind, "{status} {code}: {sentence}");
            assert_eq!(failure.request_id.as_deref(), Some("0f6c9d1e-5a70"), "{status} {code}");
            let told = tell(&Trouble::Graph(failure), Some(&roles), Purpose::Write);
            assert_eq!(told.reason, reason, "{status} {code}: {sentence}");
            assert_eq!(
                told.reason.row(Applied::NotYet).retry,
                retry,
                "{status} {code}: {sentence}"
            );
            assert!(
                !told.message.contains("0f6c9d1e-5a70") && !told.message.contains("example"),
                "{}",
                told.message
            );
        }
    }
}

/// What each of Entra's codes is for the credential.
const CODES: [(u32, &str, TokenFailureKind, Reason, Retry); 22] = {
    use TokenFailureKind::{Rejected, Throttled};
    const REFUSED: (TokenFailureKind, Reason, Retry) = (Rejected, Reason::CredentialsRejected, Retry::Secret);
    const fn refused(code: u32, word: &'static str) -> (u32, &'static str, TokenFailureKind, Reason, Retry) {
        (code, word, REFUSED.0, REFUSED.1, REFUSED.2)
    }
    [
        refused(7_000_215, "the Secret must hold the secret's value"),
        refused(7_000_222, "expired"),
        refused(700_016, "clientId, tenantId and cloud"),
        refused(7_000_112, "disabled"),
        refused(90_002, "spec.cloud"),
        refused(900_023, "spec.tenantId"),
        refused(900_382, "spec.cloud"),
        refused(900_432, "spec.cloud"),
        refused(700_027, "certificate"),
        refused(700_024, "clock"),
        refused(70_021, "federated credential"),
        refused(700_211, "issuer"),
        refused(700_213, "subject"),
        refused(70_025, "has no federated credential"),
        refused(700_212, "audience"),
        refused(7_002_138, "case of its letters"),
        refused(7_000_272, "publishes"),
        refused(90_061, "public"),
        refused(53_003, "Conditional Access"),
        refused(7_000_229, "AADSTS7000229"),
        refused(123_456_789, "AADSTS123456789"),
        (50_196, "throttles", Throttled, Reason::Throttled, Retry::Backoff),
    ]
};

#[test]
fn each_code_of_entra_has_its_reason_and_its_wait() {
    for (code, word, kind, reason, retry) in CODES {
        for (status, error) in [
            (400, "invalid_request"),
            (401, "invalid_client"),
            (400, "unauthorized_client"),
            (400, "invalid_grant"),
            (403, "access_denied"),
        ] {
            let body = json!({
                "error": error, "error_codes": [code], "trace_id": "7c7c7c7c-0e11", "correlation_id": "c1c1c1c1-0e12",
                "error_description": format!("AADSTS{code}: A sentence. Trace ID: 7c7c7c7c-0e11 Correlation ID: c1c1c1c1-0e12"),
            });
            let failure = classify_token(
                status,
                &HeaderMap::new(),
                body.to_string().as_bytes(),
                Timestamp::UNIX_EPOCH,
            );
            assert_eq!((failure.kind, failure.aadsts), (kind, Some(code)));
            assert_eq!(failure.trace_id.as_deref(), Some("7c7c7c7c-0e11"));
            assert_eq!(failure.is_loop(), code == 50_196);
            let told = tell(&Trouble::Token(failure), None, Purpose::Read);
            assert_eq!(
                (told.reason, told.reason.row(Applied::NotYet).retry),
                (reason, retry),
                "{code}"
            );
            assert!(told.message.contains(word), "{code}: {}", told.message);
            assert!(
                !told.message.contains("7c7c7c7c-0e11") && !told.message.contains("sentence"),
                "{}",
                told.message
            );
        }
    }
}

#[test]
fn who_lacks_a_role_is_told_which_and_who_has_it_is_not_sent_for_another() {
    let denied = |roles: Option<&[&str]>, write| {
        let sentence = "Application must have one of the following scopes: Directory.ReadWrite.All";
        let body = body("Forbidden", sentence, Plain, "innerError");
        let failure = classify(403, &HeaderMap::new(), body.as_bytes(), Timestamp::UNIX_EPOCH);
        let roles = roles.map(|roles| roles.iter().map(|role| (*role).to_owned()).collect::<Vec<_>>());
        let purpose = if write { Purpose::Write } else { Purpose::Read };
        let told = tell(&Trouble::Graph(failure), roles.as_deref(), purpose);
        assert_eq!(told.reason, Reason::PermissionDenied);
        told.message
    };
    let (read, write) = (
        "DeviceManagementServiceConfig.Read.All",
        "DeviceManagementServiceConfig.ReadWrite.All",
    );
    for (roles, to_write) in [
        (&[][..], true),
        (&[][..], false),
        (&[read][..], true),
        (&["Directory.Read.All"][..], true),
    ] {
        let message = denied(Some(roles), to_write);
        assert!(
            message.starts_with(&format!("The app lacks the application permission {write}:")),
            "{message}"
        );
        // The advice is ours, from what is needed: not what Graph's sentence happens to name.
        assert!(message.contains(read) && !message.contains("Directory."), "{message}");
    }
    for (roles, to_write) in [
        (&[write][..], true),
        (&["DeviceManagementConfiguration.ReadWrite.All"][..], true),
        (&[read][..], false),
        (&["DeviceManagementConfiguration.Read.All"][..], false),
        (&[write][..], false),
    ] {
        let message = denied(Some(roles), to_write);
        assert!(
            message.contains("app-only") && message.contains("nothing can be granted"),
            "{message}"
        );
        assert!(!message.contains("lacks"), "{message}");
    }
    // A token that does not decode does not tell.
    let message = denied(None, true);
    assert!(
        message.contains("check that it has") && message.contains(write),
        "{message}"
    );
    // A connection that only reads is never sent for a role to write.
    let body = body("Forbidden", "No.", Plain, "innerError");
    for (roles, words) in [
        (Some(&[][..]), "lacks the application permission"),
        (None, "check that it has"),
    ] {
        let failure = classify(403, &HeaderMap::new(), body.as_bytes(), Timestamp::UNIX_EPOCH);
        let message = tell(&Trouble::Graph(failure), roles, Purpose::ReadOnly).message;
        assert!(message.contains(words) && message.contains(read), "{message}");
        assert!(!message.contains(write), "{message}");
    }
}
