//! Each reason of a GraphConnection: what it and its partner tell, when it is tried again, and the
//! way back.

use std::time::Duration;

use anyhow::{bail, ensure};
use graph_simulator::{App, Request, Script};
use harness::{AUDIENCE, CLIENT_SECRET, Kind, PATIENCE, WRITE_ROLE, World, auth, kstatus, wait_for};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::gallery::{refusal, refusal_of_a_change};
use super::look::{CONNECTIONS, PARTNERS, judged, object, passes, shows, told};
use super::waits::{SHORT, lengthen, only_those_of};
use super::{Row, read, row};

const KIND: &str = "GraphConnection";
const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";

/// The rows, with a connection for each, each in a tenant of its own, and a partner of the same name.
pub(crate) struct Gallery {
    pub(crate) world: World,
    pub(crate) rows: Vec<Row>,
    scripts: Vec<(&'static str, u64)>,
}

impl Gallery {
    pub(crate) async fn stage(name: &str) -> anyhow::Result<Self> {
        let world = World::new(name).await?;
        world.consent("no-such").await?;
        let rows = read(super::CONNECTIONS)?;
        let mut this = Self {
            world,
            rows,
            scripts: Vec::new(),
        };
        for (place, row) in this.rows.clone().iter().enumerate() {
            let (name, tenant) = (row.shown_by, this.tenant(place));
            let world = &this.world;
            let roles = if name == "permissiondenied" {
                vec![]
            } else {
                vec![WRITE_ROLE]
            };
            let app = App::with_secret(CLIENT_SECRET).roles(roles);
            world.graph().add_app(&tenant, &world.client_id, app);
            let partner = world.graph().base_row(P1, "Example Partner");
            world.graph().seed_row(&tenant, partner)?;
            this.credential(name).await?;
            let spec = json!({"tenantId": tenant, "auth": Self::auth(name)});
            world.connection(name, spec).await?;
            let spec = json!({"connectionRef": {"name": name}, "partnerRef": {"id": P1}});
            world.partner(name, spec).await?;
            this.script(name, &tenant)?;
        }
        Ok(this)
    }

    /// What a connection names, as far as it is there, and the consent to use it.
    async fn credential(&self, name: &str) -> anyhow::Result<()> {
        let world = &self.world;
        match name {
            "secretnotfound" | "identitynotallowed" => {}
            "accountnotfound" => world.consent_to_account(name).await?,
            "accountinvalid" => {
                world.account(name, "another-app").await?;
                world.consent_to_account(name).await?;
            }
            name => {
                world.secret(name, json!({"client-secret": Self::value(name)})).await?;
                if name != "accessnotgranted" {
                    world.consent(name).await?;
                }
            }
        }
        Ok(())
    }

    /// How a connection signs in.
    fn auth(name: &str) -> Value {
        match name {
            "identitynotallowed" => auth(Kind::Operator, name),
            "accountnotfound" | "accountinvalid" => auth(Kind::Account, name),
            "secretnotfound" => auth(Kind::Secret, "no-such"),
            name => auth(Kind::Secret, name),
        }
    }

    /// What stands in a connection's Secret.
    fn value(name: &str) -> &'static str {
        match name {
            "secretinvalid" => "one line\nand another",
            "credentialsrejected" => "its-id-and-not-its-value",
            _ => CLIENT_SECRET,
        }
    }

    fn tenant(&self, place: usize) -> String {
        let first = format!("dddddd{place:02}");
        self.world.tenant.replace("bbbbbbbb", &first)
    }

