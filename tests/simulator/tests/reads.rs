//! What Graph gives, and to whom, over real TLS.

use std::collections::BTreeSet;
use std::time::Duration;

use graph_simulator::{Annotations, App, Options, Request, ViolationKind};
use reqwest::Method;
use serde_json::json;

use crate::common::{self, CLIENT, P1, ROOT_TYPE, SECRET, TENANT, World, change, inner, read, uuid};

#[tokio::test]
async fn the_whole_path_works_over_http_1_and_2() {
    for (http1, version) in [(true, "1.1"), (false, "2")] {
        let world = World::with(Options::default(), http1);
        let token = world.token().await;
        let (status, list) = world.list(&token).await;
        assert_eq!(status, 200);
        assert_eq!(list["value"], json!([world.control.base_row(P1, "Example Partner")]));
        assert!(list.get("@odata.nextLink").is_none());
        assert!(
            list["@odata.context"]
                .as_str()
                .unwrap()
                .starts_with(world.simulator.graph_endpoint())
        );
        let (status, row) = world.patch(P1, &token, &change("iosOnboarded", json!(true))).await;
        assert_eq!(
            (status, &row["iosOnboarded"], &row["id"]),
            (200, &json!(true), &json!(P1))
        );
        let (status, row) = world.get(P1, &token).await;
        assert_eq!((status, &row["iosOnboarded"]), (200, &json!(true)));
        assert!(row.get("value").is_none(), "a bare entity");
        assert_eq!(world.kinds(), []);
        let log = world.control.requests();
        assert!(
            log.iter()
                .all(|request| request.http_version == version && request.status == Some(200))
        );
        let connections: BTreeSet<u64> = log.iter().map(|request| request.connection).collect();
        assert_eq!(connections.len(), 2, "one to each service");
        assert_eq!(
            log.iter().map(|request| request.token).collect::<Vec<_>>(),
            [None, Some(1), Some(1), Some(1)]
        );
    }
}

#[tokio::test]
async fn http_2_can_be_switched_off() {
    let world = World::with(
        Options {
            http2: false,
            ..Options::default()
        },
        false,
    );
    world.token().await;
    assert_eq!(world.last().http_version, "1.1");
}

#[tokio::test]
async fn a_listing_has_pages_with_absolute_links() {
    let world = World::with(
        Options {
            page_size: 2,
            ..Options::default()
        },
        false,
    );
    for index in 2..=5 {
        world
            .control
            .seed_row(TENANT, world.control.base_row(&format!("row-{index}"), "x"))
            .unwrap();
    }
    let token = world.token().await;
    let mut url = world.url("");
    let mut ids = Vec::new();
    loop {
        let request = world
            .client
            .get(&url)
            .bearer_auth(&token)
            .header("client-request-id", uuid());
        let (status, page) = read(request.send().await.unwrap()).await;
        assert_eq!(status, 200, "{page}");
        ids.extend(
            page["value"]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| row["id"].as_str().unwrap().to_owned()),
        );
        match page.get("@odata.nextLink") {
            Some(next) => next.as_str().unwrap().clone_into(&mut url),
            None => break,
        }
        assert!(url.starts_with(&world.url("?$skiptoken=")), "{url}");
    }
    assert_eq!(ids, [P1, "row-2", "row-3", "row-4", "row-5"]);
    assert_eq!(world.control.count(Request::is_list), 3);
    assert_eq!(world.kinds(), []);

    let (_, page) = read(
        world
            .request(Method::GET, "?$top=1&$select=id", &token)
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(page["value"], json!([{ "id": P1 }]));
    for query in [
        "?$filter=displayName%20eq%20'x'",
        "?$skiptoken=2",
        "?$top=none",
        "?$select=Id",
    ] {
        let (status, _) = read(world.request(Method::GET, query, &token).send().await.unwrap()).await;
        assert_eq!(status, 400, "{query}");
    }
    assert_eq!(world.kinds(), [ViolationKind::UnexpectedQuery; 2]);
}

