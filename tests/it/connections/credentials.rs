//! Secrets, consent, and what Entra says of a credential.

use std::time::Duration;

use graph_simulator::Request;
use harness::{CLIENT_SECRET, PATIENCE, World, wait_for};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;

use super::{P1, of, told, with_a_partner};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_comes_late_is_found_without_an_edit() -> anyhow::Result<()> {
    let mut world = World::new("late-secret").await?;
    world.consent("graph").await?;
    world.connection("contoso", json!({})).await?;
    with_a_partner(&world).await?;
    world.start().await?;
    let connection = world.connection_is("contoso", "False", "SecretNotFound").await?;
    assert!(
        told(&connection).contains("Secret graph does not exist"),
        "{}",
        told(&connection)
    );
    assert!(of(&connection, "Reconciling").is_some() && of(&connection, "Stalled").is_none());
    let partner = world.partner_is("jamf", "Ready", "False", "ConnectionNotReady").await?;
    let conditions = partner.status.unwrap().conditions;
    let ready = conditions.iter().find(|condition| condition.r#type == "Ready").unwrap();
    assert!(ready.message.contains("SecretNotFound"), "{}", ready.message);
    assert!(conditions.iter().any(|condition| condition.r#type == "Reconciling"));
    assert_eq!(world.event("contoso", "SecretNotFound").await?.0, "Warning");

    world.secret("graph", json!({"password": CLIENT_SECRET})).await?;
    wait_for("the message that the key is missing", PATIENCE, async || {
        let told = told(&world.connection_is("contoso", "False", "SecretNotFound").await?);
        anyhow::ensure!(told.contains("has no key client-secret"), "{told}");
        Ok(())
    })
    .await?;
    assert!(world.graph().requests().is_empty());

    world.secret("graph", json!({"client-secret": CLIENT_SECRET})).await?;
    world.connection_is("contoso", "True", "Connected").await?;
    world.in_sync("jamf").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_under_a_key_of_ones_own_with_a_line_end_is_used() -> anyhow::Result<()> {
    let mut world = World::new("own-key").await?;
    world
        .secret("graph", json!({"pw": format!("{CLIENT_SECRET}\n")}))
        .await?;
    world.consent("graph").await?;
    world
        .connection(
            "contoso",
            json!({"auth": {"clientSecret": {"secretRef": {"name": "graph", "key": "pw"}}}}),
        )
        .await?;
    world.start().await?;
    world.connection_is("contoso", "True", "Connected").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_looks_at_the_secret_anew() -> anyhow::Result<()> {
    let mut world = World::new("rotated").await?;
    world.connect().await?;
    with_a_partner(&world).await?;
    world.start().await?;
    world.in_sync("jamf").await?;

    // Rotated in Entra and in the Secret: the next exchange is by the new one.
    world
        .graph()
        .set_secret(&world.tenant, &world.client_id, "the-new-one")?;
    world.secret("graph", json!({"client-secret": "the-new-one"})).await?;
    world.graph().clear_log();
    world.connection_asked("contoso", "rotated").await?;
    let exchanged = |request: &Request| request.is_token() && request.status == Some(200);
    world.graph().wait_for_requests(exchanged, 1, PATIENCE).await?;
    world.connection_is("contoso", "True", "Connected").await?;
    world.in_sync("jamf").await?;

    let secrets: Api<Secret> = Api::namespaced(world.admin.clone(), &world.namespace);
    secrets.delete("graph", &DeleteParams::default()).await?;
    world.ask("gconn/contoso", "deleted").await?;
    let connection = world.connection_is("contoso", "False", "SecretNotFound").await?;
    assert!(
        connection.status.unwrap().roles.is_none(),
        "the token went with its Secret"
    );
    world.partner_is("jamf", "Ready", "False", "ConnectionNotReady").await?;

    world.secret("graph", json!({"client-secret": "the-new-one"})).await?;
    world.in_sync("jamf").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_cannot_be_one_is_told_before_any_request() -> anyhow::Result<()> {
    let mut world = World::new("invalid-secret").await?;
    world.connect().await?;
    world
        .secret("graph", json!({"client-secret": "one line\nand another"}))
        .await?;
    world.start().await?;
    let connection = world.connection_is("contoso", "False", "SecretInvalid").await?;
    let told = told(&connection);
    assert!(told.contains("client-secret") && told.contains("line end"), "{told}");
    assert!(!told.contains("another\n") && !told.contains("one line"), "{told}");
    assert!(of(&connection, "Reconciling").is_some());
    assert!(world.graph().requests().is_empty());
    world.secret("graph", json!({"client-secret": CLIENT_SECRET})).await?;
    world.connection_is("contoso", "True", "Connected").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_consent_the_message_has_the_lines_that_give_it() -> anyhow::Result<()> {
    let mut world = World::new("consent").await?;
    world.secret("graph", json!({"client-secret": CLIENT_SECRET})).await?;
    world.connection("contoso", json!({})).await?;
    with_a_partner(&world).await?;
    world.start().await?;
    let connection = world.connection_is("contoso", "False", "AccessNotGranted").await?;
    assert!(world.graph().requests().is_empty());
    let told = told(&connection);
    let run = world.plane.run_told(&told).await?;
    assert_eq!(run.len(), 2, "{told}");
    assert!(
        run[0].contains(" create role ") && run[1].contains(" create rolebinding "),
        "{told}"
    );
    world.connection_is("contoso", "True", "Connected").await?;
    world.in_sync("jamf").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_is_one_token_request_for_fifty_partners() -> anyhow::Result<()> {
    let mut world = World::new("wrong-secret").await?;
    world.connect().await?;
    world
        .secret("graph", json!({"client-secret": "its-id-and-not-its-value"}))
        .await?;
    world.row(P1, "Example Partner")?;
    for number in 0..50 {
        let id = format!("aaaaaaaa-1111-4111-8111-0000000002{number:02}");
        world
            .partner(
                &format!("p{number}"),
                json!({"partnerRef": {"id": id}, "iosOnboarded": true}),
            )
            .await?;
    }
    let mut config = world.config();
    config.timing.credentials = harness::NEVER;
    config.timing.credentials_cap = harness::NEVER;
    config.timing.secret = Duration::from_millis(100);
    let from = world.plane.audit_position()?;
    world.start_with(config).await?;
    let connection = world.connection_is("contoso", "False", "CredentialsRejected").await?;
    let told = told(&connection);
    assert!(
        told.contains("AADSTS7000215") && told.contains("the secret's value, not its id"),
        "{told}"
    );
    for number in 0..50 {
        world
            .partner_is(&format!("p{number}"), "Ready", "False", "ConnectionNotReady")
            .await?;
    }
    // The Secret is looked at again and again meanwhile, and Entra is left alone.
    wait_for("ten looks at the Secret", PATIENCE, async || {
        let events = world.plane.audit_events_since(from)?;
        let looks = events.iter().filter(|event| {
            let (object, verb) = (&event["objectRef"], &event["verb"]);
            object["resource"] == "secrets" && object["namespace"] == world.namespace.as_str() && verb == "get"
        });
        anyhow::ensure!(looks.count() >= 10, "fewer");
        Ok(())
    })
    .await?;
    assert_eq!(world.graph().count(Request::is_token), 1);
    assert_eq!(world.graph().count(Request::is_graph), 0);

    // A Secret that has changed does not wait for the backoff.
    world.secret("graph", json!({"client-secret": CLIENT_SECRET})).await?;
    world.connection_is("contoso", "True", "Connected").await?;
    assert_eq!(world.graph().count(Request::is_token), 2);
    world.stop().await
}
