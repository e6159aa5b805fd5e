//! Who may do what, by `deploy/rbac.yaml` and the cluster's own roles view, edit and admin.

mod can_i;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::{ControlPlane, OPERATOR, Options, checkout, wait_for};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;

const NAMESPACE: &str = "contoso";
const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// Whether a user may do something in the namespace, by the API server's own word.
async fn may(client: &Client, user: &str, verb: &str, group: &str, resource: &str, name: &str) -> Result<bool> {
    let (resource, part) = resource.split_once('/').unwrap_or((resource, ""));
    let review: SubjectAccessReview = serde_json::from_value(json!({
        "spec": {
            "user": user,
            "resourceAttributes": {
                "namespace": NAMESPACE, "verb": verb, "group": group, "resource": resource, "subresource": part,
                "name": name,
            },
        },
    }))?;
    let answer = Api::<SubjectAccessReview>::all(client.clone())
        .create(&PostParams::default(), &review)
        .await?;
    Ok(answer.status.context("no answer")?.allowed)
}

/// A control plane with `deploy/` applied, whose own roles have taken ours up.
async fn plane() -> Result<ControlPlane> {
    let plane = ControlPlane::start(Options {
        controller_manager: true,
        ..Options::default()
    })
    .await?;
    plane.apply_crds().await?;
    plane.kubectl_ok(&["create", "namespace", NAMESPACE]).await?;
    for file in ["namespace.yaml", "rbac.yaml", "examples/consent.yaml"] {
        let file = checkout().join("deploy").join(file).display().to_string();
        plane.kubectl_ok(&["apply", "--filename", &file]).await?;
    }
    let cluster: Api<ClusterRole> = Api::all(plane.admin_client().await?);
    for (role, resources) in [("view", 2), ("edit", 3), ("admin", 4)] {
        wait_for(&format!("our rules in {role}"), Duration::from_secs(30), async || {
            let rules = cluster.get(role).await?.rules.unwrap_or_default();
            let ours = rules
                .iter()
                .filter(|rule| {
                    rule.api_groups
                        .iter()
                        .flatten()
                        .any(|group| group == "intune.msgraph.dev")
                })
                .flat_map(|rule| rule.resources.iter().flatten());
            ensure!(ours.count() == resources, "{rules:?}");
            Ok(())
        })
        .await?;
        let (binding, user) = (format!("a-{role}"), format!("--user=a-{role}"));
        let role = format!("--clusterrole={role}");
        plane
            .kubectl_ok(&[
                "create",
                "rolebinding",
                &binding,
                &role,
                &user,
                "--namespace",
                NAMESPACE,
            ])
            .await?;
    }
    Ok(plane)
}

#[tokio::test]
async fn view_reads_edit_writes_partners_and_only_admin_writes_connections() -> Result<()> {
    let plane = plane().await?;
    let client = plane.admin_client().await?;
    let group = "intune.msgraph.dev";
    let (partners, connections) = ("compliancemanagementpartners", "graphconnections");
    for (user, writes) in [
        ("a-view", &[][..]),
        ("a-edit", &[partners]),
        ("a-admin", &[partners, connections]),
        ("nobody", &[]),
    ] {
        for resource in [partners, connections] {
            for verb in READ {
                let allowed = may(&client, user, verb, group, resource, "").await?;
                assert_eq!(allowed, user != "nobody", "{user} {verb} {resource}");
            }
            for verb in WRITE {
                let allowed = may(&client, user, verb, group, resource, "").await?;
                assert_eq!(allowed, writes.contains(&resource), "{user} {verb} {resource}");
                // What is in status is the operator's word.
                let status = format!("{resource}/status");
                ensure!(
                    !may(&client, user, verb, group, &status, "").await?,
                    "{user} {verb} {status}"
                );
            }
        }
    }

    // The operator: nothing of Secrets and tokens, but for the one Secret that a namespace has named.
    let operator = format!("system:serviceaccount:{OPERATOR}:{OPERATOR}");
    let operator_may = async |verb, group, resource, name| may(&client, &operator, verb, group, resource, name).await;
    for verb in READ.into_iter().chain(WRITE) {
        for name in ["", "another"] {
            ensure!(
                !operator_may(verb, "", "secrets", name).await?,
                "{verb} of a Secret {name:?}"
            );
            ensure!(
                !operator_may(verb, "", "serviceaccounts", name).await?,
                "{verb} of a ServiceAccount"
            );
        }
        assert_eq!(
            operator_may(verb, "", "secrets", "graph").await?,
            verb == "get",
            "{verb} of the Secret"
        );
    }
    ensure!(
        !operator_may("create", "", "serviceaccounts/token", "graph").await?,
        "a token"
    );
    for resource in [partners, connections] {
        for verb in ["list", "watch"] {
            ensure!(operator_may(verb, group, resource, "").await?, "{verb} {resource}");
        }
        for verb in ["create", "update", "delete", "deletecollection"] {
            ensure!(!operator_may(verb, group, resource, "").await?, "{verb} {resource}");
        }
        let status = format!("{resource}/status");
        ensure!(may(&client, &operator, "patch", group, &status, "").await?, "{status}");
    }
    Ok(())
}
