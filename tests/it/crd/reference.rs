//! The generated schemas, held against a pair that was written by hand, field by field, from the API's description.
//!
//! The pair has a group and names of its own, so that both can be installed at once and no short name is taken twice.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::desk::{BASE, Desk, Kind, Way};
use super::{rules, samples, status};

const CRDS: &str = include_str!("../fixtures/reference-crds.json");

#[tokio::test]
async fn generated_and_hand_written_schemas_take_and_refuse_the_same() -> Result<()> {
    let desk = Desk::new("reference").await?;
    let list: Value = serde_json::from_str(CRDS)?;
    let names: Vec<_> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|crd| crd["metadata"]["name"].as_str())
        .collect();
    desk.plane
        .kubectl_ok_with_input(&["apply", "--server-side", "--filename=-"], CRDS)
        .await?;
    desk.plane.until_established(&names).await?;
    for kind in Kind::ALL.map(Kind::reference) {
        // A CRD that is established may be not found for a moment more.
        harness::wait_for("the reference", std::time::Duration::from_secs(20), async || {
            desk.store(kind, BASE, kind.base()).await
        })
        .await?;
    }

    let mut differences = Vec::new();
    for sample in samples::samples() {
        if sample.is_stricter_than_reference() {
            continue;
        }
        // By an update, rules on transitions come into play; the others say the same by any way.
        let update = sample.kind.touches_identity(&sample.patch).then_some(Way::MergePatch);
        for way in [Way::Create].into_iter().chain(update) {
            let ours = desk.try_spec(sample.kind, way, &sample.patch).await?;
            let theirs = desk.try_spec(sample.kind.reference(), way, &sample.patch).await?;
            let same = match (&ours, &theirs) {
                (Ok(ours), Ok(theirs)) => ours["spec"] == theirs["spec"] && ours.get("status") == theirs.get("status"),
                (Err(_), Err(_)) => true,
                _ => false,
            };
            if !same {
                let sample = rules::shortened(&sample.patch);
                differences.push(format!("{way:?} {sample}: ours {ours:?}, by hand {theirs:?}"));
            }
        }
    }
    for (kind, sample, _) in status::samples() {
        let ours = status::try_status(&desk, kind, &sample).await?;
        let theirs = status::try_status(&desk, kind.reference(), &sample).await?;
        if ours.is_ok() != theirs.is_ok() {
            let sample = rules::shortened(&json!(sample));
            differences.push(format!("{sample}: ours {ours:?}, by hand {theirs:?}"));
        }
    }
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}
