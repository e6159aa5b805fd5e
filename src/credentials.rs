//! The only code that reads a Secret or asks for a ServiceAccount's token. What it gets goes to `graph/` as a
//! `Credential`, which neither shows nor stores itself, and is zeroed when it goes.

mod consent;
mod operator;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use tokio::sync::SetOnce;
use zeroize::{Zeroize, Zeroizing};

pub use consent::Identity;
pub use operator::{ManagedIdentitySource, OperatorTokenSource};

use crate::graph::certificate::Certificate;
use crate::graph::session::{CredentialFailure, CredentialSource, Versioned};
use crate::graph::token::{Credential, Proof};
use crate::runtime::text;

/// How long the API server may take to answer.
const LONGEST_READ: Duration = Duration::from_secs(15);

/// How long a ServiceAccount's token is valid, in seconds: the shortest that Kubernetes gives. It is for one exchange.
const TOKEN_SECONDS: i64 = 600;

/// The annotation by which a ServiceAccount says for which app it stands (Azure Workload Identity's own).
const CLIENT_ID: &str = "azure.workload.identity/client-id";

/// The entries of a Secret of type `kubernetes.io/tls`.
const CERTIFICATE: &str = "tls.crt";
const PRIVATE_KEY: &str = "tls.key";

/// A namespace, and how what is in it is read.
#[derive(Clone)]
pub struct Namespace {
    client: Client,
    name: String,
    identity: Arc<SetOnce<Identity>>,
}

impl Namespace {
    /// The namespace `name`. `identity` is the operator's own, once it is known, for the advice on how to grant it
    /// something.
    #[must_use]
    pub fn new(client: Client, name: &str, identity: Arc<SetOnce<Identity>>) -> Self {
        Self {
            client,
            name: name.to_owned(),
            identity,
        }
    }

    async fn secret(&self, name: &str, purpose: &str) -> Result<Contents, CredentialFailure> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.name);
        let mut secret = match answered(api.get(name)).await {
            Ok(secret) => secret,
            Err(Refusal::NotFound) => {
                return Err(CredentialFailure::NotFound(format!(
                    "Secret {name} does not exist in this namespace: create it with {purpose}."
                )));
            }
            Err(Refusal::Forbidden) => {
                let advice = consent::to_read_secret(&self.identity, &self.name, name).await;
                return Err(CredentialFailure::NotGranted(advice));
            }
            Err(Refusal::Other(why)) => {
                let message = format!("The API server did not give Secret {name}.");
                return Err(self.unavailable("Secret", name, &why, message));
            }
        };
        Ok(Contents {
            version: version(&secret),
            entries: std::mem::take(&mut secret.data).unwrap_or_default(),
        })
    }

    async fn account(&self, name: &str) -> Result<ServiceAccount, CredentialFailure> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.name);
        match answered(api.get(name)).await {
            Ok(account) => Ok(account),
            Err(refusal) => Err(self.account_failure(name, refusal).await),
        }
    }

    async fn token(&self, name: &str, audience: &str) -> Result<Zeroizing<String>, CredentialFailure> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.name);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: Some(vec![audience.to_owned()]),
                expiration_seconds: Some(TOKEN_SECONDS),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let created = answered(api.create_token_request(name, &PostParams::default(), &request)).await;
        match created.map(|created| created.status.and_then(|status| status.token)) {
            Ok(Some(token)) => Ok(Zeroizing::new(token)),
            Ok(None) => {
                let message = format!("The API server gave no token for ServiceAccount {name}.");
                Err(CredentialFailure::Unavailable(message))
            }
            Err(refusal) => Err(self.account_failure(name, refusal).await),
        }
    }

    async fn account_failure(&self, name: &str, refusal: Refusal) -> CredentialFailure {
        match refusal {
            Refusal::NotFound => CredentialFailure::AccountNotFound(format!(
                "ServiceAccount {name} does not exist in this namespace: create it with the annotation {CLIENT_ID}."
            )),
            Refusal::Forbidden => {
                let advice = consent::to_use_account(&self.identity, &self.name, name).await;
                CredentialFailure::NotGranted(advice)
            }
            Refusal::Other(why) => {
                let message = format!("The API server did not give ServiceAccount {name}, or a token of it.");
                self.unavailable("ServiceAccount", name, &why, message)
            }
        }
    }

    fn unavailable(&self, kind: &'static str, name: &str, error: &str, message: String) -> CredentialFailure {
        tracing::debug!(
            kind,
            namespace = self.name,
            name,
            error,
            "cannot read what a connection needs"
        );
        CredentialFailure::Unavailable(message)
    }
}

