//! The harness itself.

use std::env;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use harness::{ControlPlane, Options, Process, Scratch, leashed, run_to_end, run_to_success, wait_for};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::json;

/// Set for the process that [`what_a_killed_test_started_dies_with_it`] starts and kills.
const VICTIM: &str = "HARNESS_VICTIM";

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn the_api_server_and_kubectl_are_of_the_version_that_is_asked_for() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let version = plane.admin_client().await?.apiserver_version().await?;
    assert_eq!(version.git_version, "v1.37.2");

    let both = plane.kubectl_ok(&["version", "--output=json"]).await?;
    let both: serde_json::Value = serde_json::from_str(&both)?;
    assert_eq!(both["clientVersion"]["gitVersion"], "v1.37.2");
    assert_eq!(both["serverVersion"]["minor"], "37");
    Ok(())
}

#[tokio::test]
async fn a_service_account_is_known_by_its_token_and_may_do_nothing() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    plane.kubectl_ok(&["create", "serviceaccount", "who-am-i"]).await?;
    let client = plane.service_account_client("default", "who-am-i").await?;

    let review = SelfSubjectReview::default();
    let answer = Api::<SelfSubjectReview>::all(client.clone())
        .create(&PostParams::default(), &review)
        .await?;
    let user = answer.status.and_then(|status| status.user_info).context("no user")?;
    assert_eq!(user.username.as_deref(), Some("system:serviceaccount:default:who-am-i"));

    let refused = Api::<ConfigMap>::namespaced(client, "default")
        .list(&ListParams::default())
        .await;
    assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 403));

    let kubeconfig = plane.service_account_kubeconfig("default", "who-am-i").await?;
    let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
    let name = plane
        .kubectl_ok(&[
            &kubeconfig,
            "auth",
            "whoami",
            "--output=jsonpath={.status.userInfo.username}",
        ])
        .await?;
    assert_eq!(name, "system:serviceaccount:default:who-am-i");
    Ok(())
}

#[tokio::test]
async fn the_audit_log_says_who_did_what() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let before = plane.audit_position()?;
    let manifest = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "audited" } });
    plane
        .kubectl_ok_with_input(&["create", "--filename=-"], &manifest.to_string())
        .await?;

    let event = wait_for("the audit event of a create", SOON, async || -> Result<_> {
        let events = plane.audit_events_since(before)?;
        let ours = events.into_iter().find(|event| {
            event["verb"] == "create" && event["objectRef"]["name"] == "audited" && event["stage"] == "ResponseComplete"
        });
        ours.context("other events only")
    })
    .await?;
    assert_eq!(event["user"]["username"], "admin");
    assert_eq!(event["responseStatus"]["code"], 201);
    Ok(())
}

#[tokio::test]
async fn kubectl_says_why_it_failed() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let error = plane
        .kubectl_ok(&["get", "configmap", "no-such-thing"])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("\"no-such-thing\" not found"), "{error}");
    Ok(())
}

