use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = LONGEST_CLOSE;

/// Small enough for tests to fill: 3 writes and 7 requests in the published span.
fn small() -> Ledger {
    Ledger::new(Window::new(3, SPAN), Window::new(7, SPAN))
}

fn near(only: Option<Kind>) -> Usage {
    Usage {
        thousandths: 850,
        only,
        is_shared: false,
    }
}

fn reached(only: Option<Kind>) -> Usage {
    Usage {
        thousandths: 1_000,
        ..near(only)
    }
}

/// Heeds the answer to a request that was the only one.
fn heed(ledger: &mut Ledger, usage: Usage, now: Instant) -> bool {
    let mark = ledger.mark();
    ledger.heed(usage, mark, now)
}

/// Lets a request go that is answered at once.
fn send(ledger: &mut Ledger, kind: Kind, now: Instant) -> Decision {
    let decision = ledger.decide(kind, Priority::Edit, now);
    if decision == Decision::Go {
        ledger.end(kind, now);
    }
    decision
}

/// Whether the times, which need not be in order, have at most `limit` in any span.
fn never_more_than(limit: usize, span: Duration, times: &[Instant]) -> bool {
    let mut times = times.to_vec();
    times.sort_unstable();
    let over = times.iter().skip(limit);
    times.iter().zip(over).all(|(first, over)| *over - *first >= span)
}

#[test]
fn the_published_limits_hold_to_the_request() {
    let (mut ledger, now) = (Ledger::default(), Instant::now());
    for _ in 0..100 {
        assert_eq!(send(&mut ledger, Kind::Write, now), Decision::Go);
    }
    assert_eq!(
        send(&mut ledger, Kind::Write, now + SECOND),
        Decision::Wait(19 * SECOND)
    );
    for _ in 0..900 {
        assert_eq!(send(&mut ledger, Kind::Read, now + SECOND), Decision::Go);
    }
    assert_eq!(send(&mut ledger, Kind::Read, now + SECOND), Decision::Wait(19 * SECOND));
    assert_eq!(send(&mut ledger, Kind::Write, now + SPAN), Decision::Go);
}

#[test]
fn a_burst_at_the_end_of_a_span_counts_in_the_next() {
    let (mut window, now) = (Window::new(3, SPAN), Instant::now());
    for at in [0, 18, 19] {
        window.go();
        window.end(now + at * SECOND);
    }
    assert_eq!(window.wait(now + SPAN), None);
    window.go();
    window.end(now + SPAN);
    assert_eq!(window.wait(now + SPAN), Some(18 * SECOND));
}

#[test]
fn a_request_that_was_slow_on_its_way_counts_for_a_span_from_its_answer() {
    let (mut ledger, now) = (small(), Instant::now());
    let decide = |ledger: &mut Ledger, at: Instant| ledger.decide(Kind::Write, Priority::Edit, at);
    for _ in 0..3 {
        assert_eq!(decide(&mut ledger, now), Decision::Go);
    }
    // Two are answered at once. The third may arrive whenever the service likes.
    ledger.end(Kind::Write, now);
    ledger.end(Kind::Write, now);
    assert_eq!(decide(&mut ledger, now + SPAN), Decision::Go);
    assert_eq!(decide(&mut ledger, now + SPAN), Decision::Go);
    assert_eq!(
        decide(&mut ledger, now + SPAN),
        Decision::Wait(SPAN),
        "not a moment sooner"
    );
    ledger.end(Kind::Write, now + SPAN + 5 * SECOND);
    assert_eq!(decide(&mut ledger, now + 2 * SPAN), Decision::Wait(5 * SECOND));
    assert_eq!(decide(&mut ledger, now + 2 * SPAN + 5 * SECOND), Decision::Go);
}

#[test]
fn what_was_never_sent_counts_nothing() {
    let (mut ledger, now) = (small(), Instant::now());
    for _ in 0..20 {
        assert_eq!(ledger.decide(Kind::Write, Priority::Edit, now), Decision::Go);
        ledger.strike(Kind::Write);
    }
    assert!(ledger.is_blank(now));
}

