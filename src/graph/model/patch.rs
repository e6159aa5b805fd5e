//! What is sent: the changed properties and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};

use super::{Property, Target};

/// The value of a property that can be managed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Of `displayName`.
    Text(String),
    /// Of `…Onboarded`.
    Flag(bool),
    /// Of `…EnrollmentAssignments`: the whole list.
    Targets(BTreeSet<Target>),
}

/// The body of a PATCH. Properties that it leaves out stay as they are, lists that it holds are replaced whole
/// (OData 4.01 §11.4.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch(pub BTreeMap<Property, Value>);

impl Patch {
    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The properties that are set, in their order.
    pub fn properties(&self) -> impl Iterator<Item = Property> {
        self.0.keys().copied()
    }

    /// The body as it goes over the wire: equal patches give equal bytes. Every object carries its `@odata.type`;
    /// an empty list is sent as `[]`, never as null.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let mut body = Map::new();
        body.insert(
            "@odata.type".to_owned(),
            json!("#microsoft.graph.complianceManagementPartner"),
        );
        for (property, value) in &self.0 {
            let value = match value {
                Value::Text(text) => json!(text),
                Value::Flag(flag) => json!(flag),
                Value::Targets(targets) => targets.iter().map(assignment).collect(),
            };
            body.insert(property.name().to_owned(), value);
        }
        Json::Object(body)
    }
}

fn assignment(target: &Target) -> Json {
    let mut members = Map::new();
    members.insert("@odata.type".to_owned(), json!(target.odata_type()));
    if let Some((name, value)) = target.member() {
        members.insert(name.to_owned(), json!(value));
    }
    json!({ "@odata.type": "#microsoft.graph.complianceManagementPartnerAssignment", "target": members })
}

#[cfg(test)]
mod tests {
    use super::super::{Platform, decode_row};
    use super::*;

    #[test]
    fn a_patch_holds_its_properties_and_annotations_and_nothing_else() {
        let patch = Patch(BTreeMap::from([
            (
                Property::EnrollmentAssignments(Platform::Ios),
                Value::Targets(BTreeSet::new()),
            ),
            (Property::Onboarded(Platform::MacOs), Value::Flag(true)),
            (Property::DisplayName, Value::Text("Example \"Partner\"".to_owned())),
        ]));
        assert_eq!(
            patch.to_json(),
            json!({
                "@odata.type": "#microsoft.graph.complianceManagementPartner",
                "displayName": "Example \"Partner\"",
                "macOsOnboarded": true,
                "iosEnrollmentAssignments": [],
            })
        );
        assert_eq!(
            patch.properties().map(Property::name).collect::<Vec<_>>(),
            ["displayName", "macOsOnboarded", "iosEnrollmentAssignments"]
        );
        assert!(!patch.is_empty());
        assert!(Patch::default().is_empty());
    }

    #[test]
    fn every_assignment_and_target_carries_its_type() {
        let targets = BTreeSet::from([
            Target::group("AAAAAAAA-0000-4000-8000-000000000001"),
            Target::exclusion_group("aaaaaaaa-0000-4000-8000-000000000002"),
            Target::ConfigurationManagerCollection("SMS00001".to_owned()),
            Target::AllLicensedUsers,
            Target::AllDevices,
        ]);
        let patch = Patch(
            [(
                Property::EnrollmentAssignments(Platform::Android),
                Value::Targets(targets),
            )]
            .into(),
        );
        let body = patch.to_json();
        let assignments = body["androidEnrollmentAssignments"].as_array().unwrap();
        for assignment in assignments {
            assert_eq!(
                assignment["@odata.type"],
                "#microsoft.graph.complianceManagementPartnerAssignment"
            );
        }
        let targets: Vec<_> = assignments
            .iter()
            .map(|assignment| assignment["target"].clone())
            .collect();
        assert_eq!(
            json!(targets),
            json!([
                { "@odata.type": "#microsoft.graph.groupAssignmentTarget",
                  "groupId": "aaaaaaaa-0000-4000-8000-000000000001" },
                { "@odata.type": "#microsoft.graph.exclusionGroupAssignmentTarget",
                  "groupId": "aaaaaaaa-0000-4000-8000-000000000002" },
                { "@odata.type": "#microsoft.graph.configurationManagerCollectionAssignmentTarget",
                  "collectionId": "SMS00001" },
                { "@odata.type": "#microsoft.graph.allLicensedUsersAssignmentTarget" },
                { "@odata.type": "#microsoft.graph.allDevicesAssignmentTarget" },
            ])
        );
    }

    #[test]
    fn the_same_targets_in_any_order_give_the_same_bytes() {
        let ids = [
            "aaaaaaaa-0000-4000-8000-000000000001",
            "AAAAAAAA-0000-4000-8000-000000000002",
        ];
        let body = |targets: BTreeSet<Target>| {
            let property = Property::EnrollmentAssignments(Platform::MacOs);
            Patch([(property, Value::Targets(targets))].into())
                .to_json()
                .to_string()
        };
        let forward = body(ids.iter().map(|id| Target::group(id)).collect());
        let backward = body(
            ids.iter()
                .rev()
                .chain(&ids)
                .map(|id| Target::group(&id.to_lowercase()))
                .collect(),
        );
        assert_eq!(forward, backward);
    }

    #[test]
    fn what_is_sent_reads_back_as_the_same_value() {
        let targets = BTreeSet::from([
            Target::group("aaaaaaaa-0000-4000-8000-000000000001"),
            Target::exclusion_group("aaaaaaaa-0000-4000-8000-000000000002"),
            Target::ConfigurationManagerCollection("SMS00001".to_owned()),
            Target::AllLicensedUsers,
            Target::AllDevices,
        ]);
        let patch = Patch(
            Property::ALL
                .map(|property| {
                    let value = match property {
                        Property::DisplayName => Value::Text("Example Partner".to_owned()),
                        Property::Onboarded(_) => Value::Flag(true),
                        Property::EnrollmentAssignments(_) => Value::Targets(targets.clone()),
                    };
                    (property, value)
                })
                .into(),
        );
        let mut row = patch.to_json();
        row["id"] = json!("P1");
        let partner = decode_row(&row).unwrap();
        for (property, value) in &patch.0 {
            assert_eq!(&partner.value(*property), value, "{}", property.name());
        }
        assert!(
            Platform::ALL
                .iter()
                .all(|platform| partner.assignments.get(*platform).unsupported.is_empty())
        );
    }
}
