//! What goes wrong on the way to Graph, in Graph, or with the rows there, and what becomes of it.

mod health;
mod naming;
mod outages;
mod writes;

use compliance_partner_operator::api::{ComplianceManagementPartner, Condition, condition};
use harness::World;

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";
const P2: &str = "aaaaaaaa-1111-4111-8111-000000000002";

/// A connection, and two rows with nothing onboarded.
async fn world(name: &str) -> anyhow::Result<World> {
    let world = World::new(name).await?;
    world.row(P1, "Example Partner")?;
    world.row(P2, "Other Partner")?;
    world.connect().await?;
    Ok(world)
}

/// A condition of a partner.
fn of(partner: &ComplianceManagementPartner, kind: &str) -> Option<Condition> {
    condition(&partner.status.as_ref()?.conditions, kind).cloned()
}

/// What Ready of a partner tells.
fn told(partner: &ComplianceManagementPartner) -> String {
    of(partner, "Ready").map(|ready| ready.message).unwrap_or_default()
}

/// Whether kstatus waits for the partner (`Reconciling`) or has given it up (`Stalled`).
fn pair(partner: &ComplianceManagementPartner) -> (bool, bool) {
    (of(partner, "Reconciling").is_some(), of(partner, "Stalled").is_some())
}
