//! Texts in what Graph and Entra refuse with.

use graph_simulator::{Answer, App, Body, Script};
use harness::{PATIENCE, WRITE_ROLE, World};
use serde_json::{Value, json};

use super::reading::{self, Form};
use super::{create, operator, refused, texts, three_polls, writes};

/// The client secret of every app here.
const SECRET: &str = "canary+foreign/secret";

/// The secret as it stands, in a form and in a Secret, and what every token begins with.
const NOWHERE: [&str; 4] = ["canary+", "canary%2B", "Y2FuYXJ5K2ZvcmVpZ24vc2VjcmV0", "eyJ"];

fn id(number: usize) -> String {
    format!("aaaaaaaa-1111-4111-8111-{number:012}")
}

/// A tenant of its own, with the app that all connections here use.
fn tenant(world: &World, kind: char, number: usize) -> String {
    let tenant = format!("{}{kind}{number:02}", &world.tenant[..33]);
    let app = App::with_secret(SECRET).roles([WRITE_ROLE]);
    world.graph().add_app(&tenant, &world.client_id, app);
    tenant
}

/// The text wherever an error can say it, and the token, as a service does that repeats what it was sent.
fn error(text: &str, token: &str, shape: usize) -> Value {
    let sentence = format!("{text} Bearer {token} {text}");
    let intune = json!({"_version": 3, "Message": sentence, "CustomApiErrorPhrase": text});
    match shape % 3 {
        0 => json!({"error": {"code": text, "message": sentence, "innerError": {"request-id": text, "date": text}}}),
        1 => json!({"error": {"code": "BadRequest", "message": intune.to_string()}}),
        _ => json!({"error": {"code": text, "message": "", "details": [{"code": text, "message": sentence}]}}),
    }
}

