//! When a resource is looked at: suspension, requests, intervals, and what waits for whom.

use std::time::Duration;

use anyhow::ensure;
use compliance_partner_operator::api::ComplianceManagementPartner;
use graph_simulator::{Answer, App, Request, Script};
use harness::{CLIENT_SECRET, PATIENCE, WRITE_ROLE, World, wait_for};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::history::of;

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";
const P2: &str = "aaaaaaaa-1111-4111-8111-000000000002";
const HOUR: Duration = Duration::from_secs(3_600);

fn spec(value: bool) -> Value {
    json!({"partnerRef": {"id": P1}, "iosOnboarded": value})
}

async fn world(name: &str) -> anyhow::Result<World> {
    let world = World::new(name).await?;
    world.row(P1, "Example Partner")?;
    world.row(P2, "Other Partner")?;
    world.connect().await?;
    Ok(world)
}

async fn merged(world: &World, name: &str, spec: Value) -> anyhow::Result<ComplianceManagementPartner> {
    let patch = Patch::Merge(json!({"spec": spec}));
    Ok(world.partners().patch(name, &PatchParams::default(), &patch).await?)
}

/// A connection without partners, as another app. Its listings are the test's clock, one a second: what has not happened
/// by the next of them does not happen.
async fn clock(world: &World) -> anyhow::Result<()> {
    world.graph().add_app(
        &world.tenant,
        CLOCK,
        App::with_secret(CLIENT_SECRET).roles([WRITE_ROLE]),
    );
    world.connection("clock", json!({"clientId": CLOCK})).await
}

const CLOCK: &str = "dddddddd-4444-4444-8444-000000000002";

async fn seconds(world: &World, count: usize) -> anyhow::Result<()> {
    let seen = world.graph().last_seq();
    let tick =
        move |request: &Request| request.is_list() && request.seq > seen && request.client_id.as_deref() == Some(CLOCK);
    world.graph().wait_for_requests(tick, count, PATIENCE).await.map(drop)
}

/// Waits until the drift that was made last is corrected, and seen to be so: read, changed, read again.
async fn corrected(world: &World, id: &'static str) -> anyhow::Result<()> {
    let by_id = move |request: &Request| request.path.ends_with(id) && request.status.is_some();
    let requests = world.graph().wait_for_requests(by_id, 3, PATIENCE).await?;
    let methods: Vec<&str> = requests.iter().map(|request| request.method.as_str()).collect();
    ensure!(methods == ["GET", "PATCH", "GET"], "{requests:#?}");
    Ok(())
}

