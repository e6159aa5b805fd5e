//! The first row that applies wins: for each pair of rows that can apply at once, the first one is shown, and the second
//! one as soon as the first one's cause is gone; so it did apply.
//!
//! | first | over | test |
//! |---|---|---|
//! | `Suspended`, `ConnectionNotFound`, `ConnectionNotReady` | each of the three after it, and every later row | [`what_needs_no_graph_comes_first`] |
//! | `Throttled`, `GraphUnavailable` | every later row: of a generation that is not applied; what is applied and what is Stalled stays as it was | [`super::outages`]; `TenantChanged` that is new: [`trouble_comes_before_another_tenant`] |
//! | `PartnerConflict` | every later row but `TenantChanged` and `DriftDetected` | [`a_conflict_comes_before_all_that_the_object_itself_is`], [`a_conflict_comes_before_a_refusal_to_read`] |
//! | `PermissionDenied`, `TenantNotLicensed`, `RejectedByGraph` | `Verifying`, `UpdateIneffective` | [`a_refusal_comes_before_what_does_not_show`] |
//! | the same | `UnsupportedTarget`, `DriftDetected`, `InSync` | [`an_unsupported_list_comes_last_but_for_what_is_only_observed`] |
//! | `Verifying` | `UpdateIneffective` | [`a_refusal_comes_before_what_does_not_show`] |
//! | `Verifying`, `UpdateIneffective` | `UnsupportedTarget` | [`an_unsupported_list_comes_last_but_for_what_is_only_observed`] |
//!
//! What cannot apply at once:
//! - `Throttled` and `GraphUnavailable`: a pass has one answer. Neither can two of `PermissionDenied`, `TenantNotLicensed` and
//!   `RejectedByGraph`: a refusal ends the pass, and what Graph would have said of the next request nobody knows.
//! - `TenantChanged`, `PartnerNotFound` and `PartnerAmbiguous`: a bound id is not used in another tenant, so it is not looked
//!   for there; an object that is found by neither id nor name is not found twice. Nor have they anything to compare,
//!   which all rows from `Verifying` on need, or to send, which a refusal of a change needs.
//! - `PartnerConflict` and `TenantChanged`: a bound id that is not used claims nothing. See
//!   [`trouble_comes_before_another_tenant`], where another resource holds the object in the tenant of before.
//! - `PartnerConflict` and `DriftDetected`: what only observes is never in conflict.
//! - `DriftDetected` and what only a change leads to (`RejectedByGraph` of a change, `Verifying`, `UpdateIneffective`): nothing
//!   is sent. An unsupported list is `DriftDetected` then, and `UnsupportedTarget` does not apply.
//! - `InSync` and every other row but for the first nine: it says that nothing is left to do.

use std::time::Duration;

use anyhow::ensure;
use graph_simulator::{App, IgnoreWrites, Request, Script};
use harness::{CLIENT_SECRET, PATIENCE, WRITE_ROLE, World, wait_for};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::gallery::{Gallery, next_second, refusal, refusal_of_a_change, strange};
use super::look::{PARTNERS, judged, object, passes, shows};
use super::{Row, row, shown};

const KIND: &str = "ComplianceManagementPartner";
const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";
const GROUP: &str = "7c1b0f5e-3f5a-4d0a-9f61-0d6f5a2b9b11";

/// Waits until Ready of a partner has a reason at its generation.
async fn is(world: &World, name: &str, reason: &str) -> anyhow::Result<Value> {
    let status = if reason == "DriftDetected" || reason == "InSync" {
        "True"
    } else {
        "False"
    };
    world.partner_is(name, "Ready", status, reason).await?;
    object(world, PARTNERS, name).await
}

