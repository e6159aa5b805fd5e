//! A cluster that has nothing but Argo CD, with what stands for the repositories of `deploy/argocd/application.yaml`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use harness::{
    ArgoCd, CLIENT_SECRET, ControlPlane, OPERATOR, Options, Scratch, World, checkout, wait_for, yaml_documents,
};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::{EXAMPLE_CLIENT, EXAMPLE_TENANT, objects, seed_examples, word};

/// The name of the Application, which is also that of the release.
pub const NAME: &str = "compliance-partner-operator";

/// The address of a repository that tests may fill.
pub const MORE: &str = "https://git.example.com/contoso/more.git";

/// Longer than a sync with its waits between waves, and two retries, the second of which begins after 40 s.
const LIMIT: Duration = Duration::from_secs(180);

/// See the module.
pub struct Site {
    /// What the operator of the Application is to work in.
    pub world: World,
    /// At work on the same cluster.
    pub argocd: ArgoCd,
    /// The repository of the resources, a copy of `deploy/argocd/resources`.
    pub resources: Scratch,
    /// The repository at [`MORE`].
    pub more: Scratch,
}

/// Where the Application stands.
pub fn manifest() -> PathBuf {
    checkout().join("deploy/argocd/application.yaml")
}

/// The Application as it is in git.
pub fn in_git() -> Result<Value> {
    let text = std::fs::read_to_string(manifest())?;
    yaml_documents(&text)?.pop().context("an empty file")
}

impl Site {
    /// Argo CD runs; no Application is there.
    pub async fn new() -> Result<Self> {
        let plane = Arc::new(
            ControlPlane::start(Options {
                controller_manager: true,
                ..Options::default()
            })
            .await?,
        );
        let world = World::of_deploy(Arc::clone(&plane), EXAMPLE_TENANT, EXAMPLE_CLIENT).await?;
        seed_examples(&world)?;
        let (resources, more) = (Scratch::new()?, Scratch::new()?);
        for entry in std::fs::read_dir(checkout().join("deploy/argocd/resources"))? {
            let entry = entry?;
            std::fs::copy(entry.path(), resources.path().join(entry.file_name()))?;
        }
        let application = in_git()?;
        let [chart, own] = ["/spec/sources/0/repoURL", "/spec/sources/1/repoURL"].map(|path| word(&application, path));
        let repositories = [
            (chart, checkout()),
            (own, resources.path().to_owned()),
            (MORE, more.path().to_owned()),
        ];
        let repositories = repositories
            .each_ref()
            .map(|(address, folder)| (*address, folder.as_path()));
        let argocd = ArgoCd::start(&plane, &repositories).await?;
        Ok(Self {
            world,
            argocd,
            resources,
            more,
        })
    }

    /// Applies the Application of `deploy/`, as it stands there.
    pub async fn apply(&self) -> Result<()> {
        let file = manifest().display().to_string();
        self.world.plane.kubectl_ok(&["apply", "--filename", &file]).await?;
        Ok(())
    }

    /// Waits until an Application looks so.
    pub async fn until_of<T>(&self, name: &str, what: &str, look: impl Fn(&Value) -> Result<T>) -> Result<T> {
        let seen = wait_for(what, LIMIT, async || look(&self.argocd.application(name).await?)).await;
        seen.map_err(|error| anyhow!("{error:#}\n{}", self.argocd.log_tail()))
    }

    /// Waits until the Application looks so.
    pub async fn until<T>(&self, what: &str, look: impl Fn(&Value) -> Result<T>) -> Result<T> {
        self.until_of(NAME, what, look).await
    }

    /// Waits until the sync that is under way waits for this alone. Where more resources are named, they are those of the
    /// waves to come.
    pub async fn waits_for(&self, what: &str) -> Result<()> {
        let wanted = format!("waiting for healthy state of {what}");
        self.until(&wanted, |application| {
            let state = &application["status"]["operationState"];
            ensure!(word(state, "/phase") == "Running", "{state:#}");
            ensure!(word(state, "/message") == wanted, "{state:#}");
            Ok(())
        })
        .await
    }

    /// Waits until the sync waits for the connection, which waits for its Secret.
    pub async fn lacks_secret(&self) -> Result<()> {
        self.waits_for("intune.msgraph.dev/GraphConnection/contoso").await?;
        self.world.connection_is("contoso", "False", "SecretNotFound").await?;
        Ok(())
    }

    /// Waits for the end of the first sync, and for all to be in sync and healthy.
    pub async fn settled(&self) -> Result<Value> {
        self.until("a healthy Application in sync", |application| {
            let status = &application["status"];
            ensure!(
                word(status, "/operationState/phase") == "Succeeded",
                "{:#}",
                status["operationState"]
            );
            ensure!(word(status, "/sync/status") == "Synced", "{status:#}");
            ensure!(word(status, "/health/status") == "Healthy", "{status:#}");
            Ok(application.clone())
        })
        .await
    }

