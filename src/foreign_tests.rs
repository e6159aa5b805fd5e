//! Text that somebody wrote to deceive, on its way from Graph, Entra or a user to whoever reads what the operator tells:
//! statuses, events and messages.

use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::{Value as Json, json};

use crate::api::partner::ComplianceManagementPartnerStatus as Status;
use crate::api::reason::{Applied, Pair, Reason};
use crate::connection::{Purpose, tell};
use crate::graph::error::{Failure, TokenFailureKind, classify, classify_token};
use crate::graph::model::{self, Platform, Property, decode_page};
use crate::graph::session::{CredentialFailure, Trouble};
use crate::partner::plan::plan;
use crate::partner::plan::tests::{make, schema};
use crate::partner::report::{Deeds, Ending, ending, notices};
use crate::partner::status::{self, Binding, Blocked, HeartbeatRules, Judgement, Seen, Verdict};
use crate::runtime::object::{Object, ObjectKey, Partner};
use crate::runtime::text;

const RULES: HeartbeatRules = HeartbeatRules {
    stale_after: Duration::from_secs(72 * 3_600),
    resolution: Duration::from_secs(900),
};

/// A resource that is bound to nothing yet.
pub(crate) fn partner() -> Partner {
    Object {
        key: ObjectKey {
            namespace: "contoso".to_owned(),
            name: "jamf".to_owned(),
        },
        uid: "uid-1".to_owned(),
        resource_version: "1".to_owned(),
        generation: 1,
        created: Timestamp::UNIX_EPOCH,
        deleting: false,
        finalizers: Vec::new(),
        request: None,
        spec: make::nothing_managed(),
        status: Status::default(),
    }
}

/// Text that acts on a terminal, forges a line, hides itself, is far too long, ends in the middle of a character, or is
/// somebody's template.
pub(crate) fn hostile() -> impl Strategy<Value = String> {
    let made = prop::sample::select(vec![
        "\u{1b}[2J\u{1b}[31mred\u{1b}[0m\u{1b}]0;title\u{7}",
        "\u{9b}31mred\u{90}q\u{9c}",
        "user\u{202e}nimda\u{202c} \u{2066}x\u{2069}\u{200f}",
        "line\n2026-11-25T10:00:00.000000Z  INFO compliance_partner_operator: forged\r\n{\"level\":\"INFO\"}",
        "line\u{85}line\u{2028}line\u{2029}line\u{b}\u{c}",
        "nul\0nul\u{7f}\u{feff}\u{fffe}\u{ffff}",
        "tag\u{e0041}\u{e007f}\u{e000}\u{f0000}\u{10fffd}",
        "half\u{fffd}",
        "${jndi:ldap://x.example/a} {{ .Values.secret }} %s%n%x $(reboot) `reboot`",
        "\"}],\"forged\":[{\"a\":\"",
        "'; - : # & * ! | > % @ ` ? []{}",
        "---\nforged: true\n...",
        " \t leading and trailing \t ",
        "",
    ])
    .prop_map(str::to_owned);
    let long = (
        prop::sample::select(vec!["x", "ä", "📱", "\u{202e}", "a\n", "\\u0000"]),
        0..3_usize,
    )
        .prop_map(|(part, before)| format!("{}{}", "y".repeat(before), part.repeat(47 * 1_024 / part.len())));
    let around_a_bound = (
        prop::sample::select(vec![64_usize, 128, 256, 512, 1_000, 1_024]),
        0..4_usize,
    )
        .prop_map(|(bound, less)| format!("{}📱ä📱", "x".repeat(bound.saturating_sub(less))));
    prop_oneof![
        6 => made,
        1 => long,
        2 => around_a_bound,
        2 => "[\u{0}-\u{1f}\u{7f}-\u{a0}\u{200b}-\u{206f}\u{feff}\"'\\\\{}a-c ]{0,40}",
        2 => any::<String>(),
    ]
}

/// A JSON text of it as some services write it: with half a character at its end, in escapes or in bytes.
fn in_bytes(body: &Json, broken: bool) -> Vec<u8> {
    let body = body.to_string();
    if broken {
        return body
            .replace("y\"", "y\\ud83d\"")
            .replace("x\"", "x\u{0}\"")
            .replace('\0', "\\udfff")
            .into_bytes();
    }
    body.into_bytes()
}

