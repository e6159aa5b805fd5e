//! Scripted behaviour, ignored writes, the log and the limits, over real TLS.

use std::time::{Duration, Instant};

use crate::common::{CLIENT, P1, TENANT, World, change, read};
use graph_simulator::{
    Action, Answer, App, Body, IgnoreWrites, Options, Request, Script, Server, Throttling, ViolationKind,
};
use reqwest::Method;
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_script_answers_as_often_as_it_is_told() {
    let world = World::start();
    let token = world.token().await;
    let id = world.control.script(
        Script::graph()
            .method("get")
            .path("complianceManagementPartners")
            .skip(1)
            .times(2)
            .answer(
                Answer::json(429, json!({ "error": { "code": "TooManyRequests" } })).header("rEtRy-aFtEr", "2.128"),
            ),
    );
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let response = world.request(Method::GET, "", &token).send().await.unwrap();
        if response.status() == 429 {
            assert_eq!(response.headers()["retry-after"], "2.128");
            assert_eq!(response.headers()["content-type"], "application/json");
            assert!(response.headers().contains_key("request-id"));
        }
        statuses.push(response.status().as_u16());
    }
    assert_eq!(statuses, [200, 429, 429, 200]);
    assert_eq!(world.control.script_hits(id), 2);
    assert!(world.control.scripts()[0].spent);
    let rules: Vec<Option<u64>> = world.control.requests().iter().map(|request| request.script).collect();
    assert_eq!(rules, [None, None, Some(id), Some(id), None]);
    assert!(world.control.remove_script(id) && !world.control.remove_script(id));
}

#[tokio::test]
async fn scripts_are_told_apart_by_server_method_path_and_tenant() {
    let world = World::start();
    let other = "dddddddd-2222-4222-8222-000000000002";
    world.control.add_app(other, CLIENT, App::with_secret("x"));
    let token = world.token().await;
    let stranger = world.control.issue_token(other, CLIENT, None);
    world
        .control
        .script(Script::graph().tenant(other.to_uppercase()).answer(Answer::status(502)));
    world.control.script(
        Script::graph()
            .path_end("/complianceManagementPartners")
            .answer(Answer::status(503)),
    );
    world
        .control
        .script(Script::entra().tenant(TENANT).answer(Answer::status(504)));
    assert_eq!(world.get(P1, &stranger).await.0, 502);
    assert_eq!(world.get(P1, &token).await.0, 200);
    assert_eq!(world.list(&token).await.0, 503);
    assert_eq!(world.ask(TENANT, &world.form()).await.0, 504);
    assert_ne!(world.ask(other, &world.form()).await.0, 504);
    world.control.clear_scripts();
    assert_eq!(world.list(&token).await.0, 200);
}

#[tokio::test]
async fn bodies_can_be_anything() {
    let world = World::start();
    let token = world.token().await;
    let cases = [
        (
            Body::Text("<html>blocked</html>".to_owned()),
            Value::String("<html>blocked</html>".to_owned()),
        ),
        (Body::Json(json!([1])), json!([1])),
        (Body::Empty, Value::Null),
        (Body::Bytes(vec![b'{', b'}']), json!({})),
    ];
    for (body, expected) in cases {
        world.control.clear_scripts();
        world
            .control
            .script(Script::any().answer(Answer::status(200).body(body)));
        assert_eq!(world.list(&token).await, (200, expected));
    }
}

#[tokio::test]
async fn a_patch_can_answer_204_or_nothing_and_still_be_done() {
    let world = World::start();
    let token = world.token().await;
    for (status, value) in [(204, true), (200, false)] {
        let empty = Answer::status(status);
        world.control.script(
            Script::graph()
                .method("PATCH")
                .times(1)
                .action(Action::ApplyThenAnswer(empty)),
        );
        assert_eq!(
            world.patch(P1, &token, &change("iosOnboarded", json!(value))).await,
            (status, Value::Null)
        );
        assert_eq!(world.control.row(TENANT, P1).unwrap()["iosOnboarded"], value);
    }
    // What is refused stays refused.
    world.control.script(
        Script::graph()
            .method("PATCH")
            .action(Action::ApplyThenAnswer(Answer::status(204))),
    );
    assert_eq!(
        world.patch(P1, &token, &change("iosOnboarded", json!("x"))).await.0,
        400
    );
}

