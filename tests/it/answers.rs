//! What Graph and Entra are known to answer, row by row, and what users read of it: the reason, and a sentence that is the
//! same each time.

mod changes;
mod lists;
mod tokens;

use anyhow::{Context as _, ensure};
use compliance_partner_operator::api::{Condition, condition};
use graph_simulator::{Answer, App, Options, Script};
use harness::{CLIENT_SECRET, PATIENCE, WRITE_ROLE, World, wait_for};
use serde_json::{Value, json};

use crate::binary::Running;

const NOT_LICENSED: &str = "The tenant has no active Intune licence, or no MDM authority is set: mend that in the Intune \
                            admin center.";
const AGAIN: &str = "It is tried again.";

/// What is told of a sentence of Graph's.
#[derive(Clone, Copy)]
enum Says {
    /// This, whatever Graph says.
    Whole(&'static str),
    /// This, and that it is tried again.
    Again(&'static str),
    /// That Graph refuses the request, and this.
    Refused(&'static str),
    /// That no role is missing, and this.
    AppOnly(&'static str),
}

impl Says {
    fn text(self) -> String {
        match self {
            Self::Whole(text) => text.to_owned(),
            Self::Again(text) => format!("{text}. {AGAIN}"),
            Self::Refused(text) => format!("Graph refuses the request: {text}"),
            Self::AppOnly(text) => format!(
                "Graph refuses app-only access here although the app has the role that is needed; nothing can be granted. \
                 Graph says: {text}"
            ),
        }
    }
}

/// Where a sentence stands in Graph's envelope.
#[derive(Clone, Copy)]
enum Wrap {
    /// As Graph's own message.
    Plain,
    /// In Intune's error, which is JSON in that message.
    Intune,
    /// In Intune's error in another one.
    Twice,
}

impl Wrap {
    fn of(self, sentence: &str) -> String {
        match self {
            Self::Plain => sentence.to_owned(),
            Self::Intune => intune(sentence),
            Self::Twice => json!({
                "ErrorCode": "Forbidden", "Message": intune(sentence), "Target": null, "Details": null,
                "InnerError": null, "InstanceAnnotations": [],
            })
            .to_string(),
        }
    }
}

/// A tenant of its own, with the app that all connections here use.
fn tenant(world: &World, number: usize) -> String {
    let tenant = format!("dddddddd-4444-4444-8444-{number:012x}");
    let app = App::with_secret(CLIENT_SECRET).roles([WRITE_ROLE]);
    world.graph().add_app(&tenant, &world.client_id, app);
    tenant
}

/// Graph's envelope, with the ids and the date that differ each time.
fn graph(code: &str, message: &str) -> Value {
    json!({"error": {
        "code": code, "message": message, "target": null, "details": [],
        "innerError": {
            "date": "2026-11-25T10:00:00", "request-id": "0f0e0d0c-1111-4222-8333-444455556666",
            "client-request-id": "1f0e0d0c-1111-4222-8333-444455556666",
        },
    }})
}

/// Intune's error, as it stands in the message of Graph's.
fn intune(message: &str) -> String {
    let tail = "Operation ID (for customer support): 00000000-0000-0000-0000-000000000000 - Activity ID: \
                2f0e0d0c-1111-4222-8333-444455556666 - Url: https://fef.msub02.manage.microsoft.com/\
                StatelessOnboardingService_2511/x('1')?api-version=5025-02-01";
    json!({
        "_version": 3, "Message": format!("{message} - {tail}"), "CustomApiErrorPhrase": "", "RetryAfter": null,
        "ErrorSourceService": "", "HttpHeaders": "{}",
    })
    .to_string()
}

/// What Ready tells where it is False for this reason.
fn told(conditions: &[Condition], reason: &str) -> anyhow::Result<String> {
    let ready = condition(conditions, "Ready").context("no verdict")?;
    ensure!(
        ready.reason == reason,
        "{} and not {reason}: {}",
        ready.reason,
        ready.message
    );
    Ok(ready.message.clone())
}

/// A line of the log with all of these words.
async fn line(operator: &Running, words: &[&str]) -> anyhow::Result<String> {
    wait_for(&format!("a line with {words:?}"), PATIENCE, async || {
        let log = operator.process.log()?;
        let found = log.lines().find(|line| words.iter().all(|word| line.contains(word)));
        found.map(str::to_owned).context("other lines")
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ids_that_microsofts_support_asks_for_are_in_the_log_and_nowhere_else() -> anyhow::Result<()> {
    let world = World::with_partner("ids", Options::default()).await?;
    let (of_read, of_change, of_entra) = (
        "3f0e0d0c-1111-4222-8333-444455556666",
        "4f0e0d0c-1111-4222-8333-444455556666",
        "5f0e0d0c-1111-4222-8333-444455556666",
    );
    let error = |code: &str| graph(code, &intune("An error has occurred"));
    let answer = |id: &str, status| Answer::json(status, error("Whatever")).header("request-id", id);
    let trace = json!({"error": "temporarily_unavailable", "error_codes": [90033], "trace_id": of_entra});
    world
        .graph()
        .script(Script::entra().answer(Answer::json(503, trace)).times(1));
    world.graph().script(
        Script::graph()
            .path_end("Partners")
            .answer(answer(of_read, 500))
            .times(1),
    );
    world
        .graph()
        .script(Script::graph().method("PATCH").answer(answer(of_change, 400)));
    // At the level that is the default.
    let operator = Running::of_in(&world, &["--log-format", "json"], &[]).await?;
    let partner = world.partner_is("jamf", "Ready", "False", "RejectedByGraph").await?;
    world.event("jamf", "RejectedByGraph").await?;
    let refused = "Graph refused a request";
    for (id, words) in [
        (of_read, ["GET", "\"status\":500", "Whatever"]),
        (of_change, ["PATCH", "\"status\":400", "Whatever"]),
    ] {
        let told = line(&operator, &[&[refused, id][..], &words[..]].concat()).await?;
        // The id that the request went out with is there too.
        let own = world.graph().requests_where(|request| {
            request
                .header("client-request-id")
                .is_some_and(|own| told.contains(own))
        });
        assert_eq!(own.len(), 1, "{told}");
    }
    line(&operator, &["Entra gave no token", of_entra, "90033", &world.tenant]).await?;
    line(&operator, &["\\\"outcome\\\":\\\"refused\\\"", of_change]).await?;
    operator.stop().await?;
    let everything = [
        "get",
        "cmp,gconn,events.events.k8s.io",
        "-n",
        &world.namespace,
        "-o",
        "json",
    ];
    let shown = world.plane.kubectl_ok(&everything).await?;
    for id in [of_read, of_change, of_entra, "0f0e0d0c", "2f0e0d0c"] {
        ensure!(!shown.contains(id), "{id} is shown");
    }
    ensure!(
        told(&partner.status.unwrap_or_default().conditions, "RejectedByGraph")?.ends_with("An error has occurred")
    );
    Ok(())
}
