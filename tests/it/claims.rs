//! Two resources for one object of a tenant: never two writers, and the next one takes over at once.

use anyhow::Context as _;
use compliance_partner_operator::api::{ComplianceManagementPartner, condition};
use graph_simulator::{Answer, Request, Script};
use harness::{CLIENT_SECRET, OPERATOR, PATIENCE, World, wait_for};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";

/// Which resource a request is from: only the first one manages iOS, only the second one Android.
fn is_of_the_second(request: &Request) -> bool {
    request.is_patch() && request.properties().contains(&"androidOnboarded")
}

fn first() -> Value {
    json!({"partnerRef": {"id": P1}, "iosOnboarded": true})
}

fn second() -> Value {
    json!({"partnerRef": {"id": P1.to_uppercase()}, "androidOnboarded": true})
}

fn message(partner: &ComplianceManagementPartner, kind: &str) -> String {
    let status = partner.status.clone().unwrap_or_default();
    condition(&status.conditions, kind)
        .map(|condition| condition.message.clone())
        .unwrap_or_default()
}

/// The creationTimestamp has whole seconds: whoever comes in a later one is younger whatever its uid is.
async fn until_younger_than(partner: &ComplianceManagementPartner) -> anyhow::Result<()> {
    let created = partner
        .metadata
        .creation_timestamp
        .as_ref()
        .context("not created")?
        .0
        .as_second();
    wait_for("the next second", PATIENCE, async || {
        (Timestamp::now().as_second() > created).then_some(())
    })
    .await
}

/// An operator that runs, with `first` as the holder and `second` in conflict with it.
async fn contested(name: &str) -> anyhow::Result<World> {
    let mut world = World::new(name).await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    world.start().await?;
    world.partner("first", first()).await?;
    let holder = world.in_sync("first").await?;
    until_younger_than(&holder).await?;
    world.partner("second", second()).await?;
    world.partner_is("second", "Ready", "False", "PartnerConflict").await?;
    Ok(world)
}