    /// Has Argo CD compare anew, without its caches, and gives the Application then.
    pub async fn refreshed(&self) -> Result<Value> {
        let asked = json!({ "metadata": { "annotations": { "argocd.argoproj.io/refresh": "hard" } } });
        self.argocd.change(NAME, &asked).await?;
        self.until("a comparison", |application| {
            let asked = application["metadata"]["annotations"].get("argocd.argoproj.io/refresh");
            ensure!(asked.is_none(), "{asked:?}");
            Ok(application.clone())
        })
        .await
    }

    /// Nothing is out of sync, and Argo CD has nothing to say.
    pub async fn in_sync(&self, when: &str) -> Result<()> {
        let application = self.refreshed().await?;
        let status = &application["status"];
        ensure!(word(status, "/sync/status") == "Synced", "{when}: {status:#}");
        ensure!(
            status["conditions"].as_array().is_none_or(Vec::is_empty),
            "{when}: {status:#}"
        );
        for resource in status["resources"].as_array().context("no resources")? {
            ensure!(resource["status"] == "Synced", "{when}: {resource:#}");
        }
        Ok(())
    }

    /// Syncs an Application once more by hand, with these options of the operation, and gives it when that is over.
    pub async fn synced(&self, name: &str, number: u32, options: Value) -> Result<Value> {
        let info = json!([{ "name": "number", "value": number.to_string() }]);
        // As Argo CD's server begins one: when no other is under way, and without what the last one left, which would be
        // taken for results of this one.
        wait_for("a new sync", LIMIT, async || {
            let now = self.argocd.application(name).await?;
            ensure!(now["operation"].is_null(), "{:#}", now["operation"]);
            let begun = json!({
                "metadata": { "resourceVersion": now["metadata"]["resourceVersion"] },
                "operation": { "sync": options, "info": info },
                "status": { "operationState": null },
            });
            self.argocd.change(name, &begun).await
        })
        .await?;
        self.until_of(name, "the end of the sync", |application| {
            let state = &application["status"]["operationState"];
            ensure!(state["operation"]["info"] == info, "{state:#}");
            ensure!(!state["finishedAt"].is_null(), "{state:#}");
            Ok(application.clone())
        })
        .await
    }

    /// The objects of the Application as they are in the cluster.
    pub async fn live(&self) -> Result<Vec<Value>> {
        let application = self.argocd.application(NAME).await?;
        let resources = application["status"]["resources"].as_array().context("no resources")?;
        let named = resources.iter().map(|resource| {
            let version = match word(resource, "/group") {
                "" => word(resource, "/version").to_owned(),
                group => format!("{group}/{}", word(resource, "/version")),
            };
            let metadata = json!({ "name": resource["name"], "namespace": resource["namespace"] });
            json!({ "apiVersion": version, "kind": resource["kind"], "metadata": metadata }).to_string()
        });
        let named: Vec<String> = named.collect();
        let args = ["get", "--output=json", "--filename=-"];
        objects(&self.world.plane.kubectl_ok_with_input(&args, &named.join("\n")).await?)
    }

    /// The operator's pod, once kube-controller-manager has made it.
    pub async fn pod(&self) -> Result<Pod> {
        let pods: Api<Pod> = Api::namespaced(self.world.admin.clone(), OPERATOR);
        let label = "app.kubernetes.io/name=compliance-partner-operator";
        let found = wait_for("the operator's pod", LIMIT, async || {
            let list = pods.list(&ListParams::default().labels(label)).await?;
            list.items.into_iter().next().context("none")
        });
        found
            .await
            .map_err(|error| anyhow!("{error:#}\n{}", self.argocd.log_tail()))
    }

    /// Does what a node does: starts the operator by the pod's account, and says that the pod is ready.
    pub async fn run(&mut self) -> Result<()> {
        let pod = self.pod().await?;
        let account = pod.spec.and_then(|spec| spec.service_account_name);
        assert_eq!(account.as_deref(), Some(OPERATOR));
        let mut config = self.world.config();
        config.watch_namespaces = Vec::new();
        self.world.start_with(config).await?;
        let pods: Api<Pod> = Api::namespaced(self.world.admin.clone(), OPERATOR);
        let ready = json!({ "status": { "phase": "Running", "conditions": [
            { "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" },
        ]}});
        let name = pod.metadata.name.context("a pod has a name")?;
        pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(ready))
            .await?;
        Ok(())
    }

    /// The first sync, from nothing to a partner in sync. The Secret comes when the connection waits for it.
    pub async fn installed(&mut self) -> Result<()> {
        self.apply().await?;
        self.run().await?;
        self.lacks_secret().await?;
        self.world
            .secret("graph", json!({ "client-secret": CLIENT_SECRET }))
            .await?;
        self.settled().await?;
        self.world.in_sync("jamf").await?;
        Ok(())
    }
}
