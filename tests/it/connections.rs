//! What a connection says when its Secret, its consent, its credential or its tenant are not as they should be, and how it
//! heals.

mod credentials;
mod tenants;

use compliance_partner_operator::api::{Condition, GraphConnection, condition};
use harness::World;
use serde_json::json;

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";

/// A condition of a connection.
fn of(connection: &GraphConnection, kind: &str) -> Option<Condition> {
    condition(&connection.status.as_ref()?.conditions, kind).cloned()
}

/// What Ready of a connection tells.
fn told(connection: &GraphConnection) -> String {
    of(connection, "Ready").map(|ready| ready.message).unwrap_or_default()
}

/// One row, and a partner `jamf` that differs from it in one field.
async fn with_a_partner(world: &World) -> anyhow::Result<()> {
    world.row(P1, "Example Partner")?;
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await
        .map(drop)
}