/// Waits until the second resource has taken over, which nothing but the hand-over itself can lead to: polls are rare.
async fn taken_over(world: &World) -> anyhow::Result<()> {
    world.in_sync("second").await?;
    let row = world.graph().row(&world.tenant, P1).context("the row is gone")?;
    assert_eq!(row.get("androidOnboarded"), Some(&json!(true)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_younger_one_is_told_who_holds_and_sends_nothing_ever() -> anyhow::Result<()> {
    let mut world = contested("holder").await?;
    let loser = world
        .partner_is("second", "Reconciling", "True", "PartnerConflict")
        .await?;
    let told = message(&loser, "Ready");
    assert!(told.contains("ComplianceManagementPartner first"), "{told}");
    let status = loser.status.unwrap();
    assert_eq!(
        status.partner_id.as_deref(),
        Some(P1),
        "it is bound, for it has read the object itself"
    );
    assert!(condition(&status.conditions, "Stalled").is_none());
    assert_eq!(world.event("second", "PartnerConflict").await?.0, "Warning");

    // An edit, a request and a restart with drift of the holder's: all are occasions to send something.
    let mut edited = second();
    edited["androidEnrollmentAssignments"] = json!([{"target": {"type": "AllDevices"}}]);
    world.partner("second", edited).await?;
    world.partner_is("second", "Ready", "False", "PartnerConflict").await?;
    world.asked("second", "now").await?;
    world.stop().await?;
    world
        .graph()
        .change_row(&world.tenant, P1, json!({"iosOnboarded": false}))?;
    world.start().await?;
    let back = |row: &Value| row["iosOnboarded"] == true;
    world.graph().wait_for_row(&world.tenant, P1, back, PATIENCE).await?;
    world.asked("second", "once more").await?;
    world.partner_is("second", "Ready", "False", "PartnerConflict").await?;
    world.in_sync("first").await?;
    assert_eq!(world.graph().count(is_of_the_second), 0);
    assert!(
        world.graph().violations().is_empty(),
        "{:?}",
        world.graph().violations()
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_object_is_handed_over_when_the_holder_is_deleted() -> anyhow::Result<()> {
    let mut world = contested("deleted").await?;
    world.partners().delete("first", &DeleteParams::default()).await?;
    taken_over(&world).await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_object_is_handed_over_when_the_holder_is_suspended_and_back() -> anyhow::Result<()> {
    let mut world = contested("suspended").await?;
    let suspend = |suspend: bool| Patch::Merge(json!({"spec": {"suspend": suspend}}));
    world
        .partners()
        .patch("first", &PatchParams::default(), &suspend(true))
        .await?;
    taken_over(&world).await?;
    world.partner_is("first", "Synced", "Unknown", "Suspended").await?;
    // The older one is the holder again as soon as it would write.
    world
        .partners()
        .patch("first", &PatchParams::default(), &suspend(false))
        .await?;
    world.in_sync("first").await?;
    world.partner_is("second", "Ready", "False", "PartnerConflict").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_object_is_handed_over_when_the_holder_turns_to_observe() -> anyhow::Result<()> {
    let mut world = contested("observes").await?;
    let observe = Patch::Merge(json!({"spec": {"managementPolicy": "Observe"}}));
    world
        .partners()
        .patch("first", &PatchParams::default(), &observe)
        .await?;
    taken_over(&world).await?;
    world.in_sync("first").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_hands_nothing_over() -> anyhow::Result<()> {
    let mut world = contested("outage").await?;
    let outage = world.graph().script(Script::graph().answer(Answer::status(503)));
    let mut edited = first();
    edited["macOsOnboarded"] = json!(true);
    world.partner("first", edited).await?;
    world.partner_is("first", "Ready", "False", "GraphUnavailable").await?;
    world.asked("second", "now").await?;
    world.partner_is("second", "Ready", "False", "GraphUnavailable").await?;
    world.graph().remove_script(outage);
    world.in_sync("first").await?;
    world.partner_is("second", "Ready", "False", "PartnerConflict").await?;
    assert_eq!(world.graph().count(is_of_the_second), 0);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_of_the_holders_connection_hands_nothing_over_and_its_end_does() -> anyhow::Result<()> {
    let mut world = World::new("health").await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    world.secret("other", json!({"client-secret": CLIENT_SECRET})).await?;
    world.consent("other").await?;
    world
        .connection(
            "other",
            json!({"auth": {"clientSecret": {"secretRef": {"name": "other"}}}}),
        )
        .await?;
    world.start().await?;
    let holder = world.partner("first", first()).await?;
    world.in_sync("first").await?;
    until_younger_than(&holder).await?;
    let mut spec = second();
    spec["connectionRef"] = json!({"name": "other"});
    world.partner("second", spec).await?;
    world.partner_is("second", "Ready", "False", "PartnerConflict").await?;

    // The holder cannot even get a token, and still nobody else writes.
    world.secret("graph", json!({"client-secret": "wrong"})).await?;
    world.ask("gconn/contoso", "now").await?;
    world
        .partner_is("first", "Ready", "False", "ConnectionNotReady")
        .await?;
    world.asked("second", "now").await?;
    world.partner_is("second", "Ready", "False", "PartnerConflict").await?;
    assert_eq!(world.graph().count(is_of_the_second), 0);

    world.connections().delete("contoso", &DeleteParams::default()).await?;
    taken_over(&world).await?;
    world
        .partner_is("first", "Ready", "False", "ConnectionNotFound")
        .await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_only_reads_lets_its_partners_hold_nothing() -> anyhow::Result<()> {
    let mut world = World::new("readonly-holder").await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    world.connection("reader", json!({"access": "ReadOnly"})).await?;
    world.start().await?;
    let mut spec = first();
    spec["connectionRef"] = json!({"name": "reader"});
    let older = world.partner("first", spec).await?;
    world.partner_is("first", "Synced", "False", "DriftDetected").await?;
    until_younger_than(&older).await?;
    world.partner("second", second()).await?;
    taken_over(&world).await?;

    // The older one may write from now on, so it holds; and when it may not any more, the younger one does at once.
    world.connection("reader", json!({"access": "ReadWrite"})).await?;
    world.in_sync("first").await?;
    world.partner_is("second", "Ready", "False", "PartnerConflict").await?;
    world.connection("reader", json!({"access": "ReadOnly"})).await?;
    world.in_sync("second").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_another_namespace_are_not_told() -> anyhow::Result<()> {
    let mut world = World::new("apart").await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    let other = world.second_namespace().await?;
    copy_the_connection(&world, &other).await?;
    let mut config = world.config();
    config.watch_namespaces.push(other.clone());
    world.start_with(config).await?;
    let holder = world.partner("the-very-first", first()).await?;
    world.in_sync("the-very-first").await?;
    until_younger_than(&holder).await?;
    let mut object = json!({
        "apiVersion": "intune.msgraph.dev/v1alpha1", "kind": "ComplianceManagementPartner",
        "metadata": {"name": "second"}, "spec": second(),
    });
    object["spec"]["connectionRef"] = json!({"name": "contoso"});
    let theirs: Api<ComplianceManagementPartner> = Api::namespaced(world.admin.clone(), &other);
    theirs
        .patch("second", &PatchParams::apply("test"), &Patch::Apply(object))
        .await?;
    let told = wait_for("the conflict", PATIENCE, async || {
        let partner = theirs.get("second").await.ok()?;
        let conditions = partner.status.clone()?.conditions;
        let ready = condition(&conditions, "Ready").filter(|ready| ready.reason == "PartnerConflict");
        ready.map(|_| message(&partner, "Ready"))
    })
    .await?;
    assert!(told.contains("another namespace"), "{told}");
    assert!(
        !told.contains("the-very-first") && !told.contains(&world.namespace),
        "{told}"
    );
    assert_eq!(world.graph().count(is_of_the_second), 0);
    world.stop().await
}

/// The Secret, the consent and the connection of the world, once more in another namespace.
pub async fn copy_the_connection(world: &World, namespace: &str) -> anyhow::Result<()> {
    let meta = |name: &str| json!({"name": name, "namespace": namespace});
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Secret", "metadata": meta("graph"), "stringData": {"client-secret": CLIENT_SECRET}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta("graph-reader"),
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["graph"], "verbs": ["get"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta("graph-reader"),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "graph-reader"},
            "subjects": [{"kind": "ServiceAccount", "name": OPERATOR, "namespace": world.namespace}],
        },
        {
            "apiVersion": "intune.msgraph.dev/v1alpha1", "kind": "GraphConnection", "metadata": meta("contoso"),
            "spec": {
                "tenantId": world.tenant, "clientId": world.client_id,
                "auth": {"clientSecret": {"secretRef": {"name": "graph"}}},
            },
        },
    ]});
    world
        .plane
        .kubectl_ok_with_input(&["apply", "-f", "-"], &objects.to_string())
        .await
        .map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn born_suspended_it_is_told_at_once_and_syncs_when_it_is_let() -> anyhow::Result<()> {
    let mut world = World::new("born").await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    world.start().await?;
    world.connection_is("contoso", "True", "Connected").await?;
    world.graph().clear_log();
    let mut spec = first();
    spec["suspend"] = json!(true);
    world.partner("jamf", spec).await?;
    let partner = world.partner_is("jamf", "Synced", "Unknown", "Suspended").await?;
    let conditions = partner.status.unwrap().conditions;
    let kinds: Vec<&str> = conditions.iter().map(|condition| condition.r#type.as_str()).collect();
    assert_eq!(
        kinds,
        ["Synced"],
        "it was never Ready, and is neither on its way nor stuck"
    );
    world.asked("jamf", "now").await?;
    let requests = world.graph().requests();
    assert!(requests.is_empty(), "{requests:#?}");
    world.partner("jamf", first()).await?;
    world.in_sync("jamf").await?;
    assert_eq!(world.patches(), 1);
    world.stop().await
}
