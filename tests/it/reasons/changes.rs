//! Precedence among what Graph makes of a change: refused, taken and not shown, or not to be sent.

use std::time::Duration;

use anyhow::ensure;
use graph_simulator::{IgnoreWrites, Request, Script};
use harness::{PATIENCE, World, wait_for};
use serde_json::{Value, json};

use super::gallery::{refusal, refusal_of_a_change, strange};
use super::look::{PARTNERS, edit, is, judged, object, passes, shows};
use super::row;

const KIND: &str = "ComplianceManagementPartner";
const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";
const GROUP: &str = "7c1b0f5e-3f5a-4d0a-9f61-0d6f5a2b9b11";

/// Partners by what Graph says to a change of theirs.
const REFUSED: [(&str, &str); 3] = [
    ("permissiondenied", "PermissionDenied"),
    ("tenantnotlicensed", "TenantNotLicensed"),
    ("rejectedbygraph", "RejectedByGraph"),
];

fn id(place: usize) -> String {
    format!("aaaaaaaa-1111-4111-8111-0000000001{place:02}")
}

fn refuse(world: &World, name: &str, id: &str) -> anyhow::Result<u64> {
    let answer = refusal_of_a_change(name)?;
    Ok(world
        .graph()
        .script(Script::graph().method("PATCH").path(id).answer(answer)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_comes_before_what_does_not_show() -> anyhow::Result<()> {
    let mut world = World::new("shows-not").await?;
    world.connect().await?;
    for (place, (name, _)) in REFUSED.iter().enumerate() {
        world.row(&id(place), name)?;
        world
            .graph()
            .ignore_writes(&world.tenant, &id(place), IgnoreWrites::fields(["iosOnboarded"]))?;
        let spec = json!({"partnerRef": {"id": id(place)}, "iosOnboarded": true, "macOsOnboarded": false});
        world.partner(name, spec).await?;
    }
    let mut config = world.config();
    config.timing.sync_interval = Duration::from_secs(1);
    config.timing.grace = [Duration::from_millis(500); 3];
    config.timing.slow = Duration::from_millis(700);
    config.timing.very_slow = Duration::from_millis(700);
    world.start_with(config).await?;

    for (place, (name, reason)) in REFUSED.iter().enumerate() {
        let object = id(place);
        // First while the change is waited for, then when that was given up.
        for waited in ["Verifying", "UpdateIneffective"] {
            if waited == "Verifying" {
                edit(&world, name, json!({"androidOnboarded": false})).await?;
            }
            let waiting = is(&world, name, waited).await?;
            let updated = waiting.pointer("/status/lastUpdateTime").is_some();
            assert_eq!(updated, waited == "UpdateIneffective", "{waiting:#}");
            let script = refuse(&world, name, &object)?;
            world.graph().clear_log();
            world
                .graph()
                .change_row(&world.tenant, &object, json!({"macOsOnboarded": true}))?;
            is(&world, name, reason).await?;
            // It is sent again and again, and what had no effect is not sent along.
            let path = object.clone();
            let sent = move |request: &Request| request.is_patch() && request.path.ends_with(&path);
            for patch in world.graph().wait_for_requests(sent, 3, PATIENCE).await? {
                assert_eq!(patch.properties(), ["macOsOnboarded"], "{name}, {waited}");
            }
            world.graph().remove_script(script);
            let taken = |row: &Value| row["macOsOnboarded"] == false;
            world
                .graph()
                .wait_for_row(&world.tenant, &object, taken, PATIENCE)
                .await?;
            is(&world, name, "UpdateIneffective").await?;
        }
        // A second change that does not show is waited for, whatever was given up before.
        let rule = IgnoreWrites::fields(["iosOnboarded", "macOsOnboarded"]);
        world.graph().ignore_writes(&world.tenant, &object, rule)?;
        world
            .graph()
            .change_row(&world.tenant, &object, json!({"macOsOnboarded": true}))?;
        is(&world, name, "Verifying").await?;
        let given_up = is(&world, name, "UpdateIneffective").await?;
        assert_eq!(
            given_up["status"]["drift"].as_array().map(Vec::len),
            Some(2),
            "{given_up:#}"
        );
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unsupported_list_comes_last_but_for_what_is_only_observed() -> anyhow::Result<()> {
    let mut world = World::new("strange").await?;
    world.connect().await?;
    let names: Vec<(&str, &str)> = [&REFUSED[..], &[("updateineffective", "UpdateIneffective")]].concat();
    let groups = json!([{"target": {"type": "Group", "groupId": GROUP}}]);
    let mut refusals = Vec::new();
    for (place, (name, reason)) in names.iter().enumerate() {
        world.row(&id(place), name)?;
        world.graph().change_row(
            &world.tenant,
            &id(place),
            json!({"macOsEnrollmentAssignments": strange()}),
        )?;
        if *reason == "UpdateIneffective" {
            let rule = IgnoreWrites::fields(["iosOnboarded"]);
            world.graph().ignore_writes(&world.tenant, &id(place), rule)?;
        } else {
            refusals.push(refuse(&world, name, &id(place))?);
        }
        let spec = json!({
            "partnerRef": {"id": id(place)}, "iosOnboarded": true, "macOsEnrollmentAssignments": groups,
        });
        world.partner(name, spec).await?;
    }
    let mut config = world.config();
    config.timing.grace = [Duration::from_millis(700); 3];
    world.start_with(config).await?;
    is(&world, "updateineffective", "Verifying").await?;
    for (name, reason) in &names {
        let found = is(&world, name, reason).await?;
        assert_eq!(found["status"]["drift"][0]["field"], "iosOnboarded", "{found:#}");
    }
    for script in refusals {
        world.graph().remove_script(script);
    }
    let last = names.len() - 1;
    world
        .graph()
        .change_row(&world.tenant, &id(last), json!({"iosOnboarded": true}))?;
    for (name, _) in &names {
        is(&world, name, "UnsupportedTarget").await?;
    }
    for (name, _) in &names {
        edit(&world, name, json!({"managementPolicy": "Observe"})).await?;
        is(&world, name, "DriftDetected").await?;
    }
    for (place, (name, _)) in names.iter().enumerate() {
        let same = json!([{"target": {"@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": GROUP}}]);
        world
            .graph()
            .change_row(&world.tenant, &id(place), json!({"macOsEnrollmentAssignments": same}))?;
        world.asked(name, "expressible").await?;
        is(&world, name, "InSync").await?;
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_on_the_way_comes_before_a_change_that_does_not_show() -> anyhow::Result<()> {
    let mut world = World::new("on-the-way").await?;
    world.connect().await?;
    world.row(P1, "Example Partner")?;
    world
        .graph()
        .ignore_writes(&world.tenant, P1, IgnoreWrites::fields(["iosOnboarded"]))?;
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    let mut config = world.config();
    config.timing.grace = [Duration::from_millis(1_500); 3];
    world.start_with(config).await?;
    is(&world, "jamf", "Verifying").await?;
    for (status, code, reason) in [
        (503, "ServiceUnavailable", "GraphUnavailable"),
        (429, "TooManyRequests", "Throttled"),
    ] {
        let outage = world
            .graph()
            .script(Script::graph().answer(refusal(status, code, "Later.")));
        shows(&world, PARTNERS, "jamf", &row(reason, "False")?).await?;
        world.graph().remove_script(outage);
        is(&world, "jamf", "Verifying").await?;
    }
    let given_up = is(&world, "jamf", "UpdateIneffective").await?;
    assert_eq!(world.patches(), 1, "an outage is no reason to send it again");
    // What is Stalled stays.
    let outage = world
        .graph()
        .script(Script::graph().answer(refusal(503, "ServiceUnavailable", "Later.")));
    wait_for("passes during the outage", PATIENCE, async || {
        ensure!(passes(&world, KIND, "GraphUnavailable")? >= 3, "fewer");
        Ok(())
    })
    .await?;
    let still = object(&world, PARTNERS, "jamf").await?;
    assert_eq!(judged(&given_up), judged(&still));
    world.graph().remove_script(outage);
    // A refusal to read does not; and when it is over, nothing is sent again either.
    for (name, reason) in REFUSED {
        let answer = refusal_of_a_change(name)?;
        let script = world
            .graph()
            .script(Script::graph().method("GET").path(P1).answer(answer));
        shows(&world, PARTNERS, "jamf", &row(reason, "")?).await?;
        world.graph().remove_script(script);
        shows(&world, PARTNERS, "jamf", &row("UpdateIneffective", "")?).await?;
    }
    assert_eq!(world.patches(), 1);
    world.stop().await
}
