//! `ComplianceManagementPartner`: one link between Intune and a third-party MDM, as users write and read it.

// What is written above a field is what `kubectl explain` shows, so it has no marks of Markdown; and the columns of
// `#[kube]` have equal types, which clippy takes for one attribute twice.
#![allow(clippy::doc_markdown, clippy::duplicated_attributes)]

use std::time::Duration;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, LocalReference};

/// The bounds of `spec.syncInterval`: one minute to one day.
pub const SYNC_INTERVAL_BOUNDS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(86_400));

/// What a user wants one compliance management partner of a tenant to look like.
///
/// Properties that Microsoft Graph has are named as Graph names them. An absent one is not managed: the operator never
/// sends it. An empty list is managed and clears the list in Graph.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "intune.msgraph.dev",
    version = "v1alpha1",
    kind = "ComplianceManagementPartner",
    plural = "compliancemanagementpartners",
    singular = "compliancemanagementpartner",
    shortname = "cmp",
    category = "intune",
    category = "msgraph",
    namespaced,
    status = "ComplianceManagementPartnerStatus",
    derive = "PartialEq",
    doc = "A compliance management partner of Microsoft Intune: a third-party MDM that reports device compliance. \
           The operator changes Microsoft Graph until it agrees with spec, and writes what Graph says into status.",
    selectable = ".spec.connectionRef.name",
    selectable = ".spec.partnerRef.id",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the last pass did all that the policies ask for"
    ),
    printcolumn(
        name = "State",
        type_ = "string",
        json_path = ".status.partnerState",
        description = "The partner's state, in Graph's own word"
    ),
    printcolumn(
        name = "Heartbeat",
        type_ = "date",
        json_path = ".status.lastHeartbeatDateTime",
        description = "Time since the partner's last heartbeat"
    ),
    printcolumn(
        name = "Synced",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Synced\")].status",
        description = "Whether Graph equals the managed fields of spec"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Connection",
        type_ = "string",
        json_path = ".spec.connectionRef.name",
        description = "The GraphConnection in use",
        priority = 1
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Synced\")].reason",
        description = "Why Synced has its status",
        priority = 1
    ),
    printcolumn(
        name = "Id",
        type_ = "string",
        json_path = ".status.partnerId",
        description = "The id of the object in Graph",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.displayName) || has(self.partnerRef.id)")
        .message("displayName can be managed only where partnerRef.id names the object")
)]
pub struct ComplianceManagementPartnerSpec {
    /// The GraphConnection, in the same namespace, whose tenant and credential are used. Immutable: to use another one,
    /// create the resource anew.
    #[x_kube(validation = Rule::new("self == oldSelf").message("connectionRef is immutable"))]
    pub connection_ref: LocalReference,

