//! A change is refused, gets lost, or has no effect.

use std::time::Duration;

use graph_simulator::{Action, Answer, IgnoreWrites, Request, Script};
use harness::PATIENCE;
use serde_json::json;

use super::{P1, of, pair, told, world};

const G1: &str = "7c1b0f5e-3f5a-4d0a-9f61-0d6f5a2b9b11";

fn patch() -> Script {
    Script::graph().method("PATCH")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_graph_refuses_is_told_and_waits_for_an_edit() -> anyhow::Result<()> {
    let mut world = world("refused").await?;
    let sentence = format!("Group {G1} is not acceptable. Activity ID: 0f0e0d0c-1111-4222-8333-444455556666");
    let answer = Answer::json(400, json!({"error": {"code": "BadRequest", "message": sentence}}));
    let script = world.graph().script(patch().answer(answer));
    let spec = json!({"partnerRef": {"id": P1}, "iosOnboarded": true});
    world.partner("jamf", spec).await?;
    let mut config = world.config();
    config.timing.slow = Duration::from_secs(600);
    config.timing.sync_interval = Duration::from_secs(1);
    world.start_with(config).await?;
    let partner = world.partner_is("jamf", "Ready", "False", "RejectedByGraph").await?;
    assert_eq!(pair(&partner), (false, true));
    assert_eq!(format!("{:?}", of(&partner, "Synced").unwrap().status), "False");
    let told = told(&partner);
    assert!(
        told.contains("is not acceptable") && !told.contains("0f0e0d0c"),
        "{told}"
    );
    assert_eq!(partner.status.unwrap().drift.unwrap()[0].field, "iosOnboarded");
    assert_eq!(world.event("jamf", "RejectedByGraph").await?.0, "Warning");
    world.graph().clear_log();
    world.graph().wait_for_requests(Request::is_list, 3, PATIENCE).await?;
    assert_eq!(world.patches(), 0, "polls do not send it again");

    world.graph().remove_script(script);
    world
        .partner(
            "jamf",
            json!({"partnerRef": {"id": P1}, "iosOnboarded": true, "macOsOnboarded": true}),
        )
        .await?;
    world.in_sync("jamf").await?;
    assert_eq!(world.patches(), 1);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_in_spite_of_the_right_role_is_told_as_one() -> anyhow::Result<()> {
    let mut world = world("app-only").await?;
    let answer = Answer::json(
        403,
        json!({"error": {"code": "Forbidden", "message": "Application is not authorized."}}),
    );
    world.graph().script(patch().answer(answer));
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    world.start().await?;
    let partner = world.partner_is("jamf", "Ready", "False", "PermissionDenied").await?;
    assert!(told(&partner).contains("app-only access"), "{}", told(&partner));
    assert_eq!(pair(&partner), (true, false));
    world.connection_is("contoso", "True", "Connected").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_may_be_answered_without_a_body() -> anyhow::Result<()> {
    let mut world = world("bodyless").await?;
    world.start().await?;
    for (status, flag) in [(204, true), (200, false)] {
        world.graph().clear_scripts();
        world.graph().clear_log();
        world
            .graph()
            .script(patch().action(Action::ApplyThenAnswer(Answer::status(status))));
        world
            .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": flag}))
            .await?;
        world.in_sync("jamf").await?;
        assert_eq!(world.patches(), 1, "HTTP {status}");
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_whose_answer_is_lost_is_not_sent_twice() -> anyhow::Result<()> {
    let mut world = world("lost").await?;
    world.graph().script(patch().action(Action::ApplyThenReset).times(1));
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    assert_eq!(world.patches(), 1);
    assert_eq!(world.graph().row(&world.tenant, P1).unwrap()["iosOnboarded"], true);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_shows_late_is_waited_for() -> anyhow::Result<()> {
    let mut world = world("verifying").await?;
    world
        .graph()
        .ignore_writes(&world.tenant, P1, IgnoreWrites::all().for_gets(2))?;
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    let mut config = world.config();
    config.timing.grace = [Duration::from_secs(1); 3];
    world.start_with(config).await?;
    let partner = world.partner_is("jamf", "Ready", "False", "Verifying").await?;
    assert_eq!(pair(&partner), (true, false));
    let partner = world.in_sync("jamf").await?;
    assert_eq!(world.patches(), 1);
    assert!(partner.status.unwrap().last_update_time.is_some());
    assert_eq!(world.event("jamf", "Verifying").await?.0, "Warning");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_without_effect_is_sent_again_only_when_something_is_new() -> anyhow::Result<()> {
    let mut world = world("ineffective").await?;
    world
        .graph()
        .ignore_writes(&world.tenant, P1, IgnoreWrites::fields(["iosOnboarded"]))?;
    let mut spec = json!({"partnerRef": {"id": P1}, "iosOnboarded": true, "macOsOnboarded": true});
    world.partner("jamf", spec.clone()).await?;
    world.start_polling().await?;
    let partner = world.partner_is("jamf", "Ready", "False", "UpdateIneffective").await?;
    assert!(told(&partner).contains("iosOnboarded") && !told(&partner).contains("macOsOnboarded"));
    assert_eq!(pair(&partner), (false, true));
    let drift = partner.status.unwrap().drift.unwrap();
    assert_eq!((drift.len(), drift[0].field.as_str()), (1, "iosOnboarded"));
    assert_eq!(world.patches(), 1);
    // Slow retries and polls look, and send nothing.
    world.graph().clear_log();
    world.graph().wait_for_requests(Request::is_list, 4, PATIENCE).await?;
    assert_eq!(world.patches(), 0);
    world.partner_is("jamf", "Stalled", "True", "UpdateIneffective").await?;

    // A request sends it again, and so does an edit: only what is left of it.
    world.ask("cmp/jamf", "try it again").await?;
    let sent = world.graph().wait_for_requests(Request::is_patch, 1, PATIENCE).await?;
    assert_eq!(sent[0].properties(), ["iosOnboarded"]);
    world.partner_is("jamf", "Ready", "False", "UpdateIneffective").await?;
    spec["androidOnboarded"] = json!(true);
    world.partner("jamf", spec).await?;
    let sent = world.graph().wait_for_requests(Request::is_patch, 2, PATIENCE).await?;
    assert_eq!(sent[1].properties(), ["androidOnboarded", "iosOnboarded"]);
    world.partner_is("jamf", "Ready", "False", "UpdateIneffective").await?;

    // Somebody does in the portal what the operator could not.
    world
        .graph()
        .change_row(&world.tenant, P1, json!({"iosOnboarded": true}))?;
    world.in_sync("jamf").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_with_an_entry_that_cannot_be_expressed_is_left_alone() -> anyhow::Result<()> {
    let mut world = world("unsupported").await?;
    let strange = json!([{"target": {"@odata.type": "#microsoft.graph.deviceHeapAssignmentTarget", "heapId": "1"}}]);
    world
        .graph()
        .change_row(&world.tenant, P1, json!({"macOsEnrollmentAssignments": strange}))?;
    let mut spec = json!({
        "partnerRef": {"id": P1}, "iosOnboarded": true,
        "macOsEnrollmentAssignments": [{"target": {"type": "Group", "groupId": G1}}],
    });
    world.partner("jamf", spec.clone()).await?;
    world.start().await?;
    let partner = world.partner_is("jamf", "Ready", "False", "UnsupportedTarget").await?;
    assert!(
        told(&partner).contains("macOsEnrollmentAssignments"),
        "{}",
        told(&partner)
    );
    assert_eq!(pair(&partner), (false, true));
    let sent = world.graph().requests_where(Request::is_patch);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].properties(), ["iosOnboarded"]);

    spec["managementPolicy"] = json!("Observe");
    world.partner("jamf", spec).await?;
    let partner = world.partner_is("jamf", "Synced", "False", "DriftDetected").await?;
    assert!(
        told(&partner).contains("macOsEnrollmentAssignments"),
        "{}",
        told(&partner)
    );
    assert_eq!(pair(&partner), (false, false));
    assert_eq!(world.patches(), 1);
    assert_eq!(
        world.graph().row(&world.tenant, P1).unwrap()["macOsEnrollmentAssignments"],
        strange
    );
    world.stop().await
}
