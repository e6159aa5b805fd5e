//! Every rule, both ways, by every way of writing.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::desk::{Desk, Kind, Verdict, Way, accepted, ensure_contains, merge, object, refused};
use super::samples::{Sample, samples};

#[tokio::test]
async fn every_rule_takes_what_is_within_and_names_itself_where_it_refuses() -> Result<()> {
    let desk = Desk::new("rules").await?;
    let mut wrong = Vec::new();
    for sample in samples() {
        for way in Way::ALL {
            // By an update of an object that exists, a change of identity is another rule's matter.
            if way.updates() && sample.refusal.is_none() && sample.kind.touches_identity(&sample.patch) {
                continue;
            }
            let verdict = desk.try_spec(sample.kind, way, &sample.patch).await?;
            let emptied = emptied(sample.kind, &sample.patch).filter(|_| way == Way::ServerSideApplyAgain);
            let judged = match &emptied {
                Some(path) => refused(verdict).and_then(|message| ensure_contains(&message, &[path])),
                None => judge(&sample, verdict),
            };
            if let Err(error) = judged {
                wrong.push(format!(
                    "{way:?} {:?} {}: {error:#}",
                    sample.kind,
                    shortened(&sample.patch)
                ));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// The way that most people write: kubectl validates by itself, too, and says what the API server said.
#[tokio::test]
async fn kubectl_apply_takes_and_refuses_the_same() -> Result<()> {
    let desk = Desk::new("kubectl").await?;
    kubectl_judges(&desk, &samples()).await
}

/// Of an object that exists, kubectl sends a patch of what has changed since it was last applied.
#[tokio::test]
async fn kubectl_apply_takes_and_refuses_the_same_edits() -> Result<()> {
    let desk = Desk::new("kubectl-edits").await?;
    let mut samples = samples();
    samples.retain(|sample| sample.refusal.is_some() || !sample.kind.touches_identity(&sample.patch));
    let before: Vec<_> = samples
        .iter()
        .enumerate()
        .map(|(index, sample)| object(&sample.kind.resource(), &sample_name(index), &sample.kind.base()))
        .collect();
    let (_, errors) = desk.kubectl_with(&["apply"], &before).await?;
    ensure!(errors.is_empty(), "{errors}");
    kubectl_judges(&desk, &samples).await
}

/// Applies all samples in one run of kubectl, as a dry run, and holds what it says of each against what is expected.
async fn kubectl_judges(desk: &Desk, samples: &[Sample]) -> Result<()> {
    let objects: Vec<_> = samples
        .iter()
        .enumerate()
        .map(|(index, sample)| sample_object(index, sample))
        .collect();
    let (taken, errors) = desk
        .kubectl_with(&["apply", "--dry-run=server", "--output=name"], &objects)
        .await?;
    // kubectl has the name of the object in each of its errors, and long ones in several lines.
    let errors = format!("\n{errors}");
    let mut wrong = Vec::new();
    for (index, sample) in samples.iter().enumerate() {
        let name = sample_name(index);
        let taken = taken.lines().any(|line| line.ends_with(&format!("/{name}")));
        let error = errors
            .split("\nError from server")
            .flat_map(|error| error.split("\nThe "))
            .find(|error| error.contains(&format!("{name}\"")));
        let outcome = match (sample.refusal, taken, error) {
            (None, true, None) => Ok(()),
            (Some(needles), false, Some(error)) => ensure_contains(error, needles),
            (_, taken, error) => Err(anyhow::anyhow!("taken: {taken}, error: {error:?}")),
        };
        if let Err(error) = outcome {
            wrong.push(format!("{name} {}: {error:#}", shortened(&sample.patch)));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[tokio::test]
async fn a_spec_is_required() -> Result<()> {
    let desk = Desk::new("no-spec").await?;
    for kind in Kind::ALL {
        let mut without = object(&kind.resource(), "new", &Value::Null);
        without.as_object_mut().context("no object")?.remove("spec");
        let message = refused(desk.post(&desk.api(kind), without).await?)?;
        ensure_contains(&message, &["spec: Required value"])?;
    }
    Ok(())
}

fn judge(sample: &Sample, verdict: Verdict) -> Result<()> {
    match sample.refusal {
        None => {
            let stored = accepted(verdict)?;
            let mut spec = sample.kind.base();
            merge(&mut spec, &sample.patch);
            // Nothing is defaulted, rounded or dropped: what is in git is what is in the cluster.
            if stored["spec"] != spec {
                bail!("became {}", shortened(&stored["spec"]));
            }
            Ok(())
        }
        Some(needles) => ensure_contains(&refused(verdict)?, needles),
    }
}

/// The path of an object that a patch leaves without a field. Server-side apply by whoever had applied these fields makes
/// it null, which is a fault of its own.
fn emptied(kind: Kind, patch: &Value) -> Option<String> {
    fn find(path: &str, before: &Value, after: &Value) -> Option<String> {
        let (before, after) = (before.as_object()?, after.as_object()?);
        if after.is_empty() && !before.is_empty() {
            return Some(path.to_owned());
        }
        let mut common = after
            .iter()
            .filter_map(|(key, value)| Some((key, before.get(key)?, value)));
        common.find_map(|(key, before, after)| find(&format!("{path}.{key}"), before, after))
    }
    let mut spec = kind.base();
    merge(&mut spec, patch);
    find("spec", &kind.base(), &spec)
}

fn sample_name(index: usize) -> String {
    format!("sample-{index:03}")
}

fn sample_object(index: usize, sample: &Sample) -> Value {
    let mut spec = sample.kind.base();
    merge(&mut spec, &sample.patch);
    object(&sample.kind.resource(), &sample_name(index), &spec)
}

/// Five hundred assignments say no more than a few.
pub(crate) fn shortened(value: &Value) -> String {
    value.to_string().chars().take(300).collect()
}
