//! Each cloud by its own public names, as the program reaches them: through a proxy, which sees where it goes.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use graph_simulator::{Options, Request, Server, certificate};
use harness::{CLIENT_SECRET, Kind, OPERATOR, Proofs, Proxy, Scratch, World};
use serde_json::json;

use crate::binary::Running;

const KINDS: [Kind; 5] = [
    Kind::Secret,
    Kind::Certificate,
    Kind::Account,
    Kind::Operator,
    Kind::Node,
];

/// A cloud as Microsoft's "National cloud deployments" has it.
struct Place {
    cloud: &'static str,
    graph: &'static str,
    authority: &'static str,
    audience: &'static str,
}

/// An app that all five kinds of auth prove to be, and a connection in this cloud by each of them.
async fn every_kind(world: &World, folder: &Scratch, place: &Place) -> anyhow::Result<()> {
    let own = certificate("operator")?;
    let proofs = Proofs {
        client_id: &world.client_id,
        secret: CLIENT_SECRET,
        certified: &own,
        audience: place.audience,
        folder,
    };
    for kind in KINDS {
        world.stage(kind, proofs, json!({"cloud": place.cloud})).await?;
    }
    Ok(())
}

async fn all_five_kinds_in(place: &Place) -> anyhow::Result<()> {
    let name = format!("cloud-{}", place.cloud.to_lowercase());
    let options = Options {
        public_graph: Some(format!("https://{}", place.graph)),
        public_authority: Some(format!("https://{}", place.authority)),
        ..Options::default()
    };
    let world = World::with(&name, options).await?;
    let folder = Scratch::new()?;
    every_kind(&world, &folder, place).await?;
    let proxy = Proxy::start().await?;
    let address = |endpoint: &str| endpoint.trim_start_matches("https://").to_owned();
    let (graph, authority) = (format!("{}:443", place.graph), format!("{}:443", place.authority));
    proxy.route(&graph, &address(world.simulator.graph_endpoint()));
    proxy.route(&authority, &address(world.simulator.authority_host()));

    let kubeconfig = world
        .plane
        .service_account_kubeconfig(&world.namespace, OPERATOR)
        .await?;
    let file = folder.path().join("token").display().to_string();
    let url = proxy.url("");
    let flags = [
        "--watch-namespaces",
        &world.namespace,
        "--metadata-endpoint",
        world.simulator.metadata_endpoint(),
    ];
    let environment = [
        ("HTTPS_PROXY", url.as_str()),
        ("AZURE_FEDERATED_TOKEN_FILE", file.as_str()),
    ];
    let operator = Running::start_as(world.simulator.ca_pem(), Some(&kubeconfig), &flags, &environment)?;
    for kind in KINDS {
        world.connection_is(kind.name(), "True", "Connected").await?;
    }
    operator.stop().await?;

    let asked: BTreeSet<String> = proxy.tunnels().into_iter().map(|tunnel| tunnel.target).collect();
    assert_eq!(asked, BTreeSet::from([graph, authority]), "{}", place.cloud);
    let resource = format!("resource=https%3A%2F%2F{}&", place.graph);
    let of_the_node = world
        .graph()
        .requests_where(|request| request.server == Server::Metadata);
    let query = of_the_node.first().and_then(|request| request.query.clone());
    let query = query.context("the metadata service was not asked")?;
    ensure!(format!("{query}&").contains(&resource), "{query}");
    for request in world.graph().requests_where(Request::is_token) {
        let scope = request
            .body
            .as_ref()
            .and_then(|body| body["scope"].as_str().map(str::to_owned));
        assert_eq!(scope, Some(format!("https://{}/.default", place.graph)));
    }
    let violations = world.graph().violations();
    ensure!(violations.is_empty(), "{violations:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_five_kinds_work_in_the_worldwide_cloud() -> anyhow::Result<()> {
    all_five_kinds_in(&Place {
        cloud: "Global",
        graph: "graph.microsoft.com",
        authority: "login.microsoftonline.com",
        audience: "api://AzureADTokenExchange",
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_five_kinds_work_in_the_us_governments_cloud() -> anyhow::Result<()> {
    all_five_kinds_in(&Place {
        cloud: "USGov",
        graph: "graph.microsoft.us",
        authority: "login.microsoftonline.us",
        audience: "api://AzureADTokenExchangeUSGov",
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_five_kinds_work_in_the_department_of_defenses_cloud() -> anyhow::Result<()> {
    all_five_kinds_in(&Place {
        cloud: "USGovDoD",
        graph: "dod-graph.microsoft.us",
        authority: "login.microsoftonline.us",
        audience: "api://AzureADTokenExchangeUSGov",
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_five_kinds_work_in_the_cloud_of_china() -> anyhow::Result<()> {
    all_five_kinds_in(&Place {
        cloud: "China",
        graph: "microsoftgraph.chinacloudapi.cn",
        authority: "login.chinacloudapi.cn",
        audience: "api://AzureADTokenExchangeChina",
    })
    .await
}