fn lists(world: &World) -> usize {
    world
        .graph()
        .count(|request| request.is_list() && request.client_id.as_deref() == Some(&world.client_id))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspended_while_it_reads_it_sends_nothing_any_more() -> anyhow::Result<()> {
    let mut world = world("suspended-read").await?;
    world.partner("jamf", spec(false)).await?;
    world.start().await?;
    let before = world.in_sync("jamf").await?;
    let slow = Script::graph().method("GET").path(P1).delay(Duration::from_secs(1));
    world.graph().script(slow.times(1).then_continue());
    world.graph().clear_log();
    world.partner("jamf", spec(true)).await?;
    let read = world.graph().wait_for_requests(Request::is_get, 1, PATIENCE).await?;
    ensure!(read[0].status.is_none(), "it is no longer under way");
    merged(&world, "jamf", json!({"suspend": true})).await?;
    let partner = world.partner_is("jamf", "Synced", "Unknown", "Suspended").await?;
    // One pass at a time: that of before has ended.
    let requests = world.graph().requests_where(Request::is_graph);
    assert_eq!(requests.len(), 1, "{requests:#?}");
    assert!(requests[0].status.is_some() && !requests[0].aborted);
    let [was, is] = [&before, &partner].map(|partner| of(partner, "Ready").unwrap());
    assert_eq!(was, is, "a Ready that was True stays, as it was judged then");
    assert!(of(&partner, "Reconciling").is_none() && of(&partner, "Stalled").is_none());
    assert_eq!(world.graph().row(&world.tenant, P1).unwrap()["iosOnboarded"], false);

    // A request is echoed, and Graph is left alone.
    world.graph().clear_log();
    let asked = world.asked("jamf", "although suspended").await?;
    assert_eq!(of(&asked, "Synced").unwrap().reason, "Suspended");
    assert_eq!(world.graph().count(Request::is_graph), 0);
    merged(&world, "jamf", json!({"suspend": null})).await?;
    world.in_sync("jamf").await?;
    assert_eq!(world.patches(), 1);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspended_while_a_change_is_on_its_way_the_outcome_is_told() -> anyhow::Result<()> {
    let mut world = world("suspended-write").await?;
    world.partner("jamf", spec(false)).await?;
    world.start_polling().await?;
    world.in_sync("jamf").await?;
    let slow = Script::graph().method("PATCH").delay(Duration::from_secs(1));
    world.graph().script(slow.times(1).then_continue());
    world.partner("jamf", spec(true)).await?;
    let sent = world.graph().wait_for_requests(Request::is_patch, 1, PATIENCE).await?;
    ensure!(sent[0].status.is_none(), "it is no longer on its way");
    merged(&world, "jamf", json!({"suspend": true})).await?;
    let partner = world.partner_is("jamf", "Synced", "Unknown", "Suspended").await?;
    assert!(partner.status.unwrap().last_update_time.is_some());
    world.event("jamf", "Updated").await?;
    // The connection goes on to list; nobody corrects for a resource that is suspended.
    world
        .graph()
        .change_row(&world.tenant, P1, json!({"iosOnboarded": false}))?;
    world.graph().clear_log();
    world.graph().wait_for_requests(Request::is_list, 3, PATIENCE).await?;
    let other = world
        .graph()
        .requests_where(|request| request.is_graph() && !request.is_list());
    assert!(other.is_empty(), "{other:#?}");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_ready_is_not_called_so_while_it_is_suspended() -> anyhow::Result<()> {
    let mut world = world("suspended-bad").await?;
    world.graph().delete_row(&world.tenant, P1)?;
    world.partner("jamf", spec(true)).await?;
    world.start().await?;
    world.partner_is("jamf", "Stalled", "True", "PartnerNotFound").await?;
    merged(&world, "jamf", json!({"suspend": true})).await?;
    let partner = world.partner_is("jamf", "Synced", "Unknown", "Suspended").await?;
    let conditions = partner.status.unwrap().conditions;
    let kinds: Vec<&str> = conditions.iter().map(|condition| condition.r#type.as_str()).collect();
    assert_eq!(kinds, ["Synced"]);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_one_fresh_read_and_one_status() -> anyhow::Result<()> {
    let mut world = world("requests").await?;
    world.partner("jamf", spec(true)).await?;
    world.start().await?;
    let position = world.settled(&["jamf"], true).await?;
    let before = world.in_sync("jamf").await?;
    world.graph().clear_log();
    let long = "x".repeat(300);
    for (value, echo) in [
        ("now", "now"),
        (long.as_str(), &long[..256]),
        ("and again", "and again"),
    ] {
        world.ask("cmp/jamf", value).await?;
        wait_for("the echo", PATIENCE, async || {
            let status = world.partners().get("jamf").await?.status.unwrap_or_default();
            let echoed = status.last_handled_reconcile_at.as_deref();
            ensure!(echoed == Some(echo), "{echoed:?}");
            Ok(())
        })
        .await?;
    }
    // The same value again asks for nothing, and neither does taking it away.
    world.ask("cmp/jamf", "and again").await?;
    let gone = [
        "annotate",
        "cmp/jamf",
        "-n",
        &world.namespace,
        "intune.msgraph.dev/reconcile-requested-at-",
    ];
    world.plane.kubectl_ok(&gone).await?;
    let after = world.asked("jamf", "the last one").await?;
    let requests = world.graph().requests_where(Request::is_graph);
    assert_eq!(requests.len(), 4, "{requests:#?}");
    assert!(requests.iter().all(Request::is_get), "{requests:#?}");
    assert_eq!(after.metadata.generation, before.metadata.generation);
    assert_eq!(
        before.status.unwrap().conditions,
        after.status.unwrap().conditions,
        "nothing has changed"
    );
    wait_for("a status a request", PATIENCE, async || {
        let writes = world.operator_writes_since(position)?;
        ensure!(writes.len() == 4, "{}", writes.len());
        Ok(())
    })
    .await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_comes_during_a_pass_is_handled_after_it() -> anyhow::Result<()> {
    let mut world = world("during").await?;
    world.partner("jamf", spec(false)).await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    let slow = Script::graph().method("GET").path(P1).delay(Duration::from_secs(1));
    world.graph().script(slow.times(1).then_continue());
    world.graph().clear_log();
    world.ask("cmp/jamf", "first").await?;
    world.graph().wait_for_requests(Request::is_get, 1, PATIENCE).await?;
    // What the first read has seen is outdated by the time of the second request.
    world
        .graph()
        .change_row(&world.tenant, P1, json!({"partnerState": "terminated"}))?;
    world.asked("jamf", "second").await?;
    world
        .partner_is("jamf", "PartnerEnabled", "False", "Terminated")
        .await?;
    assert_eq!(world.graph().count(Request::is_get), 2);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_ends_every_wait() -> anyhow::Result<()> {
    let mut world = world("waits").await?;
    let mut config = world.config();
    config.timing.slow = HOUR;
    config.timing.very_slow = HOUR;
    config.timing.backoff = harness::NEVER;
    config.timing.backoff_cap = harness::NEVER;
    config.timing.grace = [HOUR; 3];
    world.partner("jamf", spec(false)).await?;
    world.start_with(config).await?;
    world.in_sync("jamf").await?;
    let error = |status: u16, code: &str| {
        Answer::json(status, json!({"error": {"code": code, "message": "Not now."}})).header("request-id", "r")
    };
    let trouble = [
        ("GraphUnavailable", error(503, "ServiceUnavailable")),
        ("PermissionDenied", error(403, "Forbidden")),
        ("RejectedByGraph", error(400, "BadRequest")),
    ];
    for (round, (reason, answer)) in trouble.into_iter().enumerate() {
        let script = Script::graph().method("PATCH").answer(answer).times(1);
        world.graph().script(script);
        world.partner("jamf", spec(round % 2 == 0)).await?;
        world.partner_is("jamf", "Ready", "False", reason).await?;
        world.asked("jamf", reason).await?;
        world.in_sync("jamf").await?;
    }
    // And that of an object which is not there, whose next look would be the next poll.
    world.graph().delete_row(&world.tenant, P1)?;
    world.asked("jamf", "gone").await?;
    world.partner_is("jamf", "Ready", "False", "PartnerNotFound").await?;
    world.row(P1, "Example Partner")?;
    world.asked("jamf", "back").await?;
    world.in_sync("jamf").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_to_a_connection_ends_its_waits_and_its_partners() -> anyhow::Result<()> {
    let mut world = world("connection-waits").await?;
    world
        .secret("graph", json!({"client-secret": "not the right one yet"}))
        .await?;
    world.partner("jamf", spec(true)).await?;
    let mut config = world.config();
    config.timing.credentials = harness::NEVER;
    config.timing.credentials_cap = harness::NEVER;
    config.timing.backoff = harness::NEVER;
    config.timing.backoff_cap = harness::NEVER;
    config.timing.slow = HOUR;
    world.start_with(config).await?;
    world.connection_is("contoso", "False", "CredentialsRejected").await?;
    // Mended in Entra: nothing in the cluster tells of it.
    world
        .graph()
        .set_secret(&world.tenant, &world.client_id, "not the right one yet")?;
    let outage = world.graph().script(Script::graph().answer(Answer::status(503)));
    world.ask("gconn/contoso", "mended").await?;
    world.connection_is("contoso", "False", "GraphUnavailable").await?;
    world.partner_is("jamf", "Ready", "False", "GraphUnavailable").await?;
    world.graph().remove_script(outage);
    world.ask("gconn/contoso", "all is well").await?;
    world.connection_is("contoso", "True", "Connected").await?;
    world.in_sync("jamf").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_resource_is_polled_at_its_own_interval_and_a_shorter_one_counts_at_once() -> anyhow::Result<()> {
    let mut world = world("own-interval").await?;
    clock(&world).await?;
    let mut rare = spec(true);
    rare["syncInterval"] = json!("24h");
    world.partner("rare", rare.clone()).await?;
    world.start_polling().await?;
    world.in_sync("rare").await?;

    // Alone, it is no reason to list; the connection without partners lists once an interval of the operator's.
    let drift = |id: &str| {
        world.graph().clear_log();
        world
            .graph()
            .change_row(&world.tenant, id, json!({"iosOnboarded": false}))
    };
    drift(P1)?;
    let before = lists(&world);
    seconds(&world, 4).await?;
    assert_eq!(lists(&world), before, "nobody asked for a listing");

    // Beside one that is polled, it is listed with it, and not looked at.
    world
        .partner("often", json!({"partnerRef": {"id": P2}, "iosOnboarded": true}))
        .await?;
    world.in_sync("often").await?;
    drift(P2)?;
    corrected(&world, P2).await?;
    let before = lists(&world);
    seconds(&world, 3).await?;
    assert!(lists(&world) > before);
    assert_eq!(world.graph().row(&world.tenant, P1).unwrap()["iosOnboarded"], false);

    // Once it has no interval of its own, it has the operator's, from the next listing on.
    merged(&world, "often", json!({"syncInterval": "24h"})).await?;
    world.partner_is("often", "Ready", "True", "InSync").await?;
    merged(&world, "rare", json!({"syncInterval": null})).await?;
    world.in_sync("rare").await?;
    for _ in 0..2 {
        drift(P1)?;
        corrected(&world, P1).await?;
    }
    drift(P2)?;
    seconds(&world, 3).await?;
    assert_eq!(world.graph().row(&world.tenant, P2).unwrap()["iosOnboarded"], false);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_resources_are_one_listing_an_interval() -> anyhow::Result<()> {
    let mut world = world("many").await?;
    for number in 0..8 {
        let id = format!("aaaaaaaa-1111-4111-8111-0000000003{number:02}");
        world.row(&id, &format!("Partner {number}"))?;
        let spec = json!({"partnerRef": {"id": id}, "iosOnboarded": false});
        world.partner(&format!("p{number}"), spec).await?;
    }
    world.start_polling().await?;
    for number in 0..8 {
        world.in_sync(&format!("p{number}")).await?;
    }
    world.graph().clear_log();
    let listed = world.graph().wait_for_requests(Request::is_list, 5, PATIENCE).await?;
    // 1 s less 10 % of jitter; the first of them may have been late.
    let span = listed[4].at_millis - listed[0].at_millis;
    assert!(span >= 3_000, "five listings in {span} ms");
    world.stop().await
}

fn heartbeat(world: &World, time: &str) -> anyhow::Result<()> {
    world
        .graph()
        .change_row(&world.tenant, P1, json!({"lastHeartbeatDateTime": time}))
}

fn known(partner: &ComplianceManagementPartner) -> Option<&str> {
    partner.status.as_ref()?.last_heartbeat_date_time.as_deref()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_is_written_with_anything_else_in_utc_and_whole_seconds() -> anyhow::Result<()> {
    let mut world = world("written-with").await?;
    let now = Timestamp::now().as_second();
    let at = |seconds: i64| Timestamp::from_second(now - seconds).unwrap_or_default().to_string();
    heartbeat(&world, &at(1_800))?;
    world.partner("jamf", spec(false)).await?;
    world.start_polling().await?;
    let partner = world.in_sync("jamf").await?;
    assert_eq!(known(&partner), Some(at(1_800).as_str()));
    // A minute later is not worth a write of its own, but is told with an edit's.
    heartbeat(&world, &at(1_740).replace('Z', ".1234567Z"))?;
    world.partner("jamf", spec(true)).await?;
    let partner = world.in_sync("jamf").await?;
    assert_eq!(known(&partner), Some(at(1_740).as_str()));
    // Any offset, any number of digits.
    for (told, meant) in [
        ("2026-11-25T09:59:00.123456789012+02:00", "2026-11-25T07:59:00Z"),
        ("2026-11-24T23:30:00-09:30", "2026-11-25T09:00:00Z"),
        ("2026-11-25T12:00:00.9Z", "2026-11-25T12:00:00Z"),
    ] {
        heartbeat(&world, told)?;
        let partner = world.asked("jamf", meant).await?;
        assert_eq!(known(&partner), Some(meant), "{told}");
    }
    // A flip of freshness is told with the heartbeat that flipped it, however little that has moved.
    heartbeat(&world, &at(72 * 3_600 - 200))?;
    let partner = world.asked("jamf", "almost").await?;
    assert_eq!(of(&partner, "HeartbeatFresh").unwrap().reason, "Fresh");
    heartbeat(&world, &at(72 * 3_600 + 200))?;
    let partner = world.partner_is("jamf", "HeartbeatFresh", "False", "Stale").await?;
    assert_eq!(known(&partner), Some(at(72 * 3_600 + 200).as_str()));
    // One that is to come is fresh, be it by a slow clock or by nonsense.
    for time in [at(-3_600), "9999-12-31T23:59:59.9999999Z".to_owned()] {
        heartbeat(&world, &time)?;
        let partner = world.asked("jamf", &time).await?;
        assert_eq!(of(&partner, "HeartbeatFresh").unwrap().reason, "Fresh", "{time}");
    }
    // And the smallest date says that there never was one.
    heartbeat(&world, "0001-01-01T00:00:00+00:00")?;
    let partner = world.asked("jamf", "never").await?;
    assert_eq!(known(&partner), None);
    assert_eq!(of(&partner, "HeartbeatFresh").unwrap().reason, "NeverReported");
    world.in_sync("jamf").await?;
    world.stop().await
}
