//! The program in the place where it runs: its own root, read-only, and the image's user.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, os::unix::fs::PermissionsExt as _};

use anyhow::{Context as _, Result, ensure};
use compliance_partner_operator::api;
use harness::{OPERATOR, PATIENCE, Process, World, ask_admin_port, free_port, leashed, wait_for};
use rustix::process::geteuid;
use serde_json::json;

use crate::unpacked::{Unpacked, lines};

/// Makes the folder `$1` a root that nothing can be written to, and becomes the operator in it, as the user `$3` of the group
/// `$4`. Who is root (`$2`) is that user there by number; who is not has a user of that number in a namespace alone.
const ENTER: &str = r#"
    set -e
    mount --rbind "$1" "$1"
    mount -o remount,bind,ro "$1"
    root=$1 outside=$2 user=$3 group=$4
    shift 4
    cd "$root"
    if [ "$outside" = 0 ]; then
        exec chroot --userspec="$user:$group" --groups= . /compliance-partner-operator "$@"
    fi
    exec unshare --user --map-user="$user" --map-group="$group" --root=. /compliance-partner-operator "$@"
"#;

/// The image's own user, and its group.
const USER: [&str; 2] = ["65532", "65532"];

/// A command that is the operator in the image, as a user of a group, without any variable.
fn entered(image: &Unpacked, as_user: [&str; 2]) -> Result<Command> {
    let user = geteuid();
    let namespaces: &[&str] = if user.is_root() {
        &["--mount"]
    } else {
        &["--user", "--map-root-user", "--mount"]
    };
    let mut command = leashed("unshare")?;
    command.args(namespaces).args(["--", "sh", "-c", ENTER, "sh"]);
    command.arg(image.root()).arg(user.as_raw().to_string()).args(as_user);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    Ok(command)
}

/// A running operator of the image.
struct Running {
    process: Process,
    port: u16,
}

impl Running {
    fn start(image: &Unpacked, kubeconfig: Option<&Path>, flags: &[&str], roots: Option<&str>) -> Result<Self> {
        if let Some(kubeconfig) = kubeconfig {
            // It names a file beside it.
            let authority = kubeconfig.with_file_name("ca.pem");
            lay(image, "ca.pem", &fs::read_to_string(&authority)?)?;
            let text = fs::read_to_string(kubeconfig)?;
            lay(
                image,
                "kubeconfig",
                &text.replace(&authority.display().to_string(), "/ca.pem"),
            )?;
        }
        if let Some(roots) = roots {
            lay(image, "roots.pem", roots)?;
        }
        let port = free_port()?;
        let mut command = entered(image, USER)?;
        command
            .args(["run", "--admin-address", &format!("127.0.0.1:{port}")])
            .args(flags);
        command.envs(kubeconfig.map(|_| ("KUBECONFIG", "/kubeconfig")));
        command.envs(roots.map(|_| ("SSL_CERT_FILE", "/roots.pem")));
        let process = Process::spawn(OPERATOR, command, &image.beside("log"))?;
        Ok(Self { process, port })
    }

    /// The same for a world's namespace.
    async fn of(image: &Unpacked, world: &World, flags: &[&str], roots: Option<&str>) -> Result<Self> {
        let kubeconfig = world.plane.service_account_kubeconfig(&world.namespace, OPERATOR);
        let kubeconfig: PathBuf = kubeconfig.await?;
        let scope = ["--watch-namespaces", &world.namespace];
        Self::start(image, Some(&kubeconfig), &[&scope, flags].concat(), roots)
    }

    async fn answers(&self, path: &str, status: u16) -> Result<()> {
        let what = format!("{path} to answer {status}");
        let waited = wait_for(&what, PATIENCE, async || {
            let (got, _) = ask_admin_port(("127.0.0.1", self.port), path).await?;
            ensure!(got == status, "{got}");
            Ok(())
        });
        waited.await.with_context(|| self.process.log_tail(20))
    }