    /// What Graph and Entra say for it.
    fn script(&mut self, name: &'static str, tenant: &str) -> anyhow::Result<()> {
        let graph = self.world.graph();
        let of_graph = Script::graph().tenant(tenant);
        let script = match name {
            "principalnotfound" => of_graph.answer(refusal(401, "Authorization_IdentityNotFound", "Who is that?")),
            "tenantnotlicensed" | "throttled" => of_graph.answer(refusal_of_a_change(name)?),
            "graphunavailable" => of_graph.answer(refusal(503, "ServiceUnavailable", "Come back later.")),
            "tenantmismatch" => {
                let token = graph.issue_token(&self.world.tenant, &self.world.client_id, None);
                let answer = json!({"token_type": "Bearer", "expires_in": 3599, "access_token": token});
                Script::entra()
                    .tenant(tenant)
                    .answer(graph_simulator::Answer::json(200, answer))
            }
            _ => return Ok(()),
        };
        self.scripts.push((name, graph.script(script)));
        Ok(())
    }

    async fn cure(&self, name: &str) -> anyhow::Result<()> {
        let world = &self.world;
        let good = json!({"client-secret": CLIENT_SECRET});
        if let Some((_, script)) = self.scripts.iter().find(|(of, _)| *of == name) {
            world.graph().remove_script(*script);
            return Ok(());
        }
        match name {
            "connected" => {}
            "secretnotfound" => world.secret("no-such", good).await?,
            "secretinvalid" | "credentialsrejected" => world.secret(name, good).await?,
            "accessnotgranted" => world.consent(name).await?,
            "accountnotfound" | "accountinvalid" => {
                let place = self.rows.iter().position(|row| row.shown_by == name).unwrap_or(99);
                world
                    .trust_in(&self.tenant(place), &world.client_id, name, AUDIENCE)
                    .await?;
                world.account(name, &world.client_id).await?;
            }
            // Its namespace was not named at start: another kind of auth is all that helps.
            "identitynotallowed" => {
                world.secret(name, good).await?;
                world.consent(name).await?;
                let auth = json!({"operatorIdentity": null, "clientSecret": {"secretRef": {"name": name}}});
                let edited = json!({"spec": {"auth": auth}});
                let connections = world.connections();
                connections
                    .patch(name, &PatchParams::default(), &Patch::Merge(edited))
                    .await?;
            }
            "permissiondenied" => {
                let place = self.rows.iter().position(|row| row.shown_by == name).unwrap_or(99);
                world
                    .graph()
                    .set_roles(&self.tenant(place), &world.client_id, [WRITE_ROLE])?;
            }
            other => bail!("no cure for {other}"),
        }
        Ok(())
    }

