//! The kinds of `auth` beside the client secret: what each sends, what it says where something is missing, and that it
//! heals.

mod certificate;
mod clouds;
mod managed;
mod operator_token;
mod rotation;
mod workload;

use compliance_partner_operator::api::{ComplianceManagementPartner, GraphConnection, condition};
use graph_simulator::Request;
use harness::{World, merge};
use serde_json::{Value, json};

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";

/// A connection by this kind of auth.
async fn connection(world: &World, name: &str, auth: Value) -> anyhow::Result<()> {
    world.connection(name, json!({"auth": auth})).await
}

/// One row, and a partner of this connection that differs from it in one field.
async fn partner_of(world: &World, connection: &str) -> anyhow::Result<ComplianceManagementPartner> {
    let mut spec = json!({"connectionRef": {"name": connection}});
    merge(&mut spec, json!({"partnerRef": {"id": P1}, "iosOnboarded": true}));
    world.row(P1, "Example Partner")?;
    world.partner("jamf", spec).await
}

/// What Ready of a connection tells.
fn told(connection: &GraphConnection) -> String {
    let conditions = connection.status.as_ref().map(|status| status.conditions.as_slice());
    let ready = condition(conditions.unwrap_or_default(), "Ready");
    ready.map(|ready| ready.message.clone()).unwrap_or_default()
}

/// The decoded assertions of all token requests so far.
fn assertions(world: &World) -> Vec<Value> {
    let requests = world.graph().requests_where(Request::is_token);
    requests.iter().filter_map(Request::assertion).collect()
}
