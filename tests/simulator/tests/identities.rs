//! The node's metadata service, over plain HTTP.

use crate::common::{CLIENT, TENANT, World, read, uuid};
use graph_simulator::{Answer, App, Request, Script, Server, ViolationKind};
use jiff::SignedDuration;
use reqwest::{Client, Method};
use serde_json::{Value, json};

const OTHER: &str = "cccccccc-3333-4333-8333-000000000002";

/// Of a query, or of headers.
type Pairs<'a> = &'a [(&'a str, &'a str)];

/// Asks as a right client does, changed as the case needs it.
async fn ask(world: &World, query: Pairs<'_>, headers: Pairs<'_>) -> (u16, Value) {
    let url = format!("{}/metadata/identity/oauth2/token", world.simulator.metadata_endpoint());
    let url = url::Url::parse_with_params(&url, query).unwrap();
    let mut request = Client::builder().no_proxy().build().unwrap().get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    read(request.send().await.unwrap()).await
}

async fn token(world: &World, client_id: Option<&str>) -> (u16, Value) {
    let graph = world.control.endpoints().public_graph;
    let mut query = vec![("api-version", "2018-02-01"), ("resource", graph.as_str())];
    query.extend(client_id.map(|id| ("client_id", id)));
    ask(world, &query, &[("Metadata", "true")]).await
}

fn description(body: &Value) -> &str {
    body["error_description"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn the_system_and_named_identities_get_tokens() {
    let world = World::start();
    world.control.add_app(
        TENANT,
        OTHER,
        App::without_secret().roles(["DeviceManagementServiceConfig.Read.All"]),
    );
    world.control.assign_identity(TENANT, CLIENT, true).unwrap();
    world.control.assign_identity(TENANT, OTHER, false).unwrap();
    world.control.set_clock(SignedDuration::from_hours(2));
    for (asked, expected) in [
        (None, CLIENT),
        (Some(CLIENT), CLIENT),
        (Some(&*OTHER.to_uppercase()), OTHER),
    ] {
        let (status, body) = token(&world, asked).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(body["token_type"], "Bearer");
        assert_eq!(body["resource"], world.simulator.graph_endpoint());
        assert_eq!(
            (&body["expires_in"], &body["client_id"]),
            (&json!("3599"), &json!(expected))
        );
        let expires: i64 = body["expires_on"].as_str().unwrap().parse().unwrap();
        assert!((expires - world.control.now().as_second() - 3599).abs() < 30);
        let token = body["access_token"].as_str().unwrap();
        assert_eq!(world.list(token).await.0, 200);
        let entry = world
            .control
            .requests()
            .into_iter()
            .rev()
            .find(Request::is_metadata)
            .unwrap();
        assert_eq!((entry.server, entry.status), (Server::Metadata, Some(200)));
        assert_eq!(
            (entry.tenant.as_deref(), entry.client_id.as_deref()),
            (Some(TENANT), Some(expected))
        );
        assert_eq!(world.last().token, entry.issued_token);
    }
    assert_eq!(world.kinds(), []);
}

#[tokio::test]
async fn an_identity_that_is_not_there_is_not_found() {
    let world = World::start();
    let (status, body) = token(&world, None).await;
    assert_eq!(status, 400);
    assert_eq!(
        body,
        json!({ "error": "invalid_request", "error_description": "Identity not found" })
    );
    world.control.assign_identity(TENANT, CLIENT, false).unwrap();
    assert_eq!(description(&token(&world, Some(&uuid())).await.1), "Identity not found");
    assert_eq!(token(&world, None).await.0, 200, "one that is alone need not be named");
    world.control.add_app(TENANT, OTHER, App::without_secret());
    world.control.assign_identity(TENANT, OTHER, false).unwrap();
    let (status, body) = token(&world, None).await;
    assert_eq!((status, &body["error"]), (400, &json!("invalid_request")));
    assert!(
        description(&body).starts_with("Multiple user assigned identities exist"),
        "{body}"
    );
    world.control.assign_identity(TENANT, OTHER, true).unwrap();
    assert_eq!(token(&world, None).await.1["client_id"], OTHER);
    world.control.remove_app(TENANT, OTHER).unwrap();
    assert_eq!(description(&token(&world, None).await.1), "Identity not found");
    world.control.clear_identities();
    assert_eq!(token(&world, Some(CLIENT)).await.0, 400);
    assert!(world.control.assign_identity(TENANT, &uuid(), true).is_err());
}

#[tokio::test]
async fn what_is_no_request_of_the_node_is_refused_and_noted() {
    let world = World::start();
    world.control.assign_identity(TENANT, CLIENT, true).unwrap();
    let graph = world.simulator.graph_endpoint().to_owned();
    let right = [("api-version", "2018-02-01"), ("resource", graph.as_str())];
    let header = ("Metadata", "true");
    let forwarded = [header, ("X-Forwarded-For", "10.0.0.1")];
    let foreign = [right[0], ("resource", "https://graph.example")];
    let by_object = [right[0], right[1], ("object_id", CLIENT)];
    let cases: Vec<(Pairs<'_>, Pairs<'_>, &str, Option<ViolationKind>)> = vec![
        (
            &right,
            &[],
            "bad_request_102",
            Some(ViolationKind::MissingMetadataHeader),
        ),
        (
            &right,
            &[("Metadata", "True")],
            "bad_request_102",
            Some(ViolationKind::MissingMetadataHeader),
        ),
        (
            &right,
            &forwarded,
            "invalid_request",
            Some(ViolationKind::ForwardedMetadata),
        ),
        (&right[..1], &forwarded[..1], "invalid_request", None),
        (&foreign, &forwarded[..1], "invalid_resource", None),
        (
            &by_object,
            &forwarded[..1],
            "invalid_request",
            Some(ViolationKind::UnexpectedQuery),
        ),
    ];
    for (query, headers, error, kind) in cases {
        world.control.clear_violations();
        let (status, body) = ask(&world, query, headers).await;
        assert_eq!((status, &body["error"]), (400, &json!(error)), "{body}");
        assert_eq!(
            world.kinds(),
            kind.into_iter().collect::<Vec<_>>(),
            "{query:?} {headers:?}"
        );
    }
    let (status, body) = ask(&world, &right[1..], &forwarded[..1]).await;
    assert_eq!(status, 400);
    assert!(
        body["error"]
            .as_str()
            .unwrap()
            .starts_with("Bad request. api-version was not specified"),
        "{body}"
    );
    let root = world.simulator.metadata_endpoint();
    for (method, path, expected) in [
        (Method::POST, "/metadata/identity/oauth2/token", 405),
        (Method::GET, "/metadata/instance", 404),
    ] {
        let url = url::Url::parse_with_params(&format!("{root}{path}"), &right).unwrap();
        let request = world.client.request(method, url).header(header.0, header.1);
        assert_eq!(request.send().await.unwrap().status().as_u16(), expected);
    }
    assert_eq!(world.control.count(|request| request.issued_token.is_some()), 0);
}

#[tokio::test]
async fn scripts_reach_the_metadata_service() {
    let world = World::start();
    world.control.assign_identity(TENANT, CLIENT, true).unwrap();
    let rule = Script::metadata().tenant(TENANT).times(1);
    world.control.script(rule.answer(Answer::status(410)));
    world.control.script(Script::entra().answer(Answer::status(503)));
    assert_eq!(token(&world, None).await.0, 410);
    assert_eq!(token(&world, None).await.0, 200);
    assert_eq!(world.control.in_flight().metadata_peak, 1);
}
