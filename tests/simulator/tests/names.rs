//! Public names: the simulator behind the address of a cloud or of a proxy.

use crate::common::{CLIENT, P1, Signer, TENANT, World, payload, read, uuid};
use graph_simulator::{App, Options, certificate};
use serde_json::json;

const GRAPH: &str = "https://graph.microsoft.us";
const AUTHORITY: &str = "https://login.microsoftonline.us";

fn start() -> World {
    let options = Options {
        public_graph: Some(format!("{GRAPH}/")),
        public_authority: Some(AUTHORITY.to_owned()),
        page_size: 1,
        ..Options::default()
    };
    let world = World::with(options, false);
    world
        .control
        .seed_row(TENANT, world.control.base_row("two", "x"))
        .unwrap();
    world
}

#[tokio::test]
async fn tokens_pages_and_errors_bear_the_public_names() {
    let world = start();
    let own = world.form();
    let (status, body) = world.ask(TENANT, &own).await;
    assert_eq!(
        (status, &body["error_codes"]),
        (400, &json!([500_011])),
        "the own address is no name"
    );
    assert_eq!(body["error_uri"], format!("{AUTHORITY}/error?code=500011"));
    let mut form = own;
    form.retain(|(name, _)| *name != "scope");
    form.push(("scope", format!("{GRAPH}/.default")));
    let (status, body) = world.ask(TENANT, &form).await;
    assert_eq!(status, 200, "{body}");
    let token = body["access_token"].as_str().unwrap();
    assert_eq!(payload(token)["aud"], GRAPH);
    assert_eq!(payload(token)["iss"], format!("{AUTHORITY}/{TENANT}/"));
    let (status, page) = world.list(token).await;
    assert_eq!(status, 200);
    for name in ["@odata.nextLink", "@odata.context"] {
        assert!(
            page[name].as_str().unwrap().starts_with(&format!("{GRAPH}/v1.0/")),
            "{page}"
        );
    }
    let (_, row) = world.get(P1, token).await;
    assert!(
        row["@odata.context"]
            .as_str()
            .unwrap()
            .starts_with(&format!("{GRAPH}/v1.0/"))
    );
    let foreign = world
        .control
        .issue_token(TENANT, CLIENT, Some(world.simulator.graph_endpoint()));
    assert_eq!(world.list(&foreign).await.0, 401);
}

#[tokio::test]
async fn assertions_are_for_the_public_authority() {
    let world = start();
    let certified = certificate("an app").unwrap();
    let app = App::without_secret().certificate(&certified.certificate_pem);
    world.control.add_app(TENANT, CLIENT, app);
    let now = world.control.now().as_second();
    for (authority, code) in [(world.simulator.authority_host(), 700_023), (AUTHORITY, 500_011)] {
        let assertion = Signer::of(&certified).sign(&json!({
            "aud": format!("{authority}/{TENANT}/oauth2/v2.0/token"),
            "iss": CLIENT, "sub": CLIENT, "jti": uuid(), "nbf": now, "exp": now + 300,
        }));
        // The scope is checked last, and the form has the own address.
        assert_eq!(world.refusal(&assertion).await.1, code, "{authority}");
    }
}

#[tokio::test]
async fn the_certificate_is_good_for_every_cloud() {
    let world = start();
    let address: std::net::SocketAddr = world.simulator.graph_endpoint()["https://".len()..].parse().unwrap();
    let ca = reqwest::Certificate::from_pem(world.simulator.ca_pem().as_bytes()).unwrap();
    for host in [
        "graph.microsoft.com",
        "graph.microsoft.us",
        "dod-graph.microsoft.us",
        "microsoftgraph.chinacloudapi.cn",
        "login.microsoftonline.com",
        "login.microsoftonline.us",
        "login.chinacloudapi.cn",
    ] {
        let client = reqwest::Client::builder()
            .tls_certs_only([ca.clone()])
            .no_proxy()
            .resolve(host, address)
            .build()
            .unwrap();
        let url = format!("https://{host}:{}{}", address.port(), graph_simulator::COLLECTION);
        assert_eq!(read(client.get(url).send().await.unwrap()).await.0, 401, "{host}");
    }
}
