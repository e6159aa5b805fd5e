//! Specs and rows for tests, and a Graph that takes a PATCH.

use std::collections::BTreeSet;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::api::LocalReference;
use crate::api::partner::{
    Assignment, AssignmentTarget, ComplianceManagementPartnerSpec as Spec, PartnerReference, TargetType,
};
use crate::graph::model::{Assignments, Partner, Patch, PerPlatform, Platform, Property, Target, Value, decode_row};

/// A spec that manages nothing.
pub(crate) fn nothing_managed() -> Spec {
    Spec {
        connection_ref: LocalReference {
            name: "contoso".to_owned(),
        },
        partner_ref: PartnerReference {
            id: Some("p1".to_owned()),
            display_name: None,
        },
        management_policy: None,
        deletion_policy: None,
        suspend: None,
        sync_interval: None,
        display_name: None,
        mac_os_onboarded: None,
        android_onboarded: None,
        ios_onboarded: None,
        mac_os_enrollment_assignments: None,
        android_enrollment_assignments: None,
        ios_enrollment_assignments: None,
    }
}

/// A row that was never onboarded.
pub(crate) fn blank_row() -> Partner {
    Partner {
        id: "p1".to_owned(),
        display_name: Some("Example".to_owned()),
        partner_state: "enabled".to_owned(),
        last_heartbeat: None,
        onboarded: PerPlatform::default(),
        assignments: PerPlatform::default(),
    }
}

/// An entry of spec.
pub(crate) fn entry(r#type: TargetType, group: Option<&str>, collection: Option<&str>) -> Assignment {
    Assignment {
        target: AssignmentTarget {
            r#type,
            group_id: group.map(str::to_owned),
            collection_id: collection.map(str::to_owned),
        },
    }
}

/// One of a few groups, so that lists overlap, in one of two spellings.
fn group_id() -> impl Strategy<Value = String> {
    (0..4_u8, any::<bool>()).prop_map(|(number, upper)| {
        let id = format!("abcdef0{number}-0000-4000-8000-00000000abcd");
        if upper { id.to_ascii_uppercase() } else { id }
    })
}

pub(crate) fn assignment() -> impl Strategy<Value = Assignment> {
    prop_oneof![
        3 => group_id().prop_map(|id| entry(TargetType::Group, Some(&id), None)),
        2 => group_id().prop_map(|id| entry(TargetType::ExclusionGroup, Some(&id), None)),
        2 => "(SMS|sms)0000[1-3]"
            .prop_map(|id| entry(TargetType::ConfigurationManagerCollection, None, Some(&id))),
        1 => Just(entry(TargetType::AllLicensedUsers, None, None)),
        1 => Just(entry(TargetType::AllDevices, None, None)),
    ]
}

fn list() -> impl Strategy<Value = Option<Vec<Assignment>>> {
    prop::option::of(prop::collection::vec(assignment(), 0..6))
}

prop_compose! {
    /// Any spec; each managed field may be left out.
    pub(crate) fn spec()(
        display_name in prop::option::of("[ -~äß]{1,12}"),
        flags in prop::array::uniform3(prop::option::of(any::<bool>())),
        lists in prop::array::uniform3(list()),
    ) -> Spec {
        let [mac_os_onboarded, android_onboarded, ios_onboarded] = flags;
        let [mac_os_enrollment_assignments, android_enrollment_assignments, ios_enrollment_assignments] = lists;
        Spec {
            display_name,
            mac_os_onboarded,
            android_onboarded,
            ios_onboarded,
            mac_os_enrollment_assignments,
            android_enrollment_assignments,
            ios_enrollment_assignments,
            ..nothing_managed()
        }
    }
}

fn assignments() -> impl Strategy<Value = Assignments> {
    let targets = prop::collection::vec(assignment(), 0..6).prop_map(|entries| super::super::targets(&entries));
    let unsupported = prop::collection::btree_set("#microsoft\\.graph\\.example[a-c]AssignmentTarget", 1..3);
    let unsupported = prop_oneof![3 => Just(std::collections::BTreeSet::new()), 1 => unsupported];
    (targets, unsupported).prop_map(|(targets, unsupported)| Assignments { targets, unsupported })
}

/// Text that somebody wrote to deceive, or that is merely long.
pub(crate) fn foreign_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z]{0,12}",
        "[\u{0}-\u{1f}\u{7f}\u{200b}\u{202e}\u{2028}\u{feff}a-c ]{0,20}",
        any::<String>(),
        (1..1_500_usize).prop_map(|times| "ä".repeat(times)),
    ]
}

/// A time around now, with a fraction of a second.
pub(crate) fn moment() -> impl Strategy<Value = Timestamp> {
    (1_790_000_000..1_800_000_000_i64, 0..1_000_000_000_i32)
        .prop_map(|(second, nanosecond)| Timestamp::new(second, nanosecond).unwrap())
}

