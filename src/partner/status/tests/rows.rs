//! The table against any conditions that may have stood before, and trouble that passes by itself.

use super::*;
use crate::partner::report::{Deeds, notices};

const STATUSES: [ConditionStatus; 3] = [ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown];

fn reasons() -> Vec<Reason> {
    let all = Reason::ALL.into_iter();
    all.filter(|reason| !reason.is_of_connection()).collect()
}

prop_compose! {
    /// A condition of any status, judged for any of the last generations.
    fn before(kind: &'static str)(
        status in prop::sample::select(STATUSES.to_vec()),
        generation in 1..4_i64,
        reason in prop::sample::select(reasons()),
    ) -> Condition {
        ready(kind, status, generation, reason.as_str())
    }
}

fn befores() -> impl Strategy<Value = Vec<Condition>> {
    let pair = prop_oneof![
        Just(None),
        (1..4_i64).prop_map(|generation| Some(ready("Reconciling", ConditionStatus::True, generation, "Verifying"))),
        (1..4_i64).prop_map(|generation| Some(ready("Stalled", ConditionStatus::True, generation, "PartnerNotFound"))),
    ];
    let of = |kind| prop::option::of(before(kind));
    (
        of("Ready"),
        of("Synced"),
        pair,
        of("PartnerEnabled"),
        of("HeartbeatFresh"),
    )
        .prop_map(|(ready, synced, pair, enabled, fresh)| {
            [ready, synced, pair, enabled, fresh].into_iter().flatten().collect()
        })
}

/// Any reason, for any generation that is not older than what was judged before.
fn judgement() -> impl Strategy<Value = Judgement> {
    let applied = prop::sample::select(vec![Applied::NotYet, Applied::Recently, Applied::LongAgo]);
    let pair = prop::sample::select(vec![Pair::Reconciling, Pair::Stalled]);
    (prop::sample::select(reasons()), 3..5_i64, applied, pair).prop_map(
        |(reason, generation, applied, connection_pair)| Judgement {
            generation,
            reason,
            message: "What to do.".to_owned(),
            applied,
            connection_pair,
        },
    )
}

/// Whether the row says anything else of `Ready` than that it stays.
fn sets(effect: Effect) -> Option<ConditionStatus> {
    match effect {
        Effect::True => Some(ConditionStatus::True),
        Effect::False => Some(ConditionStatus::False),
        Effect::Unknown => Some(ConditionStatus::Unknown),
        Effect::AsItWas | Effect::TrueOrRemoved => None,
    }
}

/// A history that ends with a pass that did all it was asked for, and how long ago that was written.
fn healthy() -> impl Strategy<Value = Vec<Step>> {
    let last = (
        step(),
        prop::sample::select(vec![Reason::InSync, Reason::DriftDetected]),
        make::row(),
    );
    (steps(), last).prop_map(|(mut steps, (last, reason, row))| {
        let generation = steps.last().map_or(1, |step| step.generation);
        steps.push(Step {
            reason,
            generation,
            row: Some(row),
            ..last
        });
        steps
    })
}

/// A pass that could read nothing, for the same generation and without a request.
fn outage(last: &Step, trouble: Duration, reason: Reason) -> Step {
    Step {
        reason,
        trouble,
        row: None,
        request: None,
        message: "Graph is away.".to_owned(),
        ..last.clone()
    }
}

