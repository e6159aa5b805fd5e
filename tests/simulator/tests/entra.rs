//! The token endpoint, over real TLS.

use crate::common::{CLIENT, SECRET, TENANT, World, payload, read};
use graph_simulator::{Options, TokenStyle, ViolationKind};
use serde_json::json;

#[tokio::test]
async fn a_right_request_gets_a_token_with_its_claims() {
    let world = World::start();
    let (status, body) = world.ask(TENANT, &world.form()).await;
    assert_eq!(status, 200);
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 3599);
    let claims = payload(body["access_token"].as_str().unwrap());
    assert_eq!(claims["tid"], TENANT);
    assert_eq!(claims["appid"], CLIENT);
    assert_eq!(claims["aud"], world.simulator.graph_endpoint());
    assert_eq!(claims["roles"], json!(["DeviceManagementServiceConfig.ReadWrite.All"]));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3599);
    let entry = world.last();
    assert_eq!((entry.status, entry.issued_token), (Some(200), Some(1)));
    assert_eq!(world.kinds(), []);
}

#[tokio::test]
async fn tokens_can_be_opaque_and_short() {
    let options = Options {
        token_style: TokenStyle::Opaque,
        expires_in: 60,
        ..Options::default()
    };
    let world = World::with(options, true);
    let (_, body) = world.ask(TENANT, &world.form()).await;
    assert_eq!(body["expires_in"], 60);
    let token = body["access_token"].as_str().unwrap();
    assert!(!token.contains('.'));
    assert_eq!(world.list(token).await.0, 200);
}

#[tokio::test]
async fn errors_are_worded_as_entra_words_them() {
    let world = World::start();
    let unknown = "dddddddd-2222-4222-8222-000000000009";
    let cases: Vec<(&str, &str, &str, u16, &str, u64)> = vec![
        (TENANT, "client_secret", "wrong", 401, "invalid_client", 7_000_215),
        (TENANT, "client_id", unknown, 400, "unauthorized_client", 700_016),
        (unknown, "client_secret", SECRET, 400, "invalid_request", 90_002),
        (
            "contoso.example",
            "client_secret",
            SECRET,
            400,
            "invalid_request",
            90_002,
        ),
        ("nonsense", "client_secret", SECRET, 400, "invalid_request", 900_023),
        (TENANT, "scope", "User.Read.All", 400, "invalid_scope", 1_002_012),
        (
            TENANT,
            "scope",
            "https://graph.example/.default",
            400,
            "invalid_resource",
            500_011,
        ),
        (TENANT, "grant_type", "password", 400, "unsupported_grant_type", 70_003),
    ];
    for (tenant, field, value, status, error, code) in cases {
        let mut form = world.form();
        form.iter_mut()
            .filter(|(name, _)| *name == field)
            .for_each(|(_, own)| value.clone_into(own));
        let (got, body) = world.ask(tenant, &form).await;
        assert_eq!(
            (got, body["error"].as_str().unwrap()),
            (status, error),
            "{field}={value}: {body}"
        );
        assert_eq!(body["error_codes"], json!([code]));
        let description = body["error_description"].as_str().unwrap();
        assert!(description.starts_with(&format!("AADSTS{code}: ")), "{description}");
        for part in ["Trace ID: ", "Correlation ID: ", "Timestamp: "] {
            assert!(description.contains(part), "{description}");
        }
        let again = world.ask(tenant, &form).await.1;
        assert_ne!(
            again["error_description"], body["error_description"],
            "the description differs each time"
        );
    }
    assert_eq!(world.control.count(|request| request.issued_token.is_some()), 0);
}

#[tokio::test]
async fn missing_fields_and_wrong_forms_are_refused() {
    let world = World::start();
    for missing in ["grant_type", "client_id", "client_secret", "scope"] {
        let form: Vec<_> = world.form().into_iter().filter(|(name, _)| *name != missing).collect();
        let (status, body) = world.ask(TENANT, &form).await;
        let expected = if missing == "client_secret" { 7_000_218 } else { 900_144 };
        assert_eq!(body["error_codes"], json!([expected]), "{missing}: {status} {body}");
    }
    let url = format!("{}/{TENANT}/oauth2/v2.0/token", world.simulator.authority_host());
    let as_json = world
        .client
        .post(&url)
        .json(&json!({ "grant_type": "client_credentials" }));
    let (status, body) = read(as_json.send().await.unwrap()).await;
    assert_eq!((status, &body["error_codes"]), (400, &json!([900_144])));
    assert_eq!(world.kinds(), [ViolationKind::UnexpectedBody]);
    let (status, _) = read(world.client.get(&url).send().await.unwrap()).await;
    assert_eq!(status, 400);
    let (status, _) = read(world.client.get(world.simulator.authority_host()).send().await.unwrap()).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn secrets_rotate_and_never_enter_the_log() {
    let world = World::start();
    world.token().await;
    world.control.set_secret(TENANT, CLIENT, "new").unwrap();
    assert_eq!(world.ask(TENANT, &world.form()).await.0, 401);
    world
        .control
        .set_secrets(TENANT, CLIENT, vec!["new".to_owned(), SECRET.to_owned()])
        .unwrap();
    let token = world.token().await;
    world.list(&token).await;
    let log = serde_json::to_string(&world.control.requests()).unwrap();
    assert!(!log.contains("a~b+c"), "{log}");
    assert!(!log.contains(&token), "{log}");
    assert!(log.contains("digest:"));
}

#[tokio::test]
async fn a_misplaced_credential_is_a_violation() {
    let world = World::start();
    let url = format!(
        "{}/{TENANT}/oauth2/v2.0/token?client_secret=x",
        world.simulator.authority_host()
    );
    world
        .client
        .post(url)
        .bearer_auth("x")
        .form(&world.form())
        .send()
        .await
        .unwrap();
    assert_eq!(
        world.kinds(),
        [ViolationKind::MisplacedCredential, ViolationKind::MisplacedCredential]
    );
}
