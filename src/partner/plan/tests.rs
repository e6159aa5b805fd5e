pub(crate) mod make;
pub(crate) mod schema;

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api::partner::{ComplianceManagementPartnerSpec as Spec, ComplianceManagementPartnerStatus};
use crate::graph::model::{Assignments, PerPlatform, decode_row};
use make::{blank_row, entry, nothing_managed, respelled, taken, wire};

/// The names of Graph's properties in a PATCH.
fn sent(plan: &Plan) -> BTreeSet<String> {
    let body = plan.patch().to_json();
    let names = body.as_object().unwrap().keys();
    names.filter(|name| !name.contains('@')).cloned().collect()
}

/// The names of Graph's properties in spec: those that its author wrote down.
fn written_down(spec: &Spec) -> BTreeSet<String> {
    let spec = serde_json::to_value(spec).unwrap();
    let names = Property::ALL.map(Property::name);
    names
        .into_iter()
        .filter(|name| spec.get(*name).is_some())
        .map(str::to_owned)
        .collect()
}

fn respelled_spec(spec: &Spec, seed: u64) -> Spec {
    let list = |entries: &Option<Vec<Assignment>>, turn| entries.as_ref().map(|list| respelled(list, seed ^ turn));
    Spec {
        mac_os_enrollment_assignments: list(&spec.mac_os_enrollment_assignments, 1),
        android_enrollment_assignments: list(&spec.android_enrollment_assignments, 2),
        ios_enrollment_assignments: list(&spec.ios_enrollment_assignments, 3),
        ..spec.clone()
    }
}

