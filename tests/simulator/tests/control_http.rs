//! The control interface over HTTP, and the program.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{CLIENT, P1, SECRET, Signer, TENANT, World, read};
use reqwest::{Client, Method};
use serde_json::{Value, json};

struct Remote {
    client: Client,
    root: String,
}

impl Remote {
    fn new(root: String) -> Self {
        Self {
            client: Client::builder().no_proxy().build().unwrap(),
            root,
        }
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.root));
        if let Some(body) = body {
            request = request.json(&body);
        }
        read(request.send().await.unwrap()).await
    }

    async fn ok(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let (status, answer) = self.call(method.clone(), path, body).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }
}

#[tokio::test]
async fn every_operation_has_its_route() {
    let world = World::start();
    let remote = Remote::new(format!("http://{}", world.simulator.control_address()));
    let endpoints = remote.ok(Method::GET, "/", None).await;
    assert_eq!(endpoints["graph"], world.simulator.graph_endpoint());
    assert_eq!(endpoints["authority"], world.simulator.authority_host());
    assert_eq!(remote.ok(Method::GET, "/ca.pem", None).await, world.simulator.ca_pem());
    remote.ok(Method::GET, "/healthz", None).await;

    let tenant = "/tenants/dddddddd-2222-4222-8222-000000000002";
    let app = format!("{tenant}/apps/{CLIENT}");
    remote.ok(Method::PUT, tenant, None).await;
    remote
        .ok(Method::PUT, &app, Some(json!({ "secrets": ["x"], "roles": [] })))
        .await;
    remote
        .ok(Method::PUT, &format!("{app}/secrets"), Some(json!(["y", SECRET])))
        .await;
    remote
        .ok(
            Method::PUT,
            &format!("{app}/roles"),
            Some(json!(["DeviceManagementConfiguration.Read.All"])),
        )
        .await;
    let token = remote.ok(Method::POST, &format!("{app}/tokens"), None).await;
    let token = token["token"].as_str().unwrap().to_owned();
    assert_eq!(world.list(&token).await.0, 200);
    assert_eq!(
        remote.ok(Method::DELETE, &format!("{app}/tokens"), None).await,
        json!({ "revoked": 1 })
    );
    assert_eq!(world.list(&token).await.0, 401);
    let wanted = Some(json!({ "audience": "https://graph.example" }));
    remote.ok(Method::POST, &format!("{app}/tokens"), wanted).await;
    assert_eq!(
        remote.ok(Method::DELETE, &format!("{tenant}/tokens"), None).await,
        json!({ "revoked": 1 })
    );

    remote
        .ok(Method::POST, &format!("{tenant}/rows"), Some(json!({ "id": "one" })))
        .await;
    remote
        .ok(Method::PUT, &format!("{tenant}/rows/odd%20one"), Some(json!([7])))
        .await;
    remote
        .ok(
            Method::PATCH,
            &format!("{tenant}/rows/one"),
            Some(json!({ "displayName": "x" })),
        )
        .await;
    assert_eq!(
        remote.ok(Method::GET, &format!("{tenant}/rows"), None).await,
        json!([{ "id": "one", "displayName": "x" }, [7]])
    );
    let rule = json!({ "fields": ["iosOnboarded"], "gets": 2 });
    remote
        .ok(Method::PUT, &format!("{tenant}/rows/one/ignore-writes"), Some(rule))
        .await;
    remote
        .ok(Method::DELETE, &format!("{tenant}/rows/one/ignore-writes"), None)
        .await;
    remote.ok(Method::DELETE, &format!("{tenant}/rows/one"), None).await;
    assert_eq!(
        remote.call(Method::GET, &format!("{tenant}/rows/one"), None).await.0,
        404
    );
    remote.ok(Method::DELETE, &app, None).await;
    remote.ok(Method::DELETE, tenant, None).await;

    for (method, path, body, status) in [
        (Method::PATCH, "/tenants/none/rows/one", Some(json!({})), 404),
        (Method::POST, "/scripts", Some(json!({ "sever": "graph" })), 400),
        (
            Method::POST,
            "/scripts",
            Some(json!({ "action": { "answer": {} } })),
            400,
        ),
        (Method::GET, "/requests?colour=red", None, 400),
        (Method::GET, "/requests/wait?method=PUT&timeoutMillis=30", None, 408),
        (Method::DELETE, "/scripts/77", None, 404),
        (Method::GET, "/nowhere", None, 404),
        (Method::PUT, "/settings", Some(json!({ "pageSise": 2 })), 400),
    ] {
        let (got, answer) = remote.call(method, path, body).await;
        assert_eq!(got, status, "{path}: {answer}");
        assert!(answer["error"].is_string());
    }
}