/// Why the API server did not give what was asked for.
enum Refusal {
    NotFound,
    Forbidden,
    /// Anything else, in words fit for the log.
    Other(String),
}

async fn answered<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Refusal> {
    let answer = tokio::time::timeout(LONGEST_READ, request).await;
    match answer.unwrap_or(Err(kube::Error::Service("no answer in time".into()))) {
        Ok(object) => Ok(object),
        Err(kube::Error::Api(status)) if status.code == 404 => Err(Refusal::NotFound),
        Err(kube::Error::Api(status)) if status.code == 403 => Err(Refusal::Forbidden),
        // What the library says of it may hold a part of it.
        Err(kube::Error::SerdeError(_)) => Err(Refusal::Other("an answer that cannot be read".to_owned())),
        Err(error) => Err(Refusal::Other(text::of_error(&error))),
    }
}

/// What tells an object from the one before of the same name.
fn version(object: &impl ResourceExt) -> String {
    let uid = object.uid().unwrap_or_default();
    let resource_version = object.resource_version().unwrap_or_default();
    format!("{uid}/{resource_version}")
}

/// What is in a Secret; zeroed when it goes.
struct Contents {
    version: String,
    entries: BTreeMap<String, ByteString>,
}

impl Contents {
    fn take(&mut self, key: &str) -> Option<Zeroizing<Vec<u8>>> {
        self.entries.remove(key).map(|value| Zeroizing::new(value.0))
    }
}

impl Drop for Contents {
    fn drop(&mut self) {
        for value in self.entries.values_mut() {
            value.0.zeroize();
        }
    }
}

/// A client secret in a Secret, read anew at each exchange.
pub struct ClientSecretSource {
    namespace: Namespace,
    name: String,
    key: String,
}

impl ClientSecretSource {
    /// The key `key` of the Secret `name`.
    #[must_use]
    pub fn new(namespace: Namespace, name: &str, key: &str) -> Self {
        Self {
            namespace,
            name: name.to_owned(),
            key: key.to_owned(),
        }
    }
}

#[async_trait]
impl CredentialSource for ClientSecretSource {
    async fn read(&self) -> Result<Versioned, CredentialFailure> {
        let Self { namespace, name, key } = self;
        let purpose = format!("the client secret under the key {key}");
        let mut contents = namespace.secret(name, &purpose).await?;
        let bytes = contents.take(key).ok_or_else(|| {
            CredentialFailure::KeyNotFound(format!(
                "Secret {name} has no key {key}: add it, or name the key in auth.clientSecret.secretRef.key."
            ))
        })?;
        let secret = client_secret(&bytes).map_err(|why| {
            CredentialFailure::Invalid(format!("Secret {name}, key {key}: {why}. Nothing was sent to Entra."))
        })?;
        Ok(Versioned {
            credential: Credential::App(Proof::ClientSecret(secret)),
            version: std::mem::take(&mut contents.version),
        })
    }
}

/// The client secret as Entra is to get it: one trailing line end, which editors and shells add, is cut.
fn client_secret(bytes: &[u8]) -> Result<Zeroizing<String>, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "the value is no UTF-8 text")?;
    let text = text
        .strip_suffix('\n')
        .map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return Err("the value is empty");
    }
    if text.chars().any(char::is_control) {
        return Err("the value has a control character, such as a line end, inside; was more than the secret pasted?");
    }
    if !text.chars().all(text::is_visible) {
        return Err("the value has an invisible character, such as a byte order mark; copy it anew");
    }
    Ok(Zeroizing::new(text.to_owned()))
}

/// A certificate and its key in a Secret of type `kubernetes.io/tls`, read anew at each exchange.
pub struct ClientCertificateSource {
    namespace: Namespace,
    name: String,
}

