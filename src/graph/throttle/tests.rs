use super::*;
use proptest::prelude::*;
use tokio::task::JoinSet;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = LONGEST_CLOSE;

/// Small enough for tests to fill: 3 writes and 7 requests in the published span.
fn small() -> Ledger {
    Ledger::new(Window::new(3, SPAN), Window::new(7, SPAN))
}

fn budget(ledger: Ledger) -> Arc<Budget> {
    Arc::new(Budget::new(ledger, Arc::default()))
}

fn never_more_than(limit: usize, span: Duration, times: &[Instant]) -> bool {
    times
        .iter()
        .zip(times.iter().skip(limit))
        .all(|(first, over)| *over - *first >= span)
}

#[test]
fn the_published_limits_hold_to_the_request() {
    let (mut ledger, now) = (Ledger::default(), Instant::now());
    for _ in 0..100 {
        assert_eq!(ledger.decide(Kind::Write, now), Decision::Go);
    }
    assert_eq!(ledger.decide(Kind::Write, now + SECOND), Decision::Wait(19 * SECOND));
    for _ in 0..900 {
        assert_eq!(ledger.decide(Kind::Read, now + SECOND), Decision::Go);
    }
    assert_eq!(ledger.decide(Kind::Read, now + SECOND), Decision::Wait(19 * SECOND));
    assert_eq!(ledger.decide(Kind::Write, now + SPAN), Decision::Go);
}

#[test]
fn a_burst_at_the_end_of_a_span_counts_in_the_next() {
    let (mut window, now) = (Window::new(3, SPAN), Instant::now());
    for at in [0, 18, 19] {
        window.record(now + at * SECOND);
    }
    assert_eq!(window.wait(now + SPAN), None);
    window.record(now + SPAN);
    assert_eq!(window.wait(now + SPAN), Some(18 * SECOND));
}

#[test]
fn a_time_that_runs_backwards_opens_nothing() {
    let (mut window, now) = (Window::new(1, SPAN), Instant::now());
    window.record(now + SECOND);
    window.record(now);
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
    assert_eq!(ledger.decide(Kind::Read, now + SECOND), Decision::Closed(9 * SECOND));
    assert_eq!(ledger.close(now + 5 * SECOND, 10 * SECOND), 5 * SECOND);
    assert_eq!(
        ledger.decide(Kind::Write, now + 5 * SECOND),
        Decision::Closed(10 * SECOND)
    );
    assert_eq!(ledger.decide(Kind::Write, now + 15 * SECOND), Decision::Go);
    ledger.close(now + 20 * SECOND, Duration::MAX);
    assert_eq!(ledger.closed(now + 20 * SECOND), Some(HOUR));
}

proptest! {
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
            window.record(now);
            times.push(now);
            prop_assert!(window.log.len() <= limit);
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
            match ledger.decide(kind, now) {
                Decision::Go => {
                    prop_assert!(now >= open_from);
                    all.push(now);
                    writes.extend(write.then_some(now));
                }
                Decision::Closed(left) => prop_assert_eq!(now + left, open_from),
                Decision::Wait(wait) => {
                    prop_assert!(now >= open_from && wait > Duration::ZERO);
                    prop_assert_eq!(ledger.clone().decide(kind, now + wait), Decision::Go);
                }
            }
        }
        prop_assert!(never_more_than(7, SPAN, &all) && never_more_than(3, SPAN, &writes));
    }
}

/// Asks in a task of its own, after those that were started before; writes its name down when it goes.
async fn ask(set: &mut JoinSet<()>, budget: &Arc<Budget>, went: &Went, name: &'static str) -> tokio::task::AbortHandle {
    let kind = if name.contains("write") {
        Kind::Write
    } else {
        Kind::Read
    };
    let priority = if name.contains("edit") {
        Priority::Edit
    } else {
        Priority::Poll
    };
    let (budget, went) = (Arc::clone(budget), Arc::clone(went));
    let handle = set.spawn(async move {
        budget.acquire(kind, priority).await.unwrap();
        went.lock().unwrap().push((name, now()));
    });
    tokio::task::yield_now().await;
    handle
}

