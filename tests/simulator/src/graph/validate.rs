//! What Graph checks in the body of a PATCH (FACTS 3.5, 3.6, 3.8), and what a right client never sends.

use serde_json::{Map, Value};

use crate::graph::error::Failure;
use crate::log::ViolationKind;
use crate::model::{
    ABSTRACT_TARGET, ASSIGNMENT, ENTITY, Kind, Owner, PARTNER_STATES, Property, TARGETS, Target, find_property,
    is_date_time_offset, is_guid,
};
use crate::options::ServiceOwned;

/// The namespace of every type on the wire.
const NAMESPACE: &str = "microsoft.graph.";
/// The namespace that Intune's own sentences use.
const INTUNE: &str = "microsoft.management.services.api.";

/// What a body is worth: either changes or the first reason to refuse; and all that was wrong with it.
pub(crate) struct Verdict {
    pub(crate) changes: Result<Map<String, Value>, Failure>,
    pub(crate) violations: Vec<(ViolationKind, String)>,
}

struct Check<'a> {
    path: &'a str,
    violations: Vec<(ViolationKind, String)>,
}

/// Checks a body. `path` is the OData path for Intune's sentences.
pub(crate) fn check(body: &[u8], content_type: Option<&str>, path: &str, service_owned: ServiceOwned) -> Verdict {
    let mut check = Check {
        path,
        violations: Vec::new(),
    };
    let changes = check.body(body, content_type, service_owned);
    Verdict {
        changes,
        violations: check.violations,
    }
}

impl Check<'_> {
    fn violation(&mut self, kind: ViolationKind, detail: impl Into<String>) {
        self.violations.push((kind, detail.into()));
    }

    fn body(
        &mut self,
        body: &[u8],
        content_type: Option<&str>,
        service_owned: ServiceOwned,
    ) -> Result<Map<String, Value>, Failure> {
        let media_type = content_type.and_then(|value| value.split(';').next()).map(str::trim);
        if !media_type.is_some_and(|media_type| media_type.eq_ignore_ascii_case("application/json")) {
            self.violation(ViolationKind::UnexpectedBody, "Content-Type is not application/json");
            return Err(unreadable());
        }
        let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(body) else {
            self.violation(ViolationKind::UnexpectedBody, "the body is no JSON object");
            return Err(unreadable());
        };
        self.root_type(&object)?;
        let mut changes = Map::new();
        let mut failure = None;
        for (name, value) in object {
            if name.contains('@') {
                continue;
            }
            match self.property(&name, value, service_owned) {
                Ok((property, value)) => {
                    changes.insert(property.name.to_owned(), value);
                }
                Err(reason) => failure = failure.or(Some(reason)),
            }
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        if changes.is_empty() {
            self.violation(ViolationKind::EmptyPatch, "the body sets no property");
        }
        Ok(changes)
    }

    fn root_type(&mut self, object: &Map<String, Value>) -> Result<(), Failure> {
        match object.get("@odata.type") {
            None => self.violation(ViolationKind::MissingODataType, "the entity has no @odata.type"),
            Some(value) => {
                let name = type_name(value)?;
                if name != ENTITY {
                    return Err(unresolved(name));
                }
            }
        }
        Ok(())
    }

    fn property(
        &mut self,
        name: &str,
        value: Value,
        service_owned: ServiceOwned,
    ) -> Result<(&'static Property, Value), Failure> {
        let Some(property) = find_property(name) else {
            return Err(unknown_property(name, ENTITY));
        };
        if property.owner == Owner::Service {
            self.violation(
                ViolationKind::ServiceOwnedProperty,
                format!("{name} belongs to the service"),
            );
            if service_owned == ServiceOwned::Refuse {
                let sentence = format!("The property '{name}' belongs to the service and is never sent.");
                return Err(Failure::plain(400, "BadRequest", sentence));
            }
        }
        if value.is_null() && !property.nullable {
            self.violation(ViolationKind::NullValue, format!("{name} is null"));
            let expected = format!("{}[Nullable=False]", expected_type(property.kind));
            let sentence = format!(
                "A null value was found for the property named '{name}', which has the expected type '{expected}'. The \
                 expected type '{expected}' does not allow null values."
            );
            return Err(Failure::model(sentence));
        }
        let value = self.value(property, value)?;
        Ok((property, value))
    }

    fn value(&mut self, property: &Property, value: Value) -> Result<Value, Failure> {
        let name = property.name;
        match (property.kind, value) {
            (Kind::String, value @ (Value::String(_) | Value::Null)) | (Kind::Boolean, value @ Value::Bool(_)) => {
                Ok(value)
            }
            (Kind::DateTimeOffset, Value::String(text)) if is_date_time_offset(&text) => Ok(Value::String(text)),
            (Kind::PartnerState, Value::String(word)) if PARTNER_STATES.contains(&word.as_str()) => {
                Ok(Value::String(word))
            }
            (Kind::Assignments, Value::Array(elements)) => {
                let mut assignments = Vec::with_capacity(elements.len());
                for element in elements {
                    assignments.push(self.assignment(name, element)?);
                }
                Ok(Value::Array(assignments))
            }
            (kind, value) => Err(unexpected(&value, &expected_type(kind))),
        }
    }

    fn assignment(&mut self, list: &str, element: Value) -> Result<Value, Failure> {
        let Value::Object(mut object) = element else {
            return Err(unexpected(&element, ASSIGNMENT));
        };
        match object.remove("@odata.type") {
            None => {
                self.violation(
                    ViolationKind::MissingODataType,
                    format!("an assignment of {list} has no @odata.type"),
                );
            }
            Some(value) => {
                let name = type_name(&value)?;
                if name != ASSIGNMENT {
                    return Err(unresolved(name));
                }
            }
        }
        let target = object.remove("target").unwrap_or(Value::Null);
        if let Some(stranger) = object.keys().find(|name| !name.contains('@')) {
            return Err(unknown_property(stranger, ASSIGNMENT));
        }
        let Value::Object(target) = target else {
            if target.is_null() {
                self.violation(
                    ViolationKind::NullValue,
                    format!("an assignment of {list} has no target"),
                );
            }
            return Err(unexpected(&target, ABSTRACT_TARGET));
        };
        let target = self.target(list, target)?;
        Ok(serde_json::json!({ "target": target }))
    }

    fn target(&mut self, list: &str, mut object: Map<String, Value>) -> Result<Value, Failure> {
        let Some(declared) = object.remove("@odata.type") else {
            self.violation(
                ViolationKind::MissingODataType,
                format!("a target of {list} has no @odata.type"),
            );
            return Err(Failure::model("Cannot create an abstract class."));
        };
        let name = type_name(&declared)?;
        if name == ABSTRACT_TARGET {
            return Err(Failure::model("Cannot create an abstract class."));
        }
        let Some(kind) = TARGETS.iter().find(|target| target.name == name) else {
            return Err(unresolved(name));
        };
        if let Some(stranger) = object
            .keys()
            .find(|own| !own.contains('@') && kind.property != Some(own.as_str()))
        {
            return Err(unknown_property(stranger, kind.name));
        }
        let mut stored = Map::new();
        stored.insert("@odata.type".to_owned(), Value::String(format!("#{NAMESPACE}{name}")));
        if let Some(property) = kind.property {
            let value = object.remove(property).unwrap_or(Value::Null);
            stored.insert(property.to_owned(), self.target_id(*kind, property, value)?);
        }
        Ok(Value::Object(stored))
    }

    fn target_id(&mut self, target: Target, property: &str, value: Value) -> Result<Value, Failure> {
        match value {
            Value::String(id) if property == "groupId" => {
                if is_guid(&id) {
                    Ok(Value::String(id))
                } else {
                    Err(self.invalid_group(&id))
                }
            }
            Value::String(id) => Ok(Value::String(id)),
            Value::Null => {
                self.violation(ViolationKind::NullValue, format!("{} without {property}", target.name));
                if property == "groupId" {
                    Err(self.invalid_group(""))
                } else {
                    Err(unexpected(&value, "Edm.String"))
                }
            }
            other => Err(unexpected(&other, "Edm.String")),
        }
    }

    fn invalid_group(&self, id: &str) -> Failure {
        let sentence = format!("Invalid GroupId : {id} provided, a valid AADGroupId is expected.");
        Failure::intune(400, "BadRequest", sentence, self.path)
    }
}

