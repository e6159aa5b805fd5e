//! How fast Graph is asked: what all connections of an app share, and what others leave them of a limit.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::ensure;
use compliance_partner_operator::api::GraphConnection;
use graph_simulator::{Answer, App, Options, Request, Script};
use harness::{CLIENT_SECRET, P1, PATIENCE, WRITE_ROLE, World, wait_for};
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::claims::copy_the_connection;
use crate::history::History;

const OTHER_CLIENT: &str = "dddddddd-4444-4444-8444-000000000004";

/// What was under way when the answer came was not told, in milliseconds.
const UNDER_WAY: u64 = 200;

/// The time that the limits count by, less what clocks and timers round, in milliseconds.
const SPAN: u64 = 19_990;

/// Starts the operator with a poll each second, and the time that a pass has in a cluster.
async fn start(world: &mut World, namespaces: &[&str]) -> anyhow::Result<()> {
    let mut config = world.config();
    config.timing.sync_interval = Duration::from_secs(1);
    config.timing.pass = Duration::from_secs(180);
    config
        .watch_namespaces
        .extend(namespaces.iter().map(|name| (*name).to_owned()));
    world.start_with(config).await?;
    world.in_sync("jamf").await.map(drop)
}

/// Lets the next list tell, beside the rows, that others use up a limit. Gives when it was answered, in milliseconds.
async fn told(world: &World, share: &str) -> anyhow::Result<u64> {
    let answer = Answer::json(200, json!({"value": world.graph().rows(&world.tenant)}))
        .header("x-ms-throttle-limit-percentage", share)
        .header("x-ms-throttle-scope", "Tenant/ReadWrite/an-app/a-tenant");
    let list = Script::graph().method("GET").path_end("/complianceManagementPartners");
    let script = world.graph().script(list.times(1).answer(answer));
    let taken = move |request: &Request| request.script == Some(script) && request.status.is_some();
    let taken = world.graph().wait_for_requests(taken, 1, PATIENCE).await?.remove(0);
    Ok(taken.at_millis + taken.duration_millis.unwrap_or_default())
}

fn is_own(request: &Request) -> bool {
    request.is_graph() && request.client_id.as_deref() != Some(OTHER_CLIENT)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_is_reached_is_waited_for_by_all_connections_of_the_app_and_told_by_none() -> anyhow::Result<()> {
    let mut world = World::with_partner("reached", Options::default()).await?;
    let other = world.second_namespace().await?;
    copy_the_connection(&world, &other).await?;
    let upper = world.client_id.to_ascii_uppercase();
    world.connection("twin", json!({"clientId": upper})).await?;
    let theirs: Api<GraphConnection> = Api::namespaced(world.admin.clone(), &other);
    for (name, client) in [("twin", &upper), ("third", &world.client_id)] {
        let mut connection = theirs.get("contoso").await?;
        connection.metadata = serde_json::from_value(json!({"name": name}))?;
        connection.spec.client_id = Some(client.clone());
        theirs.create(&PostParams::default(), &connection).await?;
    }
    start(&mut world, &[&other]).await?;
    wait_for("lists of five connections", PATIENCE, async || {
        let lists = world.graph().requests_where(Request::is_list);
        let tokens: BTreeSet<_> = lists.iter().map(|list| list.token).collect();
        ensure!(tokens.len() == 5, "{tokens:?}");
        Ok(())
    })
    .await?;
    let history = History::of(&world).await?;

    let told = told(&world, "1.0").await?;
    let app = App::with_secret(CLIENT_SECRET).roles([WRITE_ROLE]);
    world.graph().add_app(&world.tenant, OTHER_CLIENT, app);
    world.connection("neighbour", json!({"clientId": OTHER_CLIENT})).await?;
    // Another app has limits of its own, and goes on while there is a worker left for its tenant.
    let neighbours = |request: &Request| request.is_list() && !is_own(request);
    let neighbour = world
        .graph()
        .wait_for_requests(neighbours, 1, PATIENCE)
        .await?
        .remove(0);
    assert!(neighbour.at_millis < told + SPAN, "{neighbour:?}");
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": false}))
        .await?;
    let partner = world.in_sync("jamf").await?;
    let own = world
        .graph()
        .requests_where(|request| is_own(request) && request.at_millis > told + UNDER_WAY);
    let first = own.first().map(|request| request.at_millis - told);
    assert!(first >= Some(SPAN), "the first request {first:?} ms after the answer");
    assert_eq!(world.patches(), 1 + 1, "the first sync and the edit");
    let mut reasons = BTreeSet::new();
    for version in history.until(&partner).await? {
        let conditions = version.status.into_iter().flat_map(|status| status.conditions);
        reasons.extend(conditions.map(|condition| condition.reason));
    }
    assert!(
        !reasons.contains("Throttled") && !reasons.contains("GraphUnavailable"),
        "{reasons:?}"
    );
    for name in ["contoso", "twin", "neighbour"] {
        world.connection_is(name, "True", "Connected").await?;
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_limit_is_near_edits_go_on_and_polls_wait() -> anyhow::Result<()> {
    let mut world = World::with_partner("near", Options::default()).await?;
    start(&mut world, &[]).await?;
    let told = told(&world, "0.85").await?;
    let seen = world.graph().last_seq();
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": false}))
        .await?;
    let listed = move |request: &Request| request.is_list() && request.seq > seen;
    let list = world.graph().wait_for_requests(listed, 1, PATIENCE).await?.remove(0);
    assert!(list.at_millis - told >= SPAN, "{} ms", list.at_millis - told);
    let patched = world
        .graph()
        .count(|request| request.is_patch() && (seen..list.seq).contains(&request.seq));
    assert_eq!(patched, 1, "the edit did not wait for the poll");
    world.in_sync("jamf").await?;
    world.stop().await
}
