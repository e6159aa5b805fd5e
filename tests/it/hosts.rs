//! Where tokens and secrets go: to the cloud's own addresses, and nowhere that an answer points to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, ensure};
use graph_simulator::{Answer, App, Request, Script};
use harness::{CLIENT_SECRET, WRITE_ROLE, World};
use kube::api::DeleteParams;
use serde_json::json;
use tokio::net::TcpListener;

use crate::binary::Running;

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";

/// An address that nobody has business with. It counts who comes, whatever they would say.
struct Elsewhere {
    port: u16,
    visits: Arc<AtomicUsize>,
}

impl Elsewhere {
    async fn open() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let visits = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&visits);
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Ok(Self { port, visits })
    }
}

/// What Graph or Entra answers, and what the operator says of it.
struct Lure {
    script: Script,
    told: &'static str,
    /// Whether it is the partner that is lured, and not its connection.
    of_partner: bool,
}

/// Links and redirects of every kind that lead away from Graph at `graph`.
fn lures(graph: &str, elsewhere: u16) -> Vec<Lure> {
    let port = graph.rsplit(':').next().unwrap_or_default();
    let collection = "/v1.0/deviceManagement/complianceManagementPartners?$skiptoken=x";
    let mut lures = Vec::new();
    for origin in [
        format!("https://127.0.0.1:{elsewhere}"),
        format!("http://127.0.0.1:{elsewhere}"),
        // The same port of another name, and another scheme.
        format!("https://localhost:{port}"),
        format!("http://127.0.0.1:{port}"),
        format!("https://127.0.0.1:{port}@127.0.0.1:{elsewhere}"),
    ] {
        let page = json!({"value": [], "@odata.nextLink": format!("{origin}{collection}")});
        lures.push(Lure {
            script: Script::graph()
                .path_end("/complianceManagementPartners")
                .answer(Answer::json(200, page)),
            told: "leads to another host",
            of_partner: false,
        });
    }
    for status in [301, 302, 303, 307, 308] {
        let location = format!("https://127.0.0.1:{elsewhere}{collection}");
        let redirect = || Answer::status(status).header("Location", &location);
        for (script, of_partner) in [
            (Script::graph().path_end("/complianceManagementPartners"), false),
            (Script::entra(), false),
            (Script::graph().method("GET").path_end(P1), true),
            (Script::graph().method("PATCH"), true),
        ] {
            lures.push(Lure {
                script: script.answer(redirect()),
                told: "redirect",
                of_partner,
            });
        }
    }
    lures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_goes_to_no_other_host() -> anyhow::Result<()> {
    let mut world = World::new("hosts").await?;
    world.secret("graph", json!({"client-secret": CLIENT_SECRET})).await?;
    world.consent("graph").await?;
    let elsewhere = Elsewhere::open().await?;
    world.start().await?;
    let endpoint = world.simulator.graph_endpoint().to_owned();
    for (number, lure) in lures(&endpoint, elsewhere.port).into_iter().enumerate() {
        let tenant = format!("dddddddd-4444-4444-8444-{number:012x}");
        let app = App::with_secret(CLIENT_SECRET).roles([WRITE_ROLE]);
        world.graph().add_app(&tenant, &world.client_id, app);
        let row = world.graph().base_row(P1, "Example Partner");
        world.graph().seed_row(&tenant, row)?;
        let script = world.graph().script(lure.script.tenant(&tenant));
        let name = format!("lure-{number}");
        world.connection(&name, json!({"tenantId": tenant})).await?;
        let spec = json!({"connectionRef": {"name": name}, "partnerRef": {"id": P1}, "iosOnboarded": true});
        world.partner(&name, spec).await?;
        let conditions = if lure.of_partner {
            let partner = world.partner_is(&name, "Ready", "False", "GraphUnavailable").await?;
            partner.status.unwrap_or_default().conditions
        } else {
            let connection = world.connection_is(&name, "False", "GraphUnavailable").await?;
            connection.status.unwrap_or_default().conditions
        };
        let told = &conditions.first().context("no condition")?.message;
        ensure!(told.contains(lure.told), "{told}");
        world.graph().remove_script(script);
        // It is trouble that passes, and all goes on where it always went.
        world.in_sync(&name).await?;
        let params = DeleteParams::default();
        world.partners().delete(&name, &params).await?;
        world.connections().delete(&name, &params).await?;
    }
    assert_eq!(elsewhere.visits.load(Ordering::SeqCst), 0);
    let violations = world.graph().violations();
    ensure!(violations.is_empty(), "{violations:?}");
    world.stop().await
}

/// What Microsoft's libraries take from there would send the secret to whoever can set a variable of the pod.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_environment_names_no_host_and_no_credential() -> anyhow::Result<()> {
    let world = World::new("environment").await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    let elsewhere = Elsewhere::open().await?;
    let url = format!("https://127.0.0.1:{}/", elsewhere.port);
    let environment: Vec<(&str, &str)> = [
        "AZURE_AUTHORITY_HOST",
        "AZURE_POD_IDENTITY_AUTHORITY_HOST",
        "IDENTITY_ENDPOINT",
        "IMDS_ENDPOINT",
        "MSI_ENDPOINT",
        "GRAPH_ENDPOINT",
    ]
    .into_iter()
    .map(|name| (name, url.as_str()))
    .chain([
        ("AZURE_CLOUD", "AzureUSGovernment"),
        ("AZURE_TENANT_ID", "eeeeeeee-5555-4555-8555-000000000000"),
        ("AZURE_CLIENT_ID", "eeeeeeee-5555-4555-8555-000000000001"),
        ("AZURE_CLIENT_SECRET", "of-the-environment"),
        ("IDENTITY_HEADER", "x"),
    ])
    .collect();
    let operator = Running::of_in(&world, &[], &environment).await?;
    world.in_sync("jamf").await?;
    operator.stop().await?;
    assert_eq!(elsewhere.visits.load(Ordering::SeqCst), 0);
    let tokens = world.graph().requests_where(Request::is_token);
    ensure!(!tokens.is_empty(), "none was asked for");
    for request in tokens {
        assert_eq!(request.tenant.as_deref(), Some(world.tenant.as_str()));
        assert_eq!(request.client_id.as_deref(), Some(world.client_id.as_str()));
    }
    Ok(())
}

