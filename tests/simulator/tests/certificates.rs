//! Assertions that an app signs with the key of a certificate, over real TLS.

use crate::common::{CLIENT, P1, Signer, TENANT, World, der, payload, thumbprint, uuid};
use graph_simulator::{App, Certified, ViolationKind, certificate, expired_certificate};
use jiff::SignedDuration;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

/// A simulator whose app has a certificate, and what signs for it.
fn start() -> (World, Certified, Signer) {
    let world = World::start();
    let certified = certificate("an app").unwrap();
    let app = App::without_secret().certificate(&certified.certificate_pem);
    world.control.add_app(TENANT, CLIENT, app);
    let signer = Signer::of(&certified);
    (world, certified, signer)
}

/// Claims as Microsoft's page has them, good for five minutes.
fn claims(world: &World) -> Value {
    let now = world.control.now().as_second();
    let authority = world.control.endpoints().public_authority;
    json!({
        "aud": format!("{authority}/{TENANT}/oauth2/v2.0/token"),
        "iss": CLIENT,
        "sub": CLIENT,
        "jti": uuid(),
        "nbf": now,
        "iat": now,
        "exp": now + 300,
    })
}

#[tokio::test]
async fn a_right_assertion_gets_a_token_and_is_readable_in_the_log() {
    let (world, _, signer) = start();
    let claims = claims(&world);
    let assertion = signer.sign(&claims);
    let (status, body) = world.ask(TENANT, &world.asserting(&assertion)).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(world.get(P1, body["access_token"].as_str().unwrap()).await.0, 200);
    assert_eq!(world.kinds(), []);
    let requests = world.control.requests();
    let seen = requests[0].assertion().unwrap();
    assert_eq!(seen["claims"], claims);
    assert_eq!(seen["header"]["alg"], "PS256");
    assert_eq!(requests[1].assertion(), None);
    let log = serde_json::to_string(&requests).unwrap();
    let signature = assertion.rsplit('.').next().unwrap();
    assert!(!log.contains(signature), "the log must not be good for a token");
}

#[tokio::test]
async fn a_wrong_header_or_key_is_refused() {
    let (world, certified, right) = start();
    let claims = claims(&world);
    let stranger = certificate("a stranger").unwrap();
    let mut wrong_key = Signer::of(&certified);
    wrong_key.key = Signer::of(&stranger).key;
    let mut unnamed = Signer::of(&certified);
    unnamed.header.x5t_s256 = None;
    let mut swapped = Signer::of(&certified);
    swapped.header.x5t_s256 = Some(thumbprint(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &certified));
    let mut shared = Signer::of(&certified);
    shared.header.alg = Algorithm::HS256;
    shared.key = EncodingKey::from_secret(b"secret");
    let old = expired_certificate("an app").unwrap();
    let registered = [&certified, &old].map(|own| own.certificate_pem.clone());
    world
        .control
        .set_certificates(TENANT, CLIENT, registered.to_vec())
        .unwrap();
    let unregistered = "The certificate with identifier used to sign the client assertion is not registered on \
                        application. [Reason - The key was not found.";
    let expired = "The certificate with identifier used to sign the client assertion is expired on application. \
                   [Reason - The key used is expired.";
    let invalid = "Client assertion contains an invalid signature. [Reason - The provided signature value did not \
                   match the expected signature value.";
    for (name, signer, code, sentence) in [
        ("a stranger's certificate", Signer::of(&stranger), 700_027, unregistered),
        ("another thumbprint", swapped, 700_027, unregistered),
        ("a stranger's key", wrong_key, 700_027, invalid),
        ("an old certificate", Signer::of(&old), 700_027, expired),
        (
            "no thumbprint",
            unnamed,
            5_002_723,
            "Invalid JWT token. No certificate SHA-1",
        ),
        (
            "a shared secret",
            shared,
            5_002_738,
            "Invalid JWT token. 'HS256' is not",
        ),
    ] {
        let (status, got, description) = world.refusal(&signer.sign(&claims)).await;
        assert_eq!((status, got), (401, code), "{name}: {description}");
        assert!(
            description.starts_with(&format!("AADSTS{code}: {sentence}")),
            "{name}: {description}"
        );
    }
    let mut assertion = right.sign(&claims);
    let last = assertion.pop().unwrap();
    assertion.push(if last == 'A' { 'Q' } else { 'A' });
    assert_eq!(
        world.refusal(&assertion).await.1,
        700_027,
        "one letter of the signature"
    );
    assert_eq!(world.control.count(|request| request.issued_token.is_some()), 0);
    assert_eq!(world.refusal(&right.sign(&claims)).await.0, 200);
}

