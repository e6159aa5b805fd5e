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

/// Whether the times, in any order, have at most `limit` in any span.
fn never_more_than(limit: usize, span: Duration, times: &[Instant]) -> bool {
    let mut times = times.to_vec();
    times.sort_unstable();
    let over = times.iter().skip(limit);
    times.iter().zip(over).all(|(first, over)| *over - *first >= span)
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
        drop(budget.acquire(kind, priority).await.unwrap());
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
        drop(budget.acquire(kind, Priority::Poll).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn waits_while_the_window_is_full() {
    let (budget, start) = (budget(Ledger::default()), now());
    fill(&budget, Kind::Read, REQUESTS).await;
    assert_eq!(now(), start);
    fill(&budget, Kind::Read, 1).await;
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
    let told = futures::poll!(&mut second).map(|permit| permit.map(drop));
    assert_eq!(told, std::task::Poll::Ready(Err(Closed(SECOND))));
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
        async move { budget.acquire(Kind::Write, Priority::Edit).await.map(drop) }
    });
    tokio::time::sleep(SECOND).await;
    budget.close(60 * SECOND);
    assert_eq!(waiting.await.unwrap(), Err(Closed(60 * SECOND)));
    let read = budget.acquire(Kind::Read, Priority::Edit).await;
    assert_eq!(read.map(drop), Err(Closed(60 * SECOND)));
    assert_eq!(now(), start + SECOND);
    assert_eq!(budget.closed(), Some(60 * SECOND));
    tokio::time::advance(60 * SECOND).await;
    fill(&budget, Kind::Write, 1).await;
    assert_eq!(budget.closed(), None);
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_counts_however_long_it_takes_and_a_span_longer() {
    let (budget, start) = (budget(small()), now());
    let slow = budget.acquire(Kind::Write, Priority::Edit).await.unwrap();
    fill(&budget, Kind::Write, 2).await;
    tokio::time::advance(2 * SPAN).await;
    fill(&budget, Kind::Write, 2).await;
    assert_eq!(now(), start + 2 * SPAN);
    // Given up, as it may still arrive, it counts from now.
    drop(slow);
    fill(&budget, Kind::Write, 3).await;
    assert!(now() - start >= 3 * SPAN && now() - start < 3 * SPAN + SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_repeated_is_two() {
    let (budget, start) = (budget(small()), now());
    let mut permit = budget.acquire(Kind::Read, Priority::Edit).await.unwrap();
    for _ in 0..6 {
        permit = permit.again().await.unwrap();
    }
    assert_eq!(now(), start);
    let again = permit.again().await.unwrap();
    assert!(now() - start >= SPAN, "the eighth of seven");
    budget.close(SECOND);
    assert_eq!(again.again().await.map(drop), Err(Closed(SECOND)));
}

#[tokio::test(start_paused = true)]
async fn who_sends_nothing_gives_its_place_to_the_next_at_once() {
    let (budget, went, mut set, start) = (budget(small()), Went::default(), JoinSet::new(), now());
    let unused = budget.acquire(Kind::Write, Priority::Edit).await.unwrap();
    fill(&budget, Kind::Write, 2).await;
    ask(&mut set, &budget, &went, "edit write").await;
    assert!(names(&went).is_empty());
    unused.unused();
    set.join_all().await;
    assert_eq!((names(&went), now()), (vec!["edit write"], start));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_others_use_up_holds_back_what_it_is_for_alone() {
    for (share, scope, at_once) in [
        (
            "0.8",
            "Tenant_Application/ReadWrite/a/t",
            &["edit write", "edit read"][..],
        ),
        ("0.8", "Tenant/Write/t", &["poll read", "edit write", "edit read"]),
        ("0.8", "Tenant/Read/t", &["poll write", "edit write", "edit read"]),
        ("1.0", "Tenant/ReadWrite/t", &[]),
        ("1.0", "Tenant/Write/t", &["poll read", "edit read"]),
        ("1.0", "Tenant/Read/t", &["poll write", "edit write"]),
    ] {
        let (budget, went, mut set, start) = (budget(Ledger::default()), Went::default(), JoinSet::new(), now());
        let mut headers = reqwest::header::HeaderMap::new();
        headers.insert("x-ms-throttle-limit-percentage", share.parse().unwrap());
        headers.insert("x-ms-throttle-scope", scope.parse().unwrap());
        let answered = budget.acquire(Kind::Read, Priority::Poll).await.unwrap();
        answered.heed(usage(&headers).unwrap());
        drop(answered);
        for name in ["poll read", "poll write", "edit write", "edit read"] {
            ask(&mut set, &budget, &went, name).await;
        }
        assert_eq!((names(&went), now()), (at_once.to_vec(), start), "{share} {scope}");
        set.join_all().await;
        assert_eq!(names(&went).len(), 4);
        assert!(now() - start <= SPAN + SECOND, "{share} {scope}");
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_already_heed_it_too() {
    let (budget, went, mut set) = (budget(small()), Went::default(), JoinSet::new());
    fill(&budget, Kind::Read, 4).await;
    fill(&budget, Kind::Write, 2).await;
    let answered = budget.acquire(Kind::Write, Priority::Edit).await.unwrap();
    for name in ["edit write", "poll read"] {
        ask(&mut set, &budget, &went, name).await;
    }
    tokio::time::advance(15 * SECOND).await;
    // Both windows open at 20 s; by then others have used up the limit for writes.
    answered.heed(Usage {
        thousandths: 1_000,
        only: Some(Kind::Write),
        is_shared: true,
    });
    drop(answered);
    let start = now();
    set.join_all().await;
    let seconds = |(name, at): &(&'static str, Instant)| (*name, (*at - start).as_secs());
    let went: Vec<_> = went.lock().unwrap().iter().map(seconds).collect();
    assert_eq!(went, [("poll read", 5), ("edit write", 20)]);
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
    let tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47";
    for other in [
        BudgetKey::new("China", tenant, "abc"),
        BudgetKey::new("Global", "t", "abc"),
        BudgetKey::new("Global", tenant, "abd"),
    ] {
        assert!(!Arc::ptr_eq(&first, &budgets.get(other)));
    }

    fill(&first, Kind::Read, 1).await;
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

/// One who asks: when, what, how urgently, how long it has patience, and how long its request is under way.
type Asker = (u64, bool, bool, Option<u64>, u64);

/// What came of it: who went when, when that arrived and whether it writes; what was closed from when to when; and how
/// many still wait.
type Outcome = (Vec<(Instant, Instant, bool)>, Vec<(Instant, Instant)>, usize);

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
        for (number, (at, write, edit, patience, under_way)) in askers.into_iter().enumerate() {
            let budget = Arc::clone(&budget);
            set.spawn(async move {
                tokio::time::sleep(Duration::from_millis(at)).await;
                let kind = if write { Kind::Write } else { Kind::Read };
                let priority = if edit { Priority::Edit } else { Priority::Poll };
                let patience = patience.map_or(HOUR * 24, Duration::from_millis);
                let permit = tokio::time::timeout(patience, budget.acquire(kind, priority)).await;
                let permit = permit.ok()?.ok()?;
                let under_way = Duration::from_millis(under_way);
                let arrives = match number % 3 {
                    0 => Duration::ZERO,
                    1 => under_way / 2,
                    _ => under_way,
                };
                let went = now();
                tokio::time::sleep(under_way).await;
                drop(permit);
                Some((went, went + arrives, write))
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
        prop_oneof![Just(0_u64), 0_u64..3_000, 0_u64..30_000],
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
        let all: Vec<_> = went.iter().map(|(_, arrived, _)| *arrived).collect();
        let writes: Vec<_> = went.iter().filter(|(_, _, write)| *write).map(|(_, arrived, _)| *arrived).collect();
        prop_assert!(never_more_than(7, SPAN, &all) && never_more_than(3, SPAN, &writes));
        prop_assert!(went.iter().all(|(at, ..)| closed.iter().all(|(from, until)| at <= from || at >= until)));
        prop_assert_eq!(left, 0);
        prop_assert!(!undisturbed || went.len() >= patient, "the patient are all served");
    }

    #[test]
    fn no_time_is_lost(reads in 1_usize..60, writes in 1_usize..30) {
        let askers = (0..reads + writes).map(|number| (0, number >= reads, number % 2 == 0, None, 0)).collect();
        let (went, _, _) = simulate(askers, Vec::new());
        let (first, last) = (went.first().unwrap().0, went.last().unwrap().0);
        let spans = ((reads + writes - 1) / 7).max((writes - 1) / 3);
        let least = SPAN * u32::try_from(spans).unwrap();
        prop_assert!(last - first >= least);
        // Where writes have to wait for reads that came before, one more round may be theirs.
        prop_assert!(last - first <= least + SPAN * u32::try_from(writes.div_ceil(3)).unwrap());
    }
}
