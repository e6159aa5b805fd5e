//! The rows of a tenant: what is stored, how a PATCH changes it, and how a write can be ignored.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A rule that a PATCH of a row answers 2xx and has no effect, or a late one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct IgnoreWrites {
    /// The properties that it is about; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<String>>,
    /// How many reads of the row by its id still show the old value; absent: for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gets: Option<u64>,
    /// Whether the PATCH's own answer shows the old values too. Else it pretends.
    pub honest_answer: bool,
}

impl IgnoreWrites {
    /// Every property, for ever.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// These properties alone.
    #[must_use]
    pub fn fields<F: Into<String>>(fields: impl IntoIterator<Item = F>) -> Self {
        Self {
            fields: Some(fields.into_iter().map(Into::into).collect()),
            ..Self::default()
        }
    }

    /// Only for this many reads by id; then the written value shows.
    #[must_use]
    pub fn for_gets(mut self, gets: u64) -> Self {
        self.gets = Some(gets);
        self
    }

    fn covers(&self, field: &str) -> bool {
        self.fields
            .as_ref()
            .is_none_or(|fields| fields.iter().any(|own| own == field))
    }
}

/// A row. Its key is what the path finds; the value is anything, for odd data.
pub(crate) struct Row {
    pub(crate) key: String,
    pub(crate) value: Value,
    pub(crate) ignore: Option<IgnoreWrites>,
    pending: Vec<Pending>,
}

struct Pending {
    field: String,
    value: Value,
    gets: u64,
}

impl Row {
    pub(crate) fn new(key: String, value: Value) -> Self {
        Self {
            key,
            value,
            ignore: None,
            pending: Vec::new(),
        }
    }

    /// A read by id: late writes come nearer by one.
    pub(crate) fn read(&mut self) -> Value {
        let mut due = Map::new();
        self.pending.retain_mut(|pending| {
            if pending.gets == 0 {
                due.insert(pending.field.clone(), pending.value.clone());
                return false;
            }
            pending.gets -= 1;
            true
        });
        merge(&mut self.value, due);
        self.value.clone()
    }

    /// A PATCH: sets what the rule lets through. Answers what the PATCH shows.
    pub(crate) fn patch(&mut self, changes: Map<String, Value>) -> Value {
        let Some(rule) = self.ignore.clone() else {
            self.pending.retain(|pending| !changes.contains_key(&pending.field));
            merge(&mut self.value, changes);
            return self.value.clone();
        };
        let mut pretended = self.value.clone();
        merge(&mut pretended, changes.clone());
        let (kept_back, applied): (Map<_, _>, Map<_, _>) =
            changes.into_iter().partition(|(field, _)| rule.covers(field));
        merge(&mut self.value, applied);
        if let Some(gets) = rule.gets {
            for (field, value) in kept_back {
                self.pending.retain(|pending| pending.field != field);
                self.pending.push(Pending { field, value, gets });
            }
        }
        if rule.honest_answer {
            self.value.clone()
        } else {
            pretended
        }
    }
}

/// Sets the properties of an object; anything else becomes an object first.
pub(crate) fn merge(value: &mut Value, changes: Map<String, Value>) {
    if changes.is_empty() {
        return;
    }
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    if let Value::Object(object) = value {
        object.extend(changes);
    }
}

/// A row as it would come from a tenant where nothing is set up; `id` and `displayName` are given.
#[must_use]
pub fn base_row(id: &str, display_name: &str) -> Value {
    serde_json::json!({
        "id": id,
        "displayName": display_name,
        "partnerState": "enabled",
        "lastHeartbeatDateTime": "2026-11-25T09:59:00.1234567Z",
        "macOsOnboarded": false,
        "androidOnboarded": false,
        "iosOnboarded": false,
        "macOsEnrollmentAssignments": [],
        "androidEnrollmentAssignments": [],
        "iosEnrollmentAssignments": [],
    })
}
