//! The generated CRDs, held against what the API promises of every schema and against the files that users install.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{crds, to_yaml};

/// Set to rewrite the files in `crds/`.
const UPDATE: &str = "UPDATE_CRDS";

/// Whatever makes an object's meaning depend on the server's writing to spec, or a value's on leniency.
const FORBIDDEN: [&str; 13] = [
    "nullable",
    "title",
    "$ref",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "additionalProperties",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-int-or-string",
    "x-kubernetes-embedded-resource",
    "exclusiveMinimum",
    "exclusiveMaximum",
];

/// Walks a schema and collects every exception to the rules that hold for all fields.
struct Walk {
    found: Vec<String>,
}

impl Walk {
    fn check(&mut self, path: &str, schema: &Value) {
        let mut wrong = |what: &str| self.found.push(format!("{path}: {what}"));
        for key in FORBIDDEN {
            if schema.get(key).is_some() {
                wrong(&format!("has {key}"));
            }
        }
        // kstatus must not call a resource ready that no pass has seen; spec stays what its author wrote.
        let default = (path == ".status").then(|| json!({ "observedGeneration": -1 }));
        if schema.get("default") != default.as_ref() {
            wrong(&format!("has the default {:?}, not {default:?}", schema.get("default")));
        }
        match schema["type"].as_str() {
            Some("string") => {
                if schema["maxLength"].as_u64().is_none() {
                    wrong("a string without maxLength");
                }
                if !matches!(schema["format"].as_str(), None | Some("date-time")) {
                    wrong("a string of a format that is not checked");
                }
            }
            Some("array") => {
                if schema["maxItems"].as_u64().is_none() {
                    wrong("a list without maxItems");
                }
                match list_type_error(schema) {
                    Some(error) => wrong(error),
                    None => self.check(&format!("{path}[]"), &schema["items"]),
                }
            }
            Some("integer") if !matches!(schema["format"].as_str(), Some("int32" | "int64")) => {
                wrong("an integer of a format that the API server does not know");
            }
            Some("boolean" | "integer") => {}
            Some("object") => self.check_fields(path, schema),
            other => wrong(&format!("has the type {other:?}")),
        }
        self.check_rules(path, schema);
    }

    fn check_fields(&mut self, path: &str, schema: &Value) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            if let Some(error) = description_error(&field["description"]) {
                self.found.push(format!("{path}: {error}"));
            }
            self.check(&path, field);
        }
    }

    /// A refusal must tell what to change: the API server adds no more than the path.
    fn check_rules(&mut self, path: &str, schema: &Value) {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let message = rule["message"].as_str().unwrap_or_default();
            let mut names: Vec<&str> = schema["properties"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, _)| &**key)
                .collect();
            names.extend(path.rsplit('.').next());
            if !names.iter().any(|name| message.contains(name)) {
                self.found
                    .push(format!("{path}: the message {message:?} names no field"));
            }
        }
    }
}

/// Server-side apply merges by these: a list without would be replaced whole, and a map without its keys is no map.
fn list_type_error(schema: &Value) -> Option<&'static str> {
    let items = &schema["items"];
    match schema["x-kubernetes-list-type"].as_str() {
        Some("atomic") => None,
        Some("set") if items["type"] == "string" => None,
        Some("map") => {
            let keys = schema["x-kubernetes-list-map-keys"]
                .as_array()
                .map_or(&[][..], Vec::as_slice);
            let required = items["required"].as_array().map_or(&[][..], Vec::as_slice);
            (keys.is_empty() || keys.iter().any(|key| !required.contains(key)))
                .then_some("a map whose keys are not required")
        }
        _ => Some("a list without a type that fits"),
    }
}

/// For `kubectl explain`: sentences, without the marks that rustdoc reads.
fn description_error(description: &Value) -> Option<String> {
    let Some(text) = description.as_str() else {
        return Some("has no description".to_owned());
    };
    let sentences = text.starts_with(char::is_uppercase) && text.ends_with('.');
    let lines = text.replace("\n\n", "").contains('\n');
    let marks = ["`", "[", "*", "  "].iter().any(|mark| text.contains(mark));
    (!sentences || lines || marks || text.len() > 400).then(|| format!("reads badly: {text:?}"))
}

#[test]
fn every_field_of_both_schemas_keeps_the_rules() {
    for crd in crds() {
        let crd = serde_json::to_value(&crd).unwrap();
        let root = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut walk = Walk { found: Vec::new() };
        walk.check("", root);
        walk.found.extend(description_error(&root["description"]));
        assert!(
            walk.found.is_empty(),
            "{}:\n{}",
            crd["metadata"]["name"],
            walk.found.join("\n")
        );
    }
}

