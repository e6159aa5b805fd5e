//! Whether the installed CRDs have all fields that this version reads and writes.
//!
//! An older one drops a spec field that it does not know, so that it is as if the user had left it out. A status with such
//! a field it refuses whole, as server-side apply does: what it does not know is left out of what is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{JSONSchemaProps, JSONSchemaPropsOrArray};
use kube::Client;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;

use super::metrics::Metrics;
use super::text;
use crate::api;

/// What the API server publishes of the kinds' group. Every account may read it, so it takes no right of its own.
const PUBLISHED: &str = "/openapi/v3/apis/intune.msgraph.dev/v1alpha1";

/// How long the API server may take to answer.
const LONGEST_READ: Duration = Duration::from_secs(30);

/// How soon it is asked again where it has not published the kinds yet.
const NOT_YET: Duration = Duration::from_secs(5);

/// The fields of a kind that the installed CRD lacks, by path, such as `status.drift[].example`.
type Missing = BTreeSet<String>;

/// What is known of the installed CRDs, shared by all that write.
#[derive(Clone, Default)]
pub struct Installed(Arc<Inner>);

#[derive(Default)]
struct Inner {
    missing: Mutex<BTreeMap<&'static str, Missing>>,
    doubt: Notify,
}

impl Installed {
    /// Takes out of a status what the installed CRD of `kind` does not know.
    pub fn fit(&self, kind: &str, status: &mut Value) {
        let missing = self.0.missing.lock().unwrap_or_else(PoisonError::into_inner);
        for path in missing.get(kind).into_iter().flatten() {
            if let Some(path) = path.strip_prefix("status.") {
                take_out(status, path);
            }
        }
    }

    /// Whether the installed CRD of `kind` knows anything of what differs between two statuses.
    pub fn tells_apart<Status: Serialize>(&self, kind: &str, one: &Status, other: &Status) -> bool {
        let older = {
            let missing = self.0.missing.lock().unwrap_or_else(PoisonError::into_inner);
            missing.get(kind).is_some_and(|missing| !missing.is_empty())
        };
        if !older {
            return true;
        }
        let [one, other] = [one, other].map(|status| {
            let mut fitting = serde_json::json!(status);
            self.fit(kind, &mut fitting);
            fitting
        });
        one != other
    }

    /// The API server has refused a write: the CRDs are looked at anew.
    pub fn doubt(&self) {
        self.0.doubt.notify_one();
    }

