//! A control plane and one node of it: containerd, kubelet, kube-proxy and kube-scheduler, on a network that no other
//! machine is on.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use harness::{ControlPlane, Options, Process, Story, ensured, leashed, run_to_success, tell, wait_for};
use serde_json::json;

use crate::enclosure::{self, run};

/// The node's address, at which the API server and the simulator are too.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);

/// The addresses of the node's network, and of its pods.
const NODE_CIDR: &str = "10.88.0.1/24";
const POD_CIDR: &str = "10.89.0.0/24";

/// Ten seconds on two idle cores.
const START_LIMIT: Duration = Duration::from_secs(120);

/// The operator's image, as `make image` names it.
pub(crate) fn operator_image() -> String {
    format!("localhost/compliance-partner-operator:{}", env!("CARGO_PKG_VERSION"))
}

/// A node that is ready, with the operator's image on it.
pub(crate) struct Node {
    // Dropped in this order: nobody outlives what it talks to.
    processes: Vec<Process>,
    pub(crate) plane: ControlPlane,
}

/// Where things are.
struct Places<'a> {
    /// The programs that `tests/node/ensure` knows of.
    programs: &'a Path,
    /// All that is written.
    folder: &'a Path,
    /// The cgroup of all pods, by its name below the root.
    cgroup: &'a str,
}

impl Node {
    /// Makes the node, and waits until it is ready.
    pub(crate) async fn start(story: &Story, folder: &Path, archive: &Path, cgroup: &str) -> Result<Self> {
        let programs = ensured("node").await?;
        let places = Places {
            programs: &programs,
            folder,
            cgroup,
        };
        enclosure::furnish(folder)?;
        network()?;
        let plane = ControlPlane::start(Options {
            controller_manager: true,
            node_address: Some(ADDRESS),
            ..Options::default()
        });
        let mut node = Self {
            processes: Vec::new(),
            plane: plane.await?,
        };
        node.spawn(places.containerd()?)?;
        places.import(&programs.join("pause.tar")).await?;
        for spawned in [
            places.scheduler(&node.plane)?,
            places.kubelet(&node.plane)?,
            places.proxy(&node.plane)?,
        ] {
            node.spawn(spawned)?;
        }
        node.until_ready().await?;
        story.step("A node is ready: control plane, kubelet, kube-proxy and containerd, in namespaces of their own");
        tell(&node.plane.kubectl_ok(&["get", "nodes", "-o", "wide"]).await?);
        places.import(archive).await?;
        let images = places.ctr(&["images", "list", "-q"]).await?;
        let image = operator_image();
        ensure!(
            images.lines().any(|line| line == image),
            "{} has no image {image}, but: {images}",
            archive.display()
        );
        story.step(&format!("The node has the image {image}"));
        Ok(node)
    }

    async fn until_ready(&self) -> Result<()> {
        let ready = wait_for("a ready node", START_LIMIT, async || {
            for process in &self.processes {
                if let Some(status) = process.exited()? {
                    return Ok(Err(anyhow!("one of its processes has ended: {status}")));
                }
            }
            let path = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
            let status = self.plane.kubectl_ok(&["get", "node", "node", "-o", path]).await?;
            ensure!(status == "True", "Ready is {status:?}");
            // It comes with the namespace's ServiceAccount, without which there are no pods.
            self.plane.kubectl_ok(&["get", "serviceaccount", "default"]).await?;
            Ok(Ok(()))
        });
        let outcome = ready.await.flatten();
        outcome.map_err(|error| anyhow!("{error:#}\n{}", self.log_tails()))
    }

    /// The last lines of all that runs the node.
    pub(crate) fn log_tails(&self) -> String {
        let tails: Vec<String> = self.processes.iter().map(|process| process.log_tail(15)).collect();
        format!("{}\n{}", self.plane.log_tails(), tails.join("\n"))
    }

    fn spawn(&mut self, (name, command, log): (&str, Command, PathBuf)) -> Result<()> {
        self.processes.insert(0, Process::spawn(name, command, &log)?);
        Ok(())
    }
}

/// A bridge with the node's address, and a pair of interfaces so that it has a carrier. The default route leads nowhere,
/// but a node without one is none.
fn network() -> Result<()> {
    for command in [
        "link set lo up",
        "link add node0 type bridge",
        &format!("address add {NODE_CIDR} dev node0"),
        "link add wire0 type veth peer name wire1",
        "link set wire0 master node0",
        "link set wire0 up",
        "link set wire1 up",
        "link set node0 up",
        "route add default dev node0",
    ] {
        let args: Vec<&str> = command.split(' ').collect();
        run("ip", &args)?;
    }
    Ok(())
}

