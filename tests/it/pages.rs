//! Listings in many pages, and answers that are wrapped, empty or two things at once.

// Indexing JSON is lenient: what is not there is null.
#![allow(clippy::indexing_slicing)]

use anyhow::ensure;
use graph_simulator::{Action, Answer, App, Options, Request, Script};
use harness::{CLIENT_SECRET, P1, WRITE_ROLE, World};
use serde_json::{Value, json};

use crate::history::at;

const COLLECTION: &str = "/v1.0/deviceManagement/complianceManagementPartners";

/// A tenant of its own with so many rows, `Partner 0` and so on.
fn tenant(world: &World, number: usize, rows: usize) -> anyhow::Result<String> {
    let tenant = format!("dddddddd-4444-4444-8444-{number:012x}");
    let app = App::with_secret(CLIENT_SECRET).roles([WRITE_ROLE]);
    world.graph().add_app(&tenant, &world.client_id, app);
    for row in 0..rows {
        let row = world
            .graph()
            .base_row(&format!("row-{row:03}"), &format!("Partner {row}"));
        world.graph().seed_row(&tenant, row)?;
    }
    Ok(tenant)
}

/// A page of a tenant, for the link with this mark (the first page has none), that leads to the next mark.
fn page(world: &World, tenant: &str, mark: &str, rows: &[Value], next: Option<&str>) -> Script {
    let mut body = json!({"value": rows});
    if let Some(next) = next {
        let link = format!("{}{COLLECTION}?$skiptoken={next}", world.simulator.graph_endpoint());
        body["@odata.nextLink"] = json!(link);
    }
    let target = if mark.is_empty() {
        Script::graph().path_end("Partners")
    } else {
        Script::graph().path(format!("skiptoken={mark}"))
    };
    target.tenant(tenant).method("GET").answer(Answer::json(200, body))
}

/// A connection of a tenant, and a partner that has to be found in its list by name.
async fn looks_for(world: &World, name: &str, tenant: &str, display_name: &str) -> anyhow::Result<()> {
    world.connection(name, json!({"tenantId": tenant})).await?;
    let spec = json!({
        "connectionRef": {"name": name}, "partnerRef": {"displayName": display_name}, "managementPolicy": "Observe",
    });
    world.partner(name, spec).await.map(drop)
}

