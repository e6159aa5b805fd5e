//! An API server that does not take finalizers of the operator's: its rights are those of an older version, say.

use graph_simulator::{Answer, Script};
use k8s_openapi::api::rbac::v1::{ClusterRole, RoleBinding, RoleRef};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::*;

/// The operator's rights in the namespace of a world, less the one for finalizers.
struct Weakened {
    bindings: Api<RoleBinding>,
    before: RoleBinding,
}

impl Weakened {
    async fn new(world: &World) -> anyhow::Result<Self> {
        let full: ClusterRole = Api::all(world.admin.clone()).get(harness::OPERATOR).await?;
        let partners = Some(vec!["compliancemanagementpartners".to_owned()]);
        let mut rules = full.rules.unwrap_or_default();
        rules.retain(|rule| rule.verbs != ["patch"] || rule.resources != partners);
        let weak = format!("{}-weak", world.namespace);
        let role = json!({"metadata": {"name": weak}, "rules": rules});
        Api::<ClusterRole>::all(world.admin.clone())
            .create(&PostParams::default(), &serde_json::from_value(role)?)
            .await?;
        let bindings: Api<RoleBinding> = Api::namespaced(world.admin.clone(), &world.namespace);
        let before = bindings.get(harness::OPERATOR).await?;
        let this = Self { bindings, before };
        let role = RoleRef {
            name: weak,
            ..this.before.role_ref.clone()
        };
        this.bind(role).await?;
        Ok(this)
    }

    async fn bind(&self, role: RoleRef) -> anyhow::Result<()> {
        self.bindings
            .delete(harness::OPERATOR, &DeleteParams::default())
            .await?;
        let mut binding = self.before.clone();
        binding.role_ref = role;
        binding.metadata.resource_version = None;
        binding.metadata.uid = None;
        self.bindings.create(&PostParams::default(), &binding).await?;
        Ok(())
    }

    async fn end(self) -> anyhow::Result<()> {
        self.bind(self.before.role_ref.clone()).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finalizer_that_cannot_be_taken_off_is_told_and_graph_is_asked_once() -> anyhow::Result<()> {
    let mut world = synced("stuck").await?;
    let weakened = Weakened::new(&world).await?;
    delete(&world).await?;
    let told = cleaning(&world).await?;
    assert!(told.contains("does not take the finalizer off"), "{told}");
    assert_eq!(resets(&world).len(), 1);
    let before = world.graph().last_seq();
    weakened.end().await?;
    gone(&world).await?;
    let asked = |request: &Request| request.seq > before && (request.is_get() || request.is_patch());
    assert_eq!(world.graph().count(asked), 0, "the clean-up had ended");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finalizer_that_cannot_be_put_on_is_told_and_nothing_is_sent() -> anyhow::Result<()> {
    let mut world = world("unguarded").await?;
    let weakened = Weakened::new(&world).await?;
    world.start().await?;
    world.partner("jamf", reset()).await?;
    let partner = world.partner_is("jamf", "Ready", "False", "GraphUnavailable").await?;
    let told = condition(&partner.status.unwrap().conditions, "Ready")
        .unwrap()
        .message
        .clone();
    assert!(
        told.contains("does not take the finalizer") && told.contains("ClusterRole"),
        "{told}"
    );
    assert_eq!(world.patches(), 0);
    weakened.end().await?;
    assert!(has_finalizer(&world.in_sync("jamf").await?));
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_keep_is_not_said_to_wait_for_graph() -> anyhow::Result<()> {
    let mut world = synced("others").await?;
    let both = json!({"metadata": {"finalizers": ["example.org/hold", FINALIZER]}});
    let both = Patch::Merge(both);
    world.partners().patch("jamf", &PatchParams::default(), &both).await?;
    let outage = world.graph().script(Script::graph().answer(Answer::status(503)));
    delete(&world).await?;
    assert!(cleaning(&world).await?.contains("503"));
    world.graph().remove_script(outage);
    until(&world, "Ready", |ready| {
        ready.is_some_and(|ready| ready.message.contains("finalizers of others"))
    })
    .await?;
    assert!(!has_finalizer(&world.partners().get("jamf").await?));
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    world.partners().patch("jamf", &PatchParams::default(), &free).await?;
    gone(&world).await?;
    world.stop().await
}
