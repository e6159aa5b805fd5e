//! What users type, with the files that users are given.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail, ensure};
use graph_simulator::{App, Simulator};
use harness::{CLIENT_SECRET, ControlPlane, OPERATOR, PATIENCE, WRITE_ROLE, checkout, install_crds, wait_for};
use serde_json::Value;

use crate::binary::Running;

const TENANT: &str = "aaaabbbb-0000-cccc-1111-dddd2222eeee";
const CLIENT: &str = "00001111-aaaa-2222-bbbb-3333cccc4444";
const JAMF: &str = "d6d46d0d-6d0d-d6d4-0d6d-d4d60d6dd4d6";

/// All of its rights that the operator uses with these examples. None of them has a Reset, which takes a few more, and
/// this API server streams lists by the watch, so that none is read by pages.
const GRANTED: [(&str, &str); 7] = [
    ("watch", "compliancemanagementpartners"),
    ("watch", "graphconnections"),
    ("patch", "compliancemanagementpartners/status"),
    ("patch", "graphconnections/status"),
    ("create", "events"),
    ("get", "secrets"),
    // The published schemas, which every account may read.
    ("get", ""),
];

fn file(name: &str) -> String {
    checkout().join("deploy").join(name).display().to_string()
}

/// Applies the examples as `words` say, waits as a user does, and finds nothing left to apply.
async fn apply(plane: &ControlPlane, words: &[&str]) -> anyhow::Result<()> {
    let examples = file("examples");
    let with = |verb: &'static str| [&[verb, "-f", examples.as_str()][..], words].concat();
    plane.kubectl_ok(&with("apply")).await?;
    let wait = [
        "wait",
        "cmp,gconn",
        "--all",
        "-n",
        "contoso",
        "--for=condition=Ready",
        "--timeout=20s",
    ];
    plane.kubectl_ok(&wait).await?;
    let diff = plane.kubectl(&with("diff")).await?;
    ensure!(
        diff.status.code() == Some(0),
        "kubectl diff: {}",
        String::from_utf8_lossy(&diff.stdout)
    );
    let again = plane.kubectl_ok(&with("apply")).await?;
    let done = if words.is_empty() {
        " unchanged"
    } else {
        " serverside-applied"
    };
    ensure!(again.lines().all(|line| line.ends_with(done)), "{again}");
    Ok(())
}

