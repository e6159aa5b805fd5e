//! `GraphConnection`: a tenant of Microsoft Entra, and the credential by which the operator speaks to its Graph.

// What is written above a field is what `kubectl explain` shows, so it has no marks of Markdown; and the columns of
// `#[kube]` have equal types, which clippy takes for one attribute twice.
#![allow(clippy::doc_markdown, clippy::duplicated_attributes)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, LocalReference};

/// Which tenant is spoken to, as whom, and how the operator proves that it is.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "intune.msgraph.dev",
    version = "v1alpha1",
    kind = "GraphConnection",
    plural = "graphconnections",
    singular = "graphconnection",
    shortname = "gconn",
    category = "intune",
    category = "msgraph",
    namespaced,
    status = "GraphConnectionStatus",
    derive = "PartialEq",
    doc = "A connection to Microsoft Graph: a tenant, an app registration in it, and where its credential is. \
           The ComplianceManagementPartners of its namespace use it by name.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether a token was got and the tenant's partners were listed"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why Ready has its status"
    ),
    printcolumn(
        name = "Tenant",
        type_ = "string",
        json_path = ".spec.tenantId",
        description = "The tenant's id"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Cloud",
        type_ = "string",
        json_path = ".spec.cloud",
        description = "Microsoft's cloud that the tenant is in; empty: Global",
        priority = 1
    ),
    printcolumn(
        name = "Client",
        type_ = "string",
        json_path = ".spec.clientId",
        description = "The app registration's client id",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.cloud) ? self.cloud : 'Global') == (has(oldSelf.cloud) ? oldSelf.cloud : 'Global')")
        .message("cloud is immutable (absent equals Global)"),
    validation = Rule::new("has(self.clientId) || has(self.auth.managedIdentity)")
        .message("clientId may be absent only with auth.managedIdentity")
)]
pub struct GraphConnectionSpec {
    /// The id of the Entra tenant: a GUID in lower case. Immutable.
    #[schemars(length(max = 36), regex(pattern = r"^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("tenantId is immutable"))]
    pub tenant_id: String,

    /// The application (client) id of the app registration or of the user-assigned managed identity. Absent only with
    /// auth.managedIdentity, for the system-assigned one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        with = "String",
        length(max = 36),
        regex(pattern = r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$")
    )]
    pub client_id: Option<String>,

    /// The cloud of Microsoft that the tenant is in. US GCC tenants are Global, GCC High ones USGov. Immutable. Absent:
    /// Global.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Cloud")]
    pub cloud: Option<Cloud>,

    /// ReadOnly: every partner that uses this connection is observed and nothing is written, so the app role
    /// DeviceManagementServiceConfig.Read.All is enough. Absent: ReadWrite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Access")]
    pub access: Option<Access>,

    /// How the operator proves that it is the app: exactly one key. What it names is in the same namespace.
    #[x_kube(
        validation = Rule::new(
            "[has(self.clientSecret), has(self.clientCertificate), has(self.workloadIdentity), has(self.operatorIdentity), has(self.managedIdentity)].exists_one(x, x)"
        ).message("auth takes exactly one of clientSecret, clientCertificate, workloadIdentity, operatorIdentity and managedIdentity")
    )]
    pub auth: Auth,
}

/// The clouds of Microsoft that have this part of Graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(extend("maxLength" = 16))]
#[allow(missing_docs)]
pub enum Cloud {
    #[default]
    Global,
    #[serde(rename = "USGov")]
    UsGov,
    #[serde(rename = "USGovDoD")]
    UsGovDod,
    China,
}

impl Cloud {
    /// The cloud's name, as in spec and status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Global => "Global",
            Self::UsGov => "USGov",
            Self::UsGovDod => "USGovDoD",
            Self::China => "China",
        }
    }
}

/// Whether partners that use a connection may be written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(extend("maxLength" = 16))]
#[allow(missing_docs)]
pub enum Access {
    #[default]
    ReadWrite,
    ReadOnly,
}

/// How the operator proves who it is: exactly one key is set.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// By a client secret of the app registration, kept in a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ClientSecret")]
    pub client_secret: Option<ClientSecret>,

    /// By a certificate of the app registration with an RSA key, kept in a Secret of type kubernetes.io/tls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ClientCertificate")]
    pub client_certificate: Option<ClientCertificate>,

    /// By a ServiceAccount of this namespace that the app registration trusts (a federated credential).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "WorkloadIdentity")]
    pub workload_identity: Option<WorkloadIdentity>,

    /// By the operator's own federated token. Allowed only in the namespaces that the operator was started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "OperatorIdentity")]
    pub operator_identity: Option<OperatorIdentity>,

    /// By the managed identity of the node that the operator runs on. Allowed only in the namespaces that the operator
    /// was started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ManagedIdentity")]
    pub managed_identity: Option<ManagedIdentity>,
}

/// A client secret, kept in a Secret.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientSecret {
    /// The Secret, and the key in it.
    pub secret_ref: SecretKeyReference,
}

/// A Secret of the same namespace, and a key in it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyReference {
    /// The name of the Secret.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,

    /// The key in the Secret whose value is the client secret. Absent: client-secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 253))]
    pub key: Option<String>,
}

impl SecretKeyReference {
    /// The key in the Secret, by default `client-secret`.
    #[must_use]
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or("client-secret")
    }
}

/// A client certificate, kept in a Secret of type `kubernetes.io/tls`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientCertificate {
    /// The Secret.
    pub secret_ref: LocalReference,
}

/// A ServiceAccount that the app registration trusts.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadIdentity {
    /// The ServiceAccount. It must carry the annotation azure.workload.identity/client-id with the value of
    /// spec.clientId.
    pub service_account_ref: LocalReference,
}

/// The operator's own federated token.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct OperatorIdentity {}

/// The managed identity of the node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct ManagedIdentity {}

/// What the operator has seen of a connection. Written by the operator alone.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = serde_json::json!({"observedGeneration": -1})))]
pub struct GraphConnectionStatus {
    /// The generation that the last pass has seen; -1 where no pass has seen the resource yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub observed_generation: Option<i64>,

    /// The last value of the annotation intune.msgraph.dev/reconcile-requested-at that was acted on. Holds no more
    /// than its first 256 characters, with U+FFFD in the place of those that cannot be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 256))]
    pub last_handled_reconcile_at: Option<String>,

    /// The app roles of the token in use, as far as they matter here. Absent where the token does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        with = "Vec<String>",
        length(max = 16),
        inner(length(max = 128)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub roles: Option<Vec<String>>,

    /// The tenant's compliance management partners as last listed, at most 100: to pick an id from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        with = "Vec<ListedPartner>",
        length(max = 100),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"])
    )]
    pub partners: Option<Vec<ListedPartner>>,

    /// The resource's conditions, for kubectl wait, Helm, Flux and Argo CD.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
}

/// One compliance management partner of the tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedPartner {
    /// Its id in Graph, for spec.partnerRef.id.
    #[schemars(length(max = 128))]
    pub id: String,

    /// Its display name in Graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 256))]
    pub display_name: Option<String>,
}
