//! What the chart lets the operator do: as much as `deploy/rbac.yaml`, and no more where it watches a few namespaces.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use harness::{CLIENT_SECRET, Helm, OPERATOR, World, checkout, install_crds, yaml_documents};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::{RELEASE, chart, object, rendered};

const JAMF: &str = "aaaaaaaa-1111-4111-8111-000000000001";

/// The objects of RBAC by kind and name, each with all that decides who may do what.
fn rights(objects: &[Value]) -> BTreeMap<String, Value> {
    let decides = objects.iter().filter(|object| {
        let group = object["apiVersion"].as_str().unwrap_or_default();
        group.starts_with("rbac.")
    });
    decides
        .map(|object| {
            let name = format!("{}/{}", object["kind"], object["metadata"]["name"]);
            let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
            let aggregated: Vec<&String> = labels
                .map(|(label, _)| label)
                .filter(|label| label.contains("aggregate-to"))
                .collect();
            (
                name,
                json!([aggregated, object["rules"], object["roleRef"], object["subjects"]]),
            )
        })
        .collect()
}

/// Rule by rule, so that whatever is held of the plain manifest holds of the chart.
#[tokio::test]
async fn the_charts_roles_are_those_of_the_plain_manifest() -> Result<()> {
    let helm = Helm::alone().await?;
    let by_chart = rendered(&helm, &["--namespace", OPERATOR]).await?;
    let plain = yaml_documents(&std::fs::read_to_string(checkout().join("deploy/rbac.yaml"))?)?;
    assert_eq!(rights(&by_chart), rights(&plain));
    assert_eq!(rights(&plain).len(), 5);

    let flags = [
        "--set-json",
        r#"connections=[{"namespace":"contoso","secretName":"graph"}]"#,
    ];
    let by_chart = rendered(&helm, &flags).await?;
    let example = yaml_documents(&std::fs::read_to_string(
        checkout().join("deploy/examples/consent.yaml"),
    )?)?;
    let role = object(&by_chart, "Role").context("no Role")?;
    assert_eq!(
        Some(&role["rules"]),
        object(&example, "Role").map(|role| &role["rules"])
    );
    assert_eq!(role["metadata"]["namespace"], "contoso");
    Ok(())
}

#[tokio::test]
async fn an_operator_of_a_few_namespaces_has_the_same_rules_there_and_no_cluster_role() -> Result<()> {
    let helm = Helm::alone().await?;
    let wide = rendered(&helm, &[]).await?;
    let rules = &object(&wide, "ClusterRole/compliance-partner-operator").context("no ClusterRole")?["rules"];
    let few = rendered(&helm, &["--set", "watchNamespaces={contoso,fabrikam}"]).await?;
    for namespace in ["contoso", "fabrikam"] {
        let which = format!("Role/{namespace}/{RELEASE}");
        assert_eq!(&object(&few, &which).context(which)?["rules"], rules);
        let which = format!("RoleBinding/{namespace}/{RELEASE}");
        let binding = object(&few, &which).context(which)?;
        assert_eq!(binding["roleRef"]["kind"], "Role");
    }
    let wide_kinds = few.iter().filter(|object| {
        let kind = object["kind"].as_str().unwrap_or_default();
        kind.starts_with("ClusterRole")
    });
    assert_eq!(wide_kinds.count(), 0);
    Ok(())
}

/// Whether an account may do something, by the API server's own word; in all namespaces where none is named.
async fn may(client: &Client, account: &str, verb: &str, what: &str, namespace: &str, name: &str) -> Result<bool> {
    let (group, resource) = what.split_once('/').context("group/resource")?;
    let (resource, part) = resource.split_once('/').unwrap_or((resource, ""));
    let review: SubjectAccessReview = serde_json::from_value(json!({"spec": {
        "user": format!("system:serviceaccount:{account}"),
        "groups": ["system:serviceaccounts", "system:authenticated"],
        "resourceAttributes": {
            "namespace": namespace, "verb": verb, "group": group, "resource": resource, "subresource": part, "name": name,
        },
    }}))?;
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await?;
    Ok(answer.status.context("no answer")?.allowed)
}

