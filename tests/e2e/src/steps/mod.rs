//! What users do with image and chart, in the order in which they do it.

mod identity;
mod install;
mod load;
mod release;
mod replace;
mod uninstall;

pub(crate) use uninstall::take_all_away;

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use harness::Story;

use crate::cluster::{Cluster, Image, OPERATOR_NAMESPACE, RELEASE};
use crate::node::Node;
use crate::stage::Stage;

/// How long Helm waits for what happens within seconds on an idle machine.
const WAIT: &str = "--timeout=120s";

/// All of them.
pub(crate) async fn all(
    story: &Story,
    cluster: &Cluster,
    address: Ipv4Addr,
    image: &Image,
    node: Option<&Node>,
) -> Result<()> {
    let stage = Stage::set(story, cluster, address, image, node).await?;
    play(&stage).await?;
    story.step("Done: every step held");
    Ok(())
}

async fn play(stage: &Stage<'_>) -> Result<()> {
    install::the_operator(stage).await.context("the installation")?;
    release::waits_for_the_operator(stage)
        .await
        .context("a release without an operator")?;
    release::of_three_in_any_order(stage)
        .await
        .context("releases in any order")?;
    replace::by_an_upgrade(stage).await.context("helm upgrade")?;
    replace::by_one_that_reaches_no_graph(stage)
        .await
        .context("an operator that reaches no Graph")?;
    replace::by_a_restart(stage).await.context("kubectl rollout restart")?;
    replace::by_a_deletion(stage).await.context("kubectl delete pod")?;
    replace::by_a_kill(stage).await.context("SIGKILL")?;
    load::within_the_memory_limit(stage).await.context("the memory limit")?;
    identity::of_an_account(stage).await.context("workload identity")?;
    identity::of_the_operator(stage)
        .await
        .context("the operator's own identity")?;
    stage.ensure_lawful()?;
    uninstall::in_the_documented_order(stage)
        .await
        .context("the uninstallation")
}

/// Installs or upgrades the operator's release and waits until it is ready.
async fn operator_release(stage: &Stage<'_>, verb: &str, flags: &[&str]) -> Result<String> {
    let (chart, values) = (crate::cluster::chart(), stage.values_file());
    let args = [&[&*chart, "--values", &values, "--wait", WAIT][..], flags].concat();
    stage.cluster.helm(verb, RELEASE, OPERATOR_NAMESPACE, &args).await
}
