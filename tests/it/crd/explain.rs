//! `kubectl explain`: what people read who have nothing but a cluster.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use compliance_partner_operator::api::crds;
use serde_json::Value;

use super::desk::Desk;

/// One field of a schema.
struct Field {
    /// As `kubectl explain` takes it, such as `cmp.spec.suspend`.
    path: String,
    schema: Value,
    required: bool,
}

impl Field {
    fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or_default()
    }

    /// The description, by words: kubectl wraps lines anew.
    fn description(&self) -> String {
        words(self.schema["description"].as_str().unwrap_or_default())
    }

    fn is_object(&self) -> bool {
        let entries = if self.schema["type"] == "array" {
            &self.schema["items"]
        } else {
            &self.schema
        };
        entries["properties"].is_object()
    }

    fn values(&self) -> Option<Vec<&str>> {
        Some(
            self.schema["enum"]
                .as_array()?
                .iter()
                .filter_map(Value::as_str)
                .collect(),
        )
    }
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// All fields under `spec` and `status` of a kind, each after the object that has it.
fn fields(index: usize, short: &str) -> Result<Vec<Field>> {
    let crd = serde_json::to_value(&crds()[index])?;
    let root = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut found = Vec::new();
    collect(short, root, &mut found);
    Ok(found)
}

fn collect(path: &str, schema: &Value, found: &mut Vec<Field>) {
    let schema = if schema["type"] == "array" {
        &schema["items"]
    } else {
        schema
    };
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let required = schema["required"].as_array().into_iter().flatten().any(|it| it == name);
        let path = format!("{path}.{name}");
        found.push(Field {
            path: path.clone(),
            schema: field.clone(),
            required,
        });
        collect(&path, field, found);
    }
}

const KINDS: [(usize, &str); 2] = [(0, "cmp"), (1, "gconn")];

/// The explanation of an object has each of its fields with what is to be known of it.
#[tokio::test]
async fn kubectl_explain_describes_every_field() -> Result<()> {
    let desk = Desk::new("explain").await?;
    for (index, short) in KINDS {
        let fields = fields(index, short)?;
        let mut objects: Vec<&str> = fields
            .iter()
            .filter(|field| field.is_object())
            .map(|field| &*field.path)
            .collect();
        // The three lists of assignments are one type.
        objects.retain(|path| !path.contains("androidEnrollment") && !path.contains("iosEnrollment"));
        ensure!(objects.len() > 7, "{objects:?}");
        let root = desk.kubectl_ok(&["explain", short]).await?;
        let crd = serde_json::to_value(&crds()[index])?;
        let whole = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"];
        let whole = format!("DESCRIPTION: {}", words(whole.as_str().context("no description")?));
        ensure!(words(&root).contains(&whole), "{root}");
        for path in objects {
            let text = desk.kubectl_ok(&["explain", path]).await?;
            ensure!(!text.contains("<no description>"), "{path}: {text}");
            let of_object = |field: &&Field| field.path.rsplit_once('.').is_some_and(|(object, _)| object == path);
            let mut count = 0;
            for field in fields.iter().filter(of_object) {
                count += 1;
                // From the line of the field to the next empty one.
                let (_, from) = text
                    .split_once(&format!("\n  {}\t", field.name()))
                    .with_context(|| format!("nothing of {} in {path}: {text}", field.name()))?;
                let told = words(from.split("\n\n").next().unwrap_or_default());
                ensure!(told.ends_with(&field.description()), "{}: {told}", field.path);
                assert_eq!(told.contains("-required-"), field.required, "{}: {told}", field.path);
                if let Some(values) = field.values() {
                    // Of more than four the rest is left to the explanation of the field itself.
                    let first = values[..values.len().min(4)].join(", ");
                    ensure!(told.contains(&format!("enum: {first}")), "{told}");
                }
            }
            ensure!(count > 0, "{path} has no fields");
        }
    }
    Ok(())
}

/// What people look up while they write a resource: one field of spec, by its path.
#[tokio::test]
async fn kubectl_explain_tells_each_field_of_spec_by_its_path() -> Result<()> {
    let desk = Desk::new("explain-each").await?;
    for (index, short) in KINDS {
        let mut count = 0;
        for field in fields(index, short)? {
            let leaf = field.path.contains(".spec.") && !field.is_object();
            if !leaf || field.path.contains("androidEnrollment") || field.path.contains("iosEnrollment") {
                continue;
            }
            count += 1;
            let text = words(&desk.kubectl_ok(&["explain", &field.path]).await?);
            ensure!(text.contains(&format!("FIELD: {} <", field.name())), "{text}");
            ensure!(
                text.ends_with(&format!("DESCRIPTION: {}", field.description())),
                "{text}"
            );
            if let Some(values) = field.values() {
                ensure!(text.contains(&format!("ENUM: {} ", values.join(" "))), "{text}");
            }
        }
        ensure!(count > 8, "{short}: {count}");
    }
    Ok(())
}

/// The overview has every field, at its place, and none that there is not.
#[tokio::test]
async fn kubectl_explain_lists_both_kinds_whole() -> Result<()> {
    let desk = Desk::new("explain-all").await?;
    for (index, short) in KINDS {
        let text = desk.kubectl_ok(&["explain", short, "--recursive"]).await?;
        let (_, listed) = text.split_once("\nFIELDS:\n").context("no fields")?;
        let mut above: Vec<&str> = Vec::new();
        let mut paths = BTreeSet::new();
        for line in listed.lines().filter(|line| line.contains('\t')) {
            let (name, _) = line.split_once('\t').context("no type")?;
            let depth = (name.len() - name.trim_start().len()) / 2 - 1;
            above.truncate(depth);
            above.push(name.trim());
            paths.insert(format!("{short}.{}", above.join(".")));
        }
        paths.retain(|path| path.contains(".spec") || path.contains(".status"));
        let mut expected: BTreeSet<String> = fields(index, short)?.into_iter().map(|field| field.path).collect();
        expected.retain(|path| path.contains(".spec") || path.contains(".status"));
        assert_eq!(paths, expected);
    }
    Ok(())
}
