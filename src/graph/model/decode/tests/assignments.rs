use super::*;

fn assignments_of(list: &Json) -> Assignments {
    decode_row(&row(json!({ "iosEnrollmentAssignments": list })))
        .unwrap()
        .assignments
        .ios
}

fn only_target(target: &Json) -> Assignments {
    assignments_of(&json!([{ "target": target }]))
}

const G1: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const G2: &str = "aaaaaaaa-0000-4000-8000-000000000002";

#[test]
fn an_empty_a_null_and_a_missing_list_are_the_same() {
    for platform in Platform::ALL {
        let name = Property::EnrollmentAssignments(platform).name();
        for empty in [row(json!({ name: [] })), row(json!({ name: null })), without(name)] {
            assert_eq!(
                *decode_row(&empty).unwrap().assignments.get(platform),
                Assignments::default()
            );
        }
        for value in [json!({}), json!("x"), json!(0), json!(true)] {
            assert_eq!(why(&row(json!({ name: value }))), format!("{name} should be a list"));
        }
    }
}

#[test]
fn half_a_list_is_none() {
    let row = row(json!({ "iosEnrollmentAssignments@odata.nextLink": "https://graph.microsoft.com/next" }));
    assert_eq!(why(&row), "iosEnrollmentAssignments should come whole");
}

#[test]
fn assignments_are_a_set_and_ids_have_one_spelling() {
    let list = |ids: &[&str]| {
        let group =
            |id: &&str| json!({ "target": { "@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": id } });
        assignments_of(&ids.iter().map(group).collect())
    };
    assert_eq!(list(&[&G1.to_uppercase(), G2, G2]), list(&[G2, G1]));
    assert_eq!(list(&[G1, G2]).targets.len(), 2);
}

#[test]
fn a_type_is_known_with_and_without_hash_and_in_any_case() {
    for (kind, member, target) in [
        ("groupAssignmentTarget", json!({ "groupId": G1 }), Target::group(G1)),
        (
            "exclusionGroupAssignmentTarget",
            json!({ "groupId": G1 }),
            Target::exclusion_group(G1),
        ),
        (
            "configurationManagerCollectionAssignmentTarget",
            json!({ "collectionId": "SMS00001" }),
            Target::ConfigurationManagerCollection("SMS00001".to_owned()),
        ),
        ("allLicensedUsersAssignmentTarget", json!({}), Target::AllLicensedUsers),
        ("allDevicesAssignmentTarget", json!({}), Target::AllDevices),
    ] {
        let name = format!("microsoft.graph.{kind}");
        for spelling in [
            name.clone(),
            format!("#{name}"),
            name.to_uppercase(),
            format!("#{}", name.to_lowercase()),
        ] {
            let mut value = member.clone();
            value["@odata.type"] = json!(spelling);
            let expected = Assignments {
                targets: [target.clone()].into(),
                unsupported: BTreeSet::new(),
            };
            assert_eq!(only_target(&value), expected, "{spelling}");
        }
    }
}

#[test]
fn what_cannot_be_expressed_is_named_and_spares_its_neighbours() {
    let graph_type = |kind: &str| format!("#microsoft.graph.{kind}AssignmentTarget");
    for (target, unsupported) in [
        (json!(null), NO_TYPE.to_owned()),
        (json!("x"), NO_TYPE.to_owned()),
        (json!({}), NO_TYPE.to_owned()),
        (json!({ "groupId": G1 }), NO_TYPE.to_owned()),
        (json!({ "@odata.type": 7, "groupId": G1 }), NO_TYPE.to_owned()),
        (
            json!({ "@odata.type": graph_type("scopeTagGroup"), "targetType": "user", "entraObjectId": G1 }),
            graph_type("scopeTagGroup"),
        ),
        (
            json!({ "@odata.type": "microsoft.graph.group\u{202E}" }),
            "microsoft.graph.group\u{FFFD}".to_owned(),
        ),
        (json!({ "@odata.type": "" }), NO_TYPE.to_owned()),
        (
            json!({ "@odata.type": graph_type("group") }),
            format!("{} without groupId", graph_type("group")),
        ),
        (
            json!({ "@odata.type": graph_type("group"), "groupId": null }),
            format!("{} without groupId", graph_type("group")),
        ),
        (
            json!({ "@odata.type": graph_type("exclusionGroup"), "groupId": "" }),
            format!("{} without groupId", graph_type("exclusionGroup")),
        ),
        (
            json!({ "@odata.type": graph_type("configurationManagerCollection"), "collectionId": 7 }),
            format!("{} without collectionId", graph_type("configurationManagerCollection")),
        ),
    ] {
        let other = json!({ "target": { "@odata.type": graph_type("allDevices") } });
        assert_eq!(
            assignments_of(&json!([{ "target": target }, other])),
            Assignments {
                targets: [Target::AllDevices].into(),
                unsupported: [unsupported].into()
            },
            "{target}"
        );
    }
}

#[test]
fn an_assignment_without_a_target_is_unsupported() {
    for entry in [
        json!(null),
        json!({}),
        json!([]),
        json!("x"),
        json!({ "@odata.type": "x" }),
    ] {
        assert_eq!(
            assignments_of(&json!([entry])).unsupported,
            BTreeSet::from([NO_TYPE.to_owned()]),
            "{entry}"
        );
    }
}

#[test]
fn a_known_target_with_more_than_we_can_keep_is_unsupported() {
    let group = |member: &str, value: Json| {
        only_target(&json!({ "@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": G1, member: value }))
    };
    let filter = "deviceAndAppManagementAssignmentFilterId";
    assert_eq!(
        group(filter, json!(G2)),
        Assignments {
            targets: BTreeSet::new(),
            unsupported: [format!("#microsoft.graph.groupAssignmentTarget with {filter}")].into(),
        }
    );
    for value in [json!("include"), json!(true), json!(0), json!({}), json!([1])] {
        assert!(
            group("deviceAndAppManagementAssignmentFilterType", value.clone())
                .targets
                .is_empty(),
            "{value}"
        );
    }
    for value in [
        json!(null),
        json!("none"),
        json!("None"),
        json!(""),
        json!([]),
        json!("00000000-0000-0000-0000-000000000000"),
    ] {
        assert_eq!(
            group(filter, value.clone()).targets,
            BTreeSet::from([Target::group(G1)]),
            "{value}"
        );
    }
    // Annotations are about the object, not part of it.
    assert!(group("groupId@odata.type", json!("#Guid")).unsupported.is_empty());
    assert!(!group("collectionId", json!("SMS00001")).unsupported.is_empty());
}

#[test]
fn an_assignment_with_more_than_a_target_is_unsupported() {
    let entry = json!({
        "@odata.type": "#microsoft.graph.complianceManagementPartnerAssignment", "intent": "required",
        "target": { "@odata.type": "#microsoft.graph.allDevicesAssignmentTarget" },
    });
    assert_eq!(
        assignments_of(&json!([entry])).unsupported,
        BTreeSet::from(["#microsoft.graph.allDevicesAssignmentTarget with intent".to_owned()])
    );
}

#[test]
fn an_id_too_long_to_be_one_is_not_cut_into_another() {
    let list =
        only_target(&json!({ "@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": "a".repeat(300) }));
    assert!(list.targets.is_empty());
    let long = only_target(&json!({ "@odata.type": "x".repeat(47 * 1024) }));
    assert_eq!(long.unsupported.first().unwrap().len(), UNSUPPORTED_CHARS);
}
