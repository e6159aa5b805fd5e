//! One tenant in which each row of the table is shown by a partner of its own.
//!
//! All of them were bound and Ready, with nothing managed, when an operator ran for the first time. Then it was stopped,
//! their specs were edited, and what causes the reasons was done: so the generation that a row is about was not applied
//! yet, and Ready turns from True.

use std::collections::HashMap;

use anyhow::bail;
use graph_simulator::{Answer, App, IgnoreWrites, Script};
use harness::{CLIENT_SECRET, PATIENCE, WRITE_ROLE, World, merge, wait_for};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::shown;

const GROUP: &str = "7c1b0f5e-3f5a-4d0a-9f61-0d6f5a2b9b11";

/// The gallery, with its operator stopped.
pub struct Gallery {
    /// Where it is.
    pub world: World,
    /// The partners that show a row, one name once.
    pub partners: Vec<&'static str>,
    /// What was done to Graph and Entra for them.
    scripts: HashMap<&'static str, u64>,
}

/// An entry of a list that the API version cannot express.
pub fn strange() -> Value {
    json!([{"target": {"@odata.type": "#microsoft.graph.deviceHeapAssignmentTarget", "heapId": "1"}}])
}

/// A refusal by Graph.
pub fn refusal(status: u16, code: &str, message: &str) -> Answer {
    Answer::json(status, json!({"error": {"code": code, "message": message}}))
}

/// What Graph answers to a change for each of the reasons that only a change can have.
pub fn refusal_of_a_change(reason: &str) -> anyhow::Result<Answer> {
    Ok(match reason {
        "permissiondenied" => refusal(403, "Forbidden", "Application is not authorized."),
        "tenantnotlicensed" => refusal(400, "BadRequest", "Request not applicable to target tenant."),
        "rejectedbygraph" => refusal(400, "BadRequest", "This group is not acceptable."),
        "throttled" => refusal(429, "TooManyRequests", "Too many requests."),
        other => bail!("no refusal for {other}"),
    })
}

/// Waits for the next whole second: what is created in a later one is younger, whatever its uid.
pub async fn next_second() -> anyhow::Result<()> {
    let now = Timestamp::now().as_second();
    wait_for("the next second", PATIENCE, async || {
        (Timestamp::now().as_second() > now).then_some(())
    })
    .await
}

impl Gallery {
    /// Stages all rows of the table. `twins`: each partner has an older one, `NAME-twin`, that observes the same object.
    pub async fn stage(name: &str, twins: bool) -> anyhow::Result<Self> {
        let mut partners: Vec<&str> = shown()?.iter().map(|row| row.shown_by).collect();
        partners.dedup();
        let world = World::new(name).await?;
        world.connect().await?;
        let mut this = Self {
            world,
            partners,
            scripts: HashMap::new(),
        };
        for name in this.partners.clone() {
            this.world.row(&this.id(name), &format!("Partner {name}"))?;
        }
        for connection in ["nowhere", "secretless", "mismatch", "moved"] {
            let spec = this.connection_spec(connection, false);
            this.world.connection(connection, spec).await?;
        }
        this.world
            .secret("no-such", json!({"client-secret": CLIENT_SECRET}))
            .await?;
        this.world.consent("no-such").await?;
        this.world.graph().add_app(
            &this.tenant("mismatch"),
            &this.world.client_id,
            App::with_secret(CLIENT_SECRET).roles([WRITE_ROLE]),
        );
        let row = this
            .world
            .graph()
            .base_row(&this.id("connectionstalled"), "In another tenant");
        this.world.graph().seed_row(&this.tenant("mismatch"), row)?;
        if twins {
            for name in this.partners.clone() {
                let spec = json!({"partnerRef": {"id": this.id(name)}, "managementPolicy": "Observe"});
                this.world.partner(&format!("{name}-twin"), spec).await?;
            }
        }
        // The holder in the scene of the conflict is older than the partner that shows it.
        let holder = json!({"partnerRef": {"id": this.id("partnerconflict")}, "managementPolicy": "Observe"});
        this.world.partner("holder", holder).await?;
        next_second().await?;
        for name in this.partners.clone() {
            let mut spec = this.spec(name);
            merge(
                &mut spec,
                json!({"iosOnboarded": null, "suspend": null, "macOsEnrollmentAssignments": null}),
            );
            this.world.partner(name, spec).await?;
        }
        this.world.start().await?;
        for name in this.partners.clone() {
            this.world.in_sync(name).await?;
            if twins {
                this.world.in_sync(&format!("{name}-twin")).await?;
            }
        }
        this.world.in_sync("holder").await?;
        this.world.stop().await?;
        for name in this.partners.clone() {
            this.cause(name).await?;
            this.world.partner(name, this.spec(name)).await?;
        }
        Ok(this)
    }