#[tokio::test]
async fn wrong_claims_are_refused() {
    let (world, _, signer) = start();
    let right = claims(&world);
    let now = world.control.now().as_second();
    let authority = world.simulator.authority_host();
    let stranger = uuid();
    let endpoint = right["aud"].clone();
    for (claim, value, status, code) in [
        ("exp", json!(now - 1), 401, 700_024),
        ("exp", Value::Null, 401, 700_024),
        ("nbf", json!(now + 60), 401, 700_024),
        ("aud", json!(authority), 401, 700_023),
        (
            "aud",
            json!(format!("{authority}/{stranger}/oauth2/v2.0/token")),
            401,
            700_023,
        ),
        (
            "aud",
            json!(format!("https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token")),
            401,
            700_023,
        ),
        ("aud", json!([endpoint]), 400, 50_027),
        ("aud", Value::Null, 400, 90_014),
        ("iss", Value::Null, 400, 90_014),
        ("iss", json!(stranger), 401, 700_021),
        ("sub", json!(stranger), 401, 50_048),
        ("sub", Value::Null, 401, 50_048),
        // Taken for another issuer's, and the app trusts none.
        ("iss", json!("https://issuer.example"), 401, 70_025),
    ] {
        let mut claims = right.clone();
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(claim)),
            ref other => claims[claim] = other.clone(),
        }
        let (got, got_code, description) = world.refusal(&signer.sign(&claims)).await;
        assert_eq!((got, got_code), (status, code), "{claim}={value}: {description}");
        assert!(description.starts_with(&format!("AADSTS{code}: ")), "{description}");
    }
    let mut claims = right.clone();
    claims.as_object_mut().unwrap().remove("exp");
    let (_, _, description) = world.refusal(&signer.sign(&claims)).await;
    assert!(
        description.contains("expiry time of assertion 1970-01-01T00:00:00.0000000Z"),
        "{description}"
    );
    // As older editions of Microsoft's page had it.
    claims = right;
    claims["aud"] = json!(format!("{authority}/{TENANT}/v2.0"));
    assert_eq!(world.refusal(&signer.sign(&claims)).await.0, 200);
}

#[tokio::test]
async fn a_form_without_the_right_type_is_refused() {
    let (world, _, signer) = start();
    let right = world.asserting(&signer.sign(&claims(&world)));
    for (kind, code) in [
        (None, 900_144),
        (Some("urn:ietf:params:oauth:client-assertion-type:saml2-bearer"), 90_011),
    ] {
        let mut form = right.clone();
        form.retain(|(name, _)| *name != "client_assertion_type");
        form.extend(kind.map(|kind| ("client_assertion_type", kind.to_owned())));
        let (status, body) = world.ask(TENANT, &form).await;
        assert_eq!((status, &body["error"]), (400, &json!("invalid_request")));
        assert_eq!(body["error_codes"], json!([code]), "{body}");
    }
    for garbage in ["", "a.b", "a.b.c", "e30.W10.c", "e30.e30"] {
        assert_eq!(world.refusal(garbage).await.1, 50_027, "{garbage}");
    }
}

