//! The kinds of `auth`: how a connection names each of them, and all that one by it takes.

use graph_simulator::Certified;
use serde_json::{Value, json};

use crate::{OPERATOR, Scratch, World, merge};

/// A kind of `auth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client secret in a Secret.
    Secret,
    /// A certificate and its key in a Secret.
    Certificate,
    /// A token of a `ServiceAccount`.
    Account,
    /// The operator's own projected token.
    Operator,
    /// The metadata service of the node.
    Node,
}

impl Kind {
    /// The name of the connection that [`World::stage`] makes, and of the Secret or `ServiceAccount` that this names.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Certificate => "certificate",
            Self::Account => "account",
            Self::Operator => "operator",
            Self::Node => "node",
        }
    }
}

/// `spec.auth` of a connection by this kind; `name` is its Secret's or `ServiceAccount`'s, where it names one.
#[must_use]
pub fn auth(kind: Kind, name: &str) -> Value {
    let reference = json!({"name": name});
    match kind {
        Kind::Secret => json!({"clientSecret": {"secretRef": reference}}),
        Kind::Certificate => json!({"clientCertificate": {"secretRef": reference}}),
        Kind::Account => json!({"workloadIdentity": {"serviceAccountRef": reference}}),
        Kind::Operator => json!({"operatorIdentity": {}}),
        Kind::Node => json!({"managedIdentity": {}}),
    }
}

/// What a Secret of the type `kubernetes.io/tls` holds of a certificate.
#[must_use]
pub fn tls(certified: &Certified) -> Value {
    json!({"tls.crt": certified.certificate_pem, "tls.key": certified.key_pkcs8_pem})
}

/// An app, and what proves to be it: of each kind that which [`World::stage`] takes.
#[derive(Clone, Copy)]
pub struct Proofs<'a> {
    /// The app's client id. It is an app of the world's tenant already.
    pub client_id: &'a str,
    /// Its secret.
    pub secret: &'a str,
    /// Its certificate.
    pub certified: &'a Certified,
    /// The audience of the tokens that it trusts.
    pub audience: &'a str,
    /// The folder that the operator's token is projected into, as `token`.
    pub folder: &'a Scratch,
}

impl World {
    /// A connection of the kind's own name, and all that it takes: a Secret or a `ServiceAccount` of that name and the
    /// consent to use it, the operator's token (number 0), and a tenant that knows the app by it. `spec` is merged over
    /// the connection's.
    ///
    /// # Errors
    /// If there is no such app, or the API server refuses something.
    pub async fn stage(&self, kind: Kind, by: Proofs<'_>, spec: Value) -> anyhow::Result<()> {
        let (graph, name) = (self.graph(), kind.name());
        match kind {
            Kind::Secret => {
                graph.set_secret(&self.tenant, by.client_id, by.secret)?;
                self.secret(name, json!({"client-secret": by.secret})).await?;
                self.consent(name).await?;
            }
            Kind::Certificate => {
                let known = vec![by.certified.certificate_pem.clone()];
                graph.set_certificates(&self.tenant, by.client_id, known)?;
                self.secret(name, tls(by.certified)).await?;
                self.consent(name).await?;
            }
            Kind::Account => {
                self.trust_as(by.client_id, name, by.audience).await?;
                self.account(name, by.client_id).await?;
                self.consent_to_account(name).await?;
            }
            Kind::Operator => {
                self.trust_as(by.client_id, OPERATOR, by.audience).await?;
                self.project(by.folder, 0, by.audience).await?;
            }
            Kind::Node => graph.assign_identity(&self.tenant, by.client_id, false)?,
        }
        let mut whole = json!({"clientId": by.client_id, "auth": auth(kind, name)});
        merge(&mut whole, spec);
        self.connection(name, whole).await
    }
}