#[tokio::test]
async fn scripts_settings_and_the_log_work_over_http() {
    let world = World::start();
    let remote = Remote::new(format!("http://{}", world.simulator.control_address()));
    let settings = json!({ "graphDelayMillis": 1, "pageSize": 1, "expiresIn": 77, "opaqueTokens": true });
    remote.ok(Method::PUT, "/settings", Some(settings)).await;
    let (_, body) = world.ask(TENANT, &world.form()).await;
    assert_eq!(body["expires_in"], 77);
    let token = body["access_token"].as_str().unwrap().to_owned();
    assert!(!token.contains('.'));

    let script = json!({
        "server": "graph", "method": "GET", "pathContains": "Partners", "times": 1, "delayMillis": 5,
        "action": { "answer": { "status": 503, "headers": [["Retry-After", "1"]], "body": { "json": { "a": 1 } } } },
    });
    let id = remote.ok(Method::POST, "/scripts", Some(script)).await["id"]
        .as_u64()
        .unwrap();
    assert_eq!(world.list(&token).await, (503, json!({ "a": 1 })));
    let scripts = remote.ok(Method::GET, "/scripts", None).await;
    assert_eq!(
        (&scripts[0]["id"], &scripts[0]["hits"], &scripts[0]["spent"]),
        (&json!(id), &json!(1), &json!(true))
    );
    for action in [
        json!("reset"),
        json!("hang"),
        json!("continue"),
        json!("applyThenReset"),
        json!({ "truncate": 3 }),
    ] {
        remote
            .ok(Method::POST, "/scripts", Some(json!({ "times": 0, "action": action })))
            .await;
    }
    remote.ok(Method::DELETE, &format!("/scripts/{id}"), None).await;
    remote.ok(Method::DELETE, "/scripts", None).await;
    assert_eq!(remote.ok(Method::GET, "/scripts", None).await, json!([]));

    assert_eq!(world.list(&token).await.0, 200);
    let query = "/requests?server=graph&method=get&path=Partners&status=200&after=1";
    let found = remote.ok(Method::GET, query, None).await;
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    assert_eq!((&found[0]["seq"], &found[0]["tenant"]), (&json!(3), &json!(TENANT)));
    let waited = remote
        .ok(
            Method::GET,
            "/requests/wait?server=entra&count=1&timeoutMillis=1000",
            None,
        )
        .await;
    assert!(
        waited[0]["body"]["client_secret"]
            .as_str()
            .unwrap()
            .starts_with("digest:")
    );
    assert_eq!(remote.ok(Method::GET, "/throttle", None).await[0]["requests"], 2);
    assert_eq!(remote.ok(Method::GET, "/in-flight", None).await["graph"], 0);
    assert_eq!(remote.ok(Method::GET, "/violations", None).await, json!([]));
    world.client.get(world.url("")).send().await.unwrap();
    assert_eq!(
        remote.ok(Method::GET, "/violations", None).await[0]["kind"],
        "missingClientRequestId"
    );
    for path in ["/violations", "/throttle", "/requests"] {
        remote.ok(Method::DELETE, path, None).await;
        assert_eq!(remote.ok(Method::GET, path, None).await, json!([]));
    }
}

#[tokio::test]
async fn credentials_issuers_and_identities_work_over_http() {
    let world = World::start();
    let remote = Remote::new(format!("http://{}", world.simulator.control_address()));
    let app = format!("/tenants/{TENANT}/apps/{CLIENT}");
    let made = graph_simulator::certificate("an app").unwrap();
    remote
        .ok(
            Method::PUT,
            &format!("{app}/certificates"),
            Some(json!([made.certificate_pem])),
        )
        .await;
    let credential = json!({ "issuer": "https://i.example", "subject": "s", "audience": "a" });
    remote
        .ok(Method::PUT, &format!("{app}/federated"), Some(json!([credential])))
        .await;
    remote
        .ok(Method::PUT, "/settings", Some(json!({ "clockOffsetSeconds": 3600 })))
        .await;
    let now = world.control.now().as_second();
    assert!((now - jiff::Timestamp::now().as_second() - 3600).abs() < 30);
    let authority = world.simulator.authority_host();
    let own = Signer::of(&made).sign(&json!({
        "aud": format!("{authority}/{TENANT}/oauth2/v2.0/token"),
        "iss": CLIENT, "sub": CLIENT, "jti": "x", "nbf": now, "exp": now + 60,
    }));
    assert_eq!(world.refusal(&own).await.0, 200);
    let foreign = json!({ "iss": "https://i.example", "sub": "s", "aud": "a", "exp": now + 60 });
    let foreign = Signer::of(&made).sign(&foreign);
    assert_eq!(world.refusal(&foreign).await.1, 90_061);
    let issuer = |jwks: Value| Some(json!({ "issuer": "https://i.example", "jwks": jwks }));
    remote.ok(Method::PUT, "/issuers", issuer(json!({ "keys": [] }))).await;
    assert_ne!(world.refusal(&foreign).await.1, 90_061);
    remote.ok(Method::PUT, "/issuers", issuer(Value::Null)).await;
    assert_eq!(world.refusal(&foreign).await.1, 90_061);
    let seen = remote.ok(Method::GET, "/requests?server=entra&status=200", None).await;
    assert_eq!(seen[0]["clientAssertion"]["claims"]["iss"], CLIENT);

    let endpoints = remote.ok(Method::GET, "/", None).await;
    let url = format!(
        "{}/metadata/identity/oauth2/token?api-version=2018-02-01&resource={}",
        endpoints["metadata"].as_str().unwrap(),
        endpoints["publicGraph"].as_str().unwrap()
    );
    let ask = async || {
        let request = remote.client.get(&url).header("Metadata", "true");
        read(request.send().await.unwrap()).await.0
    };
    let identity = json!({ "tenant": TENANT, "clientId": CLIENT, "systemAssigned": true });
    remote.ok(Method::PUT, "/identities", Some(identity)).await;
    assert_eq!(ask().await, 200);
    remote.ok(Method::DELETE, "/identities", None).await;
    assert_eq!(ask().await, 400);
    let seen = remote.ok(Method::GET, "/requests?server=metadata", None).await;
    assert_eq!(seen.as_array().unwrap().len(), 2);
    assert_eq!(
        remote.ok(Method::GET, "/limit-violations", None).await,
        json!({ "count": 0, "byScope": {} })
    );

    for (path, body, status) in [
        (format!("{app}/certificates"), json!(["nothing"]), 400),
        (format!("{app}/federated"), json!([{ "issuer": "i" }]), 400),
        ("/issuers".to_owned(), json!({ "issuer": "i", "jwks": 7 }), 400),
        (
            "/identities".to_owned(),
            json!({ "tenant": TENANT, "clientId": "nobody" }),
            404,
        ),
    ] {
        assert_eq!(remote.call(Method::PUT, &path, Some(body)).await.0, status, "{path}");
    }
}