    /// What the partner of a connection tells: the connection's pair, or the trouble itself.
    pub(crate) fn of_partner(row: &Row) -> Row {
        let transient = ["Throttled", "GraphUnavailable"].contains(&row.reason);
        Row {
            reason: match row.reason {
                "Connected" => "InSync",
                reason if transient => reason,
                _ => "ConnectionNotReady",
            },
            synced: if row.ready == "True" { "True" } else { "Unknown" },
            says: if row.ready == "True" { "Graph equals" } else { row.says },
            ..*row
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_reason_of_a_connection_is_told_there_and_by_its_partner() -> anyhow::Result<()> {
    let mut gallery = Gallery::stage("connections").await?;
    gallery.world.start().await?;
    let world = &gallery.world;
    for row in &gallery.rows {
        shows(world, CONNECTIONS, row.shown_by, row).await?;
        shows(world, PARTNERS, row.shown_by, &Gallery::of_partner(row)).await?;
        told(world, row.shown_by, row).await?;
        told(world, row.shown_by, &Gallery::of_partner(row)).await?;
    }
    // Nothing was asked of Microsoft for those that have no credential to send.
    for (place, row) in gallery.rows.iter().enumerate() {
        let tenant = gallery.tenant(place);
        let asked = world
            .graph()
            .count(|request| request.tenant.as_deref() == Some(tenant.as_str()));
        let without = ["15 s", "on change"].contains(&row.again) && row.reason != "CredentialsRejected";
        ensure!((asked == 0) == without, "{}", row.reason);
    }
    // All of them heal, and but for those that are Stalled for it, without an edit of the connection.
    for row in &gallery.rows {
        gallery.cure(row.shown_by).await?;
    }
    let connected = gallery.rows.iter().find(|row| row.reason == "Connected").copied();
    for row in &gallery.rows {
        shows(world, CONNECTIONS, row.shown_by, &connected.unwrap_or(*row)).await?;
        world.in_sync(row.shown_by).await?;
    }
    gallery.world.stop().await
}

/// All waits are long but one.
async fn only_that_wait_counts(gallery: &mut Gallery, wait: &'static str) -> anyhow::Result<()> {
    let mut config = gallery.world.config();
    let timing = &mut config.timing;
    lengthen(timing);
    match wait {
        "poll" => timing.sync_interval = Duration::from_secs(1),
        "slow" => timing.slow = SHORT,
        "very slow" => timing.very_slow = SHORT,
        "backoff" => (timing.backoff, timing.backoff_cap) = (SHORT, SHORT),
        "15 s" => timing.secret = SHORT,
        other => bail!("no wait {other}"),
    }
    gallery.world.graph().clear_log();
    gallery.world.start_with(config).await?;
    only_those_of(wait, &gallery.world, KIND, &gallery.rows).await?;
    if wait == "15 s" {
        // The Secrets are looked at, and Entra is left alone: a refused credential has a backoff of its own.
        let place = gallery.rows.iter().position(|row| row.reason == "CredentialsRejected");
        let tenant = gallery.tenant(place.unwrap_or(99));
        let asked = |request: &Request| request.is_token() && request.tenant.as_deref() == Some(tenant.as_str());
        assert_eq!(gallery.world.graph().count(asked), 1);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_reason_of_a_connection_is_tried_again_after_its_own_wait() -> anyhow::Result<()> {
    let mut gallery = Gallery::stage("connection-waits").await?;
    for wait in ["poll", "slow", "very slow", "backoff", "15 s"] {
        only_that_wait_counts(&mut gallery, wait).await?;
    }
    let unwatched = |row: &&Row| row.again == "on change";
    let unwatched: Vec<&str> = gallery.rows.iter().filter(unwatched).map(|row| row.reason).collect();
    assert_eq!(unwatched, ["IdentityNotAllowed"], "nobody looks at it");
    gallery.world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_credential_is_sent_again_after_its_backoff_alone() -> anyhow::Result<()> {
    let mut world = World::new("refused-again").await?;
    world.connect().await?;
    world.secret("graph", json!({"client-secret": "wrong"})).await?;
    let mut config = world.config();
    config.timing.secret = Duration::from_millis(50);
    config.timing.credentials = Duration::from_millis(600);
    config.timing.credentials_cap = Duration::from_millis(1_200);
    world.start_with(config).await?;
    world.graph().wait_for_requests(Request::is_token, 3, PATIENCE).await?;
    world.connection_is("contoso", "False", "CredentialsRejected").await?;
    // It was right all the time, and Entra did not know it yet.
    world.graph().set_secret(&world.tenant, &world.client_id, "wrong")?;
    world.connection_is("contoso", "True", "Connected").await?;
    world.stop().await
}

/// The three rows of trouble that passes by itself, for a connection.
async fn outage(name: &str, status: u16, code: &str, reason: &'static str) -> anyhow::Result<()> {
    let mut world = World::new(name).await?;
    world.connect().await?;
    let mut config = world.config();
    config.timing.sync_interval = Duration::from_secs(1);
    world.start_with(config.clone()).await?;
    world.connection_is("contoso", "True", "Connected").await?;
    let before = object(&world, CONNECTIONS, "contoso").await?;
    let outage = world
        .graph()
        .script(Script::graph().answer(refusal(status, code, "Later.")));
    wait_for("passes during the outage", PATIENCE, async || {
        ensure!(passes(&world, KIND, reason)? >= 3, "fewer");
        Ok(())
    })
    .await?;
    let kept = object(&world, CONNECTIONS, "contoso").await?;
    assert_eq!(before, kept, "it was Connected a moment ago");
    assert_eq!(kstatus(&kept).await?.status, "Current");

    config.timing.unknown_after = Duration::from_millis(1);
    world.start_with(config).await?;
    let unknown = Row {
        synced: "–",
        ..row(reason, "Unknown")?
    };
    let turned = shows(&world, CONNECTIONS, "contoso", &unknown).await?;
    let listed = |object: &Value| object.pointer("/status/partners").cloned();
    ensure!(listed(&turned) == listed(&before), "{turned:#}");
    assert!(
        world.events("contoso", reason).await?.is_empty(),
        "Ready has not turned False"
    );

    // An edited connection is another one.
    let edited = json!({"spec": {"access": "ReadOnly"}});
    let connections = world.connections();
    connections
        .patch("contoso", &PatchParams::default(), &Patch::Merge(edited))
        .await?;
    let mut not_yet = row(reason, "False")?;
    not_yet.synced = "–";
    shows(&world, CONNECTIONS, "contoso", &not_yet).await?;
    told(&world, "contoso", &not_yet).await?;
    world.graph().remove_script(outage);
    world.connection_is("contoso", "True", "Connected").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_graph_is_away_a_connection_is_what_the_contract_makes_of_it() -> anyhow::Result<()> {
    outage("conn-away", 503, "ServiceUnavailable", "GraphUnavailable").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_microsoft_asks_for_a_pause_a_connection_is_what_the_contract_makes_of_it() -> anyhow::Result<()> {
    outage("conn-pause", 429, "TooManyRequests", "Throttled").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verdict_of_a_connection_that_is_stalled_stays_through_an_outage_of_entra() -> anyhow::Result<()> {
    let mut gallery = Gallery::stage("stalled").await?;
    gallery.world.start().await?;
    let mismatch = gallery.rows.iter().find(|row| row.reason == "TenantMismatch").copied();
    let Some(mismatch) = mismatch else {
        bail!("no row TenantMismatch")
    };
    let world = &gallery.world;
    let before = shows(world, CONNECTIONS, mismatch.shown_by, &mismatch).await?;
    let place = gallery
        .rows
        .iter()
        .position(|row| row.reason == mismatch.reason)
        .unwrap_or(99);
    gallery.cure(mismatch.shown_by).await?;
    let away = Script::entra()
        .tenant(gallery.tenant(place))
        .answer(refusal(503, "temporarily_unavailable", ""));
    let away = world.graph().script(away);
    wait_for("a token request during the outage", PATIENCE, async || {
        ensure!(world.graph().script_hits(away) >= 2, "fewer");
        Ok(())
    })
    .await?;
    let after = object(world, CONNECTIONS, mismatch.shown_by).await?;
    assert_eq!(judged(&before), judged(&after));
    // So it is with what its partner has of it.
    let partner = Gallery::of_partner(&mismatch);
    world.asked(mismatch.shown_by, "during the outage").await?;
    shows(world, PARTNERS, mismatch.shown_by, &partner).await?;
    world.graph().remove_script(away);
    world.connection_is(mismatch.shown_by, "True", "Connected").await?;
    gallery.world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_of_a_connection_holds_its_secret() -> anyhow::Result<()> {
    let mut gallery = Gallery::stage("discreet").await?;
    gallery.world.start().await?;
    for row in &gallery.rows {
        let connection = shows(&gallery.world, CONNECTIONS, row.shown_by, row).await?.to_string();
        let partner = object(&gallery.world, PARTNERS, row.shown_by).await?.to_string();
        for secret in [CLIENT_SECRET, "its-id-and-not-its-value", "and another"] {
            ensure!(
                !connection.contains(secret) && !partner.contains(secret),
                "{connection}{partner}"
            );
        }
    }
    gallery.world.stop().await
}