proptest! {
    #[test]
    fn a_row_sets_what_it_says_whatever_was_there_before(before in befores(), judgement in judgement()) {
        let after = judge(&before, &judgement, true, at(9_000));
        let Judgement { generation, reason, applied, connection_pair, .. } = judgement.clone();
        let row = reason.row(applied);
        let there = |kind| condition(&after, kind);
        prop_assert!(there("Reconciling").is_none() || there("Stalled").is_none());
        for kind in ["PartnerEnabled", "HeartbeatFresh"] {
            prop_assert_eq!(there(kind), condition(&before, kind));
        }
        let kept = condition(&before, "Stalled").is_some_and(|stalled| stalled.observed_generation == Some(generation));
        if reason.is_transient() && kept {
            prop_assert_eq!(after, before);
            return Ok(());
        }
        for (kind, effect) in [("Ready", row.ready), ("Synced", row.synced)] {
            let (was, is) = (condition(&before, kind), there(kind));
            match (sets(effect), effect) {
                (Some(status), _) => {
                    let is = is.unwrap();
                    prop_assert_eq!((is.status, is.reason.as_str()), (status, reason.as_str()));
                    prop_assert_eq!((is.observed_generation, is.message.as_str()), (Some(generation), "What to do."));
                    let since = was.filter(|was| was.status == status).map_or(at(9_000).to_string(), |was| was.last_transition_time.clone());
                    prop_assert_eq!(&is.last_transition_time, &since);
                }
                (None, Effect::AsItWas) => prop_assert_eq!(is, was),
                (None, _) => prop_assert_eq!(is, was.filter(|was| was.status == ConditionStatus::True)),
            }
        }
        let pair = if row.pair == Pair::AsConnection { connection_pair } else { row.pair };
        for (kind, which) in [("Reconciling", Pair::Reconciling), ("Stalled", Pair::Stalled)] {
            let told = there(kind).map(|is| (is.status, is.reason.as_str(), is.observed_generation));
            let expected = (pair == which).then_some((ConditionStatus::True, reason.as_str(), Some(generation)));
            prop_assert_eq!(told, expected);
        }
        // Judged again, nothing is to be written.
        prop_assert_eq!(judge(&after, &judgement, true, at(9_999)), after);
    }

    #[test]
    fn what_was_applied_counts_for_trouble_that_passes_alone(reason in prop::sample::select(reasons())) {
        let rows = [Applied::NotYet, Applied::Recently, Applied::LongAgo].map(|applied| reason.row(applied));
        prop_assert_eq!(reason.is_transient(), rows[0] != rows[1] && rows[1] != rows[2] && rows[0] != rows[2]);
        prop_assert_eq!(reason.is_transient(), rows[0] != rows[1] || rows[1] != rows[2]);
    }

    #[test]
    fn a_short_outage_writes_nothing_and_a_long_one_takes_the_verdict_back_once(
        steps in healthy(),
        short in 0..900_u64,
        long in 900..100_000_u64,
        reason in prop::sample::select(vec![Reason::Throttled, Reason::GraphUnavailable]),
        later in 1_000..100_000_i64,
    ) {
        let (_, last, status, now) = history(&steps).pop().unwrap();
        let short = outage(last, Duration::from_secs(short), reason);
        prop_assert_eq!(short.run(&status, false, now), status.clone());

        let then = now + SignedDuration::from_secs(later);
        let long = outage(last, Duration::from_secs(long), reason);
        let away = long.run(&status, false, then);
        for kind in ["Ready", "Synced"] {
            let is = find(&away, kind).unwrap();
            prop_assert_eq!((is.status, is.reason.as_str()), (ConditionStatus::Unknown, reason.as_str()));
            prop_assert_eq!(&is.last_transition_time, &whole_seconds(then));
        }
        prop_assert!(find(&away, "Reconciling").is_some() && find(&away, "Stalled").is_none());
        // All that the row said stays.
        for kind in ["PartnerEnabled", "HeartbeatFresh"] {
            prop_assert_eq!(find(&away, kind), find(&status, kind));
        }
        prop_assert_eq!(Status { conditions: Vec::new(), ..away.clone() }, Status { conditions: Vec::new(), ..status.clone() });
        // Also after a restart, which forgets since when.
        for trouble in [long.trouble, Duration::ZERO] {
            let again = Step { trouble, ..long.clone() };
            prop_assert_eq!(again.run(&away, false, then + SignedDuration::from_secs(60)), away.clone());
        }
        // The same pass as before the outage gives the same verdict; that Ready was away for a while can be told.
        let back = Step { request: None, ..last.clone() }.run(&away, false, now);
        for (was, is) in status.conditions.iter().zip(&back.conditions) {
            let moved = matches!(was.r#type.as_str(), "Ready") || was.r#type == "Synced";
            let was = if moved {
                Condition { last_transition_time: is.last_transition_time.clone(), ..was.clone() }
            } else {
                was.clone()
            };
            prop_assert_eq!(&was, is);
        }
    }

    #[test]
    fn a_stalled_verdict_is_taken_back_by_no_outage_of_its_generation(
        steps in steps(),
        trouble in 0..100_000_u64,
        reason in prop::sample::select(vec![Reason::Throttled, Reason::GraphUnavailable]),
    ) {
        for (_, step, status, now) in history(&steps) {
            let stalled = find(&status, "Stalled").is_some_and(|it| it.observed_generation == Some(step.generation));
            if stalled {
                let away = outage(step, Duration::from_secs(trouble), reason).run(&status, false, now);
                prop_assert_eq!(away, status);
            }
        }
    }

    #[test]
    fn a_heartbeat_turns_stale_just_after_the_time_that_is_told(
        ago in -100_000..600_000_i64,
        now in make::moment(),
    ) {
        let row = Partner {
            last_heartbeat: Some(now - SignedDuration::from_secs(ago)),
            ..make::blank_row()
        };
        let stale = |at| RULES.is_stale(row.last_heartbeat.unwrap(), at);
        match turns_stale_at(&row, RULES, now) {
            Some(turn) => {
                prop_assert!(turn >= now && !stale(now) && !stale(turn));
                prop_assert!(stale(turn + SignedDuration::from_nanos(1)));
            }
            None => prop_assert!(stale(now)),
        }
    }

    #[test]
    fn nothing_is_told_of_a_status_that_stays(steps in steps()) {
        for (_, _, status, _) in history(&steps) {
            prop_assert_eq!(notices(&status, &status, &Deeds::default()), Vec::new());
        }
    }

    #[test]
    fn a_request_is_echoed_once_it_was_acted_on_and_never_taken_back(steps in steps()) {
        for (before, step, after, _) in history(&steps) {
            let echo = step.request.as_ref().map(|request| text::clean(request, text::REQUEST_CHARS));
            prop_assert_eq!(after.last_handled_reconcile_at, echo.or(before.last_handled_reconcile_at));
        }
    }
}
