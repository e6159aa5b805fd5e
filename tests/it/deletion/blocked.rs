//! A clean-up whose connection or Secret is gone: it says so, and is given up at its time.

use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::json;

use super::*;

/// Waits until the clean-up is blocked for this reason, and gives what the condition says.
async fn blocked(world: &World, reason: &str) -> anyhow::Result<Condition> {
    let partner = until(world, "CleanupBlocked", |blocked| {
        blocked.is_some_and(|blocked| blocked.reason == reason)
    })
    .await?;
    let status = partner.status.context("no status")?;
    let blocked = condition(&status.conditions, "CleanupBlocked")
        .context("not blocked")?
        .clone();
    assert!(
        blocked.message.contains("deletionPolicy: Retain"),
        "{}",
        blocked.message
    );
    Ok(blocked)
}

async fn without_the_connection(world: &World) -> anyhow::Result<()> {
    world.connections().delete("contoso", &DeleteParams::default()).await?;
    wait_for("the connection to be gone", PATIENCE, async || {
        world
            .connections()
            .get_opt("contoso")
            .await
            .ok()?
            .is_none()
            .then_some(())
    })
    .await?;
    delete(world).await
}

async fn delete_secret(world: &World) -> anyhow::Result<()> {
    let api: Api<Secret> = Api::namespaced(world.admin.clone(), &world.namespace);
    api.delete("graph", &DeleteParams::default()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_connection_is_told_waited_for_and_used_when_it_is_back() -> anyhow::Result<()> {
    let mut world = synced("no-connection").await?;
    let mut config = world.config();
    config.abandon_cleanup_after = None;
    world.start_with(config).await?;
    without_the_connection(&world).await?;
    let told = cleaning(&world).await?;
    assert!(told.contains("GraphConnection contoso"), "{told}");
    blocked(&world, "ConnectionNotFound").await?;
    world.connection("contoso", json!({})).await?;
    gone(&world).await?;
    assert_eq!(resets(&world).len(), 1);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_clean_up_is_given_up_at_its_time_whoever_restarts() -> anyhow::Result<()> {
    let mut world = synced("abandoned").await?;
    let mut config = world.config();
    config.abandon_cleanup_after = None;
    world.start_with(config).await?;
    without_the_connection(&world).await?;
    let since = blocked(&world, "ConnectionNotFound").await?.last_transition_time;

    // By the condition's own time, and not by that of the process: here it has stood for long enough already.
    wait_for("the condition to stand for two seconds", PATIENCE, async || {
        let since: k8s_openapi::jiff::Timestamp = since.parse().ok()?;
        let stood = k8s_openapi::jiff::Timestamp::now().duration_since(since);
        (stood.as_secs() >= 2).then_some(())
    })
    .await?;
    let mut config = world.config();
    config.abandon_cleanup_after = Some(Duration::from_secs(1));
    config.timing.backoff = harness::NEVER;
    config.timing.backoff_cap = harness::NEVER;
    world.start_with(config).await?;
    gone(&world).await?;
    assert_eq!(resets(&world).len(), 0);
    let (kind, note) = world.event("jamf", "CleanupAbandoned").await?;
    assert_eq!(kind, "Warning");
    assert!(note.contains("GraphConnection contoso"), "{note}");
    let metrics = world.metrics()?;
    assert!(
        metrics.contains("compliance_partner_cleanups_abandoned_total 1"),
        "{metrics}"
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_is_given_up_without_anything_else_happening() -> anyhow::Result<()> {
    let mut world = synced("given-up").await?;
    let mut config = world.config();
    config.abandon_cleanup_after = Some(Duration::from_secs(1));
    config.timing.backoff = harness::NEVER;
    config.timing.backoff_cap = harness::NEVER;
    world.start_with(config).await?;
    without_the_connection(&world).await?;
    let blocked = blocked(&world, "ConnectionNotFound").await?;
    assert!(
        blocked.message.contains("--abandon-cleanup-after"),
        "{}",
        blocked.message
    );
    gone(&world).await?;
    assert_eq!(resets(&world).len(), 0);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_secret_blocks_and_its_return_ends_it() -> anyhow::Result<()> {
    let mut world = synced("no-secret").await?;
    // Without a token of before.
    world.stop().await?;
    delete_secret(&world).await?;
    delete(&world).await?;
    world.start().await?;
    let blocked = blocked(&world, "SecretNotFound").await?;
    assert!(blocked.message.contains("Secret graph"), "{}", blocked.message);
    world
        .secret("graph", json!({"client-secret": harness::CLIENT_SECRET}))
        .await?;
    gone(&world).await?;
    assert_eq!(resets(&world).len(), 1);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_outlives_its_secret() -> anyhow::Result<()> {
    let mut world = synced("outlives").await?;
    delete_secret(&world).await?;
    delete(&world).await?;
    gone(&world).await?;
    assert_eq!(resets(&world).len(), 1);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consent_that_was_taken_back_is_no_block() -> anyhow::Result<()> {
    use k8s_openapi::api::rbac::v1::RoleBinding;
    let mut world = synced("no-consent").await?;
    let mut config = world.config();
    config.abandon_cleanup_after = Some(Duration::ZERO);
    world.start_with(config).await?;
    world.asked("jamf", "before").await?;
    let bindings: Api<RoleBinding> = Api::namespaced(world.admin.clone(), &world.namespace);
    bindings.delete("graph-reader", &DeleteParams::default()).await?;
    // The session has to ask for a new token, and so to read the Secret, in the clean-up itself.
    world.graph().revoke_tokens(&world.tenant, None);
    delete(&world).await?;
    // It waits, visibly, for as long as it takes: the namespace is there to stay.
    let told = cleaning(&world).await?;
    assert!(told.contains("create rolebinding"), "{told}");
    let partner = world.partners().get("jamf").await?;
    assert!(condition(&partner.status.unwrap().conditions, "CleanupBlocked").is_none());
    world
        .create::<RoleBinding>(
            Some(&world.namespace),
            json!({
                "metadata": {"name": "graph-reader"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "graph-reader"},
                "subjects": [{"kind": "ServiceAccount", "name": harness::OPERATOR, "namespace": world.namespace}],
            }),
        )
        .await?;
    gone(&world).await?;
    assert_eq!(resets(&world).len(), 1);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_without_its_key_is_no_block() -> anyhow::Result<()> {
    let mut world = synced("no-key").await?;
    world.stop().await?;
    delete_secret(&world).await?;
    world.secret("graph", json!({"other": "x"})).await?;
    delete(&world).await?;
    let mut config = world.config();
    config.abandon_cleanup_after = Some(Duration::ZERO);
    world.start_with(config).await?;
    // The Secret is there: somebody is about to fill it. It waits, visibly, for as long as it takes.
    let told = cleaning(&world).await?;
    assert!(told.contains("no key client-secret"), "{told}");
    let partner = world.partners().get("jamf").await?;
    assert!(condition(&partner.status.unwrap().conditions, "CleanupBlocked").is_none());
    world
        .secret("graph", json!({"client-secret": harness::CLIENT_SECRET}))
        .await?;
    gone(&world).await?;
    assert_eq!(resets(&world).len(), 1);
    world.stop().await
}
