//! Where objects are handed in: a namespace of the test's own, and every way of writing to it.

use std::fmt;

use anyhow::{Context as _, Result, bail, ensure};
use harness::{ControlPlane, install_crds};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, ObjectMeta};
use kube::{Api, Client};
use serde_json::{Value, json};

/// The partner's id in objects whose test is about something else.
pub(crate) const PARTNER_ID: &str = "d6d46d0d-6d0d-d6d4-0d6d-d4d60d6dd4d6";

/// The names of the objects that [`Desk::new`] makes, for updates.
pub(crate) const BASE: &str = "base";

/// The name of the object that [`Way::ServerSideApplyAgain`] applies to.
const APPLIED: &str = "applied-before";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Partner,
    Connection,
    /// The same by hand-written schemas: see `reference`.
    ReferencePartner,
    ReferenceConnection,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Partner, Self::Connection];

    pub(crate) fn resource(self) -> ApiResource {
        let (kind, plural) = match self {
            Self::Partner => ("ComplianceManagementPartner", "compliancemanagementpartners"),
            Self::Connection => ("GraphConnection", "graphconnections"),
            Self::ReferencePartner => ("ReferencePartner", "referencepartners"),
            Self::ReferenceConnection => ("ReferenceConnection", "referenceconnections"),
        };
        let group = match self {
            Self::Partner | Self::Connection => "intune.msgraph.dev",
            Self::ReferencePartner | Self::ReferenceConnection => "reference.intune.msgraph.dev",
        };
        resource(group, kind, plural)
    }

    pub(crate) fn reference(self) -> Self {
        match self {
            Self::Partner | Self::ReferencePartner => Self::ReferencePartner,
            Self::Connection | Self::ReferenceConnection => Self::ReferenceConnection,
        }
    }

    /// The least that the schema takes. Samples are merge patches to it.
    pub(crate) fn base(self) -> Value {
        match self {
            Self::Partner | Self::ReferencePartner => json!({
                "connectionRef": { "name": "contoso" },
                "partnerRef": { "id": PARTNER_ID },
            }),
            Self::Connection | Self::ReferenceConnection => json!({
                "tenantId": "72f988bf-86f1-41af-91ab-2d7cd011db47",
                "clientId": "6731de76-14a6-49ae-97bc-6eba6914391e",
                "auth": { "clientSecret": { "secretRef": { "name": "graph" } } },
            }),
        }
    }

    /// Whether a patch to the base changes what may never change.
    pub(crate) fn touches_identity(self, patch: &Value) -> bool {
        let fields = match self {
            Self::Partner | Self::ReferencePartner => ["connectionRef", "partnerRef"],
            Self::Connection | Self::ReferenceConnection => ["tenantId", "cloud"],
        };
        fields.iter().any(|field| patch.get(field).is_some())
    }
}

pub(crate) fn resource(group: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: group.to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: format!("{group}/v1alpha1"),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

/// How an object comes to the API server. kubectl's own apply is not among them: it runs once for many objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Create,
    ServerSideApply,
    /// To an object that the same manager has applied before: what is left out now is taken away.
    ServerSideApplyAgain,
    MergePatch,
    Replace,
}

impl Way {
    pub(crate) const ALL: [Self; 5] = [
        Self::Create,
        Self::ServerSideApply,
        Self::ServerSideApplyAgain,
        Self::MergePatch,
        Self::Replace,
    ];

    /// Those that need an object that exists.
    pub(crate) const UPDATES: [Self; 3] = [Self::ServerSideApplyAgain, Self::MergePatch, Self::Replace];

    /// Whether it needs an object that exists.
    pub(crate) fn updates(self) -> bool {
        Self::UPDATES.contains(&self)
    }
}

/// What the API server made of an object, or its words of refusal.
pub(crate) type Verdict = Result<Value, Refusal>;

#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    /// The field and the rule of each fault; none, where the object could not even be read.
    pub(crate) causes: Vec<(String, String)>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message.fmt(formatter)
    }
}

