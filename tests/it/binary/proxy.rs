//! A proxy between the program and Microsoft, and connections that end where nobody expects it.

use std::collections::BTreeSet;

use anyhow::ensure;
use graph_simulator::{Options, Request};
use harness::{P1, PATIENCE, Proxy, World};
use serde_json::json;

use super::Running;
use crate::history::{History, at, of};

/// The proxy's user in the environment, and as Basic has it (RFC 7617): `us@er:canary/pw`.
const USER: &str = "us%40er:canary%2Fpw";
const BASIC: &str = "dXNAZXI6Y2FuYXJ5L3B3";

/// `host:port` of Graph and of Entra.
fn microsoft(world: &World) -> BTreeSet<String> {
    [world.simulator.graph_endpoint(), world.simulator.authority_host()]
        .map(|address| address.trim_start_matches("https://").to_owned())
        .into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn microsoft_is_reached_by_the_proxy_and_the_api_server_never_is() -> anyhow::Result<()> {
    let world = World::with_partner("proxied", Options::default()).await?;
    let proxy = Proxy::start().await?;
    let url = proxy.url(USER);
    // How clusters name what is inside of them. None of it is Microsoft, and the API server needs no naming.
    for (round, (variable, inside)) in [
        ("HTTPS_PROXY", None),
        ("https_proxy", Some("10.96.0.0/12")),
        ("ALL_PROXY", Some(".svc,.cluster.local")),
        ("HTTPS_PROXY", Some("10.96.0.1, kubernetes.default.svc")),
    ]
    .into_iter()
    .enumerate()
    {
        proxy.forget();
        let mut environment = vec![(variable, url.as_str())];
        environment.extend(inside.map(|inside| ("NO_PROXY", inside)));
        let operator = Running::of_in(&world, &["--log-level", "trace"], &environment).await?;
        world.asked("jamf", &format!("round {round}")).await?;
        world.in_sync("jamf").await?;
        operator.stop().await?;
        let tunnels = proxy.tunnels();
        let targets: BTreeSet<String> = tunnels.iter().map(|tunnel| tunnel.target.clone()).collect();
        assert_eq!(targets, microsoft(&world), "{variable}, {inside:?}");
        for tunnel in tunnels {
            assert_eq!(tunnel.authorization.as_deref(), Some(&*format!("Basic {BASIC}")));
        }
        let log = operator.process.log()?;
        ensure!(log.contains("DEBUG"), "the level is not a talkative one");
        for word in ["canary", "us%40er", "us@er", BASIC] {
            ensure!(!log.contains(word), "the log tells {word}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_proxy_names_is_reached_without_it() -> anyhow::Result<()> {
    let world = World::with_partner("not-proxied", Options::default()).await?;
    let proxy = Proxy::start().await?;
    let url = proxy.url("");
    for (round, inside) in ["127.0.0.0/8", "10.96.0.0/12,127.0.0.1", ".svc, 127.0.0.1/32"]
        .into_iter()
        .enumerate()
    {
        let environment = [("HTTPS_PROXY", url.as_str()), ("NO_PROXY", inside)];
        let operator = Running::of_in(&world, &[], &environment).await?;
        world.asked("jamf", &format!("round {round}")).await?;
        operator.stop().await?;
        assert_eq!(proxy.tunnels(), [], "{inside}");
    }
    // A proxy for plain HTTP is none for what is asked here.
    let operator = Running::of_in(&world, &[], &[("HTTP_PROXY", url.as_str())]).await?;
    world.asked("jamf", "plain").await?;
    operator.stop().await?;
    assert_eq!(proxy.tunnels(), []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_wants_other_credentials_is_told_and_waited_for() -> anyhow::Result<()> {
    let world = World::with_partner("refusing-proxy", Options::default()).await?;
    let proxy = Proxy::start().await?;
    proxy.refuse(true);
    let url = proxy.url(USER);
    let operator = Running::of_in(&world, &["--log-level", "trace"], &[("HTTPS_PROXY", &url)]).await?;
    let connection = world.connection_is("contoso", "False", "GraphUnavailable").await?;
    let told = at(&connection, "/status/conditions/0/message");
    ensure!(told.as_str().is_some_and(|told| told.contains("the proxy")), "{told}");
    world
        .partner_is("jamf", "Reconciling", "True", "GraphUnavailable")
        .await?;
    ensure!(world.graph().requests().is_empty(), "nothing goes around the proxy");
    proxy.refuse(false);
    world.in_sync("jamf").await?;
    operator.stop().await?;
    let log = operator.process.log()?;
    for word in ["canary", "us%40er", "us@er", BASIC] {
        ensure!(!log.contains(word), "the log tells {word}");
    }
    Ok(())
}

/// No event tells of trouble, neither of the partner's nor of its connection's.
async fn nothing_is_told_of(world: &World, what: &str) -> anyhow::Result<()> {
    for kind in ["jamf", "contoso"] {
        for reason in ["GraphUnavailable", "ConnectionNotReady", "CredentialsRejected"] {
            ensure!(
                world.events(kind, reason).await?.is_empty(),
                "{what}: {reason} of {kind}"
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_were_closed_while_nobody_looked_cost_no_visible_failure() -> anyhow::Result<()> {
    for http2 in [true, false] {
        let options = Options {
            http2,
            ..Options::default()
        };
        let world = World::with_partner("closed", options).await?;
        for number in 0..4 {
            let id = format!("aaaaaaaa-1111-4111-8111-0000000006{number:02}");
            world.row(&id, &format!("Partner {number}"))?;
            let spec = json!({"partnerRef": {"id": id}, "iosOnboarded": true});
            world.partner(&format!("p{number}"), spec).await?;
        }
        let proxy = Proxy::start().await?;
        let url = proxy.url("");
        let operator = Running::of_in(&world, &[], &[("HTTPS_PROXY", &url)]).await?;
        for number in 0..4 {
            world.in_sync(&format!("p{number}")).await?;
        }
        let before = world.in_sync("jamf").await?;
        let version = if http2 { "2" } else { "1.1" };
        let requests = world.graph().requests();
        assert!(requests.iter().all(|request| request.http_version == version));

        // A read, and the token that it asks for, find nothing but dead connections.
        let history = History::of(&world).await?;
        world.graph().revoke_tokens(&world.tenant, None);
        proxy.cut();
        let after = world.asked("jamf", "read by what is closed").await?;
        assert_eq!(at(&before, "/status/conditions"), at(&after, "/status/conditions"));
        proxy.cut();
        world
            .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": false}))
            .await?;
        let last = world.in_sync("jamf").await?;
        for partner in history.until(&last).await? {
            assert_eq!(
                of(&partner, "Ready").map(|ready| ready.reason).as_deref(),
                Some("InSync")
            );
        }
        nothing_is_told_of(&world, version).await?;
        operator.stop().await?;
    }
    Ok(())
}

/// Where HTTP/2 is offered, all requests share one connection: it must not take them all with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_has_gone_silent_is_left_within_one_request() -> anyhow::Result<()> {
    let world = World::with_partner("silent", Options::default()).await?;
    let proxy = Proxy::start().await?;
    let url = proxy.url("");
    let operator = Running::of_in(&world, &[], &[("HTTPS_PROXY", &url)]).await?;
    let before = world.in_sync("jamf").await?;
    world.graph().clear_log();
    proxy.silence();
    let after = world.asked("jamf", "by a connection that is silent").await?;
    assert_eq!(at(&before, "/status/conditions"), at(&after, "/status/conditions"));
    nothing_is_told_of(&world, "silence").await?;
    world.graph().wait_for_requests(Request::is_get, 1, PATIENCE).await?;
    operator.stop().await
}
