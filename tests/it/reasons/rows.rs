//! Each row of the table: what is told, when it is tried again, and the way back.

use std::time::Duration;

use anyhow::ensure;
use graph_simulator::{IgnoreWrites, Request};
use harness::{NEVER, PATIENCE, World, kstatus, wait_for};
use serde_json::{Value, json};

use super::gallery::Gallery;
use super::look::{self, PARTNERS, generations, judged, object, passes, shows, told, word};
use super::waits::{SHORT, lengthen, only_those_of};
use super::{Row, row, shown};

const KIND: &str = "ComplianceManagementPartner";

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_row_is_told_with_its_conditions_its_event_and_its_kstatus() -> anyhow::Result<()> {
    let mut gallery = Gallery::stage("gallery", false).await?;
    // Edited, and no operator runs: nothing is known of this generation, though all are Ready.
    for name in &gallery.partners {
        let object = object(&gallery.world, PARTNERS, name).await?;
        ensure!(
            generations(&object) != (1, Some(1)) || *name == "driftdetected",
            "{object:#}"
        );
        let unseen = if *name == "cleaning" {
            "Terminating"
        } else {
            "InProgress"
        };
        ensure!(kstatus(&object).await?.status == unseen, "{object:#}");
    }
    let mut config = gallery.world.config();
    config.timing.grace = [NEVER; 3];
    gallery.world.start_with(config).await?;
    let (late, rows): (Vec<Row>, Vec<Row>) = shown()?.into_iter().partition(|row| row.reason == "UpdateIneffective");
    for row in &rows {
        shows(&gallery.world, PARTNERS, row.shown_by, row).await?;
        told(&gallery.world, row.shown_by, row).await?;
    }
    suspended_keeps_what_it_was(&gallery).await?;
    forgets_what_cannot_be_read(&gallery).await?;

    // The grace reads are short from now on.
    gallery.world.start().await?;
    for row in &late {
        shows(&gallery.world, PARTNERS, row.shown_by, row).await?;
        told(&gallery.world, row.shown_by, row).await?;
    }
    gallery.world.stop().await
}

/// Ready stays True, of the generation that it was judged for; the status has seen the new one.
async fn suspended_keeps_what_it_was(gallery: &Gallery) -> anyhow::Result<()> {
    let object = object(&gallery.world, PARTNERS, "suspended").await?;
    let Some(ready) = look::condition(&object, "Ready") else {
        anyhow::bail!("Ready was True before: {object:#}")
    };
    ensure!(word(ready, "reason") == "InSync", "{object:#}");
    ensure!(ready.get("observedGeneration") == Some(&1.into()), "{object:#}");
    ensure!(generations(&object) == (2, Some(2)), "{object:#}");
    Ok(())
}

