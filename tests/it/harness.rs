//! Starts a real control plane, and whatever else a test needs of the machine.
//!
//! - [`ControlPlane`]: etcd, kube-apiserver and, where asked for, kube-controller-manager, on free ports of 127.0.0.1;
//! - [`install_crds`]: the operator's own kinds on the control plane that all tests share;
//! - [`Proxy`]: a forward proxy, which can refuse, cut and go silent;
//! - [`Kind`]: the kinds of `auth`, and all that a connection by each of them takes;
//! - [`Process`]: a program that is killed when it is dropped and when the test process dies;
//! - [`run_to_end`]: runs a program while a test waits; [`ensured`]: where those are that `tests/` builds;
//! - [`Kubectl`], [`Helm`]: the programs that users install things with;
//! - [`argocd`]: what Argo CD makes of an object; [`ArgoCd`]: Argo CD at work on a cluster;
//! - [`kstatus`]: what Helm 4 and Flux take an object for;
//! - [`wait_for`]: polls a condition until a deadline; there is no other way to wait here;
//! - [`Scratch`]: a folder that goes away;
//! - [`Story`]: what a program of many steps prints of them.

#[path = "harness/access.rs"]
mod access;
#[path = "harness/admin_port.rs"]
mod admin_port;
#[path = "harness/argocd.rs"]
mod argocd;
#[path = "harness/audit.rs"]
mod audit;
#[path = "harness/certificates.rs"]
mod certificates;
#[path = "harness/control_plane.rs"]
mod control_plane;
#[path = "harness/crds.rs"]
mod crds;
#[path = "harness/credentials.rs"]
mod credentials;
#[path = "harness/federation.rs"]
mod federation;
#[path = "harness/helm.rs"]
mod helm;
#[path = "harness/kstatus.rs"]
mod kstatus;
#[path = "harness/kubectl.rs"]
mod kubectl;
#[path = "harness/looks.rs"]
mod looks;
#[path = "harness/objects.rs"]
mod objects;
#[path = "harness/process.rs"]
mod process;
#[path = "harness/program.rs"]
mod program;
#[path = "harness/proxy.rs"]
mod proxy;
#[path = "harness/scratch.rs"]
mod scratch;
#[path = "harness/story.rs"]
mod story;
#[path = "harness/wait.rs"]
mod wait;
#[path = "harness/world.rs"]
mod world;

pub use access::client;
pub use admin_port::ask_admin_port;
pub use argocd::{ArgoCd, argocd, argocd_customizations};
pub use audit::AUDIT_LOGS;
pub use certificates::{Authority, Identity};
pub use control_plane::{ControlPlane, Options};
pub use crds::{CRD_NAMES, crds_folder, install_crds};
pub use credentials::{Kind, Proofs, auth, tls};
pub use federation::AUDIENCE;
pub use helm::{Helm, yaml_documents};
pub use kstatus::{Kstatus, kstatus};
pub use kubectl::Kubectl;
pub use objects::merge;
pub use process::{Process, free_port, leashed};
pub use program::{ensured, run_to_end, run_to_success};
pub use proxy::{Proxy, Tunnel};
pub use scratch::Scratch;
pub use story::{Interrupt, Story, tell};
pub use wait::{Observation, wait_for};
pub use world::{CLIENT_SECRET, NEVER, OPERATOR, P1, PATIENCE, WRITE_ROLE, World, checkout};

/// Makes aws-lc-rs the TLS provider of this process, as it is the operator's; any call but the first does nothing.
pub fn install_tls_provider() {
    // An error says that one is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