#[tokio::test]
async fn what_is_weak_is_taken_and_noted() {
    let (world, certified, strong) = start();
    let right = claims(&world);
    let mut weak = Signer::of(&certified);
    weak.header.alg = Algorithm::RS256;
    let mut old = Signer::of(&certified);
    old.header.x5t_s256 = None;
    old.header.x5t = Some(thumbprint(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &certified));
    let mut long = right.clone();
    long["exp"] = json!(right["nbf"].as_i64().unwrap() + 601);
    let mut anonymous = right.clone();
    anonymous.as_object_mut().unwrap().remove("jti");
    for (assertion, expected) in [
        (weak.sign(&right), ViolationKind::WeakAssertion),
        (old.sign(&right), ViolationKind::WeakAssertion),
        (strong.sign(&long), ViolationKind::LongAssertion),
        (strong.sign(&anonymous), ViolationKind::MissingAssertionId),
    ] {
        world.control.clear_violations();
        assert_eq!(world.refusal(&assertion).await.0, 200);
        assert_eq!(world.kinds(), [expected]);
    }
    long["exp"] = json!(right["nbf"].as_i64().unwrap() + 600);
    world.control.clear_violations();
    assert_eq!(world.refusal(&strong.sign(&long)).await.0, 200);
    assert_eq!(world.kinds(), []);
}

#[tokio::test]
async fn certificates_rotate() {
    let (world, first, signer) = start();
    let second = certificate("an app").unwrap();
    let other = Signer::of(&second);
    let statuses = async || {
        let mut statuses = Vec::new();
        for signer in [&signer, &other] {
            statuses.push(world.refusal(&signer.sign(&claims(&world))).await.0);
        }
        statuses
    };
    let set = |texts: &[&Certified]| {
        let texts = texts.iter().map(|own| own.certificate_pem.clone()).collect();
        world.control.set_certificates(TENANT, CLIENT, texts).unwrap();
    };
    assert_eq!(statuses().await, [200, 401]);
    set(&[&first, &second]);
    assert_eq!(statuses().await, [200, 200]);
    set(&[&second]);
    assert_eq!(statuses().await, [401, 200]);
    set(&[]);
    assert_eq!(statuses().await, [401, 401]);
    let garbage = vec![first.key_pkcs8_pem.clone()];
    assert!(world.control.set_certificates(TENANT, CLIENT, garbage).is_err());
}

#[tokio::test]
async fn the_clock_of_entra_is_its_own() {
    let (world, _, signer) = start();
    let token = world.control.issue_token(TENANT, CLIENT, None);
    let mine = claims(&world);
    for minutes in [-30, 30] {
        world.control.set_clock(SignedDuration::from_mins(minutes));
        let (status, code, description) = world.refusal(&signer.sign(&mine)).await;
        assert_eq!((status, code), (401, 700_024), "{description}");
        let theirs = world
            .control
            .now()
            .strftime("Current time: %Y-%m-%dT%H:%M:")
            .to_string();
        assert!(description.contains(&theirs), "{description}");
        let (status, body) = world.ask(TENANT, &world.asserting(&signer.sign(&claims(&world)))).await;
        assert_eq!(status, 200, "{body}");
        let issued = body["access_token"].as_str().unwrap();
        let claims = payload(issued);
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3599);
        let ahead = claims["iat"].as_i64().unwrap() - jiff::Timestamp::now().as_second();
        assert!((ahead - minutes * 60).abs() < 30, "{ahead}");
        for token in [issued, &token] {
            assert_eq!(world.list(token).await.0, 200, "a token lives as long as it was told");
        }
    }
}

#[test]
fn a_made_key_comes_in_both_encodings_and_is_not_shown() {
    let made = certificate("an app").unwrap();
    assert!(made.certificate_pem.starts_with("-----BEGIN CERTIFICATE-----\n"));
    assert!(made.key_pkcs8_pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    assert!(made.key_pkcs1_pem.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
    let (pkcs8, pkcs1) = (der(&made.key_pkcs8_pem), der(&made.key_pkcs1_pem));
    assert!(pkcs8.ends_with(&pkcs1));
    assert!(!format!("{made:?}").contains("PRIVATE KEY"));
}
