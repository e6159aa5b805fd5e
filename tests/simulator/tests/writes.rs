//! What Graph takes and refuses, over real TLS.

use graph_simulator::{Answer, Options, Request, Script, ServiceOwned, ViolationKind};
use reqwest::Method;
use serde_json::json;

use crate::common::{P1, ROOT_TYPE, TENANT, World, change, group, inner, uuid};

const GROUP_1: &str = "AAAAAAAA-0000-4000-8000-000000000001";
const GROUP_2: &str = "aaaaaaaa-0000-4000-8000-000000000002";

#[tokio::test]
async fn a_patch_merges_and_replaces_lists_whole() {
    let world = World::start();
    let token = world.token().await;
    let body = change("iosEnrollmentAssignments", json!([group(GROUP_1), group(GROUP_2)]));
    let (status, shown) = world.patch(P1, &token, &body).await;
    assert_eq!(status, 200, "{shown}");
    let target =
        |id: &str| json!({ "target": { "@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": id } });
    assert_eq!(
        shown["iosEnrollmentAssignments"],
        json!([target(GROUP_1), target(GROUP_2)])
    );
    assert_eq!(shown["macOsOnboarded"], false);
    world
        .patch(P1, &token, &change("iosEnrollmentAssignments", json!([group(GROUP_2)])))
        .await;
    let row = world.control.row(TENANT, P1).unwrap();
    assert_eq!(row["iosEnrollmentAssignments"], json!([target(GROUP_2)]));
    assert!(row.get("@odata.type").is_none(), "an annotation is no property");
    world
        .patch(P1, &token, &change("iosEnrollmentAssignments", json!([])))
        .await;
    assert_eq!(
        world.control.row(TENANT, P1).unwrap()["iosEnrollmentAssignments"],
        json!([])
    );
    assert_eq!(world.kinds(), []);
    let patch = world.control.requests_where(Request::is_patch).remove(0);
    assert_eq!(patch.properties(), ["iosEnrollmentAssignments"]);
}

