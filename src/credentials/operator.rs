//! The operator's own identities: the token that Kubernetes projects into its pod, and what its node has.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

use crate::graph::session::{CredentialFailure, CredentialSource, Versioned};
use crate::graph::token::{Credential, Proof};

/// The most that is read of a token's file, in bytes. Kubernetes' tokens have some two thousand.
const LARGEST_TOKEN: u64 = 64 * 1024;

/// The file into which Kubernetes projects the operator's own token, read anew at each exchange: the kubelet replaces
/// it by and by, and its place has moved between versions of the webhook that sets it.
pub struct OperatorTokenSource {
    path: Option<PathBuf>,
}

impl OperatorTokenSource {
    /// The token at `path`; `None` where the operator was started without one.
    #[must_use]
    pub const fn new(path: Option<PathBuf>) -> Self {
        Self { path }
    }

    fn path(&self) -> Result<&Path, CredentialFailure> {
        self.path.as_deref().ok_or_else(|| {
            CredentialFailure::AccountInvalid(
                "The operator has no federated token: AZURE_FEDERATED_TOKEN_FILE is not set. Label its pod \
                 azure.workload.identity/use=true, or project a ServiceAccount token and name its file there."
                    .to_owned(),
            )
        })
    }
}

fn unreadable() -> CredentialFailure {
    CredentialFailure::AccountInvalid(
        "The operator's federated token cannot be read: the file that AZURE_FEDERATED_TOKEN_FILE names has to hold one \
         token."
            .to_owned(),
    )
}

/// The file that the path leads to now: Kubernetes swaps a link for each new token.
async fn version(path: &Path) -> Result<String, CredentialFailure> {
    let found = tokio::fs::metadata(path).await.map_err(|_| unreadable())?;
    Ok(version_of(&found))
}

fn version_of(file: &Metadata) -> String {
    format!("{}/{}.{}", file.ino(), file.mtime(), file.mtime_nsec())
}

#[async_trait]
impl CredentialSource for OperatorTokenSource {
    async fn read(&self) -> Result<Versioned, CredentialFailure> {
        let path = self.path()?;
        // Of a pipe nobody knows when it ends.
        let is_file = tokio::fs::metadata(path).await.is_ok_and(|found| found.is_file());
        if !is_file {
            return Err(unreadable());
        }
        let file = tokio::fs::File::open(path).await.map_err(|_| unreadable())?;
        let found = file.metadata().await.map_err(|_| unreadable())?;
        if found.len() > LARGEST_TOKEN {
            return Err(unreadable());
        }
        let version = version_of(&found);
        let mut token = Zeroizing::new(String::new());
        let mut file = file.take(LARGEST_TOKEN);
        file.read_to_string(&mut token).await.map_err(|_| unreadable())?;
        let token = Zeroizing::new(token.trim().to_owned());
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if token.is_empty() || !token.bytes().all(is_token) {
            return Err(unreadable());
        }
        Ok(Versioned {
            credential: Credential::App(Proof::FederatedToken(token)),
            version,
        })
    }

    async fn version(&self) -> Result<String, CredentialFailure> {
        version(self.path()?).await
    }
}

/// The managed identity of the operator's node: there is nothing to read.
pub struct ManagedIdentitySource;

#[async_trait]
impl CredentialSource for ManagedIdentitySource {
    async fn read(&self) -> Result<Versioned, CredentialFailure> {
        Ok(Versioned {
            credential: Credential::ManagedIdentity,
            version: String::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(path: Option<PathBuf>) -> Result<String, CredentialFailure> {
        let versioned = OperatorTokenSource::new(path).read().await?;
        match versioned.credential {
            Credential::App(Proof::FederatedToken(token)) => Ok(token.as_str().to_owned()),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_token_is_read_from_where_the_link_leads_now() {
        let folder = std::env::temp_dir().join(format!("federated-token-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (link, next) = (folder.join("token"), folder.join("next"));
        let source = OperatorTokenSource::new(Some(link.clone()));
        let mut versions = Vec::new();
        for token in ["first.token", "second.token\n"] {
            let file = folder.join(token.trim());
            std::fs::write(&file, token).unwrap();
            std::os::unix::fs::symlink(&file, &next).unwrap();
            std::fs::rename(&next, &link).unwrap();
            assert_eq!(read(Some(link.clone())).await.unwrap(), token.trim());
            versions.push(source.version().await.unwrap());
        }
        assert_ne!(versions[0], versions[1]);
        for bad in ["", "\n", "two\ntokens", "not a token", "\u{e9}"] {
            std::fs::write(&link, bad).unwrap();
            assert!(
                matches!(
                    read(Some(link.clone())).await,
                    Err(CredentialFailure::AccountInvalid(_))
                ),
                "{bad:?}"
            );
        }
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(read(Some(link)).await, Err(unreadable()));
        let Err(CredentialFailure::AccountInvalid(message)) = read(None).await else {
            panic!("no file is no token")
        };
        assert!(message.contains("AZURE_FEDERATED_TOKEN_FILE"), "{message}");
    }
}
