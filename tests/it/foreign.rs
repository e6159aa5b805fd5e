//! Text that somebody wrote to deceive: in Graph's rows, in refusals of Graph and Entra, in users' own fields. Each is
//! looked for where people read: kubectl, the log in both its forms, and the metrics.
//!
//! | who wrote it | where | test |
//! |---|---|---|
//! | a tenant | display names, states, ids, `@odata.type`s, names cut inside a character | `rows` |
//! | a user | `spec.displayName`, `partnerRef.displayName`, the key in a Secret, the annotation | `rows`, `refusals` |
//! | Graph, Entra | error sentences, codes, request ids, links to pages, bodies that are no text | `refusals` |

// Indexing JSON is lenient: what is not there is null.
#![allow(clippy::indexing_slicing)]

mod reading;
mod refusals;
mod rows;
mod texts;

use std::collections::BTreeSet;

use compliance_partner_operator::api::{ComplianceManagementPartner, RECONCILE_ANNOTATION};
use graph_simulator::Request;
use harness::{PATIENCE, World};
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::binary::Running;

/// The operator as a process, at its most talkative level, with a poll each second.
async fn operator(world: &World, format: &str) -> anyhow::Result<Running> {
    let account = harness::OPERATOR;
    let kubeconfig = world
        .plane
        .service_account_kubeconfig(&world.namespace, account)
        .await?;
    let flags = ["--log-level", "trace", "--sync-interval", "1s", "--log-format", format];
    let scope = ["--watch-namespaces", world.namespace.as_str()];
    Running::start(&world.simulator, Some(&kubeconfig), &[&scope[..], &flags].concat())
}

/// Creates a partner as a program does, in JSON: YAML has no way to write some of these texts.
async fn create(world: &World, name: &str, request: &str, spec: Value) -> anyhow::Result<()> {
    let mut object = json!({
        "apiVersion": "intune.msgraph.dev/v1alpha1",
        "kind": "ComplianceManagementPartner",
        "metadata": {"name": name, "annotations": {RECONCILE_ANNOTATION: request}},
        "spec": {"connectionRef": {"name": "contoso"}},
    });
    harness::merge(&mut object["spec"], spec);
    let object: ComplianceManagementPartner = serde_json::from_value(object)?;
    world.partners().create(&PostParams::default(), &object).await?;
    Ok(())
}

/// Waits for three more listings of this world's tenant: the passes that the first two led to have ended by then, or
/// have at least been begun long ago.
async fn three_polls(world: &World) -> anyhow::Result<()> {
    let tenant = world.tenant.clone();
    let of_tenant = move |request: &Request| {
        request.is_list() && request.status == Some(200) && request.tenant.as_deref() == Some(tenant.as_str())
    };
    let seen = world.graph().count(&of_tenant);
    world.graph().wait_for_requests(of_tenant, seen + 3, PATIENCE).await?;
    Ok(())
}

/// What the operator has written after a place in the audit log, statuses and events, each with the answer's code.
fn writes(world: &World, position: u64) -> anyhow::Result<Vec<(String, u64)>> {
    let told = |write: &Value| {
        let named = |path| write.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let code = write.pointer("/responseStatus/code").and_then(Value::as_u64);
        let name = format!("{}/{}", named("/objectRef/resource"), named("/objectRef/name"));
        (name, code.unwrap_or_default())
    };
    let all = world.operator_writes_since(position)?;
    // A question of who one is counts as no write.
    let all = all
        .iter()
        .filter(|write| write.pointer("/objectRef/resource").and_then(Value::as_str) != Some("selfsubjectreviews"));
    Ok(all.map(told).collect())
}

/// Those that were refused.
fn refused(world: &World) -> anyhow::Result<Vec<(String, u64)>> {
    let mut all = writes(world, 0)?;
    all.retain(|(_, code)| *code >= 400);
    Ok(all)
}

/// Every text in a JSON value.
fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::Object(members) => members.values().flat_map(strings).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// The names in a list of Kubernetes objects.
fn names(list: &Value) -> BTreeSet<&str> {
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    items
        .iter()
        .filter_map(|item| item["metadata"]["name"].as_str())
        .collect()
}