#[tokio::test]
async fn lists_can_come_back_in_another_order() {
    let world = World::with(
        Options {
            reorder_assignments: true,
            ..Options::default()
        },
        false,
    );
    let token = world.token().await;
    let body = change("iosEnrollmentAssignments", json!([group(GROUP_1), group(GROUP_2)]));
    let (_, shown) = world.patch(P1, &token, &body).await;
    let ids: Vec<&str> = shown["iosEnrollmentAssignments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|assignment| assignment["target"]["groupId"].as_str().unwrap())
        .collect();
    assert_eq!(ids, [GROUP_2, &GROUP_1.to_lowercase()]);
    // The same set again is no change, in whatever order it is sent.
    world.patch(P1, &token, &body).await;
    assert_eq!(world.kinds(), [ViolationKind::UnchangedProperty]);
}

#[tokio::test]
async fn what_a_wrong_client_sends_is_refused_and_noted() {
    let world = World::start();
    let token = world.token().await;
    let cases = [
        (
            change("partnerState", json!("enabled")),
            400,
            vec![ViolationKind::ServiceOwnedProperty],
        ),
        (change("id", json!(P1)), 400, vec![ViolationKind::ServiceOwnedProperty]),
        (
            change("lastHeartbeatDateTime", json!("2016-12-31T23:59:37.9174975-08:00")),
            400,
            vec![ViolationKind::ServiceOwnedProperty],
        ),
        (
            change("iosEnrollmentAssignments", json!(null)),
            400,
            vec![ViolationKind::NullValue],
        ),
        (
            json!({ "iosOnboarded": true }),
            200,
            vec![ViolationKind::MissingODataType],
        ),
        (
            change("iosOnboarded", json!(true)),
            200,
            vec![ViolationKind::UnchangedProperty],
        ),
        (
            json!({ "@odata.type": ROOT_TYPE }),
            200,
            vec![ViolationKind::EmptyPatch],
        ),
        (
            change(
                "iosEnrollmentAssignments",
                json!([{ "target": {
                "@odata.type": "#microsoft.graph.allDevicesAssignmentTarget" } }]),
            ),
            200,
            vec![ViolationKind::MissingODataType],
        ),
        (json!([]), 400, vec![ViolationKind::UnexpectedBody]),
        (change("MacOsOnboarded", json!(true)), 400, vec![]),
    ];
    for (body, expected, kinds) in cases {
        world.control.clear_violations();
        let (status, answer) = world.patch(P1, &token, &body).await;
        assert_eq!(status, expected, "{body}: {answer}");
        assert_eq!(world.kinds(), kinds, "{body}");
    }
    let (_, answer) = world.patch(P1, &token, &change("MacOsOnboarded", json!(true))).await;
    assert_eq!(answer["error"]["code"], "ModelValidationFailure");
    assert_eq!(
        answer["error"]["message"],
        "The property 'MacOsOnboarded' does not exist on type \
         'microsoft.management.services.api.complianceManagementPartner'. Make sure to only use property names that \
         are defined by the type."
    );
    let wrong_group = change("iosEnrollmentAssignments", json!([group("nope")]));
    let (status, answer) = world.patch(P1, &token, &wrong_group).await;
    assert_eq!(status, 400);
    let sentence = inner(&answer);
    assert!(
        sentence.starts_with("Invalid GroupId : nope provided, a valid AADGroupId is expected."),
        "{sentence}"
    );
    let (_, again) = world.patch(P1, &token, &wrong_group).await;
    assert_ne!(inner(&again), sentence, "ids and URL differ each time");

    let text = world
        .request(Method::PATCH, &format!("/{P1}"), &token)
        .body("{}")
        .header("content-type", "text/plain");
    assert_eq!(text.send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn a_violation_is_noted_where_a_script_answers_too() {
    let world = World::start();
    let token = world.token().await;
    world.control.script(Script::graph().answer(Answer::status(503)));
    assert_eq!(
        world
            .patch(P1, &token, &change("partnerState", json!("enabled")))
            .await
            .0,
        503
    );
    assert_eq!(world.kinds(), [ViolationKind::ServiceOwnedProperty]);
}

#[tokio::test]
async fn the_documents_own_example_can_be_taken() {
    let world = World::with(
        Options {
            service_owned: ServiceOwned::Accept,
            ..Options::default()
        },
        false,
    );
    let token = world.token().await;
    let assignments = json!([{ "@odata.type": "microsoft.graph.complianceManagementPartnerAssignment", "target": {
        "@odata.type": "microsoft.graph.configurationManagerCollectionAssignmentTarget",
        "collectionId": "Collection Id value" } }]);
    let body = json!({
        "@odata.type": ROOT_TYPE,
        "lastHeartbeatDateTime": "2016-12-31T23:59:37.9174975-08:00",
        "partnerState": "unavailable",
        "displayName": "Display Name value",
        "macOsOnboarded": true, "androidOnboarded": true, "iosOnboarded": true,
        "macOsEnrollmentAssignments": assignments,
        "androidEnrollmentAssignments": assignments,
        "iosEnrollmentAssignments": assignments,
    });
    let (status, row) = world.patch(P1, &token, &body).await;
    assert_eq!((status, &row["partnerState"]), (200, &json!("unavailable")));
    assert_eq!(world.kinds(), [ViolationKind::ServiceOwnedProperty; 2]);
}

#[tokio::test]
async fn headers_of_a_right_client_are_asked_for() {
    let world = World::start();
    let token = world.token().await;
    let bare = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(world.simulator.ca_pem().as_bytes()).unwrap()])
        .no_proxy()
        .build()
        .unwrap();
    bare.get(world.url("")).bearer_auth(&token).send().await.unwrap();
    assert_eq!(
        world.kinds(),
        [ViolationKind::MissingUserAgent, ViolationKind::MissingClientRequestId]
    );
    world.control.clear_violations();
    let id = uuid();
    for _ in 0..2 {
        let request = world
            .client
            .get(world.url(""))
            .bearer_auth(&token)
            .header("client-request-id", &id);
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["client-request-id"], id.as_str());
        let own = response.headers()["request-id"].to_str().unwrap().to_owned();
        assert_eq!(own, world.last().request_id);
    }
    assert_eq!(world.kinds(), [ViolationKind::RepeatedClientRequestId]);
}

#[tokio::test]
async fn rows_can_hold_anything() {
    let world = World::start();
    world
        .control
        .seed_row(TENANT, json!({ "id": "P2", "displayName": 7, "iosOnboarded": "yes" }))
        .unwrap();
    world.control.seed_row_as(TENANT, "odd", json!(7));
    world
        .control
        .seed_row_as(TENANT, "twin", world.control.base_row(P1, "again"));
    assert!(world.control.seed_row(TENANT, json!({})).is_err());
    let token = world.token().await;
    let (_, list) = world.list(&token).await;
    assert_eq!(
        list["value"][1],
        json!({ "id": "P2", "displayName": 7, "iosOnboarded": "yes" })
    );
    assert_eq!(list["value"][2], json!(7));
    assert_eq!(list["value"][3]["id"], P1);
    assert_eq!(world.get("odd", &token).await, (200, json!(7)));
}
