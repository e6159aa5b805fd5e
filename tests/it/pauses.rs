//! Pauses that Microsoft asks for, in every shape that they come in, on 429 and on 503, from Graph and from Entra.
//!
//! What must be waited for is short, what must be passed over would be long: a wait that is taken for another one ends too
//! soon or, for this test, never.

use anyhow::{Context as _, ensure};
use graph_simulator::{Answer, App, Options, Request, Script};
use harness::{CLIENT_SECRET, PATIENCE, WRITE_ROLE, World};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::history::at;

/// A pause that is honoured, in milliseconds; the clocks of two processes on one machine do not differ.
const PAUSE: u64 = 3_000;

/// How the pause is asked for, and whether it is one.
struct Shape {
    name: &'static str,
    headers: Vec<(&'static str, String)>,
    /// Intune's own `RetryAfter`, in its body.
    body: Value,
    honoured: bool,
    /// The moment until which it is, where that is a date of this machine's clock.
    until: Option<Timestamp>,
}

fn shape(name: &'static str, headers: &[(&'static str, &str)], honoured: bool) -> Shape {
    Shape {
        name,
        headers: headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect(),
        body: Value::Null,
        honoured,
        until: None,
    }
}

/// So many seconds from now, and the same as HTTP has it.
fn date(seconds: i64) -> anyhow::Result<(Timestamp, String)> {
    let then = Timestamp::from_second(Timestamp::now().as_second() + seconds)?;
    Ok((then, then.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()))
}

/// Headers in the case that HTTP/1.1 has them here; HTTP/2 has all in lower case.
fn shapes() -> anyhow::Result<Vec<Shape>> {
    let mut shapes = vec![
        shape("seconds", &[("Retry-After", "3")], true),
        shape("fraction", &[("Retry-After", "2.128")], true),
        shape("longest", &[("Retry-After", "1"), ("Retry-After", "3")], true),
        shape("missing", &[], false),
        shape("zero", &[("Retry-After", "0")], false),
        shape("negative", &[("Retry-After", "-315")], false),
        shape("plus", &[("Retry-After", "+315")], false),
        shape("unit", &[("Retry-After", "315s")], false),
        shape("garbage", &[("Retry-After", "soon")], false),
        shape("empty", &[("Retry-After", "")], false),
        shape("past", &[("Retry-After", "Thu, 01 Jan 1970 00:05:15 GMT")], false),
    ];
    let hour = 3_600;
    for (name, clock) in [("clock-behind", -hour), ("clock-ahead", hour)] {
        // Their clock is not ours: what they mean is three seconds.
        let ((_, now), (_, then)) = (date(clock)?, date(clock + 3)?);
        shapes.push(shape(name, &[("Date", &now), ("Retry-After", &then)], true));
    }
    // Without a date of its own the answer gets one from the server, which is on this machine.
    let (until, then) = date(20)?;
    shapes.push(Shape {
        until: Some(until),
        ..shape("date", &[("Retry-After", &then)], false)
    });
    shapes.push(Shape {
        body: json!("3"),
        ..shape("in-body", &[], true)
    });
    shapes.push(Shape {
        body: json!("315"),
        ..shape("header-first", &[("Retry-After", "3")], true)
    });
    shapes.push(Shape {
        body: json!("-315"),
        ..shape("garbage-in-body", &[("Retry-After", "soon")], false)
    });
    Ok(shapes)
}

fn tenant(world: &World, number: usize) -> String {
    let tenant = format!("dddddddd-4444-4444-8444-{number:012x}");
    let app = App::with_secret(CLIENT_SECRET).roles([WRITE_ROLE]);
    world.graph().add_app(&tenant, &world.client_id, app);
    tenant
}

fn answer(status: u16, shape: &Shape) -> Answer {
    let message = json!({"_version": 3, "Message": "Busy for 3 seconds", "RetryAfter": shape.body}).to_string();
    let error = json!({"error": {"code": "TooManyRequests", "message": message}});
    let answer = Answer::json(status, error);
    shape
        .headers
        .iter()
        .fold(answer, |answer, (name, value)| answer.header(*name, value))
}

/// The second request of a tenant, and the milliseconds between the first answer and it.
async fn pause(world: &World, tenant: &str, entra: bool) -> anyhow::Result<(Request, u64)> {
    let tenant = tenant.to_owned();
    let own = move |request: &Request| {
        request.tenant.as_deref() == Some(&tenant) && request.is_graph() != entra && request.status.is_some()
    };
    let mut requests = world.graph().wait_for_requests(own, 2, PATIENCE).await?.into_iter();
    let (first, second) = (requests.next(), requests.next());
    let (first, second) = first.zip(second).context("not two requests")?;
    let told = first.at_millis + first.duration_millis.unwrap_or_default();
    let wait = second.at_millis.saturating_sub(told);
    Ok((second, wait))
}

