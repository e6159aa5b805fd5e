//! Resources as far as passes read them (pure): what a watch brings, less all metadata that nobody asks for.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use kube::ResourceExt;

use super::text;
use crate::api::connection::{GraphConnectionSpec, GraphConnectionStatus};
use crate::api::partner::{ComplianceManagementPartnerSpec, ComplianceManagementPartnerStatus};
use crate::api::{
    CONDITION_TYPES, ComplianceManagementPartner, Condition, FINALIZER, GraphConnection, RECONCILE_ANNOTATION,
};

/// The name of a resource, in its namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// What is queued: a resource of one of the two kinds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A `ComplianceManagementPartner`.
    Partner(ObjectKey),
    /// A `GraphConnection`.
    Connection(ObjectKey),
}

impl Key {
    /// The namespace that it is in.
    #[must_use]
    pub fn namespace(&self) -> &str {
        let (Self::Partner(key) | Self::Connection(key)) = self;
        &key.namespace
    }
}

/// A value of the annotation that asks for a pass. Two are equal where the whole values are, which may be longer than what
/// is kept of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The value as status echoes it.
    pub echo: String,
    whole: u64,
}

impl Request {
    /// From the whole value.
    #[must_use]
    pub fn new(value: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        Self {
            echo: text::clean(value, text::REQUEST_CHARS),
            whole: hasher.finish(),
        }
    }
}

/// A resource, as far as passes read it.
#[derive(Clone, Debug, PartialEq)]
pub struct Object<Spec, Status> {
    /// Namespace and name.
    pub key: ObjectKey,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// `metadata.creationTimestamp`.
    pub created: Timestamp,
    /// Whether it has a deletionTimestamp.
    pub deleting: bool,
    /// `metadata.finalizers`.
    pub finalizers: Vec<String>,
    /// What the annotation that asks for a pass says.
    pub request: Option<Request>,
    /// `spec`.
    pub spec: Spec,
    /// `status`, empty where there is none.
    pub status: Status,
}

/// A `ComplianceManagementPartner`, as far as passes read it.
pub type Partner = Object<ComplianceManagementPartnerSpec, ComplianceManagementPartnerStatus>;
/// A `GraphConnection`, as far as passes read it.
pub type Connection = Object<GraphConnectionSpec, GraphConnectionStatus>;

fn object<R, Spec, Status>(resource: &R, spec: Spec, status: Status) -> Object<Spec, Status>
where
    R: kube::Resource,
{
    let meta = resource.meta();
    Object {
        key: ObjectKey {
            namespace: resource.namespace().unwrap_or_default(),
            name: resource.name_any(),
        },
        uid: resource.uid().unwrap_or_default(),
        resource_version: resource.resource_version().unwrap_or_default(),
        generation: meta.generation.unwrap_or_default(),
        created: meta
            .creation_timestamp
            .as_ref()
            .map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        deleting: meta.deletion_timestamp.is_some(),
        finalizers: resource.finalizers().to_vec(),
        request: resource
            .annotations()
            .get(RECONCILE_ANNOTATION)
            .map(String::as_str)
            .map(Request::new),
        spec,
        status,
    }
}

/// Conditions of other controllers stay as they are, for our writes are merged with theirs; in the place of a difference
/// to what we set, each of them would cost a write that changes nothing.
fn is_ours(condition: &Condition) -> bool {
    CONDITION_TYPES.contains(&condition.r#type.as_str())
}

impl From<ComplianceManagementPartner> for Partner {
    fn from(mut resource: ComplianceManagementPartner) -> Self {
        let mut status = resource.status.take().unwrap_or_default();
        status.conditions.retain(is_ours);
        object(&resource, resource.spec.clone(), status)
    }
}

impl From<GraphConnection> for Connection {
    fn from(mut resource: GraphConnection) -> Self {
        let mut status = resource.status.take().unwrap_or_default();
        status.conditions.retain(is_ours);
        object(&resource, resource.spec.clone(), status)
    }
}

impl<Spec, Status> Object<Spec, Status> {
    /// Whether it has our finalizer.
    #[must_use]
    pub fn has_finalizer(&self) -> bool {
        self.finalizers.iter().any(|finalizer| finalizer == FINALIZER)
    }
}

impl<Spec, Status: PartialEq> Object<Spec, Status> {
    /// The newest status that is known: what this process wrote last, where the watch has not caught up with that yet.
    #[must_use]
    pub fn newest_status<'a>(&'a self, written: Option<&'a Written<Status>>) -> &'a Status {
        written.map_or(&self.status, |written| &written.status)
    }

    /// Forgets a write that this copy has caught up with.
    pub fn catch_up(&self, written: &mut Option<Written<Status>>) {
        if written
            .as_ref()
            .is_some_and(|written| written.is_caught_up(&self.resource_version, &self.status))
        {
            *written = None;
        }
    }
}

impl<Spec: PartialEq, Status> Object<Spec, Status> {
    /// Whether a pass is due because the resource has become `next`: spec, our annotation or deletion have changed, or
    /// our finalizer was taken away. A write of status alone is no reason, and an annotation that was taken away asks
    /// for nothing.
    pub(super) fn asks_for_a_pass(&self, next: &Self) -> bool {
        self.uid != next.uid
            || self.generation != next.generation
            || (next.request.is_some() && self.request != next.request)
            || self.deleting != next.deleting
            || (self.has_finalizer() && !next.has_finalizer())
    }
}

/// A status that this process wrote, kept until the watch has caught up with it.
#[derive(Clone, Debug)]
pub struct Written<Status> {
    /// The resourceVersion that the write got.
    pub resource_version: String,
    /// What was written.
    pub status: Status,
}

impl<Status: PartialEq> Written<Status> {
    /// Whether the watch's copy serves as well as this one: it is newer, or it is this very write and shows all of it.
    ///
    /// An API server with an older CRD drops fields from a write. As long as the copy without them is this write's, what
    /// was written counts, or every pass would write it again.
    #[must_use]
    pub fn is_caught_up(&self, resource_version: &str, status: &Status) -> bool {
        newer(resource_version, &self.resource_version)
            || (resource_version == self.resource_version && *status == self.status)
    }
}

/// Which of two resourceVersions is the newer one: Kubernetes promises since 1.35 that they compare as numbers.
#[must_use]
pub fn newer(a: &str, b: &str) -> bool {
    match (a.parse::<u128>(), b.parse::<u128>()) {
        (Ok(a), Ok(b)) => a > b,
        _ => true,
    }
}
