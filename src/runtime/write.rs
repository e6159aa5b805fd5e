//! Writes of status, by server-side apply under our field manager.

use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::metrics::Metrics;
use super::object::ObjectKey;
use crate::api::FIELD_MANAGER;

/// How long the API server may take to answer.
const LONGEST_WRITE: Duration = Duration::from_secs(15);

/// How a write of status ended.
#[derive(Debug)]
pub enum Write {
    /// It was taken, and the object has this resourceVersion now.
    Done(String),
    /// The object is gone.
    Gone,
}

/// A status that could not be written; it has been told.
#[derive(Clone, Copy, Debug)]
pub struct NotWritten;

/// Writes the whole status of one object.
///
/// The uid is part of what is applied, so that an object of the same name that was made meanwhile is not written to.
///
/// # Errors
/// Whatever the API server refuses; the caller tries again later.
pub async fn status<K, S>(
    client: &Client,
    metrics: &Metrics,
    key: &ObjectKey,
    uid: &str,
    status: &S,
) -> Result<Write, kube::Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    S: Serialize,
{
    let api: Api<kube::core::PartialObjectMeta<K>> = Api::namespaced(client.clone(), &key.namespace);
    let body = serde_json::json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": { "name": key.name, "namespace": key.namespace, "uid": uid },
        "status": status,
    });
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let body = Patch::Apply(body);
    let write = tokio::time::timeout(LONGEST_WRITE, api.patch_status(&key.name, &parameters, &body)).await;
    match write.unwrap_or(Err(kube::Error::Service("no answer in time".into()))) {
        Ok(object) => {
            metrics.status_written();
            Ok(Write::Done(object.resource_version().unwrap_or_default()))
        }
        // A conflict says that the uid is another one by now, or that the API server was busy: the watch tells which.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Write::Gone),
        Err(error) => Err(error),
    }
}
