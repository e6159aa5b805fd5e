//! What the API server was asked, from its audit log.

use anyhow::{Context as _, Result};
use harness::ControlPlane;
use jiff::Timestamp;
use serde_json::Value;

use crate::bed::OPERATOR_USER;

/// One request of the operator.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Its verb.
    pub(crate) verb: String,
    /// The resource, with its subresource.
    pub(crate) resource: String,
    /// The object's namespace.
    pub(crate) namespace: String,
    /// When it was answered.
    pub(crate) answered: Timestamp,
}

impl Asked {
    /// Whether it changes anything.
    pub(crate) fn is_write(&self) -> bool {
        // Who asks for its own name creates a review, which is stored nowhere.
        !matches!(self.verb.as_str(), "get" | "list" | "watch") && self.resource != "selfsubjectreviews"
    }

    /// Whether it writes the status of a partner in this namespace.
    pub(crate) fn is_partner_status(&self, namespace: &str) -> bool {
        self.verb == "patch" && self.resource == "compliancemanagementpartners/status" && self.namespace == namespace
    }
}

/// Follows the log from where it stood when this was made.
pub(crate) struct Audit<'a> {
    plane: &'a ControlPlane,
    position: u64,
    asked: Vec<Asked>,
}

impl<'a> Audit<'a> {
    /// From now on.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub(crate) fn follow(plane: &'a ControlPlane) -> Result<Self> {
        Ok(Self {
            plane,
            position: plane.audit_position()?,
            asked: Vec::new(),
        })
    }

    /// All that the operator has asked so far.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub(crate) fn asked(&mut self) -> Result<&[Asked]> {
        let (lines, position) = tail(self.plane, self.position)?;
        self.position = position;
        for line in lines.lines().filter(|line| line.contains(OPERATOR_USER)) {
            self.asked
                .extend(read(line).with_context(|| format!("no audit event: {line}"))?);
        }
        Ok(&self.asked)
    }

    /// Those for which the predicate holds.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub(crate) fn of(&mut self, predicate: impl Fn(&Asked) -> bool) -> Result<Vec<Asked>> {
        Ok(self.asked()?.iter().filter(|asked| predicate(asked)).cloned().collect())
    }
}

/// The whole lines after a position, and where they end.
fn tail(plane: &ControlPlane, position: u64) -> Result<(String, u64)> {
    use std::io::{Read as _, Seek as _, SeekFrom};

    let mut log = std::fs::File::open(plane.audit_log_path())?;
    log.seek(SeekFrom::Start(position))?;
    let mut text = String::new();
    log.read_to_string(&mut text)?;
    // The last line may be half written.
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    text.truncate(whole);
    let end = position + u64::try_from(whole)?;
    Ok((text, end))
}

/// Reads an event of the operator; of a watch, only its beginning counts.
fn read(line: &str) -> Result<Option<Asked>> {
    let event: Value = serde_json::from_str(line)?;
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    if text("/user/username") != OPERATOR_USER || (text("/verb") == "watch" && text("/stage") == "ResponseComplete") {
        return Ok(None);
    }
    let (resource, sub) = (text("/objectRef/resource"), text("/objectRef/subresource"));
    Ok(Some(Asked {
        verb: text("/verb").to_owned(),
        resource: if sub.is_empty() {
            resource.to_owned()
        } else {
            format!("{resource}/{sub}")
        },
        namespace: text("/objectRef/namespace").to_owned(),
        answered: text("/stageTimestamp").parse()?,
    }))
}