/// The name in `#microsoft.graph.name` or `microsoft.graph.name`.
fn type_name(value: &Value) -> Result<&str, Failure> {
    let Some(text) = value.as_str() else {
        return Err(unexpected(value, "Edm.String"));
    };
    let full = text.strip_prefix('#').unwrap_or(text);
    if full.is_empty() || full.contains('#') {
        return Err(Failure::plain(
            400,
            "BadRequest",
            format!("Invalid OData type specified: \"{text}\""),
        ));
    }
    full.strip_prefix(NAMESPACE).ok_or_else(|| unresolved_full(full))
}

fn unresolved(name: &str) -> Failure {
    unresolved_full(&format!("{NAMESPACE}{name}"))
}

fn unresolved_full(full: &str) -> Failure {
    Failure::model(format!(
        "A type named '{full}' could not be resolved by the model. When a model is available, each type name must \
         resolve to a valid type."
    ))
}

fn unknown_property(name: &str, type_name: &str) -> Failure {
    Failure::model(format!(
        "The property '{name}' does not exist on type '{INTUNE}{type_name}'. Make sure to only use property names \
         that are defined by the type."
    ))
}

fn unreadable() -> Failure {
    let sentence = "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of \
                    valid JSON format.";
    Failure::plain(400, "BadRequest", sentence)
}

/// The type of a property as `OData`'s own sentences name it.
fn expected_type(kind: Kind) -> String {
    match kind {
        Kind::String => "Edm.String".to_owned(),
        Kind::Boolean => "Edm.Boolean".to_owned(),
        Kind::DateTimeOffset => "Edm.DateTimeOffset".to_owned(),
        Kind::PartnerState => format!("{INTUNE}deviceManagementPartnerTenantState"),
        Kind::Assignments => format!("Collection({INTUNE}{ASSIGNMENT})"),
    }
}

/// Another kind of JSON than the type calls for, or the right kind with a wrong value.
fn unexpected(value: &Value, expected: &str) -> Failure {
    let found = match value {
        Value::Array(_) => "StartArray",
        Value::Object(_) => "StartObject",
        _ => "PrimitiveValue",
    };
    let wanted = match expected {
        list if list.starts_with("Collection(") => "StartArray",
        ASSIGNMENT | ABSTRACT_TARGET => "StartObject",
        _ => "PrimitiveValue",
    };
    if found != wanted {
        return Failure::model(format!(
            "An unexpected '{found}' node was found when reading from the JSON reader. A '{wanted}' node was expected."
        ));
    }
    let literal = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Failure::model(format!(
        "Cannot convert the literal '{literal}' to the expected type '{expected}'."
    ))
}

#[cfg(test)]
mod tests;