proptest! {
    #[test]
    fn a_reset_clears_managed_flags_and_lists_and_touches_nothing_else(spec in make::spec(), row in make::row()) {
        let reset = reset(&spec, &row);
        let after = taken(&row, &reset.patch().to_json());
        prop_assert!(super::reset(&spec, &after).is_empty());
        let managed: BTreeSet<Property> = managed(&spec).into_iter().map(|(property, _)| property).collect();
        for property in Property::ALL {
            let left_alone = reset.unsupported.iter().any(|list| list.property == property);
            let cleared = match property {
                Property::DisplayName => None,
                Property::Onboarded(_) => Some(Value::Flag(false)),
                Property::EnrollmentAssignments(_) => Some(Value::Targets(BTreeSet::new())),
            };
            let expected = cleared.filter(|_| managed.contains(&property) && !left_alone);
            prop_assert_eq!(after.value(property), expected.unwrap_or_else(|| row.value(property)));
        }
    }

    #[test]
    fn a_plan_that_is_applied_leaves_nothing_to_do(spec in make::spec(), row in make::row()) {
        let before = plan(&spec, &row);
        let after = taken(&row, &before.patch().to_json());
        let left = plan(&spec, &after);
        prop_assert!(left.is_empty(), "{left:?}");
        prop_assert_eq!(left.unsupported, before.unsupported);
    }

    #[test]
    fn a_plan_is_empty_where_graph_has_what_spec_writes_down_and_then_alone(spec in make::spec(), row in make::row()) {
        let left = |row: &Partner| {
            let plan = plan(&spec, row);
            plan.is_empty() && plan.unsupported.is_empty()
        };
        prop_assert_eq!(left(&row), make::equal(&spec, &row));
        let after = taken(&row, &plan(&spec, &row).patch().to_json());
        prop_assert_eq!(left(&after), make::equal(&spec, &after));
        prop_assert!(left(&after) || !plan(&spec, &after).unsupported.is_empty());
    }

    #[test]
    fn drift_names_the_fields_that_are_sent(spec in make::spec(), row in make::row()) {
        let plan = plan(&spec, &row);
        let drift: BTreeSet<_> = plan.drift().into_iter().map(|drift| drift.field).collect();
        prop_assert_eq!(drift, sent(&plan));
        let fields = plan.fields();
        prop_assert_eq!(fields.split(", ").filter(|it| !it.is_empty()).count(), plan.changes.len());
    }

    #[test]
    fn what_a_plan_does_not_name_stays_as_it_was(spec in make::spec(), row in make::row()) {
        let plan = plan(&spec, &row);
        let after = taken(&row, &plan.patch().to_json());
        for property in Property::ALL {
            if !plan.changes.iter().any(|change| change.property == property) {
                prop_assert_eq!(after.value(property), row.value(property));
            }
        }
        for platform in Platform::ALL {
            let managed = written_down(&spec).contains(Property::EnrollmentAssignments(platform).name());
            let (was, is) = (row.assignments.get(platform), after.assignments.get(platform));
            prop_assert_eq!(&was.unsupported, &is.unsupported);
            prop_assert!(managed || was == is);
        }
        prop_assert_eq!(
            (&after.id, &after.partner_state, &after.last_heartbeat),
            (&row.id, &row.partner_state, &row.last_heartbeat)
        );
    }

    #[test]
    fn a_field_that_spec_leaves_out_is_never_sent(spec in make::spec(), row in make::row()) {
        let sent = sent(&plan(&spec, &row));
        prop_assert!(sent.is_subset(&written_down(&spec)), "{sent:?}");
    }

    #[test]
    fn every_managed_field_is_equal_planned_or_left_alone(spec in make::spec(), row in make::row()) {
        let plan = plan(&spec, &row);
        for (property, desired) in managed(&spec) {
            let planned = plan.changes.iter().filter(|change| change.property == property).count();
            let left = plan.unsupported.iter().filter(|list| list.property == property).count();
            let expected = match property {
                Property::EnrollmentAssignments(platform)
                    if !row.assignments.get(platform).unsupported.is_empty() => (0, 1),
                _ if row.value(property) == desired => (0, 0),
                _ => (1, 0),
            };
            prop_assert_eq!((planned, left), expected, "{:?}", property);
        }
        prop_assert!(plan.changes.is_sorted_by_key(|change| change.property));
    }

    #[test]
    fn order_repetition_and_case_do_not_count(spec in make::spec(), row in make::row(), seed in any::<u64>()) {
        let other = respelled_spec(&spec, seed);
        prop_assert_eq!(plan(&spec, &row), plan(&other, &row));
    }

    #[test]
    fn a_row_that_already_is_as_spec_says_needs_nothing(spec in make::spec(), row in make::row(), seed in any::<u64>()) {
        let row = taken(&row, &plan(&spec, &row).patch().to_json());
        prop_assert!(plan(&respelled_spec(&spec, seed), &row).is_empty());
    }

    #[test]
    fn the_same_input_gives_the_same_bytes(spec in make::spec(), row in make::row(), seed in any::<u64>()) {
        let bytes = |spec: &Spec, row: &Partner| plan(spec, row).patch().to_json().to_string();
        // Graph promises no order, so a row that comes in another order is the same input.
        let mut backwards = wire(&row);
        for platform in Platform::ALL {
            backwards[Property::EnrollmentAssignments(platform).name()].as_array_mut().unwrap().reverse();
        }
        let backwards = decode_row(&backwards).unwrap();
        prop_assert_eq!(bytes(&spec, &row), bytes(&respelled_spec(&spec, seed), &backwards));
    }

    #[test]
    fn a_list_that_cannot_be_written_back_is_never_sent(spec in make::spec(), row in make::row()) {
        let plan = plan(&spec, &row);
        let sent = sent(&plan);
        for platform in Platform::ALL {
            let name = Property::EnrollmentAssignments(platform).name();
            let types = &row.assignments.get(platform).unsupported;
            if !types.is_empty() {
                prop_assert!(!sent.contains(name));
                let told = plan.unsupported_lists();
                let managed = written_down(&spec).contains(name);
                prop_assert_eq!(managed, told.contains(name));
                prop_assert!(!managed || types.iter().all(|r#type| told.contains(r#type.as_str())));
            }
        }
    }

    #[test]
    fn drift_tells_each_change_once(spec in make::spec(), row in make::row()) {
        let plan = plan(&spec, &row);
        let drift = plan.drift();
        prop_assert_eq!(drift.len(), plan.changes.len());
        for (drift, change) in drift.iter().zip(&plan.changes) {
            prop_assert_eq!(&drift.field, change.property.name());
            match (&change.desired, &change.observed) {
                (Value::Targets(desired), Value::Targets(observed)) => {
                    let missing = desired.iter().filter(|target| !observed.contains(target)).count();
                    let extra = observed.iter().filter(|target| !desired.contains(target)).count();
                    prop_assert_eq!(drift.missing, i32::try_from(missing).ok());
                    prop_assert_eq!(drift.extra, i32::try_from(extra).ok());
                    prop_assert!(missing + extra > 0);
                    let example = drift.example.clone().unwrap();
                    let differs = |target: &&Target| desired.contains(*target) != observed.contains(*target);
                    let mut all = desired.iter().chain(observed).filter(differs);
                    prop_assert!(all.any(|target| target.to_string() == example));
                    prop_assert_eq!((&drift.desired, &drift.observed), (&None, &None));
                }
                (desired, observed) => {
                    prop_assert_eq!(drift.desired.as_ref(), Some(&scalar(desired)));
                    prop_assert_eq!(drift.observed.as_ref(), Some(&scalar(observed)));
                    prop_assert_eq!((drift.missing, drift.extra, &drift.example), (None, None, &None));
                }
            }
        }
        let status = ComplianceManagementPartnerStatus { drift: Some(drift), ..Default::default() };
        prop_assert_eq!(schema::wrong(&status), Vec::<String>::new());
    }
}

#[test]
fn a_spec_that_manages_nothing_plans_nothing() {
    let row = Partner {
        onboarded: PerPlatform {
            mac_os: true,
            ..PerPlatform::default()
        },
        ..blank_row()
    };
    assert_eq!(plan(&nothing_managed(), &row), Plan::default());
}

#[test]
fn an_empty_list_clears_and_an_absent_one_is_left() {
    let list = Assignments {
        targets: [make::group(0)].into(),
        ..Assignments::default()
    };
    let row = Partner {
        assignments: PerPlatform {
            mac_os: list.clone(),
            android: list.clone(),
            ios: list,
        },
        ..blank_row()
    };
    let spec = Spec {
        ios_enrollment_assignments: Some(Vec::new()),
        ..nothing_managed()
    };
    let plan = plan(&spec, &row);
    assert_eq!(sent(&plan), BTreeSet::from(["iosEnrollmentAssignments".to_owned()]));
    assert_eq!(plan.patch().to_json()["iosEnrollmentAssignments"], json!([]));
    assert_eq!(plan.fields(), "iosEnrollmentAssignments");
}

#[test]
fn collections_are_told_apart_by_case() {
    let collection = |id| entry(TargetType::ConfigurationManagerCollection, None, Some(id));
    let spec = Spec {
        ios_enrollment_assignments: Some(vec![collection("SMS00001")]),
        ..nothing_managed()
    };
    let mut row = blank_row();
    row.assignments.ios.targets = [Target::ConfigurationManagerCollection("sms00001".to_owned())].into();
    let drift = plan(&spec, &row).drift();
    assert_eq!((drift[0].missing, drift[0].extra), (Some(1), Some(1)));
}

#[test]
fn the_rest_is_sent_beside_a_list_that_is_left_alone() {
    let mut row = blank_row();
    row.assignments.mac_os.unsupported = ["#microsoft.graph.newTarget".to_owned()].into();
    let spec = Spec {
        mac_os_onboarded: Some(true),
        mac_os_enrollment_assignments: Some(Vec::new()),
        ..nothing_managed()
    };
    let plan = plan(&spec, &row);
    assert_eq!(plan.fields(), "macOsOnboarded");
    assert_eq!(
        plan.unsupported_lists(),
        "macOsEnrollmentAssignments (#microsoft.graph.newTarget)"
    );
}

#[test]
fn names_are_compared_as_they_are_and_shown_clean() {
    let spec = Spec {
        display_name: Some("Example\u{202E}".to_owned()),
        ..nothing_managed()
    };
    let plan = plan(&spec, &blank_row());
    assert_eq!(plan.patch().to_json()["displayName"], "Example\u{202E}");
    assert_eq!(plan.drift()[0].desired.as_deref(), Some("Example\u{FFFD}"));
    let nameless = Partner {
        display_name: None,
        ..blank_row()
    };
    assert_eq!(super::plan(&spec, &nameless).drift()[0].observed.as_deref(), Some(""));
}
