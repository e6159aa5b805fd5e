//! Who shares an installation: one tenant's trouble, and one namespace's credential, are nobody else's.

// Indexing JSON is lenient: what is not there is null.
#![allow(clippy::indexing_slicing)]

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use compliance_partner_operator::api::{ComplianceManagementPartner, GraphConnection};
use graph_simulator::{App, Options, Request, Script};
use harness::{CLIENT_SECRET, OPERATOR, P1, PATIENCE, WRITE_ROLE, World, wait_for};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};

use crate::history::at;

/// What a second namespace has of its own: the same tenant and app, and a secret that is none.
async fn intrude(world: &World, namespace: &str) -> anyhow::Result<()> {
    let here = Some(namespace);
    let object = |kind: &str, spec: Value| {
        json!({
            "apiVersion": "intune.msgraph.dev/v1alpha1", "kind": kind,
            "metadata": {"name": "contoso", "namespace": namespace}, "spec": spec,
        })
    };
    let secret = json!({"metadata": {"name": "graph"}, "stringData": {"client-secret": "guessed"}});
    let secrets: Api<Secret> = Api::namespaced(world.admin.clone(), namespace);
    secrets
        .create(&PostParams::default(), &serde_json::from_value(secret)?)
        .await?;
    let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["graph"], "verbs": ["get"]}]);
    world
        .create::<Role>(here, json!({"metadata": {"name": "consent"}, "rules": rules}))
        .await?;
    let binding = json!({
        "metadata": {"name": "consent"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "consent"},
        "subjects": [{"kind": "ServiceAccount", "name": OPERATOR, "namespace": world.operator_namespace}],
    });
    world.create::<RoleBinding>(here, binding).await?;
    let auth = json!({"clientSecret": {"secretRef": {"name": "graph"}}});
    let spec = json!({"tenantId": world.tenant, "clientId": world.client_id, "auth": auth});
    let connection = object("GraphConnection", spec);
    let create = ["create", "-f", "-"];
    world
        .plane
        .kubectl_ok_with_input(&create, &connection.to_string())
        .await?;
    for (name, reference) in [
        ("by-id", json!({"id": P1})),
        ("by-name", json!({"displayName": "Example Partner"})),
    ] {
        let spec = json!({"connectionRef": {"name": "contoso"}, "partnerRef": reference, "iosOnboarded": false});
        let mut partner = object("ComplianceManagementPartner", spec);
        partner["metadata"]["name"] = json!(name);
        world.plane.kubectl_ok_with_input(&create, &partner.to_string()).await?;
    }
    Ok(())
}

/// Nothing of the tenant is told in a namespace, in whatever field, message or event.
async fn nothing_is_told_in(world: &World, namespace: &str) -> anyhow::Result<()> {
    let connections: Api<GraphConnection> = Api::namespaced(world.admin.clone(), namespace);
    let partners: Api<ComplianceManagementPartner> = Api::namespaced(world.admin.clone(), namespace);
    let events: Api<Event> = Api::namespaced(world.admin.clone(), namespace);
    let everything = ListParams::default();
    let all = json!([
        connections.list(&everything).await?.items,
        partners.list(&everything).await?.items,
        events.list(&everything).await?.items,
    ]);
    let lists = all.as_array().into_iter().flatten().filter_map(Value::as_array);
    for object in lists.flatten() {
        let told = format!("{} {} {}", object["status"], object["note"], object["reason"]);
        for word in [
            "Example Partner",
            "jamf",
            WRITE_ROLE,
            "InSync",
            "Connected",
            "PartnerConflict",
            "\"enabled\"",
        ] {
            ensure!(!told.contains(word), "{word} in {told}");
        }
        for field in [
            "partnerId",
            "partnerState",
            "displayName",
            "partners",
            "roles",
            "drift",
            "platforms",
        ] {
            ensure!(object["status"][field].is_null(), "{field} in {told}");
        }
    }
    Ok(())
}

/// The digest of the secret that a token request carried.
fn secret_of(request: &Request) -> Option<String> {
    let body = request.body.as_ref()?;
    body["client_secret"].as_str().map(str::to_owned)
}

