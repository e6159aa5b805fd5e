//! What status tells: of each write, of each field, and of what Graph has in whatever spelling.

use std::time::Duration;

use anyhow::ensure;
use graph_simulator::{Answer, IgnoreWrites, Options, Request, Script};
use harness::{OPERATOR, PATIENCE, World, wait_for};
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::history::{History, at, check, of};

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";
const P2: &str = "aaaaaaaa-1111-4111-8111-000000000002";
const P3: &str = "aaaaaaaa-1111-4111-8111-000000000003";
const G1: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const G2: &str = "bbbbbbbb-0000-4000-8000-000000000002";
const G3: &str = "cccccccc-0000-4000-8000-000000000003";

async fn world(name: &str) -> anyhow::Result<World> {
    let world = World::new(name).await?;
    for (id, name) in [(P1, "Example Partner"), (P2, "Other Partner"), (P3, "Third Partner")] {
        world.row(id, name)?;
    }
    world.connect().await?;
    Ok(world)
}

fn changed(world: &World, id: &str, changes: Value) -> anyhow::Result<()> {
    world.graph().change_row(&world.tenant, id, changes)
}

/// An entry as Graph has it.
fn graphs(kind: &str, id: &str) -> Value {
    let kind_of = format!("#microsoft.graph.{kind}AssignmentTarget");
    let target = match kind {
        "group" | "exclusionGroup" => json!({"@odata.type": kind_of, "groupId": id}),
        "configurationManagerCollection" => json!({"@odata.type": kind_of, "collectionId": id}),
        _ => json!({"@odata.type": kind_of}),
    };
    json!({"target": target})
}

/// An entry as spec has it.
fn ours(kind: &str, id: &str) -> Value {
    let target = match kind {
        "Group" | "ExclusionGroup" => json!({"type": kind, "groupId": id}),
        "ConfigurationManagerCollection" => json!({"type": kind, "collectionId": id}),
        _ => json!({"type": kind}),
    };
    json!({"target": target})
}

