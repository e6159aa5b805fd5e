//! The way to the API server.

use std::time::Duration;

use kube::{Client, Config};

use super::text;

/// Waits for a configuration: a pod may be up before its ServiceAccount token is, a person before the kubeconfig.
pub async fn connect() -> Client {
    let mut told = false;
    loop {
        match infer().await {
            Ok(client) => return client,
            Err(error) if !told => {
                let error = text::of_error(&error);
                tracing::warn!(
                    error,
                    "no way to an API server yet: set KUBECONFIG, or run in a pod; waiting"
                );
            }
            Err(error) => {
                let error = text::of_error(&error);
                tracing::debug!(error, "still no way to an API server");
            }
        }
        told = true;
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// A client from `KUBECONFIG`, `~/.kube/config` or the pod's ServiceAccount.
///
/// A proxy for the outside world is not for the API server: it is used only where the kubeconfig itself names one.
///
/// # Errors
/// Where there is no configuration, or one that cannot be used.
pub async fn infer() -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
    let mut config = Config::infer().await?;
    // The passes have their own waits; retries of the library would hold a worker for minutes.
    config.default_retry = false;
    if !names_a_proxy() {
        config.proxy_url = None;
    }
    Ok(Client::try_from(config)?)
}

/// Whether the current context of the kubeconfig, if there is one, names a proxy for its cluster.
fn names_a_proxy() -> bool {
    let Ok(kubeconfig) = kube::config::Kubeconfig::read() else {
        return false;
    };
    let current = kubeconfig.current_context.as_deref();
    let context = kubeconfig
        .contexts
        .iter()
        .find(|context| Some(context.name.as_str()) == current);
    let name = context
        .and_then(|context| context.context.as_ref())
        .map(|context| context.cluster.as_str());
    let cluster = kubeconfig
        .clusters
        .iter()
        .find(|cluster| Some(cluster.name.as_str()) == name);
    cluster
        .and_then(|cluster| cluster.cluster.as_ref())
        .is_some_and(|cluster| cluster.proxy_url.is_some())
}