/// Whether a text is as it may be shown, and no longer than this.
fn fits(text: &str, characters: usize) -> bool {
    text::clean(text, characters) == text
}

/// Every text in a JSON value.
fn texts(value: &Json) -> Vec<&str> {
    match value {
        Json::String(text) => vec![text],
        Json::Array(items) => items.iter().flat_map(texts).collect(),
        Json::Object(members) => members.values().flat_map(texts).collect(),
        Json::Null | Json::Bool(_) | Json::Number(_) => Vec::new(),
    }
}

/// An error answer that says the text wherever it can.
fn error_body(text: &str, shape: u8) -> Json {
    let inner = json!({ "_version": 3, "Message": text, "CustomApiErrorPhrase": text, "RetryAfter": text });
    match shape {
        0 => json!({ "error": { "code": text, "message": text, "innerError": { "request-id": text, "date": text } } }),
        1 => json!({ "error": { "code": "Forbidden", "message": inner.to_string() } }),
        2 => {
            json!({ "error": { "code": "UnknownError", "message": json!({ "error": { "code": text, "message": inner.to_string() } }).to_string() } })
        }
        3 => {
            json!({ "error": text, "error_description": format!("AADSTS7000215: {text}"), "error_codes": [7_000_215, text] })
        }
        4 => json!({ "odata.error": { "code": text, "message": { "lang": text, "value": text } } }),
        5 => json!({ text: text, "Message": text, "details": [{ "code": text, "message": text }] }),
        _ => json!([text, { "error": text }]),
    }
}

/// A row that says the text wherever it can and can still be read. With `known`, all of its lists can be written back.
fn row(id: &str, text: &str, known: bool) -> Json {
    let mut row = json!({ "id": id, "displayName": text, "partnerState": text, text: text });
    for platform in Platform::ALL {
        row[Property::Onboarded(platform).name()] = json!(false);
        if known {
            let target = json!({ "@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": text });
            let targets = row["displayName"]
                .as_str()
                .filter(|id| !id.is_empty() && *id == text::clean(id, 128));
            let entries: Vec<Json> = targets.into_iter().map(|_| json!({ "target": target })).collect();
            row[Property::EnrollmentAssignments(platform).name()] = json!(entries);
            continue;
        }
        row[Property::EnrollmentAssignments(platform).name()] = json!([
            { "target": { "@odata.type": text, text: text } },
            { "target": { "@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": text } },
            { "target": { "@odata.type": "#microsoft.graph.allDevicesAssignmentTarget", text: text } },
            { "target": text },
            text,
        ]);
    }
    row
}

/// What looks like a time, and often is one.
fn heartbeat() -> impl Strategy<Value = String> {
    let date = "(-?[0-9]{4,6}|0000|0001|9999)-(0[0-9]|1[0-3])-([0-2][0-9]|3[0-2])";
    let time =
        "([01][0-9]|2[0-4]):([0-5][0-9]|60):([0-5][0-9]|60)(\\.[0-9]{0,12})?(Z|[+-](0[0-9]|14|23|99):[0-5][0-9])";
    prop_oneof![
        3 => "2026-(0[1-9]|1[0-2])-(0[1-9]|2[0-8])T(0[0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\\.[0-9]{1,12})?(Z|[+-]1[0-4]:00)",
        2 => prop::string::string_regex(&format!("{date}T{time}")).unwrap(),
        1 => hostile(),
    ]
}