/// Waits until the clock shows a later second than this time.
async fn until_after(time: &str) -> anyhow::Result<()> {
    let second = time.parse::<Timestamp>()?.as_second();
    wait_for("the next second", PATIENCE, async || {
        (Timestamp::now().as_second() > second).then_some(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_write_of_status_tells_the_generation_that_was_seen() -> anyhow::Result<()> {
    let mut world = world("history").await?;
    let history = History::of(&world).await?;
    world.start().await?;
    let partners = world.partners();
    let edit = async |spec: Value| {
        let patch = Patch::Merge(json!({"spec": spec}));
        partners.patch("jamf", &PatchParams::default(), &patch).await
    };
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    let partner = world.in_sync("jamf").await?;
    // A reason that changes within a second would hide a transition time that moves with it.
    let since = of(&partner, "Ready").unwrap().last_transition_time;
    until_after(&since).await?;
    edit(json!({"managementPolicy": "Observe", "macOsOnboarded": true})).await?;
    world.partner_is("jamf", "Synced", "False", "DriftDetected").await?;
    edit(json!({"suspend": true})).await?;
    world.partner_is("jamf", "Synced", "Unknown", "Suspended").await?;
    edit(json!({"suspend": null, "managementPolicy": null})).await?;
    world.in_sync("jamf").await?;
    let refusal = Answer::json(
        400,
        json!({"error": {"code": "BadRequest", "message": "Not acceptable."}}),
    );
    let script = Script::graph().method("PATCH").answer(refusal).times(1);
    world.graph().script(script);
    edit(json!({"androidOnboarded": true})).await?;
    world.partner_is("jamf", "Stalled", "True", "RejectedByGraph").await?;
    world.asked("jamf", "once more").await?;
    world.in_sync("jamf").await?;
    let outage = world.graph().script(Script::graph().answer(Answer::status(503)));
    edit(json!({"iosOnboarded": false})).await?;
    world.partner_is("jamf", "Ready", "False", "GraphUnavailable").await?;
    world.graph().remove_script(outage);
    world.in_sync("jamf").await?;
    // An edit back and forth, while nobody looks: generations are skipped, never told late.
    world.stop().await?;
    for value in [true, false, true] {
        edit(json!({"iosOnboarded": value})).await?;
    }
    world.start().await?;
    let last = world.in_sync("jamf").await?;
    let versions = history.until(&last).await?;
    check(&versions)?;

    assert_eq!(
        at(&versions[0], "/status/observedGeneration"),
        -1,
        "nobody has looked at it"
    );
    let mut generations = Vec::new();
    for (before, after) in versions.iter().zip(versions.iter().skip(1)) {
        if at(before, "/status") == at(after, "/status") {
            continue;
        }
        let generation = at(after, "/metadata/generation");
        if generations.last() != Some(&generation) {
            assert_eq!(
                at(after, "/status/observedGeneration"),
                generation,
                "the first write of its generation"
            );
            generations.push(generation);
        }
    }
    assert_eq!(generations, [1, 2, 3, 4, 5, 6, 9]);
    // Nothing but status was written, under the operator's own name.
    for version in &versions {
        for entry in version.metadata.managed_fields.iter().flatten() {
            let status = entry.subresource.as_deref() == Some("status");
            assert_eq!(
                status,
                entry.manager.as_deref() == Some("compliance-partner-operator"),
                "{entry:?}"
            );
        }
        assert!(version.metadata.finalizers.is_none());
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drift_tells_each_field_in_its_own_form_and_enforce_sends_just_that() -> anyhow::Result<()> {
    let mut world = world("drift-form").await?;
    let has = json!({
        "macOsOnboarded": true, "androidOnboarded": true, "iosOnboarded": false,
        "macOsEnrollmentAssignments": [graphs("group", G1), graphs("group", G2), graphs("allDevices", "")],
        "androidEnrollmentAssignments": [graphs("exclusionGroup", G3)],
        "iosEnrollmentAssignments": [],
    });
    changed(&world, P1, has)?;
    let spec = json!({
        "partnerRef": {"id": P1}, "managementPolicy": "Observe", "displayName": "Wanted",
        "macOsOnboarded": false, "androidOnboarded": false, "iosOnboarded": true,
        "macOsEnrollmentAssignments": [ours("Group", G1), ours("Group", G3)],
        "androidEnrollmentAssignments": [],
        "iosEnrollmentAssignments": [
            ours("ConfigurationManagerCollection", "SMS00001"), ours("AllLicensedUsers", ""), ours("ExclusionGroup", G1),
        ],
    });
    world.partner("jamf", spec.clone()).await?;
    world.start().await?;
    let partner = world.partner_is("jamf", "Synced", "False", "DriftDetected").await?;
    let drift = json!([
        {"field": "displayName", "desired": "Wanted", "observed": "Example Partner"},
        {"field": "macOsOnboarded", "desired": "false", "observed": "true"},
        {"field": "androidOnboarded", "desired": "false", "observed": "true"},
        {"field": "iosOnboarded", "desired": "true", "observed": "false"},
        {"field": "macOsEnrollmentAssignments", "missing": 1, "extra": 2, "example": format!("Group {G2}")},
        {"field": "androidEnrollmentAssignments", "missing": 0, "extra": 1, "example": format!("ExclusionGroup {G3}")},
        {"field": "iosEnrollmentAssignments", "missing": 3, "extra": 0, "example": format!("ExclusionGroup {G1}")},
    ]);
    assert_eq!(at(&partner, "/status/drift"), drift);
    assert_eq!(at(&partner, "/status/platforms"), json!(["macOS", "Android"]));
    assert_eq!(at(&partner, "/status/displayName"), "Example Partner");
    assert!(partner.metadata.finalizers.is_none());
    assert_eq!(world.patches(), 0);

    let mut spec = spec;
    spec["managementPolicy"] = json!("Enforce");
    world.partner("jamf", spec).await?;
    let partner = world.in_sync("jamf").await?;
    let status = at(&partner, "/status");
    assert_eq!(status.get("drift"), None);
    assert_eq!(status["platforms"], json!(["iOS"]));
    assert_eq!(status["displayName"], "Wanted");
    let sent = world.graph().requests_where(Request::is_patch);
    assert_eq!(sent.len(), 1);
    let fields: Vec<&str> = drift
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["field"].as_str().unwrap())
        .collect();
    let mut sorted = fields.clone();
    sorted.sort_unstable();
    assert_eq!(sent[0].properties(), sorted);
    let agent = sent[0].header("user-agent").unwrap_or_default();
    assert_eq!(
        agent,
        concat!("compliance-partner-operator/", env!("CARGO_PKG_VERSION"))
    );
    let (_, note) = world.event("jamf", "Updated").await?;
    assert!(note.contains(&fields.join(", ")) && note.contains("edited"), "{note}");
    let violations = world.graph().violations();
    assert!(violations.is_empty(), "{violations:?}");
    let row = world.graph().row(&world.tenant, P1).unwrap();
    assert_eq!(row["androidEnrollmentAssignments"], json!([]));
    assert_eq!(row["iosEnrollmentAssignments"].as_array().map(Vec::len), Some(3));
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_platforms_stand_in_one_order_and_none_leave_the_field_out() -> anyhow::Result<()> {
    let mut world = world("platforms").await?;
    world.partner("jamf", json!({"partnerRef": {"id": P1}})).await?;
    world.start().await?;
    let partner = world.in_sync("jamf").await?;
    assert_eq!(at(&partner, "/status").get("platforms"), None);
    changed(
        &world,
        P1,
        json!({"iosOnboarded": true, "androidOnboarded": true, "macOsOnboarded": true}),
    )?;
    let partner = world.asked("jamf", "now").await?;
    assert_eq!(at(&partner, "/status/platforms"), json!(["macOS", "Android", "iOS"]));
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_graphs_words_has_its_verdict() -> anyhow::Result<()> {
    let mut world = world("words").await?;
    world.partner("jamf", json!({"partnerRef": {"id": P1}})).await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    for (word, status, reason) in [
        ("terminated", "False", "Terminated"),
        ("rejected", "False", "Rejected"),
        ("unresponsive", "False", "Unresponsive"),
        ("unavailable", "False", "Unavailable"),
        ("unknown", "Unknown", "Unknown"),
        ("unknownFutureValue", "Unknown", "UnknownFutureValue"),
        ("2fast", "Unknown", "UnrecognizedState"),
        ("enabled", "True", "Enabled"),
    ] {
        changed(&world, P1, json!({"partnerState": word}))?;
        let partner = world.asked("jamf", word).await?;
        let enabled = of(&partner, "PartnerEnabled").unwrap();
        assert_eq!(
            (format!("{:?}", enabled.status).as_str(), enabled.reason.as_str()),
            (status, reason)
        );
        assert_eq!(at(&partner, "/status/partnerState"), word);
        assert_eq!(of(&partner, "Ready").unwrap().reason, "InSync", "{word}");
    }
    wait_for("an event for each change", PATIENCE, async || {
        let events = world.events("jamf", "PartnerStateChanged").await?;
        ensure!(events.len() == 8, "{}", events.len());
        let normal: Vec<_> = events
            .iter()
            .filter(|event| event.type_.as_deref() == Some("Normal"))
            .collect();
        ensure!(normal.len() == 1, "only the way back is no warning: {normal:#?}");
        Ok(())
    })
    .await?;
    // The same word again is no change.
    world.asked("jamf", "still").await?;
    assert_eq!(world.events("jamf", "PartnerStateChanged").await?.len(), 8);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn assignments_are_a_set_in_any_order_case_and_number() -> anyhow::Result<()> {
    let options = Options {
        reorder_assignments: true,
        ..Options::default()
    };
    let mut world = World::with("sets", options).await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    let lower = [graphs("group", G2), graphs("group", G1)];
    changed(
        &world,
        P1,
        json!({"macOsEnrollmentAssignments": lower, "iosEnrollmentAssignments": []}),
    )?;
    let upper = [G1.to_uppercase(), G2.to_owned(), G2.to_uppercase()];
    let upper: Vec<Value> = upper.iter().map(|id| ours("Group", id)).collect();
    let mut spec = json!({"partnerRef": {"id": P1.to_uppercase()}, "macOsEnrollmentAssignments": upper});
    world.partner("jamf", spec.clone()).await?;
    world.start_polling().await?;
    let partner = world.in_sync("jamf").await?;
    assert_eq!(at(&partner, "/status").get("drift"), None);
    assert_eq!(world.patches(), 0);

    // What is written comes back otherwise, and stays in sync; an entry stands once in what is sent.
    let all = [
        ours("ExclusionGroup", &G3.to_uppercase()),
        ours("AllDevices", ""),
        ours("Group", G1),
        ours("AllDevices", ""),
        ours("ExclusionGroup", G3),
    ];
    spec["iosEnrollmentAssignments"] = json!(all);
    world.partner("jamf", spec).await?;
    world.in_sync("jamf").await?;
    let sent = world.graph().requests_where(Request::is_patch);
    assert_eq!(sent[0].properties(), ["iosEnrollmentAssignments"]);
    let body = sent[0].body.clone().unwrap();
    assert_eq!(
        body["iosEnrollmentAssignments"].as_array().map(Vec::len),
        Some(3),
        "{body:#}"
    );
    world.graph().clear_log();
    world.graph().wait_for_requests(Request::is_list, 3, PATIENCE).await?;
    assert_eq!(world.patches(), 0);
    let violations = world.graph().violations();
    assert!(violations.is_empty(), "{violations:?}");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_list_is_an_empty_one_and_an_absent_one_is_not_compared() -> anyhow::Result<()> {
    let mut world = world("no-list").await?;
    // Graph has [], null, or no such property; spec has [], or nothing.
    changed(&world, P2, json!({"androidEnrollmentAssignments": null}))?;
    world
        .graph()
        .remove_property(&world.tenant, P3, "androidEnrollmentAssignments")?;
    for (number, id) in [P1, P2, P3].into_iter().enumerate() {
        changed(&world, id, json!({"iosEnrollmentAssignments": [graphs("group", G1)]}))?;
        let spec = json!({"partnerRef": {"id": id}, "androidEnrollmentAssignments": []});
        world.partner(&format!("p{number}"), spec).await?;
    }
    world.start_polling().await?;
    for number in 0..3 {
        let partner = world.in_sync(&format!("p{number}")).await?;
        assert_eq!(at(&partner, "/status").get("drift"), None, "{number}");
        assert_eq!(at(&partner, "/spec/androidEnrollmentAssignments"), json!([]));
    }
    world.graph().wait_for_requests(Request::is_list, 3, PATIENCE).await?;
    assert_eq!(world.patches(), 0);
    // An entry in the place of an empty one is taken for a difference as ever.
    let spec = json!({"partnerRef": {"id": P3}, "androidEnrollmentAssignments": [ours("Group", G2)]});
    world.partner("p2", spec).await?;
    world.in_sync("p2").await?;
    assert_eq!(world.patches(), 1);
    for id in [P1, P2, P3] {
        let row = world.graph().row(&world.tenant, id).unwrap();
        assert_eq!(row["iosEnrollmentAssignments"], json!([graphs("group", G1)]));
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_left_alone_whatever_in_it_cannot_be_expressed() -> anyhow::Result<()> {
    let mut world = world("left-alone").await?;
    let filtered = {
        let mut entry = graphs("group", G1);
        entry["target"]["deviceAndAppManagementAssignmentFilterId"] = json!(G3);
        entry
    };
    let strange = [
        json!({"target": {"groupId": G1}}),
        json!({"target": null}),
        json!({}),
        json!({"target": {"@odata.type": "#microsoft.graph.groupAssignmentTarget"}}),
        json!({"target": {"@odata.type": "#microsoft.graph.scopeTagGroupAssignmentTarget", "scopeTagId": "1"}}),
        filtered,
    ];
    let mut value = true;
    world.start().await?;
    for (round, entry) in strange.into_iter().enumerate() {
        let list = json!([graphs("group", G2), entry]);
        changed(
            &world,
            P1,
            json!({"macOsEnrollmentAssignments": list, "androidEnrollmentAssignments": []}),
        )?;
        world.graph().clear_log();
        let spec = json!({
            "partnerRef": {"id": P1}, "iosOnboarded": value, "macOsEnrollmentAssignments": [ours("Group", G1)],
            "androidEnrollmentAssignments": [ours("Group", G1)],
        });
        world.partner("jamf", spec).await?;
        world.asked("jamf", &format!("round {round}")).await?;
        let partner = world.partner_is("jamf", "Ready", "False", "UnsupportedTarget").await?;
        assert_eq!(at(&partner, "/status").get("drift"), None, "{entry}");
        let sent = world.graph().requests_where(Request::is_patch);
        let sent: Vec<&str> = sent.iter().flat_map(Request::properties).collect();
        assert_eq!(sent, ["androidEnrollmentAssignments", "iosOnboarded"], "{entry}");
        let row = world.graph().row(&world.tenant, P1).unwrap();
        assert_eq!(row["macOsEnrollmentAssignments"], list);
        value = !value;
    }
    // Once it is gone, the list is like any other.
    changed(&world, P1, json!({"macOsEnrollmentAssignments": []}))?;
    world.asked("jamf", "cleared").await?;
    world.in_sync("jamf").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_update_is_the_last_change_that_took_effect() -> anyhow::Result<()> {
    let mut world = world("last-update").await?;
    let mut spec = json!({"partnerRef": {"id": P1}, "iosOnboarded": false});
    world.partner("jamf", spec.clone()).await?;
    world.start_polling().await?;
    let partner = world.in_sync("jamf").await?;
    assert_eq!(at(&partner, "/status").get("lastUpdateTime"), None, "nothing was sent");
    spec["iosOnboarded"] = json!(true);
    world.partner("jamf", spec.clone()).await?;
    let first = at(&world.in_sync("jamf").await?, "/status/lastUpdateTime");
    assert!(first.is_string());
    // Neither polls, nor requests, nor a change without effect move it.
    world
        .graph()
        .ignore_writes(&world.tenant, P1, IgnoreWrites::fields(["macOsOnboarded"]))?;
    spec["macOsOnboarded"] = json!(true);
    until_after(first.as_str().unwrap_or_default()).await?;
    world.partner("jamf", spec.clone()).await?;
    world.partner_is("jamf", "Ready", "False", "UpdateIneffective").await?;
    let partner = world.asked("jamf", "now").await?;
    assert_eq!(at(&partner, "/status/lastUpdateTime"), first);
    world.graph().heed_writes(&world.tenant, P1)?;
    world.asked("jamf", "it works now").await?;
    let partner = world.in_sync("jamf").await?;
    let second = at(&partner, "/status/lastUpdateTime");
    assert!(second.as_str() > first.as_str(), "{second} after {first}");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_done_is_told_once_status_can_be_written() -> anyhow::Result<()> {
    let mut world = world("told-later").await?;
    let spec = |value: bool| json!({"partnerRef": {"id": P1}, "iosOnboarded": value});
    world.partner("jamf", spec(false)).await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    // While the change is on its way, the operator loses its rights in Kubernetes.
    let slow = Script::graph().method("PATCH").delay(Duration::from_secs(1)).times(1);
    world.graph().script(slow.then_continue());
    world.partner("jamf", spec(true)).await?;
    world.graph().wait_for_requests(Request::is_patch, 1, PATIENCE).await?;
    let bindings: Api<RoleBinding> = Api::namespaced(world.admin.clone(), &world.namespace);
    let mut binding = bindings.get(OPERATOR).await?;
    bindings.delete(OPERATOR, &DeleteParams::default()).await?;
    wait_for("a status that is refused", PATIENCE, async || {
        let refused = |event: &&Value| event.pointer("/responseStatus/code") == Some(&json!(403));
        let writes = world.operator_writes_since(0)?;
        let refused = writes
            .iter()
            .find(refused)
            .map(|write| at(write, "/objectRef/subresource"));
        ensure!(refused == Some(json!("status")), "{refused:?}");
        Ok(())
    })
    .await?;
    binding.metadata.resource_version = None;
    binding.metadata.uid = None;
    bindings.create(&PostParams::default(), &binding).await?;
    let partner = world.in_sync("jamf").await?;
    assert!(
        at(&partner, "/status/lastUpdateTime").is_string(),
        "it was sent and took effect"
    );
    let (_, note) = world.event("jamf", "Updated").await?;
    assert!(note.contains("iosOnboarded") && note.contains("edited"), "{note}");
    assert_eq!(world.patches(), 1);
    world.asked("jamf", "now").await?;
    assert_eq!(world.events("jamf", "Updated").await?.len(), 1);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_shape_of_an_answer_without_a_list_is_an_empty_tenant() -> anyhow::Result<()> {
    let mut world = world("shapes").await?;
    let spec = json!({"partnerRef": {"displayName": "Example Partner"}, "iosOnboarded": true});
    world.partner("jamf", spec).await?;
    world.start_polling().await?;
    let before = world.in_sync("jamf").await?;
    let bodies = [
        json!({"@odata.context": "x"}),
        json!({"value": null}),
        json!({"value": {}}),
        json!([]),
        json!(null),
        json!("ok"),
    ];
    for body in bodies {
        let script = Script::graph()
            .path_end("/complianceManagementPartners")
            .answer(Answer::json(200, body.clone()));
        let script = world.graph().script(script);
        // All else is as ever: the object is there, and reads by id would say so.
        let seen = world.graph().last_seq();
        let odd = move |request: &Request| request.is_list() && request.seq > seen && request.status == Some(200);
        world.graph().wait_for_requests(odd, 2, PATIENCE).await?;
        let partner = world.partners().get("jamf").await?;
        assert_eq!(of(&partner, "Ready").unwrap().reason, "InSync", "{body}: as it was");
        world.graph().remove_script(script);
    }
    world.connection_is("contoso", "True", "Connected").await?;
    let after = world.asked("jamf", "well").await?;
    let binding = |partner| ["/status/partnerId", "/status/tenantId"].map(|path| at(partner, path));
    assert_eq!(binding(&before), binding(&after));
    for reason in ["PartnerNotFound", "PartnerRebound"] {
        assert!(world.events("jamf", reason).await?.is_empty());
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_odd_row_is_listed_and_its_neighbours_sync() -> anyhow::Result<()> {
    let mut world = world("odd-rows").await?;
    let odd = json!({"id": P2, "displayName": 7, "partnerState": 4, "iosOnboarded": "yes"});
    world.graph().seed_row(&world.tenant, odd)?;
    let mut bare = world.graph().base_row(P3, "");
    bare["displayName"] = json!(null);
    bare["partnerState"] = json!("rejected");
    world.graph().seed_row(&world.tenant, bare)?;
    for (name, id) in [("good", P1), ("odd", P2), ("bare", P3)] {
        world
            .partner(name, json!({"partnerRef": {"id": id}, "iosOnboarded": true}))
            .await?;
    }
    world.start().await?;
    for name in ["good", "bare"] {
        world.in_sync(name).await?;
    }
    world.partner_is("bare", "PartnerEnabled", "False", "Rejected").await?;
    world.partner_is("odd", "Ready", "False", "GraphUnavailable").await?;
    let connection = world.connection_is("contoso", "True", "Connected").await?;
    let listed = at(&connection, "/status/partners");
    assert_eq!(
        listed,
        json!([{"id": P1, "displayName": "Example Partner"}, {"id": P2}, {"id": P3}])
    );
    let row = world.graph().row(&world.tenant, P2).unwrap();
    assert_eq!(row["iosOnboarded"], "yes", "it is left alone");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_that_differs_in_ids_and_builds_alone_is_told_once() -> anyhow::Result<()> {
    let mut world = world("builds").await?;
    let refusal = |activity: &str, host: &str, build: &str, version: &str| {
        let sentence = format!(
            "An error has occurred - Operation ID (for customer support): 00000000-0000-0000-0000-000000000000 - \
             Activity ID: {activity} - Url: https://fef.{host}.example/DeviceConfiguration_{build}/Svc/x('1')?api-version={version}"
        );
        let message = json!({"_version": 3, "Message": sentence, "CustomApiErrorPhrase": "", "RetryAfter": null});
        let error = json!({"code": "BadRequest", "message": message.to_string(), "innerError": {"date": version}});
        Script::graph()
            .method("PATCH")
            .times(1)
            .answer(Answer::json(400, json!({"error": error})))
    };
    world.graph().script(refusal(
        "0f0e0d0c-1111-4222-8333-444455556666",
        "a",
        "2501",
        "5024-10-08",
    ));
    world.graph().script(refusal(
        "1f0e0d0c-1111-4222-8333-444455556666",
        "b",
        "2511",
        "5025-02-01",
    ));
    world.graph().script(refusal(
        "2f0e0d0c-1111-4222-8333-444455556666",
        "c",
        "2601",
        "5025-03-01",
    ));
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    let history = History::of(&world).await?;
    let mut config = world.config();
    config.timing.slow = std::time::Duration::from_millis(700);
    world.start_with(config).await?;
    let partner = world.partner_is("jamf", "Ready", "False", "RejectedByGraph").await?;
    let told = of(&partner, "Ready").unwrap().message;
    assert!(
        told.ends_with("An error has occurred") || told.ends_with("An error has occurred."),
        "{told}"
    );
    let last = world.in_sync("jamf").await?;
    let versions = history.until(&last).await?;
    check(&versions)?;
    let mut told: Vec<String> = versions
        .iter()
        .filter_map(|partner| Some(of(partner, "Ready")?.reason))
        .collect();
    assert_eq!(
        told.len(),
        2,
        "one status for three refusals, and one for the success: {told:?}"
    );
    told.dedup();
    assert_eq!(told, ["RejectedByGraph", "InSync"]);
    assert_eq!(world.patches(), 4);
    assert_eq!(world.events("jamf", "RejectedByGraph").await?.len(), 1);
    world.stop().await
}
