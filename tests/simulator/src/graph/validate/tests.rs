//! Bodies of a PATCH, one by one.

use serde_json::json;

use super::*;

fn verdict(body: &Value) -> Verdict {
    check(
        body.to_string().as_bytes(),
        Some("application/json"),
        "x",
        ServiceOwned::Refuse,
    )
}

fn sentence(body: &Value) -> String {
    match verdict(body).changes {
        Ok(changes) => panic!("accepted: {changes:?}"),
        Err(failure) => match failure.message {
            crate::graph::error::Message::Plain(text)
            | crate::graph::error::Message::Twice(text)
            | crate::graph::error::Message::Intune { sentence: text, .. } => text,
        },
    }
}

const ROOT: &str = "#microsoft.graph.complianceManagementPartner";

fn with_target(target: &Value) -> Value {
    json!({
        "@odata.type": ROOT,
        "iosEnrollmentAssignments": [{
            "@odata.type": "#microsoft.graph.complianceManagementPartnerAssignment", "target": target
        }],
    })
}

#[test]
fn takes_what_the_documents_show() {
    let target = json!({
        "@odata.type": "microsoft.graph.configurationManagerCollectionAssignmentTarget", "collectionId": "SMS00001"
    });
    let verdict = verdict(&with_target(&target));
    assert_eq!(verdict.violations, []);
    let stored = json!([{ "target": {
        "@odata.type": "#microsoft.graph.configurationManagerCollectionAssignmentTarget", "collectionId": "SMS00001"
    } }]);
    assert_eq!(verdict.changes.unwrap().get("iosEnrollmentAssignments"), Some(&stored));
}

#[test]
fn refuses_wrong_targets_with_the_observed_sentences() {
    let cases = [
        (json!({}), "Cannot create an abstract class."),
        (json!({ "groupId": "x" }), "Cannot create an abstract class."),
        (
            json!({ "@odata.type": "#microsoft.graph.deviceAndAppManagementAssignmentTarget" }),
            "Cannot create an abstract class.",
        ),
        (
            json!({ "@odata.type": "microsoft.graph.#microsoft.graph.groupAssignmentTarget" }),
            "Invalid OData type specified: \"microsoft.graph.#microsoft.graph.groupAssignmentTarget\"",
        ),
        (
            json!({ "@odata.type": "##microsoft.graph.groupAssignmentTarget" }),
            "Invalid OData type specified: \"##microsoft.graph.groupAssignmentTarget\"",
        ),
        (
            json!({ "@odata.type": "#microsoft.graph.scopeTagGroupAssignmentTarget" }),
            "A type named 'microsoft.graph.scopeTagGroupAssignmentTarget' could not be resolved",
        ),
        (
            json!({ "@odata.type": "groupAssignmentTarget" }),
            "A type named 'groupAssignmentTarget' could not",
        ),
        (
            json!({ "@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": "nope" }),
            "Invalid GroupId : nope provided, a valid AADGroupId is expected.",
        ),
        (
            json!({ "@odata.type": "#microsoft.graph.groupAssignmentTarget" }),
            "Invalid GroupId :  provided",
        ),
        (
            json!({ "@odata.type": "#microsoft.graph.allDevicesAssignmentTarget", "groupId": "x" }),
            "The property 'groupId' does not exist on type \
             'microsoft.management.services.api.allDevicesAssignmentTarget'",
        ),
        (
            json!({ "@odata.type": "#microsoft.graph.configurationManagerCollectionAssignmentTarget" }),
            "Cannot convert the literal 'null' to the expected type 'Edm.String'.",
        ),
        (json!(null), "An unexpected 'PrimitiveValue' node"),
    ];
    for (target, expected) in cases {
        let sentence = sentence(&with_target(&target));
        assert!(sentence.starts_with(expected), "{target}: {sentence}");
    }
}

#[test]
fn refuses_wrong_properties() {
    let cases = [
        (
            json!({ "MacOsOnboarded": true }),
            "The property 'MacOsOnboarded' does not exist on type",
        ),
        (
            json!({ "macOSOnboarded": true }),
            "The property 'macOSOnboarded' does not exist on type",
        ),
        (
            json!({ "linuxOnboarded": true }),
            "The property 'linuxOnboarded' does not exist on type",
        ),
        (
            json!({ "iosOnboarded": "true" }),
            "Cannot convert the literal 'true' to the expected type 'Edm.Boolean'.",
        ),
        (
            json!({ "iosOnboarded": null }),
            "A null value was found for the property named 'iosOnboarded'",
        ),
        (
            json!({ "iosEnrollmentAssignments": null }),
            "A null value was found for the property named",
        ),
        (
            json!({ "iosEnrollmentAssignments": {} }),
            "An unexpected 'StartObject' node",
        ),
        (
            json!({ "iosEnrollmentAssignments": [7] }),
            "An unexpected 'PrimitiveValue' node",
        ),
        (json!({ "displayName": ["x"] }), "An unexpected 'StartArray' node"),
        (json!({ "id": "x" }), "The property 'id' belongs to the service"),
        (
            json!({ "partnerState": "enabled" }),
            "The property 'partnerState' belongs to the service",
        ),
        (
            json!({ "@odata.type": "#microsoft.graph.deviceManagementPartner" }),
            "A type named",
        ),
    ];
    for (body, expected) in cases {
        let sentence = sentence(&body);
        assert!(sentence.starts_with(expected), "{body}: {sentence}");
    }
}

#[test]
fn types_are_checked_where_the_service_s_own_properties_are_taken() {
    let take = |body: &Value| {
        check(
            body.to_string().as_bytes(),
            Some("application/json; charset=utf-8"),
            "x",
            ServiceOwned::Accept,
        )
    };
    let good = take(&json!({ "@odata.type": ROOT, "partnerState": "rejected",
        "lastHeartbeatDateTime": "2016-12-31T23:59:37.9174975-08:00" }));
    assert!(good.changes.is_ok());
    assert_eq!(good.violations.len(), 2);
    for bad in [
        json!({ "partnerState": "Enabled" }),
        json!({ "partnerState": "active" }),
        json!({ "partnerState": 2 }),
        json!({ "lastHeartbeatDateTime": "2016-12-31" }),
        json!({ "lastHeartbeatDateTime": null }),
    ] {
        assert!(take(&bad).changes.is_err(), "{bad}");
    }
}

#[test]
fn a_null_name_is_allowed_by_the_metadata() {
    let verdict = verdict(&json!({ "@odata.type": ROOT, "displayName": null }));
    assert_eq!(verdict.changes.unwrap().get("displayName"), Some(&Value::Null));
    assert_eq!(verdict.violations, []);
}

#[test]
fn an_empty_or_untyped_patch_is_a_violation() {
    let verdict = verdict(&json!({}));
    assert!(verdict.changes.is_ok());
    let kinds: Vec<_> = verdict.violations.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [ViolationKind::MissingODataType, ViolationKind::EmptyPatch]);
}
