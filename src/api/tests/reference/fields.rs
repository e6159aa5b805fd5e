//! The tables of fields, from the schema of a CRD.

use std::fmt::Write as _;
use std::time::Duration;

use clap::CommandFactory as _;
use serde_json::{Value, json};

use super::{row, table};
use crate::api::connection::{Access, Cloud, SecretKeyReference};
use crate::api::crds;
use crate::api::partner::{DeletionPolicy, ManagementPolicy, parse_sync_interval};
use crate::api::reason::Timing;
use crate::options::CommandLine;

/// Patterns that a reader knows by a name.
const SHAPES: [(&str, &str); 3] = [
    ("^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$", "GUID in lower case"),
    ("^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$", "GUID"),
    (
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        "DNS subdomain",
    ),
];

/// What a kind is called and shown by, and all its fields.
pub(super) fn reference(crd: &Value) -> String {
    let (names, version) = (&crd["spec"]["names"], &crd["spec"]["versions"][0]);
    let schema = &version["schema"]["openAPIV3Schema"];
    let listed = |list: &Value, key: Option<&str>| -> String {
        let words = list.as_array().into_iter().flatten();
        let words = words.map(|it| format!("`{}`", key.map_or(it, |key| &it[key]).as_str().unwrap()));
        words.collect::<Vec<_>>().join(", ")
    };
    let columns = |wide: bool| -> String {
        let columns = version["additionalPrinterColumns"].as_array().unwrap().iter();
        let columns = columns.filter(|column| (column["priority"] == 1) == wide);
        columns
            .map(|column| format!("`{}`", column["name"].as_str().unwrap()))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut text = format!(
        "{}\n\nShort name {}; categories {}. `kubectl get` shows {}; with `-o wide` also {}.",
        schema["description"].as_str().unwrap(),
        listed(&names["shortNames"], None),
        listed(&names["categories"], None),
        columns(false),
        columns(true),
    );
    let selectable = listed(&version["selectableFields"], Some("jsonPath"));
    if !selectable.is_empty() {
        write!(text, " `--field-selector` takes {}.", selectable.replace("`.", "`")).unwrap();
    }
    for part in ["spec", "status"] {
        let schema = &schema["properties"][part];
        let mut fields = Fields::of(part == "spec");
        fields.collect("", schema);
        write!(
            text,
            "\n\n### `{part}` of {}\n\n{}\n\n{}",
            names["kind"].as_str().unwrap(),
            schema["description"].as_str().unwrap(),
            table(&fields.rows)
        )
        .unwrap();
        if !fields.rules.is_empty() {
            write!(text, "\n{}\n", fields.rules.join("\n")).unwrap();
        }
        text = text.trim_end().to_owned();
    }
    text.push('\n');
    text
}

struct Fields {
    /// Whether a column tells what an absent field means: all that the operator writes may be absent.
    spec: bool,
    rows: Vec<Vec<String>>,
    rules: Vec<String>,
    /// Lists whose entries are in the table, with their path.
    lists: Vec<(Value, String)>,
}

impl Fields {
    fn of(spec: bool) -> Self {
        let head = if spec {
            row(&["field", "type", "absent", "meaning"])
        } else {
            row(&["field", "type", "meaning"])
        };
        Self {
            spec,
            rows: vec![head],
            rules: Vec::new(),
            lists: Vec::new(),
        }
    }

    /// The fields of an object, those that must be there first.
    fn collect(&mut self, path: &str, schema: &Value) {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let rule = format!("- {}.", rule["message"].as_str().unwrap());
            if !self.rules.contains(&rule) {
                self.rules.push(rule);
            }
        }
        let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
        let fields = schema["properties"].as_object().into_iter().flatten();
        let (first, then): (Vec<_>, Vec<_>) = fields.partition(|(name, _)| required.contains(&json!(name)));
        for (name, field) in first.into_iter().chain(then) {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            self.add(&path, field, required.contains(&json!(name)));
        }
    }

    fn add(&mut self, path: &str, field: &Value, required: bool) {
        let same = self.lists.iter().find(|(entries, _)| *entries == field["items"]);
        let same = same.map(|(_, path)| path.clone());
        let mut kind = type_of(field);
        // What the operator writes keeps to its pattern: nobody has to.
        if !self.spec
            && let Some((bounds, _)) = kind.split_once(", `^")
        {
            kind = bounds.to_owned();
        }
        if let Some(same) = &same {
            write!(kind, ", as in `{same}`").unwrap();
        }
        let (meaning, absent) = split(field["description"].as_str().unwrap());
        let mut cells = vec![format!("`{path}`"), kind];
        if self.spec {
            cells.push(match (required, absent) {
                (true, None) => "refused".to_owned(),
                (false, Some(absent)) => absent,
                (false, None) => "allowed".to_owned(),
                (true, Some(_)) => panic!("{path} must be there, and yet its description says what it is if not"),
            });
        }
        cells.push(meaning);
        self.rows.push(cells);
        if field["type"] == "array" && field["items"]["properties"].is_object() {
            if same.is_none() {
                self.lists.push((field["items"].clone(), path.to_owned()));
                self.collect(&format!("{path}[]"), &field["items"]);
            }
        } else {
            self.collect(path, field);
        }
    }
}

