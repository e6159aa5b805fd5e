//! `make demo`: one partner is synced before the reader's eyes, with the harness of the tests: a real API server, a
//! simulator of Graph and Entra, and the operator as a process of its own, with the rights that `deploy/` gives it.
//!
//! It ends by itself and leaves nothing running. `HOLD=1` keeps all up after the last step, until ctrl-c.

#[path = "demo/stage.rs"]
mod stage;

use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use harness::{ControlPlane, Interrupt, Options, PATIENCE, Story, tell, wait_for};
use serde_json::{Value, json};

use stage::{Stage, Tenant, ago};

/// The namespace of `deploy/examples`.
const NAMESPACE: &str = "contoso";

/// The partner of `deploy/examples/partner.yaml`.
const PARTNER: &str = "jamf";

/// How long kubectl waits for what happens within a second or two on an idle machine.
const KUBECTL_PATIENCE: &str = "--timeout=60s";

/// A partner that is wrong in two ways that a schema can see.
const WRONG: &str = "
apiVersion: intune.msgraph.dev/v1alpha1
kind: ComplianceManagementPartner
metadata: { name: wrong, namespace: contoso }
spec:
  connectionRef: { name: contoso }
  partnerRef: { id: d6d46d0d-6d0d-d6d4-0d6d-d4d60d6dd4d6 }
  syncInterval: 5s
  iosEnrollmentAssignments:
    - target: { type: Group }
";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let hold = std::env::var("HOLD").is_ok_and(|hold| !hold.is_empty() && hold != "0");
    match demonstrate(hold).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\ndemo: failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The whole of it. All that was started goes with what is dropped here, however this ends.
async fn demonstrate(hold: bool) -> Result<ExitCode> {
    // Paths in the commands that are shown are those of the README.
    std::env::set_current_dir(harness::checkout()).context("the checkout is gone")?;
    let mut interrupt = Interrupt::new()?;
    let story = Story::begin();
    let stage = tokio::select! {
        stage = play(&story) => stage?,
        () = interrupt.received() => {
            story.step("Interrupted: nothing is left running");
            return Ok(ExitCode::from(130));
        }
    };
    if hold {
        stage.invite();
        tokio::select! {
            failure = stage.operator_ends() => bail!("{failure}"),
            () = interrupt.received() => {}
        }
    }
    stage.close().await?;
    Ok(ExitCode::SUCCESS)
}

/// Prepares the stage and plays every scene on it.
async fn play(story: &Story) -> Result<Stage<'_>> {
    let (plane, tenant) = prepare(story).await?;
    let stage = Stage::set(story, plane, tenant).await?;
    let scenes = async {
        sync(&stage).await.context("the first sync")?;
        drift(&stage)
            .await
            .context("the correction of a change in the portal")?;
        silence(&stage).await.context("the partner that stops responding")
    };
    let outcome = tokio::select! {
        outcome = scenes => outcome.map_err(|error| anyhow!("{error:#}\n{}", stage.operator.log_tail(25))),
        failure = stage.operator_ends() => Err(failure),
    };
    outcome.map(|()| stage)
}

/// A cluster with the operator's kinds and rights; one bad resource shows what the schema is good for.
async fn prepare(story: &Story) -> Result<(ControlPlane, Tenant)> {
    let plane = ControlPlane::start(Options::default())
        .await
        .context("the control plane does not start")?;
    let version: Value = serde_json::from_str(&plane.kubectl_ok(&["version", "--output=json"]).await?)?;
    let version = version.pointer("/serverVersion/gitVersion").and_then(Value::as_str);
    story.step(&format!(
        "A Kubernetes API server is up: {}",
        version.unwrap_or("of unknown version")
    ));

    let parts = [
        "apply",
        "-f",
        "crds/",
        "-f",
        "deploy/namespace.yaml",
        "-f",
        "deploy/rbac.yaml",
    ];
    let installed = kubectl(&plane, &parts).await?;
    plane.until_established(&harness::CRD_NAMES).await?;
    plane.kubectl_ok(&["create", "namespace", NAMESPACE]).await?;
    story.step("The operator's kinds and rights are installed");
    tell(&installed);

    // A kind is listed a moment after it is established.
    wait_for("both kinds", PATIENCE, async || {
        plane.kubectl_ok(&["get", "cmp,gconn"]).await
    })
    .await?;
    let refused = plane.kubectl_with_input(&["create", "-f", "-"], WRONG).await?;
    ensure!(!refused.status.success(), "the API server took a wrong resource");
    let refusal = String::from_utf8_lossy(&refused.stderr);
    ensure!(
        refusal.contains("groupId is required"),
        "a wrong resource was refused for another reason: {refusal}"
    );
    story.step("A wrong resource (a Group without its id, a syncInterval of 5s) is refused by the API server");
    tell(&refusal);

    let tenant = Tenant::of_examples(&plane).await?;
    Ok((plane, tenant))
}