/// What Ready of a connection tells, once it is False for trouble with Graph.
async fn unavailable(world: &World, name: &str) -> anyhow::Result<String> {
    let connection = world.connection_is(name, "False", "GraphUnavailable").await?;
    let told = at(&connection, "/status/conditions/0/message");
    Ok(told.as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_pages_are_read_and_more_than_a_hundred_are_not() -> anyhow::Result<()> {
    let options = Options {
        page_size: 1,
        ..Options::default()
    };
    let mut world = World::with("fifty", options).await?;
    world.connect().await?;
    for (number, (name, rows)) in [("fifty", 50), ("hundred", 100), ("more", 101)].into_iter().enumerate() {
        let tenant = tenant(&world, number, rows)?;
        looks_for(&world, name, &tenant, &format!("Partner {}", rows - 1)).await?;
    }
    world.start().await?;
    for (name, last) in [("fifty", "row-049"), ("hundred", "row-099")] {
        let partner = world.in_sync(name).await?;
        assert_eq!(at(&partner, "/status/partnerId"), last);
    }
    let told = unavailable(&world, "more").await?;
    assert_eq!(told, "Graph's list has more than 100 pages. It is tried again.");
    world.partner_is("more", "Ready", "False", "GraphUnavailable").await?;
    assert_eq!(world.graph().violations(), []);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_may_be_empty_and_must_not_lead_in_a_circle() -> anyhow::Result<()> {
    let mut world = World::new("circles").await?;
    world.connect().await?;
    let row = |id: &str| world.graph().base_row(id, "Wanted");
    let (empty, wanted, other) = (
        &[][..],
        &[row("wanted")][..],
        &[world.graph().base_row("other", "Other")][..],
    );
    for (number, (name, pages)) in [
        // The row stands between pages without one.
        (
            "empty-pages",
            &[
                ("", empty, "a"),
                ("a", empty, "b"),
                ("b", wanted, "c"),
                ("c", empty, ""),
            ][..],
        ),
        ("empty-tenant", &[("", empty, "")]),
        ("itself", &[("a", other, "a"), ("", wanted, "a")]),
        ("circle", &[("", wanted, "a"), ("a", other, "b"), ("b", empty, "a")]),
    ]
    .into_iter()
    .enumerate()
    {
        let tenant = tenant(&world, number, 0)?;
        // What is more special comes first.
        for (mark, rows, next) in pages.iter().rev() {
            let next = (!next.is_empty()).then_some(*next);
            if !mark.is_empty() {
                world.graph().script(page(&world, &tenant, mark, rows, next));
            }
        }
        for (mark, rows, next) in pages.iter().filter(|(mark, ..)| mark.is_empty()) {
            let next = (!next.is_empty()).then_some(*next);
            world.graph().script(page(&world, &tenant, mark, rows, next));
        }
        let odd = world.graph().base_row("wanted", "Wanted");
        world.graph().seed_row(&tenant, odd)?;
        looks_for(&world, name, &tenant, "Wanted").await?;
    }
    world.start().await?;
    let partner = world.in_sync("empty-pages").await?;
    assert_eq!(at(&partner, "/status/partnerId"), "wanted");
    let partner = world
        .partner_is("empty-tenant", "Ready", "False", "PartnerNotFound")
        .await?;
    assert_eq!(at(&partner, "/status/partnerId"), Value::Null);
    for name in ["itself", "circle"] {
        let told = unavailable(&world, name).await?;
        assert_eq!(told, "Graph's pages lead in a circle. It is tried again.");
        world.partner_is(name, "Ready", "False", "GraphUnavailable").await?;
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_listing_is_none() -> anyhow::Result<()> {
    let mut world = World::new("half").await?;
    world.connect().await?;
    let rows = [world.graph().base_row("row-000", "Partner 0")];
    let odd = [
        json!({"id": "odd", "displayName": "Odd", "iosOnboarded": "yes"}),
        world.graph().base_row("row-001", "Partner 1"),
    ];
    let error = json!({"error": {"code": "InternalServerError", "message": "Not now"}});
    let second = |tenant: &str, answer: Answer| Script::graph().tenant(tenant).path("skiptoken=a").answer(answer);
    let answers = [
        (
            "no-value",
            Answer::json(200, json!({"@odata.context": "x"})),
            "value should be a list",
        ),
        (
            "null-value",
            Answer::json(200, json!({"value": null})),
            "value should be a list",
        ),
        (
            "error-inside",
            Answer::json(200, json!({"value": [], "error": {"code": "x"}})),
            "the list holds an error",
        ),
        ("busy", Answer::json(503, error), "Not now"),
        (
            "gone",
            Answer::json(404, json!({"error": {"code": "NotFound", "message": "Page gone"}})),
            "Page gone",
        ),
    ];
    for (number, (name, answer, _)) in answers.iter().enumerate() {
        let tenant = tenant(&world, number, 2)?;
        world.graph().script(second(&tenant, answer.clone()));
        world.graph().script(page(&world, &tenant, "", &rows, Some("a")));
        looks_for(&world, name, &tenant, "Partner 1").await?;
    }
    // A row that cannot be read costs itself alone, on whatever page.
    let tenant = tenant(&world, answers.len(), 2)?;
    world.graph().script(page(&world, &tenant, "a", &odd, None));
    world.graph().script(page(&world, &tenant, "", &rows, Some("a")));
    looks_for(&world, "odd-row", &tenant, "Partner 1").await?;

    world.start().await?;
    world.in_sync("odd-row").await?;
    let connection = world.connection_is("odd-row", "True", "Connected").await?;
    assert_eq!(
        at(&connection, "/status/partners"),
        json!([
            {"id": "odd", "displayName": "Odd"},
            {"id": "row-000", "displayName": "Partner 0"},
            {"id": "row-001", "displayName": "Partner 1"},
        ])
    );
    for (name, _, words) in answers {
        let told = unavailable(&world, name).await?;
        ensure!(told.contains(words), "{name}: {told}");
        world.partner_is(name, "Ready", "False", "GraphUnavailable").await?;
        ensure!(world.events(name, "PartnerNotFound").await?.is_empty());
    }
    world.graph().clear_scripts();
    for name in ["no-value", "null-value", "error-inside", "busy", "gone"] {
        world.in_sync(name).await?;
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_are_looked_for_by_name_share_one_listing() -> anyhow::Result<()> {
    let mut world = World::new("one-listing").await?;
    world.connect().await?;
    for number in 0..20 {
        world.row(&format!("row-{number:03}"), &format!("Partner {number}"))?;
        let spec = json!({"partnerRef": {"displayName": format!("Partner {number}")}, "managementPolicy": "Observe"});
        world.partner(&format!("p{number}"), spec).await?;
    }
    let slow = Script::graph()
        .path_end("Partners")
        .delay(std::time::Duration::from_millis(700));
    world.graph().script(slow.then_continue());
    world.start().await?;
    for number in 0..20 {
        let partner = world.in_sync(&format!("p{number}")).await?;
        assert_eq!(at(&partner, "/status/partnerId"), format!("row-{number:03}"));
    }
    assert_eq!(world.graph().count(Request::is_list), 1);
    world.stop().await
}

/// One row, and a partner that agrees with it.
async fn one(name: &str) -> anyhow::Result<World> {
    let world = World::with_partner(name, Options::default()).await?;
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": false}))
        .await?;
    Ok(world)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_may_come_wrapped_as_the_reference_shows_it() -> anyhow::Result<()> {
    let mut world = one("wrapped").await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    let mut row = world.graph().base_row(P1, "Wrapped Partner");
    row["iosOnboarded"] = json!(true);
    let wrapped = Answer::json(200, json!({"@odata.context": "x", "value": row}));
    let by_id = || Script::graph().method("GET").path_end(P1);
    let script = world.graph().script(by_id().answer(wrapped).times(1));
    // What is read that way is drift, and is corrected.
    let seen = world.graph().last_seq();
    world.asked("jamf", "wrapped").await?;
    let sent = world
        .graph()
        .requests_where(|request| request.seq > seen && request.is_graph());
    let methods: Vec<&str> = sent.iter().map(|request| request.method.as_str()).collect();
    assert_eq!(methods, ["GET", "PATCH", "GET"]);
    assert_eq!(sent[1].properties(), ["iosOnboarded"]);
    assert_eq!(world.graph().script_hits(script), 1);
    world.in_sync("jamf").await?;

    // What is no object, or another one, is no answer.
    let mut config = world.config();
    config.timing.backoff = harness::NEVER;
    config.timing.backoff_cap = harness::NEVER;
    world.start_with(config).await?;
    world.in_sync("jamf").await?;
    let other = world.graph().base_row("another", "Another Partner");
    for (round, body) in [
        json!({"value": []}),
        json!({"value": [other]}),
        json!({"value": other}),
        json!({"value": null}),
        other.clone(),
        json!({"error": {"code": "InternalServerError"}}),
        json!([]),
        json!("ok"),
    ]
    .into_iter()
    .enumerate()
    {
        let script = world.graph().script(by_id().answer(Answer::json(200, body.clone())));
        let partner = world.asked("jamf", &format!("round {round}")).await?;
        assert_eq!(at(&partner, "/status/displayName"), "Example Partner", "{body}");
        let ready = at(&partner, "/status/conditions/0/reason");
        ensure!(ready == "InSync", "{body}: as it was, not {ready}");
        world.graph().remove_script(script);
    }
    assert_eq!(world.patches(), 1);
    world.asked("jamf", "well").await?;
    world.in_sync("jamf").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_success_with_an_error_in_it_is_none_and_is_looked_after() -> anyhow::Result<()> {
    let mut world = one("both").await?;
    let mut config = world.config();
    // Time to see what is told before it is mended.
    config.timing.backoff = std::time::Duration::from_secs(3);
    config.timing.backoff_cap = config.timing.backoff;
    world.start_with(config).await?;
    world.in_sync("jamf").await?;
    let both = Answer::json(
        200,
        json!({"id": P1, "error": {"code": "InternalServerError", "message": "Half done"}}),
    );
    for (action, value, patches) in [
        // It was done all the same, or it was not.
        (Action::ApplyThenAnswer(both.clone()), true, 1),
        (Action::Answer(both), false, 2),
    ] {
        world
            .graph()
            .script(Script::graph().method("PATCH").action(action.clone()).times(1));
        world.graph().clear_log();
        world
            .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": value}))
            .await?;
        world.in_sync("jamf").await?;
        assert_eq!(world.patches(), patches, "{action:?}");
        let row = world.graph().row(&world.tenant, P1).unwrap_or_default();
        assert_eq!(row["iosOnboarded"], value);
        let (_, note) = world.event("jamf", "GraphUnavailable").await?;
        ensure!(note.contains("with success and an error in one"), "{note}");
    }
    // What is no error is no matter.
    for (round, body) in [json!({"error": null}), json!([]), json!("ok"), json!({"value": {}})]
        .into_iter()
        .enumerate()
    {
        let answer = Action::ApplyThenAnswer(Answer::json(200, body));
        world
            .graph()
            .script(Script::graph().method("PATCH").action(answer).times(1));
        world.graph().clear_log();
        world
            .partner(
                "jamf",
                json!({"partnerRef": {"id": P1}, "iosOnboarded": round % 2 == 0}),
            )
            .await?;
        world.in_sync("jamf").await?;
        let methods: Vec<String> = world
            .graph()
            .requests_where(Request::is_graph)
            .into_iter()
            .map(|request| request.method)
            .collect();
        assert_eq!(methods, ["GET", "PATCH", "GET"]);
    }
    world.stop().await
}
