//! The session of a connection: when its Secret is read, whose token it uses, and what its listing shows.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::ensure;
use graph_simulator::{Answer, App, Options, Request, Script};
use harness::{CLIENT_SECRET, OPERATOR, P1, PATIENCE, WRITE_ROLE, World, wait_for};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::history::at;

const OTHER_CLIENT: &str = "dddddddd-4444-4444-8444-000000000003";

fn secrets(world: &World) -> Api<Secret> {
    Api::namespaced(world.admin.clone(), &world.namespace)
}

/// What the operator has asked the API server about Secrets: verb, namespace, name and status.
fn asked_of_secrets(world: &World, position: u64) -> anyhow::Result<Vec<(String, String, String, u64)>> {
    let user = format!("system:serviceaccount:{}:{OPERATOR}", world.namespace);
    let text = |event: &Value, path: &str| {
        event
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let events = world.plane.audit_events_since(position)?;
    let own = events.iter().filter(|event| {
        text(event, "/user/username") == user
            && text(event, "/objectRef/resource") == "secrets"
            && text(event, "/stage") == "ResponseComplete"
    });
    let told = own.map(|event| {
        let code = event.pointer("/responseStatus/code").and_then(Value::as_u64);
        (
            text(event, "/verb"),
            text(event, "/objectRef/namespace"),
            text(event, "/objectRef/name"),
            code.unwrap_or_default(),
        )
    });
    Ok(told.collect())
}

/// Waits for so many more listings.
async fn listings(world: &World, count: usize) -> anyhow::Result<()> {
    let seen = world.graph().last_seq();
    let listed = move |request: &Request| request.is_list() && request.seq > seen && request.status.is_some();
    world.graph().wait_for_requests(listed, count, PATIENCE).await.map(drop)
}

/// Lets the row drift, and waits until that is corrected.
async fn corrects(world: &World) -> anyhow::Result<()> {
    let seen = world.graph().last_seq();
    world
        .graph()
        .change_row(&world.tenant, P1, json!({"iosOnboarded": false}))?;
    let by_id = move |request: &Request| request.seq > seen && request.path.ends_with(P1) && request.status.is_some();
    let requests = world.graph().wait_for_requests(by_id, 3, PATIENCE).await?;
    let methods: Vec<&str> = requests.iter().map(|request| request.method.as_str()).collect();
    ensure!(methods == ["GET", "PATCH", "GET"], "{requests:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_connected_nobody_looks_at_the_secret_and_it_may_even_go() -> anyhow::Result<()> {
    let mut world = World::with_partner("no-timer", Options::default()).await?;
    world.start_polling().await?;
    world.in_sync("jamf").await?;
    listings(&world, 3).await?;
    secrets(&world).delete("graph", &DeleteParams::default()).await?;
    corrects(&world).await?;
    listings(&world, 3).await?;
    world.connection_is("contoso", "True", "Connected").await?;
    // A write of status comes after all that, so the audit log holds it.
    world.asked("jamf", "now").await?;
    let reads = asked_of_secrets(&world, 0)?;
    let once = ("get".to_owned(), world.namespace.clone(), "graph".to_owned(), 200);
    assert_eq!(reads, [once]);
    assert_eq!(world.graph().count(Request::is_token), 1);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_exchange_reads_the_secret_as_it_is_then() -> anyhow::Result<()> {
    let options = Options {
        expires_in: 6,
        ..Options::default()
    };
    let mut world = World::with_partner("each-exchange", options).await?;
    world.start_polling().await?;
    world.in_sync("jamf").await?;
    // Rotated in Entra and in the Secret, and nobody is told.
    world
        .graph()
        .set_secret(&world.tenant, &world.client_id, "the-second-one")?;
    world
        .secret("graph", json!({"client-secret": "the-second-one"}))
        .await?;
    let exchanged = |request: &Request| request.is_token() && request.status == Some(200);
    let tokens = world.graph().wait_for_requests(exchanged, 3, PATIENCE).await?;
    let refused = world
        .graph()
        .count(|request| request.is_token() && request.status != Some(200));
    assert_eq!(refused, 0, "the second exchange had the second secret");
    assert_ne!(tokens[0].body, tokens[2].body);
    corrects(&world).await?;

    // Without its key, and then without the Secret, the next exchange is none. The operator looks until they are back.
    let no_key = Patch::Merge(json!({"data": {"client-secret": null}}));
    secrets(&world).patch("graph", &PatchParams::default(), &no_key).await?;
    let connection = world.connection_is("contoso", "False", "SecretNotFound").await?;
    let told = at(&connection, "/status/conditions/0/message");
    assert!(
        told.as_str().is_some_and(|told| told.contains("no key client-secret")),
        "{told}"
    );
    world.partner_is("jamf", "Ready", "False", "ConnectionNotReady").await?;
    world
        .secret("graph", json!({"client-secret": "the-second-one"}))
        .await?;
    world.connection_is("contoso", "True", "Connected").await?;
    world.in_sync("jamf").await?;
    secrets(&world).delete("graph", &DeleteParams::default()).await?;
    let connection = world.connection_is("contoso", "False", "SecretNotFound").await?;
    let told = at(&connection, "/status/conditions/0/message");
    assert!(
        told.as_str().is_some_and(|told| told.contains("does not exist")),
        "{told}"
    );
    world.partner_is("jamf", "Ready", "False", "ConnectionNotReady").await?;
    world
        .secret("graph", json!({"client-secret": "the-second-one"}))
        .await?;
    world.connection_is("contoso", "True", "Connected").await?;
    world.in_sync("jamf").await?;
    corrects(&world).await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_secret_is_looked_at_for_as_long_as_it_can_mend_something() -> anyhow::Result<()> {
    let mut world = World::with_partner("timer", Options::default()).await?;
    secrets(&world).delete("graph", &DeleteParams::default()).await?;
    world.start_polling().await?;
    world.connection_is("contoso", "False", "SecretNotFound").await?;
    wait_for("look after look", PATIENCE, async || {
        let reads = asked_of_secrets(&world, 0)?;
        ensure!(
            reads.len() >= 4 && reads.iter().all(|(.., code)| *code == 404),
            "{reads:?}"
        );
        Ok(())
    })
    .await?;
    assert!(world.graph().requests().is_empty());
    world.secret("graph", json!({"client-secret": CLIENT_SECRET})).await?;
    world.connection_is("contoso", "True", "Connected").await?;
    world.in_sync("jamf").await?;
    listings(&world, 1).await?;
    let position = world.plane.audit_position()?;
    listings(&world, 3).await?;
    world.asked("jamf", "now").await?;
    let reads = asked_of_secrets(&world, position)?;
    assert!(reads.is_empty(), "{reads:?}");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_secret_is_tried_again_after_its_backoff_alone() -> anyhow::Result<()> {
    let mut world = World::with_partner("refused-again", Options::default()).await?;
    world
        .secret("graph", json!({"client-secret": "not known to Entra yet"}))
        .await?;
    let mut config = world.config();
    config.timing.secret = Duration::from_millis(50);
    config.timing.credentials = Duration::from_millis(400);
    config.timing.credentials_cap = Duration::from_millis(800);
    world.start_with(config).await?;
    world.connection_is("contoso", "False", "CredentialsRejected").await?;
    world.graph().wait_for_requests(Request::is_token, 3, PATIENCE).await?;
    wait_for("looks without a request", PATIENCE, async || {
        let looks = asked_of_secrets(&world, 0)?.len();
        let tokens = world.graph().count(Request::is_token);
        ensure!(looks >= tokens + 3, "{looks} looks, {tokens} requests");
        anyhow::Ok(())
    })
    .await?;
    for pair in world.graph().requests_where(Request::is_token).windows(2) {
        let wait = pair[1].at_millis - pair[0].at_millis;
        assert!(wait >= 400, "sent again after {wait} ms");
    }
    // Mended in Entra alone.
    world
        .graph()
        .set_secret(&world.tenant, &world.client_id, "not known to Entra yet")?;
    world.connection_is("contoso", "True", "Connected").await?;
    world.in_sync("jamf").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_of_ours_ends_a_pause_that_entra_asks_for() -> anyhow::Result<()> {
    let mut world = World::with_partner("entras-pause", Options::default()).await?;
    let pause = Answer::status(429).header("Retry-After", "3600");
    world.graph().script(Script::entra().answer(pause));
    world.start().await?;
    world.connection_is("contoso", "False", "Throttled").await?;
    world.connection_asked("contoso", "now").await?;
    assert_eq!(world.graph().count(Request::is_token), 1);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_other_secret_is_read_or_can_be() -> anyhow::Result<()> {
    let mut world = World::with_partner("one-secret", Options::default()).await?;
    world.secret("other", json!({"client-secret": CLIENT_SECRET})).await?;
    let elsewhere = world.second_namespace().await?;
    let auth = json!({"clientSecret": {"secretRef": {"name": "other"}}});
    world.connection("greedy", json!({"auth": auth})).await?;
    // A reference into another namespace is none: the local Secret of that name is meant.
    let abroad = json!({
        "apiVersion": "intune.msgraph.dev/v1alpha1", "kind": "GraphConnection",
        "metadata": {"name": "abroad", "namespace": world.namespace},
        "spec": {
            "tenantId": world.tenant, "clientId": world.client_id,
            "auth": {"clientSecret": {"secretRef": {"name": "graph", "namespace": elsewhere}}},
        },
    });
    let create = ["create", "--validate=ignore", "-f", "-"];
    world.plane.kubectl_ok_with_input(&create, &abroad.to_string()).await?;
    let mut config = world.config();
    config.watch_namespaces.push(elsewhere.clone());
    world.start_with(config).await?;
    world.in_sync("jamf").await?;
    let connection = world.connection_is("abroad", "True", "Connected").await?;
    assert_eq!(
        at(&connection, "/spec/auth/clientSecret/secretRef"),
        json!({"name": "graph"})
    );
    let connection = world.connection_is("greedy", "False", "AccessNotGranted").await?;
    let told = at(&connection, "/status/conditions/0/message");
    assert!(
        told.as_str().is_some_and(|told| told.contains("--resource-name=other")),
        "{told}"
    );
    wait_for("both reads", PATIENCE, async || {
        let asked: BTreeSet<_> = asked_of_secrets(&world, 0)?.into_iter().collect();
        let get = |name: &str, code| ("get".to_owned(), world.namespace.clone(), name.to_owned(), code);
        ensure!(
            asked == BTreeSet::from([get("graph", 200), get("other", 403)]),
            "{asked:?}"
        );
        Ok(())
    })
    .await?;
    assert_eq!(world.graph().count(Request::is_token), 2);

    let who = format!("--as=system:serviceaccount:{}:{OPERATOR}", world.namespace);
    for (verb, what, namespace) in [
        ("get", "secrets/other", world.namespace.as_str()),
        ("list", "secrets", &world.namespace),
        ("watch", "secrets", &world.namespace),
        ("update", "secrets/graph", &world.namespace),
        ("get", "secrets/graph", &elsewhere),
        ("create", "serviceaccounts/token", &world.namespace),
        ("get", "serviceaccounts", &world.namespace),
    ] {
        let can = world
            .plane
            .kubectl(&["auth", "can-i", verb, what, "-n", namespace, &who])
            .await?;
        assert_eq!(
            String::from_utf8_lossy(&can.stdout).trim(),
            "no",
            "{verb} {what} in {namespace}"
        );
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_serves_nobody_but_the_connection_that_got_it() -> anyhow::Result<()> {
    let mut world = World::with_partner("own-token", Options::default()).await?;
    world.secret("wrong", json!({"client-secret": "wrong"})).await?;
    world.consent("wrong").await?;
    let auth = json!({"clientSecret": {"secretRef": {"name": "wrong"}}});
    world.connection("free-rider", json!({"auth": auth})).await?;
    world
        .partner(
            "rider",
            json!({"connectionRef": {"name": "free-rider"}, "partnerRef": {"id": P1}, "managementPolicy": "Observe"}),
        )
        .await?;
    world.start_polling().await?;
    world.in_sync("jamf").await?;
    let connection = world
        .connection_is("free-rider", "False", "CredentialsRejected")
        .await?;
    let partner = world
        .partner_is("rider", "Ready", "False", "ConnectionNotReady")
        .await?;
    listings(&world, 3).await?;
    for field in ["/status/roles", "/status/partners"] {
        assert_eq!(at(&connection, field), Value::Null, "{field}");
    }
    for field in ["/status/partnerState", "/status/displayName", "/status/partnerId"] {
        assert_eq!(at(&partner, field), Value::Null, "{field}");
    }
    let issued: BTreeSet<_> = world
        .graph()
        .requests()
        .iter()
        .filter_map(|request| request.issued_token)
        .collect();
    let used: BTreeSet<_> = world
        .graph()
        .requests()
        .iter()
        .filter_map(|request| request.token)
        .collect();
    assert_eq!((issued.len(), &issued), (1, &used));
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_or_a_new_connection_begins_a_session_of_its_own() -> anyhow::Result<()> {
    let mut world = World::with_partner("own-session", Options::default()).await?;
    let app = App::with_secret(CLIENT_SECRET).roles([WRITE_ROLE]);
    world.graph().add_app(&world.tenant, OTHER_CLIENT, app);
    world.start().await?;
    world.in_sync("jamf").await?;
    world.graph().clear_log();
    world.connection("contoso", json!({"clientId": OTHER_CLIENT})).await?;
    let exchanged = |request: &Request| request.is_token() && request.client_id.as_deref() == Some(OTHER_CLIENT);
    world.graph().wait_for_requests(exchanged, 1, PATIENCE).await?;
    world
        .graph()
        .change_row(&world.tenant, P1, json!({"iosOnboarded": false}))?;
    world.asked("jamf", "as another app").await?;
    world.in_sync("jamf").await?;
    assert_eq!(world.graph().row(&world.tenant, P1).unwrap()["iosOnboarded"], true);
    let others = world
        .graph()
        .requests_where(|request| request.is_graph() && request.client_id.as_deref() != Some(OTHER_CLIENT));
    assert!(others.is_empty(), "{others:#?}");

    // The same connection made anew has proven nothing yet.
    world.graph().clear_log();
    world.connections().delete("contoso", &DeleteParams::default()).await?;
    world.partner_is("jamf", "Ready", "False", "ConnectionNotFound").await?;
    world.connection("contoso", json!({"clientId": OTHER_CLIENT})).await?;
    world.in_sync("jamf").await?;
    let requests = world.graph().requests();
    let issued: BTreeSet<_> = requests.iter().filter_map(|request| request.issued_token).collect();
    let used: BTreeSet<_> = requests.iter().filter_map(|request| request.token).collect();
    assert_eq!((issued.len(), &issued), (1, &used));
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_token_is_asked_for_at_a_time_however_many_want_it() -> anyhow::Result<()> {
    let mut world = World::with_partner("one-token", Options::default()).await?;
    for number in 0..20 {
        let id = format!("aaaaaaaa-1111-4111-8111-0000000004{number:02}");
        world.row(&id, &format!("Partner {number}"))?;
        world
            .partner(
                &format!("p{number}"),
                json!({"partnerRef": {"id": id}, "iosOnboarded": true}),
            )
            .await?;
    }
    let slow = Script::entra().delay(Duration::from_millis(500)).then_continue();
    world.graph().script(slow);
    world.start().await?;
    for number in 0..20 {
        world.in_sync(&format!("p{number}")).await?;
    }
    world.in_sync("jamf").await?;
    assert_eq!(world.graph().count(Request::is_token), 1);

    // All of them meet with a token that Graph does not take any more, at once.
    world.graph().revoke_tokens(&world.tenant, None);
    world.graph().clear_log();
    let annotation = "intune.msgraph.dev/reconcile-requested-at=now";
    let all = ["annotate", "cmp", "--all", "-n", &world.namespace, annotation];
    world.plane.kubectl_ok(&all).await?;
    for number in 0..20 {
        world.asked(&format!("p{number}"), "now").await?;
    }
    assert_eq!(world.graph().count(Request::is_token), 1);
    assert_eq!(world.graph().in_flight().entra_peak, 1);
    let requests = world.graph().requests_where(Request::is_graph);
    let refused: BTreeSet<_> = requests
        .iter()
        .filter(|it| it.status == Some(401))
        .map(|it| it.token)
        .collect();
    let taken: BTreeSet<_> = requests
        .iter()
        .filter(|it| it.status == Some(200))
        .map(|it| it.token)
        .collect();
    assert_eq!((refused.len(), taken.len()), (1, 1));
    assert!(refused.is_disjoint(&taken), "a fresh token is not the refused one");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_of_two_tokens_running_is_told_and_not_repeated() -> anyhow::Result<()> {
    let mut world = World::with_partner("two-tokens", Options::default()).await?;
    let body = json!({"error": {"code": "InvalidAuthenticationToken", "message": "Not for you."}});
    let script = world.graph().script(Script::graph().answer(Answer::json(401, body)));
    let mut config = world.config();
    config.timing.slow = Duration::from_secs(3_600);
    world.start_with(config).await?;
    world.connection_is("contoso", "False", "PermissionDenied").await?;
    let requests = world.graph().requests_where(Request::is_graph);
    assert_eq!(requests.len(), 2, "{requests:#?}");
    assert_ne!(requests[0].token, requests[1].token);
    assert_eq!(world.graph().count(Request::is_token), 2);
    world.partner_is("jamf", "Ready", "False", "ConnectionNotReady").await?;
    assert_eq!(world.graph().count(Request::is_graph), 2);
    world.graph().remove_script(script);
    world.ask("gconn/contoso", "now").await?;
    world.in_sync("jamf").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_one_look_at_the_secret_and_is_echoed_once() -> anyhow::Result<()> {
    let mut world = World::with_partner("asked-connection", Options::default()).await?;
    world.start_polling().await?;
    world.in_sync("jamf").await?;
    listings(&world, 1).await?;
    let position = world.plane.audit_position()?;
    let long = "y".repeat(300);
    for (value, echo) in [("first", "first"), (long.as_str(), &long[..256])] {
        let connection = world.connection_asked("contoso", value).await?;
        assert_eq!(at(&connection, "/status/lastHandledReconcileAt"), echo);
        listings(&world, 2).await?;
    }
    wait_for("a look each", PATIENCE, async || {
        let looks = asked_of_secrets(&world, position)?.len();
        ensure!(looks == 2, "{looks}");
        let writes = world.operator_writes_since(position)?;
        ensure!(writes.len() == 2, "{writes:#?}");
        Ok(())
    })
    .await?;
    assert_eq!(
        world.graph().count(Request::is_token),
        1,
        "the Secret is the same: so is the token"
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_of_a_connection_is_judged_for_its_own_generation() -> anyhow::Result<()> {
    let mut world = World::with_partner("generations", Options::default()).await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    let judged = async |status: &str, reason: &str, generation: i64| {
        let what = format!("{reason} of generation {generation}");
        wait_for(&what, PATIENCE, async || {
            let connection = world.connection_is("contoso", status, reason).await?;
            let seen = at(&connection, "/status/observedGeneration");
            let ready = at(&connection, "/status/conditions/0/observedGeneration");
            ensure!(
                (&seen, &ready) == (&json!(generation), &json!(generation)),
                "{seen} {ready}"
            );
            ensure!(at(&connection, "/metadata/generation") == generation);
            Ok(())
        })
        .await
    };
    judged("True", "Connected", 1).await?;
    world.connection("contoso", json!({"access": "ReadOnly"})).await?;
    judged("True", "Connected", 2).await?;
    // What was Connected before the edit is no promise for what comes after it.
    let outage = world.graph().script(Script::graph().answer(Answer::status(503)));
    world.connection("contoso", json!({"access": "ReadWrite"})).await?;
    judged("False", "GraphUnavailable", 3).await?;
    world.graph().remove_script(outage);
    judged("True", "Connected", 3).await?;
    world.in_sync("jamf").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_status_lists_follows_the_tenant() -> anyhow::Result<()> {
    let mut world = World::with_partner("listed", Options::default()).await?;
    world.start_polling().await?;
    world.in_sync("jamf").await?;
    let listed = async |expected: Value| {
        wait_for("the partners of the tenant", PATIENCE, async || {
            let connection = world.connections().get("contoso").await?;
            let listed = at(&connection, "/status/partners");
            ensure!(listed == expected, "{listed}");
            Ok(())
        })
        .await
    };
    let first = json!({"id": P1, "displayName": "Example Partner"});
    listed(json!([first])).await?;
    world.row("zz-new", "New Partner")?;
    listed(json!([first, {"id": "zz-new", "displayName": "New Partner"}])).await?;
    world
        .graph()
        .change_row(&world.tenant, "zz-new", json!({"displayName": "Renamed"}))?;
    listed(json!([first, {"id": "zz-new", "displayName": "Renamed"}])).await?;
    world.graph().delete_row(&world.tenant, "zz-new")?;
    listed(json!([first])).await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_that_takes_too_long_to_list_is_told_as_an_outage() -> anyhow::Result<()> {
    let options = Options {
        page_size: 1,
        graph_delay: Duration::from_millis(400),
        ..Options::default()
    };
    let mut world = World::with_partner("slow-pages", options).await?;
    for number in 0..9 {
        world.row(&format!("row-{number}"), &format!("Partner {number}"))?;
    }
    world
        .partner(
            "by-name",
            json!({"partnerRef": {"displayName": "Partner 3"}, "iosOnboarded": true}),
        )
        .await?;
    let mut config = world.config();
    // No single request takes too long, and all of them together take longer than a pass may.
    config.timing.request = Duration::from_secs(1);
    config.timing.pass = Duration::from_secs(3);
    world.start_with(config).await?;
    world.connection_is("contoso", "False", "GraphUnavailable").await?;
    for name in ["jamf", "by-name"] {
        world.partner_is(name, "Ready", "False", "GraphUnavailable").await?;
    }
    world.graph().set_graph_delay(Duration::ZERO);
    world.connection_is("contoso", "True", "Connected").await?;
    for name in ["jamf", "by-name"] {
        world.in_sync(name).await?;
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_is_kept_by_all_connections_of_an_app_and_by_no_other() -> anyhow::Result<()> {
    let mut world = World::with_partner("shared-pause", Options::default()).await?;
    world.connection("twin", json!({})).await?;
    world.start_polling().await?;
    world.in_sync("jamf").await?;
    world.connection_is("twin", "True", "Connected").await?;
    let error = json!({"error": {"code": "TooManyRequests", "message": "Too many requests."}});
    let answer = Answer::json(429, error).header("Retry-After", "5");
    world.graph().script(Script::graph().answer(answer).times(1));
    let graph = world.graph();
    let throttled = |request: &Request| request.status == Some(429);
    let throttled = graph.wait_for_requests(throttled, 1, PATIENCE).await?.remove(0);
    let app = App::with_secret(CLIENT_SECRET).roles([WRITE_ROLE]);
    world.graph().add_app(&world.tenant, OTHER_CLIENT, app);
    world.connection("neighbour", json!({"clientId": OTHER_CLIENT})).await?;
    world.connection_is("neighbour", "True", "Connected").await?;
    // What was on its way when the answer came is not meant.
    let told = throttled.at_millis + throttled.duration_millis.unwrap_or_default();
    let client = world.client_id.clone();
    let own = move |request: &Request| {
        request.is_graph() && request.at_millis > told + 100 && request.client_id.as_deref() == Some(&client)
    };
    let after = graph.wait_for_requests(own, 2, PATIENCE).await?;
    let pause = after[0].at_millis - throttled.at_millis;
    assert!(pause >= 4_990, "{pause} ms");
    let neighbours = graph.requests_where(|request| request.client_id.as_deref() == Some(OTHER_CLIENT));
    let meanwhile = neighbours
        .iter()
        .filter(|request| request.is_graph() && request.seq < after[0].seq);
    assert!(meanwhile.count() >= 1, "another app is not paused");
    world.stop().await
}
