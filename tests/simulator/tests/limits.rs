//! The published limits, enforced, over real TLS.

use crate::common::{CLIENT, P1, TENANT, World, change, read};
use graph_simulator::{App, Options, Throttling};
use reqwest::Method;
use serde_json::json;

const STRICT: Throttling = Throttling::Enforce;

fn start(throttle_headers: bool) -> World {
    let options = Options {
        throttling: STRICT,
        throttle_headers,
        ..Options::default()
    };
    World::with(options, false)
}

/// One write; gives its status, and of the headers what is told about limits.
async fn write(world: &World, token: &str, index: usize) -> (u16, Vec<(&'static str, String)>) {
    let request = world.request(Method::PATCH, &format!("/{P1}"), token);
    let body = change("iosOnboarded", json!(index.is_multiple_of(2)));
    let response = request.json(&body).send().await.unwrap();
    let told = ["retry-after", "x-ms-throttle-limit-percentage", "x-ms-throttle-scope"]
        .into_iter()
        .filter_map(|name| Some((name, response.headers().get(name)?.to_str().unwrap().to_owned())))
        .collect();
    let status = response.status().as_u16();
    let (_, body) = read(response).await;
    assert_eq!(status == 429, body["error"]["code"] == "TooManyRequests", "{body}");
    (status, told)
}

#[tokio::test]
async fn a_client_is_told_how_near_it_is_and_then_which_limit_it_is_over() {
    let world = start(true);
    let token = world.token().await;
    let share = |hundredths: usize| {
        let share = format!("{}.{:02}", hundredths / 100, hundredths % 100);
        ("x-ms-throttle-limit-percentage", share)
    };
    for index in 1..=100 {
        let (status, told) = write(&world, &token, index).await;
        let expected = if index < 80 { Vec::new() } else { vec![share(index)] };
        assert_eq!((status, told), (200, expected), "{index}");
    }
    assert_eq!(world.control.limit_violations(), 0);
    let (status, told) = write(&world, &token, 101).await;
    assert_eq!(status, 429);
    let scope = format!("Tenant_Application/Write/{CLIENT}/{TENANT}");
    assert_eq!(told[1..], [share(101), ("x-ms-throttle-scope", scope.clone())]);
    let seconds: u64 = told[0].1.parse().unwrap();
    assert!((1..=20).contains(&seconds), "{told:?}");
    assert_eq!(world.control.limit_violations(), 1);
    assert_eq!(world.control.limit_violations_by_scope(), [(scope, 1)].into());
    assert_eq!(world.list(&token).await.0, 200, "reads have their own limit");
    world.control.clear_throttle();
    assert_eq!(write(&world, &token, 102).await, (200, Vec::new()));
    assert_eq!(world.control.limit_violations(), 0);
}

#[tokio::test]
async fn the_apps_of_a_tenant_share_its_limit() {
    let world = start(false);
    let other_tenant = "bbbbbbbb-2222-4222-8222-000000000002";
    let mut tokens = Vec::new();
    for (tenant, number) in [(TENANT, 1), (TENANT, 2), (TENANT, 3), (other_tenant, 1)] {
        let client_id = format!("cccccccc-3333-4333-8333-00000000000{number}");
        world.control.add_app(tenant, &client_id, App::without_secret());
        tokens.push(world.control.issue_token(tenant, &client_id, None));
    }
    let row = world.control.base_row(P1, "Example Partner");
    world.control.seed_row(other_tenant, row).unwrap();
    for index in 0..200 {
        assert_eq!(
            write(&world, &tokens[index % 2], index).await,
            (200, Vec::new()),
            "{index}"
        );
    }
    let (status, told) = write(&world, &tokens[2], 200).await;
    assert_eq!(status, 429);
    assert_eq!(told.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["retry-after"]);
    let scope = "Tenant/Write/cccccccc-3333-4333-8333-000000000003/bbbbbbbb-2222-4222-8222-000000000001";
    assert_eq!(
        world.control.limit_violations_by_scope(),
        [(scope.to_owned(), 1)].into()
    );
    assert_eq!(write(&world, &tokens[3], 0).await.0, 200, "another tenant");
}
