//! What operators asked of API servers, by the audit logs of these.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use harness::{AUDIT_LOGS, OPERATOR};
use serde_json::Value;

use crate::granted::Access;

/// How an account is bound to a role.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Binding {
    /// By a `ClusterRoleBinding`.
    Cluster,
    /// By a `RoleBinding` in this namespace.
    Namespace(String),
}

/// The authorizer's word.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Decision {
    /// By a rule of this role, to which the account was bound so.
    Allowed {
        binding: Binding,
        role: String,
    },
    Forbidden,
}

/// Requests that are alike in all that matters here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Request {
    /// The file, one for each control plane.
    pub(crate) log: String,
    /// The namespace of the operator's account.
    pub(crate) account: String,
    pub(crate) access: Access,
    /// The namespace that it was about; absent: all of them, or none.
    pub(crate) namespace: Option<String>,
    pub(crate) decision: Decision,
}

/// Such requests, and how many there were.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) times: usize,
}

/// Of all logs in the folder that the environment names.
pub(crate) fn of_all_logs() -> Result<Vec<Asked>> {
    let advice = "`make test` keeps the audit logs of all tests and runs this after them";
    let folder = std::env::var_os(AUDIT_LOGS).with_context(|| format!("{AUDIT_LOGS} is not set; {advice}"))?;
    let folder = Path::new(&folder);
    let (mut asked, mut read) = (BTreeMap::new(), 0);
    let entries = std::fs::read_dir(folder).with_context(|| format!("{}: {advice}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        count(&path, &mut asked).with_context(|| path.display().to_string())?;
        read += 1;
    }
    ensure!(read > 0, "{} has no log; {advice}", folder.display());
    let asked = asked.into_iter().map(|(request, times)| Asked { request, times });
    Ok(asked.collect())
}

fn count(log: &Path, asked: &mut BTreeMap<Request, usize>) -> Result<()> {
    let name = log.file_stem().unwrap_or_default().to_string_lossy();
    // A watch has an event when it begins, and one when it ends, if it does.
    let mut seen = HashSet::new();
    for line in BufReader::new(File::open(log)?).split(b'\n') {
        let line = line?;
        // An API server that was killed may have left a line half written, as the last one, or before its successor's.
        let Ok(event) = serde_json::from_slice::<Value>(&line) else {
            continue;
        };
        let Some(request) = request(&name, &event)? else {
            continue;
        };
        let id = event.get("auditID").and_then(Value::as_str).context("no auditID")?;
        if seen.insert(id.to_owned()) {
            *asked.entry(request).or_default() += 1;
        }
    }
    Ok(())
}

/// The request of an event, if it is an operator's.
pub(crate) fn request(log: &str, event: &Value) -> Result<Option<Request>> {
    let word = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
    let account = word("/user/username").and_then(|user| user.strip_prefix("system:serviceaccount:"));
    let Some((account, OPERATOR)) = account.and_then(|account| account.split_once(':')) else {
        return Ok(None);
    };
    let verb = word("/verb").context("no verb")?;
    let decision = match word("/annotations/authorization.k8s.io~1decision") {
        Some("allow") => allowed(word("/annotations/authorization.k8s.io~1reason").unwrap_or_default())?,
        Some("forbid") => Decision::Forbidden,
        // It went, or its API server did, before it was judged.
        _ => return Ok(None),
    };
    let access = if event.get("objectRef").is_some() {
        let (resource, part) = (word("/objectRef/resource"), word("/objectRef/subresource"));
        let resource = [resource, part].into_iter().flatten().collect::<Vec<_>>().join("/");
        Access::new(verb, word("/objectRef/apiGroup").unwrap_or_default(), &resource)
    } else {
        let path = word("/requestURI").unwrap_or_default();
        Access::new(verb, "", path.split('?').next().unwrap_or_default())
    };
    Ok(Some(Request {
        log: log.to_owned(),
        account: account.to_owned(),
        access,
        namespace: word("/objectRef/namespace").map(str::to_owned),
        decision,
    }))
}

/// `RBAC: allowed by RoleBinding "graph-reader/contoso" of Role "graph-reader" to ServiceAccount "…"`.
fn allowed(reason: &str) -> Result<Decision> {
    let parsed = || {
        let (kind, rest) = reason.strip_prefix("RBAC: allowed by ")?.split_once(" \"")?;
        let (name, rest) = rest.split_once("\" of ")?;
        let binding = match kind {
            "ClusterRoleBinding" => Binding::Cluster,
            "RoleBinding" => Binding::Namespace(name.split_once('/')?.1.to_owned()),
            _ => return None,
        };
        let (_kind, rest) = rest.split_once(" \"")?;
        let (role, _subject) = rest.split_once("\" to ")?;
        let role = role.to_owned();
        Some(Decision::Allowed { binding, role })
    };
    parsed().with_context(|| format!("a reason of another form: {reason}"))
}
