//! Writes of status, by server-side apply under our field manager.

use k8s_openapi::NamespaceResourceScope;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::index::ObjectKey;
use super::metrics::Metrics;
use crate::api::FIELD_MANAGER;

/// How a write of status ended.
#[derive(Debug)]
pub enum Write {
    /// It was taken, and the object has this resourceVersion now.
    Done(String),
    /// The object is gone, or another one has its name.
    Gone,
}

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
    match api.patch_status(&key.name, &parameters, &Patch::Apply(body)).await {
        Ok(object) => {
            metrics.status_written();
            Ok(Write::Done(object.resource_version().unwrap_or_default()))
        }
        // 409: the uid is another one by now.
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(Write::Gone),
        Err(error) => Err(error),
    }
}
