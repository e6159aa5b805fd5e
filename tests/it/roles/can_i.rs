//! `kubectl auth can-i`, as somebody asks it who has installed the operator, by `deploy/` or by the chart.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use harness::{ControlPlane, Helm, Options, checkout};

/// Its own role, as `kubectl auth can-i --list` shows it: resource, path, names and verbs.
const OWN: [&str; 6] = [
    "compliancemanagementpartners.intune.msgraph.dev [] [] [list watch patch]",
    "compliancemanagementpartners.intune.msgraph.dev/status [] [] [patch]",
    "events.events.k8s.io [] [] [create]",
    "graphconnections.intune.msgraph.dev [] [] [list watch get]",
    "graphconnections.intune.msgraph.dev/status [] [] [patch]",
    "namespaces [] [] [get]",
];

/// The consent of the namespace `contoso`.
const CONSENT: [&str; 3] = [
    "secrets [] [graph] [get]",
    "serviceaccounts [] [graph] [get]",
    "serviceaccounts/token [] [graph] [create]",
];

const ALL_SECRETS: [&str; 1] = ["secrets [] [] [get]"];

/// What no operator may do anywhere.
const NEVER: [&[&str]; 13] = [
    &["list", "secrets"],
    &["watch", "secrets"],
    &["update", "secrets"],
    &["create", "serviceaccounts", "--subresource=token"],
    &["impersonate", "serviceaccounts"],
    &["create", "customresourcedefinitions"],
    &["update", "customresourcedefinitions"],
    &["patch", "customresourcedefinitions"],
    &["delete", "customresourcedefinitions"],
    &["bind", "clusterroles"],
    &["escalate", "clusterroles"],
    &["create", "pods"],
    &["*", "*"],
];

/// An operator as somebody has installed it.
struct Installed {
    /// `NAMESPACE:NAME` of its account.
    account: &'static str,
    /// Whether it has its role in all namespaces, or in `contoso` alone.
    wide: bool,
    /// What it may do in `contoso` beside that.
    consent: &'static [&'static str],
    all_secrets: bool,
}

impl Installed {
    fn rights(&self, namespace: &str) -> BTreeSet<&'static str> {
        let mut rights = BTreeSet::new();
        if self.wide || namespace == "contoso" {
            rights.extend(OWN);
        }
        if self.all_secrets {
            rights.extend(ALL_SECRETS);
        }
        if namespace == "contoso" {
            rights.extend(self.consent);
        }
        rights
    }
}

const INSTALLED: [Installed; 4] = [
    Installed {
        account: "compliance-partner-operator:compliance-partner-operator",
        wide: true,
        consent: &CONSENT,
        all_secrets: false,
    },
    Installed {
        account: "wide:operator",
        wide: true,
        consent: &CONSENT,
        all_secrets: false,
    },
    Installed {
        account: "few:operator",
        wide: false,
        consent: &CONSENT,
        all_secrets: false,
    },
    Installed {
        account: "all:operator",
        wide: true,
        consent: &[],
        all_secrets: true,
    },
];

/// A line of the list for each thing that an account may do in a namespace.
async fn list(plane: &ControlPlane, account: &str, namespace: &str) -> Result<BTreeSet<String>> {
    let account = format!("--as=system:serviceaccount:{account}");
    let args = ["auth", "can-i", "--list", "--no-headers", "-n", namespace, &account];
    let told = plane.kubectl_ok(&args).await?;
    let lines = told
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    Ok(lines.collect())
}

/// The answer in all namespaces.
async fn can_i(plane: &ControlPlane, account: &str, question: &[&str]) -> Result<String> {
    let account = format!("--as=system:serviceaccount:{account}");
    let args = [&["auth", "can-i"], question, &["--all-namespaces", &account]].concat();
    let answer = plane.kubectl(&args).await?;
    Ok(String::from_utf8(answer.stdout)?.trim().to_owned())
}

async fn install(plane: &ControlPlane) -> Result<()> {
    let file = |name: &str| checkout().join("deploy").join(name).display().to_string();
    for namespace in ["contoso", "fabrikam"] {
        plane.kubectl_ok(&["create", "namespace", namespace]).await?;
    }
    for name in [
        "namespace.yaml",
        "rbac.yaml",
        "examples/consent.yaml",
        "examples/workload-identity/connection.yaml",
    ] {
        plane.kubectl_ok(&["apply", "--filename", &file(name)]).await?;
    }
    let (helm, chart) = (Helm::on(plane).await?, file("chart"));
    let connections = r#"connections=[{"namespace":"contoso","secretName":"graph"},{"namespace":"contoso","serviceAccountName":"graph"}]"#;
    for (namespace, flags) in [
        ("wide", &["--set-json", connections][..]),
        (
            "few",
            &["--set-json", connections, "--set", "watchNamespaces={contoso}"],
        ),
        ("all", &["--set", "rbac.clusterWideSecrets=true"]),
    ] {
        let release = [
            "install",
            namespace,
            &chart,
            "--namespace",
            namespace,
            "--create-namespace",
        ];
        let names = ["--set", "crds.enabled=false", "--set", "serviceAccount.name=operator"];
        helm.ok(&[&release[..], &names, flags].concat()).await?;
    }
    Ok(())
}

/// Each of them, and each whole list. Of what every account may do, nothing counts that was there before.
#[tokio::test]
async fn can_i_tells_an_operator_what_is_meant_and_nothing_else() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    plane.apply_crds().await?;
    let everybodys = list(&plane, "default:nobody", "default").await?;
    ensure!(
        everybodys.iter().all(|line| !line.contains("secrets")),
        "{everybodys:?}"
    );
    install(&plane).await?;
    assert_eq!(list(&plane, "default:nobody", "contoso").await?, everybodys);

    for operator in INSTALLED {
        let account = operator.account;
        let home = account.split(':').next().unwrap_or_default();
        for namespace in ["contoso", "fabrikam", "kube-system", home] {
            let mut told = list(&plane, account, namespace).await?;
            told.retain(|line| !everybodys.contains(line));
            let told: BTreeSet<&str> = told.iter().map(String::as_str).collect();
            assert_eq!(told, operator.rights(namespace), "{account} in {namespace}");
        }
        for question in NEVER {
            assert_eq!(can_i(&plane, account, question).await?, "no", "{account}: {question:?}");
        }
        for (question, yes) in [
            (["get", "secrets"], operator.all_secrets),
            (["watch", "compliancemanagementpartners"], operator.wide),
            (["list", "graphconnections"], operator.wide),
        ] {
            let answer = if yes { "yes" } else { "no" };
            assert_eq!(
                can_i(&plane, account, &question).await?,
                answer,
                "{account}: {question:?}"
            );
        }
    }
    Ok(())
}