/// What is said of the object in Graph goes where there is none, or it is another one; and stays where it could not be
/// read.
async fn forgets_what_cannot_be_read(gallery: &Gallery) -> anyhow::Result<()> {
    for row in shown()? {
        let object = object(&gallery.world, PARTNERS, row.shown_by).await?;
        let gone = ["TenantChanged", "PartnerNotFound", "PartnerAmbiguous"].contains(&row.reason);
        for kind in ["PartnerEnabled", "HeartbeatFresh"] {
            let there = look::condition(&object, kind).is_some();
            ensure!(there != gone, "{}: {kind}: {object:#}", row.reason);
        }
        let state = object.pointer("/status/partnerState").is_some();
        ensure!(state != gone, "{}: {object:#}", row.reason);
        ensure!(
            object.pointer("/status/partnerId").is_some(),
            "{}: it stays bound: {object:#}",
            row.reason
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_row_heals_by_itself_when_its_cause_is_gone() -> anyhow::Result<()> {
    let mut gallery = Gallery::stage("healing", false).await?;
    gallery.world.start_polling().await?;
    for name in gallery.partners.clone() {
        let last = shown()?.into_iter().rfind(|row| row.shown_by == name);
        let last = last.unwrap_or(row("InSync", "")?);
        shows(&gallery.world, PARTNERS, name, &last).await?;
    }
    for name in gallery.partners.iter().filter(|name| **name != "insync") {
        gallery.cure(name).await?;
    }
    for name in gallery.partners.iter().filter(|name| **name != "cleaning") {
        let healed = shows(&gallery.world, PARTNERS, name, &row("InSync", "")?).await?;
        ensure!(look::condition(&healed, "PartnerEnabled").is_some(), "{healed:#}");
    }
    // What was to be done before it goes is done.
    let partners = gallery.world.partners();
    wait_for("the end of the clean-up", PATIENCE, async || {
        ensure!(partners.get_opt("cleaning").await?.is_none(), "it is still there");
        Ok(())
    })
    .await?;
    let row = gallery
        .world
        .graph()
        .row(&gallery.world.tenant, &gallery.id("cleaning"));
    ensure!(row.as_ref().is_some_and(|row| row["iosOnboarded"] == false), "{row:?}");
    ensure!(
        gallery.world.graph().violations().is_empty(),
        "{:?}",
        gallery.world.graph().violations()
    );
    gallery.world.stop().await
}

/// All waits are long but one.
async fn only_that_wait_counts(gallery: &mut Gallery, wait: &'static str) -> anyhow::Result<()> {
    let mut config = gallery.world.config();
    let timing = &mut config.timing;
    lengthen(timing);
    match wait {
        "poll" => timing.sync_interval = Duration::from_secs(1),
        "slow" => (timing.slow, timing.grace) = (SHORT, [Duration::from_millis(10); 3]),
        "very slow" => timing.very_slow = SHORT,
        "backoff" => (timing.backoff, timing.backoff_cap) = (SHORT, SHORT),
        "on change, backoff to 1 min" => timing.connection_cap = SHORT,
        other => anyhow::bail!("no wait {other}"),
    }
    gallery.world.start_with(config).await?;
    let mut rows = shown()?;
    // Which of the two its partner shows depends on the grace reads.
    let other = if wait == "slow" {
        "Verifying"
    } else {
        "UpdateIneffective"
    };
    rows.retain(|row| row.reason != other);
    // A missing connection is looked for in the steps of the backoff: where they are short, it is passed over too.
    rows.retain(|row| wait != "backoff" || row.reason != "ConnectionNotFound");
    only_those_of(wait, &gallery.world, KIND, &rows).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_row_is_tried_again_after_its_own_wait_and_no_other() -> anyhow::Result<()> {
    let mut gallery = Gallery::stage("waits", false).await?;
    let waits = ["poll", "slow", "very slow", "backoff", "on change, backoff to 1 min"];
    for row in shown()? {
        let tried = waits.contains(&row.again) || ["on change", "5 s, 15 s, 60 s"].contains(&row.again);
        ensure!(tried, "nobody looks at {}", row.again);
    }
    for wait in waits {
        only_that_wait_counts(&mut gallery, wait).await?;
    }
    gallery.world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_does_not_show_is_read_three_times_after_ever_longer_waits() -> anyhow::Result<()> {
    let mut gallery = Gallery::stage("grace", false).await?;
    let mut config = gallery.world.config();
    config.timing.slow = NEVER;
    config.timing.grace = [300, 600, 900].map(Duration::from_millis);
    gallery.world.graph().clear_log();
    gallery.world.start_with(config).await?;
    let row = row("UpdateIneffective", "")?;
    shows(&gallery.world, PARTNERS, row.shown_by, &row).await?;
    let id = gallery.id(row.shown_by);
    let requests = gallery
        .world
        .graph()
        .requests_where(|request: &Request| request.path.ends_with(&id));
    let methods: Vec<&str> = requests.iter().map(|request| request.method.as_str()).collect();
    assert_eq!(methods, ["GET", "PATCH", "GET", "GET", "GET", "GET"]);
    for (pair, least) in requests[2..].windows(2).zip([300, 600, 900]) {
        let waited = pair[1].at_millis - pair[0].at_millis;
        assert!(waited >= least, "{waited} ms before a read that comes after {least}");
    }
    gallery.world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_starts_anew_comes_to_the_same_verdicts() -> anyhow::Result<()> {
    let mut gallery = Gallery::stage("anew", false).await?;
    let mut config = gallery.world.config();
    config.timing.grace = [NEVER; 3];
    gallery.world.start_with(config.clone()).await?;
    let mut rows = shown()?;
    rows.retain(|row| row.reason != "UpdateIneffective");
    let mut before = Vec::new();
    for row in &rows {
        before.push(shows(&gallery.world, PARTNERS, row.shown_by, row).await?);
    }
    gallery.world.start_with(config).await?;
    wait_for("a pass of each", PATIENCE, async || {
        for row in &rows {
            ensure!(passes(&gallery.world, KIND, row.reason)? > 0, "{}", row.reason);
        }
        Ok(())
    })
    .await?;
    for (row, before) in rows.iter().zip(before) {
        let after = object(&gallery.world, PARTNERS, row.shown_by).await?;
        assert_eq!(judged(&before), judged(&after), "{}", row.reason);
    }
    // What was told is not told again, be it as one more event or as one more in a series.
    gallery.world.stop().await?;
    for row in &rows {
        let events = gallery.world.events(row.shown_by, row.reason).await?;
        let warned = usize::from(row.ready == "False" && row.reason != "Verifying");
        assert_eq!(events.len(), warned, "{}: {events:#?}", row.reason);
        assert!(events.iter().all(|event| event.series.is_none()), "{events:#?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_had_no_effect_is_sent_again_when_graph_has_another_value() -> anyhow::Result<()> {
    let mut world = World::new("other-value").await?;
    world.connect().await?;
    world.row(P1, "Example Partner")?;
    let field = "iosEnrollmentAssignments";
    world
        .graph()
        .ignore_writes(&world.tenant, P1, IgnoreWrites::fields([field]))?;
    world
        .partner(
            "jamf",
            json!({"partnerRef": {"id": P1}, field: [{"target": {"type": "AllLicensedUsers"}}]}),
        )
        .await?;
    world.start().await?;
    let ineffective = row("UpdateIneffective", "")?;
    let ineffective = Row {
        says: "iosEnrollmentAssignments",
        ..ineffective
    };
    shows(&world, PARTNERS, "jamf", &ineffective).await?;
    assert_eq!(world.patches(), 1);
    let devices = json!([{"target": {"@odata.type": "#microsoft.graph.allDevicesAssignmentTarget"}}]);
    world.graph().change_row(&world.tenant, P1, json!({field: devices}))?;
    let sent = world.graph().wait_for_requests(Request::is_patch, 2, PATIENCE).await?;
    assert_eq!(sent[1].properties(), [field]);
    shows(&world, PARTNERS, "jamf", &ineffective).await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_had_no_effect_is_no_news_when_another_field_is_corrected() -> anyhow::Result<()> {
    let mut world = World::new("no-news").await?;
    world.connect().await?;
    world.row(P1, "Example Partner")?;
    world
        .graph()
        .ignore_writes(&world.tenant, P1, IgnoreWrites::fields(["iosOnboarded"]))?;
    world
        .partner(
            "jamf",
            json!({"partnerRef": {"id": P1}, "iosOnboarded": true, "macOsOnboarded": false}),
        )
        .await?;
    world.start().await?;
    let ineffective = row("UpdateIneffective", "")?;
    let before = shows(&world, PARTNERS, "jamf", &ineffective).await?;
    let updated = |object: &Value| object.pointer("/status/lastUpdateTime").is_some();
    ensure!(!updated(&before), "nothing took effect: {before:#}");
    world.event("jamf", "UpdateIneffective").await?;
    world
        .graph()
        .change_row(&world.tenant, P1, json!({"macOsOnboarded": true}))?;
    let after = wait_for("the update that took effect", PATIENCE, async || {
        let object = object(&world, PARTNERS, "jamf").await?;
        ensure!(updated(&object), "{:#}", object["status"]);
        Ok(object)
    })
    .await?;
    assert_eq!(judged(&before), judged(&after), "the verdict on the rest stands");
    assert_eq!(world.patches(), 2);
    world.stop().await?;
    let events = world.events("jamf", "UpdateIneffective").await?;
    assert!(events.len() == 1 && events[0].series.is_none(), "{events:#?}");
    Ok(())
}
