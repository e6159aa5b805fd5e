//! Holds the simulator's tables against Microsoft's own metadata (`metadata/`).

use std::collections::BTreeMap;

use graph_simulator::model::{
    self, ABSTRACT_TARGET, ASSIGNMENT, DATE_TIME_OFFSET_PATTERN, ENTITY, Kind, Owner, PARTNER_STATES, PROPERTIES,
    READ_ROLES, TARGETS, WRITE_ROLES, is_date_time_offset,
};
use graph_simulator::{base_row, throttle};
use serde_json::{Value, json};

const CSDL: &str = include_str!("../metadata/v1.0-compliance.csdl.xml");
const OPENAPI: &str = include_str!("../metadata/openapi-v1.0.json");

/// A type of the CSDL: its attributes, and its children with theirs.
#[derive(Default, Debug)]
struct Type {
    attributes: BTreeMap<String, String>,
    children: Vec<(String, BTreeMap<String, String>)>,
}

impl Type {
    fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }

    fn of(&self, tag: &str) -> Vec<&BTreeMap<String, String>> {
        self.children
            .iter()
            .filter(|(own, _)| own == tag)
            .map(|(_, attributes)| attributes)
            .collect()
    }
}

/// Reads the fragment: one tag a line, which is how it is committed.
fn csdl() -> BTreeMap<String, Type> {
    let mut types = BTreeMap::new();
    let mut open: Option<Type> = None;
    for line in CSDL.lines().map(str::trim) {
        let Some(tag) = line.strip_prefix('<').filter(|tag| !tag.starts_with(['!', '?'])) else {
            continue;
        };
        if let Some(name) = tag.strip_prefix('/') {
            if ["EntityType>", "ComplexType>", "EnumType>"].contains(&name) {
                let done = open.take().unwrap();
                types.insert(done.attributes["Name"].clone(), done);
            }
            continue;
        }
        let name = tag.split([' ', '>', '/']).next().unwrap().to_owned();
        let attributes = attributes(tag);
        match name.as_str() {
            "EntityType" | "ComplexType" | "EnumType" => {
                let started = Type {
                    attributes,
                    children: Vec::new(),
                };
                if tag.ends_with("/>") {
                    types.insert(started.attributes["Name"].clone(), started);
                } else {
                    open = Some(started);
                }
            }
            _ => {
                if let Some(open) = &mut open {
                    open.children.push((name, attributes));
                }
            }
        }
    }
    assert!(types.len() > 8, "{types:?}");
    types
}

fn attributes(tag: &str) -> BTreeMap<String, String> {
    let mut rest = tag;
    let mut found = BTreeMap::new();
    while let Some((before, after)) = rest.split_once("=\"") {
        let (value, after) = after.split_once('"').unwrap();
        found.insert(before.rsplit(' ').next().unwrap().to_owned(), value.to_owned());
        rest = after;
    }
    found
}

fn edm(kind: Kind) -> &'static str {
    match kind {
        Kind::String => "Edm.String",
        Kind::Boolean => "Edm.Boolean",
        Kind::DateTimeOffset => "Edm.DateTimeOffset",
        Kind::PartnerState => "graph.deviceManagementPartnerTenantState",
        Kind::Assignments => "Collection(graph.complianceManagementPartnerAssignment)",
    }
}

#[test]
fn properties_types_and_nullability_are_microsoft_s() {
    let types = csdl();
    let entity = &types[ENTITY];
    assert_eq!(entity.attribute("BaseType"), Some("graph.entity"));
    let mut expected = BTreeMap::new();
    for property in types["entity"].of("Property").into_iter().chain(entity.of("Property")) {
        // An absent facet means nullable for a single value; a collection has none, and is never null.
        let collection = property["Type"].starts_with("Collection(");
        let nullable = !collection && property.get("Nullable").is_none_or(|facet| facet == "true");
        expected.insert(property["Name"].clone(), (property["Type"].clone(), nullable));
    }
    let ours: BTreeMap<_, _> = PROPERTIES
        .iter()
        .map(|property| {
            (
                property.name.to_owned(),
                (edm(property.kind).to_owned(), property.nullable),
            )
        })
        .collect();
    assert_eq!(ours, expected);
    assert_eq!(ours.len(), PROPERTIES.len());
    let row = base_row("x", "y");
    let names: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names.len(), PROPERTIES.len());
    assert!(names.iter().all(|name| model::find_property(name).is_some()));
}

