use super::*;

fn with_ready(status: ConditionStatus, reason: &str) -> Status {
    Status {
        conditions: vec![condition_of("Ready", status, reason)],
        ..Status::default()
    }
}

fn condition_of(kind: &str, status: ConditionStatus, reason: &str) -> Condition {
    Condition {
        r#type: kind.to_owned(),
        status,
        observed_generation: Some(1),
        last_transition_time: "2026-11-23T10:15:30Z".to_owned(),
        reason: reason.to_owned(),
        message: format!("Because of {reason}."),
    }
}

fn reasons(previous: &Status, next: &Status, deeds: &Deeds) -> Vec<String> {
    let notices = notices(previous, next, deeds);
    notices.into_iter().map(|notice| notice.reason).collect()
}

fn everything() -> (Status, Status, Deeds) {
    let previous = Status {
        partner_id: Some("p1".to_owned()),
        partner_state: Some("enabled".to_owned()),
        ..with_ready(ConditionStatus::True, "InSync")
    };
    let mut next = Status {
        partner_id: Some("p2".to_owned()),
        partner_state: Some("terminated".to_owned()),
        ..with_ready(ConditionStatus::False, "UnsupportedTarget")
    };
    next.conditions
        .push(condition_of("HeartbeatFresh", ConditionStatus::False, "Stale"));
    let deeds = Deeds {
        updated: Some(("iosOnboarded".to_owned(), true)),
        rebound_from: Some("p1".to_owned()),
        contested: Some("iosOnboarded".to_owned()),
    };
    (previous, next, deeds)
}

#[test]
fn each_change_is_told_once() {
    let (previous, next, deeds) = everything();
    let mut told = reasons(&previous, &next, &deeds);
    told.sort_unstable();
    assert_eq!(
        told,
        [
            "Contested",
            "HeartbeatStale",
            "PartnerRebound",
            "PartnerStateChanged",
            "UnsupportedTarget",
            "Updated",
        ]
    );
    assert_eq!(reasons(&next, &next, &Deeds::default()), Vec::<String>::new());
}

#[test]
fn an_update_names_its_fields_and_its_cause() {
    for (drift, cause) in [(true, "Graph had drifted from spec"), (false, "spec was edited")] {
        let deeds = Deeds {
            updated: Some(("displayName, iosOnboarded".to_owned(), drift)),
            ..Deeds::default()
        };
        let told = notices(&Status::default(), &Status::default(), &deeds);
        assert_eq!(told.len(), 1);
        assert!(!told[0].warning);
        assert!(told[0].note.contains("displayName, iosOnboarded") && told[0].note.contains(cause));
    }
}

#[test]
fn a_state_is_told_where_there_was_another() {
    let state = |word: Option<&str>| Status {
        partner_state: word.map(str::to_owned),
        ..Status::default()
    };
    let told = |from, to| notices(&state(from), &state(to), &Deeds::default());
    assert!(told(None, Some("enabled")).is_empty());
    assert!(told(Some("enabled"), None).is_empty());
    assert!(told(Some("enabled"), Some("enabled")).is_empty());
    assert!(told(Some("enabled"), Some("terminated"))[0].warning);
    assert!(!told(Some("terminated"), Some("enabled"))[0].warning);
}

#[test]
fn a_stale_heartbeat_is_told_once_an_episode() {
    use ConditionStatus::{False, True, Unknown};
    let fresh = |status| Status {
        conditions: vec![condition_of("HeartbeatFresh", status, "Any")],
        ..Status::default()
    };
    let episode = [Unknown, True, False, False, True, False];
    let told: usize = episode
        .windows(2)
        .map(|pair| notices(&fresh(pair[0]), &fresh(pair[1]), &Deeds::default()).len())
        .sum();
    assert_eq!(told, 2);
}

#[test]
fn ready_is_told_when_it_turns_false_and_with_its_reason() {
    use ConditionStatus::{False, True, Unknown};
    let told = |from: (ConditionStatus, &str), to: (ConditionStatus, &str)| {
        reasons(&with_ready(from.0, from.1), &with_ready(to.0, to.1), &Deeds::default())
    };
    assert_eq!(told((True, "InSync"), (False, "RejectedByGraph")), ["RejectedByGraph"]);
    assert_eq!(
        told((Unknown, "Throttled"), (False, "PermissionDenied")),
        ["PermissionDenied"]
    );
    assert_eq!(told((True, "InSync"), (False, "Verifying")), ["Verifying"]);
    assert_eq!(
        told((False, "Verifying"), (False, "UpdateIneffective")),
        ["UpdateIneffective"]
    );
    for (from, to) in [
        ((False, "RejectedByGraph"), (False, "RejectedByGraph")),
        ((False, "RejectedByGraph"), (True, "InSync")),
        ((True, "InSync"), (Unknown, "Throttled")),
        ((True, "InSync"), (True, "DriftDetected")),
    ] {
        assert_eq!(told(from, to), Vec::<String>::new(), "{from:?} {to:?}");
    }
    let first = ready_turned_false(&[], &with_ready(False, "ConnectionNotFound").conditions).unwrap();
    assert!(first.warning);
    assert_eq!(first.note, "Because of ConnectionNotFound.");
}
