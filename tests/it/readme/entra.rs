//! The commands by which an app in Entra comes to trust the cluster, run as they stand there: `az` only notes what it is
//! told, and the simulator of Entra trusts that, and nothing else.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, ensure};
use compliance_partner_operator::graph::cloud::Cloud;
use graph_simulator::{App, FederatedCredential};
use harness::{OPERATOR, PATIENCE, Scratch, World, checkout, ensured, run_to_success, yaml_documents};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{code, section};

/// It notes its words, ends each with a 0 and each command with a 1, and answers what is asked for.
const AZ: &str = r#"#!/bin/sh
printf '%s\0' "$@" >>"$NOTED"
printf '\1\0' >>"$NOTED"
case $* in
*' --query principalId '*) echo of-the-identity ;;
*' --query id '*) echo of-graph ;;
esac
"#;

/// The commands between the comments with this name.
fn told(name: &str) -> anyhow::Result<String> {
    let readme = std::fs::read_to_string(checkout().join("README.md"))?;
    let (_, rest) = readme
        .split_once(&format!("<!-- {name}: begin -->\n```sh\n"))
        .context("no begin")?;
    let (commands, _) = rest
        .split_once(&format!("```\n<!-- {name}: end -->"))
        .context("no end")?;
    Ok(commands.to_owned())
}

/// Runs commands in a shell as somebody pastes them, for the namespace of a world, and gives the words of each `az`.
async fn run(world: &World, commands: &str) -> anyhow::Result<Vec<Vec<String>>> {
    let folder = Scratch::new()?;
    let (az, noted) = (folder.path().join("az"), folder.path().join("noted"));
    std::fs::write(&az, AZ)?;
    std::fs::set_permissions(&az, std::fs::Permissions::from_mode(0o755))?;
    std::fs::write(&noted, "")?;
    let programs = ensured("control-plane").await?;
    let path = std::env::var("PATH")?;
    let path = format!("{}:{}:{path}", folder.path().display(), programs.display());
    let commands = commands
        .replace("contoso:", &format!("{}:", world.namespace))
        .replace(&format!("{OPERATOR}:"), &format!("{}:", world.operator_namespace));
    let mut command = Command::new("sh");
    command
        .args(["-eu", "-c", &commands])
        .env("PATH", path)
        .env("KUBECONFIG", world.plane.admin_kubeconfig())
        .env("NOTED", &noted)
        .env("client", &world.client_id);
    run_to_success(&mut command, "", PATIENCE).await?;
    let noted = std::fs::read_to_string(&noted)?;
    let calls = noted.split("\u{1}\0").filter(|call| !call.is_empty());
    let words = |call: &str| call.trim_end_matches('\0').split('\0').map(str::to_owned).collect();
    Ok(calls.map(words).collect())
}

/// The word after this one.
fn after<'a>(call: &'a [String], flag: &str) -> anyhow::Result<&'a str> {
    let place = call.iter().position(|word| word == flag);
    let word = place.and_then(|place| call.get(place + 1));
    Ok(word.with_context(|| format!("no {flag}: {call:?}"))?)
}

