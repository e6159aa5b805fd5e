//! The operator's writes to the API server, under our field manager: status by server-side apply, and finalizers.

use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::metrics::Metrics;
use super::object::{Object, Written};
use super::schema::Installed;
use super::text;
use crate::api::FIELD_MANAGER;

/// How long the API server may take to answer.
const LONGEST_WRITE: Duration = Duration::from_secs(15);

/// A status that could not be written; the log has told it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the status could not be written")]
pub struct NotWritten;

/// What writes take.
#[derive(Clone)]
pub struct Writer {
    /// The API server.
    pub client: Client,
    /// Counters.
    pub metrics: Metrics,
    /// What the installed CRDs know.
    pub installed: Installed,
}

impl Writer {
    /// Whether writing `next` over `previous` would change what is stored: an older CRD drops what it does not know.
    pub fn would_change<K, Status>(&self, previous: &Status, next: &Status) -> bool
    where
        K: Resource<DynamicType = ()>,
        Status: Serialize + PartialEq,
    {
        previous != next && self.installed.tells_apart(&K::kind(&()), previous, next)
    }
}

/// Writes the finalizers of one object, as they were read and changed. `false` where the object is gone.
///
/// # Errors
/// Where the API server refuses, as it does where the object has changed since it was read, or does not answer within 15
/// seconds; the caller tries again later, by what the watch brings.
pub async fn finalizers<K, Spec, Status>(
    writer: &Writer,
    object: &Object<Spec, Status>,
    finalizers: &[String],
) -> Result<bool, NotWritten>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let key = &object.key;
    let api: Api<kube::core::PartialObjectMeta<K>> = Api::namespaced(writer.client.clone(), &key.namespace);
    // The resourceVersion makes sure that no list is written over one that somebody has changed meanwhile.
    let body = serde_json::json!({
        "metadata": { "resourceVersion": object.resource_version, "finalizers": finalizers },
    });
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let body = Patch::Merge(body);
    let write = tokio::time::timeout(LONGEST_WRITE, api.patch_metadata(&key.name, &parameters, &body)).await;
    match write.unwrap_or(Err(kube::Error::Service("no answer in time".into()))) {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(kube::Error::Api(status)) if status.code == 409 => {
            tracing::debug!(name = %key, "the finalizers changed meanwhile; they are written anew");
            Err(NotWritten)
        }
        Err(error) => {
            let error = text::of_error(&error);
            tracing::warn!(kind = %K::kind(&()), name = %key, error, "the finalizers could not be written; it is tried again");
            Err(NotWritten)
        }
    }
}

/// Writes the whole status of one object. `None` where the object is gone.
///
/// The uid is part of what is applied, so that an object of the same name that was made meanwhile is not written to.
///
/// # Errors
/// Where the API server refuses or does not answer within 15 seconds; the caller tries again later.
pub async fn status<K, Spec, Status>(
    writer: &Writer,
    object: &Object<Spec, Status>,
    status: &Status,
) -> Result<Option<Written<Status>>, NotWritten>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    Status: Serialize + Clone,
{
    let key = &object.key;
    let api: Api<kube::core::PartialObjectMeta<K>> = Api::namespaced(writer.client.clone(), &key.namespace);
    let mut fitting = serde_json::json!(status);
    writer.installed.fit(&K::kind(&()), &mut fitting);
    // The API server reads an apply as YAML, which knows characters that no text may hold and others that it takes for
    // line ends: one of them, be it in what somebody else wrote into status, would refuse or change the whole of it.
    text::clean_json(&mut fitting);
    let body = serde_json::json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": { "name": key.name, "namespace": key.namespace, "uid": object.uid },
        "status": fitting,
    });
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let body = Patch::Apply(body);
    let write = tokio::time::timeout(LONGEST_WRITE, api.patch_status(&key.name, &parameters, &body)).await;
    match write.unwrap_or(Err(kube::Error::Service("no answer in time".into()))) {
        Ok(taken) => {
            writer.metrics.status_written();
            Ok(Some(Written {
                resource_version: taken.resource_version().unwrap_or_default(),
                status: status.clone(),
            }))
        }
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        // A conflict says that the uid is another one by now, or that the API server was busy: the watch tells which.
        Err(error) => {
            let error = text::of_error(&error);
            writer.installed.doubt();
            tracing::warn!(kind = %K::kind(&()), name = %key, error, "the status could not be written; it is tried again");
            Err(NotWritten)
        }
    }
}