#[tokio::test]
async fn a_reset_gives_no_answer_and_may_have_done_it() {
    for http1 in [true, false] {
        let world = World::with(Options::default(), http1);
        let token = world.token().await;
        for (action, done) in [(Action::Reset, false), (Action::ApplyThenReset, true)] {
            world
                .control
                .script(Script::graph().method("PATCH").times(1).action(action));
            let request = world.request(Method::PATCH, &format!("/{P1}"), &token);
            let error = request
                .json(&change("iosOnboarded", json!(true)))
                .send()
                .await
                .unwrap_err();
            assert!(!error.is_timeout(), "at once: {error:?}");
            assert_eq!(world.control.row(TENANT, P1).unwrap()["iosOnboarded"], done);
            let entry = world.last();
            assert!(entry.aborted && entry.status.is_none());
            assert_eq!(world.list(&token).await.0, 200);
            assert!(world.last().connection > entry.connection, "a new connection");
        }
        assert_eq!(world.control.in_flight().graph, 0);
    }
}

#[tokio::test]
async fn a_hang_holds_the_request_until_the_client_leaves() {
    for http1 in [true, false] {
        let world = World::with(Options::default(), http1);
        let token = world.token().await;
        world
            .control
            .script(Script::graph().method("PATCH").times(1).action(Action::ApplyThenHang));
        let request = world.request(Method::PATCH, &format!("/{P1}"), &token);
        let request = request.json(&change("iosOnboarded", json!(true))).timeout(SECOND);
        assert!(request.send().await.unwrap_err().is_timeout());
        assert_eq!(world.control.row(TENANT, P1).unwrap()["iosOnboarded"], true);
        let aborted = world
            .control
            .wait_for_requests(|request| request.aborted, 1, 5 * SECOND)
            .await
            .unwrap();
        assert!(aborted[0].is_patch());
        assert_eq!(world.control.in_flight().graph, 0);
        world.control.script(Script::graph().hang());
        let request = world
            .request(Method::GET, "", &token)
            .timeout(Duration::from_millis(100));
        assert!(request.send().await.unwrap_err().is_timeout());
    }
}

#[tokio::test]
async fn a_body_can_end_too_early() {
    for http1 in [true, false] {
        let world = World::with(Options::default(), http1);
        let token = world.token().await;
        world
            .control
            .script(Script::graph().times(1).action(Action::Truncate(10)));
        let response = world.request(Method::GET, "", &token).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.bytes().await.is_err());
        assert_eq!(world.list(&token).await.0, 200);
    }
}

#[tokio::test]
async fn delays_add_up_and_requests_overlap() {
    let world = World::start();
    let token = world.token().await;
    world.control.set_graph_delay(Duration::from_millis(100));
    world.control.script(
        Script::graph()
            .method("GET")
            .delay(Duration::from_millis(100))
            .then_continue(),
    );
    let begun = Instant::now();
    let (first, second) = tokio::join!(world.list(&token), world.list(&token));
    assert_eq!((first.0, second.0), (200, 200));
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(200), "{took:?}");
    assert_eq!(world.control.in_flight().graph_peak, 2);
    let seen: Vec<u64> = world
        .control
        .requests_where(Request::is_list)
        .iter()
        .map(|entry| entry.in_flight)
        .collect();
    assert_eq!(seen, [1, 2]);
    assert!(world.last().duration_millis.unwrap() >= 200);
    world.control.clear_log();
    assert_eq!(world.control.in_flight().graph_peak, 0);
}

#[tokio::test]
async fn writes_can_be_ignored_for_ever_or_for_some_reads() {
    let world = World::start();
    let token = world.token().await;
    let body = json!({ "@odata.type": crate::common::ROOT_TYPE, "iosOnboarded": true, "macOsOnboarded": true });
    world
        .control
        .ignore_writes(TENANT, P1, IgnoreWrites::fields(["iosOnboarded"]).for_gets(2))
        .unwrap();
    let (status, shown) = world.patch(P1, &token, &body).await;
    assert_eq!(
        (status, &shown["iosOnboarded"]),
        (200, &json!(true)),
        "the answer pretends"
    );
    for expected in [false, false, true, true] {
        assert_eq!(world.list(&token).await.0, 200, "a listing does not count");
        let (_, row) = world.get(P1, &token).await;
        assert_eq!(
            (&row["iosOnboarded"], &row["macOsOnboarded"]),
            (&json!(expected), &json!(true))
        );
    }
    let rule = IgnoreWrites {
        honest_answer: true,
        ..IgnoreWrites::all()
    };
    world.control.ignore_writes(TENANT, P1, rule).unwrap();
    let (status, shown) = world.patch(P1, &token, &change("iosOnboarded", json!(false))).await;
    assert_eq!((status, &shown["iosOnboarded"]), (200, &json!(true)));
    for _ in 0..3 {
        assert_eq!(world.get(P1, &token).await.1["iosOnboarded"], true);
    }
    world.control.heed_writes(TENANT, P1).unwrap();
    world.patch(P1, &token, &change("iosOnboarded", json!(false))).await;
    assert_eq!(world.control.row(TENANT, P1).unwrap()["iosOnboarded"], false);
    assert_eq!(world.kinds(), []);
}

