//! `auth.managedIdentity`: the metadata service of the node.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::ensure;
use graph_simulator::{Answer, Body, Request, Script, Server};
use harness::World;
use serde_json::json;
use tokio::net::TcpListener;

use super::{connection, partner_of, told};
use crate::binary::Running;

/// A world whose operator finds the metadata service, and an identity of the node.
async fn world(name: &str, system_assigned: bool) -> anyhow::Result<World> {
    let world = World::new(name).await?;
    world
        .graph()
        .assign_identity(&world.tenant, &world.client_id, system_assigned)?;
    Ok(world)
}

async fn start(world: &mut World) -> anyhow::Result<()> {
    let mut config = world.config();
    config.operator_identity_namespaces = vec![world.namespace.clone()];
    config.endpoints.metadata = Some(world.simulator.metadata_endpoint().to_owned());
    world.start_with(config).await
}

fn asked(world: &World) -> Vec<Request> {
    world
        .graph()
        .requests_where(|request| request.server == Server::Metadata)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nodes_identity_signs_in_by_its_client_id_or_as_the_systems() -> anyhow::Result<()> {
    let mut world = world("managed", true).await?;
    connection(&world, "by-id", json!({"managedIdentity": {}})).await?;
    // Server-side apply drops what it does not name any more.
    let system = json!({"auth": {"managedIdentity": {}}, "clientId": null});
    world.connection("by-system", system).await?;
    partner_of(&world, "by-system").await?;
    start(&mut world).await?;
    for name in ["by-id", "by-system"] {
        let connected = world.connection_is(name, "True", "Connected").await?;
        let roles = connected.status.unwrap_or_default().roles;
        assert_eq!(roles.as_deref(), Some(&[harness::WRITE_ROLE.to_owned()][..]));
    }
    world.in_sync("jamf").await?;
    let mut named = Vec::new();
    for request in asked(&world) {
        assert_eq!(
            (request.method.as_str(), request.header("metadata")),
            ("GET", Some("true"))
        );
        let query = request.query.unwrap_or_default();
        ensure!(
            query.contains("api-version=2018-02-01") && query.contains("resource=https%3A%2F%2F"),
            "{query}"
        );
        ensure!(!query.contains(".default"), "{query}");
        named.push(query.contains(&format!("client_id={}", world.client_id)));
    }
    named.sort_unstable();
    assert_eq!(named, [false, true]);
    assert_eq!(world.graph().count(|request| request.server == Server::Entra), 0);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_metadata_service_answers_has_its_reason_and_heals() -> anyhow::Result<()> {
    let mut world = world("metadata", false).await?;
    connection(&world, "contoso", json!({"managedIdentity": {}})).await?;
    start(&mut world).await?;
    let refused = json!({"error": "invalid_request", "error_description": "Identity not found"});
    let html = Answer::status(200)
        .header("Content-Type", "text/html")
        .body(Body::Text("<html>blocked</html>".to_owned()));
    let other = json!({"error": "invalid_resource", "error_description": "AADSTS500011: The resource principal was not found."});
    let odd = json!({"error": "unauthorized_client", "error_description": "AADSTS700016: Application was not found."});
    let cases: [(Answer, &str, &str); 9] = [
        (Answer::json(400, other), "CredentialsRejected", "check spec.cloud"),
        (Answer::json(400, odd), "CredentialsRejected", "AADSTS700016"),
        (Answer::json(400, refused), "CredentialsRejected", "spec.clientId"),
        (html, "GraphUnavailable", "look for a proxy"),
        (Answer::status(404), "GraphUnavailable", "HTTP 404"),
        (Answer::status(410), "GraphUnavailable", "HTTP 410"),
        (Answer::status(500), "GraphUnavailable", "HTTP 500"),
        (
            Answer::json(200, json!({"access_token": 7})),
            "GraphUnavailable",
            "without a token",
        ),
        (Answer::status(429), "Throttled", "throttles"),
    ];
    for (number, (answer, reason, says)) in cases.into_iter().enumerate() {
        world.connection_is("contoso", "True", "Connected").await?;
        let script = world.graph().script(Script::metadata().answer(answer));
        world.graph().revoke_tokens(&world.tenant, None);
        // An edited connection begins anew: what it was before does not hide the trouble.
        let access = if number % 2 == 0 { "ReadOnly" } else { "ReadWrite" };
        let edited = json!({"auth": {"managedIdentity": {}}, "access": access});
        world.connection("contoso", edited).await?;
        let told = told(&world.connection_is("contoso", "False", reason).await?);
        ensure!(told.contains(says), "{told}");
        world.graph().remove_script(script);
    }
    world.connection_is("contoso", "True", "Connected").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_that_the_node_has_not_is_told_and_found_when_it_is_assigned() -> anyhow::Result<()> {
    let mut world = World::new("unassigned").await?;
    connection(&world, "contoso", json!({"managedIdentity": {}})).await?;
    let system = json!({"auth": {"managedIdentity": {}}, "clientId": null});
    world.connection("system", system).await?;
    start(&mut world).await?;
    let named = told(&world.connection_is("contoso", "False", "CredentialsRejected").await?);
    ensure!(named.contains("assign the identity to the node"), "{named}");
    let unnamed = told(&world.connection_is("system", "False", "CredentialsRejected").await?);
    ensure!(unnamed.contains("system-assigned"), "{unnamed}");
    world.graph().assign_identity(&world.tenant, &world.client_id, true)?;
    for name in ["contoso", "system"] {
        world.connection_is(name, "True", "Connected").await?;
    }
    world.stop().await
}

/// A proxy that would be asked for any plain http, if it were asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metadata_service_is_never_asked_by_a_proxy() -> anyhow::Result<()> {
    let world = world("metadata-proxy", false).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let proxy = format!("http://user:canary@{}", listener.local_addr()?);
    let visits = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&visits);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    connection(&world, "contoso", json!({"managedIdentity": {}})).await?;
    let flags = ["--metadata-endpoint", world.simulator.metadata_endpoint()];
    let environment = [("HTTP_PROXY", proxy.as_str()), ("http_proxy", proxy.as_str())];
    let operator = Running::of_in(&world, &flags, &environment).await?;
    world.connection_is("contoso", "True", "Connected").await?;
    operator.stop().await?;
    assert_eq!(visits.load(Ordering::SeqCst), 0);
    ensure!(!asked(&world).is_empty(), "nobody asked");
    Ok(())
}
