mod rows;
mod table;

use proptest::prelude::*;

use super::*;
use crate::partner::plan::plan;
use crate::partner::plan::tests::{make, schema};

const RULES: HeartbeatRules = HeartbeatRules {
    stale_after: Duration::from_secs(72 * 3_600),
    resolution: Duration::from_secs(900),
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A condition as an earlier pass wrote it.
fn ready(kind: &str, status: ConditionStatus, generation: i64, reason: &str) -> Condition {
    Condition {
        r#type: kind.to_owned(),
        status,
        observed_generation: Some(generation),
        last_transition_time: at(1).to_string(),
        reason: reason.to_owned(),
        message: "From before.".to_owned(),
    }
}

/// One pass, as it may come out.
#[derive(Clone, Debug)]
struct Step {
    after: i64,
    generation: i64,
    reason: Reason,
    message: String,
    trouble: Duration,
    stalled_connection: bool,
    request: Option<String>,
    row: Option<Partner>,
    id: String,
    spec: crate::api::partner::ComplianceManagementPartnerSpec,
    updated: bool,
}

impl Step {
    fn gone(&self) -> bool {
        use Reason::{PartnerAmbiguous, PartnerNotFound, TenantChanged};
        matches!(self.reason, TenantChanged | PartnerNotFound | PartnerAmbiguous)
    }

    fn seen(&self) -> Seen<'_> {
        match &self.row {
            _ if self.gone() => Seen::Gone,
            // Before these, nothing is read.
            _ if self.reason <= Reason::ConnectionNotReady => Seen::Nothing,
            None => Seen::Nothing,
            Some(row) => Seen::Row(row),
        }
    }

    fn run(&self, previous: &Status, updated: bool, now: Timestamp) -> Status {
        let seen = self.seen();
        let row = match seen {
            Seen::Row(row) => Some(row),
            Seen::Nothing | Seen::Gone => None,
        };
        let verdict = Verdict {
            judgement: Judgement {
                generation: self.generation,
                reason: self.reason,
                message: self.message.clone(),
                applied: applied(&previous.conditions, self.generation, self.trouble, &Timing::default()),
                connection_pair: if self.stalled_connection {
                    Pair::Stalled
                } else {
                    Pair::Reconciling
                },
            },
            request: self.request.as_deref(),
            seen,
            binding: row.map(|_| Binding {
                cloud: "Global".to_owned(),
                tenant: "72f988bf-86f1-41af-91ab-2d7cd011db47".to_owned(),
                id: self.id.clone(),
            }),
            drift: row.map(|row| plan(&self.spec, row).drift()),
            updated: updated && row.is_some(),
            blocked: Blocked::No,
        };
        next(previous, &verdict, RULES, now)
    }
}

prop_compose! {
    fn step()(
        after in 0..400_000_i64,
        generation in 1..4_i64,
        reason in prop::sample::select(Reason::ALL.into_iter().filter(|reason| *reason < Reason::Connected).collect::<Vec<_>>()),
        message in make::foreign_text(),
        trouble in (0..2_000_u64).prop_map(Duration::from_secs),
        stalled_connection in any::<bool>(),
        request in prop::option::of(make::foreign_text()),
        row in prop::option::of(make::row()),
        id in prop_oneof![Just("p1".to_owned()), make::foreign_text()],
        spec in make::spec(),
        updated in any::<bool>(),
    ) -> Step {
        Step { after, generation, reason, message, trouble, stalled_connection, request, row, id, spec, updated }
    }
}

/// Statuses as passes leave them, each with the one before, the step that led there and its time.
fn history(steps: &[Step]) -> Vec<(Status, &Step, Status, Timestamp)> {
    let mut status = Status {
        observed_generation: Some(-1),
        ..Status::default()
    };
    let mut now = 1_794_000_000;
    let mut history = Vec::new();
    for step in steps {
        now += step.after;
        let next = step.run(&status, step.updated, at(now));
        history.push((status, step, next.clone(), at(now)));
        status = next;
    }
    history
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..6).prop_map(|mut steps| {
        let mut least = 0;
        // Generations only grow.
        for step in &mut steps {
            least = step.generation.max(least);
            step.generation = least;
        }
        steps
    })
}

