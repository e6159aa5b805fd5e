//! Microsoft's OpenAPI judges what the operator sends and what the simulator answers: prism stands between the two, and lets
//! nothing pass that is not as the document says.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use compliance_partner_operator::runtime::context::Config;
use graph_simulator::{Annotations, COLLECTION, Options, Request};
use harness::{PATIENCE, Process, Scratch, World, free_port, wait_for};
use http_body_util::Full;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::front::{Exchange, Front};
use crate::parts::{Parts, node, until_it_listens};

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";
const G1: &str = "7c1b0f5e-3f5a-4d0a-9f61-0d6f5a2b9b11";
const G2: &str = "7c1b0f5e-3f5a-4d0a-9f61-0d6f5a2b9b12";

impl Exchange {
    /// Whether something was found, all of it in this part: `body` of the request, or `response`.
    fn amiss(&self, part: &str) -> bool {
        let there = |violation: &Value| violation.pointer("/location/0").and_then(Value::as_str) == Some(part);
        !self.violations.is_empty() && self.violations.iter().all(there)
    }
}

/// A world whose operator reaches Graph through prism.
struct Judged {
    world: World,
    front: Front,
    _prism: Process,
    _folder: Scratch,
}

impl Judged {
    /// A world with the row P1 and a connection; no operator yet.
    async fn new(name: &str, page_size: usize) -> Result<Self> {
        let parts = Parts::get().await?;
        let folder = Scratch::new()?;
        let front = Front::open().await?;
        let options = Options {
            page_size,
            public_graph: Some(front.url.clone()),
            // The document requires the types that an answer with minimal metadata leaves out.
            annotations: Annotations::Full,
            ..Options::default()
        };
        let world = World::with(name, options).await?;
        let roots = folder.path().join("ca.pem");
        std::fs::write(&roots, world.simulator.ca_pem())?;
        let (prism, address) = start_prism(&parts, folder.path(), &roots, world.simulator.graph_endpoint()).await?;
        front.set_behind(address);
        world.row(P1, "Example Partner")?;
        world.connect().await?;
        Ok(Self {
            world,
            front,
            _prism: prism,
            _folder: folder,
        })
    }

    fn config(&self) -> Config {
        let mut config = self.world.config();
        config.endpoints.graph = Some(self.front.url.clone());
        config.extra_roots = Some(format!("{}{}", self.world.simulator.ca_pem(), self.front.root_pem));
        config
    }

    /// Starts the operator; polls are rare.
    async fn start(&mut self) -> Result<()> {
        let config = self.config();
        self.world.start_with(config).await
    }

    /// Starts the operator with a poll each second.
    async fn start_polling(&mut self) -> Result<()> {
        let mut config = self.config();
        config.timing.sync_interval = Duration::from_secs(1);
        self.world.start_with(config).await
    }

    /// Stops the operator and has the verdict: all that Graph saw passed through prism, and none of it was amiss.
    async fn acquitted(mut self) -> Result<Vec<Exchange>> {
        self.world.stop().await?;
        let exchanges = self.front.exchanges();
        let amiss: Vec<&Exchange> = exchanges
            .iter()
            .filter(|exchange| !exchange.violations.is_empty() || exchange.status != 200)
            .collect();
        ensure!(amiss.is_empty(), "{amiss:#?}");
        let seen = self.world.graph().count(Request::is_graph);
        ensure!(seen == exchanges.len() && seen > 0, "{seen}, but {exchanges:#?}");
        let violations = self.world.graph().violations();
        ensure!(violations.is_empty(), "{violations:#?}");
        Ok(exchanges)
    }
}

async fn start_prism(parts: &Parts, folder: &Path, roots: &Path, graph: &str) -> Result<(Process, SocketAddr)> {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let mut command = node(Some(roots))?;
    command
        .arg(parts.package("@stoplight/prism-cli/dist/index.js"))
        .args(["proxy", "--errors", "--host", "127.0.0.1", "--port"])
        .arg(address.port().to_string())
        .arg(parts.document())
        .arg(graph);
    let process = Process::spawn("prism", command, &folder.join("prism.log"))?;
    until_it_listens(&process, Duration::from_secs(60), async || {
        TcpStream::connect(address).await?;
        Ok(())
    })
    .await?;
    Ok((process, address))
}

