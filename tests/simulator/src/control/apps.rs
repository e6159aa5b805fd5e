//! Tenants, apps with their credentials, tokens, and whom Entra trusts besides.

use anyhow::{Context as _, bail};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::Control;
use crate::entra;
use crate::metadata::NodeIdentity;
use crate::options::TokenStyle;
use crate::world::{App, FederatedCredential};

#[allow(
    clippy::must_use_candidate,
    reason = "what changes the world may say what it did to nobody"
)]
impl Control {
    /// Adds a tenant; one that is there stays as it is.
    pub fn add_tenant(&self, tenant: &str) {
        self.shared
            .lock()
            .tenants
            .entry(tenant.to_ascii_lowercase())
            .or_default();
    }

    /// Removes a tenant with all that it has. Its tokens still name it.
    pub fn remove_tenant(&self, tenant: &str) -> anyhow::Result<()> {
        let removed = self.shared.lock().tenants.remove(&tenant.to_ascii_lowercase());
        removed.map(drop).with_context(|| format!("no tenant {tenant}"))
    }

    /// Adds an app, or replaces it. The tenant is made where it is missing.
    pub fn add_app(&self, tenant: &str, client_id: &str, app: App) {
        let mut world = self.shared.lock();
        let tenant = world.tenants.entry(tenant.to_ascii_lowercase()).or_default();
        tenant.apps.insert(client_id.to_ascii_lowercase(), app);
    }

    /// Removes an app. Tokens that it has stay good until they expire.
    pub fn remove_app(&self, tenant: &str, client_id: &str) -> anyhow::Result<()> {
        let mut world = self.shared.lock();
        let apps = world.tenant_mut(tenant).map(|tenant| &mut tenant.apps);
        let removed = apps.and_then(|apps| apps.remove(&client_id.to_ascii_lowercase()));
        removed
            .map(drop)
            .with_context(|| format!("no app {client_id} in tenant {tenant}"))
    }

    /// Sets the one secret of an app.
    pub fn set_secret(&self, tenant: &str, client_id: &str, secret: &str) -> anyhow::Result<()> {
        self.with_app(tenant, client_id, |app| app.secrets = vec![secret.to_owned()])
    }

    /// Sets the secrets of an app; none means that no secret is right.
    pub fn set_secrets(&self, tenant: &str, client_id: &str, secrets: Vec<String>) -> anyhow::Result<()> {
        self.with_app(tenant, client_id, |app| app.secrets = secrets)
    }

    /// Sets the certificates of an app, PEM texts; none means that no key is right.
    pub fn set_certificates(&self, tenant: &str, client_id: &str, certificates: Vec<String>) -> anyhow::Result<()> {
        if certificates.iter().any(|pem| !entra::is_readable(pem)) {
            bail!("a text holds no certificate");
        }
        self.with_app(tenant, client_id, |app| app.certificates = certificates)
    }

    /// Sets the federated credentials of an app.
    pub fn set_federated(
        &self,
        tenant: &str,
        client_id: &str,
        credentials: Vec<FederatedCredential>,
    ) -> anyhow::Result<()> {
        self.with_app(tenant, client_id, |app| app.federated = credentials)
    }

    /// Sets the permissions of an app. Tokens that were issued before keep theirs.
    pub fn set_roles<R: Into<String>>(
        &self,
        tenant: &str,
        client_id: &str,
        roles: impl IntoIterator<Item = R>,
    ) -> anyhow::Result<()> {
        self.with_app(tenant, client_id, |app| {
            app.roles = roles.into_iter().map(Into::into).collect();
        })
    }

    fn with_app(&self, tenant: &str, client_id: &str, change: impl FnOnce(&mut App)) -> anyhow::Result<()> {
        let mut world = self.shared.lock();
        let apps = world.tenant_mut(tenant).map(|tenant| &mut tenant.apps);
        let app = apps.and_then(|apps| apps.get_mut(&client_id.to_ascii_lowercase()));
        change(app.with_context(|| format!("no app {client_id} in tenant {tenant}"))?);
        Ok(())
    }

    /// Makes Graph refuse the tokens of a tenant, or of one app of it; says how many.
    pub fn revoke_tokens(&self, tenant: &str, client_id: Option<&str>) -> usize {
        self.shared.lock().tokens.revoke(tenant, client_id)
    }

    /// Issues a token past Entra; with an audience of its own it is foreign to Graph.
    #[must_use]
    pub fn issue_token(&self, tenant: &str, client_id: &str, audience: Option<&str>) -> String {
        entra::issue_unasked(
            &mut self.shared.lock(),
            &self.shared.endpoints,
            tenant,
            client_id,
            audience,
        )
    }

    /// Sets `expires_in` of the tokens to come.
    pub fn set_expires_in(&self, seconds: u64) {
        self.shared.lock().settings.expires_in = seconds;
    }

    /// Sets how the tokens to come look.
    pub fn set_token_style(&self, style: TokenStyle) {
        self.shared.lock().settings.token_style = style;
    }

    // ---- other issuers, Entra's clock, managed identities ----

    /// Sets the keys of an issuer, a JSON Web Key Set: what Entra would find by discovery. Keys that are neither RSA nor on
    /// an elliptic curve are of no use, and harmless.
    pub fn set_issuer(&self, issuer: &str, jwks: Value) -> anyhow::Result<()> {
        let keys = serde_json::from_value(jwks).context("that is no JSON Web Key Set")?;
        self.shared.lock().issuers.insert(issuer.to_owned(), keys);
        Ok(())
    }

    /// Lets Entra no longer reach an issuer; says whether it could.
    pub fn remove_issuer(&self, issuer: &str) -> bool {
        self.shared.lock().issuers.remove(issuer).is_some()
    }

    /// Sets how far Entra's clock is ahead of this machine's (behind it: a negative offset). Assertions are held against
    /// it, and the times in tokens and errors come from it. A token still lives as long as `expires_in` says, and those
    /// that were issued before are not touched.
    pub fn set_clock(&self, offset: SignedDuration) {
        self.shared.lock().settings.clock = offset;
    }

    /// Entra's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.lock().now()
    }

    /// Assigns an app of a tenant to the node as its managed identity: the system's own, or one of a user's choice. The
    /// system has one at most: an older one becomes a user's.
    pub fn assign_identity(&self, tenant: &str, client_id: &str, system_assigned: bool) -> anyhow::Result<()> {
        self.with_app(tenant, client_id, |_| {})?;
        let mut world = self.shared.lock();
        let identities = &mut world.identities;
        identities.retain(|own| !own.client_id.eq_ignore_ascii_case(client_id));
        if system_assigned {
            for own in identities.iter_mut() {
                own.system_assigned = false;
            }
        }
        identities.push(NodeIdentity {
            tenant: tenant.to_ascii_lowercase(),
            client_id: client_id.to_ascii_lowercase(),
            system_assigned,
        });
        Ok(())
    }

    /// Takes all managed identities from the node.
    pub fn clear_identities(&self) {
        self.shared.lock().identities.clear();
    }
}