fn find<'a>(status: &'a Status, kind: &str) -> Option<&'a Condition> {
    condition(&status.conditions, kind)
}

proptest! {
    #[test]
    fn the_same_verdict_again_changes_nothing(steps in steps(), later in 0..1_000_000_i64) {
        for (_, step, status, now) in history(&steps) {
            prop_assert_eq!(step.run(&status, step.updated, now), status.clone());
            let later = now + SignedDuration::from_secs(later);
            let again = step.run(&status, false, later);
            let word = |status: &Status| find(status, "HeartbeatFresh").map(|fresh| fresh.reason.clone());
            if word(&again) == word(&status) {
                prop_assert_eq!(again, status);
            }
        }
    }

    #[test]
    fn a_transition_time_moves_with_its_status_alone(steps in steps()) {
        for (before, _, after, now) in history(&steps) {
            for condition in &after.conditions {
                let kept = find(&before, &condition.r#type).filter(|was| was.status == condition.status);
                let expected = kept.map_or_else(|| whole_seconds(now), |was| was.last_transition_time.clone());
                prop_assert_eq!(&condition.last_transition_time, &expected, "{}", &condition.r#type);
            }
        }
    }

    #[test]
    fn a_status_is_one_that_the_api_server_takes(steps in steps()) {
        for (_, step, status, _) in history(&steps) {
            prop_assert_eq!(schema::wrong(&status), Vec::<String>::new());
            prop_assert!(find(&status, "Reconciling").is_none() || find(&status, "Stalled").is_none());
            prop_assert_eq!(status.observed_generation, Some(step.generation));
            for condition in &status.conditions {
                prop_assert_eq!(&condition.message, &text::clean(&condition.message, text::CONDITION_MESSAGE_CHARS));
                prop_assert!(condition.observed_generation <= Some(step.generation));
            }
            for shown in [&status.display_name, &status.partner_state, &status.partner_id] {
                prop_assert_eq!(shown, &shown.as_ref().map(|text| text::clean(text, 256)));
            }
        }
    }

    #[test]
    fn what_is_gone_leaves_nothing_of_itself_but_the_binding(steps in steps()) {
        for (before, step, after, _) in history(&steps) {
            if step.gone() {
                prop_assert!(find(&after, "PartnerEnabled").is_none() && find(&after, "HeartbeatFresh").is_none());
                prop_assert_eq!(
                    (&after.partner_state, &after.last_heartbeat_date_time, &after.platforms, &after.drift),
                    (&None, &None, &None, &None)
                );
                prop_assert_eq!(
                    (&after.partner_id, &after.tenant_id, &after.cloud),
                    (&before.partner_id, &before.tenant_id, &before.cloud)
                );
            } else if matches!(step.seen(), Seen::Nothing) {
                for kind in ["PartnerEnabled", "HeartbeatFresh"] {
                    prop_assert_eq!(find(&before, kind), find(&after, kind));
                }
                prop_assert_eq!(&before.partner_state, &after.partner_state);
                prop_assert_eq!(&before.last_heartbeat_date_time, &after.last_heartbeat_date_time);
                prop_assert_eq!(&before.platforms, &after.platforms);
                prop_assert_eq!(&before.drift, &after.drift);
            }
        }
    }

    #[test]
    fn heartbeats_are_written_when_they_have_moved_far_enough(moves in prop::collection::vec(-600..1_200_i64, 1..20)) {
        let mut row = Partner { last_heartbeat: Some(at(1_794_000_000)), ..make::blank_row() };
        let mut status = poll(&Status::default(), &row, at(1_794_000_000));
        let mut heartbeat = 1_794_000_000;
        for by in moves {
            heartbeat += by;
            row.last_heartbeat = Some(at(heartbeat));
            let next = poll(&status, &row, at(1_794_000_000));
            let was: Timestamp = status.last_heartbeat_date_time.clone().unwrap().parse().unwrap();
            if (heartbeat - was.as_second()).abs() < 900 {
                prop_assert_eq!(&next, &status);
            } else {
                prop_assert_eq!(next.last_heartbeat_date_time.clone(), Some(at(heartbeat).to_string()));
            }
            status = next;
        }
    }
}

/// A poll that finds all in order.
fn poll(previous: &Status, row: &Partner, now: Timestamp) -> Status {
    let step = Step {
        after: 0,
        generation: 1,
        reason: Reason::InSync,
        message: "All is well.".to_owned(),
        trouble: Duration::ZERO,
        stalled_connection: false,
        request: None,
        row: Some(row.clone()),
        id: "p1".to_owned(),
        spec: make::nothing_managed(),
        updated: false,
    };
    step.run(previous, false, now)
}

#[test]
fn freshness_flips_just_after_its_bound_and_takes_the_heartbeat_along() {
    let heartbeat = 1_794_000_000;
    let mut row = Partner {
        last_heartbeat: Some(at(heartbeat)),
        ..make::blank_row()
    };
    let status = poll(&Status::default(), &row, at(heartbeat));
    assert_eq!(find(&status, "HeartbeatFresh").unwrap().reason, "Fresh");
    let bound = heartbeat + 72 * 3_600;
    assert_eq!(turns_stale_at(&row, RULES, at(heartbeat)), Some(at(bound)));
    assert_eq!(poll(&status, &row, at(bound)), status);
    row.last_heartbeat = Some(at(heartbeat + 1));
    let stale = poll(&status, &row, at(bound + 2));
    let fresh = find(&stale, "HeartbeatFresh").unwrap();
    assert_eq!((fresh.status, fresh.reason.as_str()), (ConditionStatus::False, "Stale"));
    assert_eq!(stale.last_heartbeat_date_time, Some(at(heartbeat + 1).to_string()));
    assert_eq!(turns_stale_at(&row, RULES, at(bound + 2)), None);
}

#[test]
fn a_small_move_is_written_with_whatever_else_is() {
    let mut row = Partner {
        last_heartbeat: Some(at(1_794_000_000)),
        ..make::blank_row()
    };
    let status = poll(&Status::default(), &row, at(1_794_000_000));
    row.last_heartbeat = Some(at(1_794_000_060));
    row.partner_state = "terminated".to_owned();
    let next = poll(&status, &row, at(1_794_000_060));
    assert_eq!(next.last_heartbeat_date_time, Some(at(1_794_000_060).to_string()));
}

#[test]
fn heartbeats_that_never_were_that_are_to_come_and_that_no_calendar_has() {
    let row = make::wire(&make::blank_row());
    let row = crate::graph::model::decode_row(&row).unwrap();
    let status = poll(&Status::default(), &row, at(1_794_000_000));
    let fresh = find(&status, "HeartbeatFresh").unwrap();
    assert_eq!(
        (fresh.status, fresh.reason.as_str()),
        (ConditionStatus::Unknown, "NeverReported")
    );
    assert_eq!(status.last_heartbeat_date_time, None);
    for (heartbeat, reason) in [
        (Timestamp::MAX, "Fresh"),
        (at(1_794_000_001), "Fresh"),
        (Timestamp::MIN, "Stale"),
    ] {
        let row = Partner {
            last_heartbeat: Some(heartbeat),
            ..make::blank_row()
        };
        let status = poll(&Status::default(), &row, at(1_794_000_000));
        assert_eq!(find(&status, "HeartbeatFresh").unwrap().reason, reason);
        assert_eq!(schema::wrong(&status), Vec::<String>::new());
    }
}

#[test]
fn partner_enabled_follows_graphs_word() {
    use ConditionStatus::{False, True, Unknown};
    for (word, status, reason) in [
        ("enabled", True, "Enabled"),
        ("terminated", False, "Terminated"),
        ("rejected", False, "Rejected"),
        ("unresponsive", False, "Unresponsive"),
        ("unavailable", False, "Unavailable"),
        ("unknown", Unknown, "Unknown"),
        ("pendingActivation", Unknown, "PendingActivation"),
        ("準備中", Unknown, "UnrecognizedState"),
        ("2fast", Unknown, "UnrecognizedState"),
    ] {
        let row = Partner {
            partner_state: word.to_owned(),
            ..make::blank_row()
        };
        let told = poll(&Status::default(), &row, at(1_794_000_000));
        let enabled = find(&told, "PartnerEnabled").unwrap();
        assert_eq!((enabled.status, enabled.reason.as_str()), (status, reason), "{word}");
        assert_eq!(told.partner_state.as_deref(), Some(word));
    }
}