#[tokio::test]
async fn a_page_is_bound_to_its_tenant() {
    let world = World::with(
        Options {
            page_size: 1,
            ..Options::default()
        },
        false,
    );
    world
        .control
        .seed_row(TENANT, world.control.base_row("row-2", "x"))
        .unwrap();
    let token = world.token().await;
    let (_, page) = world.list(&token).await;
    let link = page["@odata.nextLink"].as_str().unwrap().to_owned();
    world
        .control
        .add_app("dddddddd-2222-4222-8222-000000000002", CLIENT, App::with_secret("x"));
    let stranger = world
        .control
        .issue_token("dddddddd-2222-4222-8222-000000000002", CLIENT, None);
    let request = world
        .client
        .get(link)
        .bearer_auth(stranger)
        .header("client-request-id", uuid());
    assert_eq!(read(request.send().await.unwrap()).await.0, 400);
}

#[tokio::test]
async fn tenants_do_not_see_each_other() {
    let world = World::start();
    let other = "dddddddd-2222-4222-8222-000000000002";
    world.control.add_app(other, CLIENT, App::with_secret("other"));
    let token = world.control.issue_token(other, CLIENT, None);
    assert_eq!(world.list(&token).await.1["value"], json!([]));
    assert_eq!(world.get(P1, &token).await.0, 404);
    assert_eq!(
        world.patch(P1, &token, &change("iosOnboarded", json!(true))).await.0,
        404
    );
    assert_eq!(world.control.row(TENANT, P1).unwrap()["iosOnboarded"], false);
    assert_eq!(world.last().tenant.as_deref(), Some(other));
}

#[tokio::test]
async fn a_bad_token_is_401() {
    let world = World::start();
    let good = world.token().await;
    let foreign = world.control.issue_token(TENANT, CLIENT, Some("https://graph.example"));
    world.control.set_expires_in(0);
    let expired = world.control.issue_token(TENANT, CLIENT, None);
    let garbled = format!("{good}x");
    let cases = [
        (garbled.as_str(), "IDX14100: JWT is not well formed"),
        ("word", "IDX14100: JWT is not well formed, there are no dots (.)."),
        (&foreign, "Access token validation failure. Invalid audience."),
        (&expired, "Lifetime validation failed, the token is expired."),
    ];
    for (token, sentence) in cases {
        let (status, body) = world.list(token).await;
        assert_eq!(
            (status, &body["error"]["code"]),
            (401, &json!("InvalidAuthenticationToken"))
        );
        assert!(
            body["error"]["message"].as_str().unwrap().starts_with(sentence),
            "{body}"
        );
        assert!(body["error"]["innerError"]["request-id"].is_string());
    }
    let bare = world.client.get(world.url("")).header("client-request-id", uuid());
    let response = bare.send().await.unwrap();
    assert!(response.headers().contains_key("www-authenticate"));
    assert_eq!(read(response).await.1["error"]["message"], "Access token is empty.");
    let basic = world
        .client
        .get(world.url(""))
        .header("client-request-id", uuid())
        .basic_auth("x", Some("y"));
    assert_eq!(basic.send().await.unwrap().status(), 401);

    assert_eq!(world.list(&good).await.0, 200);
    assert!(world.control.revoke_tokens(TENANT, Some(CLIENT)) >= 1);
    assert_eq!(world.list(&good).await.0, 401);
    world.control.set_expires_in(3599);
    let fresh = world.token().await;
    assert_eq!(world.list(&fresh).await.0, 200);
}