/// The program, ended with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn start(arguments: &[&str]) -> (Program, Value) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_graph-simulator"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    (Program(child), serde_json::from_str(&line).unwrap())
}

fn ends(program: &mut Program) -> Option<i32> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        if let Some(status) = program.0.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the program goes on");
}

#[tokio::test]
async fn the_program_says_where_it_listens_and_ends_when_stdin_closes() {
    let directory = std::env::temp_dir().join(format!("graph-simulator-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&directory).unwrap();
    let ca = directory.join("ca.pem");
    let (mut program, endpoints) = start(&[
        "--until-stdin-closes",
        "--ca-file",
        ca.to_str().unwrap(),
        "--page-size",
        "1",
        "--delay-millis",
        "1",
    ]);
    let remote = Remote::new(endpoints["control"].as_str().unwrap().to_owned());
    let tenant = format!("/tenants/{TENANT}");
    let app = json!({ "secrets": [SECRET], "roles": ["DeviceManagementServiceConfig.Read.All"] });
    remote
        .ok(Method::PUT, &format!("{tenant}/apps/{CLIENT}"), Some(app))
        .await;
    for id in [P1, "two"] {
        remote
            .ok(
                Method::POST,
                &format!("{tenant}/rows"),
                Some(graph_simulator::base_row(id, "x")),
            )
            .await;
    }
    let token = remote
        .ok(Method::POST, &format!("{tenant}/apps/{CLIENT}/tokens"), None)
        .await;
    let certificate = reqwest::Certificate::from_pem(&std::fs::read(&ca).unwrap()).unwrap();
    let client = Client::builder()
        .tls_certs_only([certificate])
        .no_proxy()
        .build()
        .unwrap();
    let graph = endpoints["graph"].as_str().unwrap();
    // The name works as well as the address.
    let url = format!(
        "{}{}",
        graph.replace("127.0.0.1", "localhost"),
        graph_simulator::COLLECTION
    );
    let request = client.get(url).bearer_auth(token["token"].as_str().unwrap());
    let (status, page) = read(request.send().await.unwrap()).await;
    assert_eq!((status, page["value"].as_array().unwrap().len()), (200, 1));
    assert!(page["@odata.nextLink"].as_str().unwrap().starts_with(graph));
    drop(program.0.stdin.take());
    assert_eq!(ends(&mut program), Some(0));
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn the_program_takes_public_names_and_ends_on_sigterm() {
    let (mut program, endpoints) = start(&[
        "--public-graph",
        "https://graph.microsoft.com",
        "--public-authority",
        "https://login.microsoftonline.com",
        "--enforce-throttling",
        "--throttle-headers",
    ]);
    assert_eq!(endpoints["publicGraph"], "https://graph.microsoft.com");
    assert_eq!(endpoints["publicAuthority"], "https://login.microsoftonline.com");
    for (name, start) in [("graph", "https://127.0.0.1:"), ("metadata", "http://127.0.0.1:")] {
        assert!(endpoints[name].as_str().unwrap().starts_with(start), "{endpoints}");
    }
    let pid = program.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(ends(&mut program), Some(0));
}
