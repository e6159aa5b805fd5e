//! `auth.clientCertificate`.

use anyhow::ensure;
use graph_simulator::{Certified, Request, certificate};
use harness::{Kind, PATIENCE, World, auth, tls, wait_for};
use k8s_openapi::jiff::SignedDuration;
use serde_json::json;

use super::{assertions, connection, partner_of, told};

/// A Secret with these two entries, the consent to read it, and a connection of its name.
async fn stored(world: &World, name: &str, certificates: &str, key: &str) -> anyhow::Result<()> {
    world
        .secret(name, json!({"tls.crt": certificates, "tls.key": key}))
        .await?;
    world.consent(name).await?;
    connection(world, name, auth(Kind::Certificate, name)).await
}

/// Has Entra know these certificates as the app's, and no secret.
fn registered(world: &World, certified: &[&Certified]) -> anyhow::Result<()> {
    let graph = world.graph();
    graph.set_secrets(&world.tenant, &world.client_id, Vec::new())?;
    let certificates = certified.iter().map(|certified| certified.certificate_pem.clone());
    graph.set_certificates(&world.tenant, &world.client_id, certificates.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_signs_in_by_either_form_of_its_key_wherever_it_stands() -> anyhow::Result<()> {
    let mut world = World::new("certificate").await?;
    let (own, other) = (certificate("operator")?, certificate("an authority")?);
    registered(&world, &[&own])?;
    let (leaf, authority) = (&own.certificate_pem, &other.certificate_pem);
    stored(&world, "pkcs8", leaf, &own.key_pkcs8_pem).await?;
    stored(&world, "pkcs1", leaf, &own.key_pkcs1_pem).await?;
    let chain = format!("{authority}{leaf}");
    stored(&world, "chain", &chain, &own.key_pkcs8_pem).await?;
    partner_of(&world, "chain").await?;
    world.start().await?;
    for name in ["pkcs8", "pkcs1", "chain"] {
        world.connection_is(name, "True", "Connected").await?;
    }
    world.in_sync("jamf").await?;

    let sent = assertions(&world);
    ensure!(sent.len() == 3, "{sent:?}");
    let endpoint = format!(
        "{}/{}/oauth2/v2.0/token",
        world.simulator.authority_host(),
        world.tenant
    );
    for assertion in &sent {
        assert_eq!(assertion["header"]["alg"], "PS256", "{assertion}");
        ensure!(assertion["header"]["x5t#S256"].is_string(), "{assertion}");
        let claims = &assertion["claims"];
        assert_eq!(claims["aud"], json!(endpoint));
        assert_eq!(claims["iss"], json!(world.client_id));
        assert_eq!(claims["sub"], json!(world.client_id));
        let lifetime = claims["exp"].as_i64().zip(claims["nbf"].as_i64());
        assert_eq!(lifetime.map(|(end, start)| end - start), Some(600), "{claims}");
    }
    let violations = world.graph().violations();
    ensure!(violations.is_empty(), "{violations:?}");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_certificate_with_its_key_is_told_before_any_request() -> anyhow::Result<()> {
    let mut world = World::new("bad-certificate").await?;
    let (own, other) = (certificate("operator")?, certificate("another")?);
    let leaf = &own.certificate_pem;
    let cases = [
        ("no-pem", leaf.as_str(), "a key, believe me", "no private key in PEM"),
        (
            "no-leaf",
            "nothing",
            own.key_pkcs8_pem.as_str(),
            "no certificate in PEM",
        ),
        (
            "of-others",
            leaf,
            &other.key_pkcs8_pem,
            "no certificate belongs to the key",
        ),
        ("swapped", &own.key_pkcs8_pem, leaf, "no private key in PEM"),
    ];
    for (name, certificates, key, _) in &cases {
        stored(&world, name, certificates, key).await?;
    }
    world.secret("opaque", json!({"client-secret": "x"})).await?;
    world.consent("opaque").await?;
    connection(&world, "opaque", auth(Kind::Certificate, "opaque")).await?;
    world.start().await?;
    for (name, .., says) in &cases {
        let connection = world.connection_is(name, "False", "SecretInvalid").await?;
        let told = told(&connection);
        ensure!(
            told.contains(says) && told.contains(&format!("Secret {name}")),
            "{told}"
        );
    }
    let connection = world.connection_is("opaque", "False", "SecretNotFound").await?;
    ensure!(told(&connection).contains("no key tls.crt"), "{}", told(&connection));
    assert_eq!(world.graph().count(Request::is_token), 0);

    // It heals without an edit of the connection.
    registered(&world, &[&own])?;
    world.secret("of-others", tls(&own)).await?;
    world.secret("opaque", tls(&own)).await?;
    world.connection_is("of-others", "True", "Connected").await?;
    world.connection_is("opaque", "True", "Connected").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_entra_does_not_know_is_told_with_what_to_do() -> anyhow::Result<()> {
    let mut world = World::new("unregistered").await?;
    let (own, other) = (certificate("operator")?, certificate("another")?);
    registered(&world, &[&other])?;
    stored(&world, "graph", &own.certificate_pem, &own.key_pkcs8_pem).await?;
    world.start().await?;
    let connection = world.connection_is("graph", "False", "CredentialsRejected").await?;
    let told = told(&connection);
    ensure!(
        told.contains("AADSTS700027") && told.contains("register the certificate"),
        "{told}"
    );
    registered(&world, &[&other, &own])?;
    world.connection_is("graph", "True", "Connected").await?;
    world.stop().await
}

/// A clock that is wrong is told as such, and is no longer trouble once it is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_differs_from_entras_is_told_and_heals() -> anyhow::Result<()> {
    let mut world = World::new("skewed").await?;
    let own = certificate("operator")?;
    registered(&world, &[&own])?;
    stored(&world, "graph", &own.certificate_pem, &own.key_pkcs8_pem).await?;
    world.start().await?;
    // A little is tolerated.
    for minutes in [-4, 4] {
        world.graph().set_clock(SignedDuration::from_mins(minutes));
        world.graph().revoke_tokens(&world.tenant, None);
        let since = world.graph().last_seq();
        world.ask("gconn/graph", &format!("at {minutes}")).await?;
        let anew = move |request: &Request| request.seq > since && request.is_token() && request.status == Some(200);
        world.graph().wait_for_requests(anew, 1, PATIENCE).await?;
        world.connection_is("graph", "True", "Connected").await?;
    }
    for minutes in [-30, 30] {
        world.connection_is("graph", "True", "Connected").await?;
        world.graph().set_clock(SignedDuration::from_mins(minutes));
        world.graph().revoke_tokens(&world.tenant, None);
        world.ask("gconn/graph", &format!("at {minutes}")).await?;
        let connection = world.connection_is("graph", "False", "CredentialsRejected").await?;
        let told = told(&connection);
        ensure!(
            told.contains("AADSTS700024") && told.contains("check the clock"),
            "{told}"
        );
        world.graph().set_clock(SignedDuration::ZERO);
    }
    wait_for("the clock's trouble to be over", PATIENCE, async || {
        world.connection_is("graph", "True", "Connected").await.map(drop)
    })
    .await?;
    world.stop().await
}