#[tokio::test]
async fn roles_are_those_of_the_token() {
    let world = World::start();
    let write = change("iosOnboarded", json!(true));
    let cases = [
        ("DeviceManagementServiceConfig.Read.All", 200, 403),
        ("DeviceManagementConfiguration.Read.All", 200, 403),
        ("DeviceManagementServiceConfig.ReadWrite.All", 200, 200),
        ("DeviceManagementConfiguration.ReadWrite.All", 200, 200),
        ("DeviceManagementManagedDevices.ReadWrite.All", 403, 403),
        ("devicemanagementserviceconfig.readwrite.all", 403, 403),
    ];
    for (role, read, written) in cases {
        world.control.set_roles(TENANT, CLIENT, [role]).unwrap();
        let token = world.token().await;
        assert_eq!(world.list(&token).await.0, read, "{role}");
        assert_eq!(world.get(P1, &token).await.0, read, "{role}");
        let (status, body) = world.patch(P1, &token, &write).await;
        assert_eq!(status, written, "{role}");
        if status == 403 {
            assert_eq!(body["error"]["code"], "Forbidden");
            let sentence = inner(&body);
            let expected = "Application is not authorized to perform this operation. Application must have one of the \
                            following scopes: DeviceManagementServiceConfig.ReadWrite.All, \
                            DeviceManagementConfiguration.ReadWrite.All - Operation ID";
            assert!(sentence.starts_with(expected), "{sentence}");
        }
    }
    // The last token has no right role; a grant helps the next token alone.
    let old = world.token().await;
    world
        .control
        .set_roles(TENANT, CLIENT, ["DeviceManagementServiceConfig.Read.All"])
        .unwrap();
    assert_eq!(world.list(&old).await.0, 403);
    let new = world.token().await;
    assert_eq!(world.list(&new).await.0, 200);
}

#[tokio::test]
async fn ids_decode_and_unknown_ones_are_404() {
    let world = World::start();
    world
        .control
        .seed_row(TENANT, world.control.base_row("a b/ü.1", "x"))
        .unwrap();
    let token = world.token().await;
    let (status, row) = world.get("a%20b%2F%C3%BC.1", &token).await;
    assert_eq!((status, &row["id"]), (200, &json!("a b/ü.1")));
    assert_eq!(world.get(&P1.to_uppercase(), &token).await.0, 200);
    let (status, body) = world.get("eeeeeeee-1111-4111-8111-000000000001", &token).await;
    assert_eq!((status, &body["error"]["code"]), (404, &json!("ResourceNotFound")));
    assert!(inner(&body).starts_with("An error has occurred - Operation ID"));

    let strict = World::with(
        Options {
            ids_ignore_case: false,
            ..Options::default()
        },
        false,
    );
    let token = strict.token().await;
    assert_eq!(strict.get(&P1.to_uppercase(), &token).await.0, 404);
}

#[tokio::test]
async fn other_methods_and_paths_are_refused_and_noted() {
    let world = World::start();
    let token = world.token().await;
    let row = format!("/{P1}");
    for (method, rest) in [
        (Method::POST, ""),
        (Method::DELETE, row.as_str()),
        (Method::PUT, row.as_str()),
        (Method::PATCH, ""),
    ] {
        let request = world.request(method.clone(), rest, &token).json(&json!({}));
        let (status, body) = read(request.send().await.unwrap()).await;
        assert_eq!(
            (status, &body["error"]["code"]),
            (400, &json!("No method match route template")),
            "{method}"
        );
    }
    assert_eq!(world.kinds(), [ViolationKind::UnexpectedMethod; 4]);
    world.control.clear_violations();
    let root = world.simulator.graph_endpoint();
    for (path, status, code) in [
        (
            "/deviceManagement/complianceManagementPartners",
            404,
            "ResourceNotFound",
        ),
        (
            "/beta/deviceManagement/complianceManagementPartners",
            404,
            "ResourceNotFound",
        ),
        (
            "//v1.0/deviceManagement/complianceManagementPartners",
            404,
            "ResourceNotFound",
        ),
        (
            "/v1.0/deviceManagement/complianceManagementPartners/",
            400,
            "No method match route template",
        ),
        (
            "/v1.0/deviceManagement/complianceManagementPartners/x/y",
            400,
            "No method match route template",
        ),
        ("/v1.0/deviceManagement/deviceManagementPartners", 400, "BadRequest"),
        ("/v1.0/groups", 400, "BadRequest"),
    ] {
        let request = world
            .client
            .get(format!("{root}{path}"))
            .bearer_auth(&token)
            .header("client-request-id", uuid());
        let (got, body) = read(request.send().await.unwrap()).await;
        assert_eq!((got, body["error"]["code"].as_str().unwrap()), (status, code), "{path}");
    }
    assert_eq!(world.kinds(), [ViolationKind::UnexpectedPath; 7]);
    assert_eq!(world.control.rows(TENANT).len(), 1);
}

