//! Each value of the chart, set once, and where that is seen: the rows of `fixtures/chart-values.yaml`.

use anyhow::{Result, anyhow};
use harness::Helm;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::OnceCell;

use super::{args, object, rendered};

/// See the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    #[serde(default)]
    set: Vec<String>,
    #[serde(default)]
    json: Vec<String>,
    args: Option<String>,
    #[serde(default)]
    seen: Map<String, Value>,
}

impl Row {
    /// For Helm.
    pub(super) fn flags(&self) -> Vec<&str> {
        let set = self.set.iter().flat_map(|set| ["--set", set.as_str()]);
        let json = self.json.iter().flat_map(|json| ["--set-json", json.as_str()]);
        set.chain(json).collect()
    }

    /// The places that are set.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        let all = self.set.iter().chain(&self.json);
        all.filter_map(|assignment| assignment.split('=').next())
    }

    /// What the row tells and these objects do not have; each as a sentence.
    pub(super) fn missing(&self, objects: &[Value]) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        let started = args(objects)?;
        if self.args.as_ref().is_some_and(|arg| !started.contains(arg)) {
            missing.push(format!("{:?} is not in {started:?}", self.args));
        }
        for (place, expected) in &self.seen {
            let (which, pointer) = place.split_once(' ').unwrap_or((place, ""));
            let here = object(objects, which).and_then(|object| object.pointer(pointer));
            if here.unwrap_or(&Value::Null) != expected {
                missing.push(format!("{place} is not {expected} but {here:?}"));
            }
        }
        Ok(missing)
    }

    /// How many looks the row has.
    pub(super) fn looks(&self) -> usize {
        self.seen.len() + usize::from(self.args.is_some())
    }
}

/// A row, and what is rendered of it.
type Variant = (Row, Vec<Value>);

/// All rows; the first to ask renders them.
pub(super) async fn variants() -> Result<&'static [Variant]> {
    static VARIANTS: OnceCell<Result<Vec<Variant>, String>> = OnceCell::const_new();

    let variants = VARIANTS.get_or_init(async || render().await.map_err(|error| format!("{error:#}")));
    let variants = variants.await.as_ref().map_err(|error| anyhow!("{error}"))?;
    Ok(variants)
}

async fn render() -> Result<Vec<Variant>> {
    let helm = Helm::alone().await?;
    let rows: Vec<Row> = serde_saphyr::from_str(include_str!("../fixtures/chart-values.yaml"))?;
    let mut variants = Vec::new();
    for row in rows {
        let objects = rendered(&helm, &row.flags()).await?;
        variants.push((row, objects));
    }
    Ok(variants)
}
