//! The token of a ServiceAccount that the operator sends to Entra is verified by the keys that the API server publishes.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use graph_simulator::{Answer, Script};
use harness::{AUDIENCE, Kind, World, auth};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

use crate::parts::Server;

/// Starts a token endpoint that trusts this, and an operator that asks it for tokens.
async fn entra(world: &mut World, trusted: Value) -> Result<Server> {
    let entra = Server::start("federation.mjs", trusted).await?;
    let mut config = world.config();
    config.endpoints.authority = Some(entra.origin.clone());
    config.extra_roots = Some(format!("{}{}", world.simulator.ca_pem(), entra.root_pem));
    world.start_with(config).await?;
    Ok(entra)
}

/// Keys with the same ids, but of somebody else.
fn another_cluster_s(keys: &Value) -> Result<Value> {
    let mut others = keys.clone();
    for key in others
        .get_mut("keys")
        .and_then(Value::as_array_mut)
        .context("no keys")?
    {
        // Uncompressed: a byte that says so, and two coordinates.
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let point = pair.public_key_raw();
        for (name, coordinate) in [("x", point.get(1..33)), ("y", point.get(33..65))] {
            let coordinate = URL_SAFE_NO_PAD.encode(coordinate.context("no point of P-256")?);
            harness::merge(key, json!({name: coordinate}));
        }
    }
    Ok(others)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_s_own_keys_verify_what_is_sent_to_entra() -> Result<()> {
    let mut world = World::new("federated").await?;
    let listing = Answer::json(200, json!({"value": []}));
    world.graph().script(Script::graph().method("GET").answer(listing));
    world.account("graph", &world.client_id).await?;
    world.consent_to_account("graph").await?;
    let (issuer, keys) = world.issuer().await?;
    let subject = format!("system:serviceaccount:{}:graph", world.namespace);
    let auth = json!({"auth": auth(Kind::Account, "graph")});
    world.connection("contoso", auth).await?;
    let trusted = json!({"jwks": keys, "issuer": issuer, "subject": subject, "audience": AUDIENCE});
    for wrong in [
        json!({"jwks": another_cluster_s(&keys)?}),
        json!({"issuer": "https://another.example/"}),
        json!({"subject": "system:serviceaccount:default:graph"}),
        json!({"audience": "api://AzureADTokenExchangeUSGov"}),
    ] {
        let mut settings = trusted.clone();
        harness::merge(&mut settings, wrong.clone());
        let entra = entra(&mut world, settings).await?;
        let told = entra.told_last(false).await?;
        let code = told["error"].as_str().unwrap_or_default();
        assert!(code.starts_with("ERR_JW"), "{wrong}: {told:#}");
        world.connection_is("contoso", "False", "CredentialsRejected").await?;
    }
    let entra = entra(&mut world, trusted).await?;
    world.connection_is("contoso", "True", "Connected").await?;
    let told = entra.told_last(true).await?;
    assert_eq!(told["path"], format!("/{}/oauth2/v2.0/token", world.tenant), "{told:#}");
    assert_eq!(
        (&told["clientId"], &told["grantType"], &told["scope"], &told["type"]),
        (
            &json!(world.client_id),
            &json!("client_credentials"),
            &json!(format!("{}/.default", world.simulator.graph_endpoint())),
            &json!("urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
        )
    );
    let claims = &told["claims"];
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!(issuer), &json!(subject)));
    // For Entra alone: nobody else who trusts this cluster is to take it.
    assert_eq!(claims["aud"], json!([AUDIENCE]));
    let second = |name: &str| claims[name].as_i64().context("a claim is missing");
    assert_eq!(second("exp")? - second("iat")?, 600, "{told:#}");
    world.stop().await
}
