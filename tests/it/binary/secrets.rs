//! Secrets and tokens stay where they are.

use anyhow::ensure;
use graph_simulator::{Answer, Body, Options, Request, Script, certificate};
use harness::{AUDIENCE, Kind, PATIENCE, Proofs, Proxy, Scratch, World, wait_for};
use serde_json::json;

use super::Running;

const RIGHT: &str = "canary+right/secret&é";
const WRONG: &str = "canary+wrong/secret&é";

/// The secrets as they stand, in a form, in a Secret, and what all tokens of Entra and of Kubernetes begin with.
const NOWHERE: [&str; 6] = [
    "canary+",
    "canary%2B",
    "Y2FuYXJ5K3JpZ2h0L3NlY3JldCb",
    "Y2FuYXJ5K3dyb25nL3NlY3JldCb",
    "right/secret",
    "eyJ",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_and_no_token_is_told_anywhere_at_the_most_talkative_level() -> anyhow::Result<()> {
    let world = World::with_partner("canaries", Options::default()).await?;
    world.graph().set_secret(&world.tenant, &world.client_id, RIGHT)?;
    world.secret("graph", json!({"client-secret": WRONG})).await?;
    let operator = Running::of(&world, &["--log-level", "trace"]).await?;
    world.connection_is("contoso", "False", "CredentialsRejected").await?;

    // Refused, then right, then a Graph that repeats the token in its own sentence, then a token that was revoked.
    let token = world.graph().issue_token(&world.tenant, &world.client_id, None);
    let sentence = format!("The header Authorization: Bearer {token} is not acceptable.");
    let answer = Answer::json(400, json!({"error": {"code": "BadRequest", "message": sentence}}));
    let refusal = world.graph().script(Script::graph().method("PATCH").answer(answer));
    world.secret("graph", json!({"client-secret": RIGHT})).await?;
    world.ask("gconn/contoso", "right").await?;
    world.partner_is("jamf", "Ready", "False", "RejectedByGraph").await?;
    world.event("jamf", "RejectedByGraph").await?;
    world.graph().remove_script(refusal);
    world.graph().revoke_tokens(&world.tenant, None);
    world.ask("cmp/jamf", "now").await?;
    world.in_sync("jamf").await?;
    world.event("jamf", "Updated").await?;
    world
        .graph()
        .wait_for_requests(|request| request.is_token() && request.status == Some(200), 2, PATIENCE)
        .await?;
    assert!(world.graph().count(Request::is_patch) >= 2);

    let words: Vec<&str> = NOWHERE.into_iter().chain(token.split('.')).collect();
    told_nowhere(&world, &operator, &words).await
}

/// Ends the operator, and looks for these words in all that it has told.
async fn told_nowhere(world: &World, operator: &Running, words: &[&str]) -> anyhow::Result<()> {
    let metrics = operator.answers("/metrics", 200, PATIENCE).await?;
    operator.stop().await?;
    let log = operator.process.log()?;
    // The libraries stay silent at any level: what they would tell at their lowest holds headers and bodies.
    ensure!(log.contains("DEBUG"), "the level is not a talkative one");
    let all = [
        "get",
        "cmp,gconn,events.events.k8s.io",
        "-n",
        &world.namespace,
        "-o",
        "json",
        "--show-managed-fields",
    ];
    let objects = world.plane.kubectl_ok(&all).await?;
    for (place, text) in [("the log", &log), ("the objects", &objects), ("the metrics", &metrics)] {
        for word in words {
            if let Some(at) = text.find(word) {
                let around: String = text[..at].chars().rev().take(300).collect();
                let around: String = around.chars().rev().collect();
                anyhow::bail!("{place} tells {word:?} after: {around}");
            }
        }
    }
    Ok(())
}

/// The connections, one of each kind of auth that has something to hide, and one that has a token alone.
const KINDS: [Kind; 5] = [
    Kind::Secret,
    Kind::Certificate,
    Kind::Account,
    Kind::Operator,
    Kind::Node,
];

/// All kinds of auth of one app, and the secrets of all of them.
async fn every_kind(world: &World, folder: &Scratch) -> anyhow::Result<Vec<String>> {
    let own = certificate("operator")?;
    let proofs = Proofs {
        client_id: &world.client_id,
        secret: RIGHT,
        certified: &own,
        audience: AUDIENCE,
        folder,
    };
    for kind in KINDS {
        world.stage(kind, proofs, json!({})).await?;
    }
    let token = std::fs::read_to_string(folder.path().join("token"))?;
    let mut secrets = vec![RIGHT.to_owned()];
    secrets.extend(token.split('.').map(str::to_owned));
    // Each line of the key by itself: it would be torn apart where it is told.
    let lines = own.key_pkcs8_pem.lines().filter(|line| !line.starts_with("-----"));
    secrets.extend(lines.map(str::to_owned));
    Ok(secrets)
}

/// What may go wrong between two programs; whatever is said holds what the other side was told.
fn failures(echo: &str) -> Vec<Answer> {
    let oauth = |status, error: &str| {
        let description = format!("AADSTS7000215: {echo} is not it. Trace ID: {echo}");
        let body = json!({"error": error, "error_description": description, "error_codes": [7_000_215], "echo": echo});
        Answer::json(status, body)
    };
    let graph = |status, code: &str| {
        let message = format!("The header Authorization: Bearer {echo} is not acceptable.");
        Answer::json(
            status,
            json!({"error": {"code": code, "message": message, "innerError": {"request-id": echo}}}),
        )
    };
    let html = |status| {
        Answer::status(status)
            .header("Content-Type", "text/html")
            .body(Body::Text(format!("<html><title>{echo}</title>")))
    };
    let mut answers = vec![oauth(401, "invalid_client"), oauth(400, echo), graph(403, "Forbidden")];
    answers.extend([
        graph(401, "InvalidAuthenticationToken"),
        graph(400, "BadRequest"),
        graph(404, echo),
    ]);
    answers.extend([html(200), html(400), html(502), oauth(429, "slow_down")]);
    let headers = ["request-id", "Location", "WWW-Authenticate", "Retry-After"];
    let loud = headers
        .into_iter()
        .fold(Answer::status(503), |answer, name| answer.header(name, echo));
    answers.push(loud);
    answers.push(Answer::json(
        200,
        json!({"value": [{"id": echo, "displayName": 7}], "access_token": 7}),
    ));
    answers
}

/// All connections are asked to look, until this rule has met with so many requests.
async fn injected(world: &World, script: Script, hits: u64, round: usize) -> anyhow::Result<()> {
    let graph = world.graph();
    let script = graph.script(script);
    graph.revoke_tokens(&world.tenant, None);
    let mut asked = 0;
    wait_for("the failure to be met with", PATIENCE, async || {
        for kind in KINDS {
            world
                .ask(&format!("gconn/{}", kind.name()), &format!("{round}.{asked}"))
                .await?;
        }
        asked += 1;
        let met = world.graph().script_hits(script);
        ensure!(met >= hits, "{met} of {hits}");
        Ok(())
    })
    .await?;
    graph.remove_script(script);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_failure_of_any_kind_of_auth_tells_what_it_holds() -> anyhow::Result<()> {
    let world = World::new("every-canary").await?;
    let folder = Scratch::new()?;
    let secrets = every_kind(&world, &folder).await?;
    let proxy = Proxy::start().await?;
    let url = proxy.url("canary-user:canary%2Bproxy");
    let file = folder.path().join("token").display().to_string();
    let flags = [
        "--log-level",
        "trace",
        "--metadata-endpoint",
        world.simulator.metadata_endpoint(),
    ];
    let environment = [
        ("HTTPS_PROXY", url.as_str()),
        ("AZURE_FEDERATED_TOKEN_FILE", file.as_str()),
    ];
    let operator = Running::of_in(&world, &flags, &environment).await?;
    for kind in KINDS {
        world.connection_is(kind.name(), "True", "Connected").await?;
    }
    ensure!(!proxy.tunnels().is_empty(), "nobody took the proxy");

    // Each of them repeats what it was told: Entra the credentials, Graph the token.
    let credentials = secrets.join(" ");
    let token = world.graph().issue_token(&world.tenant, &world.client_id, None);
    let mut round = 0;
    for (server, echo) in [
        (Script::entra as fn() -> Script, credentials.as_str()),
        (Script::entra, RIGHT),
        (Script::metadata, &token),
        (Script::graph, &token),
    ] {
        for answer in failures(echo) {
            round += 1;
            injected(&world, server().answer(answer), 1, round).await?;
        }
    }
    for script in [Script::entra(), Script::metadata(), Script::graph()] {
        round += 1;
        injected(&world, script.reset(), 1, round).await?;
    }
    // A proxy that does not know its user any more.
    proxy.refuse(true);
    proxy.cut();
    let refused = proxy.tunnels().len();
    world.graph().revoke_tokens(&world.tenant, None);
    wait_for("the proxy to be asked again", PATIENCE, async || {
        world
            .ask("gconn/secret", &format!("refused {}", proxy.tunnels().len()))
            .await?;
        ensure!(proxy.tunnels().len() > refused + 1, "not yet");
        Ok(())
    })
    .await?;
    proxy.refuse(false);
    for kind in KINDS {
        world.ask(&format!("gconn/{}", kind.name()), "well again").await?;
        world.connection_is(kind.name(), "True", "Connected").await?;
    }
    let mut words: Vec<&str> = secrets
        .iter()
        .chain([&token])
        .flat_map(|secret| secret.split('.'))
        .collect();
    words.extend(NOWHERE);
    words.extend([
        "canary-user",
        "canary%2Bproxy",
        "canary+proxy",
        "Y2FuYXJ5LXVzZXI6",
        "PRIVATE KEY",
    ]);
    told_nowhere(&world, &operator, &words).await
}
