//! What the schema takes, the operator's own types read, and to the same value: an object that they could not read would
//! be passed over.

use anyhow::{Context as _, Result, ensure};
use compliance_partner_operator::api::{ComplianceManagementPartner, GraphConnection};
use serde_json::Value;

use super::desk::{Desk, Kind, Way};
use super::{rules, samples, status};

/// What the types make of an object that the API server has taken.
fn read(kind: Kind, object: Value) -> Result<Value> {
    Ok(match kind {
        Kind::Partner | Kind::ReferencePartner => {
            serde_json::to_value(serde_json::from_value::<ComplianceManagementPartner>(object)?)?
        }
        Kind::Connection | Kind::ReferenceConnection => {
            serde_json::to_value(serde_json::from_value::<GraphConnection>(object)?)?
        }
    })
}

#[tokio::test]
async fn what_the_schema_takes_the_code_reads_to_the_same_value() -> Result<()> {
    let desk = Desk::new("typed").await?;
    let mut objects = Vec::new();
    for sample in samples::samples().into_iter().filter(|sample| sample.refusal.is_none()) {
        let taken = desk.try_spec(sample.kind, Way::Create, &sample.patch).await?;
        objects.push((sample.kind, taken, rules::shortened(&sample.patch)));
    }
    for (kind, sample, _) in status::samples()
        .into_iter()
        .filter(|(_, _, needles)| needles.is_empty())
    {
        let taken = status::try_status(&desk, kind, &sample).await?;
        objects.push((kind, taken, rules::shortened(&sample)));
    }
    ensure!(objects.len() > 80, "{}", objects.len());
    for (kind, taken, told) in objects {
        let taken = super::desk::accepted(taken).with_context(|| told.clone())?;
        let read = read(kind, taken.clone()).with_context(|| told.clone())?;
        for part in ["spec", "status"] {
            ensure!(
                read[part] == taken[part],
                "{told}: {} was read as {}",
                taken[part],
                read[part]
            );
        }
    }
    Ok(())
}
