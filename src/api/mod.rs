//! What users write and what they read back: types, validation, printer columns. Pure.

pub mod connection;
pub mod partner;
pub mod reason;
#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use connection::GraphConnection;
pub use partner::ComplianceManagementPartner;

/// The field manager of every write to the API server, and the reporting controller of every event.
pub const FIELD_MANAGER: &str = "compliance-partner-operator";

/// The finalizer of a resource whose deletion resets its object in Graph.
pub const FINALIZER: &str = "intune.msgraph.dev/reset";

/// The annotation that asks for a pass now: any new value.
pub const RECONCILE_ANNOTATION: &str = "intune.msgraph.dev/reconcile-requested-at";

/// The types of all conditions that the operator sets.
pub const CONDITION_TYPES: [&str; 7] = [
    "Ready",
    "Synced",
    "Reconciling",
    "Stalled",
    "PartnerEnabled",
    "HeartbeatFresh",
    "CleanupBlocked",
];

/// A reference to an object of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct LocalReference {
    /// The name of the object, in the same namespace.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
}

/// One condition, with the fields and bounds of Kubernetes' own conditions.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// The type of the condition.
    #[schemars(
        length(max = 316),
        regex(
            pattern = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
        )
    )]
    pub r#type: String,

    /// True, False or Unknown.
    pub status: ConditionStatus,

    /// The generation that the condition was judged for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64", range(min = 0))]
    pub observed_generation: Option<i64>,

    /// When the status last changed.
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub last_transition_time: String,

    /// Why the condition has its status, in one word.
    #[schemars(
        length(min = 1, max = 1024),
        regex(pattern = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")
    )]
    pub reason: String,

    /// What happened and what to do.
    #[schemars(length(max = 32768))]
    pub message: String,
}

/// The status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(extend("maxLength" = 7))]
#[allow(missing_docs)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// Finds a condition by its type.
#[must_use]
pub fn condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.r#type == kind)
}

/// Both CRDs, in the order in which they are printed.
#[must_use]
pub fn crds() -> [CustomResourceDefinition; 2] {
    [ComplianceManagementPartner::crd(), GraphConnection::crd()].map(as_users_read_it)
}

/// Takes out what kube's derive and rustdoc leave in a CRD, but which has no place in files that people read and diff.
fn as_users_read_it(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        // The API server leaves the key out where a list is empty.
        if version.selectable_fields.as_ref().is_some_and(Vec::is_empty) {
            version.selectable_fields = None;
        }
        let schema = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut());
        if let Some(root) = schema {
            root.title = None;
            // The derive has status as an Option, which schemars takes for nullable: `kubectl explain` would say so too.
            if let Some(status) = root.properties.as_mut().and_then(|fields| fields.get_mut("status")) {
                status.nullable = None;
            }
            join_lines(root);
        }
    }
    crd
}

/// Makes one line of each paragraph of every description: doc comments are wrapped for this source, kubectl wraps anew.
fn join_lines(schema: &mut JSONSchemaProps) {
    if let Some(description) = &mut schema.description {
        let paragraphs: Vec<_> = description.split("\n\n").map(|text| text.replace('\n', " ")).collect();
        *description = paragraphs.join("\n\n");
    }
    schema
        .properties
        .iter_mut()
        .flat_map(|fields| fields.values_mut())
        .for_each(join_lines);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        join_lines(items);
    }
}

/// A CRD as YAML, as the files in `crds/` have it.
///
/// # Errors
/// Where it cannot be written as YAML.
pub fn to_yaml(crd: &CustomResourceDefinition) -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(crd)
}