/// The resource turns Ready, and Graph has been sent what differed.
async fn sync(stage: &Stage<'_>) -> Result<()> {
    let Stage {
        story, plane, tenant, ..
    } = stage;
    let secret = format!("--from-literal=client-secret={}", tenant.secret);
    plane
        .kubectl_ok(&["-n", NAMESPACE, "create", "secret", "generic", "graph", &secret])
        .await?;
    let examples = [
        "apply",
        "-f",
        "deploy/examples/consent.yaml",
        "-f",
        "deploy/examples/connection.yaml",
        "-f",
        "deploy/examples/partner.yaml",
    ];
    let applied = kubectl(plane, &examples).await?;
    story.step("Someone creates the Secret and applies a consent, a connection and a partner");
    tell(&applied);

    let both = [
        "-n",
        NAMESPACE,
        "wait",
        "--for=condition=Ready",
        "gconn/contoso",
        "cmp/jamf",
        KUBECTL_PATIENCE,
    ];
    let ready = kubectl(plane, &both).await?;
    story.step("Both are Ready");
    tell(&ready);
    tell(&kubectl(plane, &["-n", NAMESPACE, "get", "gconn"]).await?);
    tell(&kubectl(plane, &["-n", NAMESPACE, "get", "cmp"]).await?);

    let patch = stage.patch(1).await?;
    stage.event("Updated", "edited").await?;
    story.step("Graph has received one change: what differed, and no more");
    tell(&patch);
    tell(&stage.events().await?);
    Ok(())
}

/// A change in the portal is corrected by the next poll.
async fn drift(stage: &Stage<'_>) -> Result<()> {
    let Stage { story, tenant, .. } = stage;
    let change = json!({"iosOnboarded": false});
    stage.graph().change_row(&tenant.id, &tenant.partner, change.clone())?;
    story.step("Somebody changes the partner in the portal");
    tell(&change.to_string());

    let patch = stage.patch(2).await?;
    stage.event("Updated", "drift").await?;
    story.step("The next poll has seen it and put it right");
    tell(&patch);
    tell(&stage.events().await?);
    Ok(())
}

/// The partner goes unresponsive: conditions of their own tell, and Ready stays what it is.
async fn silence(stage: &Stage<'_>) -> Result<()> {
    let Stage {
        story, plane, tenant, ..
    } = stage;
    let change = json!({"partnerState": "unresponsive", "lastHeartbeatDateTime": ago(5 * 24)?});
    stage.graph().change_row(&tenant.id, &tenant.partner, change.clone())?;
    story.step("The partner's service stops responding");
    tell(&change.to_string());

    for condition in ["PartnerEnabled", "HeartbeatFresh"] {
        let condition = format!("--for=condition={condition}=False");
        plane
            .kubectl_ok(&["-n", NAMESPACE, "wait", &condition, "cmp/jamf", KUBECTL_PATIENCE])
            .await?;
    }
    stage.event("HeartbeatStale", "").await?;
    story.step("Its conditions say so, while Ready goes on to say that Graph is as spec wants it");
    tell(&kubectl(plane, &["-n", NAMESPACE, "get", "cmp"]).await?);
    let each = r#"jsonpath={range .status.conditions[*]}{.type}={.status} {.reason}: {.message}{"\n"}{end}"#;
    tell(&kubectl(plane, &["-n", NAMESPACE, "get", "cmp", PARTNER, "-o", each]).await?);
    let violations = stage.graph().violations();
    ensure!(
        violations.is_empty(),
        "the operator did what a right client never does: {violations:?}"
    );
    Ok(())
}

/// Runs kubectl; gives the command as one would type it, and what it printed.
async fn kubectl(plane: &ControlPlane, args: &[&str]) -> Result<String> {
    let output = plane.kubectl_ok(args).await?;
    let quoted = |arg: &&str| match arg.split_once('=') {
        Some((name, value)) if value.contains(['{', ' ']) => format!("{name}='{value}'"),
        _ => (*arg).to_owned(),
    };
    let typed: Vec<String> = args
        .iter()
        .filter(|arg| **arg != KUBECTL_PATIENCE)
        .map(quoted)
        .collect();
    Ok(format!("$ kubectl {}\n{output}", typed.join(" ")))
}
