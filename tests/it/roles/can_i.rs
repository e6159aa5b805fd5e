//! `kubectl auth can-i`, as somebody asks it who has installed the operator, by `deploy/` or by the chart.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};
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

const ALL_SECRETS: &str = "secrets [] [] [get]";

const EVERYWHERE: [&str; 1] = ["--all-namespaces"];

const ANY_WRITE: &[&str] = &["create", "update", "patch", "delete"];
const OF_ROLES: &[&str] = &["create", "update", "patch", "bind", "escalate"];

/// What no operator may do anywhere: verbs, and of what.
const NEVER: [(&[&str], &[&str]); 11] = [
    (&["list", "watch"], &["secrets"]),
    (ANY_WRITE, &["secrets"]),
    (&["create"], &["serviceaccounts", "--subresource=token"]),
    (&["impersonate"], &["serviceaccounts"]),
    (ANY_WRITE, &["customresourcedefinitions"]),
    (OF_ROLES, &["roles"]),
    (OF_ROLES, &["clusterroles"]),
    // Those of people: what is the operator's own of a partner is its finalizer, by a patch.
    (&["create", "update", "delete"], &["compliancemanagementpartners"]),
    (ANY_WRITE, &["graphconnections"]),
    (&["create"], &["pods"]),
    (&["*"], &["*"]),
];

/// An operator as somebody has installed it.
struct Installed {
    /// `NAMESPACE:NAME` of its account.
    account: &'static str,
    /// Whether it has its role in all namespaces, or in `contoso` alone.
    wide: bool,
    /// The ServiceAccount that `contoso` has consented to, beside the Secret `graph`; absent: neither.
    consented: Option<&'static str>,
    all_secrets: bool,
}

impl Installed {
    /// The lines of its list in a namespace.
    fn rights(&self, namespace: &str) -> BTreeSet<String> {
        let mut rights = BTreeSet::new();
        if self.wide || namespace == "contoso" {
            rights.extend(OWN.map(str::to_owned));
        }
        if self.all_secrets {
            rights.insert(ALL_SECRETS.to_owned());
        }
        if let (Some(name), "contoso") = (self.consented, namespace) {
            rights.extend([
                "secrets [] [graph] [get]".to_owned(),
                format!("serviceaccounts [] [{name}] [get]"),
                format!("serviceaccounts/token [] [{name}] [create]"),
            ]);
        }
        rights
    }

    /// Whether it may read a Secret.
    fn reads(&self, namespace: &str, secret: &str) -> bool {
        self.all_secrets || (self.consented.is_some() && (namespace, secret) == ("contoso", "graph"))
    }
}

/// By `deploy/`, and three times by the chart, which names the account of the consent unlike the Secret.
const INSTALLED: [Installed; 4] = [
    Installed {
        account: "compliance-partner-operator:compliance-partner-operator",
        wide: true,
        consented: Some("graph"),
        all_secrets: false,
    },
    Installed {
        account: "wide:operator",
        wide: true,
        consented: Some("intune"),
        all_secrets: false,
    },
    Installed {
        account: "few:operator",
        wide: false,
        consented: Some("intune"),
        all_secrets: false,
    },
    Installed {
        account: "all:operator",
        wide: true,
        consented: None,
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

/// Whether a user may do this within a namespace or all of them.
async fn can_i(plane: &ControlPlane, user: &[&str], question: &[&str], within: &[&str]) -> Result<bool> {
    let args = [&["auth", "can-i"], question, within, user].concat();
    let answer = plane.kubectl(&args).await?;
    let said = String::from_utf8_lossy(&answer.stderr);
    // kubectl asks about resources that do not exist too, where the answer is always no; but it warns.
    ensure!(!said.contains("doesn't have a resource type"), "{question:?}: {said}");
    match String::from_utf8(answer.stdout)?.trim() {
        "yes" => Ok(true),
        "no" => Ok(false),
        other => bail!("{question:?}: {other} {said}"),
    }
}

/// The questions of [`NEVER`], one by one.
fn never() -> impl Iterator<Item = Vec<&'static str>> {
    NEVER
        .into_iter()
        .flat_map(|(verbs, what)| verbs.iter().map(move |verb| [&[*verb], what].concat()))
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
    let connections = r#"connections=[{"namespace":"contoso","secretName":"graph"},{"namespace":"contoso","serviceAccountName":"intune"}]"#;
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
            assert_eq!(told, operator.rights(namespace), "{account} in {namespace}");
        }
        answers(&plane, &operator).await?;
    }
    Ok(())
}

/// What an operator is answered about all namespaces, and about single Secrets and accounts.
async fn answers(plane: &ControlPlane, operator: &Installed) -> Result<()> {
    let user = format!("--as=system:serviceaccount:{}", operator.account);
    let answered = async |question: &[&str], within: &[&str], yes: bool| -> Result<()> {
        let answer = can_i(plane, &[&user], question, within).await?;
        assert_eq!(answer, yes, "{}: {question:?} {within:?}", operator.account);
        Ok(())
    };
    for question in never() {
        answered(&question, &EVERYWHERE, false).await?;
    }
    for (question, yes) in [
        (["get", "secrets"], operator.all_secrets),
        (["watch", "compliancemanagementpartners"], operator.wide),
        (["watch", "graphconnections"], operator.wide),
        (["list", "graphconnections"], operator.wide),
    ] {
        answered(&question, &EVERYWHERE, yes).await?;
    }
    for (namespace, name) in [("contoso", "graph"), ("contoso", "another"), ("fabrikam", "graph")] {
        let yes = operator.reads(namespace, name);
        answered(&["get", &format!("secrets/{name}")], &["-n", namespace], yes).await?;
    }
    for name in ["graph", "intune", "another"] {
        let (account, yes) = (format!("serviceaccounts/{name}"), operator.consented == Some(name));
        answered(&["get", &account], &["-n", "contoso"], yes).await?;
        answered(&["create", &account, "--subresource=token"], &["-n", "contoso"], yes).await?;
    }
    Ok(())
}