#[test]
fn a_time_that_runs_backwards_opens_nothing() {
    let (mut window, now) = (Window::new(1, SPAN), Instant::now());
    for at in [now + SECOND, now] {
        window.go();
        window.end(at);
    }
    assert_eq!(window.wait(now + SPAN), Some(SECOND));
}

#[test]
fn a_window_of_none_lets_nothing_through() {
    assert_eq!(Window::new(0, SPAN).wait(Instant::now()), Some(SPAN));
}

#[test]
fn a_close_lasts_an_hour_at_most_and_is_never_shortened() {
    let (mut ledger, now) = (Ledger::default(), Instant::now());
    assert_eq!(ledger.close(now, 10 * SECOND), 10 * SECOND);
    assert_eq!(ledger.close(now + SECOND, SECOND), Duration::ZERO);
    assert_eq!(
        send(&mut ledger, Kind::Read, now + SECOND),
        Decision::Closed(9 * SECOND)
    );
    assert_eq!(ledger.close(now + 5 * SECOND, 10 * SECOND), 5 * SECOND);
    assert_eq!(
        send(&mut ledger, Kind::Write, now + 5 * SECOND),
        Decision::Closed(10 * SECOND)
    );
    assert_eq!(send(&mut ledger, Kind::Write, now + 15 * SECOND), Decision::Go);
    ledger.close(now + 20 * SECOND, Duration::MAX);
    assert_eq!(ledger.closed(now + 20 * SECOND), Some(HOUR));
}

/// How long each has to wait: an edit, the next page of a list and a poll that read, and an edit and a poll that write.
fn waits(ledger: &Ledger, now: Instant) -> [u64; 5] {
    [
        (Kind::Read, Priority::Edit),
        (Kind::Read, Priority::Begun),
        (Kind::Read, Priority::Poll),
        (Kind::Write, Priority::Edit),
        (Kind::Write, Priority::Poll),
    ]
    .map(|(kind, priority)| match ledger.clone().decide(kind, priority, now) {
        Decision::Go => 0,
        Decision::Wait(wait) => wait.as_secs(),
        Decision::Closed(_) => u64::MAX,
    })
}

#[test]
fn while_a_limit_is_near_polls_wait_and_edits_pass() {
    let now = Instant::now();
    for (only, expected) in [
        (None, [0, 0, 15, 0, 15]),
        (Some(Kind::Read), [0, 0, 15, 0, 0]),
        (Some(Kind::Write), [0, 0, 0, 0, 15]),
    ] {
        let mut ledger = Ledger::default();
        assert!(heed(&mut ledger, near(only), now));
        assert_eq!(waits(&ledger, now + 5 * SECOND), expected);
        assert_eq!(waits(&ledger, now + SPAN), [0; 5]);
    }
}

#[test]
fn while_a_limit_is_reached_all_that_it_is_for_waits_and_nothing_is_closed() {
    let now = Instant::now();
    for (only, expected) in [
        (None, [15; 5]),
        (Some(Kind::Read), [15, 15, 15, 0, 0]),
        (Some(Kind::Write), [0, 0, 0, 15, 15]),
    ] {
        let mut ledger = Ledger::default();
        assert!(heed(&mut ledger, reached(only), now));
        assert_eq!(waits(&ledger, now + 5 * SECOND), expected);
        assert_eq!(ledger.closed(now), None);
        assert_eq!(waits(&ledger, now + SPAN), [0; 5]);
    }
}

#[test]
fn the_next_hold_begins_after_those_who_have_waited_went() {
    let (mut ledger, now) = (Ledger::default(), Instant::now());
    assert!(heed(&mut ledger, near(None), now));
    for at in [0, 10, 19, 20] {
        assert!(!heed(&mut ledger, near(None), now + at * SECOND));
    }
    assert_eq!(waits(&ledger, now + SPAN), [0; 5]);
    assert!(heed(&mut ledger, reached(None), now + SPAN), "it is another one");
    assert!(!heed(&mut ledger, near(None), now + 40 * SECOND));
    assert_eq!(waits(&ledger, now + 40 * SECOND), [0; 5]);
    assert!(heed(&mut ledger, near(None), now + 41 * SECOND));
    assert_eq!(waits(&ledger, now + 41 * SECOND), [0, 0, 20, 0, 20]);
}

