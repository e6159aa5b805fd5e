//! `make e2e`: image and chart as their users meet them, with Helm and kubectl, on a real node with real pods. Microsoft
//! alone is simulated, at an address of this machine that the pods reach.
//!
//! As root on Linux the node is made for the purpose, in namespaces of its own, and is gone when this ends; nothing of the
//! machine is changed. Anyone can have any other cluster in its place:
//!
//! | variable | meaning |
//! |---|---|
//! | `E2E_IMAGE` | the operator's image, by a name with a tag that the cluster can pull or has; its being set asks for a cluster of the user's own, by `KUBECONFIG` |
//! | `E2E_ADDRESS` | an IPv4 address of this machine that the pods of that cluster reach |
//!
//! It ends with 0 if every step held, and with 1 otherwise; with 2 where there is neither root nor a cluster.

mod cluster;
mod edits;
mod enclosure;
mod node;
mod process;
mod stage;
mod steps;

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use harness::{Interrupt, Kubectl, Scratch, Story, ensured};

use cluster::{Cluster, Image};
use node::Node;

/// Asks whether the steps can run here, before anything is built for them.
const POSSIBLE: &str = "--possible";

/// What to do where no node can be made.
const WITHOUT_ROOT: &str = "\
e2e: a node with pods takes Linux and all rights of root (in a container: a privileged one), with cargo and go in PATH
     Or name a cluster that you may install CustomResourceDefinitions in, the image, and this machine as the pods reach it:
     KUBECONFIG=… E2E_IMAGE=registry.example/compliance-partner-operator:0.1.0 E2E_ADDRESS=192.0.2.1 make e2e";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match *args {
        [enclosure::INSIDE, folder, archive, cgroup] => inside(Path::new(folder), Path::new(archive), cgroup),
        [POSSIBLE] => Ok(possible()),
        [archive] => outside(Path::new(archive)),
        _ => Err(anyhow::anyhow!("usage: e2e IMAGE.tar, or e2e {POSSIBLE}")),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("\ne2e: failed: {error:#}");
        ExitCode::FAILURE
    })
}

/// The image, where the user has a cluster of their own.
fn own_image() -> Option<String> {
    std::env::var("E2E_IMAGE").ok().filter(|image| !image.is_empty())
}

/// Whether there is a cluster, or a node can be made; where neither is so, it says what to do.
fn possible() -> ExitCode {
    let node = cfg!(target_os = "linux") && rustix::process::geteuid().is_root() && enclosure::is_possible();
    if own_image().is_some() || node {
        return ExitCode::SUCCESS;
    }
    eprintln!("{WITHOUT_ROOT}");
    ExitCode::from(2)
}

/// Chooses the cluster. `archive`: the operator's image, for a node that is made here.
fn outside(archive: &Path) -> Result<ExitCode> {
    if let Some(image) = own_image() {
        return elsewhere(&Image::named(&image)?);
    }
    let possible = possible();
    if possible != ExitCode::SUCCESS {
        return Ok(possible);
    }
    enclosure::enter(archive)
}

/// All steps, on a cluster of the user's own.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn elsewhere(image: &Image) -> Result<ExitCode> {
    let address = std::env::var("E2E_ADDRESS")
        .context("set E2E_ADDRESS to an IPv4 address of this machine that the cluster's pods reach")?;
    let address: Ipv4Addr = address.parse().with_context(|| format!("E2E_ADDRESS is {address}"))?;
    let kubeconfig = std::env::var("KUBECONFIG").context("set KUBECONFIG to the cluster's kubeconfig, one file")?;
    let story = Story::begin();
    let folder = Scratch::new()?;
    let kubectl = Kubectl::new(&ensured("control-plane").await?, Path::new(&kubeconfig), folder.path());
    let cluster = Cluster::new(kubectl, Path::new(&kubeconfig)).await?;
    // Before anything is made: what is found there is somebody's, and is left alone.
    cluster.ensure_free().await?;
    let outcome = uninterrupted(steps::all(&story, &cluster, address, image, None)).await;
    if outcome.is_err() {
        eprintln!("{}", cluster.state(None).await);
        steps::take_all_away(&cluster).await;
    }
    outcome
}

/// All steps, on a node that is made here: this process is inside of the enclosure.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn inside(folder: &Path, archive: &Path, cgroup: &str) -> Result<ExitCode> {
    let story = Story::begin();
    let whole = async {
        let node = Node::start(&story, folder, archive, cgroup).await?;
        let cluster = Cluster::new(node.plane.as_admin(), &node.plane.admin_kubeconfig()).await?;
        let image = Image::named(&node::operator_image())?;
        let outcome = steps::all(&story, &cluster, node::ADDRESS, &image, Some(&node)).await;
        match outcome {
            Ok(()) => Ok(()),
            Err(error) => {
                // What failed is said last, where it is found at once.
                eprintln!("{}", cluster.state(Some(&node)).await);
                Err(error)
            }
        }
    };
    uninterrupted(whole).await
}

/// What is interrupted is dropped, and all goes that it has started.
async fn uninterrupted(work: impl Future<Output = Result<()>>) -> Result<ExitCode> {
    let mut interrupt = Interrupt::new()?;
    tokio::select! {
        outcome = work => outcome?,
        () = interrupt.received() => bail!("interrupted"),
    }
    Ok(ExitCode::SUCCESS)
}
