//! An OpenID-certified provider stands in for Entra: it takes the operator's secrets and assertions, or does not.

use anyhow::{Context as _, Result};
use compliance_partner_operator::runtime::context::Config;
use graph_simulator::{Answer, Script, certificate};
use harness::{Kind, World, auth, tls};
use serde_json::{Value, json};

use crate::parts::Server;

/// What `World`'s own secret is too, but for the letter that OAuth has no room for (RFC 6749, appendix A.2).
const SECRET: &str = "a~b+c/d=e&f%20g h\"";

/// A world whose Graph takes any token: it is the provider's to say who gets one.
async fn world(name: &str) -> Result<World> {
    let world = World::new(name).await?;
    let listing = Answer::json(200, json!({"value": []}));
    world.graph().script(Script::graph().method("GET").answer(listing));
    Ok(world)
}

/// The provider, with the world's app registered by a secret or by a certificate.
async fn provider(world: &World, by: Value) -> Result<Server> {
    let mut settings = json!({
        "tenant": world.tenant,
        "clientId": world.client_id,
        "scope": format!("{}/.default", world.simulator.graph_endpoint()),
    });
    harness::merge(&mut settings, by);
    Server::start("provider.mjs", settings).await
}

fn config(world: &World, provider: &Server) -> Config {
    let mut config = world.config();
    config.endpoints.authority = Some(provider.origin.clone());
    config.extra_roots = Some(format!("{}{}", world.simulator.ca_pem(), provider.root_pem));
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_taken_and_a_wrong_one_is_refused() -> Result<()> {
    let mut world = world("oidc-secret").await?;
    let provider = provider(&world, json!({"clientSecret": SECRET})).await?;
    world.secret("graph", json!({"client-secret": "not-this-one"})).await?;
    world.consent("graph").await?;
    world.connection("contoso", json!({})).await?;
    world.start_with(config(&world, &provider)).await?;
    world.connection_is("contoso", "False", "CredentialsRejected").await?;
    let told = provider.told_last(false).await?;
    assert_eq!(
        (&told["error"], &told["why"]),
        (&json!("invalid_client"), &json!("invalid secret provided"))
    );

    world.secret("graph", json!({"client-secret": SECRET})).await?;
    world.connection_is("contoso", "True", "Connected").await?;
    let told = provider.told_last(true).await?;
    assert_eq!(
        (&told["by"], &told["grantType"], &told["clientId"], &told["scope"]),
        (
            &json!("client_secret_post"),
            &json!("client_credentials"),
            &json!(world.client_id),
            &json!(format!("{}/.default", world.simulator.graph_endpoint()))
        )
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_taken_and_one_of_another_key_is_refused() -> Result<()> {
    let mut world = world("oidc-certificate").await?;
    let registered = certificate("contoso")?;
    let stranger = certificate("contoso")?;
    let provider = provider(&world, json!({"clientCertificate": registered.certificate_pem})).await?;
    world.secret("graph", tls(&stranger)).await?;
    world.consent("graph").await?;
    let auth = json!({"auth": auth(Kind::Certificate, "graph")});
    world.connection("contoso", auth).await?;
    world.start_with(config(&world, &provider)).await?;
    world.connection_is("contoso", "False", "CredentialsRejected").await?;
    let told = provider.told_last(false).await?;
    assert_eq!(told["error"], "invalid_client", "{told:#}");

    world.secret("graph", tls(&registered)).await?;
    world.connection_is("contoso", "True", "Connected").await?;
    let told = provider.told_last(true).await?;
    assert_eq!(told["by"], "private_key_jwt", "{told:#}");
    assert_eq!(told["header"]["alg"], "PS256", "{told:#}");
    assert_eq!(told["header"]["x5t#S256"], told["thumbprint"], "{told:#}");
    let claims = &told["claims"];
    assert_eq!(claims["aud"], told["endpoint"], "{told:#}");
    assert_eq!(
        (&claims["iss"], &claims["sub"]),
        (&json!(world.client_id), &json!(world.client_id))
    );
    let lifetime = seconds(claims, "exp")? - seconds(claims, "iat")?;
    // As Microsoft's page on certificate credentials asks for.
    assert!((1..=600).contains(&lifetime), "{told:#}");
    world.stop().await
}

fn seconds(claims: &Value, name: &str) -> Result<i64> {
    let claim = claims.get(name).and_then(Value::as_i64);
    claim.with_context(|| format!("no {name} in {claims:#}"))
}