/// What nobody who installs the chart hands out: lists of Secrets, and the keys of the house.
async fn nothing_that_it_should_not(client: &Client, account: &str, namespaces: &[&str]) -> Result<()> {
    for namespace in namespaces {
        for (verbs, what) in [
            (
                &["list", "watch", "create", "update", "patch", "delete"][..],
                "/secrets",
            ),
            (
                &["create", "update", "patch", "delete"],
                "apiextensions.k8s.io/customresourcedefinitions",
            ),
            (
                &["create", "update", "patch", "bind", "escalate"],
                "rbac.authorization.k8s.io/roles",
            ),
            (
                &["create", "update", "patch", "bind", "escalate"],
                "rbac.authorization.k8s.io/clusterroles",
            ),
            (
                &["create", "update", "delete"],
                "intune.msgraph.dev/compliancemanagementpartners",
            ),
            (
                &["create", "update", "patch", "delete"],
                "intune.msgraph.dev/graphconnections",
            ),
            (&["create"], "/pods"),
            (&["create"], "/serviceaccounts/token"),
            (&["impersonate"], "/serviceaccounts"),
        ] {
            for verb in verbs {
                let allowed = may(client, account, verb, what, namespace, "").await?;
                ensure!(!allowed, "{account} may {verb} {what} in {namespace:?}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_api_server_allows_what_is_meant_and_lists_secrets_to_nobody() -> Result<()> {
    let plane = install_crds().await?;
    let (helm, client) = (Helm::on(plane).await?, plane.admin_client().await?);
    for name in [
        "rights-wide",
        "rights-few",
        "rights-all",
        "rights-tenant",
        "rights-other",
    ] {
        plane.kubectl_ok(&["create", "namespace", name]).await?;
    }
    let chart = chart();
    let connections = r#"connections=[{"namespace":"rights-tenant","secretName":"graph"},{"namespace":"rights-tenant","serviceAccountName":"intune"}]"#;
    for (namespace, flags) in [
        ("rights-wide", &["--set-json", connections][..]),
        (
            "rights-few",
            &["--set-json", connections, "--set", "watchNamespaces={rights-tenant}"],
        ),
        ("rights-all", &["--set", "rbac.clusterWideSecrets=true"]),
    ] {
        let install = [
            "install",
            namespace,
            &chart,
            "--namespace",
            namespace,
            "--set",
            "crds.enabled=false",
        ];
        helm.ok(&[&install[..], &["--set", "serviceAccount.name=operator"], flags].concat())
            .await?;
    }
    for (operator, elsewhere, all_secrets) in [
        ("rights-wide", true, false),
        ("rights-few", false, false),
        ("rights-all", true, true),
    ] {
        let account = format!("{operator}:operator");
        nothing_that_it_should_not(&client, &account, &["", operator, "rights-tenant", "rights-other"]).await?;
        let may = async |verb, what, namespace, name| may(&client, &account, verb, what, namespace, name).await;
        let consented = operator != "rights-all";
        for (namespace, name, expected) in [
            ("rights-tenant", "graph", true),
            ("rights-tenant", "another", all_secrets),
            ("rights-other", "graph", all_secrets),
        ] {
            let told = format!("{operator}: {namespace}/{name}");
            assert_eq!(may("get", "/secrets", namespace, name).await?, expected, "{told}");
        }
        for (name, expected) in [("intune", consented), ("another", false)] {
            let told = format!("{operator}: {name}");
            let token = may("create", "/serviceaccounts/token", "rights-tenant", name).await?;
            assert_eq!(token, expected, "{told}");
            assert_eq!(
                may("get", "/serviceaccounts", "rights-tenant", name).await?,
                expected,
                "{told}"
            );
        }
        for (namespace, expected) in [("", elsewhere), ("rights-other", elsewhere), ("rights-tenant", true)] {
            for what in [
                "intune.msgraph.dev/compliancemanagementpartners",
                "intune.msgraph.dev/graphconnections",
            ] {
                assert_eq!(
                    may("watch", what, namespace, "").await?,
                    expected,
                    "{operator}: {namespace}"
                );
            }
        }
    }
    Ok(())
}

/// The operator by the account and the Roles of a release, and by no other right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_charts_roles_alone_a_partner_is_synced() -> Result<()> {
    let mut world = World::without_rights("chart-roles").await?;
    let helm = Helm::on(&world.plane).await?;
    let namespace = world.namespace.clone();
    let connections = json!([{"namespace": namespace, "secretName": "graph"}]);
    let install = [
        "install",
        OPERATOR,
        &chart(),
        "--namespace",
        &namespace,
        "--set",
        "crds.enabled=false",
    ];
    let watched = format!("watchNamespaces={{{namespace}}}");
    let connections = format!("connections={connections}");
    let told = helm
        .ok(&[&install[..], &["--set", &watched, "--set-json", &connections]].concat())
        .await?;
    ensure!(
        told.contains(&format!("{namespace}/graph")),
        "the notes name the consent: {told}"
    );

    world.row(JAMF, "Example Partner")?;
    world.secret("graph", json!({"client-secret": CLIENT_SECRET})).await?;
    world.connection("contoso", json!({})).await?;
    let spec = json!({"partnerRef": {"id": JAMF}, "iosOnboarded": true, "deletionPolicy": "Reset"});
    world.partner("jamf", spec).await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    assert_eq!(world.patches(), 1);
    // The finalizer goes, after its Reset.
    world
        .plane
        .kubectl_ok(&["delete", "cmp", "jamf", "-n", &namespace, "--timeout=30s"])
        .await?;
    assert_eq!(
        world.graph().row(&world.tenant, JAMF).context("the row")?["iosOnboarded"],
        false
    );
    world.stop().await
}