/// Each request to Graph went out by a token that was got with the secret of this digest, and no other secret got one.
fn only_one_secret_has_served(world: &World, right: &str) -> anyhow::Result<()> {
    let requests = world.graph().requests();
    let exchanges = requests.iter().filter(|request| request.is_token());
    let (by_right, by_wrong): (Vec<&Request>, Vec<&Request>) =
        exchanges.partition(|request| secret_of(request).as_deref() == Some(right));
    ensure!(!by_wrong.is_empty(), "no other secret was ever sent");
    for request in by_wrong {
        ensure!(
            request.status != Some(200) && request.issued_token.is_none(),
            "{request:#?}"
        );
    }
    let issued: BTreeSet<u64> = by_right.iter().filter_map(|request| request.issued_token).collect();
    for request in requests.iter().filter(|request| request.is_graph()) {
        let by_issued = request.token.is_some_and(|token| issued.contains(&token));
        ensure!(by_issued && request.status != Some(401), "{issued:?}: {request:#?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_with_the_same_ids_and_a_wrong_secret_sees_nothing() -> anyhow::Result<()> {
    let mut world = World::with_partner("first", Options::default()).await?;
    let second = world.second_namespace().await?;
    let mut config = world.config();
    config.watch_namespaces.push(second.clone());
    config.timing.sync_interval = std::time::Duration::from_secs(1);
    world.start_with(config).await?;
    world.in_sync("jamf").await?;
    let tokens = world.graph().requests_where(Request::is_token);
    let right = tokens.first().and_then(secret_of).context("no secret was sent")?;
    intrude(&world, &second).await?;

    let connections: Api<GraphConnection> = Api::namespaced(world.admin.clone(), &second);
    let partners: Api<ComplianceManagementPartner> = Api::namespaced(world.admin.clone(), &second);
    let refused = async || {
        wait_for("a connection that is refused, and its partners", PATIENCE, async || {
            let connection = connections.get("contoso").await?;
            let reason = at(&connection, "/status/conditions/0/reason");
            ensure!(reason == "CredentialsRejected", "{reason}");
            for name in ["by-id", "by-name"] {
                let reason = at(&partners.get(name).await?, "/status/conditions/0/reason");
                ensure!(reason == "ConnectionNotReady", "{name}: {reason}");
            }
            Ok(())
        })
        .await
    };
    refused().await?;
    // The first one's session lists and writes on beside it.
    for round in 0..2 {
        let seen = world.graph().last_seq();
        world
            .graph()
            .change_row(&world.tenant, P1, json!({"iosOnboarded": false}))?;
        let corrected = move |request: &Request| request.seq > seen && request.is_patch() && request.status.is_some();
        world.graph().wait_for_requests(corrected, 1, PATIENCE).await?;
        world.ask("gconn/contoso", &format!("round {round}")).await?;
        world
            .connection_asked_in(&second, "contoso", &format!("round-{round}"))
            .await?;
    }
    refused().await?;
    nothing_is_told_in(&world, &second).await?;
    only_one_secret_has_served(&world, &right)?;
    assert_eq!(
        world.graph().row(&world.tenant, P1).unwrap_or_default()["iosOnboarded"],
        true
    );
    world.in_sync("jamf").await?;
    world.stop().await
}

/// A tenant of its own with so many rows, a connection of that name, and a partner for each row.
async fn tenant(world: &World, name: &str, number: usize, rows: usize, spec: &Value) -> anyhow::Result<String> {
    let tenant = format!("dddddddd-4444-4444-8444-{number:012x}");
    let app = App::with_secret(CLIENT_SECRET).roles([WRITE_ROLE]);
    world.graph().add_app(&tenant, &world.client_id, app);
    world.connection(name, json!({"tenantId": tenant})).await?;
    for row in 0..rows {
        let id = format!("row-{row:03}");
        let seeded = world.graph().base_row(&id, &format!("Partner {row}"));
        world.graph().seed_row(&tenant, seeded)?;
        let mut spec = spec.clone();
        spec["connectionRef"] = json!({"name": name});
        spec["partnerRef"] = json!({"id": id});
        world.partner(&format!("{name}-{row}"), spec).await?;
    }
    Ok(tenant)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_that_accept_and_never_answer_delay_no_edit_of_another_one() -> anyhow::Result<()> {
    let mut world = World::new("hanging").await?;
    world.connect().await?;
    let set = |value: bool| json!({"iosOnboarded": value});
    let hangs = tenant(&world, "hangs", 0, 24, &set(false)).await?;
    let silent = tenant(&world, "silent", 1, 8, &set(true)).await?;
    let lives = tenant(&world, "lives", 2, 4, &set(false)).await?;
    // Of one tenant Entra never answers.
    world.graph().script(Script::entra().tenant(&silent).hang());
    let mut config = world.config();
    // Long enough for all that goes on beside them, and over by the end of this test.
    config.timing.request = std::time::Duration::from_secs(15);
    world.start_with(config).await?;
    for number in 0..24 {
        world.in_sync(&format!("hangs-{number}")).await?;
    }
    for number in 0..4 {
        world.in_sync(&format!("lives-{number}")).await?;
    }
    world.graph().script(Script::graph().tenant(&hangs).hang());
    let on_their_way = |tenant: &str, graph: bool| {
        world.graph().count(|request| {
            let open = request.status.is_none() && !request.aborted;
            open && request.tenant.as_deref() == Some(tenant) && request.is_graph() == graph
        })
    };
    for number in 0..24 {
        let mut spec = set(true);
        spec["connectionRef"] = json!({"name": "hangs"});
        spec["partnerRef"] = json!({"id": format!("row-{number:03}")});
        world.partner(&format!("hangs-{number}"), spec).await?;
    }
    for value in [true, false, true] {
        wait_for("as many that hang as may", PATIENCE, async || {
            let (graph, entra) = (on_their_way(&hangs, true), on_their_way(&silent, false));
            ensure!((graph, entra) == (4, 1), "{graph} and {entra}");
            Ok(())
        })
        .await?;
        for number in 0..4 {
            let mut spec = set(value);
            spec["connectionRef"] = json!({"name": "lives"});
            spec["partnerRef"] = json!({"id": format!("row-{number:03}")});
            world.partner(&format!("lives-{number}"), spec).await?;
        }
        for number in 0..4 {
            world.in_sync(&format!("lives-{number}")).await?;
            let row = world
                .graph()
                .row(&lives, &format!("row-{number:03}"))
                .unwrap_or_default();
            assert_eq!(row["iosOnboarded"], value);
        }
    }
    // There were never more than four on their way to the tenant that hangs, and one to the Entra that does.
    ensure!(on_their_way(&hangs, true) <= 4 && on_their_way(&silent, false) <= 1);
    world.graph().clear_scripts();
    world.stop().await
}