impl ClientCertificateSource {
    /// The Secret `name`.
    #[must_use]
    pub fn new(namespace: Namespace, name: &str) -> Self {
        Self {
            namespace,
            name: name.to_owned(),
        }
    }
}

#[async_trait]
impl CredentialSource for ClientCertificateSource {
    async fn read(&self) -> Result<Versioned, CredentialFailure> {
        let Self { namespace, name } = self;
        let purpose = format!("the certificate under {CERTIFICATE} and its key under {PRIVATE_KEY}");
        let mut contents = namespace.secret(name, &purpose).await?;
        let (certificate, key) = (contents.take(CERTIFICATE), contents.take(PRIVATE_KEY));
        let lacks = |key: &str| {
            CredentialFailure::KeyNotFound(format!(
                "Secret {name} has no key {key}: it has to be of type kubernetes.io/tls, as \
                 `kubectl create secret tls` makes it."
            ))
        };
        let certificate = certificate.ok_or_else(|| lacks(CERTIFICATE))?;
        let key = key.ok_or_else(|| lacks(PRIVATE_KEY))?;
        let certificate = Certificate::from_pem(&certificate, &key).map_err(|why| {
            CredentialFailure::Invalid(format!(
                "Secret {name}, {CERTIFICATE} and {PRIVATE_KEY}: {why}. Nothing was sent to Entra."
            ))
        })?;
        Ok(Versioned {
            credential: Credential::App(Proof::ClientCertificate(certificate)),
            version: std::mem::take(&mut contents.version),
        })
    }
}

/// A ServiceAccount that the app registration trusts: a token of it is asked for at each exchange.
pub struct ServiceAccountSource {
    namespace: Namespace,
    name: String,
    client_id: String,
    audience: &'static str,
}

impl ServiceAccountSource {
    /// The ServiceAccount `name`, which has to carry the client id of the app, with tokens for `audience`.
    #[must_use]
    pub fn new(namespace: Namespace, name: &str, client_id: &str, audience: &'static str) -> Self {
        Self {
            namespace,
            name: name.to_owned(),
            client_id: client_id.to_owned(),
            audience,
        }
    }

    /// The account, if it stands for this connection's app: whoever may make a connection is not yet one who may use
    /// every account of the namespace.
    async fn account(&self) -> Result<ServiceAccount, CredentialFailure> {
        let Self { name, client_id, .. } = self;
        let account = self.namespace.account(name).await?;
        let stands_for = account
            .annotations()
            .get(CLIENT_ID)
            .map(String::as_str)
            .unwrap_or_default();
        if stands_for.eq_ignore_ascii_case(client_id) {
            return Ok(account);
        }
        let message = format!(
            "ServiceAccount {name} does not carry the annotation {CLIENT_ID} with this connection's spec.clientId: \
             kubectl -n {} annotate --overwrite serviceaccount {name} {CLIENT_ID}={client_id}",
            self.namespace.name
        );
        Err(CredentialFailure::AccountInvalid(message))
    }
}

#[async_trait]
impl CredentialSource for ServiceAccountSource {
    async fn read(&self) -> Result<Versioned, CredentialFailure> {
        let account = self.account().await?;
        let token = self.namespace.token(&self.name, self.audience).await?;
        Ok(Versioned {
            credential: Credential::App(Proof::FederatedToken(token)),
            version: version(&account),
        })
    }

    async fn version(&self) -> Result<String, CredentialFailure> {
        self.account().await.map(|account| version(&account))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_trailing_line_end_is_cut_and_nothing_else() {
        for (value, expected) in [
            ("a~b+c", "a~b+c"),
            ("s\n", "s"),
            ("s\r\n", "s"),
            (" s ", " s "),
            ("é\"%20", "é\"%20"),
        ] {
            assert_eq!(client_secret(value.as_bytes()).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn what_cannot_be_a_client_secret_is_refused_before_any_request() {
        for value in [
            &b""[..],
            b"\n",
            b"a\nb",
            b"a\n\n",
            b"a\0",
            b"\xff",
            b"a\tb",
            b"\xef\xbb\xbfs",
            b"s\xe2\x80\x8b",
        ] {
            assert!(client_secret(value).is_err(), "{value:?}");
        }
    }
}
