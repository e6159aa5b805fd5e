//! Several that want the same object: of one second, of two namespaces, of two clusters, and somebody else altogether.

use std::path::Path;

use anyhow::{Context as _, ensure};
use compliance_partner_operator::api::ComplianceManagementPartner;
use graph_simulator::{App, Request};
use harness::{CLIENT_SECRET, ControlPlane, OPERATOR, Options, PATIENCE, WRITE_ROLE, World, checkout, merge, wait_for};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::binary::Running;
use crate::history::of;

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";
const OTHER_CLIENT: &str = "dddddddd-4444-4444-8444-000000000001";

/// A second app of the same tenant.
fn other_app(world: &World, roles: &[&str]) {
    let app = App::with_secret(CLIENT_SECRET).roles(roles.iter().copied());
    world.graph().add_app(&world.tenant, OTHER_CLIENT, app);
}

fn patches_of(world: &World, client: &str) -> usize {
    world
        .graph()
        .count(|request| request.is_patch() && request.client_id.as_deref() == Some(client))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_were_made_in_one_second_the_smaller_uid_holds() -> anyhow::Result<()> {
    let mut world = World::new("one-second").await?;
    world.connect().await?;
    let field = |name: &str| {
        if name.starts_with('a') {
            "iosOnboarded"
        } else {
            "androidOnboarded"
        }
    };
    let mut losers = Vec::new();
    for number in 0..3 {
        let id = format!("aaaaaaaa-1111-4111-8111-00000000020{number}");
        world.row(&id, &format!("Partner {number}"))?;
        let names = [format!("a{number}"), format!("b{number}")];
        let spec = |name: &str| json!({"partnerRef": {"id": id}, field(name): true});
        let pair = wait_for("two of one second", PATIENCE, async || {
            let (a, b) = tokio::try_join!(
                world.partner(&names[0], spec(&names[0])),
                world.partner(&names[1], spec(&names[1]))
            )?;
            if a.metadata.creation_timestamp == b.metadata.creation_timestamp {
                return anyhow::Ok([a, b]);
            }
            for name in &names {
                world.partners().delete(name, &DeleteParams::default()).await?;
            }
            anyhow::bail!("a second lies between them")
        })
        .await?;
        let loser = pair.iter().max_by_key(|partner| partner.metadata.uid.clone());
        losers.push((
            id,
            loser
                .and_then(|partner| partner.metadata.name.clone())
                .unwrap_or_default(),
        ));
    }
    // First all of them read their object, for nobody holds what it has not read; then they may write.
    let mut config = world.config();
    config.observe_only = true;
    world.start_with(config).await?;
    for number in 0..3 {
        for name in [format!("a{number}"), format!("b{number}")] {
            world.partner_is(&name, "Synced", "False", "DriftDetected").await?;
        }
    }
    world.start().await?;
    for (_, loser) in &losers {
        world.partner_is(loser, "Ready", "False", "PartnerConflict").await?;
        let holder = if let Some(number) = loser.strip_prefix('a') {
            format!("b{number}")
        } else {
            loser.replace('b', "a")
        };
        world.in_sync(&holder).await?;
    }
    // Another start, in which they come in any order.
    world.start().await?;
    for (id, loser) in &losers {
        world.asked(loser, "now").await?;
        world.partner_is(loser, "Ready", "False", "PartnerConflict").await?;
        let sent = |request: &Request| request.path.ends_with(id) && request.properties().contains(&field(loser));
        assert_eq!(world.graph().count(sent), 0, "{loser}");
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_one_that_has_never_read_the_object_holds_nothing() -> anyhow::Result<()> {
    let mut world = World::new("unbound").await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    other_app(&world, &[]);
    world.connection("blind", json!({"clientId": OTHER_CLIENT})).await?;
    let older = json!({"connectionRef": {"name": "blind"}, "partnerRef": {"id": P1}, "androidOnboarded": true});
    let older = world.partner("older", older).await?;
    let nameless = json!({"partnerRef": {"displayName": "Nobody"}, "macOsOnboarded": true});
    world.partner("nameless", nameless).await?;
    until_younger_than(&older).await?;
    world
        .partner("younger", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    world.start().await?;
    world
        .partner_is("older", "Ready", "False", "ConnectionNotReady")
        .await?;
    world
        .partner_is("nameless", "Ready", "False", "PartnerNotFound")
        .await?;
    world.in_sync("younger").await?;
    assert_eq!(patches_of(&world, OTHER_CLIENT), 0);

    // With its own right to read it, the older one is the holder, and from then on the younger one sends nothing.
    world.graph().set_roles(&world.tenant, OTHER_CLIENT, [WRITE_ROLE])?;
    world.in_sync("older").await?;
    world.partner_is("younger", "Ready", "False", "PartnerConflict").await?;
    world.graph().clear_log();
    let mut spec = json!({"partnerRef": {"id": P1}, "iosOnboarded": false});
    world.partner("younger", spec.clone()).await?;
    world.partner_is("younger", "Ready", "False", "PartnerConflict").await?;
    spec["macOsOnboarded"] = json!(true);
    world.partner("younger", spec).await?;
    world.asked("younger", "now").await?;
    world.partner_is("younger", "Ready", "False", "PartnerConflict").await?;
    assert_eq!(patches_of(&world, &world.client_id), 0);
    world.stop().await
}

async fn until_younger_than(partner: &ComplianceManagementPartner) -> anyhow::Result<()> {
    let created = partner.metadata.creation_timestamp.as_ref().context("not created")?;
    let created = created.0.as_second();
    wait_for("the next second", PATIENCE, async || {
        (k8s_openapi::jiff::Timestamp::now().as_second() > created).then_some(())
    })
    .await
}

/// Secret, consent and connection once more, in another namespace and as another app.
fn connection_in(namespace: &str, account: &str, tenant: &str, client: &str) -> Value {
    let meta = |name: &str| json!({"name": name, "namespace": namespace});
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Secret", "metadata": meta("graph"), "stringData": {"client-secret": CLIENT_SECRET}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta("graph-reader"),
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["graph"], "verbs": ["get"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta("graph-reader"),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "graph-reader"},
            "subjects": [{"kind": "ServiceAccount", "name": OPERATOR, "namespace": account}],
        },
        {
            "apiVersion": "intune.msgraph.dev/v1alpha1", "kind": "GraphConnection", "metadata": meta("contoso"),
            "spec": {"tenantId": tenant, "clientId": client, "auth": {"clientSecret": {"secretRef": {"name": "graph"}}}},
        },
    ]})
}