#[tokio::test]
async fn waiting_wakes_up_on_the_request() {
    let world = World::start();
    let token = world.token().await;
    let waiting = {
        let control = world.control.clone();
        tokio::spawn(async move { control.wait_for_requests(Request::is_list, 2, 10 * SECOND).await })
    };
    let row = {
        let control = world.control.clone();
        tokio::spawn(async move {
            control
                .wait_for_row(TENANT, P1, |row| row["iosOnboarded"] == true, 10 * SECOND)
                .await
        })
    };
    world.list(&token).await;
    world.list(&token).await;
    world
        .control
        .change_row(TENANT, P1, json!({ "iosOnboarded": true }))
        .unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().len(), 2);
    assert_eq!(row.await.unwrap().unwrap()["iosOnboarded"], true);
    let error = world
        .control
        .wait_for_requests(Request::is_patch, 1, Duration::from_millis(50))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("0 of 1 requests"), "{error}");
    assert!(error.to_string().contains("GET /v1.0/deviceManagement"), "{error}");
}

#[tokio::test]
async fn the_log_is_bounded_and_numbers_go_on() {
    let world = World::with(
        Options {
            log_capacity: 3,
            ..Options::default()
        },
        false,
    );
    let token = world.token().await;
    for _ in 0..5 {
        world.list(&token).await;
    }
    let seqs: Vec<u64> = world.control.requests().iter().map(|request| request.seq).collect();
    assert_eq!(seqs, [4, 5, 6]);
    world.control.clear_log();
    world.list(&token).await;
    assert_eq!(world.last().seq, 7);
    assert_eq!(world.control.last_seq(), 7);
    let entry = world.last();
    assert_eq!(
        (entry.server, entry.status, entry.client_id.as_deref()),
        (Server::Graph, Some(200), Some(CLIENT))
    );
    assert_eq!(entry.header("User-Agent"), Some("simulator-test/1"));
    assert!(entry.header("authorization").unwrap().starts_with("digest:"));
}

#[tokio::test]
async fn limits_are_counted_and_enforced_when_asked() {
    let world = World::start();
    let token = world.token().await;
    for index in 0..105 {
        let (status, _) = world
            .patch(P1, &token, &change("iosOnboarded", json!(index % 2 == 0)))
            .await;
        assert_eq!(status, 200);
    }
    let peaks = world.control.throttle_peaks();
    assert_eq!(peaks.len(), 2);
    assert!(
        peaks
            .iter()
            .all(|peak| peak.tenant == TENANT && peak.writes == 105 && peak.requests == 105)
    );
    world.control.clear_throttle();
    assert_eq!(world.control.throttle_peaks(), []);

    let strict = World::with(
        Options {
            throttling: Throttling::Enforce,
            ..Options::default()
        },
        false,
    );
    let token = strict.token().await;
    let mut statuses = Vec::new();
    for index in 0..102 {
        let request = strict.request(Method::PATCH, &format!("/{P1}"), &token);
        let response = request
            .json(&change("iosOnboarded", json!(index % 2 == 0)))
            .send()
            .await
            .unwrap();
        if response.status() == 429 {
            let seconds: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=20).contains(&seconds));
            assert_eq!(read(response).await.1["error"]["code"], "TooManyRequests");
            statuses.push(429);
        }
    }
    assert_eq!(statuses, [429, 429]);
    assert_eq!(strict.list(&token).await.0, 200, "reads have their own limit");
}

#[tokio::test]
async fn a_repeated_patch_is_seen_as_such() {
    let world = World::start();
    let token = world.token().await;
    world
        .control
        .script(Script::graph().method("PATCH").times(1).action(Action::ApplyThenReset));
    let body = change("iosOnboarded", json!(true));
    assert!(
        world
            .request(Method::PATCH, &format!("/{P1}"), &token)
            .json(&body)
            .send()
            .await
            .is_err()
    );
    assert_eq!(world.patch(P1, &token, &body).await.0, 200);
    assert_eq!(world.kinds(), [ViolationKind::UnchangedProperty]);
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_of_the_caller_does_not_matter() {
    let world = World::start();
    let url = world.url("");
    let late = std::thread::spawn({
        let client = world.client.clone();
        move || {
            std::thread::sleep(Duration::from_millis(300));
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async { client.get(url).send().await.unwrap().status().as_u16() })
        }
    });
    let answered = |request: &Request| request.status == Some(401);
    assert_eq!(
        world
            .control
            .wait_for_requests(answered, 1, 20 * SECOND)
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(late.join().unwrap(), 401);
}
