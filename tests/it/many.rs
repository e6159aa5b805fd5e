//! Many resources in one kind of trouble: it stays theirs, and costs no more than that of one.

use anyhow::ensure;
use graph_simulator::{Answer, App, Request, Script};
use harness::{CLIENT_SECRET, NEVER, WRITE_ROLE, World};
use serde_json::{Value, json};

/// A 401 that no other token would change: Graph means that it is forbidden.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_graph_refuses_although_it_is_fresh_is_not_replaced_for_each_resource() -> anyhow::Result<()> {
    let mut world = World::new("refused-by-many").await?;
    world.connect().await?;
    let message = json!({"ErrorCode": "Forbidden", "Message": "Operation is restricted."}).to_string();
    let body = json!({"error": {"code": "UnknownError", "message": message}});
    let refusal = Script::graph().method("PATCH").answer(Answer::json(401, body));
    let refusal = world.graph().script(refusal);
    let names: Vec<String> = (0..30).map(|number| format!("row-{number:03}")).collect();
    for name in &names {
        world.row(name, "Example Partner")?;
        let spec = json!({"partnerRef": {"id": name}, "iosOnboarded": true});
        world.partner(name, spec).await?;
    }
    let mut config = world.config();
    config.timing.slow = NEVER;
    config.timing.very_slow = NEVER;
    world.start_with(config).await?;
    for name in &names {
        world.partner_is(name, "Ready", "False", "PermissionDenied").await?;
    }
    // One for each pass that was under way when the first of them learned it, and none for the others.
    let asked = world.graph().count(Request::is_token);
    ensure!(asked <= 1 + 4, "{asked} token requests");
    // Whoever asks gets an attempt with a new one.
    world.graph().remove_script(refusal);
    world.asked("row-000", "now").await?;
    world.in_sync("row-000").await?;
    assert_eq!(world.graph().count(Request::is_token), asked + 1);
    world.stop().await
}

/// However many connections lead to a tenant that accepts and never answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_tenant_with_many_connections_delays_no_edit_of_another_one() -> anyhow::Result<()> {
    let mut world = World::new("hangs-by-many").await?;
    world.connect().await?;
    world.row("lives", "Example Partner")?;
    let lives = |value: bool| json!({"partnerRef": {"id": "lives"}, "iosOnboarded": value});
    world.partner("lives", lives(false)).await?;
    let tenant = "dddddddd-4444-4444-8444-000000000001";
    let app = App::with_secret(CLIENT_SECRET).roles([WRITE_ROLE]);
    world.graph().add_app(tenant, &world.client_id, app);
    let hangs = |connection: usize, id: &str, value: bool| {
        let connection = json!({"name": format!("hangs-{connection}")});
        json!({"connectionRef": connection, "partnerRef": {"id": id}, "iosOnboarded": value})
    };
    let mut names: Vec<(usize, String)> = Vec::new();
    for connection in 0..8 {
        let spec: Value = json!({"tenantId": tenant});
        world.connection(&format!("hangs-{connection}"), spec).await?;
        for number in 0..4 {
            let name = format!("hangs-{connection}-{number}");
            let row = world.graph().base_row(&name, &name);
            world.graph().seed_row(tenant, row)?;
            world.partner(&name, hangs(connection, &name, false)).await?;
            names.push((connection, name));
        }
    }
    let mut config = world.config();
    (config.timing.request, config.timing.pass) = (NEVER, NEVER);
    world.start_with(config).await?;
    for (_, name) in &names {
        world.in_sync(name).await?;
    }
    world.in_sync("lives").await?;
    let hanging = world.graph().script(Script::graph().tenant(tenant).hang());
    for (connection, name) in &names {
        world.partner(name, hangs(*connection, name, true)).await?;
    }
    for value in [true, false] {
        world.partner("lives", lives(value)).await?;
        world.in_sync("lives").await?;
    }
    ensure!(world.graph().script_hits(hanging) >= 3, "hardly anybody hangs");
    world.graph().clear_scripts();
    Ok(())
}

/// The pause of an object that is locked is no pause of the service.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_object_with_a_pause_holds_nobody_else_up() -> anyhow::Result<()> {
    let mut world = World::new("locked").await?;
    world.connect().await?;
    for name in ["locked", "free"] {
        world.row(name, "Example Partner")?;
    }
    let body = json!({"error": {"code": "Locked", "message": "The object is locked."}});
    let answer = Answer::json(423, body).header("Retry-After", "3000");
    let locked = Script::graph().method("PATCH").path_end("locked").answer(answer);
    world.graph().script(locked);
    let spec = |id: &str| json!({"partnerRef": {"id": id}, "iosOnboarded": true});
    world.partner("locked", spec("locked")).await?;
    world.start().await?;
    world.partner_is("locked", "Ready", "False", "GraphUnavailable").await?;
    world.partner("free", spec("free")).await?;
    world.in_sync("free").await?;
    world.stop().await
}