/// What the one command asks Entra to trust, in an app that has no other credential.
async fn trusted(world: &World, name: &str) -> anyhow::Result<FederatedCredential> {
    let calls = run(world, &told(name)?).await?;
    let [call] = &calls[..] else {
        anyhow::bail!("{calls:?}");
    };
    assert_eq!(call[..4], ["ad", "app", "federated-credential", "create"]);
    assert_eq!(after(call, "--id")?, world.client_id);
    let parameters: Value = serde_json::from_str(after(call, "--parameters")?)?;
    let keys: Vec<&str> = parameters
        .as_object()
        .context("an object")?
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(keys, ["audiences", "issuer", "name", "subject"], "{parameters}");
    let audiences = parameters["audiences"].as_array().context("audiences")?;
    assert_eq!(audiences.len(), 1, "{parameters}");
    let text = |value: &Value| value.as_str().map(str::to_owned).context("a text");
    let credential = FederatedCredential {
        issuer: text(&parameters["issuer"])?,
        subject: text(&parameters["subject"])?,
        audience: text(&audiences[0])?,
    };
    // Graph's bounds of a name.
    let letters = text(&parameters["name"])?;
    ensure!((3..=120).contains(&letters.len()), "{letters}");
    ensure!(
        letters.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
        "{letters}"
    );
    let (_, keys) = world.issuer().await?;
    world.graph().set_issuer(&credential.issuer, keys)?;
    world
        .graph()
        .add_app(&world.tenant, &world.client_id, App::without_secret());
    world
        .graph()
        .add_federated(&world.tenant, &world.client_id, credential.clone())?;
    Ok(credential)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_works_by_the_federated_credential_of_the_readme() -> anyhow::Result<()> {
    let mut world = World::new("readme-federated").await?;
    let credential = trusted(&world, "federated credential").await?;
    assert_eq!(credential.audience, Cloud::Global.federation_audience());

    // The example beside it, with this world's names.
    let file = "deploy/examples/workload-identity/connection.yaml";
    let example = std::fs::read_to_string(checkout().join(file))?;
    let objects = yaml_documents(&example)?;
    let connection = objects.iter().find(|object| object["kind"] == "GraphConnection");
    let auth = connection.context("no connection")?["spec"]["auth"].clone();
    let account = auth["workloadIdentity"]["serviceAccountRef"]["name"].as_str();
    let account = account.context("no account")?;
    world.account(account, &world.client_id).await?;
    world.consent_to_account(account).await?;
    world.connection("contoso", json!({ "auth": auth })).await?;
    world.start().await?;
    world.connection_is("contoso", "True", "Connected").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_works_by_the_operators_federated_credential_of_the_readme() -> anyhow::Result<()> {
    let mut world = World::new("readme-operator").await?;
    let credential = trusted(&world, "federated credential of the operator").await?;
    assert_eq!(credential.audience, Cloud::Global.federation_audience());
    let tokens = Scratch::new()?;
    world.project(&tokens, 1, &credential.audience).await?;
    world
        .connection("contoso", json!({ "auth": { "operatorIdentity": {} } }))
        .await?;
    let mut config = world.config();
    config.operator_identity_namespaces = vec![world.namespace.clone()];
    config.federated_token_file = Some(tokens.path().join("token"));
    world.start_with(config).await?;
    world.connection_is("contoso", "True", "Connected").await?;
    world.stop().await
}

/// The ids of the roles, by their names.
fn roles() -> anyhow::Result<Vec<(String, String)>> {
    let section = section("### 2. The app in Entra")?;
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(code).map(|words| match words[..] {
        [name, id, ..] => Ok((name.to_owned(), id.to_owned())),
        _ => anyhow::bail!("{words:?}"),
    });
    cells.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_name_the_role_of_the_table() -> anyhow::Result<()> {
    let roles = roles()?;
    assert_eq!(roles.len(), 2, "{roles:?}");
    assert_eq!(roles[0].0, harness::WRITE_ROLE);
    let wanted = &roles[0].1;
    let app = section("### 2. The app in Entra")?;
    ensure!(app.contains(&format!("--api-permissions {wanted}=Role")), "{app}");

    let world = World::new("readme-identity").await?;
    let calls = run(&world, &told("role of a managed identity")?).await?;
    let call = calls.last().context("no command")?;
    assert_eq!(call[..3], ["rest", "--method", "POST"]);
    let graph = Cloud::Global.graph_root();
    let address = format!("{graph}/v1.0/servicePrincipals/of-the-identity/appRoleAssignments");
    assert_eq!(after(call, "--url")?, address);
    let body: Value = serde_json::from_str(after(call, "--body")?)?;
    let assignment = json!({ "principalId": "of-the-identity", "resourceId": "of-graph", "appRoleId": wanted });
    assert_eq!(body, assignment);
    Ok(())
}

/// The table of clouds is the code's.
#[test]
fn the_clouds_of_the_readme_are_those_of_the_operator() -> anyhow::Result<()> {
    let section = section("## Clouds")?;
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.contains("`api://"))
        .map(code)
        .collect();
    ensure!(rows.len() == 5, "{rows:?}");
    for row in rows {
        let cloud = Cloud::ALL.into_iter().find(|cloud| cloud.name() == row[0]);
        let cloud = cloud.with_context(|| format!("no cloud {}", row[0]))?;
        let host = |address: &'static str| address.strip_prefix("https://").unwrap_or(address);
        let wanted = [
            cloud.name(),
            host(cloud.graph_root()),
            host(cloud.authority()),
            cloud.federation_audience(),
        ];
        assert_eq!(row, wanted);
    }
    Ok(())
}