type Went = Arc<Mutex<Vec<(&'static str, Instant)>>>;

fn names(went: &Went) -> Vec<&'static str> {
    went.lock().unwrap().iter().map(|(name, _)| *name).collect()
}

async fn fill(budget: &Budget, kind: Kind, count: usize) {
    for _ in 0..count {
        budget.acquire(kind, Priority::Poll).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn waits_while_the_window_is_full() {
    let (budget, start) = (budget(Ledger::default()), now());
    fill(&budget, Kind::Read, REQUESTS).await;
    assert_eq!(now(), start);
    budget.acquire(Kind::Read, Priority::Poll).await.unwrap();
    assert!(now() - start >= SPAN && now() - start < SPAN + SECOND);
}

#[tokio::test(start_paused = true)]
async fn edits_go_before_polls_and_each_in_the_order_of_coming() {
    let cases = [
        [
            "poll write 1",
            "poll write 2",
            "edit write 1",
            "poll write 3",
            "edit write 2",
        ],
        [
            "poll read 1",
            "poll read 2",
            "edit read 1",
            "poll read 3",
            "edit read 2",
        ],
        [
            "poll read 1",
            "poll write 2",
            "edit read 1",
            "poll read 3",
            "edit write 2",
        ],
    ];
    for names_in_order_of_coming in cases {
        let (budget, went, mut set) = (budget(small()), Went::default(), JoinSet::new());
        fill(&budget, Kind::Write, 3).await;
        fill(&budget, Kind::Read, 4).await;
        for name in names_in_order_of_coming {
            ask(&mut set, &budget, &went, name).await;
        }
        set.join_all().await;
        let [poll1, poll2, edit1, poll3, edit2] = names_in_order_of_coming;
        assert_eq!(names(&went), [edit1, edit2, poll1, poll2, poll3]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_edit_goes_before_a_poll_that_wakes_first() {
    for kind in [Kind::Read, Kind::Write] {
        let budget = budget(Ledger::new(Window::new(1, SPAN), Window::new(1, SPAN)));
        fill(&budget, kind, 1).await;
        let mut poll = Box::pin(budget.acquire(kind, Priority::Poll));
        let mut edit = Box::pin(budget.acquire(kind, Priority::Edit));
        assert!(futures::poll!(&mut poll).is_pending());
        assert!(futures::poll!(&mut edit).is_pending());
        tokio::time::advance(SPAN + SECOND).await;
        assert!(
            futures::poll!(&mut poll).is_pending(),
            "the edit has not looked yet, and is still first"
        );
        assert!(futures::poll!(&mut edit).is_ready());
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_reaches_those_behind_one_that_does_not_look() {
    let budget = budget(small());
    fill(&budget, Kind::Write, 3).await;
    let mut first = Box::pin(budget.acquire(Kind::Write, Priority::Edit));
    let mut second = Box::pin(budget.acquire(Kind::Write, Priority::Poll));
    assert!(futures::poll!(&mut first).is_pending());
    assert!(futures::poll!(&mut second).is_pending());
    budget.close(SECOND);
    assert_eq!(futures::poll!(&mut second), std::task::Poll::Ready(Err(Closed(SECOND))));
}

#[tokio::test(start_paused = true)]
async fn a_read_passes_a_write_that_only_other_writes_hold_back() {
    let (budget, went, mut set, start) = (budget(small()), Went::default(), JoinSet::new(), now());
    fill(&budget, Kind::Write, 3).await;
    tokio::time::advance(SECOND).await;
    for name in [
        "edit write",
        "poll read 1",
        "poll read 2",
        "poll read 3",
        "poll read 4",
        "poll read 5",
    ] {
        ask(&mut set, &budget, &went, name).await;
    }
    assert_eq!(now(), start + SECOND);
    assert_eq!(
        names(&went),
        ["poll read 1", "poll read 2", "poll read 3", "poll read 4"]
    );
    set.join_all().await;
    assert_eq!(
        names(&went).split_off(4),
        ["edit write", "poll read 5"],
        "but takes no place from it"
    );
}

#[tokio::test(start_paused = true)]
async fn a_close_sends_those_who_wait_away_at_once() {
    let (budget, start) = (budget(small()), now());
    fill(&budget, Kind::Write, 3).await;
    let waiting = tokio::spawn({
        let budget = Arc::clone(&budget);
        async move { budget.acquire(Kind::Write, Priority::Edit).await }
    });
    tokio::time::sleep(SECOND).await;
    budget.close(60 * SECOND);
    assert_eq!(waiting.await.unwrap(), Err(Closed(60 * SECOND)));
    assert_eq!(
        budget.acquire(Kind::Read, Priority::Edit).await,
        Err(Closed(60 * SECOND))
    );
    assert_eq!(now(), start + SECOND);
    assert_eq!(budget.closed(), Some(60 * SECOND));
    tokio::time::advance(60 * SECOND).await;
    assert_eq!(budget.acquire(Kind::Write, Priority::Edit).await, Ok(()));
    assert_eq!(budget.closed(), None);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_dropped_frees_its_place_and_counts_nothing() {
    let (budget, went, mut set, start) = (budget(small()), Went::default(), JoinSet::new(), now());
    fill(&budget, Kind::Write, 3).await;
    let first = ask(&mut set, &budget, &went, "edit write 1").await;
    for name in ["edit write 2", "poll write 1", "poll write 2", "poll write 3"] {
        ask(&mut set, &budget, &went, name).await;
    }
    first.abort();
    while set.join_next().await.is_some() {}
    assert_eq!(
        names(&went),
        ["edit write 2", "poll write 1", "poll write 2", "poll write 3"]
    );
    let times: Vec<_> = went
        .lock()
        .unwrap()
        .iter()
        .map(|(_, at)| (*at - start).as_secs())
        .collect();
    assert_eq!(times, [20, 20, 20, 40]);
    let state = budget.state();
    assert!(state.reads.is_empty() && state.writes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn holders_of_one_key_share_one_budget_that_outlives_them_while_it_remembers() {
    let budgets = Budgets::default();
    let key = || BudgetKey::new("Global", "72f988bf-86f1-41af-91ab-2d7cd011db47", "abc");
    let first = budgets.get(key());
    let spelled = BudgetKey::new("Global", "72F988BF-86F1-41AF-91AB-2D7CD011DB47", "ABC");
    assert!(Arc::ptr_eq(&first, &budgets.get(spelled)));
    for other in [
        BudgetKey::new("China", "t", "abc"),
        BudgetKey::new("Global", "t", "abd"),
    ] {
        assert!(!Arc::ptr_eq(&first, &budgets.get(other)));
    }

    first.acquire(Kind::Read, Priority::Poll).await.unwrap();
    first.close(60 * SECOND);
    drop(first);
    assert_eq!(budgets.get(key()).closed(), Some(60 * SECOND));
    assert_eq!(
        budgets.open.lock().unwrap().len(),
        1,
        "those that were never used are gone"
    );

    tokio::time::advance(60 * SECOND).await;
    budgets.get(BudgetKey::new("USGov", "t", "abc"));
    assert!(!budgets.open.lock().unwrap().contains_key(&key()));
}

#[tokio::test(start_paused = true)]
async fn the_seconds_closed_are_counted_once_and_stay() {
    let budgets = Budgets::default();
    for (cloud, seconds) in [("Global", 30), ("Global", 10), ("Global", 40), ("China", 5)] {
        budgets
            .get(BudgetKey::new(cloud, "t", "c"))
            .close(Duration::from_secs(seconds));
    }
    tokio::time::advance(HOUR).await;
    let _ = budgets.get(BudgetKey::new("USGov", "t", "c"));
    assert!((budgets.closed_total_seconds() - 45.0).abs() < f64::EPSILON);
}

/// With real threads and real time: whoever waits is told, or wakes of its own accord.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_waits_for_ever() {
    let span = Duration::from_millis(10);
    let budget = budget(Ledger::new(Window::new(10, span), Window::new(20, span)));
    let mut set = JoinSet::new();
    for number in 0..400_u64 {
        let budget = Arc::clone(&budget);
        set.spawn(async move {
            let kind = if number % 3 == 0 { Kind::Write } else { Kind::Read };
            let priority = if number % 2 == 0 {
                Priority::Edit
            } else {
                Priority::Poll
            };
            // Some give up while they wait.
            let patience = if number % 7 == 0 {
                Duration::from_millis(number % 50)
            } else {
                60 * SECOND
            };
            tokio::time::timeout(patience, budget.acquire(kind, priority))
                .await
                .is_ok()
                || number % 7 == 0
        });
    }
    assert!(set.join_all().await.into_iter().all(|fine| fine));
}

/// One who asks: when, what, how urgently, and how long it has patience.
type Asker = (u64, bool, bool, Option<u64>);

/// What came of it: who went when and whether to write, what was closed from when to when, and how many still wait.
type Outcome = (Vec<(Instant, bool)>, Vec<(Instant, Instant)>, usize);

fn simulate(askers: Vec<Asker>, closes: Vec<(u64, u64)>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async move {
        let (budget, mut set) = (budget(small()), JoinSet::new());
        let mut services = JoinSet::new();
        for (at, length) in closes {
            let budget = Arc::clone(&budget);
            services.spawn(async move {
                tokio::time::sleep(Duration::from_millis(at)).await;
                let length = Duration::from_millis(length);
                budget.close(length);
                (now(), now() + length)
            });
        }
        for (at, write, edit, patience) in askers {
            let budget = Arc::clone(&budget);
            set.spawn(async move {
                tokio::time::sleep(Duration::from_millis(at)).await;
                let kind = if write { Kind::Write } else { Kind::Read };
                let priority = if edit { Priority::Edit } else { Priority::Poll };
                let patience = patience.map_or(HOUR * 24, Duration::from_millis);
                let outcome = tokio::time::timeout(patience, budget.acquire(kind, priority)).await;
                matches!(outcome, Ok(Ok(()))).then(|| (now(), write))
            });
        }
        let mut went: Vec<_> = set.join_all().await.into_iter().flatten().collect();
        went.sort();
        let shut = services.join_all().await;
        let state = budget.state();
        (went, shut, state.reads.len() + state.writes.len())
    })
}

fn asker() -> impl Strategy<Value = Asker> {
    (
        0_u64..60_000,
        any::<bool>(),
        any::<bool>(),
        prop::option::weighted(0.3, 0_u64..30_000),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_budget_holds_its_limits_whoever_comes_and_goes(
        askers in prop::collection::vec(asker(), 0..80),
        closes in prop::collection::vec((0_u64..80_000, 1_u64..30_000), 0..3),
    ) {
        let patient = askers.iter().filter(|asker| asker.3.is_none()).count();
        let undisturbed = closes.is_empty();
        let (went, closed, left) = simulate(askers, closes);
        let all: Vec<_> = went.iter().map(|(at, _)| *at).collect();
        let writes: Vec<_> = went.iter().filter(|(_, write)| *write).map(|(at, _)| *at).collect();
        prop_assert!(never_more_than(7, SPAN, &all) && never_more_than(3, SPAN, &writes));
        prop_assert!(all.iter().all(|at| closed.iter().all(|(from, until)| at <= from || at >= until)));
        prop_assert_eq!(left, 0);
        prop_assert!(!undisturbed || went.len() >= patient, "the patient are all served");
    }

    #[test]
    fn no_time_is_lost(reads in 1_usize..60, writes in 1_usize..30) {
        let askers = (0..reads + writes).map(|number| (0, number >= reads, number % 2 == 0, None)).collect();
        let (went, _, _) = simulate(askers, Vec::new());
        let (first, last) = (went.first().unwrap().0, went.last().unwrap().0);
        let spans = ((reads + writes - 1) / 7).max((writes - 1) / 3);
        let least = SPAN * u32::try_from(spans).unwrap();
        prop_assert!(last - first >= least);
        // Where writes have to wait for reads that came before, one more round may be theirs.
        prop_assert!(last - first <= least + SPAN * u32::try_from(writes.div_ceil(3)).unwrap());
    }
}
