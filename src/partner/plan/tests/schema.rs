//! Values held against the schema of the CRD, as the API server does it: one field that does not fit refuses the whole
//! status.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value as Json;

use crate::api::connection::GraphConnectionStatus;
use crate::api::partner::ComplianceManagementPartnerStatus as Status;
use crate::api::{ComplianceManagementPartner, GraphConnection};

/// What the API server would find wrong with a status.
pub(crate) fn wrong(status: &Status) -> Vec<String> {
    thread_local! {
        static SCHEMA: Json = status_schema(&ComplianceManagementPartner::crd());
    }
    SCHEMA.with(|schema| against(schema, &serde_json::to_value(status).unwrap()))
}

/// What the API server would find wrong with the status of a connection.
pub(crate) fn wrong_with_connection(status: &GraphConnectionStatus) -> Vec<String> {
    thread_local! {
        static SCHEMA: Json = status_schema(&GraphConnection::crd());
    }
    SCHEMA.with(|schema| against(schema, &serde_json::to_value(status).unwrap()))
}

fn status_schema(crd: &CustomResourceDefinition) -> Json {
    let crd = serde_json::to_value(crd).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"].clone()
}

fn against(schema: &Json, status: &Json) -> Vec<String> {
    let mut found = Vec::new();
    check("status", schema, status, &mut found);
    found
}

fn check(path: &str, schema: &Json, value: &Json, found: &mut Vec<String>) {
    let mut wrong = |what: &str| found.push(format!("{path}: {what}: {value}"));
    match (schema["type"].as_str().unwrap(), value) {
        ("object", Json::Object(fields)) => {
            for name in schema["required"].as_array().into_iter().flatten() {
                if !fields.contains_key(name.as_str().unwrap()) {
                    wrong(&format!("lacks {name}"));
                }
            }
            for (name, value) in fields {
                match schema["properties"].get(name) {
                    Some(schema) => check(&format!("{path}.{name}"), schema, value, found),
                    None => found.push(format!("{path}: unknown field {name}")),
                }
            }
        }
        ("array", Json::Array(items)) => {
            if items.len() as u64 > schema["maxItems"].as_u64().unwrap() {
                wrong("too long");
            }
            if let Some(twice) = twice(schema, items) {
                wrong(&format!("{twice} is there twice"));
            }
            for item in items {
                check(&format!("{path}[]"), &schema["items"], item, found);
            }
        }
        ("string", Json::String(text)) => {
            let length = text.chars().count() as u64;
            if length > schema["maxLength"].as_u64().unwrap() || length < schema["minLength"].as_u64().unwrap_or(0) {
                wrong("has the wrong length");
            }
            if schema["format"] == "date-time" && !is_date_time(text) {
                wrong("is no time");
            }
            // Of all patterns in status, only this one bounds what a foreign word can become.
            if path.ends_with(".reason") && !is_reason(text) {
                wrong("is no reason");
            }
        }
        ("integer", Json::Number(number)) => {
            if schema["minimum"]
                .as_f64()
                .is_some_and(|least| number.as_f64().unwrap() < least)
            {
                wrong("is too small");
            }
        }
        ("boolean", Json::Bool(_)) => {}
        _ => wrong("has the wrong type"),
    }
}

fn twice(schema: &Json, items: &[Json]) -> Option<String> {
    let key = |item: &Json| match schema["x-kubernetes-list-type"].as_str() {
        Some("map") => item[schema["x-kubernetes-list-map-keys"][0].as_str().unwrap()].to_string(),
        _ => item.to_string(),
    };
    let unique = matches!(schema["x-kubernetes-list-type"].as_str(), Some("map" | "set"));
    let mut seen = BTreeSet::new();
    items.iter().map(key).find(|key| unique && !seen.insert(key.clone()))
}

/// RFC 3339 as Kubernetes checks it: four digits of a year, no leap second.
fn is_date_time(text: &str) -> bool {
    text.bytes().take(4).all(|byte| byte.is_ascii_digit()) && text.contains('T') && text.parse::<Timestamp>().is_ok()
}

/// `^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$`
fn is_reason(text: &str) -> bool {
    let inner = |letter: char| letter.is_ascii_alphanumeric() || "_,:".contains(letter);
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(inner)
        && !text.ends_with([',', ':'])
}