/// Where the object is known by its name, the id is whatever Graph says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_of_graphs_own_is_one_segment_of_the_path() -> anyhow::Result<()> {
    let mut world = World::new("segments").await?;
    world.connect().await?;
    let ids = ["a/../b", "a?b=c", "a#b", "a b", "a%2Fb", "ä", "a\\b", "a;b=c"];
    for (number, id) in ids.iter().enumerate() {
        world.row(id, &format!("Odd {number}"))?;
        let spec = json!({"partnerRef": {"displayName": format!("Odd {number}")}, "iosOnboarded": true});
        world.partner(&format!("odd-{number}"), spec).await?;
    }
    world.start().await?;
    let segment = |request: &Request| -> Option<String> {
        let (_, id) = request
            .path
            .split_once("/deviceManagement/complianceManagementPartners/")?;
        Some(id.to_owned())
    };
    for (number, id) in ids.iter().enumerate() {
        let partner = world.in_sync(&format!("odd-{number}")).await?;
        assert_eq!(
            partner.status.and_then(|status| status.partner_id).as_deref(),
            Some(*id)
        );
        let row = world.graph().row(&world.tenant, id).context("no row")?;
        assert_eq!(row.get("iosOnboarded"), Some(&json!(true)), "{id}");
    }
    let requests = world
        .graph()
        .requests_where(|request| !request.is_list() && request.is_graph());
    ensure!(requests.len() >= 3 * ids.len(), "{}", requests.len());
    for request in requests {
        let segment = segment(&request).with_context(|| format!("elsewhere: {}", request.path))?;
        ensure!(!segment.contains('/') && request.query.is_none(), "{request:?}");
    }
    // A segment of dots cannot be told from the collection above it: nothing is asked for.
    world.row("..", "Dots")?;
    let spec = json!({"partnerRef": {"displayName": "Dots"}, "iosOnboarded": true});
    world.partner("dots", spec).await?;
    world.ask("gconn/contoso", "there is one more").await?;
    let partner = world.partner_is("dots", "Ready", "False", "GraphUnavailable").await?;
    let ready = partner.status.unwrap_or_default().conditions;
    let told = &ready.first().context("no condition")?.message;
    ensure!(told.contains("cannot stand in an address"), "{told}");
    world.stop().await
}