type Spawned = (&'static str, Command, PathBuf);

impl Places<'_> {
    fn command(&self, name: &'static str) -> Result<Spawned> {
        let mut command = leashed(self.programs.join(name))?;
        // containerd looks for its shim and for runc there, kube-proxy for nft.
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.programs.display());
        command.current_dir(self.folder).env("PATH", path);
        Ok((name, command, self.folder.join(format!("{name}.log"))))
    }

    /// A file in the folder, and its path as a text.
    fn write(&self, name: &str, content: &str) -> Result<String> {
        let path = self.folder.join(name);
        fs::write(&path, content).with_context(|| path.display().to_string())?;
        Ok(path.display().to_string())
    }

    fn folder(&self, name: &str) -> Result<String> {
        let path = self.folder.join(name);
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(path.display().to_string())
    }

    fn containerd(&self) -> Result<Spawned> {
        let plugins = self.folder("cni")?;
        let network = json!({
            "cniVersion": "1.0.0",
            "name": "pods",
            "plugins": [{
                "type": "bridge",
                "bridge": "pods0",
                "isGateway": true,
                "ipMasq": false,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": self.folder("addresses")?,
                    "ranges": [[{"subnet": POD_CIDR}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }],
        });
        self.write("cni/10-pods.conflist", &network.to_string())?;
        let (programs, root) = (self.programs.display(), self.folder("containerd")?);
        // The node may lack the capability that other scores take (CAP_SYS_RESOURCE), hence the restriction.
        let config = format!(
            r"version = 3
root = '{root}'
state = '/run/containerd'
[grpc]
  address = '/run/containerd/containerd.sock'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = 'localhost/pause:1'
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['{programs}/cni']
  conf_dir = '{plugins}'
"
        );
        let config = self.write("containerd.toml", &config)?;
        let (name, mut command, log) = self.command("containerd")?;
        command.args(["--config", &config]);
        Ok((name, command, log))
    }

    fn scheduler(&self, plane: &ControlPlane) -> Result<Spawned> {
        let user = plane.user_kubeconfig("scheduler", "system:kube-scheduler", "system:nobody")?;
        let (name, mut command, log) = self.command("kube-scheduler")?;
        command
            .arg("--leader-elect=false")
            .arg("--bind-address=127.0.0.1")
            .arg(format!("--kubeconfig={}", user.display()))
            .arg(format!("--cert-dir={}", self.folder("scheduler")?));
        Ok((name, command, log))
    }

    fn kubelet(&self, plane: &ControlPlane) -> Result<Spawned> {
        let config = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true},
                "x509": {"clientCAFile": self.write("ca.pem", plane.ca_pem())?},
            },
            "authorization": {"mode": "Webhook"},
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": format!("/{}", self.cgroup),
            "failCgroupV1": false,
            "failSwapOn": false,
            "localStorageCapacityIsolation": false,
            // The disk and memory of the machine are not the pods' business.
            "evictionHard": {
                "memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%",
            },
            "imageGCHighThresholdPercent": 100,
            "podLogsDir": self.folder("pod-logs")?,
            "volumePluginDir": self.folder("volume-plugins")?,
            "resolvConf": self.write("resolv.conf", "nameserver 127.0.0.1\n")?,
        });
        let config = self.write("kubelet.json", &config.to_string())?;
        let user = plane.user_kubeconfig("kubelet", "system:node:node", "system:nodes")?;
        let (name, mut command, log) = self.command("kubelet")?;
        command
            .arg("--hostname-override=node")
            .arg(format!("--node-ip={ADDRESS}"))
            .arg(format!("--config={config}"))
            .arg(format!("--kubeconfig={}", user.display()))
            .arg(format!("--root-dir={}", self.folder("kubelet")?))
            .arg(format!("--cert-dir={}", self.folder("kubelet-certificates")?));
        Ok((name, command, log))
    }

    fn proxy(&self, plane: &ControlPlane) -> Result<Spawned> {
        let user = plane.user_kubeconfig("proxy", "system:kube-proxy", "system:nobody")?;
        let config = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": {"kubeconfig": user},
            "clusterCIDR": POD_CIDR,
            "hostnameOverride": "node",
            // The limit of tracked connections is the machine's.
            "conntrack": {"maxPerCore": 0, "min": 0},
        });
        let config = self.write("proxy.json", &config.to_string())?;
        let (name, mut command, log) = self.command("kube-proxy")?;
        command.arg(format!("--config={config}"));
        Ok((name, command, log))
    }

    /// Puts the images of an archive on the node, once containerd answers.
    async fn import(&self, archive: &Path) -> Result<()> {
        let archive = archive.display().to_string();
        wait_for("containerd", START_LIMIT, async || self.ctr(&["version"]).await).await?;
        self.ctr(&["images", "import", &archive]).await?;
        Ok(())
    }

    /// Runs containerd's own client.
    async fn ctr(&self, args: &[&str]) -> Result<String> {
        let mut command = tokio::process::Command::new(self.programs.join("ctr"));
        command.args(["--namespace", "k8s.io"]).args(args);
        run_to_success(&mut command, "", START_LIMIT).await
    }
}
