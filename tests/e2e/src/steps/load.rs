//! More resources than most tenants have, within the memory that the chart's defaults allow.

use anyhow::{Result, ensure};
use harness::{tell, wait_for};
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::cluster::TENANT_NAMESPACE;
use crate::stage::{PATIENCE, Stage, TENANT_ID};

/// How many partners there are then.
const PARTNERS: u32 = 200;

/// The chart's `resources.limits.memory`.
const LIMIT: u64 = 128 << 20;

/// Many partners become Ready, and the container's cgroup has never refused a page.
pub(super) async fn within_the_memory_limit(stage: &Stage<'_>) -> Result<()> {
    let Some(operator) = stage.operator_process().await? else {
        stage
            .story
            .step("Left out, for the node's kernel is out of reach: the memory limit");
        return Ok(());
    };
    let limit = operator.usage()?.limit;
    ensure!(
        limit == LIMIT,
        "the cgroup's limit is {limit} bytes, the chart's {LIMIT}"
    );

    let ids: Vec<String> = (0..PARTNERS)
        .map(|number| format!("eeeeeeee-0000-4000-8000-{number:012x}"))
        .collect();
    for (number, id) in ids.iter().enumerate() {
        stage
            .graph()
            .seed_row(TENANT_ID, stage.graph().base_row(id, &format!("Partner {number}")))?;
    }
    let partner = |id: &String| {
        json!({
            "apiVersion": "intune.msgraph.dev/v1alpha1", "kind": "ComplianceManagementPartner",
            "metadata": {"name": format!("load-{}", id.trim_start_matches("eeeeeeee-")), "labels": {"load": "yes"}, "namespace": TENANT_NAMESPACE},
            "spec": {"connectionRef": {"name": "contoso"}, "partnerRef": {"id": id}, "managementPolicy": "Observe"},
        })
    };
    let partners: Vec<Value> = ids.iter().map(partner).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": partners});
    let kubectl = &stage.cluster.kubectl;
    kubectl.ok_with_input(&["create", "-f", "-"], &list.to_string()).await?;
    let path = r#"jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}"#;
    wait_for("all partners to be Ready", PATIENCE, async || {
        let states = kubectl
            .ok(&["-n", TENANT_NAMESPACE, "get", "cmp", "-l", "load=yes", "-o", path])
            .await?;
        let ready = states.lines().filter(|state| *state == "True").count();
        ensure!(u32::try_from(ready)? == PARTNERS, "{ready} are");
        Ok(())
    })
    .await?;
    // The same process: nothing has ended it.
    let usage = operator.usage()?;
    ensure!(usage.peak < usage.limit, "too much memory: {usage}");
    stage.story.step(&format!(
        "{PARTNERS} more partners are Ready, within the memory limit of the chart's defaults"
    ));
    tell(&format!("memory, with {} partners: {usage}", PARTNERS + 1));
    // kubectl deletes one after the other.
    let those = ListParams::default().labels("load=yes");
    let partners = stage.cluster.partners();
    partners.delete_collection(&DeleteParams::default(), &those).await?;
    Ok(())
}