#[test]
fn what_the_service_owns_is_never_in_a_spec() {
    let own: Vec<&str> = PROPERTIES
        .iter()
        .filter(|property| property.owner == Owner::Service)
        .map(|property| property.name)
        .collect();
    assert_eq!(own, ["id", "partnerState", "lastHeartbeatDateTime"]);
}

#[test]
fn enum_words_are_microsoft_s_in_the_order_of_their_values() {
    let types = csdl();
    let mut members: Vec<(u32, &str)> = types["deviceManagementPartnerTenantState"]
        .of("Member")
        .into_iter()
        .map(|member| (member["Value"].parse().unwrap(), member["Name"].as_str()))
        .collect();
    members.sort_unstable();
    assert_eq!(
        members.iter().map(|(value, _)| *value).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4, 5]
    );
    assert_eq!(
        members.iter().map(|(_, name)| *name).collect::<Vec<_>>(),
        PARTNER_STATES
    );
}

#[test]
fn targets_are_the_concrete_types_that_derive_from_the_abstract_one() {
    let types = csdl();
    assert_eq!(types[ABSTRACT_TARGET].attribute("Abstract"), Some("true"));
    let assignment = &types[ASSIGNMENT];
    assert_eq!(assignment.of("Property").len(), 1);
    assert_eq!(assignment.of("Property")[0]["Name"], "target");
    assert_eq!(assignment.of("Property")[0]["Type"], format!("graph.{ABSTRACT_TARGET}"));
    let mut expected = BTreeMap::new();
    for name in types.keys().filter(|name| name.as_str() != ABSTRACT_TARGET) {
        let mut properties = Vec::new();
        let mut current = name.as_str();
        while let Some(own) = types.get(current) {
            properties.extend(own.of("Property").into_iter().map(|property| property["Name"].clone()));
            if current == ABSTRACT_TARGET {
                expected.insert(name.clone(), properties.clone());
            }
            let Some(base) = own.attribute("BaseType") else { break };
            current = base.strip_prefix("graph.").unwrap();
        }
    }
    let ours: BTreeMap<String, Vec<String>> = TARGETS
        .iter()
        .map(|target| {
            (
                target.name.to_owned(),
                target.property.into_iter().map(str::to_owned).collect(),
            )
        })
        .collect();
    assert_eq!(ours, expected);
}

fn openapi() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

#[test]
fn the_openapi_says_the_same() {
    let openapi = openapi();
    assert_eq!(openapi["discriminator"], format!("#microsoft.graph.{ENTITY}"));
    let mut targets: Vec<String> = TARGETS
        .iter()
        .map(|target| format!("#microsoft.graph.{}", target.name))
        .collect();
    targets.sort_unstable();
    assert_eq!(openapi["targets"], json!(targets));
    assert_eq!(openapi["permissions"]["get"], json!(READ_ROLES));
    assert_eq!(openapi["permissions"]["patch"], json!(WRITE_ROLES));
    assert_eq!(openapi["lastHeartbeatDateTime"]["pattern"], DATE_TIME_OFFSET_PATTERN);
    assert_eq!(
        openapi["displayName"]["nullable"],
        model::find_property("displayName").unwrap().nullable
    );
    let path = graph_simulator::COLLECTION.strip_prefix("/v1.0").unwrap();
    assert!(openapi["paths"][path].as_array().unwrap().contains(&json!("get")));
    let limits = &openapi["throttling"];
    assert_eq!(limits["appWrites"], throttle::APP_WRITES);
    assert_eq!(limits["appRequests"], throttle::APP_REQUESTS);
    assert_eq!(limits["tenantWrites"], throttle::TENANT_WRITES);
    assert_eq!(limits["tenantRequests"], throttle::TENANT_REQUESTS);
}

#[test]
fn heartbeats_fit_the_pattern_or_do_not() {
    for good in [
        "2016-12-31T23:59:37.9174975-08:00",
        "2022-01-28T12:28:48.975089Z",
        "0001-01-01T00:00:00Z",
        "12026-01-31T00:00:00+99:99",
        "2026-01-01T00:00:00.123456789012Z",
        "2026-02-31T00:00:00Z",
    ] {
        assert!(is_date_time_offset(good), "{good}");
    }
    for bad in [
        "",
        "T",
        "026-01-01T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-01-32T00:00:00Z",
        "2026-01-01-01T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:60Z",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00z",
        "2026-01-01t00:00:00Z",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00.1234567890123Z",
        "2026-01-01T00:00:00+0100",
        "2026-01-01T00:00:00Z ",
        "2026-01-01T00:00:00é",
        "2026-01-01 00:00:00Z",
        "2026-01-01",
    ] {
        assert!(!is_date_time_offset(bad), "{bad}");
    }
}