fn count(exchanges: &[Exchange], method: &str) -> usize {
    exchanges.iter().filter(|exchange| exchange.method == method).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_property_every_target_and_every_edit_are_as_microsoft_says() -> Result<()> {
    let mut judged = Judged::new("whole", 100).await?;
    let group = json!({"target": {"type": "Group", "groupId": G1}});
    let mut spec = json!({
        "partnerRef": {"id": P1}, "displayName": "Managed",
        "macOsOnboarded": true, "androidOnboarded": true, "iosOnboarded": true,
        "macOsEnrollmentAssignments": [
            group,
            {"target": {"type": "ExclusionGroup", "groupId": G2}},
            {"target": {"type": "ConfigurationManagerCollection", "collectionId": "SMS00001"}},
        ],
        "androidEnrollmentAssignments": [
            {"target": {"type": "AllDevices"}},
            {"target": {"type": "AllLicensedUsers"}},
        ],
        "iosEnrollmentAssignments": [group],
    });
    judged.world.partner("jamf", spec.clone()).await?;
    judged.start().await?;
    judged.world.in_sync("jamf").await?;
    let written = judged.world.graph().requests_where(Request::is_patch);
    let first = written.first().context("nothing was written")?;
    assert_eq!(first.properties().len(), 7, "{first:#?}");

    // An edit of a text, one of a list, and lists that become empty.
    spec["displayName"] = json!("Managed \"again\" é");
    spec["androidEnrollmentAssignments"] = json!([group, {"target": {"type": "ExclusionGroup", "groupId": G2}}]);
    judged.world.partner("jamf", spec.clone()).await?;
    judged.world.in_sync("jamf").await?;
    for list in ["macOs", "android", "ios"] {
        spec[format!("{list}EnrollmentAssignments")] = json!([]);
        spec[format!("{list}Onboarded")] = json!(false);
    }
    judged.world.partner("jamf", spec).await?;
    judged.world.in_sync("jamf").await?;
    let row = judged.world.graph().row(&judged.world.tenant, P1).context("the row")?;
    assert_eq!(
        (&row["displayName"], &row["macOsEnrollmentAssignments"]),
        (&json!("Managed \"again\" é"), &json!([]))
    );
    let exchanges = judged.acquitted().await?;
    assert_eq!(count(&exchanges, "PATCH"), 3, "{exchanges:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_pages_and_observing_are_as_microsoft_says() -> Result<()> {
    let mut judged = Judged::new("named", 2).await?;
    for number in 2..=5 {
        let id = format!("aaaaaaaa-1111-4111-8111-{number:012}");
        judged.world.row(&id, &format!("Partner {number}"))?;
    }
    let named = json!({"partnerRef": {"displayName": "Partner 5"}, "iosOnboarded": true});
    let observed =
        json!({"partnerRef": {"displayName": "Partner 4"}, "managementPolicy": "Observe", "macOsOnboarded": true});
    judged.world.partner("named", named).await?;
    judged.world.partner("observed", observed).await?;
    judged.start().await?;
    judged.world.in_sync("named").await?;
    judged
        .world
        .partner_is("observed", "Synced", "False", "DriftDetected")
        .await?;
    let exchanges = judged.acquitted().await?;
    let listings = |further: bool| {
        let of = |exchange: &&Exchange| match exchange.target.strip_prefix(COLLECTION) {
            Some(rest) if further => rest.starts_with("?$skiptoken="),
            rest => rest == Some(""),
        };
        exchanges.iter().filter(of).count()
    };
    let first = listings(false);
    assert!(
        first > 0 && listings(true) == 2 * first,
        "five rows are three pages: {exchanges:#?}"
    );
    assert_eq!(count(&exchanges, "PATCH"), 1, "{exchanges:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drift_and_reset_are_as_microsoft_says() -> Result<()> {
    let mut judged = Judged::new("drifting", 100).await?;
    let spec = json!({
        "partnerRef": {"id": P1}, "deletionPolicy": "Reset", "iosOnboarded": true, "androidOnboarded": true,
        "iosEnrollmentAssignments": [{"target": {"type": "Group", "groupId": G1}}],
    });
    judged.world.partner("jamf", spec).await?;
    judged.start_polling().await?;
    judged.world.in_sync("jamf").await?;
    let graph = judged.world.graph();
    let before = judged.world.patches();
    graph.change_row(
        &judged.world.tenant,
        P1,
        json!({"iosOnboarded": false, "iosEnrollmentAssignments": [], "partnerState": "unresponsive"}),
    )?;
    wait_for("the drift to be corrected", PATIENCE, async || {
        let row = graph.row(&judged.world.tenant, P1).context("the row")?;
        ensure!(
            row["iosOnboarded"] == true && judged.world.patches() > before,
            "{row:#}"
        );
        Ok(())
    })
    .await?;
    judged.world.in_sync("jamf").await?;
    judged.world.partners().delete("jamf", &DeleteParams::default()).await?;
    wait_for("the resource to be gone", PATIENCE, async || {
        let partner = judged.world.partners().get_opt("jamf").await?;
        ensure!(partner.is_none(), "{partner:#?}");
        Ok(())
    })
    .await?;
    let row = graph.row(&judged.world.tenant, P1).context("the row")?;
    assert_eq!(
        (
            &row["iosOnboarded"],
            &row["androidOnboarded"],
            &row["iosEnrollmentAssignments"]
        ),
        (&json!(false), &json!(false), &json!([]))
    );
    let exchanges = judged.acquitted().await?;
    assert_eq!(count(&exchanges, "PATCH"), 3, "{exchanges:#?}");
    Ok(())
}

/// A request of the test's own, as the operator would send it.
fn request(judged: &Judged, method: &str, body: Option<&Value>) -> Result<http::Request<Full<Bytes>>> {
    let world = &judged.world;
    let token = world.graph().issue_token(&world.tenant, &world.client_id, None);
    let mut request = http::Request::builder()
        .method(method)
        .uri(format!("{COLLECTION}/{P1}"))
        .header("host", "127.0.0.1")
        .header("authorization", format!("Bearer {token}"));
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let body = body.map(Value::to_string).unwrap_or_default();
    Ok(request.body(Full::new(Bytes::from(body)))?)
}

/// A PATCH of one property.
fn patch(property: &str, value: &Value) -> Value {
    json!({"@odata.type": "#microsoft.graph.complianceManagementPartner", property: value})
}

/// A list of one assignment with this target.
fn list(target: &Value) -> Value {
    json!([{"@odata.type": "#microsoft.graph.complianceManagementPartnerAssignment", "target": target}])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_not_as_microsoft_says_is_caught() -> Result<()> {
    let judged = Judged::new("wrong-request", 100).await?;
    let group = json!({"@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": G1});
    let ios = "iosEnrollmentAssignments";
    let right = judged
        .front
        .pass(request(&judged, "PATCH", Some(&patch(ios, &list(&group))))?)
        .await?;
    assert_eq!((right.status, right.violations.len()), (200, 0), "{right:#?}");
    let seen = judged.world.graph().count(Request::is_graph);
    for wrong in [
        patch("iosOnboarded", &json!("yes")),
        patch("displayName", &json!(7)),
        patch("partnerState", &json!("pendingActivation")),
        patch("macOSOnboarded", &json!(true)),
        json!({"iosOnboarded": true}),
        patch(ios, &json!(null)),
        patch(ios, &json!([{"target": group}])),
        patch(ios, &list(&json!({"groupId": G1}))),
        patch(
            ios,
            &list(&json!({"@odata.type": "#microsoft.graph.scopeTagGroupAssignmentTarget"})),
        ),
        patch(
            ios,
            &list(&json!({"@odata.type": "microsoft.graph.groupAssignmentTarget", "groupId": G1})),
        ),
        patch(
            ios,
            &list(&json!({"@odata.type": "#microsoft.graph.groupAssignmentTarget", "collectionId": G1})),
        ),
    ] {
        let exchange = judged.front.pass(request(&judged, "PATCH", Some(&wrong))?).await?;
        assert_eq!(exchange.status, 422, "{wrong}: {exchange:#?}");
        assert!(exchange.amiss("body"), "{wrong}: {exchange:#?}");
    }
    assert_eq!(
        judged.world.graph().count(Request::is_graph),
        seen,
        "none of it reached Graph"
    );
    let verdict = judged.acquitted().await.expect_err("it is noted");
    assert!(verdict.to_string().contains("violations"), "{verdict}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_not_as_microsoft_says_is_caught() -> Result<()> {
    let judged = Judged::new("wrong-answer", 100).await?;
    let world = &judged.world;
    let right = judged.front.pass(request(&judged, "GET", None)?).await?;
    assert_eq!((right.status, right.violations.len()), (200, 0), "{right:#?}");
    for wrong in [
        json!({"partnerState": "pendingActivation"}),
        json!({"lastHeartbeatDateTime": "yesterday"}),
        json!({"iosOnboarded": "yes"}),
        json!({"iosEnrollmentAssignments": null}),
        json!({"iosEnrollmentAssignments": list(&json!({"@odata.type": "#microsoft.graph.unknownAssignmentTarget"}))}),
        json!({"linuxOnboarded": false}),
    ] {
        world
            .graph()
            .seed_row(&world.tenant, world.graph().base_row(P1, "Example Partner"))?;
        world.graph().change_row(&world.tenant, P1, wrong.clone())?;
        let exchange = judged.front.pass(request(&judged, "GET", None)?).await?;
        assert_eq!(exchange.status, 500, "{wrong}: {exchange:#?}");
        assert!(exchange.amiss("response"), "{wrong}: {exchange:#?}");
    }
    Ok(())
}