    /// The id of a partner's object in Graph.
    pub fn id(&self, partner: &str) -> String {
        let place = self.partners.iter().position(|name| *name == partner).unwrap_or(99);
        format!("aaaaaaaa-1111-4111-8111-{place:012}")
    }

    /// A second tenant, in which a connection ends up.
    fn tenant(&self, connection: &str) -> String {
        let first = if connection == "mismatch" {
            "dddddddd"
        } else {
            "eeeeeeee"
        };
        self.world.tenant.replace("bbbbbbbb", first)
    }

    /// What is special about a connection. `then`: in the second act.
    fn connection_spec(&self, name: &str, then: bool) -> Value {
        match name {
            "secretless" => json!({"auth": {"clientSecret": {"secretRef": {"name": "no-such"}}}}),
            "mismatch" => json!({"tenantId": self.tenant("mismatch")}),
            "moved" if then => json!({"tenantId": self.tenant("moved")}),
            _ => json!({}),
        }
    }

    /// The spec of a partner in the second act.
    pub fn spec(&self, partner: &str) -> Value {
        let mut spec = json!({"partnerRef": {"id": self.id(partner)}, "iosOnboarded": true});
        let special = match partner {
            "cleaning" => json!({"deletionPolicy": "Reset"}),
            "suspended" => json!({"suspend": true}),
            "connectionnotfound" => json!({"connectionRef": {"name": "nowhere"}}),
            "connectionnotready" => json!({"connectionRef": {"name": "secretless"}}),
            "connectionstalled" => json!({"connectionRef": {"name": "mismatch"}}),
            "tenantchanged" => json!({"connectionRef": {"name": "moved"}}),
            "partnerambiguous" => json!({"partnerRef": {"id": null, "displayName": "Partner partnerambiguous"}}),
            "unsupportedtarget" => {
                json!({"macOsEnrollmentAssignments": [{"target": {"type": "Group", "groupId": GROUP}}]})
            }
            "driftdetected" => json!({"managementPolicy": "Observe"}),
            _ => json!({}),
        };
        merge(&mut spec, special);
        spec
    }

    fn script(&mut self, partner: &'static str, script: Script) {
        let script = self.world.graph().script(script);
        self.scripts.insert(partner, script);
    }