async fn each_shape(name: &str, http2: bool) -> anyhow::Result<()> {
    let options = Options {
        http2,
        ..Options::default()
    };
    let mut world = World::with(name, options).await?;
    world.connect().await?;
    let shapes = shapes()?;
    let mut cases = Vec::new();
    for shape in &shapes {
        for (service, status) in [("graph", 429), ("graph", 503), ("entra", 429), ("entra", 503)] {
            // Entra has no body of that kind.
            if service == "entra" && !shape.body.is_null() {
                continue;
            }
            let tenant = tenant(&world, cases.len());
            let entra = service == "entra";
            let script = if entra { Script::entra() } else { Script::graph() };
            world
                .graph()
                .script(script.tenant(&tenant).answer(answer(status, shape)).times(1));
            let name = format!("{service}-{status}-{}", shape.name);
            world.connection(&name, json!({"tenantId": tenant})).await?;
            cases.push((name, tenant, entra, shape));
        }
    }
    world.start().await?;
    for (name, tenant, entra, shape) in &cases {
        let (second, wait) = pause(&world, tenant, *entra).await.with_context(|| name.clone())?;
        ensure!(!shape.honoured || wait + 10 >= PAUSE, "{name}: {wait} ms");
        let came: Timestamp = second.time.parse()?;
        ensure!(shape.until.is_none_or(|until| came >= until), "{name}: at {came}");
        world.connection_is(name, "True", "Connected").await?;
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_shape_of_a_pause_is_kept_or_passed_over_by_http_2() -> anyhow::Result<()> {
    each_shape("pauses", true).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_shape_of_a_pause_is_kept_or_passed_over_by_http_1() -> anyhow::Result<()> {
    each_shape("pauses-1", false).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_pause_is_kept_whole_by_all_of_an_app_in_a_tenant_and_never_shown() -> anyhow::Result<()> {
    let mut world = World::new("long-pauses").await?;
    world.connect().await?;
    let mut tenants = Vec::new();
    for (number, seconds) in ["315", "7200", "99999999999999999999"].into_iter().enumerate() {
        for status in [429, 503] {
            let tenant = tenant(&world, tenants.len());
            let row = world.graph().base_row("p1", "Example Partner");
            world.graph().seed_row(&tenant, row)?;
            let shape = shape("long", &[("Retry-After", seconds)], true);
            world
                .graph()
                .script(Script::graph().tenant(&tenant).answer(answer(status, &shape)).times(1));
            let name = format!("c-{number}-{status}");
            world.connection(&name, json!({"tenantId": tenant})).await?;
            tenants.push((name, tenant, status));
        }
    }
    world.start().await?;
    let mut told = Vec::new();
    for (name, tenant, status) in &tenants {
        let reason = if *status == 429 {
            "Throttled"
        } else {
            "GraphUnavailable"
        };
        let connection = world.connection_is(name, "False", reason).await?;
        told.push((reason, at(&connection, "/status/conditions/0/message")));
        // Another connection of the app, and an edit over each: the pause is theirs too.
        let twin = format!("{name}-twin");
        world.connection(&twin, json!({"tenantId": tenant})).await?;
        world.connection_is(&twin, "False", "Throttled").await?;
        for connection in [name, &twin] {
            let spec = json!({"connectionRef": {"name": connection}, "partnerRef": {"id": "p1"}, "iosOnboarded": true});
            world.partner(connection, spec).await?;
            let reason = if connection == name { reason } else { "Throttled" };
            world.partner_is(connection, "Ready", "False", reason).await?;
        }
    }
    // However long, it is the same sentence, and no number is in it but that of the answer.
    told.sort_by_key(|(reason, _)| *reason);
    told.dedup();
    assert_eq!(told.len(), 2, "{told:?}");
    for (_, message) in &told {
        let message = message.as_str().context("no message")?.replace("HTTP 503", "");
        ensure!(!message.contains(|letter: char| letter.is_ascii_digit()), "{message}");
    }
    for (name, tenant, _) in &tenants {
        let asked = world
            .graph()
            .count(|request| request.is_graph() && request.tenant.as_deref() == Some(tenant));
        assert_eq!(asked, 1, "{name}");
    }
    // An hour at most each.
    let metrics = world.metrics()?;
    let paused = metrics
        .lines()
        .find_map(|line| line.strip_prefix("compliance_partner_throttled_seconds_total "))
        .and_then(|seconds| seconds.parse::<f64>().ok())
        .context("no such metric")?;
    ensure!((paused - 2.0 * (315.0 + 3_600.0 + 3_600.0)).abs() < 1.0, "{paused}");
    world.stop().await
}
