//! What workload identity takes: `ServiceAccount`s that stand for an app, and the consent to use them.

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::World;

impl World {
    /// Creates or changes a ServiceAccount that stands for the app with this client id.
    pub async fn account(&self, name: &str, client_id: &str) -> anyhow::Result<()> {
        let api: Api<ServiceAccount> = Api::namespaced(self.admin.clone(), &self.namespace);
        let account = json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "annotations": {"azure.workload.identity/client-id": client_id}},
        });
        api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(account))
            .await?;
        Ok(())
    }

    /// Lets the operator ask for tokens of one ServiceAccount: the consent that a tenant gives.
    pub async fn consent_to_account(&self, account: &str) -> anyhow::Result<()> {
        let rules = json!([
            {"apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": [account], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": [account], "verbs": ["create"]},
        ]);
        self.grant(&format!("{account}-token"), rules).await
    }
}