#[tokio::test]
async fn the_portal_changes_and_deletes_rows() {
    let world = World::start();
    let token = world.token().await;
    world
        .control
        .change_row(TENANT, P1, json!({ "partnerState": "rejected", "new": 1 }))
        .unwrap();
    world
        .control
        .remove_property(TENANT, P1, "iosEnrollmentAssignments")
        .unwrap();
    let (_, row) = world.get(P1, &token).await;
    assert_eq!((&row["partnerState"], &row["new"]), (&json!("rejected"), &json!(1)));
    assert!(row.get("iosEnrollmentAssignments").is_none());
    // An absent list is as empty as an empty one.
    world
        .patch(P1, &token, &change("iosEnrollmentAssignments", json!([])))
        .await;
    assert_eq!(world.kinds(), [ViolationKind::UnchangedProperty]);
    world.control.delete_row(TENANT, P1).unwrap();
    assert_eq!(world.get(P1, &token).await.0, 404);
    assert!(world.control.delete_row(TENANT, P1).is_err());
    assert!(world.control.change_row(TENANT, P1, json!({})).is_err());
}

#[test]
fn it_starts_outside_of_any_runtime_and_outlives_those_that_use_it() {
    let world = World::start();
    for _ in 0..2 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let client = common::client(&world.simulator, false);
            let url = format!("{}/{TENANT}/oauth2/v2.0/token", world.simulator.authority_host());
            assert_eq!(client.post(url).form(&world.form()).send().await.unwrap().status(), 200);
        });
    }
    assert_eq!(world.control.count(Request::is_token), 2);
}

#[tokio::test]
async fn shutdown_frees_the_ports_and_closes_connections() {
    let world = World::start();
    let token = world.token().await;
    let port = world
        .simulator
        .graph_endpoint()
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let url = world.url("");
    world.simulator.shutdown().await;
    let request = world
        .client
        .get(&url)
        .bearer_auth(&token)
        .timeout(Duration::from_secs(5));
    assert!(request.send().await.is_err());
    let again = World::with(
        Options {
            graph_port: port,
            ..Options::default()
        },
        false,
    );
    assert_eq!(again.url(""), url);
    let token = again.token().await;
    assert_eq!(again.list(&token).await.0, 200);
    assert_eq!(SECRET.len(), 20, "the secret with all the odd characters is in use");
}

#[tokio::test]
async fn entities_and_assignments_tell_their_types_where_that_is_asked_for() {
    let options = Options {
        annotations: Annotations::Full,
        ..Options::default()
    };
    let world = World::with(options, false);
    let token = world.token().await;
    let target = json!({"@odata.type": "#microsoft.graph.allDevicesAssignmentTarget"});
    let list = json!([{"@odata.type": format!("{ROOT_TYPE}Assignment"), "target": target}]);
    let (_, patched) = world
        .patch(P1, &token, &change("iosEnrollmentAssignments", list.clone()))
        .await;
    let (_, got) = world.get(P1, &token).await;
    let (_, listing) = world.list(&token).await;
    for row in [&patched, &got, &listing["value"][0]] {
        assert_eq!(row["@odata.type"], ROOT_TYPE);
        assert_eq!(row["iosEnrollmentAssignments"], list);
    }
    assert!(listing.get("@odata.type").is_none(), "a listing is no entity");
    // A type that a row has of its own is the row's.
    world
        .control
        .change_row(TENANT, P1, json!({"@odata.type": "#odd"}))
        .unwrap();
    assert_eq!(world.get(P1, &token).await.1["@odata.type"], "#odd");
}
