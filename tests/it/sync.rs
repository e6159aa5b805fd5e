//! A partner is synced for real: reads, changes and reports against a real API server and the simulator.

use graph_simulator::Request;
use harness::{PATIENCE, World};
use serde_json::json;

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";
const G1: &str = "7c1b0f5e-3f5a-4d0a-9f61-0d6f5a2b9b11";

async fn world(name: &str) -> anyhow::Result<World> {
    let world = World::new(name).await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    Ok(world)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partner_that_agrees_already_becomes_ready_without_a_change() -> anyhow::Result<()> {
    let mut world = world("agrees").await?;
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": false}))
        .await?;
    world.start().await?;
    let partner = world.in_sync("jamf").await?;
    let status = partner.status.unwrap();
    assert_eq!(status.partner_id.as_deref(), Some(P1));
    assert_eq!(status.tenant_id.as_deref(), Some(world.tenant.as_str()));
    assert_eq!(status.cloud.as_deref(), Some("Global"));
    assert_eq!(status.display_name.as_deref(), Some("Example Partner"));
    assert!(status.drift.is_none());
    assert_eq!(world.patches(), 0);
    let connection = world.connection_is("contoso", "True", "Connected").await?;
    let status = connection.status.unwrap();
    assert_eq!(status.roles.unwrap(), ["DeviceManagementServiceConfig.ReadWrite.All"]);
    assert_eq!(status.partners.unwrap()[0].id, P1);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_is_one_get_one_patch_with_exactly_the_changed_properties_and_one_get() -> anyhow::Result<()> {
    let mut world = world("edit").await?;
    world
        .partner(
            "jamf",
            json!({"partnerRef": {"id": P1}, "iosOnboarded": false, "macOsOnboarded": false}),
        )
        .await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    world.graph().clear_log();
    let spec = json!({
        "partnerRef": {"id": P1}, "iosOnboarded": true, "macOsOnboarded": false,
        "macOsEnrollmentAssignments": [
            {"target": {"type": "Group", "groupId": G1}},
            {"target": {"type": "AllDevices"}},
        ],
    });
    world.partner("jamf", spec).await?;
    let partner = world.in_sync("jamf").await?;
    let requests = world.graph().requests_where(Request::is_graph);
    let methods: Vec<&str> = requests.iter().map(|request| request.method.as_str()).collect();
    assert_eq!(methods, ["GET", "PATCH", "GET"], "{requests:#?}");
    assert_eq!(requests[1].properties(), ["iosOnboarded", "macOsEnrollmentAssignments"]);
    let body = requests[1].body.clone().unwrap();
    assert_eq!(body["@odata.type"], "#microsoft.graph.complianceManagementPartner");
    let targets: Vec<&str> = body["macOsEnrollmentAssignments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["target"]["@odata.type"].as_str().unwrap())
        .collect();
    assert_eq!(
        targets,
        [
            "#microsoft.graph.groupAssignmentTarget",
            "#microsoft.graph.allDevicesAssignmentTarget"
        ]
    );
    assert!(partner.status.unwrap().last_update_time.is_some());
    assert!(
        world.graph().violations().is_empty(),
        "{:?}",
        world.graph().violations()
    );
    let row = world.graph().row(&world.tenant, P1).unwrap();
    assert_eq!(row["iosOnboarded"], true);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_list_clears_and_an_absent_one_is_left_alone() -> anyhow::Result<()> {
    let mut world = world("lists").await?;
    let entry = json!([{"target": {"@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": G1}}]);
    world.graph().change_row(
        &world.tenant,
        P1,
        json!({"androidEnrollmentAssignments": entry, "iosEnrollmentAssignments": entry}),
    )?;
    world
        .partner(
            "jamf",
            json!({"partnerRef": {"id": P1}, "androidEnrollmentAssignments": []}),
        )
        .await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    let row = world.graph().row(&world.tenant, P1).unwrap();
    assert_eq!(row["androidEnrollmentAssignments"], json!([]));
    assert_eq!(row["iosEnrollmentAssignments"].as_array().unwrap().len(), 1);
    assert_eq!(world.patches(), 1);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drift_is_corrected_once_a_poll() -> anyhow::Result<()> {
    let mut world = world("drift").await?;
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    world.start_polling().await?;
    world.in_sync("jamf").await?;
    for _ in 0..2 {
        world.graph().clear_log();
        world
            .graph()
            .change_row(&world.tenant, P1, json!({"iosOnboarded": false}))?;
        // Read, changed, read again: only then does the operator know that the change took.
        let graph = world.graph();
        let by_id = graph.wait_for_requests(|request| !request.is_list() && request.status.is_some(), 3, PATIENCE);
        let methods: Vec<String> = by_id.await?.into_iter().map(|request| request.method).collect();
        assert_eq!(methods, ["GET", "PATCH", "GET"]);
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_observe_drift_is_only_told() -> anyhow::Result<()> {
    let mut world = world("observe").await?;
    let spec =
        json!({"partnerRef": {"displayName": "Example Partner"}, "managementPolicy": "Observe", "iosOnboarded": true});
    world.partner("jamf", spec).await?;
    world.start().await?;
    let partner = world.partner_is("jamf", "Synced", "False", "DriftDetected").await?;
    let status = partner.status.unwrap();
    let drift = status.drift.unwrap();
    assert_eq!(
        (drift[0].field.as_str(), drift[0].desired.as_deref()),
        ("iosOnboarded", Some("true"))
    );
    assert_eq!(drift[0].observed.as_deref(), Some("false"));
    assert_eq!(world.patches(), 0);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_idle_polls_are_one_list_each_and_write_nothing() -> anyhow::Result<()> {
    let mut world = world("idle").await?;
    for number in 0..5 {
        let id = format!("aaaaaaaa-1111-4111-8111-0000000001{number:02}");
        world.row(&id, &format!("Partner {number}"))?;
        world
            .partner(
                &format!("p{number}"),
                json!({"partnerRef": {"id": id}, "iosOnboarded": true}),
            )
            .await?;
    }
    world.start_polling().await?;
    let from = world.settled(&["p0", "p1", "p2", "p3", "p4"], true).await?;
    world.graph().clear_log();
    world.graph().wait_for_requests(Request::is_list, 10, PATIENCE).await?;
    let requests = world.graph().requests_where(Request::is_graph);
    assert!(requests.iter().all(Request::is_list), "{requests:#?}");
    assert_eq!(world.patches(), 0);
    let writes = world.operator_writes_since(from)?;
    assert!(writes.is_empty(), "{writes:#?}");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_annotation_asks_for_a_pass_with_a_fresh_read() -> anyhow::Result<()> {
    let mut world = world("request").await?;
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    world
        .graph()
        .change_row(&world.tenant, P1, json!({"iosOnboarded": false}))?;
    world.graph().clear_log();
    world.asked("jamf", "now").await?;
    let row = world.graph().row(&world.tenant, P1).unwrap();
    assert_eq!(row["iosOnboarded"], true);
    world.stop().await
}