/// What a pass comes to that has read this row and says this.
fn verdict<'a>(
    row: &'a model::Partner,
    reason: Reason,
    message: &str,
    spec_name: &str,
    request: Option<&'a str>,
) -> Verdict<'a> {
    let spec = crate::api::partner::ComplianceManagementPartnerSpec {
        display_name: Some(spec_name.chars().take(256).collect()),
        mac_os_enrollment_assignments: Some(Vec::new()),
        ..make::nothing_managed()
    };
    let planned = plan(&spec, row);
    Verdict {
        judgement: Judgement {
            generation: 1,
            reason,
            message: format!("{message} {}", planned.unsupported_lists()),
            applied: Applied::NotYet,
            connection_pair: Pair::Reconciling,
        },
        request,
        seen: Seen::Row(row),
        binding: Some(Binding {
            cloud: "Global".to_owned(),
            tenant: "72f988bf-86f1-41af-91ab-2d7cd011db47".to_owned(),
            id: row.id.clone(),
        }),
        drift: Some(planned.drift()),
        updated: false,
        blocked: Blocked::No,
    }
}

fn now() -> Timestamp {
    "2026-11-25T10:00:00Z".parse().unwrap()
}

fn told(trouble: &Trouble) -> [String; 3] {
    let roles = [crate::graph::error::WRITE_ROLES[0].to_owned()];
    [None, Some(&roles[..]), Some(&[][..])].map(|roles| tell(trouble, roles, Purpose::Write).message)
}

fn condition_messages(failure: &Failure) -> [String; 3] {
    told(&Trouble::Graph(failure.clone()))
}

