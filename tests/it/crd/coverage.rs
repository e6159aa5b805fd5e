//! Whether the samples leave a rule of the schemas untried: each has to be seen kept at its bound and broken past it.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};
use compliance_partner_operator::api::crds;
use serde_json::Value;

use super::desk::{Desk, Refusal, Verdict, Way};
use super::{rules, samples, status};

/// One rule of one field.
#[derive(Debug)]
struct Rule {
    /// As the API server names it, with `[]` for an entry of a list.
    path: String,
    /// What the API server says of a value that breaks it.
    refusal: String,
    /// A value that just keeps it.
    bound: Bound,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Bound {
    /// Any value that was taken.
    Any,
    Characters(u64),
    Entries(u64),
    Word(String),
    Number(i64),
}

#[tokio::test]
async fn no_rule_of_the_schemas_is_left_untried() -> Result<()> {
    let desk = Desk::new("coverage").await?;
    let mut seen = Seen::default();
    for sample in samples::samples() {
        let verdict = desk.try_spec(sample.kind, Way::Create, &sample.patch).await?;
        seen.note("spec", verdict, &rules::shortened(&sample.patch))?;
    }
    for (kind, sample, _) in status::samples() {
        let verdict = status::try_status(&desk, kind, &sample).await?;
        seen.note("status", verdict, &rules::shortened(&sample))?;
    }

    let mut untried = Vec::new();
    for crd in crds() {
        let crd = serde_json::to_value(crd)?;
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        let mut rules = Vec::new();
        for part in ["spec", "status"] {
            find_rules(part, &schema[part], &mut rules);
        }
        ensure!(
            rules.len() > 40,
            "{} has too few rules: {rules:?}",
            crd["metadata"]["name"]
        );
        for Rule { path, refusal, bound } in rules {
            let path = of_one_list(&path);
            if !seen
                .refusals
                .iter()
                .any(|(field, message)| *field == path && message.contains(&refusal))
            {
                untried.push(format!("{path}: nothing was refused by: {refusal}"));
            }
            if !seen.taken.contains(&(path.clone(), bound.clone())) {
                untried.push(format!("{path}: nothing was taken at the bound: {bound:?}"));
            }
        }
    }
    untried.sort();
    untried.dedup();
    ensure!(untried.is_empty(), "{}", untried.join("\n"));
    Ok(())
}

/// The three lists of assignments have one type of entry: what is tried of one need not be tried of the others.
#[test]
fn the_lists_of_assignments_are_of_one_type() {
    let [partner, _] = crds().map(|crd| serde_json::to_value(crd).unwrap());
    let spec = &partner["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    let [mac_os, android, ios] = ["macOs", "android", "ios"].map(|platform| {
        let mut list = spec[format!("{platform}EnrollmentAssignments")].clone();
        list["description"].take();
        list
    });
    assert_eq!(mac_os["maxItems"], 500);
    assert_eq!(mac_os, android);
    assert_eq!(mac_os, ios);
}

fn of_one_list(path: &str) -> String {
    let entry = "EnrollmentAssignments[]";
    path.replace(&format!("android{entry}"), &format!("macOs{entry}"))
        .replace(&format!("ios{entry}"), &format!("macOs{entry}"))
}

/// What the API server has taken and refused.
#[derive(Default)]
struct Seen {
    taken: BTreeSet<(String, Bound)>,
    refusals: BTreeSet<(String, String)>,
}

impl Seen {
    fn note(&mut self, part: &str, verdict: Verdict, sample: &str) -> Result<()> {
        match verdict {
            Ok(object) => self.note_taken(part, &object[part]),
            Err(Refusal { message, causes }) => {
                if causes.is_empty() {
                    bail!("{sample} is refused without a cause: {message}");
                }
                for (field, message) in causes {
                    self.refusals.insert((of_one_list(&without_indices(&field)), message));
                }
            }
        }
        Ok(())
    }

    fn note_taken(&mut self, path: &str, value: &Value) {
        let path = of_one_list(path);
        let mut note = |bound| self.taken.insert((path.clone(), bound));
        note(Bound::Any);
        match value {
            Value::String(text) => {
                note(Bound::Characters(text.chars().count() as u64));
                note(Bound::Word(text.clone()));
            }
            Value::Number(number) => {
                note(Bound::Number(number.as_i64().unwrap_or_default()));
            }
            Value::Array(entries) => {
                note(Bound::Entries(entries.len() as u64));
                for entry in entries {
                    self.note_taken(&format!("{path}[]"), entry);
                }
            }
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.note_taken(&format!("{path}.{name}"), value);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }
}

/// `a[0].b` as `a[].b`.
fn without_indices(field: &str) -> String {
    let mut path = String::new();
    let mut inside = false;
    for letter in field.chars() {
        inside = (inside || letter == '[') && letter != ']';
        if !inside || letter == '[' {
            path.push(letter);
        }
    }
    path
}

fn find_rules(path: &str, schema: &Value, found: &mut Vec<Rule>) {
    let mut rule = |path: &str, refusal: String, bound: Bound| {
        found.push(Rule {
            path: path.to_owned(),
            refusal,
            bound,
        });
    };
    for validation in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        // What may not change has tests of its own.
        if !validation["rule"].to_string().contains("oldSelf") {
            rule(path, words(&validation["message"]), Bound::Any);
        }
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        rule(
            &format!("{path}.{}", words(name)),
            "Required value".to_owned(),
            Bound::Any,
        );
    }
    if let Some(values) = schema["enum"].as_array() {
        for value in values {
            rule(path, "supported values".to_owned(), Bound::Word(words(value)));
        }
    } else if let Some(most) = schema["maxLength"].as_u64() {
        rule(path, format!("may not be more than {most}"), Bound::Characters(most));
    }
    if let Some(least) = schema["minLength"].as_u64() {
        rule(
            path,
            format!("should be at least {least} chars long"),
            Bound::Characters(least),
        );
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        rule(path, format!("should match '{pattern}'"), Bound::Any);
    }
    if schema["format"] == "date-time" {
        rule(path, "must be of type date-time".to_owned(), Bound::Any);
    }
    if let Some(least) = schema["minimum"].as_f64() {
        // Our bounds are whole numbers.
        #[allow(clippy::cast_possible_truncation)]
        let bound = Bound::Number(least as i64);
        rule(path, format!("should be greater than or equal to {least}"), bound);
    }
    if let Some(most) = schema["maxItems"].as_u64() {
        rule(path, format!("must have at most {most} items"), Bound::Entries(most));
        let entry = format!("{path}[]");
        if schema["x-kubernetes-list-type"] != "atomic" {
            rule(&entry, "Duplicate value".to_owned(), Bound::Any);
        }
        find_rules(&entry, &schema["items"], found);
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        find_rules(&format!("{path}.{name}"), field, found);
    }
}

fn words(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