    /// Which object of the tenant this resource is: by id, or by its display name. Immutable: to manage another object,
    /// create the resource anew.
    #[x_kube(
        validation = Rule::new("has(self.id) != has(self.displayName)")
            .message("partnerRef takes exactly one of id and displayName"),
        validation = Rule::new("self == oldSelf").message("partnerRef is immutable")
    )]
    pub partner_ref: PartnerReference,

    /// Enforce: Graph is changed until it equals spec. Observe: nothing is ever written to Graph, and status.drift tells
    /// what Enforce would change; Observe wins over every other policy. Absent: Enforce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ManagementPolicy")]
    pub management_policy: Option<ManagementPolicy>,

    /// What becomes of the object in Graph when this resource is deleted. Retain: it is left as it is. Reset: the managed
    /// onboarded flags become false and the managed assignment lists empty. Absent: Retain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DeletionPolicy")]
    pub deletion_policy: Option<DeletionPolicy>,

    /// While true, the operator makes no call to Graph for this resource, except a Reset that its deletion asks for.
    /// Absent: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    pub suspend: Option<bool>,

    /// How often Graph is compared with spec, between 1m and 24h: up to three numbers with a unit of h, m or s, as in
    /// 90s or 1h30m. Absent: the operator's --sync-interval, 10m if that is not set either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 18), regex(pattern = r"^([0-9]{1,5}(h|m|s)){1,3}$"))]
    #[x_kube(
        validation = Rule::new(
            "!self.matches('^([0-9]{1,5}(h|m|s)){1,3}$') || (duration(self) >= duration('1m') && duration(self) <= duration('24h'))"
        ).message("syncInterval is between 1m and 24h")
    )]
    pub sync_interval: Option<String>,

    /// The partner's display name in Graph. Allowed only where partnerRef.id names the object. Absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 256))]
    pub display_name: Option<String>,

    /// Whether the partner is onboarded for macOS devices. Absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    pub mac_os_onboarded: Option<bool>,

    /// Whether the partner is onboarded for Android devices. Absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    pub android_onboarded: Option<bool>,

    /// Whether the partner is onboarded for iOS and iPadOS devices. Absent: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    pub ios_onboarded: Option<bool>,

    /// Who enrolls macOS devices through the partner. A set: order and repeated entries do not count. Absent: not
    /// managed; an empty list clears it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<Assignment>", length(max = 500), extend("x-kubernetes-list-type" = "atomic"))]
    pub mac_os_enrollment_assignments: Option<Vec<Assignment>>,

    /// Who enrolls Android devices through the partner. A set: order and repeated entries do not count. Absent: not
    /// managed; an empty list clears it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<Assignment>", length(max = 500), extend("x-kubernetes-list-type" = "atomic"))]
    pub android_enrollment_assignments: Option<Vec<Assignment>>,

    /// Who enrolls iOS and iPadOS devices through the partner. A set: order and repeated entries do not count. Absent:
    /// not managed; an empty list clears it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<Assignment>", length(max = 500), extend("x-kubernetes-list-type" = "atomic"))]
    pub ios_enrollment_assignments: Option<Vec<Assignment>>,
}

/// Which object of the tenant a resource is: exactly one key is set.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartnerReference {
    /// The id of the object in Graph. The GraphConnection's status.partners lists the ids of the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        with = "String",
        length(max = 128),
        regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
    )]
    pub id: Option<String>,

    /// The exact display name of the object in Graph; it must be unique in the tenant. Looked up once: afterwards the
    /// resource stays bound to the id that was found, status.partnerId.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 256))]
    pub display_name: Option<String>,
}

/// Whether the operator may write to Graph for a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(extend("maxLength" = 16))]
pub enum ManagementPolicy {
    #[default]
    #[allow(missing_docs)]
    Enforce,
    #[allow(missing_docs)]
    Observe,
}

/// What becomes of the object in Graph when its resource is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(extend("maxLength" = 16))]
pub enum DeletionPolicy {
    #[default]
    #[allow(missing_docs)]
    Retain,
    #[allow(missing_docs)]
    Reset,
}

/// One entry of an assignment list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct Assignment {
    /// Whom the entry targets.
    pub target: AssignmentTarget,
}

/// Whom an assignment targets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.type in ['Group','ExclusionGroup']) == has(self.groupId)")
        .message("groupId is required for the types Group and ExclusionGroup, and allowed for them alone"),
    validation = Rule::new("(self.type == 'ConfigurationManagerCollection') == has(self.collectionId)")
        .message("collectionId is required for the type ConfigurationManagerCollection, and allowed for it alone")
)]
pub struct AssignmentTarget {
    /// The kind of target. Group and ExclusionGroup take a groupId, ConfigurationManagerCollection a collectionId, the
    /// others nothing. Some partners' connectors do not work with AllLicensedUsers: see the partner's own documentation.
    pub r#type: TargetType,

    /// The object id of the Entra group, a GUID. It is not looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        with = "String",
        length(max = 36),
        regex(pattern = r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$")
    )]
    pub group_id: Option<String>,

    /// The id of the Configuration Manager collection, such as SMS00001.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 64), regex(pattern = r"^[A-Za-z0-9]{1,64}$"))]
    pub collection_id: Option<String>,
}

/// The kinds of target that Graph's v1.0 metadata has for this entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(extend("maxLength" = 64))]
#[allow(missing_docs)]
pub enum TargetType {
    Group,
    ExclusionGroup,
    ConfigurationManagerCollection,
    AllLicensedUsers,
    AllDevices,
}

