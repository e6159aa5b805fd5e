//! How long a key waits after a failure: doubling from a base to a cap, with full jitter. Pure: chance comes in as an
//! argument.

use std::time::Duration;

/// No wait is shorter than this: a zero would turn a failing pass into a busy loop.
const SHORTEST: Duration = Duration::from_millis(1);

/// The failures of one key since its last success.
///
/// One `u32`; base and cap are given at each failure, because they belong to the reason that failed and not to the key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Counts one more failure and says how long to wait after it.
    ///
    /// The ceiling is `base` after the first failure and doubles with each further one up to `cap`. The wait lies evenly
    /// between zero and the ceiling (full jitter, so that keys that failed together do not return together): `random`
    /// picks the place, from 0 to below 1; what lies outside is taken as the nearer end, and NaN as 1.
    ///
    /// The wait is never under `at_least`, which is the service's own word (a Retry-After) and may lie above `cap`, and
    /// never under a millisecond.
    pub fn next(&mut self, base: Duration, cap: Duration, at_least: Option<Duration>, random: f64) -> Duration {
        let doubled = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let ceiling = base.saturating_mul(doubled).min(cap);
        self.failures = self.failures.saturating_add(1);

        let place = if random.is_nan() { 1.0 } else { random.clamp(0.0, 1.0) };
        // The product of a huge ceiling rounds up past what a Duration holds; the ceiling itself is right then.
        let jittered = Duration::try_from_secs_f64(ceiling.as_secs_f64() * place)
            .unwrap_or(ceiling)
            .min(ceiling);
        jittered.max(at_least.unwrap_or_default()).max(SHORTEST)
    }

    /// Forgets all failures: the next one waits as the first did.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The failures since the last [`reset`](Self::reset); stays at `u32::MAX` once there.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BASE: Duration = Duration::from_secs(2);
    const CAP: Duration = Duration::from_secs(300);

    /// Close enough to one for the wait to be the ceiling, to the microsecond.
    const ALMOST_ONE: f64 = 1.0 - f64::EPSILON;

    #[test]
    fn doubles_to_the_cap_and_begins_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let ceilings: Vec<u64> = (0..10)
            .map(|_| backoff.next(BASE, CAP, None, ALMOST_ONE).as_secs_f64().round())
            .map(|seconds| format!("{seconds}").parse().unwrap())
            .collect();
        assert_eq!(ceilings, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(backoff.failures(), 10);

        backoff.reset();
        assert_eq!(backoff.failures(), 0);
        assert!(backoff.next(BASE, CAP, None, ALMOST_ONE) <= BASE);
    }

    #[test]
    fn a_retry_after_above_the_cap_is_honoured() {
        let hour = Duration::from_secs(3_600);
        assert_eq!(Backoff::default().next(BASE, CAP, Some(hour), 0.5), hour);
    }

    #[test]
    fn the_largest_durations_do_not_overflow() {
        let mut backoff = Backoff { failures: u32::MAX };
        for random in [0.0, 0.5, ALMOST_ONE, 1.0, 7.0, -1.0, f64::NAN, f64::INFINITY] {
            let wait = backoff.next(Duration::MAX, Duration::MAX, None, random);
            assert!(wait >= SHORTEST);
        }
        assert_eq!(backoff.failures(), u32::MAX);
    }

    proptest! {
        #[test]
        fn stays_within_its_bounds(
            failures in any::<u32>(),
            base in 0_u64..10_000,
            cap in 0_u64..1_000_000,
            at_least in proptest::option::of(0_u64..10_000_000),
            random in 0.0..1.0_f64,
        ) {
            let (base, cap) = (Duration::from_millis(base), Duration::from_millis(cap));
            let at_least = at_least.map(Duration::from_millis);
            let wait = Backoff { failures }.next(base, cap, at_least, random);
            prop_assert!(wait > Duration::ZERO);
            prop_assert!(wait >= at_least.unwrap_or_default());
            prop_assert!(wait <= cap.max(at_least.unwrap_or_default()).max(SHORTEST));
        }

        #[test]
        fn the_ceiling_never_falls_with_more_failures(base in 1_u64..10_000, cap in 1_u64..1_000_000, random in 0.0..1.0_f64) {
            let (base, cap) = (Duration::from_millis(base), Duration::from_millis(cap));
            let mut backoff = Backoff::default();
            let waits: Vec<_> = (0..64).map(|_| backoff.next(base, cap, None, random)).collect();
            prop_assert!(waits.is_sorted());
            // However small the base, the ceiling gets to the cap.
            let last = *waits.last().unwrap();
            prop_assert!(last.as_secs_f64() >= cap.as_secs_f64() * random - 1e-6);
        }

        #[test]
        fn the_wait_is_spread_over_the_whole_range(failures in 0_u32..40, low in 0.0..0.5_f64, more in 0.0..0.5_f64) {
            let at = |random| Backoff { failures }.next(BASE, CAP, None, random);
            prop_assert!(at(low) <= at(low + more));
            prop_assert!(at(0.0) == SHORTEST);
        }
    }
}
