//! Live reads: for what may not be decided by the watch's copy, which may be late.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};

use super::object::ObjectKey;
use super::text;
use crate::api::GraphConnection;

/// How long the API server may take to answer.
const LONGEST_READ: Duration = Duration::from_secs(10);

/// The API server could not say; the log has told it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the API server could not be asked")]
pub struct Unanswered;

/// Whether a connection exists.
///
/// # Errors
/// Where the API server refuses or does not answer within 10 seconds.
pub async fn connection_exists(client: &Client, key: &ObjectKey) -> Result<bool, Unanswered> {
    let api: Api<GraphConnection> = Api::namespaced(client.clone(), &key.namespace);
    let read = tokio::time::timeout(LONGEST_READ, api.get_metadata_opt(&key.name)).await;
    answered(read, "GraphConnection").map(|found| found.is_some())
}

/// Whether a namespace is being deleted, or gone.
///
/// # Errors
/// Where the API server refuses or does not answer within 10 seconds.
pub async fn namespace_is_terminating(client: &Client, name: &str) -> Result<bool, Unanswered> {
    let api: Api<Namespace> = Api::all(client.clone());
    let read = tokio::time::timeout(LONGEST_READ, api.get_metadata_opt(name)).await;
    let found: Option<PartialObjectMeta<Namespace>> = answered(read, "Namespace")?;
    Ok(found.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()))
}

fn answered<T>(
    read: Result<kube::Result<T>, tokio::time::error::Elapsed>,
    kind: &'static str,
) -> Result<T, Unanswered> {
    let error = match read {
        Ok(Ok(found)) => return Ok(found),
        Ok(Err(error)) => text::of_error(&error),
        Err(_) => "no answer in time".to_owned(),
    };
    tracing::warn!(kind, error, "a live read failed; it is tried again");
    Err(Unanswered)
}