#[test]
fn the_walk_finds_what_it_is_for() {
    for (schema, finding) in [
        (json!({ "type": "string" }), "maxLength"),
        (json!({ "type": "string", "enum": ["A"] }), "maxLength"),
        (
            json!({ "type": "string", "maxLength": 1, "nullable": true }),
            "nullable",
        ),
        (json!({ "type": "string", "maxLength": 1, "default": "A" }), "default"),
        (json!({ "type": "string", "maxLength": 1, "format": "uuid" }), "format"),
        (json!({ "type": "integer", "format": "uint32" }), "format"),
        (json!({ "type": "integer" }), "format"),
        (json!({ "enum": ["A"] }), "type"),
        (
            json!({ "type": "array", "items": { "type": "boolean" }, "x-kubernetes-list-type": "atomic" }),
            "maxItems",
        ),
        (
            json!({ "type": "array", "items": { "type": "boolean" }, "maxItems": 1 }),
            "a type that fits",
        ),
        (
            json!({ "type": "object", "properties": { "a": { "type": "boolean" } } }),
            "no description",
        ),
        (
            json!({ "type": "object", "properties": { "a": { "type": "boolean", "description": "Is `a`." } } }),
            "reads badly",
        ),
        (
            json!({ "type": "boolean", "x-kubernetes-validations": [{ "rule": "self", "message": "wrong" }] }),
            "names no field",
        ),
    ] {
        let mut walk = Walk { found: Vec::new() };
        walk.check(".spec.field", &schema);
        assert!(
            walk.found.iter().any(|found| found.contains(finding)),
            "{schema}: {:?}",
            walk.found
        );
    }
}

#[test]
fn both_kinds_have_the_names_and_columns_that_users_know() {
    let [partner, connection] = crds().map(|crd| serde_json::to_value(crd).unwrap());
    for (crd, short, columns) in [
        (
            &partner,
            "cmp",
            "Ready State Heartbeat Synced Age Connection+ Reason+ Id+",
        ),
        (&connection, "gconn", "Ready Reason Tenant Age Cloud+ Client+"),
    ] {
        let spec = &crd["spec"];
        assert_eq!(spec["names"]["shortNames"], json!([short]));
        assert_eq!(spec["names"]["categories"], json!(["intune", "msgraph"]));
        assert_eq!(spec["scope"], "Namespaced");
        assert_eq!(spec["versions"].as_array().unwrap().len(), 1);
        let version = &spec["versions"][0];
        assert_eq!(version["name"], "v1alpha1");
        assert_eq!(version["subresources"], json!({ "status": {} }));
        let seen: Vec<_> = version["additionalPrinterColumns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|column| {
                format!(
                    "{}{}",
                    column["name"].as_str().unwrap(),
                    if column["priority"] == 1 { "+" } else { "" }
                )
            })
            .collect();
        assert_eq!(seen.join(" "), columns, "a plus marks columns of the wide output");
    }
    let selectable = |crd: &Value| crd["spec"]["versions"][0].get("selectableFields").cloned();
    assert_eq!(
        selectable(&partner),
        Some(json!([{ "jsonPath": ".spec.connectionRef.name" }, { "jsonPath": ".spec.partnerRef.id" }]))
    );
    assert_eq!(selectable(&connection), None);
}

#[test]
fn the_files_that_users_install_are_what_the_code_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    for crd in crds() {
        let name = format!("{}.yaml", crd.metadata.name.as_deref().unwrap());
        let (file, yaml) = (folder.join(&name), to_yaml(&crd).unwrap());
        if std::env::var_os(UPDATE).is_some() {
            fs::write(&file, &yaml).unwrap();
        }
        let written = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            written == yaml,
            "crds/{name} is not what the code says. To write it anew: make crds, which is {UPDATE}=1 cargo test --lib api::"
        );
    }
}

/// The chart's template of both: the same text, with the labels of a release, and the annotations by which Helm and
/// Argo CD keep them.
fn chart_template() -> String {
    const METADATA: &str = "
metadata:
  labels:
    {{- include \"compliance-partner-operator.labels\" . | nindent 4 }}
  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
    argocd.argoproj.io/sync-options: Prune=false
  {{- end }}
";
    let documents = crds().map(|crd| {
        let yaml = to_yaml(&crd).unwrap();
        assert!(!yaml.contains("{{"), "Helm would read this as a template: {yaml}");
        assert_eq!(yaml.matches("\nmetadata:\n").count(), 1, "{yaml}");
        format!("---\n{}", yaml.replace("\nmetadata:\n", METADATA))
    });
    format!(
        "{{{{- /* Written from crds/ by `make crds`. */ -}}}}\n{{{{- if .Values.crds.enabled }}}}\n{}{{{{- end }}}}\n",
        documents.concat()
    )
}

#[test]
fn the_chart_installs_what_the_code_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/chart/templates/crds.yaml");
    let template = chart_template();
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&file, &template).unwrap();
    }
    assert!(
        fs::read_to_string(&file).unwrap_or_default() == template,
        "deploy/chart/templates/crds.yaml is not what the code says. To write it anew: make crds, which is {UPDATE}=1 \
         cargo test --lib api::"
    );
}

#[test]
fn the_yaml_reads_back_to_the_same_crd() {
    for crd in crds() {
        let read: Value = serde_saphyr::from_str(&to_yaml(&crd).unwrap()).unwrap();
        assert_eq!(read, serde_json::to_value(&crd).unwrap());
    }
}
