//! The only code that reads a Secret. What it reads goes to `graph/` as a `Credential`, which neither shows nor stores
//! itself, and is zeroed when it goes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};
use tokio::sync::SetOnce;
use zeroize::{Zeroize, Zeroizing};

use crate::graph::session::{CredentialFailure, CredentialSource, Versioned};
use crate::graph::token::Credential;
use crate::runtime::text;

/// How long the API server may take to answer.
const LONGEST_READ: Duration = Duration::from_secs(15);

/// How long the advice on consent waits for the operator's name: right after the start it may not be known yet.
const LONGEST_WAIT_FOR_A_NAME: Duration = Duration::from_secs(5);

/// A client secret in a Secret, read anew at each exchange.
pub struct ClientSecretSource {
    client: Client,
    namespace: String,
    name: String,
    key: String,
    identity: Arc<SetOnce<Identity>>,
}

/// Who the operator is to the API server, for the advice on how to grant it something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(String);

impl Identity {
    /// From the user name that the API server gives the operator.
    #[must_use]
    pub fn new(username: &str) -> Self {
        Self(username.to_owned())
    }

    /// The flag of `kubectl create rolebinding` that names the operator.
    fn subject(&self) -> String {
        match self.0.strip_prefix("system:serviceaccount:") {
            Some(account) => format!("--serviceaccount={account}"),
            None => format!("--user={}", self.0),
        }
    }
}

impl ClientSecretSource {
    /// The key `key` of the Secret `namespace`/`name`.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str, key: &str, identity: Arc<SetOnce<Identity>>) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            key: key.to_owned(),
            identity,
        }
    }

    async fn not_granted(&self) -> CredentialFailure {
        let Self { namespace, name, .. } = self;
        // Cut, so that both commands are whole in a condition's message for the longest name of a Secret.
        let role: String = name.chars().take(40).collect();
        let role = format!("{}-reader", role.trim_end_matches(['-', '.']));
        let identity = tokio::time::timeout(LONGEST_WAIT_FOR_A_NAME, self.identity.wait()).await;
        let subject = identity.map_or_else(|_| "--serviceaccount=…".to_owned(), Identity::subject);
        CredentialFailure::NotGranted(format!(
            "The operator may not read Secret {name}. Grant it this one Secret: \
             kubectl -n {namespace} create role {role} --verb=get --resource=secrets --resource-name={name} && \
             kubectl -n {namespace} create rolebinding {role} --role={role} {subject}"
        ))
    }

    fn not_found(&self) -> CredentialFailure {
        let Self { name, key, .. } = self;
        CredentialFailure::NotFound(format!(
            "Secret {name} does not exist in this namespace: create it with the client secret under the key {key}."
        ))
    }
}

#[async_trait]
impl CredentialSource for ClientSecretSource {
    async fn read(&self) -> Result<Versioned, CredentialFailure> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let read = tokio::time::timeout(LONGEST_READ, api.get(&self.name)).await;
        let mut secret = match read.unwrap_or(Err(kube::Error::Service("no answer in time".into()))) {
            Ok(secret) => secret,
            Err(kube::Error::Api(status)) if status.code == 404 => return Err(self.not_found()),
            Err(kube::Error::Api(status)) if status.code == 403 => return Err(self.not_granted().await),
            Err(error) => {
                tracing::debug!(
                    secret = self.name,
                    namespace = self.namespace,
                    error = text::clean(&error.to_string(), 300),
                    "cannot read the Secret"
                );
                let message = format!("The API server did not answer when Secret {} was read.", self.name);
                return Err(CredentialFailure::Unavailable(message));
            }
        };
        let version = format!(
            "{}/{}",
            secret.uid().unwrap_or_default(),
            secret.resource_version().unwrap_or_default()
        );
        let mut found = None;
        for (key, mut value) in std::mem::take(&mut secret.data).unwrap_or_default() {
            if key == self.key {
                found = Some(Zeroizing::new(std::mem::take(&mut value.0)));
            }
            value.0.zeroize();
        }
        let Self { name, key, .. } = self;
        let bytes = found.ok_or_else(|| {
            CredentialFailure::KeyNotFound(format!(
                "Secret {name} has no key {key}: add it, or name the key in auth.clientSecret.secretRef.key."
            ))
        })?;
        let secret = client_secret(&bytes).map_err(|why| {
            CredentialFailure::Invalid(format!("Secret {name}, key {key}: {why}. Nothing was sent to Entra."))
        })?;
        Ok(Versioned {
            credential: Credential::ClientSecret(secret),
            version,
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
    Ok(Zeroizing::new(text.to_owned()))
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
        for value in [&b""[..], b"\n", b"a\nb", b"a\n\n", b"a\0", b"\xff", b"a\tb"] {
            assert!(client_secret(value).is_err(), "{value:?}");
        }
    }

    #[test]
    fn the_advice_names_the_operator_as_kubectl_wants_it() {
        assert_eq!(
            Identity::new("system:serviceaccount:ops:cpo").subject(),
            "--serviceaccount=ops:cpo"
        );
        assert_eq!(Identity::new("jane").subject(), "--user=jane");
    }
}