prop_compose! {
    /// Any row that Graph may have.
    pub(crate) fn row()(
        display_name in prop::option::of(foreign_text()),
        partner_state in prop_oneof![
            prop::sample::select(vec!["unknown", "unavailable", "enabled", "terminated", "rejected", "unresponsive"])
                .prop_map(str::to_owned),
            foreign_text().prop_map(|text| text.chars().take(256).collect()),
        ],
        last_heartbeat in prop::option::of(moment()),
        flags in prop::array::uniform3(any::<bool>()),
        lists in prop::array::uniform3(assignments()),
    ) -> Partner {
        let [mac_os, android, ios] = flags;
        let onboarded = PerPlatform { mac_os, android, ios };
        let [mac_os, android, ios] = lists;
        Partner {
            display_name: display_name.map(|name| name.chars().take(1_024).collect()),
            partner_state,
            last_heartbeat,
            onboarded,
            assignments: PerPlatform { mac_os, android, ios },
            ..blank_row()
        }
    }
}

/// The row as Graph would send it.
pub(crate) fn wire(row: &Partner) -> Json {
    let mut wire = json!({
        "id": row.id,
        "displayName": row.display_name,
        "partnerState": row.partner_state,
        "lastHeartbeatDateTime":
            row.last_heartbeat.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |time| time.to_string()),
    });
    for platform in Platform::ALL {
        wire[Property::Onboarded(platform).name()] = json!(row.onboarded.get(platform));
        let property = Property::EnrollmentAssignments(platform);
        let assignments = row.assignments.get(platform);
        let known = Patch([(property, Value::Targets(assignments.targets.clone()))].into()).to_json();
        let mut entries = known[property.name()].as_array().cloned().unwrap();
        entries.extend(
            assignments
                .unsupported
                .iter()
                .map(|r#type| json!({ "target": { "@odata.type": r#type } })),
        );
        wire[property.name()] = Json::Array(entries);
    }
    wire
}

/// The row after Graph has taken the body of a PATCH: what the body names is replaced whole, the rest stays.
pub(crate) fn taken(row: &Partner, body: &Json) -> Partner {
    let mut wire = wire(row);
    for (name, value) in body.as_object().unwrap() {
        if !name.contains('@') {
            wire[name.as_str()] = value.clone();
        }
    }
    decode_row(&wire).unwrap()
}

/// Another way to write the same list: another order, entries twice, GUIDs in another case.
pub(crate) fn respelled(list: &[Assignment], seed: u64) -> Vec<Assignment> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut list: Vec<Assignment> = list
        .iter()
        .flat_map(|entry| vec![entry.clone(); random.usize(1..3)])
        .collect();
    random.shuffle(&mut list);
    for entry in &mut list {
        if let Some(id) = entry.target.group_id.as_mut() {
            *id = if random.bool() {
                id.to_ascii_uppercase()
            } else {
                id.to_ascii_lowercase()
            };
        }
    }
    list
}

/// A target as [`Target`] has it, for rows that are written out.
pub(crate) fn group(number: u8) -> Target {
    Target::group(&format!("abcdef0{number}-0000-4000-8000-00000000abcd"))
}

/// Whether Graph has all that spec writes down, told plainly: by the text of both, lists as sets, GUIDs in any case.
pub(crate) fn equal(spec: &Spec, row: &Partner) -> bool {
    const KINDS: [(&str, &str, &str); 5] = [
        ("Group", "groupAssignmentTarget", "groupId"),
        ("ExclusionGroup", "exclusionGroupAssignmentTarget", "groupId"),
        (
            "ConfigurationManagerCollection",
            "configurationManagerCollectionAssignmentTarget",
            "collectionId",
        ),
        ("AllLicensedUsers", "allLicensedUsersAssignmentTarget", ""),
        ("AllDevices", "allDevicesAssignmentTarget", ""),
    ];
    let (spec, row) = (serde_json::to_value(spec).unwrap(), wire(row));
    let target = |kind: Option<(&str, &str, &str)>, target: &Json| {
        let (kind, _, member) = kind?;
        let id = target[member].as_str().unwrap_or_default();
        let id = if member == "groupId" {
            id.to_ascii_lowercase()
        } else {
            id.to_owned()
        };
        Some((kind.to_owned(), id))
    };
    let wanted = |entry: &Json| {
        let kind = KINDS.into_iter().find(|(kind, _, _)| entry["target"]["type"] == *kind);
        target(kind, &entry["target"])
    };
    let there = |entry: &Json| {
        let named = |name: &str| entry["target"]["@odata.type"] == format!("#microsoft.graph.{name}");
        target(KINDS.into_iter().find(|(_, name, _)| named(name)), &entry["target"])
    };
    Property::ALL.map(Property::name).iter().all(|name| match &spec[name] {
        Json::Null => true,
        Json::Array(entries) => {
            let row = row[name].as_array().unwrap();
            entries.iter().map(wanted).collect::<BTreeSet<_>>() == row.iter().map(there).collect()
        }
        value => row[name] == *value,
    })
}
