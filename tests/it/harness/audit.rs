//! What API servers note of each request: their audit logs.

use std::env;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::scratch::Scratch;

/// Names a folder that keeps the audit logs of all control planes, each in a file of its own, for whoever reads them when
/// all tests have ended. Without it a log goes with its control plane.
pub const AUDIT_LOGS: &str = "AUDIT_LOGS";

impl ControlPlane {
    /// Where the API server writes an event for each request.
    #[must_use]
    pub fn audit_log_path(&self) -> &Path {
        &self.setup.audit_log
    }

    /// One event for each stage but the first of each request so far (`audit.k8s.io/v1`, level Metadata).
    ///
    /// An event may be written a moment after its answer was sent: wait for it.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn audit_events(&self) -> Result<Vec<Value>> {
        self.audit_events_since(0)
    }

    /// Where the audit log ends now; for [`Self::audit_events_since`].
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn audit_position(&self) -> Result<u64> {
        Ok(fs::metadata(self.audit_log_path())?.len())
    }

    /// The events written after `position`.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn audit_events_since(&self, position: u64) -> Result<Vec<Value>> {
        let mut log = fs::File::open(self.audit_log_path()).context("the audit log cannot be opened")?;
        log.seek(SeekFrom::Start(position))?;
        let mut text = String::new();
        log.read_to_string(&mut text)?;
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let event = |line| serde_json::from_str(line).with_context(|| format!("no audit event: {line}"));
        whole.lines().map(event).collect()
    }
}

/// Where the log of the control plane in this folder goes. In the folder of all logs it is named as the control plane's
/// own folder, which no other has.
pub(crate) fn log_for(folder: &Scratch) -> PathBuf {
    match (env::var_os(AUDIT_LOGS), folder.path().file_name()) {
        (Some(logs), Some(name)) => Path::new(&logs).join(name).with_extension("log"),
        _ => folder.path().join("audit.log"),
    }
}

/// What is noted of which requests.
pub(crate) fn policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        // It says nothing that the next stage does not say too.
        "omitStages": ["RequestReceived"],
        "rules": [{ "level": "Metadata" }],
    })
}

/// The flags of kube-apiserver.
pub(crate) fn flags(policy: &Path, log: &Path) -> [String; 3] {
    [
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}", log.display()),
        // Megabytes. A log that was rotated would lose its beginning to `audit_events`.
        "--audit-log-maxsize=4096".to_owned(),
    ]
}
