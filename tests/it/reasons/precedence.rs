//! The first row that applies wins: for each pair of rows that can apply at once, the first one is shown, and the second
//! one as soon as the first one's cause is gone; so it did apply.
//!
//! | first | over | test |
//! |---|---|---|
//! | `Cleaning` | `Suspended`, `ConnectionNotFound`, `ConnectionNotReady`, `Throttled`, `GraphUnavailable` | [`what_needs_no_graph_comes_first`], [`super::outages`] |
//! | `Suspended`, `ConnectionNotFound`, `ConnectionNotReady` | those of the three that come after it, and every later row | [`what_needs_no_graph_comes_first`] |
//! | `Throttled`, `GraphUnavailable` | every later row, where the generation is not applied; what is applied and what is Stalled stays as it was | [`super::outages`] |
//! | | `TenantChanged` that is new | [`trouble_comes_before_another_tenant`] |
//! | | `Verifying` | [`super::changes::trouble_on_the_way_comes_before_a_change_that_does_not_show`] |
//! | `PartnerConflict` | every later row but `TenantChanged` and `DriftDetected` | [`a_conflict_comes_before_all_that_the_object_itself_is`] |
//! | | a refusal to read | [`a_conflict_comes_before_a_refusal_to_read`] |
//! | `PermissionDenied`, `TenantNotLicensed`, `RejectedByGraph` | `Verifying`, `UpdateIneffective` | [`super::changes::a_refusal_comes_before_what_does_not_show`], and of reads [`super::changes::trouble_on_the_way_comes_before_a_change_that_does_not_show`] |
//! | | `UnsupportedTarget` | [`super::changes::an_unsupported_list_comes_last_but_for_what_is_only_observed`] |
//! | `Verifying` | `UpdateIneffective` | [`super::changes::a_refusal_comes_before_what_does_not_show`] |
//! | `Verifying`, `UpdateIneffective` | `UnsupportedTarget` | [`super::changes::an_unsupported_list_comes_last_but_for_what_is_only_observed`] |
//!
//! What cannot apply at once:
//! - `Cleaning` and a row from `PartnerConflict` on: a conflict or another tenant lets the resource go at once, and so
//!   does an object that is gone; what Graph says to a Reset is told as `Cleaning`.
//! - `Throttled` and `GraphUnavailable`: a pass has one answer. Nor can two of `PermissionDenied`, `TenantNotLicensed` and
//!   `RejectedByGraph`: a refusal ends the pass, and what Graph would have said of the next request nobody knows.
//! - `TenantChanged`, `PartnerNotFound` and `PartnerAmbiguous`: a bound id is not used in another tenant, so it is not
//!   looked for there; and what has neither id nor name in Graph has not two of the name. None of them has anything to
//!   send or to compare, which all rows after them need, but for a refusal to read, which ends the pass as above.
//! - `PartnerConflict` and `TenantChanged`: a bound id that is not used claims nothing. See
//!   [`trouble_comes_before_another_tenant`], where another resource holds the object in the tenant of before.
//! - `PartnerConflict` and `DriftDetected`: what only observes is never in conflict.
//! - `DriftDetected` and what only a change leads to (a refusal of one, `Verifying`, `UpdateIneffective`): nothing is
//!   sent. An unsupported list is `DriftDetected` then, and `UnsupportedTarget` does not apply.
//! - `InSync` and a row from `TenantChanged` on: it says that nothing is left to do.

use anyhow::ensure;
use graph_simulator::{App, Script};
use harness::{CLIENT_SECRET, PATIENCE, WRITE_ROLE, World, wait_for};
use kube::api::DeleteParams;
use serde_json::json;

use super::gallery::{Gallery, next_second, refusal, refusal_of_a_change};
use super::look::{PARTNERS, condition, edit, is, object, shows};
use super::{Row, row, settled};

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";

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
    let cleaning = row("Cleaning", "")?;
    shows(world, PARTNERS, cleaning.shown_by, &cleaning).await?;
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
    world
        .partner_is(cleaning.shown_by, "CleanupBlocked", "True", "SecretNotFound")
        .await?;
    shows(world, PARTNERS, cleaning.shown_by, &cleaning).await?;
    // There are none.
    for connection in connections {
        gallery.disconnect(connection).await?;
    }
    for row in &rows {
        if row.shown_by != "suspended" {
            is(world, row.shown_by, "ConnectionNotFound").await?;
        }
    }
    world
        .partner_is(cleaning.shown_by, "CleanupBlocked", "True", "ConnectionNotFound")
        .await?;
    shows(world, PARTNERS, cleaning.shown_by, &cleaning).await?;
    // Nobody asks for one.
    for row in &rows {
        edit(world, row.shown_by, json!({"suspend": true})).await?;
    }
    for partner in &rows {
        shows(world, PARTNERS, partner.shown_by, &row("Suspended", "")?).await?;
    }
    edit(world, cleaning.shown_by, json!({"suspend": true})).await?;
    shows(world, PARTNERS, cleaning.shown_by, &cleaning).await?;
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
    // The clean-up waits for Graph alone, as it did at first.
    wait_for("the end of the block", PATIENCE, async || {
        let object = object(world, PARTNERS, cleaning.shown_by).await?;
        ensure!(condition(&object, "CleanupBlocked").is_none(), "{:#}", object["status"]);
        Ok(())
    })
    .await?;
    shows(world, PARTNERS, cleaning.shown_by, &cleaning).await?;
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
    world.start().await?;
    world.partner("first", json!({"partnerRef": {"id": P1}})).await?;
    // Before it has bound, the younger one would hold the object.
    world.in_sync("first").await?;
    next_second().await?;
    world
        .partner("second", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
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
        is(&world, "second", "PartnerConflict").await?;
        world.graph().remove_script(script);
        world.in_sync("first").await?;
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
