//! What a test looks at in its world, and asks of it: conditions, events, and what the operator has written.

use anyhow::Context as _;
use compliance_partner_operator::api::{
    ComplianceManagementPartner, Condition, GraphConnection, RECONCILE_ANNOTATION, condition,
};
use compliance_partner_operator::runtime::text;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::{OPERATOR, PATIENCE, World, wait_for};

impl World {
    /// Waits until a condition of a partner has this status and reason, and gives the partner.
    pub async fn partner_is(
        &self,
        name: &str,
        kind: &str,
        status: &str,
        reason: &str,
    ) -> anyhow::Result<ComplianceManagementPartner> {
        let api = self.partners();
        let what = format!("partner {name}: {kind}={status}, {reason}");
        wait_for(&what, PATIENCE, async || {
            let partner = api.get(name).await.map_err(|error| error.to_string())?;
            let conditions = partner
                .status
                .as_ref()
                .map(|status| status.conditions.as_slice())
                .unwrap_or_default();
            let current = partner.status.as_ref().and_then(|status| status.observed_generation);
            let found = is(conditions, kind, status, reason);
            if found && current == partner.metadata.generation {
                Ok(partner)
            } else {
                Err(format!(
                    "generation {:?}, seen {current:?}: {conditions:#?}",
                    partner.metadata.generation
                ))
            }
        })
        .await
    }

    /// Waits until a partner is Ready and in sync at its generation.
    pub async fn in_sync(&self, name: &str) -> anyhow::Result<ComplianceManagementPartner> {
        self.partner_is(name, "Ready", "True", "InSync").await
    }

    /// Waits until Ready of a connection has this status and reason, and gives the connection.
    pub async fn connection_is(&self, name: &str, status: &str, reason: &str) -> anyhow::Result<GraphConnection> {
        let api = self.connections();
        let what = format!("connection {name}: Ready={status}, {reason}");
        wait_for(&what, PATIENCE, async || {
            let connection = api.get(name).await.map_err(|error| error.to_string())?;
            let conditions = connection
                .status
                .as_ref()
                .map(|status| status.conditions.as_slice())
                .unwrap_or_default();
            if is(conditions, "Ready", status, reason) {
                Ok(connection)
            } else {
                Err(format!("{conditions:#?}"))
            }
        })
        .await
    }

    /// Asks for a pass of an object, `cmp/NAME` or `gconn/NAME`, by the annotation with this value.
    pub async fn ask(&self, object: &str, value: &str) -> anyhow::Result<()> {
        let annotation = format!("{RECONCILE_ANNOTATION}={value}");
        let args = ["annotate", object, "--overwrite", "-n", &self.namespace, &annotation];
        self.plane.kubectl_ok(&args).await.map(drop)
    }

    /// Asks for a pass of a partner, waits until status echoes it, and gives the partner.
    pub async fn asked(&self, name: &str, value: &str) -> anyhow::Result<ComplianceManagementPartner> {
        self.ask(&format!("cmp/{name}"), value).await?;
        let api = self.partners();
        wait_for(
            &format!("the echo of {value} by partner {name}"),
            PATIENCE,
            async || {
                let partner = api.get(name).await.map_err(|error| error.to_string())?;
                let echo = partner
                    .status
                    .as_ref()
                    .and_then(|status| status.last_handled_reconcile_at.clone());
                if echo.as_deref() == Some(value) {
                    Ok(partner)
                } else {
                    Err(format!("{:#?}", partner.status))
                }
            },
        )
        .await
    }

    /// Asks for a pass of a connection, waits until status echoes it, and gives the connection. The value may be any
    /// text: its echo is what status shows of it.
    pub async fn connection_asked(&self, name: &str, value: &str) -> anyhow::Result<GraphConnection> {
        self.connection_asked_in(&self.namespace, name, value).await
    }

