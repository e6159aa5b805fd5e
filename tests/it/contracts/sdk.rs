//! Microsoft's own clients talk to the simulator: what holds for them there holds for the operator.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use compliance_partner_operator::api::condition;
use graph_simulator::{Certified, Options, ViolationKind, certificate};
use harness::{CLIENT_SECRET, Kind, PATIENCE, Scratch, World, auth, tls, wait_for};
use serde_json::{Value, json};

use crate::parts::python;

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";
const P2: &str = "aaaaaaaa-1111-4111-8111-000000000002";
const P3: &str = "aaaaaaaa-1111-4111-8111-000000000003";
const G1: &str = "7c1b0f5e-3f5a-4d0a-9f61-0d6f5a2b9b11";
const G2: &str = "7c1b0f5e-3f5a-4d0a-9f61-0d6f5a2b9b12";

/// The CA of the world's simulator, in a file.
fn root(world: &World, folder: &Scratch) -> Result<String> {
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, world.simulator.ca_pem())?;
    Ok(path.display().to_string())
}

/// The pairs of kind and id in a list as Graph has it, sorted.
fn pairs(row: &Value, property: &str) -> Result<Vec<(String, Option<String>)>> {
    let list = row.get(property).and_then(Value::as_array).context("no list")?;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let mut pairs = Vec::new();
    for entry in list {
        let target = entry.get("target").context("no target")?;
        let kind = text(target.get("@odata.type")).context("no type")?;
        let id = text(target.get("groupId").or(target.get("collectionId")));
        pairs.push((kind, id));
    }
    pairs.sort();
    Ok(pairs)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sdk_reads_back_what_it_wrote_and_what_the_operator_wrote() -> Result<()> {
    let options = Options {
        page_size: 2,
        ..Options::default()
    };
    let mut world = World::with("sdk", options).await?;
    for (id, name) in [(P1, "By the operator"), (P2, "By the SDK"), (P3, "By nobody")] {
        world.row(id, name)?;
    }
    world.connect().await?;
    let lists = json!({
        "macOsEnrollmentAssignments": [["Group", G1], ["ExclusionGroup", G2], ["AllLicensedUsers", null]],
        "androidEnrollmentAssignments": [["AllDevices", null], ["ConfigurationManagerCollection", "SMS00001"]],
        "iosEnrollmentAssignments": [["Group", G2]],
    });
    let mut spec = json!({
        "partnerRef": {"id": P1}, "displayName": "Written \"é\"", "macOsOnboarded": true, "androidOnboarded": true,
        "iosOnboarded": true,
    });
    for (name, list) in lists.as_object().context("an object")? {
        let list = list.as_array().context("a list")?;
        spec[name] = list.iter().map(|pair| json!({"target": target(pair)})).collect();
    }
    world.partner("jamf", spec).await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    world.stop().await?;
    assert_eq!(world.graph().violations(), []);

    let mut writes = json!({
        "displayName": "Written \"é\"", "macOsOnboarded": true, "androidOnboarded": true, "iosOnboarded": true,
    });
    harness::merge(&mut writes, lists);
    let folder = Scratch::new()?;
    let settings = json!({
        "graph": world.simulator.graph_endpoint(), "authority": world.simulator.authority_host(),
        "ca": root(&world, &folder)?, "tenant": world.tenant, "client": world.client_id, "secret": CLIENT_SECRET,
        "writes": {P2: writes},
    });
    let answer = python("partners.py", &settings).await?;
    let answer = answer.first().context("no answer")?;
    // The simulator asks for two things that Microsoft's own client leaves out.
    let left_out = [ViolationKind::MissingClientRequestId, ViolationKind::MissingODataType];
    let violations = world.graph().violations();
    assert!(
        violations.iter().all(|it| left_out.contains(&it.kind)),
        "{violations:#?}"
    );
    assert_eq!(answer["listed"], answer["got"]);
    assert_eq!(answer["listed"].as_object().context("an object")?.len(), 3);
    for (name, value) in writes.as_object().context("an object")? {
        for id in [P1, P2] {
            assert_eq!(sorted(&answer["got"][id][name]), sorted(value), "{id} {name}");
        }
    }
    for property in ["partnerState", "lastHeartbeatDateTime"] {
        assert_eq!(answer["got"][P1][property], answer["got"][P3][property]);
    }
    assert_eq!(answer["got"][P3]["partnerState"], "enabled");
    assert_eq!(answer["got"][P3]["macOsOnboarded"], false);
    let rows: BTreeMap<&str, Value> = [P1, P2]
        .into_iter()
        .filter_map(|id| Some((id, world.graph().row(&world.tenant, id)?)))
        .collect();
    for platform in ["macOs", "android", "ios"] {
        let property = format!("{platform}EnrollmentAssignments");
        assert_eq!(pairs(&rows[P1], &property)?, pairs(&rows[P2], &property)?);
    }
    Ok(())
}

/// A target in the words of the operator's API.
fn target(pair: &Value) -> Value {
    let (kind, id) = (pair.get(0), pair.get(1));
    match kind.and_then(Value::as_str) {
        Some("Group" | "ExclusionGroup") => json!({"type": kind, "groupId": id}),
        Some("ConfigurationManagerCollection") => json!({"type": kind, "collectionId": id}),
        _ => json!({"type": kind}),
    }
}

/// A list as a set; anything else as it is.
fn sorted(value: &Value) -> Value {
    let Some(list) = value.as_array() else {
        return value.clone();
    };
    let mut texts: Vec<String> = list.iter().map(Value::to_string).collect();
    texts.sort();
    json!(texts)
}

/// A credential, right or wrong, and the number of the error that Entra answers it with.
struct Attempt<'a> {
    tenant: &'a str,
    client: &'a str,
    by: By<'a>,
    refused: Option<u64>,
}