    /// Does what causes a partner's reason.
    async fn cause(&mut self, partner: &'static str) -> anyhow::Result<()> {
        let (graph, tenant, id) = (self.world.graph(), self.world.tenant.clone(), self.id(partner));
        match partner {
            // The spec alone does it.
            "suspended" | "driftdetected" | "insync" => {}
            "cleaning" => {
                // There is something to reset, and the change fails.
                graph.change_row(&tenant, &id, json!({"iosOnboarded": true}))?;
                let answer = refusal(503, "ServiceUnavailable", "Come back later.");
                self.script(partner, Script::graph().method("PATCH").path(id).answer(answer));
                let partners = self.world.partners();
                partners.delete(partner, &DeleteParams::default()).await?;
            }
            "connectionnotfound" => self.disconnect("nowhere").await?,
            "connectionnotready" => self.forget("no-such").await?,
            "connectionstalled" => {
                let token = graph.issue_token(&tenant, &self.world.client_id, None);
                let answer = json!({"token_type": "Bearer", "expires_in": 3599, "access_token": token});
                let entra = Script::entra().tenant(self.tenant("mismatch"));
                self.script(partner, entra.answer(Answer::json(200, answer)));
            }
            "tenantchanged" => {
                let app = App::with_secret(CLIENT_SECRET).roles([WRITE_ROLE]);
                graph.add_app(&self.tenant("moved"), &self.world.client_id, app);
                let row = graph.base_row(&id, "The same id in another tenant");
                graph.seed_row(&self.tenant("moved"), row)?;
                self.disconnect("moved").await?;
                let spec = self.connection_spec("moved", true);
                self.world.connection("moved", spec).await?;
            }
            "graphunavailable" => graph.remove_property(&tenant, &id, "macOsOnboarded")?,
            "partnerconflict" => {
                let holder = json!({"partnerRef": {"id": id}, "macOsOnboarded": true});
                self.world.partner("holder", holder).await?;
            }
            "partnernotfound" => graph.delete_row(&tenant, &id)?,
            "partnerambiguous" => {
                graph.delete_row(&tenant, &id)?;
                for twin in ["ambiguous-1", "ambiguous-2"] {
                    self.world.row(twin, "Partner partnerambiguous")?;
                }
            }
            "updateineffective" => graph.ignore_writes(&tenant, &id, IgnoreWrites::fields(["iosOnboarded"]))?,
            "unsupportedtarget" => {
                graph.change_row(&tenant, &id, json!({"macOsEnrollmentAssignments": strange()}))?;
            }
            refused => {
                let answer = refusal_of_a_change(refused)?;
                self.script(partner, Script::graph().method("PATCH").path(id).answer(answer));
            }
        }
        Ok(())
    }

    /// Ends what causes a partner's reason. Nobody asks the operator for anything.
    pub async fn cure(&self, partner: &str) -> anyhow::Result<()> {
        let (graph, tenant, id) = (self.world.graph(), self.world.tenant.clone(), self.id(partner));
        if let Some(script) = self.scripts.get(partner) {
            graph.remove_script(*script);
            return Ok(());
        }
        match partner {
            "suspended" => self.edit(partner, json!({"suspend": false})).await?,
            "driftdetected" => self.edit(partner, json!({"managementPolicy": null})).await?,
            "connectionnotfound" => self.world.connection("nowhere", json!({})).await?,
            "connectionnotready" => {
                self.world
                    .secret("no-such", json!({"client-secret": CLIENT_SECRET}))
                    .await?;
            }
            "tenantchanged" => {
                self.disconnect("moved").await?;
                self.world.connection("moved", json!({})).await?;
            }
            "graphunavailable" => graph.change_row(&tenant, &id, json!({"macOsOnboarded": false}))?,
            "partnerconflict" => {
                let partners = self.world.partners();
                partners.delete("holder", &DeleteParams::default()).await?;
            }
            "partnernotfound" => self.world.row(&id, "Partner partnernotfound")?,
            "partnerambiguous" => graph.delete_row(&tenant, "ambiguous-2")?,
            // A change that had no effect is not sent again: somebody makes it in the portal.
            "updateineffective" => graph.change_row(&tenant, &id, json!({"iosOnboarded": true}))?,
            "unsupportedtarget" => graph.change_row(&tenant, &id, json!({"macOsEnrollmentAssignments": []}))?,
            other => bail!("no cure for {other}"),
        }
        Ok(())
    }

    /// Applies a partner's spec with something changed.
    pub async fn edit(&self, partner: &str, change: Value) -> anyhow::Result<()> {
        let mut spec = self.spec(partner);
        merge(&mut spec, change);
        self.world.partner(partner, spec).await.map(drop)
    }

    /// Deletes a connection.
    pub async fn disconnect(&self, connection: &str) -> anyhow::Result<()> {
        let connections = self.world.connections();
        connections.delete(connection, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Creates a connection as it was in the second act.
    pub async fn connect_again(&self, connection: &str) -> anyhow::Result<()> {
        let spec = self.connection_spec(connection, true);
        self.world.connection(connection, spec).await
    }

    /// Deletes a Secret.
    pub async fn forget(&self, secret: &str) -> anyhow::Result<()> {
        let secrets: Api<Secret> = Api::namespaced(self.world.admin.clone(), &self.world.namespace);
        secrets.delete(secret, &DeleteParams::default()).await?;
        Ok(())
    }
}