    /// The same in another namespace.
    pub async fn connection_asked_in(
        &self,
        namespace: &str,
        name: &str,
        value: &str,
    ) -> anyhow::Result<GraphConnection> {
        let api: Api<GraphConnection> = Api::namespaced(self.admin.clone(), namespace);
        // Not by kubectl, whose arguments cannot hold every character.
        let patch = Patch::Merge(json!({"metadata": {"annotations": {RECONCILE_ANNOTATION: value}}}));
        api.patch(name, &PatchParams::default(), &patch).await?;
        let expected = Some(text::clean(value, 256));
        let what = format!("the echo of {value} by connection {namespace}/{name}");
        wait_for(&what, PATIENCE, async || {
            let connection = api.get(name).await.map_err(|error| error.to_string())?;
            let status = connection.status.as_ref();
            if status.and_then(|status| status.last_handled_reconcile_at.as_ref()) == expected.as_ref() {
                Ok(connection)
            } else {
                Err(format!("{status:#?}"))
            }
        })
        .await
    }

    /// The events about the objects of this name, with this reason.
    pub async fn events(&self, name: &str, reason: &str) -> anyhow::Result<Vec<Event>> {
        let api: Api<Event> = Api::namespaced(self.admin.clone(), &self.namespace);
        let all = api.list(&ListParams::default()).await?;
        let about = |event: &Event| {
            let regarding = event.regarding.as_ref().and_then(|regarding| regarding.name.as_deref());
            regarding == Some(name) && event.reason.as_deref() == Some(reason)
        };
        Ok(all.items.into_iter().filter(about).collect())
    }

    /// Waits for an event about the object of this name, with this reason, and gives the first one's type and note.
    pub async fn event(&self, name: &str, reason: &str) -> anyhow::Result<(String, String)> {
        wait_for(&format!("the event {reason} of {name}"), PATIENCE, async || {
            let found = self
                .events(name, reason)
                .await?
                .into_iter()
                .next()
                .context("other events only")?;
            anyhow::Ok((found.type_.unwrap_or_default(), found.note.unwrap_or_default()))
        })
        .await
    }

    /// The place in the audit log after all that the operator wrote until these partners were in sync: their status, the
    /// connection's, and where they were `updated` the event that says so. Events are written beside the passes, and
    /// the log is behind the answers.
    pub async fn settled(&self, partners: &[&str], updated: bool) -> anyhow::Result<u64> {
        for name in partners {
            self.in_sync(name).await?;
            if updated {
                self.event(name, "Updated").await?;
            }
        }
        self.connection_is("contoso", "True", "Connected").await?;
        let events = if updated { partners.len() } else { 0 };
        wait_for("the operator's writes in the audit log", PATIENCE, async || {
            let writes = self.operator_writes_since(0)?;
            let of = |resource: &str| {
                let resource = Some(resource);
                let named = |write: &&Value| write.pointer("/objectRef/resource").and_then(Value::as_str) == resource;
                writes.iter().filter(named).count()
            };
            let seen = (of("compliancemanagementpartners"), of("graphconnections"), of("events"));
            if seen.0 >= partners.len() && seen.1 >= 1 && seen.2 >= events {
                Ok(())
            } else {
                Err(anyhow::anyhow!(
                    "statuses of partners, of connections, and events: {seen:?}"
                ))
            }
        })
        .await?;
        self.plane.audit_position()
    }

    /// The requests of this world's operator to the API server that changed something, after a place in the audit log.
    pub fn operator_writes_since(&self, position: u64) -> anyhow::Result<Vec<Value>> {
        let user = format!("system:serviceaccount:{}:{OPERATOR}", self.operator_namespace);
        let mut events = self.plane.audit_events_since(position)?;
        events.retain(|event| {
            let verb = event.get("verb").and_then(Value::as_str).unwrap_or_default();
            event.pointer("/user/username").and_then(Value::as_str) == Some(&user)
                && !["get", "list", "watch"].contains(&verb)
        });
        Ok(events)
    }

    /// How many changes Graph has been sent.
    #[must_use]
    pub fn patches(&self) -> usize {
        self.graph().count(graph_simulator::Request::is_patch)
    }
}

fn is(conditions: &[Condition], kind: &str, status: &str, reason: &str) -> bool {
    condition(conditions, kind)
        .is_some_and(|found| format!("{:?}", found.status) == status && (reason.is_empty() || found.reason == reason))
}