async fn generations(plane: &ControlPlane) -> anyhow::Result<String> {
    let path = "jsonpath={range .items[*]}{.metadata.name} {.metadata.generation} {.metadata.finalizers}{\"\\n\"}{end}";
    plane
        .kubectl_ok(&["get", "cmp,gconn", "-n", "contoso", "-o", path])
        .await
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_are_applied_waited_for_and_shown() -> anyhow::Result<()> {
    let plane = install_crds().await?;
    let simulator = Simulator::start(graph_simulator::Options::default())?;
    let graph = simulator.control();
    graph.add_app(TENANT, CLIENT, App::with_secret(CLIENT_SECRET).roles([WRITE_ROLE]));
    graph.seed_row(TENANT, graph.base_row(JAMF, "Jamf Device Compliance"))?;
    graph.seed_row(TENANT, graph.base_row("fleet", "Fleet"))?;
    plane
        .kubectl_ok(&["apply", "-f", &file("namespace.yaml"), "-f", &file("rbac.yaml")])
        .await?;
    plane.kubectl_ok(&["create", "namespace", "contoso"]).await?;
    let literal = format!("--from-literal=client-secret={CLIENT_SECRET}");
    plane
        .kubectl_ok(&["create", "secret", "generic", "graph", "-n", "contoso", &literal])
        .await?;
    let position = plane.audit_position()?;
    let kubeconfig = plane.service_account_kubeconfig(OPERATOR, OPERATOR).await?;
    let operator = Running::start(&simulator, Some(&kubeconfig), &["--watch-namespaces", "contoso"])?;
    operator.answers("/readyz", 200, PATIENCE).await?;

    apply(plane, &[]).await?;
    assert_eq!(graph.row(TENANT, JAMF).unwrap()["iosOnboarded"], true);
    // Nothing but status was written: no defaults, no finalizers, no second generation.
    assert_eq!(generations(plane).await?, "fleet 1 \njamf 1 \ncontoso 1 \n");
    shown(plane).await?;

    plane
        .kubectl_ok(&["delete", "cmp,gconn", "--all", "-n", "contoso"])
        .await?;
    apply(plane, &["--server-side"]).await?;
    assert_eq!(generations(plane).await?, "fleet 1 \njamf 1 \ncontoso 1 \n");
    operator.stop().await?;

    let used = used(plane, position)?;
    let granted: BTreeSet<(String, String)> = GRANTED
        .iter()
        .map(|(verb, what)| ((*verb).to_owned(), (*what).to_owned()))
        .collect();
    let beyond: Vec<_> = used.difference(&granted).collect();
    assert!(beyond.is_empty(), "{beyond:?}");
    let idle: Vec<_> = granted.difference(&used).collect();
    assert!(idle.is_empty(), "granted and of no use: {idle:?}");
    Ok(())
}

/// What `kubectl get` shows.
async fn shown(plane: &ControlPlane) -> anyhow::Result<()> {
    let table = plane.kubectl_ok(&["get", "cmp", "-n", "contoso"]).await?;
    let mut lines = table.lines();
    assert_eq!(
        words(lines.next().context("a header")?),
        ["NAME", "READY", "STATE", "HEARTBEAT", "SYNCED", "AGE"]
    );
    let rows: Vec<Vec<&str>> = lines.map(words).collect();
    ensure!(rows.len() == 2, "{table}");
    for (row, synced) in rows.iter().zip([("fleet", "False"), ("jamf", "True")]) {
        let [name, ready, state, _, is_synced, _] = row.as_slice() else {
            bail!("{table}")
        };
        assert_eq!(
            (*name, *ready, *state, *is_synced),
            (synced.0, "True", "enabled", synced.1),
            "{table}"
        );
    }
    let wide = plane
        .kubectl_ok(&["get", "cmp", "jamf", "-n", "contoso", "-o", "wide"])
        .await?;
    let header = words(wide.lines().next().context("a header")?);
    assert!(header.ends_with(&["CONNECTION", "REASON", "ID"]), "{wide}");
    assert!(wide.trim_end().ends_with(JAMF) && wide.contains("InSync"), "{wide}");
    let table = plane.kubectl_ok(&["get", "gconn", "-n", "contoso"]).await?;
    assert_eq!(
        words(table.lines().next().context("a header")?),
        ["NAME", "READY", "REASON", "TENANT", "AGE"]
    );
    assert!(table.contains("Connected") && table.contains(TENANT), "{table}");
    let both = plane
        .kubectl_ok(&["get", "intune", "-n", "contoso", "-o", "name"])
        .await?;
    assert_eq!(both.lines().count(), 3, "{both}");
    let chosen = ["get", "cmp", "-n", "contoso", "-o", "name", "--field-selector"];
    let by_id = format!("spec.partnerRef.id={JAMF},spec.connectionRef.name=contoso");
    let chosen = plane.kubectl_ok(&[&chosen[..], &[by_id.as_str()]].concat()).await?;
    assert_eq!(chosen.lines().count(), 1, "{chosen}");
    wait_for("the event in kubectl describe", PATIENCE, async || {
        let described = plane.kubectl_ok(&["describe", "cmp", "jamf", "-n", "contoso"]).await?;
        ensure!(
            described.contains("Updated") && described.contains("iosOnboarded"),
            "{described}"
        );
        Ok(())
    })
    .await
}

/// What the operator has asked of the API server; nothing of it was refused.
fn used(plane: &ControlPlane, position: u64) -> anyhow::Result<BTreeSet<(String, String)>> {
    let account = format!("system:serviceaccount:{OPERATOR}:{OPERATOR}");
    let mut used = BTreeSet::new();
    for event in plane.audit_events_since(position)? {
        let word = |path: &str| {
            event
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        if word("/user/username") != account {
            continue;
        }
        // Before the consent is applied, the Secret is refused; a resource may go while its status is on its way.
        let code = event
            .pointer("/responseStatus/code")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        let (verb, mut what) = (word("/verb"), word("/objectRef/resource"));
        let excused = code == 404 || (what == "secrets" && code == 403);
        ensure!(code < 400 || excused, "{event:#}");
        ensure!(what != "secrets" || word("/objectRef/name") == "graph", "{event:#}");
        // Who am I? Everybody may ask that.
        if what == "selfsubjectreviews" {
            continue;
        }
        let part = word("/objectRef/subresource");
        if !part.is_empty() {
            what = format!("{what}/{part}");
        }
        used.insert((verb, what));
    }
    Ok(used)
}