async fn edit(world: &World, name: &str, spec: Value) -> anyhow::Result<()> {
    let patch = Patch::Merge(json!({"spec": spec}));
    world.partners().patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// The rows of the gallery as they are after the grace reads.
fn settled() -> anyhow::Result<Vec<Row>> {
    let mut rows = shown()?;
    rows.retain(|row| row.reason != "Verifying");
    Ok(rows)
}

async fn all_show(gallery: &Gallery, rows: &[Row]) -> anyhow::Result<()> {
    for row in rows {
        shows(&gallery.world, PARTNERS, row.shown_by, row).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_no_graph_comes_first() -> anyhow::Result<()> {
    let mut gallery = Gallery::stage("ladder", false).await?;
    gallery.world.start().await?;
    let rows = settled()?;
    all_show(&gallery, &rows).await?;
    let world = &gallery.world;
    let connections = ["contoso", "secretless", "mismatch", "moved"];

    // Their connections get no token any more.
    gallery.forget("graph").await?;
    for connection in connections {
        world.ask(&format!("gconn/{connection}"), "no Secret").await?;
    }
    for row in &rows {
        if !["suspended", "connectionnotfound"].contains(&row.shown_by) {
            is(world, row.shown_by, "ConnectionNotReady").await?;
        }
    }
    // There are none.
    for connection in connections {
        gallery.disconnect(connection).await?;
    }
    for row in &rows {
        if row.shown_by != "suspended" {
            is(world, row.shown_by, "ConnectionNotFound").await?;
        }
    }
    // Nobody asks for one.
    for row in &rows {
        edit(world, row.shown_by, json!({"suspend": true})).await?;
    }
    for partner in &rows {
        shows(world, PARTNERS, partner.shown_by, &row("Suspended", "")?).await?;
    }
    // And all the way back.
    for row in &rows {
        edit(world, row.shown_by, json!({"suspend": false})).await?;
    }
    for row in &rows {
        is(world, row.shown_by, "ConnectionNotFound").await?;
    }
    for connection in connections {
        gallery.connect_again(connection).await?;
    }
    for row in &rows {
        if row.shown_by != "connectionnotfound" {
            is(world, row.shown_by, "ConnectionNotReady").await?;
        }
    }
    world.secret("graph", json!({"client-secret": CLIENT_SECRET})).await?;
    for row in &rows {
        if row.shown_by != "suspended" {
            shows(world, PARTNERS, row.shown_by, row).await?;
        }
    }
    gallery.world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_comes_before_all_that_the_object_itself_is() -> anyhow::Result<()> {
    let mut gallery = Gallery::stage("twins", true).await?;
    gallery.world.start().await?;
    let rows = settled()?;
    all_show(&gallery, &rows).await?;
    let world = &gallery.world;
    // The older ones only observed so far.
    for row in &rows {
        edit(
            world,
            &format!("{}-twin", row.shown_by),
            json!({"managementPolicy": "Enforce"}),
        )
        .await?;
    }
    // Not those that come before; nor what claims nothing: it only observes, or its id is of another tenant.
    let apart = [
        "suspended",
        "connectionnotfound",
        "connectionnotready",
        "connectionstalled",
        "throttled",
        "graphunavailable",
        "tenantchanged",
        "driftdetected",
    ];
    let conflict = row("PartnerConflict", "")?;
    for row in &rows {
        if apart.contains(&row.shown_by) {
            world.asked(row.shown_by, "in spite of the twin").await?;
        }
        // A 429 to a change is no answer that a resource gets which sends none.
        let shown = if apart.contains(&row.shown_by) && row.shown_by != "throttled" {
            row
        } else {
            &conflict
        };
        shows(world, PARTNERS, row.shown_by, shown).await?;
    }
    world.graph().clear_log();
    for row in &rows {
        edit(
            world,
            &format!("{}-twin", row.shown_by),
            json!({"managementPolicy": "Observe"}),
        )
        .await?;
    }
    all_show(&gallery, &rows).await?;
    ensure!(
        gallery.world.graph().violations().is_empty(),
        "{:?}",
        gallery.world.graph().violations()
    );
    gallery.world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_of_the_older_one_hands_nothing_over_whatever_its_row_is() -> anyhow::Result<()> {
    let mut gallery = Gallery::stage("younger", false).await?;
    gallery.world.start().await?;
    let rows = settled()?;
    all_show(&gallery, &rows).await?;
    next_second().await?;
    let world = &gallery.world;
    for row in &rows {
        let spec = json!({"partnerRef": {"id": gallery.id(row.shown_by)}, "androidOnboarded": true});
        world.partner(&format!("{}-younger", row.shown_by), spec).await?;
    }
    for row in &rows {
        let reason = match row.shown_by {
            // These hold nothing: they would not write, or not in this tenant.
            "suspended" | "connectionnotfound" | "connectionstalled" | "tenantchanged" | "driftdetected" => "InSync",
            // Nobody can read the object.
            "graphunavailable" => "GraphUnavailable",
            "partnernotfound" | "partnerambiguous" => "PartnerNotFound",
            _ => "PartnerConflict",
        };
        is(world, &format!("{}-younger", row.shown_by), reason).await?;
        let id = gallery.id(row.shown_by);
        let sent = world.graph().count(|request| {
            request.is_patch() && request.path.ends_with(&id) && request.properties().contains(&"androidOnboarded")
        });
        ensure!(sent == usize::from(reason == "InSync"), "{}: {sent} sent", row.reason);
    }
    ensure!(
        gallery.world.graph().violations().is_empty(),
        "{:?}",
        gallery.world.graph().violations()
    );
    gallery.world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_comes_before_a_refusal_to_read() -> anyhow::Result<()> {
    let mut world = World::new("unread").await?;
    world.connect().await?;
    world.row(P1, "Example Partner")?;
    world.partner("first", json!({"partnerRef": {"id": P1}})).await?;
    next_second().await?;
    world
        .partner("second", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    world.start().await?;
    is(&world, "second", "PartnerConflict").await?;
    for (name, reason) in [
        ("permissiondenied", "PermissionDenied"),
        ("tenantnotlicensed", "TenantNotLicensed"),
        ("rejectedbygraph", "RejectedByGraph"),
    ] {
        let answer = refusal_of_a_change(name)?;
        let script = world
            .graph()
            .script(Script::graph().method("GET").path(P1).answer(answer));
        world.asked("second", &format!("{name}, in conflict")).await?;
        ensure!(world.graph().script_hits(script) > 0, "nothing was refused");
        is(&world, "second", "PartnerConflict").await?;
        edit(&world, "first", json!({"suspend": true})).await?;
        is(&world, "second", reason).await?;
        edit(&world, "first", json!({"suspend": false})).await?;
        world.graph().remove_script(script);
        world.in_sync("first").await?;
        is(&world, "second", "PartnerConflict").await?;
    }
    assert_eq!(world.patches(), 0);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_comes_before_another_tenant() -> anyhow::Result<()> {
    let mut world = World::new("tenants").await?;
    world.connect().await?;
    world.connection("moved", json!({})).await?;
    world.row(P1, "Example Partner")?;
    let spec = json!({"connectionRef": {"name": "moved"}, "partnerRef": {"id": P1}, "iosOnboarded": false});
    world
        .partner(
            "holder",
            json!({"partnerRef": {"id": P1}, "managementPolicy": "Observe"}),
        )
        .await?;
    next_second().await?;
    world.partner("jamf", spec).await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    world.in_sync("holder").await?;

    let other = world.tenant.replace("bbbbbbbb", "dddddddd");
    let app = App::with_secret(CLIENT_SECRET).roles([WRITE_ROLE]);
    world.graph().add_app(&other, &world.client_id, app);
    world.connections().delete("moved", &DeleteParams::default()).await?;
    is(&world, "jamf", "ConnectionNotFound").await?;
    for (answer, reason) in [
        (
            refusal(503, "ServiceUnavailable", "Come back later."),
            "GraphUnavailable",
        ),
        (refusal(429, "TooManyRequests", "Too many requests."), "Throttled"),
    ] {
        let outage = world.graph().script(Script::graph().tenant(&other).answer(answer));
        world.connection("moved", json!({"tenantId": other})).await?;
        world.connection_is("moved", "False", reason).await?;
        is(&world, "jamf", reason).await?;
        world.graph().remove_script(outage);
        shows(&world, PARTNERS, "jamf", &row("TenantChanged", "")?).await?;
        // What is Stalled does not go back for it.
        world.connections().delete("moved", &DeleteParams::default()).await?;
        is(&world, "jamf", "ConnectionNotFound").await?;
    }
    world.connection("moved", json!({"tenantId": other})).await?;
    is(&world, "jamf", "TenantChanged").await?;

    // Neither a holder in the tenant of before nor Observe makes it anything else.
    edit(&world, "holder", json!({"managementPolicy": "Enforce"})).await?;
    world.in_sync("holder").await?;
    world.asked("jamf", "with a holder").await?;
    is(&world, "jamf", "TenantChanged").await?;
    edit(
        &world,
        "jamf",
        json!({"managementPolicy": "Observe", "iosOnboarded": true}),
    )
    .await?;
    is(&world, "jamf", "TenantChanged").await?;
    world.connections().delete("moved", &DeleteParams::default()).await?;
    world.connection("moved", json!({})).await?;
    is(&world, "jamf", "DriftDetected").await?;
    world.stop().await
}

/// The partners of the next two tests, by what Graph says to a change of theirs.
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
    world.stop().await
}
