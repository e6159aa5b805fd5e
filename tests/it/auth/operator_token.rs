//! `auth.operatorIdentity`: the operator's own projected token.

use anyhow::{Context as _, ensure};
use graph_simulator::Request;
use harness::{AUDIENCE, Kind, OPERATOR, PATIENCE, Scratch, World, auth};

use super::{assertions, connection, partner_of, told};
use crate::binary::Running;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operators_own_token_is_read_anew_at_each_exchange() -> anyhow::Result<()> {
    let mut world = World::new("own-token").await?;
    let folder = Scratch::new()?;
    world.trust(OPERATOR, AUDIENCE).await?;
    connection(&world, "contoso", auth(Kind::Operator, "")).await?;
    partner_of(&world, "contoso").await?;
    let mut config = world.config();
    config.operator_identity_namespaces = vec![world.namespace.clone()];
    config.federated_token_file = Some(folder.path().join("token"));
    world.start_with(config).await?;
    // The pod may be up before its token is.
    let without = world.connection_is("contoso", "False", "ServiceAccountInvalid").await?;
    ensure!(told(&without).contains("cannot be read"), "{}", told(&without));
    world.project(&folder, 1, AUDIENCE).await?;
    world.in_sync("jamf").await?;
    world.project(&folder, 2, AUDIENCE).await?;
    world.graph().revoke_tokens(&world.tenant, None);
    world.ask("gconn/contoso", "with the second one").await?;
    world.graph().wait_for_requests(Request::is_token, 2, PATIENCE).await?;
    world.connection_is("contoso", "True", "Connected").await?;
    let sent = assertions(&world);
    let (first, last) = (sent.first().context("none")?, sent.last().context("none")?);
    assert_ne!(first["claims"]["jti"], last["claims"]["jti"]);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operators_and_its_nodes_identity_are_for_the_namespaces_that_it_was_started_with() -> anyhow::Result<()> {
    let mut world = World::new("not-allowed").await?;
    world.graph().assign_identity(&world.tenant, &world.client_id, true)?;
    connection(&world, "by-operator", auth(Kind::Operator, "")).await?;
    connection(&world, "by-node", auth(Kind::Node, "")).await?;
    let mut config = world.config();
    config.operator_identity_namespaces = vec!["another".to_owned(), format!("{}x", world.namespace)];
    config.endpoints.metadata = Some(world.simulator.metadata_endpoint().to_owned());
    world.start_with(config).await?;
    for name in ["by-operator", "by-node"] {
        let refused = world.connection_is(name, "False", "IdentityNotAllowed").await?;
        ensure!(told(&refused).contains(&world.namespace), "{}", told(&refused));
        let conditions = refused.status.context("no status")?.conditions;
        ensure!(
            conditions.iter().any(|condition| condition.r#type == "Stalled"),
            "{conditions:?}"
        );
    }
    assert!(world.graph().requests().is_empty());
    world.stop().await
}

/// As in a pod: the variable names the file, and without the flag the operator's own namespace is meant.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_finds_its_token_and_its_own_namespace_by_itself() -> anyhow::Result<()> {
    let world = World::new("own-namespace").await?;
    let folder = Scratch::new()?;
    world.trust(OPERATOR, AUDIENCE).await?;
    world.project(&folder, 1, AUDIENCE).await?;
    connection(&world, "contoso", auth(Kind::Operator, "")).await?;
    partner_of(&world, "contoso").await?;
    let file = folder.path().join("token").display().to_string();
    let operator = Running::of_in(&world, &[], &[("AZURE_FEDERATED_TOKEN_FILE", &file)]).await?;
    world.in_sync("jamf").await?;
    operator.stop().await?;
    // Any other namespace is not its own.
    let elsewhere = ["--operator-identity-namespaces", "another"];
    let operator = Running::of_in(&world, &elsewhere, &[("AZURE_FEDERATED_TOKEN_FILE", &file)]).await?;
    world.connection_is("contoso", "False", "IdentityNotAllowed").await?;
    operator.stop().await
}