/// The description without the sentence on what absence means, and that sentence's end.
fn split(description: &str) -> (String, Option<String>) {
    let Some((before, after)) = description.split_once("Absent: ") else {
        return (description.to_owned(), None);
    };
    let (absent, after) = after.split_once(". ").unwrap_or((after.trim_end_matches('.'), ""));
    let meaning = format!("{before}{after}").trim_end().to_owned();
    (meaning, Some(absent.to_owned()))
}

fn type_of(schema: &Value) -> String {
    match schema["type"].as_str().unwrap() {
        "string" => text_type(schema),
        "array" => {
            let most = schema["maxItems"].as_u64().unwrap();
            let entries = &schema["items"];
            match schema["x-kubernetes-list-type"].as_str().unwrap() {
                "set" => format!("set of at most {most}: {}", type_of(entries)),
                "map" => {
                    let key = schema["x-kubernetes-list-map-keys"][0].as_str().unwrap();
                    format!("list of at most {most}, one for each `{key}`")
                }
                _ => format!("list of at most {most}"),
            }
        }
        other => other.to_owned(),
    }
}

fn text_type(schema: &Value) -> String {
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<_> = values
            .iter()
            .map(|value| format!("`{}`", value.as_str().unwrap()))
            .collect();
        return values.join(", ");
    }
    if schema["format"] == "date-time" {
        return "time".to_owned();
    }
    let most = schema["maxLength"].as_u64().unwrap();
    match schema["pattern"].as_str() {
        Some(pattern) => match SHAPES.iter().find(|(known, _)| *known == pattern) {
            Some((_, shape @ "DNS subdomain")) => format!("{shape} of at most {most} characters"),
            Some((_, shape)) => (*shape).to_owned(),
            None => format!("string of at most {most} characters, `{pattern}`"),
        },
        None => match schema["minLength"].as_u64() {
            Some(least) => format!("string of {least} to {most} characters"),
            None => format!("string of at most {most} characters"),
        },
    }
}

/// What absence means, by the description of a field of spec.
fn absent(crd: &Value, path: &str) -> String {
    let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let field = path.split('.').fold(spec, |schema, name| &schema["properties"][name]);
    split(field["description"].as_str().unwrap()).1.unwrap()
}

#[test]
fn what_an_absent_field_is_said_to_mean_is_what_the_code_takes_it_for() {
    let [partner, connection] = crds().map(|crd| serde_json::to_value(crd).unwrap());
    let word = |value: Value| value.as_str().unwrap().to_owned();
    assert_eq!(
        absent(&partner, "managementPolicy"),
        word(json!(ManagementPolicy::default()))
    );
    assert_eq!(
        absent(&partner, "deletionPolicy"),
        word(json!(DeletionPolicy::default()))
    );
    assert_eq!(absent(&partner, "suspend"), bool::default().to_string());
    assert_eq!(absent(&connection, "cloud"), word(json!(Cloud::default())));
    assert_eq!(absent(&connection, "access"), word(json!(Access::default())));
    let key = SecretKeyReference {
        name: "graph".to_owned(),
        key: None,
    };
    assert_eq!(absent(&connection, "auth.clientSecret.secretRef.key"), key.key());

    // The flag that is named there, and its default.
    let interval = absent(&partner, "syncInterval");
    let command = CommandLine::command();
    let run = command.find_subcommand("run").unwrap();
    let flag = run
        .get_arguments()
        .find(|flag| flag.get_id() == "sync_interval")
        .unwrap();
    let default = flag.get_default_values()[0].to_str().unwrap();
    assert_eq!(
        interval,
        format!(
            "the operator's --{}, {default} if that is not set either",
            flag.get_long().unwrap()
        )
    );
    assert_eq!(parse_sync_interval(default), Some(Timing::default().sync_interval));
    assert_eq!(Timing::default().sync_interval, Duration::from_secs(600));
}

/// A property of Graph that is left out is not managed, whichever it is.
#[test]
fn every_property_of_graph_says_that_it_need_not_be_managed() {
    let [partner, _] = crds().map(|crd| serde_json::to_value(crd).unwrap());
    let mut told = 0;
    let spec = &partner["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    for name in spec.as_object().unwrap().keys() {
        let expected = if name.ends_with("Assignments") {
            "not managed; an empty list clears it"
        } else if name.ends_with("Onboarded") || name == "displayName" {
            "not managed"
        } else {
            continue;
        };
        assert_eq!(absent(&partner, name), expected, "{name}");
        told += 1;
    }
    assert_eq!(told, 7);
}
