//! The rules that `deploy/` has for the operator.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context as _, Result, ensure};
use harness::{Helm, OPERATOR, checkout, yaml_documents};
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::Value;

/// A verb on a resource, whatever the object's name; or on a path that is no resource's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Access {
    pub(crate) verb: String,
    pub(crate) group: String,
    /// With its subresource, as rules have it.
    pub(crate) resource: String,
}

impl Access {
    pub(crate) fn new(verb: &str, group: &str, resource: &str) -> Self {
        Self {
            verb: verb.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
        }
    }
}

/// As kubectl writes it: `patch graphconnections.intune.msgraph.dev/status`.
impl fmt::Display for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (resource, part) = self.resource.split_once('/').unwrap_or((&self.resource, ""));
        write!(formatter, "{} {resource}", self.verb)?;
        if !self.group.is_empty() {
            write!(formatter, ".{}", self.group)?;
        }
        if !part.is_empty() {
            write!(formatter, "/{part}")?;
        }
        Ok(())
    }
}

/// Where a right comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// The operator's own role, in the whole cluster or in each namespace that it watches.
    Own,
    /// A role in a namespace, for the one Secret or `ServiceAccount` that this names.
    Consent,
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Own => "the operator's own role",
            Self::Consent => "a consent",
        })
    }
}

/// All that the operator may be granted, rule by rule.
#[derive(Debug)]
pub(crate) struct Granted(pub(crate) BTreeSet<(Source, Access)>);

impl Granted {
    /// What `deploy/rbac.yaml` and the examples grant, and the chart where one asks for more. That it grants the same by
    /// default is held by a test of its own.
    pub(crate) async fn by_deploy() -> Result<Self> {
        let mut all = BTreeSet::new();
        for rule in rules(&read("rbac.yaml")?, "ClusterRole", OPERATOR)? {
            add(&mut all, Source::Own, &rule)?;
        }
        for rule in more_by_the_chart().await? {
            add(&mut all, Source::Own, &rule)?;
        }
        for (file, role) in [
            ("examples/consent.yaml", "graph-reader"),
            ("examples/workload-identity/connection.yaml", "graph-token"),
        ] {
            for rule in rules(&read(file)?, "Role", role)? {
                add(&mut all, Source::Consent, &rule)?;
            }
        }
        Ok(Self(all))
    }

    /// Whether a rule of any source grants it.
    pub(crate) fn has(&self, access: &Access) -> bool {
        self.0.iter().any(|(_, granted)| granted == access)
    }
}

/// The rules of the operator's own role in the chart that are there only where a value asks for them.
async fn more_by_the_chart() -> Result<Vec<PolicyRule>> {
    let (helm, chart) = (Helm::alone().await?, checkout().join("deploy/chart"));
    let chart = chart.display().to_string();
    let rendered = async |flags: &[&str]| -> Result<Vec<PolicyRule>> {
        let text = helm.ok(&[&["template", OPERATOR, &chart], flags].concat()).await?;
        rules(&yaml_documents(&text)?, "ClusterRole", OPERATOR)
    };
    let usual = rendered(&[]).await?;
    let mut all = rendered(&["--set", "rbac.clusterWideSecrets=true"]).await?;
    ensure!(all.len() > usual.len(), "rbac.clusterWideSecrets grants nothing");
    all.retain(|rule| !usual.contains(rule));
    Ok(all)
}

fn read(file: &str) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(checkout().join("deploy").join(file)).context(file.to_owned())?;
    yaml_documents(&text)
}

fn rules(objects: &[Value], kind: &str, name: &str) -> Result<Vec<PolicyRule>> {
    let is = |object: &Value, pointer: &str, word: &str| object.pointer(pointer).and_then(Value::as_str) == Some(word);
    let role = objects
        .iter()
        .find(|object| is(object, "/kind", kind) && is(object, "/metadata/name", name));
    let rules = role.and_then(|role| role.get("rules"));
    let rules = rules.with_context(|| format!("no rules of a {kind} {name}"))?;
    Ok(serde_json::from_value(rules.clone())?)
}

/// Adds what a rule grants, one by one. What stands for more than it names cannot be held against what was used.
fn add(all: &mut BTreeSet<(Source, Access)>, source: Source, rule: &PolicyRule) -> Result<()> {
    let names = rule.resource_names.as_ref().map_or(0, Vec::len);
    let expected = match source {
        Source::Own => 0,
        Source::Consent => 1,
    };
    ensure!(names == expected, "{source} with {names} names of objects: {rule:?}");
    ensure!(rule.non_resource_urls.is_none(), "a path: {rule:?}");
    for group in rule.api_groups.iter().flatten() {
        for resource in rule.resources.iter().flatten() {
            for verb in &rule.verbs {
                ensure!(
                    ![group, resource, verb].iter().any(|word| word.contains('*')),
                    "a wildcard: {rule:?}"
                );
                all.insert((source, Access::new(verb, group, resource)));
            }
        }
    }
    Ok(())
}