proptest! {
    #[test]
    fn what_graph_refuses_with_is_told_clean_short_and_alike(
        status in 300..600_u16, text in hostile(), shape in 0..7_u8, broken in any::<bool>(), header in "[ -~]{0,200}",
    ) {
        let body = in_bytes(&error_body(&text, shape), broken);
        let mut headers = HeaderMap::new();
        headers.insert("request-id", HeaderValue::from_str(&header).unwrap());
        let failure = classify(status, &headers, &body, now());
        prop_assert!(fits(&failure.message, 512) && !failure.message.trim().is_empty(), "{:?}", failure.message);
        prop_assert!(fits(&failure.code, 64), "{:?}", failure.code);
        prop_assert!(failure.request_id.as_ref().is_none_or(|id| fits(id, 64)), "{:?}", failure.request_id);
        prop_assert_eq!(&classify(status, &headers, &body, now()), &failure);
        for message in condition_messages(&failure) {
            prop_assert!(fits(&message, text::CONDITION_MESSAGE_CHARS), "{message:?}");
        }
    }

    #[test]
    fn nothing_that_entra_wrote_is_told_but_its_word(
        status in 300..600_u16, text in hostile(), word in "[a-z_]{1,20}", broken in any::<bool>(),
    ) {
        let said = format!("canary {text}");
        let body = json!({ "error": word, "error_description": said, "error_codes": [said], "suberror": said, "claims": said });
        let failure = classify_token(status, &HeaderMap::new(), &in_bytes(&body, broken), now());
        for message in told(&Trouble::Token(failure.clone())) {
            prop_assert!(fits(&message, 512) && !message.contains("canary"), "{message:?}");
        }
        let odd = classify_token(status, &HeaderMap::new(), &in_bytes(&json!({ "error": text }), broken), now());
        prop_assert!(fits(&odd.error, 64) && fits(&odd.message, 512), "{odd:?}");
        let repeated = odd.kind == TokenFailureKind::Rejected && text.len() > 3 && odd.message.contains(&text);
        prop_assert!(!repeated || text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{:?}", odd.message);
    }

    #[test]
    fn what_is_wrong_with_a_credential_is_told_clean(text in hostile()) {
        for failure in [
            CredentialFailure::NotFound(text.clone()), CredentialFailure::KeyNotFound(text.clone()), CredentialFailure::Invalid(text.clone()),
            CredentialFailure::NotGranted(text.clone()), CredentialFailure::Unavailable(text.clone()),
        ] {
            let told = tell(&Trouble::Credential(failure), None, Purpose::Read);
            let judgement = Judgement {
                generation: 1,
                reason: told.reason,
                message: told.message,
                applied: Applied::NotYet,
                connection_pair: Pair::Neither,
            };
            for condition in status::judge(&[], &judgement, false, now()) {
                prop_assert!(fits(&condition.message, text::CONDITION_MESSAGE_CHARS));
            }
        }
    }

    #[test]
    fn whatever_a_row_says_the_status_is_one_that_the_api_server_takes_and_keeps(
        text in hostile(), message in hostile(), name in hostile(), request in prop::option::of(hostile()),
        reason in prop::sample::select(Reason::ALL.into_iter().filter(|reason| !reason.is_of_connection()).collect::<Vec<_>>()),
        broken in any::<bool>(), known in any::<bool>(), heartbeat in heartbeat(),
    ) {
        let neighbour = row("p2", "Example", true);
        let mut first = row("p1", &text, known);
        first["lastHeartbeatDateTime"] = json!(heartbeat);
        let body = in_bytes(&json!({ "value": [first, neighbour, { "id": text }] }), broken);
        let rows = decode_page(&body).unwrap().rows;
        prop_assert!(rows[1].is_ok() && rows[2].is_err());
        let Ok(seen) = &rows[0] else {
            let why = &rows[0].as_ref().unwrap_err().why;
            prop_assert_eq!(why, "lastHeartbeatDateTime should be a date and time with an offset");
            return Ok(());
        };
        for list in Platform::ALL.map(|platform| seen.assignments.get(platform)) {
            prop_assert!(list.unsupported.iter().all(|kind| fits(kind, 256)));
        }

        let verdict = verdict(seen, reason, &message, &name, request.as_deref());
        let next = status::next(&Status::default(), &verdict, RULES, now());
        prop_assert_eq!(schema::wrong(&next), Vec::<String>::new());
        let stored = serde_json::to_value(&next).unwrap();
        for text in texts(&stored) {
            prop_assert!(fits(text, text::CONDITION_MESSAGE_CHARS), "{text:?}");
        }
        let echo = request.as_deref().map(|request| text::clean(request, 256));
        prop_assert_eq!(&next.last_handled_reconcile_at, &echo);
        // The API server gives it back as it was written, and the same verdict writes nothing.
        let stored: Status = serde_json::from_value(stored).unwrap();
        prop_assert_eq!(&stored, &next);
        prop_assert_eq!(&status::next(&stored, &verdict, RULES, now()), &next);

        let deeds = Deeds { updated: None, rebound_from: Some(text.clone()), contested: Some(text) };
        let before = Status { partner_state: Some("enabled".to_owned()), ..Status::default() };
        for notice in notices(&before, &next, &deeds) {
            prop_assert!(notice.reason.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{:?}", notice.reason);
        }
    }

    #[test]
    fn each_list_that_is_left_alone_is_named_with_room_for_advice(text in hostile()) {
        let seen = model::decode_row(&row("p1", &text, false)).unwrap();
        let spec = crate::api::partner::ComplianceManagementPartnerSpec {
            mac_os_enrollment_assignments: Some(Vec::new()),
            android_enrollment_assignments: Some(Vec::new()),
            ios_enrollment_assignments: Some(Vec::new()),
            ..make::nothing_managed()
        };
        let told = plan(&spec, &seen).unsupported_lists();
        prop_assert!(told.len() <= 700, "{told}");
        for platform in Platform::ALL {
            prop_assert!(told.contains(Property::EnrollmentAssignments(platform).name()), "{told}");
        }
        let note = ending(Ending::Unsupported(told)).note;
        prop_assert!(note.len() <= text::EVENT_NOTE_BYTES && note.contains("Clear them"), "{note}");
    }

    #[test]
    fn a_spec_that_deceives_changes_graph_to_the_letter_and_is_shown_clean(name in hostile()) {
        let name: String = name.chars().take(256).collect();
        let spec = crate::api::partner::ComplianceManagementPartnerSpec {
            display_name: Some(name.clone()),
            ..make::nothing_managed()
        };
        let planned = plan(&spec, &make::blank_row());
        let sent = planned.patch().to_json();
        prop_assert_eq!(sent["displayName"].as_str(), Some(name.as_str()));
        let drift = serde_json::to_value(planned.drift()).unwrap();
        prop_assert!(texts(&drift).into_iter().all(|text| fits(text, text::DISPLAY_NAME_CHARS)));
        let taken = make::taken(&make::blank_row(), &sent);
        prop_assert!(plan(&spec, &taken).is_empty());
    }
}
