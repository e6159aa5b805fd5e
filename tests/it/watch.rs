//! How the operator hears of resources.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::World;
use http::{Request, Response};
use kube::Client;
use kube::api::DeleteParams;
use kube::client::Body;
use serde_json::json;

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";
const P2: &str = "aaaaaaaa-1111-4111-8111-000000000002";

/// The API server as it is where it streams no lists, which before Kubernetes 1.34 is the usual case; counts how often
/// it was asked to.
pub(crate) fn without_streaming(real: Client, asked: Arc<AtomicU32>) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let (real, asked) = (real.clone(), Arc::clone(&asked));
        async move {
            let query = request.uri().query().unwrap_or_default();
            if !query.contains("sendInitialEvents") {
                return real.send(request).await;
            }
            asked.fetch_add(1, Ordering::Relaxed);
            let message = "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is \
                           forbidden for watch unless the WatchList feature gate is enabled";
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": message, "reason": "Invalid", "code": 422,
            });
            Response::builder()
                .status(422)
                .header("Content-Type", "application/json")
                .body(Body::from(status.to_string().into_bytes()))
                .map_err(kube::Error::HttpError)
        }
    });
    Client::new(service, "default")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_lists_are_streamed_pages_are_read() -> anyhow::Result<()> {
    let mut world = World::new("paged").await?;
    world.row(P1, "Example Partner")?;
    world.row(P2, "Another Partner")?;
    world.connect().await?;
    world
        .partner("before", json!({"partnerRef": {"id": P1}, "iosOnboarded": true}))
        .await?;
    let asked = Arc::new(AtomicU32::new(0));
    let client = without_streaming(world.operator_client().await?, Arc::clone(&asked));
    world.start_by(client, world.config())?;
    world.in_sync("before").await?;
    world
        .partner("after", json!({"partnerRef": {"id": P2}, "iosOnboarded": true}))
        .await?;
    world.in_sync("after").await?;
    world.partners().delete("before", &DeleteParams::default()).await?;
    world
        .partner("heir", json!({"partnerRef": {"id": P1}, "androidOnboarded": true}))
        .await?;
    world.in_sync("heir").await?;
    assert_eq!(asked.load(Ordering::Relaxed), 2, "each kind asks once");
    let metrics = world.metrics()?;
    assert!(metrics.contains("compliance_partner_watch_errors_total 0"), "{metrics}");
    world.stop().await
}
