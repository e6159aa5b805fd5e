//! Which fields are sent (pure): spec and what Graph has in, a plan out. The plan is data: the PATCH, `status.drift`,
//! events, metrics and the audit line all read this one.

use std::collections::BTreeSet;

use crate::api::partner::{Assignment, ComplianceManagementPartnerSpec, Drift, TargetType};
use crate::graph::model::{Partner, Patch, Platform, Property, Target, Value};
use crate::runtime::text;

/// Bound of the types of one list where they are told, in bytes.
const TYPES_BYTES: usize = 200;

/// What has to change in Graph for one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The managed properties that differ, in the order of [`Property`].
    pub changes: Vec<Change>,
    /// The managed lists that are left alone, because Graph holds entries in them which cannot be written back.
    pub unsupported: Vec<Unsupported>,
}

/// One managed property that Graph has otherwise than spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Which property.
    pub property: Property,
    /// What spec asks for.
    pub desired: Value,
    /// What Graph has.
    pub observed: Value,
}

/// One managed list that holds what a PATCH of the whole list would destroy.
#[derive(Clone, Debug, PartialEq)]
pub struct Unsupported {
    /// Which list.
    pub property: Property,
    /// The `@odata.type`s that cannot be expressed.
    pub types: BTreeSet<String>,
}

/// What spec asks for, property by property: the managed ones alone.
#[must_use]
pub fn managed(spec: &ComplianceManagementPartnerSpec) -> Vec<(Property, Value)> {
    let flag = |platform, value: Option<bool>| value.map(|value| (Property::Onboarded(platform), Value::Flag(value)));
    let list = |platform, value: &Option<Vec<Assignment>>| {
        value.as_ref().map(|entries| {
            (
                Property::EnrollmentAssignments(platform),
                Value::Targets(targets(entries)),
            )
        })
    };
    [
        spec.display_name
            .clone()
            .map(|name| (Property::DisplayName, Value::Text(name))),
        flag(Platform::MacOs, spec.mac_os_onboarded),
        flag(Platform::Android, spec.android_onboarded),
        flag(Platform::Ios, spec.ios_onboarded),
        list(Platform::MacOs, &spec.mac_os_enrollment_assignments),
        list(Platform::Android, &spec.android_enrollment_assignments),
        list(Platform::Ios, &spec.ios_enrollment_assignments),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Compares spec with what Graph has.
///
/// A managed list that holds something which cannot be expressed is left alone as a whole; all other managed properties
/// are planned. Equal in any order of assignments, and never names a property that spec leaves out.
#[must_use]
pub fn plan(spec: &ComplianceManagementPartnerSpec, observed: &Partner) -> Plan {
    compare(managed(spec), observed)
}

/// What a Reset has to change: managed flags become false, managed lists empty. A display name stays.
///
/// Like [`plan`], it leaves lists alone that hold what cannot be expressed, and names no property that spec leaves out.
#[must_use]
pub fn reset(spec: &ComplianceManagementPartnerSpec, observed: &Partner) -> Plan {
    let cleared = managed(spec).into_iter().filter_map(|(property, _)| match property {
        Property::DisplayName => None,
        Property::Onboarded(_) => Some((property, Value::Flag(false))),
        Property::EnrollmentAssignments(_) => Some((property, Value::Targets(BTreeSet::new()))),
    });
    compare(cleared, observed)
}

fn compare(desired: impl IntoIterator<Item = (Property, Value)>, observed: &Partner) -> Plan {
    let mut plan = Plan::default();
    for (property, desired) in desired {
        if let Property::EnrollmentAssignments(platform) = property {
            let types = &observed.assignments.get(platform).unsupported;
            if !types.is_empty() {
                plan.unsupported.push(Unsupported {
                    property,
                    types: types.clone(),
                });
                continue;
            }
        }
        let observed = observed.value(property);
        if desired != observed {
            plan.changes.push(Change {
                property,
                desired,
                observed,
            });
        }
    }
    plan
}

impl Plan {
    /// Whether there is nothing to send. A list that is left alone is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// What is sent: exactly the properties that differ.
    #[must_use]
    pub fn patch(&self) -> Patch {
        Patch(
            self.changes
                .iter()
                .map(|change| (change.property, change.desired.clone()))
                .collect(),
        )
    }

    /// The properties that differ, separated by a comma.
    #[must_use]
    pub fn fields(&self) -> String {
        self.changes
            .iter()
            .map(|change| change.property.name())
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// The lists that are left alone, each with the types that it holds: short enough that advice fits behind it in a
    /// message or a note.
    #[must_use]
    pub fn unsupported_lists(&self) -> String {
        self.unsupported
            .iter()
            .map(|list| {
                // Enough to know what it is about: each may be long.
                let types = list
                    .types
                    .iter()
                    .take(3)
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(", ");
                let types = text::clean_bytes(&types, TYPES_BYTES);
                format!("{} ({types})", list.property.name())
            })
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// The plan as `status.drift` has it, one entry a field, at most eight.
    #[must_use]
    pub fn drift(&self) -> Vec<Drift> {
        self.changes.iter().map(Change::drift).collect()
    }
}

impl Change {
    fn drift(&self) -> Drift {
        let field = self.property.name().to_owned();
        match (&self.desired, &self.observed) {
            (Value::Targets(desired), Value::Targets(observed)) => {
                let missing = desired.difference(observed);
                let extra = observed.difference(desired);
                let example = desired.symmetric_difference(observed).next();
                Drift {
                    field,
                    missing: Some(count(missing.count())),
                    extra: Some(count(extra.count())),
                    example: example.map(|target| text::clean(&target.to_string(), text::DISPLAY_NAME_CHARS)),
                    ..Drift::default()
                }
            }
            (desired, observed) => Drift {
                field,
                desired: Some(scalar(desired)),
                observed: Some(scalar(observed)),
                ..Drift::default()
            },
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Text(text) => text::clean(text, text::DISPLAY_NAME_CHARS),
        Value::Flag(flag) => flag.to_string(),
        Value::Targets(targets) => format!("{} assignments", targets.len()),
    }
}

fn count(entries: usize) -> i32 {
    i32::try_from(entries).unwrap_or(i32::MAX)
}

fn targets(entries: &[Assignment]) -> BTreeSet<Target> {
    // The schema has the id where the type needs one; an object from before that schema is planned as if the id were
    // empty, which Graph refuses by name.
    entries
        .iter()
        .map(|entry| {
            let target = &entry.target;
            let group = target.group_id.as_deref().unwrap_or_default();
            match target.r#type {
                TargetType::Group => Target::group(group),
                TargetType::ExclusionGroup => Target::exclusion_group(group),
                TargetType::ConfigurationManagerCollection => {
                    Target::ConfigurationManagerCollection(target.collection_id.clone().unwrap_or_default())
                }
                TargetType::AllLicensedUsers => Target::AllLicensedUsers,
                TargetType::AllDevices => Target::AllDevices,
            }
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests;
