//! Argo CD is green for the right reason, and never out of sync with what it has applied: by Argo CD's own code, on
//! objects that the operator has written.
//!
//! - [`health`]: the health of every row of the reason table;
//! - [`actions`]: what the actions change, and what the operator does then;
//! - [`diff`]: both comparisons with git, before and after the operator has written;
//! - [`sync`]: all of it in one sync, on a cluster that has nothing, and the comparisons after it;
//! - [`deletion`]: what goes and what stays when the Application prunes, or goes itself;
//! - [`site`]: the cluster and the Argo CD of these two;
//! - [`documents`]: the files that users paste and copy.

// Helpers may panic as tests may: a wrong index is a failed test.
#![allow(clippy::indexing_slicing)]

mod actions;
mod deletion;
mod diff;
mod documents;
mod health;
mod site;
mod sync;

use anyhow::Context as _;
use harness::{World, checkout};
use serde_json::{Value, json};

/// The tenant and the app of `deploy/examples`.
const EXAMPLE_TENANT: &str = "aaaabbbb-0000-cccc-1111-dddd2222eeee";
const EXAMPLE_CLIENT: &str = "00001111-aaaa-2222-bbbb-3333cccc4444";

/// The id of the partner in `deploy/examples/partner.yaml`.
const EXAMPLE_PARTNER: &str = "d6d46d0d-6d0d-d6d4-0d6d-d4d60d6dd4d6";

/// The objects of a file of the checkout, for a world's namespaces, tenant and app.
async fn manifests(world: &World, file: &str) -> anyhow::Result<Vec<Value>> {
    let text = std::fs::read_to_string(checkout().join(file)).with_context(|| file.to_owned())?;
    let here = |namespace: &str| format!("namespace: {namespace}\n");
    let text = text
        .replace(&here("contoso"), &here(&world.namespace))
        .replace(&here("compliance-partner-operator"), &here(&world.operator_namespace))
        .replace(EXAMPLE_TENANT, &world.tenant)
        .replace(EXAMPLE_CLIENT, &world.client_id);
    // A cluster that knows the kinds is all that the reader of manifests needs.
    let plane = harness::install_crds().await?;
    let args = ["create", "--dry-run=client", "--output=json", "--filename=-"];
    objects(&plane.kubectl_ok_with_input(&args, &text).await?)
}

/// The objects in what kubectl has written: one after the other, or a list.
fn objects(text: &str) -> anyhow::Result<Vec<Value>> {
    let mut found = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let mut value = value.context("kubectl writes JSON")?;
        match value.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => found.extend(items),
            _ => found.push(value),
        }
    }
    Ok(found)
}

/// Seeds the partners that `deploy/examples` name.
fn seed_examples(world: &World) -> anyhow::Result<()> {
    world.row(EXAMPLE_PARTNER, "Jamf Device Compliance")?;
    world.row("a1e2c3d4-0000-4000-8000-0123456789ab", "Fleet")
}

/// A word of an answer.
fn word<'a>(answer: &'a Value, path: &str) -> &'a str {
    answer.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// What is asked of Argo CD about an object: its health and its actions.
fn judge(object: &Value) -> Value {
    json!({ "judge": object })
}