#[test]
fn what_this_client_has_used_up_itself_holds_nothing_back() {
    let now = Instant::now();
    let said = |thousandths, only, is_shared| Usage {
        thousandths,
        only,
        is_shared,
    };
    let mut ledger = Ledger::default();
    for _ in 0..90 {
        send(&mut ledger, Kind::Write, now);
    }
    for (usage, heeded) in [
        (said(900, None, false), false),
        (said(900, Some(Kind::Write), false), false),
        (said(910, Some(Kind::Write), false), true),
        (said(910, None, false), true),
        (said(900, Some(Kind::Read), false), true),
        (said(900, Some(Kind::Write), true), true),
        (said(1_000, None, false), true),
    ] {
        assert_eq!(heed(&mut ledger.clone(), usage, now), heeded, "{usage:?}");
    }
}

#[test]
fn what_left_the_window_while_a_request_was_under_way_was_there_when_it_arrived() {
    let (mut ledger, now) = (Ledger::default(), Instant::now());
    for _ in 0..99 {
        send(&mut ledger, Kind::Write, now);
    }
    let went = now + SPAN.checked_sub(Duration::from_millis(10)).unwrap();
    assert_eq!(ledger.decide(Kind::Write, Priority::Edit, went), Decision::Go);
    let mark = ledger.mark();
    // It arrives as the hundredth, and by its answer the others count no more.
    let answered = now + SPAN;
    assert_eq!(ledger.decide(Kind::Write, Priority::Edit, answered), Decision::Go);
    assert!(!ledger.heed(reached(Some(Kind::Write)), mark, answered));
    let mark = ledger.mark();
    assert!(
        ledger.heed(reached(Some(Kind::Write)), mark, answered),
        "of two of a hundred it is news"
    );
}

#[test]
fn a_retry_after_is_more_than_any_share() {
    let (mut ledger, now) = (Ledger::default(), Instant::now());
    heed(&mut ledger, reached(None), now);
    ledger.close(now, 2 * SECOND);
    assert_eq!(waits(&ledger, now), [u64::MAX; 5]);
    assert!(!heed(&mut ledger, reached(None), now + SECOND));
    assert_eq!(waits(&ledger, now + 2 * SECOND), [0; 5]);
}

/// One request of a schedule: how long after the one before it somebody asks for it, whether it writes, how long it is
/// under way in all, and at which thousandth of that it arrives.
type Sent = (u64, bool, u64, u32);

fn sent() -> impl Strategy<Value = Sent> {
    let gap = prop_oneof![4 => Just(0_u64), 3 => 0_u64..500, 1 => 0_u64..25_000];
    let under_way = prop_oneof![3 => 0_u64..100, 2 => 0_u64..3_000, 1 => 0_u64..40_000];
    let arrival = prop_oneof![1 => Just(0_u32), 1 => Just(1_000), 2 => 0_u32..=1_000];
    (gap, any::<bool>(), under_way, arrival)
}

