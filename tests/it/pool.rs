//! Connections to Microsoft: they are used again, and one that breaks costs nobody more than it must.

use std::collections::BTreeSet;

use anyhow::ensure;
use graph_simulator::{Action, Options, Request, Script};
use harness::{NEVER, PATIENCE, World};
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::history::{History, at, of};

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";

fn spec(value: bool) -> Value {
    json!({"partnerRef": {"id": P1}, "iosOnboarded": value})
}

async fn world(name: &str, options: Options) -> anyhow::Result<World> {
    let world = World::with(name, options).await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    Ok(world)
}

/// Starts an operator that heals nothing by trying again later.
async fn start(world: &mut World) -> anyhow::Result<()> {
    let mut config = world.config();
    config.timing.backoff = NEVER;
    config.timing.backoff_cap = NEVER;
    world.start_with(config).await
}

/// Method and status of what Graph was asked.
fn asked(world: &World) -> Vec<(String, Option<u16>)> {
    let requests = world.graph().requests_where(Request::is_graph);
    requests
        .into_iter()
        .map(|request| (request.method, request.status))
        .collect()
}

fn line(requests: &[(&str, Option<u16>)]) -> Vec<(String, Option<u16>)> {
    requests
        .iter()
        .map(|(method, status)| ((*method).to_owned(), *status))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_used_again_whatever_http_is_offered() -> anyhow::Result<()> {
    for (http2, version) in [(true, "2"), (false, "1.1")] {
        let options = Options {
            http2,
            ..Options::default()
        };
        let mut world = world("pooled", options).await?;
        let mut names = Vec::new();
        for number in 0..12 {
            let id = format!("aaaaaaaa-1111-4111-8111-0000000007{number:02}");
            world.row(&id, &format!("Partner {number}"))?;
            let spec = json!({"partnerRef": {"id": id}, "iosOnboarded": true});
            names.push(format!("p{number}"));
            world.partner(&format!("p{number}"), spec).await?;
        }
        start(&mut world).await?;
        for name in &names {
            world.in_sync(name).await?;
        }
        let used = || -> BTreeSet<u64> {
            let requests = world.graph().requests_where(Request::is_graph);
            assert!(requests.iter().all(|request| request.http_version == version));
            requests.iter().map(|request| request.connection).collect()
        };
        // Those that wait for their first connection may open one each; from then on there is none that is new.
        let first = used();
        let requests = world.graph().count(Request::is_graph);
        ensure!(
            first.len() * 3 <= requests,
            "{version}: {first:?} for {requests} requests"
        );
        world.graph().clear_log();
        for name in &names {
            world.asked(name, "one after the other").await?;
        }
        let then = used();
        ensure!(then.is_subset(&first), "{version}: {then:?} beside {first:?}");
        world.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_whose_connection_breaks_is_looked_for_and_nobody_sees_it() -> anyhow::Result<()> {
    let mut world = world("lost-change", Options::default()).await?;
    world.partner("jamf", spec(false)).await?;
    start(&mut world).await?;
    world.in_sync("jamf").await?;
    let history = History::of(&world).await?;
    let (get, done) = (("GET", Some(200)), ("PATCH", Some(200)));
    for (action, expected) in [
        // It came to nothing: it is sent again, but not before a look.
        (Action::Reset, &[get, ("PATCH", None), get, done, get][..]),
        // It was done, and is not sent again.
        (Action::ApplyThenReset, &[get, ("PATCH", None), get]),
        (Action::Truncate(20), &[get, done, get]),
    ] {
        let value = world.graph().row(&world.tenant, P1).unwrap_or_default()["iosOnboarded"] == false;
        world
            .graph()
            .script(Script::graph().method("PATCH").action(action.clone()).times(1));
        world.graph().clear_log();
        world.partner("jamf", spec(value)).await?;
        let partner = world.in_sync("jamf").await?;
        assert_eq!(asked(&world), line(expected), "{action:?}");
        assert_eq!(
            world.graph().row(&world.tenant, P1).unwrap_or_default()["iosOnboarded"],
            value
        );
        ensure!(
            at(&partner, "/status/lastUpdateTime").is_string(),
            "{action:?} took effect"
        );
        for partner in history.until(&partner).await? {
            let ready = of(&partner, "Ready").map(|ready| ready.reason);
            assert_eq!(ready.as_deref(), Some("InSync"), "{action:?}");
        }
    }
    world.event("jamf", "Updated").await?;
    ensure!(world.events("jamf", "GraphUnavailable").await?.is_empty());
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_whose_connection_breaks_each_time_is_told_and_never_sent_without_a_look() -> anyhow::Result<()> {
    let mut world = world("breaking", Options::default()).await?;
    world.partner("jamf", spec(true)).await?;
    let script = world.graph().script(Script::graph().method("PATCH").reset());
    world.start().await?;
    world.partner_is("jamf", "Ready", "False", "GraphUnavailable").await?;
    world.graph().wait_for_requests(Request::is_patch, 6, PATIENCE).await?;
    world.graph().remove_script(script);
    world.in_sync("jamf").await?;
    let methods: Vec<String> = asked(&world).into_iter().map(|(method, _)| method).collect();
    ensure!(methods.windows(2).all(|pair| pair != ["PATCH", "PATCH"]), "{methods:?}");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_finds_a_connection_that_lives_or_says_so() -> anyhow::Result<()> {
    let mut world = world("lost-read", Options::default()).await?;
    world.partner("jamf", spec(true)).await?;
    start(&mut world).await?;
    let before = world.in_sync("jamf").await?;
    let by_id = || Script::graph().method("GET").path(P1);
    world.graph().script(by_id().reset().times(2));
    world.graph().clear_log();
    let after = world.asked("jamf", "twice in vain").await?;
    assert_eq!(at(&before, "/status/conditions"), at(&after, "/status/conditions"));
    assert_eq!(asked(&world), line(&[("GET", None), ("GET", None), ("GET", Some(200))]));
    // Each is a request of its own to Graph.
    assert_eq!(world.graph().violations(), []);

    let script = world.graph().script(by_id().reset());
    world.graph().clear_log();
    world.asked("jamf", "in vain").await?;
    assert_eq!(asked(&world), line(&[("GET", None); 3]));
    world.graph().remove_script(script);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_request_whose_connection_breaks_is_sent_again_and_nobody_sees_it() -> anyhow::Result<()> {
    let mut world = world("lost-token", Options::default()).await?;
    world.partner("jamf", spec(true)).await?;
    world.graph().script(Script::entra().reset().times(1));
    world
        .graph()
        .script(Script::entra().action(Action::ApplyThenReset).times(1));
    start(&mut world).await?;
    world.in_sync("jamf").await?;
    world.connection_is("contoso", "True", "Connected").await?;
    let tokens = world.graph().requests_where(Request::is_token);
    let statuses: Vec<Option<u16>> = tokens.iter().map(|request| request.status).collect();
    assert_eq!(statuses, [None, None, Some(200)]);
    for name in ["jamf", "contoso"] {
        ensure!(world.events(name, "GraphUnavailable").await?.is_empty(), "{name}");
    }
    // Where each of them breaks, that is told, and Entra is not asked for ever.
    world.graph().script(Script::entra().reset());
    world.graph().revoke_tokens(&world.tenant, None);
    world.graph().clear_log();
    world.connection_asked("contoso", "now").await?;
    world
        .graph()
        .wait_for_requests(|request| request.is_token() && request.aborted, 3, PATIENCE)
        .await?;
    assert_eq!(world.graph().count(Request::is_token), 3);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_whose_connection_breaks_is_looked_for_and_told() -> anyhow::Result<()> {
    let mut world = world("lost-reset", Options::default()).await?;
    start(&mut world).await?;
    let (get, done) = (("GET", Some(200)), ("PATCH", Some(200)));
    for (name, action, expected) in [
        ("undone", Action::Reset, &[get, ("PATCH", None), get, done][..]),
        ("done", Action::ApplyThenReset, &[get, ("PATCH", None), get]),
    ] {
        let mut spec = spec(true);
        spec["deletionPolicy"] = json!("Reset");
        world.partner(name, spec).await?;
        world.in_sync(name).await?;
        world
            .graph()
            .script(Script::graph().method("PATCH").action(action).times(1));
        world.graph().clear_log();
        world.partners().delete(name, &DeleteParams::default()).await?;
        harness::wait_for(&format!("the end of {name}"), PATIENCE, async || {
            let partner = world.partners().get_opt(name).await?;
            ensure!(partner.is_none(), "{partner:#?}");
            Ok(())
        })
        .await?;
        assert_eq!(asked(&world), line(expected), "{name}");
        let row = world.graph().row(&world.tenant, P1).unwrap_or_default();
        assert_eq!(row["iosOnboarded"], false);
        let (_, note) = world.event(name, "Reset").await?;
        ensure!(note.contains("iosOnboarded"), "{note}");
    }
    world.stop().await
}