/// For each text: a partner whose change Graph refuses with it, a connection whose tenant Graph does not list, one whose
/// token Entra refuses, and one whose pages lead to it.
async fn seed(world: &World, texts: &[String], token: &str) -> anyhow::Result<()> {
    let graph = world.graph();
    for (number, text) in texts.iter().enumerate() {
        world.row(&id(number), "Example Partner")?;
        let answer = Answer::json(400, error(text, token, number)).header("request-id", "%1b[31m {{x}} \"}");
        graph.script(Script::graph().method("PATCH").path(id(number)).answer(answer));
        let spec = json!({"partnerRef": {"id": id(number)}, "iosOnboarded": true});
        create(world, &format!("refused-{number}"), text, spec).await?;

        let listed = tenant(world, 'a', number);
        let status = [400, 403, 500][number % 3];
        graph.script(
            Script::graph()
                .tenant(&listed)
                .answer(Answer::json(status, error(text, token, number))),
        );
        world
            .connection(&format!("list-{number}"), json!({"tenantId": listed}))
            .await?;

        let refused = tenant(world, 'b', number);
        // All of it within the 256 KiB that are looked at.
        let short: String = text.chars().take(1_000).collect();
        let body = json!({
            "error": if number % 2 == 0 { "invalid_client" } else { text.as_str() },
            "error_description": format!("AADSTS7000215: {text} {SECRET}"), "error_codes": [short], "suberror": short,
            "trace_id": short, "correlation_id": short, "timestamp": short, "claims": short,
        });
        graph.script(Script::entra().tenant(&refused).answer(Answer::json(401, body)));
        world
            .connection(&format!("token-{number}"), json!({"tenantId": refused}))
            .await?;

        let paged = tenant(world, 'c', number);
        let link = format!(
            "{}/v1.0/deviceManagement/{text}/x?$skiptoken={token}",
            world.simulator.graph_endpoint()
        );
        let body = json!({"value": [], "@odata.nextLink": link});
        graph.script(
            Script::graph()
                .tenant(&paged)
                .path_end("Partners")
                .answer(Answer::json(200, body)),
        );
        world
            .connection(&format!("page-{number}"), json!({"tenantId": paged}))
            .await?;
    }
    // Bodies that are no text at all.
    for (number, body) in [
        &b"\xff\xfe\x00{\x1b[31m"[..],
        b"{\"error\":{\"code\":\"x\",\"message\":\"\x1b[31m\xff\"}}",
    ]
    .into_iter()
    .enumerate()
    {
        let broken = tenant(world, 'd', number);
        let answer = Answer::status(400)
            .header("request-id", "r")
            .body(Body::Bytes(body.to_vec()));
        graph.script(Script::graph().tenant(&broken).answer(answer));
        world
            .connection(&format!("bytes-{number}"), json!({"tenantId": broken}))
            .await?;
        let broken = tenant(world, 'e', number);
        graph.script(
            Script::entra()
                .tenant(&broken)
                .answer(Answer::status(400).body(Body::Bytes(body.to_vec()))),
        );
        world
            .connection(&format!("entra-{number}"), json!({"tenantId": broken}))
            .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_graph_and_entra_refuse_with_is_told_clean_and_without_secrets() -> anyhow::Result<()> {
    let world = World::new("refusals").await?;
    let texts = texts::all();
    world.graph().set_secret(&world.tenant, &world.client_id, SECRET)?;
    world.secret("graph", json!({"client-secret": SECRET})).await?;
    world.consent("graph").await?;
    world.connection("contoso", json!({})).await?;
    let token = world.graph().issue_token(&world.tenant, &world.client_id, None);
    seed(&world, &texts, &token).await?;
    world.row("neighbour", "Example Partner")?;
    create(
        &world,
        "neighbour",
        "1",
        json!({"partnerRef": {"id": "neighbour"}, "iosOnboarded": true}),
    )
    .await?;
    // A key in a Secret is a user's text, too.
    for (number, text) in texts.iter().enumerate() {
        let key: String = text.chars().take(253).collect();
        let auth = json!({"clientSecret": {"secretRef": {"name": "graph", "key": key}}});
        key_connection(&world, &format!("key-{number}"), auth).await?;
    }

    let running = operator(&world, "text").await?;
    world.in_sync("neighbour").await?;
    for number in 0..texts.len() {
        world
            .partner_is(&format!("refused-{number}"), "Ready", "False", "RejectedByGraph")
            .await?;
        world.connection_is(&format!("list-{number}"), "False", "").await?;
        world
            .connection_is(&format!("token-{number}"), "False", "CredentialsRejected")
            .await?;
        world.connection_is(&format!("page-{number}"), "False", "").await?;
        world
            .connection_is(&format!("key-{number}"), "False", "SecretNotFound")
            .await?;
    }
    for number in 0..2 {
        world.connection_is(&format!("bytes-{number}"), "False", "").await?;
        world.connection_is(&format!("entra-{number}"), "False", "").await?;
    }
    // The same refusal again is the same message: nothing more is written.
    three_polls(&world).await?;
    let position = world.plane.audit_position()?;
    three_polls(&world).await?;
    let kubectl = reading::kubectl(&world).await?;
    let metrics = running.answers("/metrics", 200, PATIENCE).await?;
    running.stop().await?;
    assert_eq!(writes(&world, position)?, []);
    assert_eq!(refused(&world)?, []);

    let log = running.process.log()?;
    reading::log(&log, Form::Text)?;
    reading::lines(&metrics, "the metrics")?;
    assert!(
        log.contains("DEBUG") && log.contains("\"outcome\":\"refused\""),
        "the level is not a talkative one"
    );
    for (place, text) in [("the log", &log), ("kubectl", &kubectl), ("the metrics", &metrics)] {
        for word in NOWHERE.into_iter().chain(token.split('.')) {
            assert!(!text.contains(word), "{place} tells {word}");
        }
    }
    Ok(())
}

/// A connection of this world's tenant by a key with a name that only JSON can write.
async fn key_connection(world: &World, name: &str, auth: Value) -> anyhow::Result<()> {
    let connection = serde_json::from_value(json!({
        "apiVersion": "intune.msgraph.dev/v1alpha1",
        "kind": "GraphConnection",
        "metadata": {"name": name},
        "spec": {"tenantId": world.tenant, "clientId": world.client_id, "auth": auth},
    }))?;
    world
        .connections()
        .create(&kube::api::PostParams::default(), &connection)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_looks_like_any_word_is_not_repeated() -> anyhow::Result<()> {
    let mut world = World::new("echoes").await?;
    world.connect().await?;
    let token = "EwB-an-opaque-canary-that-no-scrubber-knows";
    let granted = json!({"access_token": token, "token_type": "Bearer", "expires_in": 3_599});
    world
        .graph()
        .script(Script::entra().method("POST").answer(Answer::json(200, granted)));
    let sentence = format!("The header Bearer {token} is not acceptable, nor is {token}.");
    let echo = json!({"error": {"code": "BadRequest", "message": sentence}});
    world.graph().script(Script::graph().answer(Answer::json(400, echo)));
    world.start().await?;
    let connection = world.connection_is("contoso", "False", "GraphUnavailable").await?;
    let (kind, note) = world.event("contoso", "GraphUnavailable").await?;
    let told = serde_json::to_string(&connection.status)?;
    assert!(told.contains("The header Bearer … is not acceptable"), "{told}");
    assert!(
        kind == "Warning" && !told.contains("opaque") && !note.contains("opaque"),
        "{told} {note}"
    );
    world.stop().await
}
