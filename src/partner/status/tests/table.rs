//! The contract's table, row for row: what each reason does to the conditions, and when the pass is tried again.

use std::time::Duration;

use super::super::*;
use super::{at, ready};
use crate::api::reason::Retry;

/// Reasons, Ready, Synced, Reconciling, Stalled, tried again: in the words of the contract. A row of several reasons
/// may name a wait for each.
type Words = (
    &'static [Reason],
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

/// All rows but the three of trouble that passes by itself.
const ROWS: &[Words] = {
    use Reason::*;
    &[
        (&[Cleaning], "False", "as it was", "True", "–", "backoff"),
        (
            &[Suspended],
            "stays if True, else removed",
            "Unknown",
            "–",
            "–",
            "on change",
        ),
        (
            &[ConnectionNotFound],
            "False",
            "Unknown",
            "True",
            "–",
            "on change, backoff to 1 min",
        ),
        (
            &[ConnectionNotReady],
            "False",
            "Unknown",
            "as the connection has it",
            "as the connection has it",
            "on change",
        ),
        (&[PartnerConflict], "False", "Unknown", "True", "–", "poll"),
        (
            &[TenantChanged, PartnerNotFound, PartnerAmbiguous],
            "False",
            "Unknown",
            "–",
            "True",
            "poll",
        ),
        (&[PermissionDenied], "False", "Unknown", "True", "–", "slow"),
        (&[TenantNotLicensed], "False", "Unknown", "True", "–", "very slow"),
        (&[RejectedByGraph], "False", "False", "–", "True", "slow"),
        (&[Verifying], "False", "False", "True", "–", "5 s, 15 s, 60 s"),
        (&[UpdateIneffective], "False", "False", "–", "True", "slow"),
        (&[UnsupportedTarget], "False", "False", "–", "True", "poll"),
        (&[DriftDetected], "True", "False", "–", "–", "poll"),
        (&[InSync], "True", "True", "–", "–", "poll"),
    ]
};

const TRANSIENT: &[Reason] = &[Reason::Throttled, Reason::GraphUnavailable];

/// Trouble that passes by itself, by what was before it.
const TRANSIENT_ROWS: &[(Applied, Words)] = &[
    (Applied::NotYet, (TRANSIENT, "False", "Unknown", "True", "–", "backoff")),
    (
        Applied::Recently,
        (TRANSIENT, "as it was", "as it was", "–", "–", "backoff"),
    ),
    (
        Applied::LongAgo,
        (TRANSIENT, "Unknown", "Unknown", "True", "–", "backoff"),
    ),
];

const NOW: i64 = 5_000;

fn retry(words: &str) -> Retry {
    match words {
        "on change" => Retry::OnChange,
        "on change, backoff to 1 min" => Retry::OnChangeOrSoon,
        "poll" => Retry::Poll,
        "slow" => Retry::Slow,
        "very slow" => Retry::VerySlow,
        "backoff" => Retry::Backoff,
        "5 s, 15 s, 60 s" => Retry::Grace,
        _ => panic!("the contract has no wait {words}"),
    }
}

/// What was there before the pass: every status of Ready and Synced, for this generation or the last, and each of the
/// pair, but for a verdict of this generation that is Stalled: that one stays.
fn befores() -> Vec<Vec<Condition>> {
    let statuses = [ConditionStatus::True, ConditionStatus::False, ConditionStatus::Unknown];
    let mut all = vec![Vec::new()];
    for status in statuses {
        for (generation, kind) in [(1, "Stalled"), (1, "Reconciling"), (2, "Reconciling")] {
            let synced = ConditionStatus::False;
            all.push(vec![
                ready("Ready", status, generation, "InSync"),
                ready("Synced", synced, generation, "DriftDetected"),
                ready(kind, ConditionStatus::True, generation, "Verifying"),
            ]);
        }
    }
    all
}

fn holds(words: &Words, reason: Reason, applied: Applied, connection_pair: Pair) {
    let (_, ready, synced, reconciling, stalled, again) = *words;
    assert_eq!(reason.row(applied).retry, retry(again), "{reason:?}");
    for before in befores() {
        let judgement = Judgement {
            generation: 2,
            reason,
            message: "What to do.".to_owned(),
            applied,
            connection_pair,
        };
        let after = judge(&before, &judgement, true, at(NOW));
        for (kind, word) in [
            ("Ready", ready),
            ("Synced", synced),
            ("Reconciling", reconciling),
            ("Stalled", stalled),
        ] {
            let (was, is) = (condition(&before, kind), condition(&after, kind));
            let expected = match word {
                "True" => Some(ConditionStatus::True),
                "False" => Some(ConditionStatus::False),
                "Unknown" => Some(ConditionStatus::Unknown),
                "–" => None,
                "as the connection has it" => {
                    let pair = if kind == "Stalled" {
                        Pair::Stalled
                    } else {
                        Pair::Reconciling
                    };
                    (pair == connection_pair).then_some(ConditionStatus::True)
                }
                "as it was" => {
                    assert_eq!(was, is, "{reason:?} {kind}");
                    continue;
                }
                "stays if True, else removed" => {
                    assert_eq!(is, was.filter(|was| was.status == ConditionStatus::True), "{kind}");
                    continue;
                }
                _ => panic!("the contract has no word {word}"),
            };
            let told = is.map(|is| {
                (
                    is.status,
                    is.reason.as_str(),
                    is.message.as_str(),
                    is.observed_generation,
                )
            });
            let expected = expected.map(|status| (status, reason.as_str(), "What to do.", Some(2)));
            assert_eq!(told, expected, "{reason:?} {kind}");
        }
    }
}

#[test]
fn each_reason_does_what_its_row_says() {
    for row in ROWS {
        for reason in row.0 {
            for applied in [Applied::NotYet, Applied::Recently, Applied::LongAgo] {
                for pair in [Pair::Reconciling, Pair::Stalled] {
                    holds(row, *reason, applied, pair);
                }
            }
        }
    }
    for (applied, row) in TRANSIENT_ROWS {
        for reason in row.0 {
            holds(row, *reason, *applied, Pair::Neither);
        }
    }
}

#[test]
fn reasons_take_precedence_in_the_order_of_the_rows() {
    let (before, after) = ROWS.split_at(4);
    let rows = before
        .iter()
        .map(|row| row.0)
        .chain([TRANSIENT])
        .chain(after.iter().map(|row| row.0));
    let reasons: Vec<Reason> = rows.flatten().copied().collect();
    assert!(reasons.is_sorted(), "{reasons:?}");
    let partner_reasons = Reason::ALL
        .into_iter()
        .take_while(|reason| *reason != Reason::Connected);
    let without_a_row: Vec<_> = partner_reasons.filter(|reason| !reasons.contains(reason)).collect();
    assert_eq!(without_a_row, []);
}

#[test]
fn waits_are_those_of_the_contract() {
    let timing = Timing::default();
    let seconds = Duration::from_secs;
    assert_eq!(timing.sync_interval, seconds(600));
    assert_eq!((timing.slow, timing.very_slow), (seconds(900), seconds(3_600)));
    assert_eq!(timing.grace, [5, 15, 60].map(seconds));
    assert_eq!((timing.backoff, timing.backoff_cap), (seconds(2), seconds(300)));
    assert_eq!(timing.connection_cap, seconds(60));
    assert_eq!(timing.unknown_after, seconds(900));
}

#[test]
fn applied_is_told_from_ready_alone() {
    use ConditionStatus::{False, True, Unknown};
    let timing = Timing::default();
    let late = timing.unknown_after;
    let early = late.saturating_sub(Duration::from_nanos(1));
    for (status, generation, reason, trouble, expected) in [
        (True, 2, "InSync", early, Applied::Recently),
        (True, 2, "InSync", late, Applied::LongAgo),
        (True, 2, "DriftDetected", early, Applied::Recently),
        (True, 1, "InSync", early, Applied::NotYet),
        // A restart forgets when trouble began: what is Unknown stays so.
        (Unknown, 2, "Throttled", Duration::ZERO, Applied::LongAgo),
        (Unknown, 2, "GraphUnavailable", late, Applied::LongAgo),
        (Unknown, 1, "GraphUnavailable", late, Applied::NotYet),
        (Unknown, 2, "SomethingElse", late, Applied::NotYet),
        (False, 2, "GraphUnavailable", late, Applied::NotYet),
        (False, 2, "UnsupportedTarget", late, Applied::NotYet),
    ] {
        let before = [ready("Ready", status, generation, reason)];
        assert_eq!(
            applied(&before, 2, trouble, &timing),
            expected,
            "{status:?} {generation} {reason}"
        );
    }
    assert_eq!(applied(&[], 2, late, &timing), Applied::NotYet);
}

#[test]
fn a_stalled_verdict_stays_through_passing_trouble_of_its_generation_alone() {
    let before = vec![
        ready("Ready", ConditionStatus::False, 2, "UnsupportedTarget"),
        ready("Synced", ConditionStatus::False, 2, "UnsupportedTarget"),
        ready("Stalled", ConditionStatus::True, 2, "UnsupportedTarget"),
        ready("PartnerEnabled", ConditionStatus::True, 2, "Enabled"),
    ];
    let judged = |generation, reason| {
        let judgement = Judgement {
            generation,
            reason,
            message: String::new(),
            applied: Applied::NotYet,
            connection_pair: Pair::Neither,
        };
        judge(&before, &judgement, true, at(NOW))
    };
    for reason in TRANSIENT {
        assert_eq!(judged(2, *reason), before);
        let next = judged(3, *reason);
        assert!(condition(&next, "Stalled").is_none());
        assert!(condition(&next, "Reconciling").is_some());
    }
    assert!(condition(&judged(2, Reason::PermissionDenied), "Stalled").is_none());
}
