//! Objects of Kubernetes as tests write them.

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::{Api, Client};
use serde_json::{Value, json};

/// Adds apiVersion and kind to an object.
pub fn with_type<K: kube::Resource<DynamicType = ()>>(mut object: Value) -> Value {
    if let Some(object) = object.as_object_mut() {
        object.insert("apiVersion".to_owned(), json!(K::api_version(&())));
        object.insert("kind".to_owned(), json!(K::kind(&())));
    }
    object
}

/// Lays one JSON object over another; a null takes a key away.
pub fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                if value.is_null() {
                    base.remove(&key);
                } else {
                    merge(base.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (base, over) => *base = over,
    }
}

/// Kinds that [`World::create`] can make.
pub trait Creatable: Sized {
    /// The API of the kind.
    fn api(client: Client, namespace: Option<&str>) -> Api<Self>;
}

macro_rules! in_namespaces {
    ($($kind:ty),*) => {$(
        impl Creatable for $kind {
            fn api(client: Client, namespace: Option<&str>) -> Api<Self> {
                Api::namespaced(client, namespace.unwrap_or("default"))
            }
        }
    )*};
}
in_namespaces!(ServiceAccount, Role, RoleBinding);

impl Creatable for Namespace {
    fn api(client: Client, _: Option<&str>) -> Api<Self> {
        Api::all(client)
    }
}
