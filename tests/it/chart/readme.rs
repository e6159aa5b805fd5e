//! What README.md says of the chart's values.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use harness::checkout;
use serde_json::Value;

use super::{leaves, values};

/// Values and their defaults by the table of the section "Values".
fn told() -> Result<BTreeMap<String, String>> {
    let readme = std::fs::read_to_string(checkout().join("README.md"))?;
    let (_, section) = readme.split_once("\n### Values\n").context("no section")?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let section = section.split("\n### ").next().unwrap_or_default();
    let mut told = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        ensure!(cells.len() == 3, "{row}");
        let default = cells[1].trim_matches('`').to_owned();
        told.insert(cells[0].trim_matches('`').to_owned(), default);
    }
    Ok(told)
}

/// A default as the table writes it: as in JSON, but for a text's own marks.
fn written(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() => text.clone(),
        Value::Object(map) if !map.is_empty() => "see values.yaml".to_owned(),
        other => other.to_string(),
    }
}

#[test]
fn the_values_of_the_readme_are_those_of_the_chart() -> Result<()> {
    let expected: BTreeMap<String, String> = leaves(&values()?)
        .iter()
        .map(|(path, value)| (path.clone(), written(value)))
        .collect();
    assert_eq!(told()?, expected);
    Ok(())
}
