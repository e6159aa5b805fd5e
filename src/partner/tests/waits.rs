//! When a resource is looked at again, whatever its last pass has come to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::{config, key, made_up};
use crate::api::partner::ComplianceManagementPartnerStatus;
use crate::api::reason::{Applied, Reason, Retry};
use crate::graph::model;
use crate::partner::memory::PartnerMemory;
use crate::partner::plan::tests::make;
use crate::partner::report::Deeds;
use crate::partner::{Finding, Moment, Pass, begin, due, held, keep};
use crate::runtime::index::{SharedIndex, connection_of};
use crate::runtime::object::Partner;
use crate::runtime::queue::Lane;
use crate::runtime::write::NotWritten;

fn pass(edit: bool) -> Pass {
    Pass {
        object: Arc::new(made_up(key(("a", "one")), make::nothing_managed())),
        memory: PartnerMemory::default(),
        status: ComplianceManagementPartnerStatus::default(),
        seen_at: Instant::now(),
        wakes: 0,
        edit,
        request: None,
        deeds: Deeds::default(),
        finalizers: Ok(()),
    }
}

prop_compose! {
    fn finding()(
        reason in prop::sample::select(
            Reason::ALL.into_iter().filter(|reason| !reason.is_of_connection()).collect::<Vec<_>>()
        ),
        retry_after in prop::option::of((1..4_000_u64).prop_map(Duration::from_secs)),
        // How long ago the heartbeat was, where a row was read.
        heartbeat in prop::option::of(prop::option::of(0..300_000_i64)),
    ) -> Finding {
        let row = heartbeat.map(|ago| model::Partner {
            last_heartbeat: ago.map(|ago| now() - SignedDuration::from_secs(ago)),
            ..make::blank_row()
        });
        let retry_after = retry_after.filter(|_| reason.is_transient());
        Finding { row, retry_after, ..Finding::new(reason, "What to do.") }
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_794_000_000).unwrap()
}

proptest! {
    #[test]
    fn the_next_pass_comes_when_the_table_says(
        finding in finding(),
        failures in 0..12_u32,
        trouble in (0..2_000_u64).prop_map(Duration::from_secs),
        applied in prop::sample::select(vec![Applied::NotYet, Applied::Recently, Applied::LongAgo]),
        unwritten in prop::bool::weighted(0.2),
        random in 0.0..1.0_f64,
        edit in any::<bool>(),
    ) {
        let config = config(false);
        let timing = config.timing;
        let mut pass = pass(edit);
        for _ in 0..failures {
            pass.memory.backoff.next(timing.backoff, timing.backoff_cap, None, 0.5);
        }
        let moment = Moment { now: now(), instant: Instant::now(), random };
        let written = if unwritten { Err(NotWritten) } else { Ok(()) };
        let due = due(&config, &mut pass, &finding, (applied, trouble), written, moment);

        // By the table alone.
        let backoff = |cap: Duration| (Duration::ZERO, cap.min(timing.backoff * 2_u32.pow(failures)));
        let (least, most) = match finding.reason.row(applied).retry {
            Retry::OnChange | Retry::Poll => (None, None),
            Retry::OnChangeOrSoon => (None, Some(backoff(timing.connection_cap).1)),
            Retry::Slow => (Some(timing.slow), Some(timing.slow)),
            Retry::VerySlow => (Some(timing.very_slow), Some(timing.very_slow)),
            Retry::Grace => (Some(timing.grace[0]), Some(timing.grace[0])),
            Retry::Secret => (Some(timing.secret), Some(timing.secret)),
            Retry::Backoff => {
                let asked = finding.retry_after.unwrap_or_default();
                let most = backoff(timing.backoff_cap).1.max(asked).max(Duration::from_millis(1));
                (Some(asked), Some(most))
            }
        };
        let heartbeat = finding.row.as_ref().and_then(|row| row.last_heartbeat);
        let stale = heartbeat.map(|heartbeat| heartbeat + SignedDuration::from_hours(72)).filter(|stale| *stale >= now());
        let until_stale = stale.map(|stale| Duration::try_from(stale.duration_since(now())).unwrap());
        let becomes_unknown = timing.unknown_after.saturating_sub(trouble);
        // What may bring the pass forward.
        let sooner = until_stale.is_some()
            || unwritten
            || (finding.reason.is_transient() && applied == Applied::Recently && !becomes_unknown.is_zero());
        match due {
            Some(due) => {
                prop_assert!(!due.is_zero());
                prop_assert!(sooner || most.is_some_and(|most| due <= most), "{due:?} is after {most:?}");
                prop_assert!(sooner || least.is_none_or(|least| due >= least), "{due:?} is before {least:?}");
                prop_assert!(most.is_none_or(|most| due <= most.max(Duration::from_millis(1))));
                prop_assert!(until_stale.is_none_or(|stale| due <= stale + Duration::from_secs(1)));
                prop_assert!(!unwritten || due <= timing.backoff);
            }
            None => prop_assert!(most.is_none() && !sooner),
        }
        // A verdict that was kept through trouble is taken back in time.
        if finding.reason.is_transient() && applied == Applied::Recently && !becomes_unknown.is_zero() {
            prop_assert!(due.unwrap() <= becomes_unknown);
        }
        // A poll is passed over until the pass that is planned, and not longer; nothing else ever is.
        let until = pass.memory.hold_until;
        prop_assert!(until.is_none_or(|until| due.is_some_and(|due| until <= moment.instant + due)));
        prop_assert!(until.is_none() || !unwritten);
        let just_before = until.map_or(moment.instant, |until| until.checked_sub(Duration::from_nanos(1)).unwrap());
        prop_assert_eq!(held(&pass, Lane::Bulk, just_before), until.filter(|_| !edit));
        prop_assert_eq!(held(&pass, Lane::Edit, just_before), None);
        prop_assert!(until.is_none_or(|until| held(&pass, Lane::Bulk, until).is_none()));
    }
}

/// What the pause was for may be over by the time that the pass has ended.
#[test]
fn a_change_of_the_connection_during_a_pass_ends_the_pause_that_the_pass_asks_for() {
    let shared = SharedIndex::new(false);
    let key = key(("a", "one"));
    let partner: Partner = made_up(key.clone(), make::nothing_managed());
    let mut index = shared.lock();
    index.put_partner(partner.clone(), Instant::now(), true);
    for changes in [false, true] {
        let mut pass = begin(&index, &key).unwrap();
        pass.memory.hold_until = Some(Instant::now());
        if changes {
            index.around_connection(&connection_of(&partner));
        }
        keep(&mut index, &mut pass);
        let held = index.partner(&key).unwrap().memory.hold_until;
        assert_eq!(held.is_none(), changes);
    }
}