pub(crate) struct Desk {
    pub(crate) plane: &'static ControlPlane,
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl Desk {
    /// A namespace of the test's own with an object of each kind, [`BASE`].
    pub(crate) async fn new(topic: &str) -> Result<Self> {
        let plane = install_crds().await?;
        let client = plane.admin_client().await?;
        let namespace = format!("crd-{topic}");
        let meta = ObjectMeta {
            name: Some(namespace.clone()),
            ..ObjectMeta::default()
        };
        Api::<Namespace>::all(client.clone())
            .create(
                &PostParams::default(),
                &Namespace {
                    metadata: meta,
                    ..Namespace::default()
                },
            )
            .await?;
        let desk = Self {
            plane,
            client,
            namespace,
        };
        for kind in Kind::ALL {
            desk.store(kind, BASE, kind.base()).await?;
        }
        Ok(desk)
    }

    pub(crate) fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind.resource())
    }

    /// Creates an object and gives the answer.
    pub(crate) async fn store(&self, kind: Kind, name: &str, spec: Value) -> Result<Value> {
        let object = object(&kind.resource(), name, &spec);
        let created = self.api(kind).create(&PostParams::default(), &dynamic(object)?).await?;
        Ok(serde_json::to_value(created)?)
    }

    /// Hands in the base with a patch, by any way; nothing is stored.
    pub(crate) async fn try_spec(&self, kind: Kind, way: Way, patch: &Value) -> Result<Verdict> {
        let mut spec = kind.base();
        merge(&mut spec, patch);
        match way {
            Way::Create => {
                let object = object(&kind.resource(), "new", &spec);
                self.post(&self.api(kind), object).await
            }
            Way::ServerSideApply => {
                let object = object(&kind.resource(), "new", &spec);
                let params = PatchParams::apply("tester").dry_run();
                verdict(self.api(kind).patch("new", &params, &Patch::Apply(object)).await)
            }
            Way::ServerSideApplyAgain => {
                let before = object(&kind.resource(), APPLIED, &kind.base());
                let params = PatchParams::apply("tester");
                self.api(kind).patch(APPLIED, &params, &Patch::Apply(before)).await?;
                let object = object(&kind.resource(), APPLIED, &spec);
                verdict(
                    self.api(kind)
                        .patch(APPLIED, &params.dry_run(), &Patch::Apply(object))
                        .await,
                )
            }
            Way::MergePatch => self.merge_patch(kind, BASE, &json!({ "spec": patch }), true).await,
            Way::Replace => self.replace(kind, BASE, spec, true).await,
        }
    }

    pub(crate) async fn post(&self, api: &Api<DynamicObject>, object: Value) -> Result<Verdict> {
        let params = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        verdict(api.create(&params, &dynamic(object)?).await)
    }

    pub(crate) async fn merge_patch(&self, kind: Kind, name: &str, patch: &Value, dry_run: bool) -> Result<Verdict> {
        let params = PatchParams {
            dry_run,
            ..PatchParams::default()
        };
        verdict(self.api(kind).patch(name, &params, &Patch::Merge(patch)).await)
    }

    /// Replaces the spec of an object as it is now.
    pub(crate) async fn replace(&self, kind: Kind, name: &str, spec: Value, dry_run: bool) -> Result<Verdict> {
        let mut object = self.api(kind).get(name).await?;
        object.data["spec"] = spec;
        let params = PostParams {
            dry_run,
            ..PostParams::default()
        };
        verdict(self.api(kind).replace(name, &params, &object).await)
    }

    /// kubectl in this namespace, for a file of many objects: what it wrote to standard output and to standard error,
    /// whether it failed or not. A process costs more than a request, so one does all it can.
    pub(crate) async fn kubectl_with(&self, args: &[&str], objects: &[Value]) -> Result<(String, String)> {
        // No `List`: kubectl judges that by itself, as one.
        let documents: Vec<_> = objects.iter().map(|object| format!("---\n{object}\n")).collect();
        self.kubectl_with_text(args, &documents.concat()).await
    }

    /// As [`Self::kubectl_with`], with the file's text.
    pub(crate) async fn kubectl_with_text(&self, args: &[&str], input: &str) -> Result<(String, String)> {
        let namespace = format!("--namespace={}", self.namespace);
        let args = [&[&*namespace], args, &["--filename=-"]].concat();
        let output = self.plane.kubectl_with_input(&args, input).await?;
        Ok((String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?))
    }

    /// The specs that kubectl was answered with, in the order of the file. It must not say a word of warning.
    pub(crate) async fn kubectl_specs(&self, args: &[&str], objects: &[Value]) -> Result<Vec<Value>> {
        let (stored, errors) = self.kubectl_with(&[args, &["--output=json"]].concat(), objects).await?;
        ensure!(errors.is_empty(), "{errors}");
        let mut specs = Vec::new();
        // Some commands answer with a list, some with one object after the other.
        for answer in serde_json::Deserializer::from_str(&stored).into_iter::<Value>() {
            let answer = answer?;
            match answer["items"].as_array() {
                Some(items) => specs.extend(items.iter().map(|item| item["spec"].clone())),
                None => specs.push(answer["spec"].clone()),
            }
        }
        Ok(specs)
    }

    /// kubectl in this namespace; its output, where it does not fail.
    pub(crate) async fn kubectl_ok(&self, args: &[&str]) -> Result<String> {
        let namespace = format!("--namespace={}", self.namespace);
        self.plane.kubectl_ok(&[&[&*namespace], args].concat()).await
    }
}

pub(crate) fn object(resource: &ApiResource, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": { "name": name },
        "spec": spec,
    })
}

pub(crate) fn dynamic(object: Value) -> Result<DynamicObject> {
    Ok(serde_json::from_value(object)?)
}

pub(crate) fn verdict(answer: kube::Result<DynamicObject>) -> Result<Verdict> {
    match answer {
        Ok(object) => Ok(Ok(serde_json::to_value(object)?)),
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422 | 500) => Ok(Err(Refusal {
            causes: status
                .details
                .iter()
                .flat_map(|details| &details.causes)
                .map(|cause| (cause.field.clone(), cause.message.clone()))
                .collect(),
            message: status.message,
        })),
        Err(error) => bail!("no verdict: {error}"),
    }
}

/// The words of a refusal; an acceptance is an error.
pub(crate) fn refused(verdict: Verdict) -> Result<String> {
    match verdict {
        Ok(object) => bail!("accepted: {}", object["spec"]),
        Err(Refusal { message, .. }) => Ok(message),
    }
}

/// The object that was accepted; a refusal is an error.
pub(crate) fn accepted(verdict: Verdict) -> Result<Value> {
    verdict.map_err(|Refusal { message, .. }| anyhow::anyhow!("refused: {message}"))
}

/// Applies a JSON merge patch.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            if let Some(fields) = target.as_object_mut() {
                fields.remove(key);
            }
        } else {
            merge(&mut target[key], value);
        }
    }
}

/// Fails where a text lacks one of the needles.
pub(crate) fn ensure_contains(text: &str, needles: &[&str]) -> Result<()> {
    for needle in needles {
        text.contains(needle)
            .then_some(())
            .with_context(|| format!("nothing of {needle:?} in: {text}"))?;
    }
    Ok(())
}
