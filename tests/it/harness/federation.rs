//! What workload identity takes: `ServiceAccount`s that stand for an app, the consent to use them, and an Entra that knows
//! the cluster's issuer.

use anyhow::Context as _;
use graph_simulator::FederatedCredential;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::World;

/// The audience of federated tokens in the worldwide cloud.
pub const AUDIENCE: &str = "api://AzureADTokenExchange";

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

    /// The issuer of the cluster's ServiceAccount tokens, and its keys, as the API server publishes them.
    pub async fn issuer(&self) -> anyhow::Result<(String, Value)> {
        let read = async |path: &str| -> anyhow::Result<Value> {
            let request = http::Request::get(path).body(Vec::new())?;
            Ok(self.admin.request(request).await?)
        };
        let discovered = read("/.well-known/openid-configuration").await?;
        let issuer = discovered.get("issuer").and_then(Value::as_str);
        let issuer = issuer.context("a cluster has an issuer")?;
        Ok((issuer.to_owned(), read("/openid/v1/jwks").await?))
    }

    /// A federated credential of this world's app for a ServiceAccount of this namespace. Entra learns the issuer's keys.
    pub async fn trust(&self, account: &str, audience: &str) -> anyhow::Result<()> {
        self.trust_as(&self.client_id, account, audience).await
    }

    /// The same for another app of the tenant.
    pub async fn trust_as(&self, client_id: &str, account: &str, audience: &str) -> anyhow::Result<()> {
        self.trust_in(&self.tenant, client_id, account, audience).await
    }

    /// The same for an app of another tenant.
    pub async fn trust_in(&self, tenant: &str, client_id: &str, account: &str, audience: &str) -> anyhow::Result<()> {
        let (issuer, keys) = self.issuer().await?;
        self.graph().set_issuer(&issuer, keys)?;
        let subject = format!("system:serviceaccount:{}:{account}", self.namespace);
        let audience = audience.to_owned();
        let credential = FederatedCredential {
            issuer,
            subject,
            audience,
        };
        self.graph().set_federated(tenant, client_id, vec![credential])?;
        Ok(())
    }
}
