//! `auth.workloadIdentity`: tokens of the real API server, verified by its own keys.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use graph_simulator::{Answer, FederatedCredential, Request, Script};
use harness::{AUDIENCE, Kind, PATIENCE, World, auth, wait_for};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::{P1, assertions, connection, partner_of, told};

/// An account that the operator may use, that stands for the app and that Entra trusts, and a connection by it.
async fn world(name: &str) -> anyhow::Result<World> {
    let world = World::new(name).await?;
    world.account("graph", &world.client_id).await?;
    world.consent_to_account("graph").await?;
    world.trust("graph", AUDIENCE).await?;
    world.graph().set_secrets(&world.tenant, &world.client_id, Vec::new())?;
    connection(&world, "contoso", auth(Kind::Account, "graph")).await?;
    Ok(world)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_account_signs_in_with_a_token_made_for_each_exchange() -> anyhow::Result<()> {
    let mut world = world("workload").await?;
    partner_of(&world, "contoso").await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    world.graph().revoke_tokens(&world.tenant, None);
    world.ask("gconn/contoso", "once more").await?;
    world.graph().wait_for_requests(Request::is_token, 2, PATIENCE).await?;
    world.connection_is("contoso", "True", "Connected").await?;

    let (issuer, _) = world.issuer().await?;
    let sent = assertions(&world);
    let mut ids = BTreeSet::new();
    for assertion in &sent {
        let claims = &assertion["claims"];
        assert_eq!(claims["iss"], json!(issuer));
        assert_eq!(claims["aud"], json!([AUDIENCE]));
        let subject = format!("system:serviceaccount:{}:graph", world.namespace);
        assert_eq!(claims["sub"], json!(subject));
        let lifetime = claims["exp"].as_i64().zip(claims["iat"].as_i64());
        assert_eq!(lifetime.map(|(end, start)| end - start), Some(600), "{claims}");
        ids.insert(claims["jti"].to_string());
    }
    ensure!(ids.len() == sent.len() && sent.len() >= 2, "{sent:?}");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_consent_the_message_has_the_two_lines_that_give_it() -> anyhow::Result<()> {
    let mut world = World::new("no-account-consent").await?;
    world.account("graph", &world.client_id).await?;
    world.trust("graph", AUDIENCE).await?;
    connection(&world, "contoso", auth(Kind::Account, "graph")).await?;
    world.start().await?;
    let refused = world.connection_is("contoso", "False", "AccessNotGranted").await?;
    assert!(world.graph().requests().is_empty());
    let told = told(&refused);
    let run = world.plane.run_told(&told).await?;
    ensure!(run.len() == 2, "{told}");
    world.connection_is("contoso", "True", "Connected").await?;
    // They grant no more than this: no other account's token, and no account is read or made.
    let operator = format!(
        "--as=system:serviceaccount:{}:compliance-partner-operator",
        world.namespace
    );
    for (verb, resource) in [
        ("create", "serviceaccounts/other"),
        ("create", "serviceaccounts"),
        ("get", "serviceaccounts/other"),
        ("list", "serviceaccounts"),
    ] {
        let subresource = if resource == "serviceaccounts/other" && verb == "create" {
            "--subresource=token"
        } else {
            "--subresource="
        };
        let args = [
            "auth",
            "can-i",
            verb,
            resource,
            subresource,
            "-n",
            &world.namespace,
            &operator,
        ];
        let output = world.plane.kubectl(&args).await?;
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(answer.trim() == "no", "{verb} {resource}: {answer}");
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_consent_is_told_too() -> anyhow::Result<()> {
    let mut world = World::new("half-consent").await?;
    world.account("graph", &world.client_id).await?;
    world.trust("graph", AUDIENCE).await?;
    let rules = json!([{
        "apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": ["graph"], "verbs": ["get"],
    }]);
    world.grant("half", rules).await?;
    connection(&world, "contoso", auth(Kind::Account, "graph")).await?;
    world.start().await?;
    let refused = world.connection_is("contoso", "False", "AccessNotGranted").await?;
    ensure!(told(&refused).contains("serviceaccounts/token"), "{}", told(&refused));
    world.consent_to_account("graph").await?;
    world.connection_is("contoso", "True", "Connected").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_missing_or_of_another_app_is_told_and_heals() -> anyhow::Result<()> {
    let mut world = World::new("accounts").await?;
    world.consent_to_account("graph").await?;
    world.trust("graph", AUDIENCE).await?;
    connection(&world, "contoso", auth(Kind::Account, "graph")).await?;
    world.start().await?;
    let missing = world
        .connection_is("contoso", "False", "ServiceAccountNotFound")
        .await?;
    ensure!(
        told(&missing).contains("ServiceAccount graph does not exist"),
        "{}",
        told(&missing)
    );

    world.account("graph", "00000000-0000-4000-8000-000000000000").await?;
    let another = world.connection_is("contoso", "False", "ServiceAccountInvalid").await?;
    let told = told(&another);
    let accounts: Api<ServiceAccount> = Api::namespaced(world.admin.clone(), &world.namespace);
    let bare = json!({"metadata": {"annotations": {"azure.workload.identity/client-id": null}}});
    accounts
        .patch("graph", &PatchParams::default(), &Patch::Merge(bare))
        .await?;
    world.ask("gconn/contoso", "without the annotation").await?;
    world.connection_is("contoso", "False", "ServiceAccountInvalid").await?;
    assert!(world.graph().requests().is_empty(), "a token went out for another app");
    let run = world.plane.run_told(&told).await?;
    ensure!(run.len() == 1, "{told}");
    world.connection_is("contoso", "True", "Connected").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_entra_holds_against_a_federated_token_is_told_with_what_to_do() -> anyhow::Result<()> {
    let mut world = world("federated").await?;
    let (_, keys) = world.issuer().await?;
    let right = world.federated("graph", AUDIENCE).await?;
    let other = |change: fn(&mut FederatedCredential)| {
        let mut credential = right.clone();
        change(&mut credential);
        vec![credential]
    };
    let graph = world.graph();
    graph.set_issuer("https://issuer.example", keys)?;
    let cases = [
        (Vec::new(), "AADSTS70025", "has no federated credential"),
        (
            other(|credential| credential.issuer = "https://issuer.example".to_owned()),
            "AADSTS700211",
            "issuer",
        ),
        (
            other(|credential| credential.subject.push('x')),
            "AADSTS700213",
            "subject",
        ),
        (
            other(|credential| credential.audience.push('x')),
            "AADSTS700212",
            "700212",
        ),
    ];
    world.start().await?;
    for (number, (trusted, code, says)) in cases.into_iter().enumerate() {
        world.connection_is("contoso", "True", "Connected").await?;
        graph.set_federated(&world.tenant, &world.client_id, trusted)?;
        graph.revoke_tokens(&world.tenant, None);
        world.ask("gconn/contoso", &format!("{number}")).await?;
        let refused = world.connection_is("contoso", "False", "CredentialsRejected").await?;
        let told = told(&refused);
        ensure!(told.contains(code) && told.contains(says), "{told}");
        graph.set_federated(&world.tenant, &world.client_id, vec![right.clone()])?;
    }
    world.connection_is("contoso", "True", "Connected").await?;
    world.stop().await
}

/// The first assertion may have lain too long, or the clocks differ by a little: nobody has to see that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assertion_that_came_too_late_is_followed_by_a_new_one_at_once() -> anyhow::Result<()> {
    let mut world = world("too-late").await?;
    let mut config = world.config();
    config.timing.credentials = harness::NEVER;
    config.timing.credentials_cap = harness::NEVER;
    let late = json!({"error": "invalid_client", "error_codes": [700_024],
        "error_description": "AADSTS700024: Client assertion is not within its valid time range."});
    world
        .graph()
        .script(Script::entra().times(1).answer(Answer::json(401, late.clone())));
    world.start_with(config).await?;
    world.connection_is("contoso", "True", "Connected").await?;
    let sent = assertions(&world);
    assert_eq!(sent.len(), 2);
    assert_ne!(sent[0]["claims"]["jti"], sent[1]["claims"]["jti"]);

    // Once, and not again and again.
    world.graph().script(Script::entra().answer(Answer::json(401, late)));
    world.graph().revoke_tokens(&world.tenant, None);
    world.ask("gconn/contoso", "now").await?;
    world.connection_is("contoso", "False", "CredentialsRejected").await?;
    assert_eq!(assertions(&world).len(), 4);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_is_all_that_it_takes() -> anyhow::Result<()> {
    let mut world = World::new("federated-example").await?;
    world.trust("graph", AUDIENCE).await?;
    let path = harness::checkout().join("deploy/examples/workload-identity/connection.yaml");
    let example = std::fs::read_to_string(path)?
        .replace("namespace: contoso", &format!("namespace: {}", world.namespace))
        .replace(
            "namespace: compliance-partner-operator",
            &format!("namespace: {}", world.namespace),
        )
        .replace("aaaabbbb-0000-cccc-1111-dddd2222eeee", &world.tenant)
        .replace("00001111-aaaa-2222-bbbb-3333cccc4444", &world.client_id);
    world
        .plane
        .kubectl_ok_with_input(&["apply", "-f", "-"], &example)
        .await?;
    world.start().await?;
    world.connection_is("contoso", "True", "Connected").await?;
    world.stop().await
}

/// A namespace that is deleted loses its account in any order: the clean-up says so, as it does for a Secret.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_up_without_its_account_is_blocked_and_goes_on_when_it_is_back() -> anyhow::Result<()> {
    let mut world = world("account-gone").await?;
    world.row(P1, "Example Partner")?;
    let reset = json!({"partnerRef": {"id": P1}, "iosOnboarded": true, "deletionPolicy": "Reset"});
    world.partner("jamf", reset).await?;
    let mut config = world.config();
    config.abandon_cleanup_after = None;
    world.start_with(config).await?;
    world.in_sync("jamf").await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(world.admin.clone(), &world.namespace);
    accounts.delete("graph", &DeleteParams::default()).await?;
    world.graph().revoke_tokens(&world.tenant, None);
    world.partners().delete("jamf", &DeleteParams::default()).await?;
    world
        .partner_is("jamf", "CleanupBlocked", "True", "ServiceAccountNotFound")
        .await?;
    world.account("graph", &world.client_id).await?;
    wait_for("the Reset", PATIENCE, async || {
        let row = world.graph().row(&world.tenant, P1).context("no row")?;
        ensure!(row.get("iosOnboarded") == Some(&json!(false)), "{row}");
        ensure!(world.partners().get_opt("jamf").await?.is_none(), "it is still there");
        Ok(())
    })
    .await?;
    world.stop().await
}