proptest! {
    /// As the service sees it, which knows of a request when it arrives.
    #[test]
    fn no_span_of_the_services_holds_more_than_the_limit(schedule in prop::collection::vec(sent(), 0..200)) {
        let (mut ledger, mut now) = (small(), Instant::now());
        let mut ends: BinaryHeap<Reverse<(Instant, bool)>> = BinaryHeap::new();
        let (mut all, mut writes) = (Vec::new(), Vec::new());
        for (gap, write, under_way, arrival) in schedule {
            let kind = if write { Kind::Write } else { Kind::Read };
            let mut due = now + Duration::from_millis(gap);
            // All that ends before it asks has ended; it asks again when it was told to.
            loop {
                while let Some(Reverse((end, write))) = ends.peek().copied().filter(|Reverse((end, _))| *end <= due) {
                    ledger.end(if write { Kind::Write } else { Kind::Read }, end);
                    ends.pop();
                }
                now = due;
                match ledger.decide(kind, Priority::Edit, now) {
                    Decision::Go => break,
                    Decision::Wait(wait) => {
                        prop_assert!(wait > Duration::ZERO && wait <= SPAN);
                        due = now + wait;
                    }
                    Decision::Closed(_) => prop_assert!(false, "nobody has closed it"),
                }
            }
            let under_way = Duration::from_millis(under_way);
            let arrives = now + under_way * arrival / 1_000;
            ends.push(Reverse((now + under_way, write)));
            all.push(arrives);
            writes.extend(write.then_some(arrives));
        }
        prop_assert!(never_more_than(7, SPAN, &all) && never_more_than(3, SPAN, &writes));
    }

    #[test]
    fn a_window_is_never_overrun_and_never_too_slow(
        limit in 1_usize..20,
        gaps in prop::collection::vec(prop_oneof![3 => Just(0_u64), 3 => 0_u64..500, 1 => 0_u64..8_000], 0..300),
    ) {
        let span = SECOND;
        let (mut window, mut now) = (Window::new(limit, span), Instant::now());
        let mut times = Vec::new();
        for gap in gaps {
            now += Duration::from_millis(gap);
            if let Some(wait) = window.wait(now) {
                prop_assert!(wait > Duration::ZERO && wait <= span);
                let early = now + wait.checked_sub(Duration::from_nanos(1)).unwrap();
                prop_assert!(window.clone().wait(early).is_some());
                now += wait;
            }
            prop_assert_eq!(window.wait(now), None);
            window.go();
            window.end(now);
            times.push(now);
            prop_assert!(window.ended.len() <= limit);
        }
        prop_assert!(never_more_than(limit, span, &times));
    }

    #[test]
    fn a_ledger_holds_both_limits_and_every_close(
        steps in prop::collection::vec((0_u64..6_000, any::<bool>(), prop::option::weighted(0.1, 0_u64..90_000)), 0..300),
    ) {
        let (mut ledger, mut now) = (small(), Instant::now());
        let (mut all, mut writes, mut open_from) = (Vec::new(), Vec::new(), now);
        for (gap, write, close) in steps {
            now += Duration::from_millis(gap);
            if let Some(close) = close.map(Duration::from_millis) {
                open_from = open_from.max(now + close);
                ledger.close(now, close);
            }
            let kind = if write { Kind::Write } else { Kind::Read };
            match send(&mut ledger, kind, now) {
                Decision::Go => {
                    prop_assert!(now >= open_from);
                    all.push(now);
                    writes.extend(write.then_some(now));
                }
                Decision::Closed(left) => prop_assert_eq!(now + left, open_from),
                Decision::Wait(wait) => {
                    prop_assert!(now >= open_from && wait > Duration::ZERO);
                    prop_assert_eq!(send(&mut ledger.clone(), kind, now + wait), Decision::Go);
                }
            }
        }
        prop_assert!(never_more_than(7, SPAN, &all) && never_more_than(3, SPAN, &writes));
    }

    /// Whatever the answers say, and however often.
    #[test]
    fn nothing_is_held_back_for_longer_than_a_span_and_no_poll_for_longer_than_two(
        said in prop::collection::vec((0_u64..3_000, any::<bool>(), prop::option::of(any::<bool>())), 1..100),
        from in 0_usize..100,
        write in any::<bool>(),
        poll in any::<bool>(),
    ) {
        let kind = |write| if write { Kind::Write } else { Kind::Read };
        let priority = if poll { Priority::Poll } else { Priority::Edit };
        let (mut ledger, mut now) = (Ledger::default(), Instant::now());
        let mut asked: Option<(Instant, Instant)> = None;
        for (number, (gap, is_reached, only)) in said.into_iter().enumerate() {
            let only = only.map(kind);
            let next = now + Duration::from_millis(gap);
            // It asks again when it was told to, also between two answers.
            while let Some((first, due)) = asked.filter(|(_, due)| *due <= next) {
                let Decision::Wait(wait) = ledger.decide(kind(write), priority, due) else {
                    let most = if poll { 2 * SPAN } else { SPAN };
                    prop_assert!(due - first <= most, "{:?}", due - first);
                    return Ok(());
                };
                asked = Some((first, due + wait));
            }
            now = next;
            heed(&mut ledger, if is_reached { reached(only) } else { near(only) }, now);
            if number == from {
                asked = Some((now, now));
            }
        }
    }
}