enum By<'a> {
    Secret(&'a str),
    Certificate(&'a Certified),
}

impl Attempt<'_> {
    /// For azure-identity: a certificate and its key are one file there.
    fn for_python(&self, folder: &Scratch, number: usize) -> Result<Value> {
        let mut attempt = json!({"tenant": self.tenant, "client": self.client});
        let by = match self.by {
            By::Secret(secret) => json!({"secret": secret}),
            By::Certificate(certified) => {
                let path = folder.path().join(format!("{number}.pem"));
                std::fs::write(
                    &path,
                    format!("{}{}", certified.key_pkcs8_pem, certified.certificate_pem),
                )?;
                json!({"certificate": path})
            }
        };
        harness::merge(&mut attempt, by);
        Ok(attempt)
    }

    /// For the operator: a Secret, the consent to read it and a connection, all of this name.
    async fn for_operator(&self, world: &World, name: &str) -> Result<()> {
        let (kind, secret) = match self.by {
            By::Secret(secret) => (Kind::Secret, json!({"client-secret": secret})),
            By::Certificate(certified) => (Kind::Certificate, tls(certified)),
        };
        world.secret(name, secret).await?;
        world.consent(name).await?;
        let spec = json!({"tenantId": self.tenant, "clientId": self.client, "auth": auth(kind, name)});
        world.connection(name, spec).await
    }
}

/// What becomes of the operator's connection: connected, or told the number of the same error.
async fn operator_agrees(world: &World, name: &str, refused: Option<u64>) -> Result<()> {
    wait_for(&format!("{name}, refused: {refused:?}"), PATIENCE, async || {
        let status = world.connections().get(name).await?.status.unwrap_or_default();
        let ready = condition(&status.conditions, "Ready").context("no condition yet")?;
        match refused {
            None => ensure!(ready.reason == "Connected", "{ready:#?}"),
            Some(code) => ensure!(ready.message.contains(&format!("(AADSTS{code})")), "{ready:#?}"),
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn azure_identity_gets_tokens_where_the_operator_does_and_is_refused_where_it_is() -> Result<()> {
    let mut world = World::new("identity").await?;
    let registered = certificate("contoso")?;
    let stranger = certificate("contoso")?;
    world.graph().set_certificates(
        &world.tenant,
        &world.client_id,
        vec![registered.certificate_pem.clone()],
    )?;
    let nobody = "dddddddd-4444-4444-8444-000000000001";
    let (tenant, client) = (world.tenant.clone(), world.client_id.clone());
    let attempt = |tenant, client, by, refused| Attempt {
        tenant,
        client,
        by,
        refused,
    };
    let attempts = [
        attempt(&tenant, &client, By::Secret(CLIENT_SECRET), None),
        attempt(&tenant, &client, By::Certificate(&registered), None),
        attempt(&tenant, &client, By::Secret("not-this-one"), Some(7_000_215)),
        attempt(&tenant, &client, By::Certificate(&stranger), Some(700_027)),
        attempt(&tenant, nobody, By::Secret(CLIENT_SECRET), Some(700_016)),
        attempt(nobody, &client, By::Secret(CLIENT_SECRET), Some(90_002)),
    ];
    let folder = Scratch::new()?;
    let mut settings = Vec::new();
    for (number, attempt) in attempts.iter().enumerate() {
        attempt.for_operator(&world, &format!("contoso-{number}")).await?;
        settings.push(attempt.for_python(&folder, number)?);
    }
    world.start().await?;
    for (number, attempt) in attempts.iter().enumerate() {
        operator_agrees(&world, &format!("contoso-{number}"), attempt.refused).await?;
    }
    world.stop().await?;

    let graph = world.simulator.graph_endpoint();
    let settings = json!({
        "authority": world.simulator.authority_host(), "scope": format!("{graph}/.default"),
        "ca": root(&world, &folder)?, "attempts": settings,
        "reads": format!("{graph}{}", graph_simulator::COLLECTION),
    });
    let answers = python("tokens.py", &settings).await?;
    assert_eq!(answers.len(), attempts.len());
    for (attempt, answer) in attempts.iter().zip(&answers) {
        match attempt.refused {
            None => assert_eq!(answer, &json!({"read": 200})),
            Some(code) => assert_eq!(answer["codes"], json!([code]), "{answer:#}"),
        }
    }
    Ok(())
}
