//! Assertions of another issuer that an app trusts, over real TLS.

use crate::common::{CLIENT, Signer, TENANT, World, der};
use graph_simulator::{App, FederatedCredential, certificate};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

const ISSUER: &str = "https://cluster.example/Issuer/";
const SUBJECT: &str = "system:serviceaccount:partners:intune";
const AUDIENCE: &str = "api://AzureADTokenExchange";

fn credential() -> FederatedCredential {
    FederatedCredential {
        issuer: ISSUER.to_owned(),
        subject: SUBJECT.to_owned(),
        audience: AUDIENCE.to_owned(),
    }
}

/// A signer with a fresh key of this name, and its public half.
fn issuer(algorithm: Algorithm, name: &str) -> (Signer, Jwk) {
    let key = match algorithm {
        Algorithm::ES256 => EncodingKey::from_ec_der(&rcgen::KeyPair::generate().unwrap().serialize_der()),
        _ => EncodingKey::from_rsa_der(&der(&certificate("an issuer").unwrap().key_pkcs1_pem)),
    };
    let mut header = Header::new(algorithm);
    header.kid = Some(name.to_owned());
    let mut public = Jwk::from_encoding_key(&key, algorithm).unwrap();
    public.common.key_id = Some(name.to_owned());
    (Signer { header, key }, public)
}

fn jwks(keys: Vec<Jwk>) -> Value {
    serde_json::to_value(JwkSet { keys }).unwrap()
}

/// A simulator whose app trusts an issuer with this key.
fn start(key: Jwk) -> World {
    let world = World::start();
    world
        .control
        .add_app(TENANT, CLIENT, App::without_secret().federated(credential()));
    world.control.set_issuer(ISSUER, jwks(vec![key])).unwrap();
    world
}

/// Claims as an API server makes them.
fn claims(world: &World) -> Value {
    let now = world.control.now().as_second();
    json!({ "iss": ISSUER, "sub": SUBJECT, "aud": [AUDIENCE], "iat": now, "nbf": now, "exp": now + 600 })
}

#[tokio::test]
async fn a_token_of_a_trusted_issuer_is_exchanged() {
    for algorithm in [Algorithm::RS256, Algorithm::ES256] {
        let (signer, key) = issuer(algorithm, "one");
        let world = start(key);
        let claims = claims(&world);
        let (status, _, description) = world.refusal(&signer.sign(&claims)).await;
        assert_eq!(status, 200, "{algorithm:?}: {description}");
        assert_eq!(world.last().assertion().unwrap()["claims"], claims);
        assert_eq!(world.last().client_id.as_deref(), Some(CLIENT));
        assert_eq!(world.kinds(), [], "how an issuer signs is none of the client's choice");
    }
}

#[tokio::test]
async fn issuer_subject_and_audience_are_compared_to_the_letter() {
    let (signer, key) = issuer(Algorithm::ES256, "one");
    let world = start(key);
    let now = world.control.now().as_second();
    let prefix = "No matching federated identity record found for presented assertion ";
    for (claim, value, code, presented) in [
        (
            "iss",
            json!("https://cluster.example/Issuer"),
            700_211,
            "issuer 'https://cluster.example/Issuer'",
        ),
        (
            "iss",
            json!("https://cluster.example/issuer/"),
            700_211,
            "issuer 'https://cluster.example/issuer/'",
        ),
        (
            "sub",
            json!("system:serviceaccount:partners:jamf"),
            700_213,
            "subject 'system:serviceaccount:partners:jamf'",
        ),
        (
            "sub",
            json!("system:serviceaccount:Partners:intune"),
            7_002_138,
            "subject 'system:serviceaccount:Partners:intune'",
        ),
        (
            "aud",
            json!(["https://kubernetes.default.svc"]),
            700_212,
            "audience 'https://kubernetes.default.svc'",
        ),
        (
            "aud",
            json!("api://azureadtokenexchange"),
            700_212,
            "audience 'api://azureadtokenexchange'",
        ),
    ] {
        let mut claims = claims(&world);
        claims[claim] = value;
        let (status, got, description) = world.refusal(&signer.sign(&claims)).await;
        assert_eq!((status, got), (401, code), "{description}");
        assert!(
            description.starts_with(&format!("AADSTS{code}: {prefix}{presented}.")),
            "{description}"
        );
    }
    for (claim, value) in [("exp", now), ("nbf", now + 60)] {
        let mut claims = claims(&world);
        claims[claim] = json!(value);
        assert_eq!(world.refusal(&signer.sign(&claims)).await.1, 700_024, "{claim}");
    }
}

#[tokio::test]
async fn keys_and_credentials_decide() {
    let (signer, key) = issuer(Algorithm::ES256, "one");
    let world = start(key.clone());
    let claims = claims(&world);
    let assertion = signer.sign(&claims);
    let (mut stranger, other) = issuer(Algorithm::ES256, "two");
    let (status, code, description) = world.refusal(&stranger.sign(&claims)).await;
    assert_eq!((status, code), (401, 7_000_272), "{description}");
    assert!(description.contains(&format!(
        "could not be found in the metadata of identity provider {ISSUER}."
    )));
    stranger.header.kid = Some("one".to_owned());
    let (status, code, description) = world.refusal(&stranger.sign(&claims)).await;
    assert_eq!((status, code), (401, 700_027), "{description}");

    // The keys of the issuer rotate.
    world.control.set_issuer(ISSUER, jwks(vec![other.clone()])).unwrap();
    assert_eq!(world.refusal(&assertion).await.1, 7_000_272);
    world.control.set_issuer(ISSUER, jwks(vec![other, key])).unwrap();
    assert_eq!(world.refusal(&assertion).await.0, 200);

    assert!(world.control.remove_issuer(ISSUER));
    let (status, code, description) = world.refusal(&assertion).await;
    assert_eq!((status, code), (400, 90_061));
    assert!(
        description.starts_with("AADSTS90061: Request to External OIDC endpoint failed."),
        "{description}"
    );

    world.control.set_federated(TENANT, CLIENT, Vec::new()).unwrap();
    let (status, code, description) = world.refusal(&assertion).await;
    assert_eq!((status, code), (401, 70_025));
    assert!(
        description.contains("has no configured federated identity credentials"),
        "{description}"
    );
    assert!(world.control.set_issuer(ISSUER, json!({ "keys": 7 })).is_err());
}