fn partner_in(namespace: &str, name: &str, mut spec: Value) -> Value {
    merge(&mut spec, json!({"connectionRef": {"name": "contoso"}}));
    json!({
        "apiVersion": "intune.msgraph.dev/v1alpha1", "kind": "ComplianceManagementPartner",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_namespaces_that_share_a_tenant_have_one_writer_and_learn_no_names() -> anyhow::Result<()> {
    const HOLDER: &str = "the-very-first-of-all";
    let world = World::new("shared-tenant").await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    let other = world.second_namespace().await?;
    other_app(&world, &[WRITE_ROLE]);
    let apply = ["apply", "-f", "-"];
    let objects = connection_in(&other, &world.namespace, &world.tenant, OTHER_CLIENT);
    world.plane.kubectl_ok_with_input(&apply, &objects.to_string()).await?;
    let kubeconfig = world
        .plane
        .service_account_kubeconfig(&world.namespace, OPERATOR)
        .await?;
    let scope = format!("{},{other}", world.namespace);
    let flags = ["--watch-namespaces", &scope, "--sync-interval", "1s"];
    let operator = Running::start(&world.simulator, Some(&kubeconfig), &flags)?;
    let holder = world
        .partner(HOLDER, json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    world.in_sync(HOLDER).await?;
    until_younger_than(&holder).await?;

    // The younger one wants the opposite, so each poll of it is an occasion.
    let second = json!({"partnerRef": {"displayName": "Example Partner"}, "iosOnboarded": false});
    let object = partner_in(&other, "second", second);
    world.plane.kubectl_ok_with_input(&apply, &object.to_string()).await?;
    let theirs: Api<ComplianceManagementPartner> = Api::namespaced(world.admin.clone(), &other);
    wait_for("the conflict", PATIENCE, async || {
        let partner = theirs.get("second").await?;
        let reason = of(&partner, "Ready").map(|ready| ready.reason);
        ensure!(reason.as_deref() == Some("PartnerConflict"), "{reason:?}");
        Ok(())
    })
    .await?;
    let events: Api<Event> = Api::namespaced(world.admin.clone(), &other);
    let event = wait_for("the event of the conflict", PATIENCE, async || {
        let all = events.list(&ListParams::default()).await?.items;
        let conflict = |event: &Event| event.reason.as_deref() == Some("PartnerConflict");
        all.into_iter().find(conflict).context("no such event")
    })
    .await?;
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    // Edits and drift meanwhile: the holder alone corrects.
    let edit = Patch::Merge(json!({"spec": {"androidOnboarded": true}}));
    theirs.patch("second", &PatchParams::default(), &edit).await?;
    for value in [false, true] {
        world
            .graph()
            .change_row(&world.tenant, P1, json!({"iosOnboarded": value}))?;
        let seen = world.graph().last_seq();
        let polled = move |request: &Request| {
            request.is_list() && request.seq > seen && request.client_id.as_deref() == Some(OTHER_CLIENT)
        };
        world.graph().wait_for_requests(polled, 3, PATIENCE).await?;
    }
    world.in_sync(HOLDER).await?;
    assert_eq!(patches_of(&world, OTHER_CLIENT), 0);
    assert!(patches_of(&world, &world.client_id) >= 2);

    let seen = ["get", "cmp,gconn,events.events.k8s.io", "-n", &other, "-o", "json"];
    let seen = world.plane.kubectl_ok(&seen).await?;
    assert!(!seen.contains(HOLDER), "{seen}");
    let seen = [
        "get",
        "cmp,gconn,events.events.k8s.io",
        "-n",
        &world.namespace,
        "-o",
        "json",
    ];
    let seen = world.plane.kubectl_ok(&seen).await?;
    assert!(!seen.contains(&other) && !seen.contains("\"second\""), "{seen}");
    operator.stop().await?;
    let log = operator.process.log()?;
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("/second")).collect();
    assert!(lines.iter().any(|line| line.contains("PartnerConflict")), "{log}");
    assert!(lines.iter().all(|line| !line.contains(HOLDER)), "{lines:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_id_in_two_clouds_is_two_objects() -> anyhow::Result<()> {
    let mut world = World::new("two-clouds").await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    world.connection("gov", json!({"cloud": "USGov"})).await?;
    world.start().await?;
    let ours = json!({"partnerRef": {"id": P1}, "iosOnboarded": true});
    world.partner("global", ours).await?;
    let theirs = json!({"connectionRef": {"name": "gov"}, "partnerRef": {"id": P1}, "androidOnboarded": true});
    world.partner("gov", theirs).await?;
    for (name, cloud) in [("global", "Global"), ("gov", "USGov")] {
        let partner = world.in_sync(name).await?;
        assert_eq!(partner.status.unwrap().cloud.as_deref(), Some(cloud));
        assert!(world.events(name, "PartnerConflict").await?.is_empty());
    }
    assert_eq!(world.patches(), 2);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_whose_connection_leads_elsewhere_holds_no_more() -> anyhow::Result<()> {
    let mut world = World::new("leads-elsewhere").await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    world.connection("other", json!({})).await?;
    let elsewhere = world.tenant.replace("bbbbbbbb", "dddddddd");
    let app = App::with_secret(CLIENT_SECRET).roles([WRITE_ROLE]);
    world.graph().add_app(&elsewhere, &world.client_id, app);
    world.start().await?;
    let first = json!({"partnerRef": {"id": P1}, "iosOnboarded": true});
    let first = world.partner("first", first).await?;
    world.in_sync("first").await?;
    until_younger_than(&first).await?;
    let second = json!({"connectionRef": {"name": "other"}, "partnerRef": {"id": P1}, "androidOnboarded": true});
    world.partner("second", second).await?;
    world.partner_is("second", "Ready", "False", "PartnerConflict").await?;
    world.connections().delete("contoso", &DeleteParams::default()).await?;
    world.connection("contoso", json!({"tenantId": elsewhere})).await?;
    world.partner_is("first", "Ready", "False", "TenantChanged").await?;
    world.in_sync("second").await?;
    assert_eq!(world.graph().row(&world.tenant, P1).unwrap()["androidOnboarded"], true);
    // And back: the older one is the holder again.
    world.connections().delete("contoso", &DeleteParams::default()).await?;
    world.connection("contoso", json!({})).await?;
    world.in_sync("first").await?;
    world.partner_is("second", "Ready", "False", "PartnerConflict").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_corrections_of_one_field_are_told_as_a_contest() -> anyhow::Result<()> {
    let mut world = World::new("corrections").await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    let mut spec = json!({"partnerRef": {"id": P1}, "iosOnboarded": true, "macOsOnboarded": true});
    world.partner("jamf", spec.clone()).await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    // What an edit changes is no correction.
    spec["iosOnboarded"] = json!(false);
    world.partner("jamf", spec.clone()).await?;
    world.in_sync("jamf").await?;
    spec["iosOnboarded"] = json!(true);
    world.partner("jamf", spec).await?;
    world.in_sync("jamf").await?;
    // Two of each field are not three of one.
    let rounds = ["iosOnboarded", "macOsOnboarded", "iosOnboarded", "macOsOnboarded"];
    for (round, field) in rounds.into_iter().enumerate() {
        world.graph().change_row(&world.tenant, P1, json!({field: false}))?;
        world.asked("jamf", &format!("round {round}")).await?;
        world.in_sync("jamf").await?;
    }
    wait_for("the events of four corrections", PATIENCE, async || {
        let updated = world.events("jamf", "Updated").await?;
        let notes = updated.iter().filter_map(|event| event.note.as_deref());
        let drifted = notes.filter(|note| note.contains("drifted")).count();
        ensure!(drifted == 4, "{drifted}");
        Ok(())
    })
    .await?;
    assert!(world.events("jamf", "Contested").await?.is_empty());
    world
        .graph()
        .change_row(&world.tenant, P1, json!({"iosOnboarded": false}))?;
    world.asked("jamf", "the third").await?;
    let (kind, note) = world.event("jamf", "Contested").await?;
    assert_eq!(kind, "Warning");
    assert!(
        note.contains("iosOnboarded") && !note.contains("macOsOnboarded"),
        "{note}"
    );
    world.in_sync("jamf").await?;
    world.stop().await
}

/// A second cluster with the operator in it, for the same tenant as another app.
async fn second_cluster(world: &World) -> anyhow::Result<(ControlPlane, Running)> {
    let plane = ControlPlane::start(Options::default()).await?;
    plane.apply_crds().await?;
    let file = |name: &str| checkout().join("deploy").join(name).display().to_string();
    let base = ["apply", "-f", &file("namespace.yaml"), "-f", &file("rbac.yaml")];
    plane.kubectl_ok(&base).await?;
    plane.kubectl_ok(&["create", "namespace", "contoso"]).await?;
    let objects = connection_in("contoso", OPERATOR, &world.tenant, OTHER_CLIENT);
    let apply = ["apply", "-f", "-"];
    plane.kubectl_ok_with_input(&apply, &objects.to_string()).await?;
    let spec = json!({"partnerRef": {"id": P1}, "iosOnboarded": false});
    let partner = partner_in("contoso", "jamf", spec);
    plane.kubectl_ok_with_input(&apply, &partner.to_string()).await?;
    let kubeconfig = plane.service_account_kubeconfig(OPERATOR, OPERATOR).await?;
    let kubeconfig: &Path = &kubeconfig;
    let flags = ["--watch-namespaces", "contoso", "--sync-interval", "1s"];
    let operator = Running::start(&world.simulator, Some(kubeconfig), &flags)?;
    Ok((plane, operator))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clusters_that_disagree_say_so_and_write_once_a_poll() -> anyhow::Result<()> {
    let mut world = World::new("blue-green").await?;
    world.row(P1, "Example Partner")?;
    world.connect().await?;
    other_app(&world, &[WRITE_ROLE]);
    world
        .partner("jamf", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    let (green, operator) = second_cluster(&world).await?;
    world.start_polling().await?;

    let (kind, note) = world.event("jamf", "Contested").await?;
    assert!(kind == "Warning" && note.contains("iosOnboarded"), "{kind} {note}");
    let events: Api<Event> = Api::namespaced(green.admin_client().await?, "contoso");
    wait_for("the contest in the other cluster", PATIENCE, async || {
        let all = events.list(&ListParams::default()).await?.items;
        let of = |reason: &str| {
            all.iter()
                .filter(|event| event.reason.as_deref() == Some(reason))
                .count()
        };
        ensure!(
            of("Contested") >= 1 && of("Updated") >= 3,
            "{:?}",
            (of("Contested"), of("Updated"))
        );
        Ok(())
    })
    .await?;
    operator.stop().await?;
    world.stop().await?;
    for client in [world.client_id.as_str(), OTHER_CLIENT] {
        let own = |request: &Request| request.client_id.as_deref() == Some(client) && request.is_graph();
        let requests = world.graph().requests_where(own);
        let mut listed = 0;
        for request in requests {
            if request.is_list() {
                listed += 1;
            } else if request.is_patch() {
                ensure!(listed > 0, "{client} has sent two changes in one interval");
                listed = 0;
            }
        }
    }
    Ok(())
}