    fn know(&self, found: &[(&'static str, Missing)]) {
        *self.0.missing.lock().unwrap_or_else(PoisonError::into_inner) = found.iter().cloned().collect();
    }
}

fn take_out(value: &mut Value, path: &str) {
    let (name, rest) = path
        .split_once('.')
        .map_or((path, None), |(name, rest)| (name, Some(rest)));
    let Some(rest) = rest else {
        if let Some(fields) = value.as_object_mut() {
            fields.remove(name);
        }
        return;
    };
    let items = name.strip_suffix("[]");
    match value.get_mut(items.unwrap_or(name)) {
        Some(Value::Array(entries)) if items.is_some() => entries.iter_mut().for_each(|entry| take_out(entry, rest)),
        Some(inner) => take_out(inner, rest),
        None => {}
    }
}

/// The fields of a schema, and theirs.
#[derive(Debug, Default, Deserialize)]
struct Fields {
    #[serde(default)]
    properties: BTreeMap<String, Fields>,
    #[serde(default)]
    items: Option<Box<Fields>>,
}

impl Fields {
    /// Those of a CRD's schema.
    fn of(schema: &JSONSchemaProps) -> Self {
        let properties = schema.properties.iter().flatten();
        let items = match &schema.items {
            Some(JSONSchemaPropsOrArray::Schema(items)) => Some(Box::new(Self::of(items))),
            _ => None,
        };
        Self {
            properties: properties
                .map(|(name, schema)| (name.clone(), Self::of(schema)))
                .collect(),
            items,
        }
    }

    /// The paths of the fields that `other` lacks; of a field that is missing whole, its own path alone.
    fn missing_in(&self, other: &Self, path: &str, missing: &mut Missing) {
        for (name, own) in &self.properties {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            match other.properties.get(name) {
                Some(others) => own.missing_in(others, &path, missing),
                None => {
                    missing.insert(path);
                }
            }
        }
        if let (Some(own), Some(others)) = (&self.items, &other.items) {
            own.missing_in(others, &format!("{path}[]"), missing);
        }
    }
}

#[derive(Deserialize)]
struct Document {
    components: Components,
}

#[derive(Deserialize)]
struct Components {
    schemas: BTreeMap<String, Fields>,
}

/// Looks for missing fields at once, then each `interval` and where there is doubt; tells what it finds when that has
/// changed.
pub async fn watch(client: Client, metrics: Metrics, installed: Installed, interval: Duration) {
    let mut told: Option<Vec<(&'static str, Missing)>> = None;
    loop {
        let found = match tokio::time::timeout(LONGEST_READ, missing(&client)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                let error = text::of_error(&error);
                tracing::debug!(error, "the published schemas cannot be read");
                let soon = NOT_YET.min(interval);
                let _ = tokio::time::timeout(soon, installed.0.doubt.notified()).await;
                continue;
            }
            Err(_) => continue,
        };
        if told.as_ref() != Some(&found) {
            installed.know(&found);
            for (kind, fields) in &found {
                tell(kind, fields, told.is_some());
                metrics.fields_missing(kind, fields.len());
            }
            told = Some(found);
        }
        let _ = tokio::time::timeout(interval, installed.0.doubt.notified()).await;
    }
}

fn tell(kind: &'static str, fields: &Missing, before: bool) {
    if !fields.is_empty() {
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        let fields = fields.join(", ");
        tracing::warn!(
            kind,
            fields,
            "the installed CustomResourceDefinition is older than the operator: these fields are dropped by the API server; \
             apply the files in crds/"
        );
    } else if before {
        tracing::info!(kind, "the installed CustomResourceDefinition has all fields");
    }
}

/// The fields of each kind that the installed CRD lacks.
async fn missing(client: &Client) -> kube::Result<Vec<(&'static str, Missing)>> {
    let request = hyper::Request::get(PUBLISHED)
        .body(Vec::new())
        .map_err(kube::Error::HttpError)?;
    let published: Document = client.request(request).await?;
    Ok(compare(&published.components.schemas))
}

/// The same, with what is published in (pure). A kind that is not published at all is waited for elsewhere.
fn compare(published: &BTreeMap<String, Fields>) -> Vec<(&'static str, Missing)> {
    let own = api::crds();
    let kinds = ["ComplianceManagementPartner", "GraphConnection"].into_iter().zip(&own);
    kinds
        .filter_map(|(kind, crd)| {
            let published = published
                .iter()
                .find(|(name, _)| name.rsplit('.').next() == Some(kind))
                .map(|(_, fields)| fields)?;
            let own = crd
                .spec
                .versions
                .first()?
                .schema
                .as_ref()?
                .open_api_v3_schema
                .as_ref()?;
            let mut missing = Missing::new();
            Fields::of(own).missing_in(published, "", &mut missing);
            Some((kind, missing))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn published(change: impl Fn(&mut Value)) -> BTreeMap<String, Fields> {
        let [partners, connections] =
            api::crds().map(|crd| json!(crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema));
        let mut all = json!({
            "dev.msgraph.intune.v1alpha1.ComplianceManagementPartner": partners,
            "dev.msgraph.intune.v1alpha1.ComplianceManagementPartnerList": {"properties": {"items": {}}},
            "dev.msgraph.intune.v1alpha1.GraphConnection": connections,
        });
        change(&mut all);
        serde_json::from_value(all).unwrap()
    }

    fn told(found: Vec<(&'static str, Missing)>) -> Vec<String> {
        found
            .into_iter()
            .flat_map(|(kind, fields)| fields.into_iter().map(move |field| format!("{kind} {field}")))
            .collect()
    }

    #[test]
    fn nothing_is_missing_in_the_crds_of_this_version() {
        assert_eq!(told(compare(&published(|_| {}))), Vec::<String>::new());
    }

    #[test]
    fn each_field_that_is_dropped_is_named_by_its_path() {
        let found = compare(&published(|all| {
            let fields = &mut all["dev.msgraph.intune.v1alpha1.ComplianceManagementPartner"]["properties"];
            fields["spec"]["properties"].as_object_mut().unwrap().remove("suspend");
            fields["status"]["properties"]["drift"]["items"]["properties"]
                .as_object_mut()
                .unwrap()
                .remove("example");
            let fields = &mut all["dev.msgraph.intune.v1alpha1.GraphConnection"]["properties"];
            fields.as_object_mut().unwrap().remove("status");
        }));
        assert_eq!(
            told(found),
            [
                "ComplianceManagementPartner spec.suspend",
                "ComplianceManagementPartner status.drift[].example",
                "GraphConnection status",
            ]
        );
    }

    #[test]
    fn a_status_is_fitted_to_what_the_installed_crd_knows() {
        let installed = Installed::default();
        let missing = [
            "spec.suspend",
            "status.platforms",
            "status.drift[].example",
            "status.conditions[].a.b",
        ];
        installed.know(&[("Kind", missing.map(str::to_owned).into())]);
        let whole = json!({
            "platforms": ["iOS"],
            "suspend": 1,
            "drift": [{"field": "a", "example": "x"}, {"field": "b"}],
            "conditions": [{"a": 1}, {"a": {"b": 1, "c": 2}}],
        });
        let mut status = whole.clone();
        installed.fit("Kind", &mut status);
        assert_eq!(
            status,
            json!({
                "suspend": 1,
                "drift": [{"field": "a"}, {"field": "b"}],
                "conditions": [{"a": 1}, {"a": {"c": 2}}],
            })
        );
        let mut status = whole.clone();
        installed.fit("Other", &mut status);
        assert_eq!(status, whole);
    }

    #[test]
    fn a_newer_crd_lacks_nothing() {
        let found = compare(&published(|all| {
            all["dev.msgraph.intune.v1alpha1.GraphConnection"]["properties"]["spec"]["properties"]["tomorrow"] =
                json!({"type": "string"});
        }));
        assert_eq!(told(found), Vec::<String>::new());
    }
}