    async fn says(&self, words: &str) -> Result<()> {
        let what = format!("a line with {words:?}");
        let waited = wait_for(&what, PATIENCE, async || {
            self.process.log().ok()?.contains(words).then_some(())
        });
        waited.await.with_context(|| self.process.log_tail(20))
    }

    async fn stop(&self) -> Result<()> {
        self.process.terminate()?;
        let status = self.process.wait(PATIENCE).await?;
        ensure!(status.code() == Some(0), "{status}\n{}", self.process.log_tail(20));
        Ok(())
    }
}

/// Puts a file into the root that a pod would have by a volume.
fn lay(image: &Unpacked, name: &str, text: &str) -> Result<()> {
    let path = image.root().join(name);
    fs::write(&path, text)?;
    Ok(fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?)
}

#[test]
fn it_prints_the_kinds_whoever_it_is() -> Result<()> {
    let image = Unpacked::new()?;
    let mut kinds = String::new();
    for crd in api::crds() {
        kinds.push_str("---\n");
        kinds.push_str(&api::to_yaml(&crd)?);
    }
    // The other is such as OpenShift hands out: a number without an entry, in root's group.
    for user in [USER, ["1000650000", "0"]] {
        let printed = lines(entered(&image, user)?.arg("crd"))?;
        assert!(kinds.lines().eq(printed.iter().map(String::as_str)), "{printed:#?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_cluster_it_says_what_is_missing() -> Result<()> {
    let image = Unpacked::new()?;
    let operator = Running::start(&image, None, &[], None)?;
    operator.answers("/livez", 200).await?;
    operator.says("set KUBECONFIG, or run in a pod").await?;
    operator.answers("/readyz", 503).await?;
    let pid = operator.process.pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    assert!(
        !geteuid().is_root() || status.contains("Uid:\t65532\t65532\t65532\t65532\n"),
        "{status}"
    );
    operator.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_ready_by_its_own_certificates_and_stays_so_without_graph() -> Result<()> {
    let image = Unpacked::new()?;
    let world = World::with_partner("image", graph_simulator::Options::default()).await?;
    let nowhere = format!("https://127.0.0.1:{}", free_port()?);
    let flags = ["--graph-endpoint", &nowhere, "--authority-host", &nowhere];
    let operator = Running::of(&image, &world, &flags, None).await?;
    operator.answers("/readyz", 200).await?;
    let connections = world.connections();
    wait_for("a connection that cannot be made", PATIENCE, async || {
        let connection = connections.get("contoso").await?;
        let conditions = json!(connection.status)["conditions"].to_string();
        ensure!(conditions.contains("GraphUnavailable"), "{conditions}");
        Ok(())
    })
    .await
    .with_context(|| operator.process.log_tail(20))?;
    operator.answers("/readyz", 200).await?;
    operator.stop().await?;
    let log = operator.process.log()?;
    assert!(
        !log.contains("CA certificate was found") && !log.contains("cannot be read"),
        "{log}"
    );
    Ok(())
}

/// What the image would be like without its certificates: the test above would see it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_certificates_it_would_not_start() -> Result<()> {
    let image = Unpacked::new()?;
    fs::remove_dir_all(image.root().join("etc"))?;
    let world = World::with_partner("image", graph_simulator::Options::default()).await?;
    let operator = Running::of(&image, &world, &[], None).await?;
    let status = operator.process.wait(PATIENCE).await?;
    assert_eq!(status.code(), Some(1));
    operator.says("no CA certificate was found").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_syncs_by_a_certificate_that_a_volume_brings() -> Result<()> {
    let image = Unpacked::new()?;
    let world = World::with_partner("image", graph_simulator::Options::default()).await?;
    let (graph, authority) = (world.simulator.graph_endpoint(), world.simulator.authority_host());
    let flags = ["--graph-endpoint", graph, "--authority-host", authority];
    let roots = world.simulator.ca_pem().to_owned();
    let operator = Running::of(&image, &world, &flags, Some(&roots)).await?;
    world
        .in_sync("jamf")
        .await
        .with_context(|| operator.process.log_tail(20))?;
    operator.answers("/readyz", 200).await?;
    operator.stop().await
}