/// What the operator has seen and done. Written by the operator alone.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = serde_json::json!({"observedGeneration": -1})))]
pub struct ComplianceManagementPartnerStatus {
    /// The generation that the last pass has seen; -1 where no pass has seen the resource yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub observed_generation: Option<i64>,

    /// The last value of the annotation intune.msgraph.dev/reconcile-requested-at that was acted on. Holds no more
    /// than its first 256 characters, with U+FFFD in the place of those that cannot be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 256))]
    pub last_handled_reconcile_at: Option<String>,

    /// The tenant that the resource is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 36))]
    pub tenant_id: Option<String>,

    /// The cloud that the resource is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 16))]
    pub cloud: Option<String>,

    /// The id of the object in Graph that the resource is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 128))]
    pub partner_id: Option<String>,

    /// The display name as Graph has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 256))]
    pub display_name: Option<String>,

    /// The partner's state, in Graph's own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 64))]
    pub partner_state: Option<String>,

    /// When Graph last heard of the partner, in UTC and whole seconds. Absent where it never has. Written when anything
    /// else is, when freshness flips, or when it has moved by the operator's --heartbeat-resolution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 64), extend("format" = "date-time"))]
    pub last_heartbeat_date_time: Option<String>,

    /// The platforms that the partner is onboarded for, as Graph has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        with = "Vec<String>",
        length(max = 8),
        inner(length(max = 16)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub platforms: Option<Vec<String>>,

    /// One entry for each managed field that Graph has otherwise than spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        with = "Vec<Drift>",
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["field"])
    )]
    pub drift: Option<Vec<Drift>>,

    /// When the last change that took effect was sent to Graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 64), extend("format" = "date-time"))]
    pub last_update_time: Option<String>,

    /// The resource's conditions, for kubectl wait, Helm, Flux and Argo CD.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
}

/// One managed field that Graph has otherwise than spec.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// The field of spec.
    #[schemars(length(max = 64))]
    pub field: String,

    /// What spec asks for, where the field is no list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 256))]
    pub desired: Option<String>,

    /// What Graph has, where the field is no list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 256))]
    pub observed: Option<String>,

    /// How many assignments of spec Graph lacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32")]
    pub missing: Option<i32>,

    /// How many assignments Graph has that spec lacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i32")]
    pub extra: Option<i32>,

    /// One of the assignments that differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 256))]
    pub example: Option<String>,
}

/// Reads a `syncInterval`, to the same value as CEL's `duration()` does in the CRD.
///
/// `None` where the text is not one to three numbers of up to five digits with a unit of `h`, `m` or `s`, or where the
/// sum is outside of [`SYNC_INTERVAL_BOUNDS`].
#[must_use]
pub fn parse_sync_interval(text: &str) -> Option<Duration> {
    let mut seconds: u64 = 0;
    let mut rest = text;
    for _ in 0..3 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=5).contains(&digits) {
            return None;
        }
        let (number, tail) = rest.split_at_checked(digits)?;
        let unit = match tail.bytes().next()? {
            b'h' => 3600,
            b'm' => 60,
            b's' => 1,
            _ => return None,
        };
        seconds += number.parse::<u64>().ok()? * unit;
        rest = tail.get(1..)?;
        if rest.is_empty() {
            let interval = Duration::from_secs(seconds);
            let (least, most) = SYNC_INTERVAL_BOUNDS;
            return (least..=most).contains(&interval).then_some(interval);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sync_intervals_that_the_schema_takes_are_read_to_the_same_value() {
        for (text, seconds) in [
            ("1m", 60),
            ("60s", 60),
            ("1h10m", 4200),
            ("24h", 86_400),
            ("1440m", 86_400),
            ("90s", 90),
            ("1h1h1h", 10_800),
            ("23h59m60s", 86_400),
        ] {
            assert_eq!(parse_sync_interval(text), Some(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn sync_intervals_that_the_schema_refuses_are_refused_here_too() {
        for text in [
            "59s",
            "24h1s",
            "10",
            "600",
            "10min",
            "1d",
            "",
            "-5m",
            "1h30",
            "99999999999h",
            "1m1m1m1m",
            "1.5h",
            "100ms",
            "h",
            "1 m",
            "١m",
        ] {
            assert_eq!(parse_sync_interval(text), None, "{text}");
        }
    }
}