#[tokio::test]
async fn an_api_server_can_be_paused_and_restarted_and_controllers_can_run() -> Result<()> {
    let plane = ControlPlane::start(Options {
        controller_manager: true,
        ..Options::default()
    })
    .await?;
    let client = plane.admin_client().await?;
    let namespaces: Api<Namespace> = Api::all(client.clone());

    plane.pause_api_server()?;
    let hung = tokio::time::timeout(Duration::from_millis(300), namespaces.get("default")).await;
    assert!(hung.is_err(), "a paused API server answered");
    plane.resume_api_server()?;
    namespaces.get("default").await?;

    plane.kubectl_ok(&["create", "namespace", "kept"]).await?;
    plane.restart_api_server().await?;
    // By the client from before: same port, same certificates, same data.
    wait_for("the namespace after a restart", SOON, async || {
        namespaces.get("kept").await
    })
    .await?;

    // Only a controller takes the finalizer off a namespace.
    plane
        .kubectl_ok(&["delete", "namespace", "kept", "--timeout=60s"])
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_control_plane_that_cannot_start_says_why() -> Result<()> {
    let outcome = ControlPlane::start(Options {
        api_server_flags: vec!["--no-such-flag".to_owned()],
        ..Options::default()
    });
    let error = outcome.await.expect_err("it started").to_string();
    assert!(error.contains("kube-apiserver ended while"), "{error}");
    assert!(error.contains("unknown flag: --no-such-flag"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_wait_in_vain_says_what_was_seen_last() {
    let limit = Duration::from_millis(60);
    let mut looks = 0;
    let error = wait_for("a miracle", limit, async || {
        looks += 1;
        Err::<(), _>(format!("an ordinary day, {looks}"))
    });
    let error = error.await.unwrap_err().to_string();
    assert!(error.contains("for a miracle; last seen: an ordinary day, "), "{error}");

    let error = wait_for("an answer", limit, async || std::future::pending::<Option<()>>().await);
    let error = error.await.unwrap_err().to_string();
    assert!(error.contains("for an answer; the last look did not end"), "{error}");
}

#[tokio::test]
async fn a_process_is_gone_once_it_is_dropped() -> Result<()> {
    let folder = Scratch::new()?;
    let process = sleeper(&folder)?;
    let pid = process.pid();
    assert!(runs(pid));
    process.pause()?;
    drop(process);
    assert!(!runs(pid), "it outlived its handle");
    Ok(())
}

/// The test starts itself in a second process, in which [`start_a_process_and_wait_to_be_killed`] does what any test
/// does, and kills that.
#[tokio::test]
async fn what_a_killed_test_started_dies_with_it() -> Result<()> {
    let folder = Scratch::new()?;
    let mut command = Command::new(env::current_exe()?);
    command.env(VICTIM, folder.path());
    command.args([
        "--exact",
        "--nocapture",
        "control_plane::start_a_process_and_wait_to_be_killed",
    ]);
    let victim = Process::spawn("the victim", command, &folder.path().join("log"))?;
    let pid: u32 = wait_for("the victim's child", SOON, async || -> Result<u32> {
        if let Some(status) = victim.exited()? {
            bail!("the victim ended too early: {status}: {}", victim.log_tail(20));
        }
        Ok(std::fs::read_to_string(folder.path().join("pid"))?.parse()?)
    })
    .await?;
    ensure!(runs(pid), "the victim's child never ran");

    // The child has a group of its own, so this does not reach it.
    victim.kill();
    wait_for("the end of the victim's child", SOON, async || {
        (!runs(pid)).then_some(())
    })
    .await
}

/// A victim's part; in any other process it has nothing to do.
#[tokio::test]
async fn start_a_process_and_wait_to_be_killed() -> Result<()> {
    let Some(folder) = env::var_os(VICTIM).map(std::path::PathBuf::from) else {
        return Ok(());
    };
    // On a thread that is long gone when the process is killed, as a test's thread is under the shared control plane.
    let scratch = Scratch::new()?;
    let started = std::thread::spawn(move || sleeper(&scratch).map(|process| (process, scratch)));
    let (process, _scratch) = started.join().expect("the thread panicked")?;
    // A signal of the thread's death has come by the time that another program was started and has ended.
    ensure!(Command::new("true").status()?.success(), "`true` ends otherwise");
    ensure!(
        process.exited()?.is_none(),
        "the child died with the thread that asked for it"
    );
    std::fs::write(folder.join("pid.new"), process.pid().to_string())?;
    std::fs::rename(folder.join("pid.new"), folder.join("pid"))?;
    tokio::time::sleep(Duration::from_secs(60)).await;
    bail!("nobody killed the victim")
}

/// kubectl does so with arguments that it does not know.
#[tokio::test]
async fn what_a_program_says_is_told_also_where_it_ends_before_it_has_read_its_input() -> Result<()> {
    let mut command = sh("exec <&-; echo 'not so' >&2; exit 3");
    let output = run_to_end(&mut command, &more_than_a_pipe_holds(), SOON).await?;
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(output.stderr, b"not so\n");
    let error = run_to_success(&mut command, &more_than_a_pipe_holds(), SOON).await;
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("sh -c exec <&-; echo"), "{error}");
    assert!(error.ends_with(": exit status: 3: not so"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_program_may_answer_while_it_reads() -> Result<()> {
    let input = more_than_a_pipe_holds();
    let answer = run_to_success(&mut sh("cat"), &input, SOON).await?;
    assert!(answer == input, "{} bytes of {}", answer.len(), input.len());
    Ok(())
}

#[tokio::test]
async fn a_program_is_killed_when_nobody_waits_for_it_any_more() -> Result<()> {
    let folder = Scratch::new()?;
    let file = folder.path().join("pid");
    let mut command = sh(r#"echo $$ >"$0.new"; mv "$0.new" "$0"; exec sleep 600"#);
    let pid = async || -> Result<u32> { Ok(std::fs::read_to_string(&file)?.trim().parse()?) };
    let pid = tokio::select! {
        ended = run_to_end(command.arg(&file), "", SOON) => bail!("it ended: {ended:?}"),
        pid = wait_for("its id", SOON, pid) => pid?,
    };
    wait_for("its end", SOON, async || (!runs(pid)).then_some(())).await?;

    let limit = Duration::from_millis(50);
    let error = run_to_end(&mut sh("exec sleep 600"), "", limit).await.unwrap_err();
    assert_eq!(error.to_string(), "sh -c exec sleep 600 did not end within 50ms");
    Ok(())
}

#[tokio::test]
async fn a_leash_whose_parent_is_gone_runs_nothing() -> Result<()> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leash"));
    // Process 1 is somebody's parent, but not this one's.
    let output = command.args(["--parent", "1", "--", "echo", "it ran"]).output()?;
    assert_eq!(output.status.code(), Some(126));
    assert_eq!(String::from_utf8(output.stderr)?, "leash: the parent is gone already\n");
    assert!(output.stdout.is_empty());
    Ok(())
}

#[tokio::test]
async fn what_a_dead_process_left_is_removed() -> Result<()> {
    let mut gone = Command::new("true").spawn()?;
    gone.wait()?;
    let left = env::temp_dir().join(format!("compliance-partner-operator-it-{}-0", gone.id()));
    std::fs::create_dir(&left)?;
    let own = Scratch::new()?;
    assert!(own.path().is_dir());
    assert!(!left.exists());
    Ok(())
}

fn sh(script: &str) -> tokio::process::Command {
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", script]);
    command
}

fn more_than_a_pipe_holds() -> String {
    "0123456789abcdef".repeat(1 << 16)
}

fn sleeper(folder: &Scratch) -> Result<Process> {
    let mut command = leashed("sleep")?;
    command.arg("600");
    Process::spawn("sleep", command, &folder.path().join("sleep.log"))
}

/// Whether a process runs: one that ended, but was not waited for by whoever inherited it, does not.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some(Some('Z' | 'X')))
}
