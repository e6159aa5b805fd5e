//! Scripted behaviour: which requests a rule takes, and what it does to them.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One of the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Server {
    /// Microsoft Graph.
    Graph,
    /// Microsoft Entra, the token endpoint.
    Entra,
    /// The metadata service of the node: tokens of managed identities.
    Metadata,
}

/// The body of a scripted answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// No byte at all.
    #[default]
    Empty,
    /// JSON, with `Content-Type: application/json` unless the headers say otherwise.
    Json(Value),
    /// Text as it stands, without a content type of its own.
    Text(String),
    /// Bytes as they stand.
    Bytes(Vec<u8>),
}

/// A scripted answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Headers; names in any letter case, values as they stand.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The body.
    #[serde(default)]
    pub body: Body,
}

impl Answer {
    /// An answer without a body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Body::Empty,
        }
    }

    /// An answer with a JSON body.
    #[must_use]
    pub fn json(status: u16, body: Value) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Body::Json(body),
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }
}

/// What happens to a request that a rule has taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// The simulator answers as ever (after the rule's delay).
    #[default]
    Continue,
    /// The given answer, and nothing is done.
    Answer(Answer),
    /// The request is done as ever; a 2xx is replaced by the given answer.
    ApplyThenAnswer(Answer),
    /// The connection is reset before anything is done.
    Reset,
    /// The request is done, then the connection is reset: the client cannot know.
    ApplyThenReset,
    /// Never answered; nothing is done.
    Hang,
    /// Done, but never answered.
    ApplyThenHang,
    /// Done, answered with this many bytes of the body, then the connection is reset.
    Truncate(usize),
}

/// A rule: what it matches, how often, and what it does. A field left out matches everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Script {
    /// Which service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Server>,
    /// The HTTP method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// A part of path and query, as they stand in the request line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_contains: Option<String>,
    /// The end of the path (without the query), so that a collection is not mistaken for its rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_ends_with: Option<String>,
    /// The tenant: of the path at Entra, of the token at Graph, of the identity at the metadata service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// How many requests the rule takes; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// How many matching requests pass by before the rule begins.
    pub skip: u64,
    /// Milliseconds to wait before the action.
    pub delay_millis: u64,
    /// What it does.
    pub action: Action,
}

impl Script {
    /// A rule for any request.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// A rule for Graph.
    #[must_use]
    pub fn graph() -> Self {
        Self {
            server: Some(Server::Graph),
            ..Self::default()
        }
    }

    /// A rule for Entra.
    #[must_use]
    pub fn entra() -> Self {
        Self {
            server: Some(Server::Entra),
            ..Self::default()
        }
    }

    /// A rule for the metadata service.
    #[must_use]
    pub fn metadata() -> Self {
        Self {
            server: Some(Server::Metadata),
            ..Self::default()
        }
    }

    /// Only this method.
    #[must_use]
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.method = Some(method.into());
        self
    }

    /// Only where path and query contain this.
    #[must_use]
    pub fn path(mut self, part: impl Into<String>) -> Self {
        self.path_contains = Some(part.into());
        self
    }

    /// Only where the path ends with this.
    #[must_use]
    pub fn path_end(mut self, end: impl Into<String>) -> Self {
        self.path_ends_with = Some(end.into());
        self
    }

    /// Only for this tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Only this many times.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Only after this many matching requests have passed.
    #[must_use]
    pub fn skip(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    /// Waits first.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay_millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Answers with a script.
    #[must_use]
    pub fn answer(self, answer: Answer) -> Self {
        self.action(Action::Answer(answer))
    }

    /// After the delay, answers as ever.
    #[must_use]
    pub fn then_continue(self) -> Self {
        self.action(Action::Continue)
    }

    /// Resets the connection.
    #[must_use]
    pub fn reset(self) -> Self {
        self.action(Action::Reset)
    }

    /// Never answers.
    #[must_use]
    pub fn hang(self) -> Self {
        self.action(Action::Hang)
    }

    /// Does this.
    #[must_use]
    pub fn action(mut self, action: Action) -> Self {
        self.action = action;
        self
    }

    fn matches(&self, subject: &Subject<'_>) -> bool {
        self.server.is_none_or(|server| server == subject.server)
            && self
                .method
                .as_deref()
                .is_none_or(|method| method.eq_ignore_ascii_case(subject.method))
            && self
                .path_contains
                .as_deref()
                .is_none_or(|part| subject.target.contains(part))
            && self
                .path_ends_with
                .as_deref()
                .is_none_or(|end| subject.path.ends_with(end))
            && self.tenant.as_deref().is_none_or(|tenant| {
                subject
                    .tenant
                    .is_some_and(|subject| subject.eq_ignore_ascii_case(tenant))
            })
    }
}

/// What a rule is held against.
pub(crate) struct Subject<'a> {
    pub(crate) server: Server,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) target: &'a str,
    pub(crate) tenant: Option<&'a str>,
}

/// A rule that is in force, as the control interface shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActiveScript {
    /// Its number.
    pub id: u64,
    /// How many requests it has taken.
    pub hits: u64,
    /// Whether it takes no more.
    pub spent: bool,
    /// The rule.
    pub script: Script,
}

/// How many spent rules are kept for `hits`.
const REMEMBERED: usize = 10_000;

/// All rules, the oldest first: the first that matches takes the request.
#[derive(Default)]
pub(crate) struct Scripts {
    rules: VecDeque<(ActiveScript, u64)>,
    last_id: u64,
}

impl Scripts {
    pub(crate) fn add(&mut self, script: Script) -> u64 {
        self.last_id += 1;
        while self.rules.len() >= REMEMBERED {
            self.rules.pop_front();
        }
        let skip = script.skip;
        let spent = script.times == Some(0);
        self.rules.push_back((
            ActiveScript {
                id: self.last_id,
                hits: 0,
                spent,
                script,
            },
            skip,
        ));
        self.last_id
    }

    pub(crate) fn take(&mut self, subject: &Subject<'_>) -> Option<(u64, Duration, Action)> {
        for (active, skip) in &mut self.rules {
            if active.spent || !active.script.matches(subject) {
                continue;
            }
            if *skip > 0 {
                *skip -= 1;
                continue;
            }
            active.hits += 1;
            active.spent = active.script.times.is_some_and(|times| active.hits >= times);
            let delay = Duration::from_millis(active.script.delay_millis);
            return Some((active.id, delay, active.script.action.clone()));
        }
        None
    }

    pub(crate) fn all(&self) -> Vec<ActiveScript> {
        self.rules.iter().map(|(active, _)| active.clone()).collect()
    }

    pub(crate) fn hits(&self, id: u64) -> u64 {
        self.rules
            .iter()
            .find(|(active, _)| active.id == id)
            .map_or(0, |(active, _)| active.hits)
    }

    pub(crate) fn remove(&mut self, id: u64) -> bool {
        let before = self.rules.len();
        self.rules.retain(|(active, _)| active.id != id);
        self.rules.len() != before
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }
}
