//! What workload identity takes: `ServiceAccount`s that stand for an app, the consent to use them, and an Entra that knows
//! the cluster's issuer.

use std::os::unix::fs::symlink;

use anyhow::Context as _;
use graph_simulator::FederatedCredential;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::{OPERATOR, Scratch, World};

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

    /// What Entra is to hold of a ServiceAccount of this namespace to trust its tokens for this audience.
    pub async fn federated(&self, account: &str, audience: &str) -> anyhow::Result<FederatedCredential> {
        let (issuer, _) = self.issuer().await?;
        Ok(FederatedCredential {
            issuer,
            subject: format!("system:serviceaccount:{}:{account}", self.namespace),
            audience: audience.to_owned(),
        })
    }

    /// One more federated credential of this world's app, for a ServiceAccount of this namespace. Entra learns the
    /// issuer's keys.
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
        let credential = self.federated(account, audience).await?;
        self.graph().add_federated(tenant, client_id, credential)
    }

    /// A token of the operator's account for this audience as the kubelet would project it: `token` in the folder is a
    /// link that is swapped to a file of this number.
    pub async fn project(&self, folder: &Scratch, number: usize, audience: &str) -> anyhow::Result<()> {
        let audience = format!("--audience={audience}");
        let args = [
            "create",
            "token",
            OPERATOR,
            &audience,
            "--duration=600s",
            "-n",
            &self.namespace,
        ];
        let token = self.plane.kubectl_ok(&args).await?;
        let (file, next) = (folder.path().join(format!("{number}")), folder.path().join("next"));
        std::fs::write(&file, token.trim())?;
        symlink(&file, &next)?;
        std::fs::rename(&next, folder.path().join("token"))?;
        Ok(())
    }
}
