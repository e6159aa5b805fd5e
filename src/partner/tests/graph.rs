//! Microsoft as far as the operator sees it: rows, and all that can go wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::graph::client;
use crate::graph::error::{Failure, FailureKind};
use crate::graph::model::{Assignments, Partner, Patch, Property, Undecodable, Value};

/// What a tenant answers to every request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fault {
    #[default]
    None,
    /// 429, with this Retry-After in seconds.
    Throttled(Option<u64>),
    /// 503, with this Retry-After in seconds.
    Unavailable(Option<u64>),
}

/// A row, with what Graph does to changes of it.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) partner: Partner,
    /// A change of these is answered with success and has no effect.
    pub(super) keeps: BTreeSet<Property>,
    /// A change of these is answered with 400.
    pub(super) refuses: BTreeSet<Property>,
}

/// A change that is to take effect later.
#[derive(Clone, Debug)]
struct Coming {
    at: Duration,
    id: String,
    patch: Patch,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Tenant {
    /// By id in lower case.
    pub(super) rows: BTreeMap<String, Row>,
    pub(super) fault: Fault,
    /// How long changes take to show.
    pub(super) lag: Option<Duration>,
    coming: Vec<Coming>,
    /// Whether the app lacks the role to write.
    pub(super) read_only: bool,
    /// Whether the list of this tenant shows no row that can be read.
    pub(super) garbled: bool,
    /// So many answers get lost on their way.
    pub(super) loses: u8,
    /// Changes that were answered with success.
    pub(super) taken: usize,
}

impl Tenant {
    pub(super) fn list(&self) -> Result<BTreeMap<String, client::Row>, Failure> {
        self.trouble()?;
        let row = |(id, row): (&String, &Row)| {
            let garbled = || Undecodable {
                id: Some(row.partner.id.clone()),
                display_name: row.partner.display_name.clone(),
                why: "partnerState should be a string".to_owned(),
            };
            let row = if self.garbled {
                Err(garbled())
            } else {
                Ok(row.partner.clone())
            };
            (id.clone(), row)
        };
        Ok(self.rows.iter().map(row).collect())
    }

    pub(super) fn get(&self, id: &str) -> Result<Partner, Failure> {
        self.trouble()?;
        if self.garbled {
            return Err(Failure::unavailable("partnerState should be a string"));
        }
        let row = self.rows.get(&id.to_ascii_lowercase());
        row.map(|row| row.partner.clone())
            .ok_or_else(|| failure(FailureKind::NotFound, 404, None))
    }

    pub(super) fn patch(&mut self, id: &str, patch: &Patch, now: Duration) -> Result<(), Failure> {
        self.trouble()?;
        let id = id.to_ascii_lowercase();
        let Some(row) = self.rows.get_mut(&id) else {
            return Err(failure(FailureKind::NotFound, 404, None));
        };
        if self.read_only {
            return Err(failure(FailureKind::Forbidden, 403, None));
        }
        if patch.properties().any(|property| row.refuses.contains(&property)) {
            return Err(failure(FailureKind::Rejected, 400, None));
        }
        self.taken += 1;
        match self.lag {
            Some(lag) => self.coming.push(Coming {
                at: now + lag,
                id,
                patch: patch.clone(),
            }),
            None => row.take(patch),
        }
        Ok(())
    }

    /// Lets all changes show whose time has come.
    pub(super) fn pass_to(&mut self, now: Duration) {
        let (due, coming) = self.coming.drain(..).partition(|coming| coming.at <= now);
        self.coming = coming;
        for Coming { id, patch, .. } in due {
            if let Some(row) = self.rows.get_mut(&id) {
                row.take(&patch);
            }
        }
    }

    fn trouble(&self) -> Result<(), Failure> {
        let wait = |seconds: Option<u64>| seconds.map(Duration::from_secs);
        match self.fault {
            Fault::None => Ok(()),
            Fault::Throttled(seconds) => Err(failure(FailureKind::Throttled, 429, wait(seconds))),
            Fault::Unavailable(seconds) => Err(failure(FailureKind::Unavailable, 503, wait(seconds))),
        }
    }
}

impl Row {
    fn take(&mut self, patch: &Patch) {
        for (property, value) in &patch.0 {
            if self.keeps.contains(property) {
                continue;
            }
            match (property, value) {
                (Property::DisplayName, Value::Text(name)) => self.partner.display_name = Some(name.clone()),
                (Property::Onboarded(platform), Value::Flag(flag)) => {
                    *self.partner.onboarded.get_mut(*platform) = *flag;
                }
                (Property::EnrollmentAssignments(platform), Value::Targets(targets)) => {
                    *self.partner.assignments.get_mut(*platform) = Assignments {
                        targets: targets.clone(),
                        ..Assignments::default()
                    };
                }
                _ => panic!("{property:?} is not {value:?}"),
            }
        }
    }
}

fn failure(kind: FailureKind, status: u16, retry_after: Option<Duration>) -> Failure {
    Failure {
        kind,
        status: Some(status),
        code: String::new(),
        message: format!("Graph answered HTTP {status}"),
        request_id: None,
        retry_after,
    }
}
