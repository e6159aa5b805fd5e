//! Whatever happens, in whatever order: what holds of each version that somebody sees, and where it all ends.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use graph_simulator::{Answer, Request, Script, ViolationKind};
use harness::{PATIENCE, World, wait_for};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::history::{History, at, check, of};

const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";
const P2: &str = "aaaaaaaa-1111-4111-8111-000000000002";
const NAMES: [&str; 4] = ["first", "second", "by-name", "alone"];

/// Numbers that look like chance and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Which object a resource is for, over which connection, and what it may ever manage.
fn spec(name: &str) -> Value {
    match name {
        "first" => json!({"partnerRef": {"id": P1}, "iosOnboarded": true}),
        "second" => json!({"connectionRef": {"name": "other"}, "partnerRef": {"id": P1}, "androidOnboarded": true}),
        "by-name" => json!({"partnerRef": {"displayName": "Example Partner"}, "macOsOnboarded": true}),
        _ => json!({"connectionRef": {"name": "other"}, "partnerRef": {"id": P2}, "iosOnboarded": true}),
    }
}

async fn merged(world: &World, name: &str, spec: Value) -> anyhow::Result<()> {
    let patch = Patch::Merge(json!({"spec": spec}));
    match world.partners().patch(name, &PatchParams::default(), &patch).await {
        // It may have been deleted.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

/// One thing that happens.
async fn happen(world: &mut World, dice: &mut Dice, step: u64) -> anyhow::Result<()> {
    let name = NAMES.get(usize::try_from(dice.roll(4))?).copied().unwrap_or("alone");
    let on = dice.roll(2) == 0;
    let id = if dice.roll(2) == 0 { P1 } else { P2 };
    let access = |on| json!({"access": if on { "ReadOnly" } else { "ReadWrite" }});
    match dice.roll(17) {
        0 | 1 => merged(world, name, json!({"iosOnboarded": on})).await,
        2 => merged(world, name, json!({"macOsOnboarded": null, "androidOnboarded": on})).await,
        3 => merged(world, name, json!({"suspend": on})).await,
        4 => {
            merged(
                world,
                name,
                json!({"managementPolicy": if on { "Observe" } else { "Enforce" }}),
            )
            .await
        }
        5 | 6 => {
            // The row may be gone just then.
            let _ = world
                .graph()
                .change_row(&world.tenant, id, json!({"iosOnboarded": on, "macOsOnboarded": !on}));
            Ok(())
        }
        7 => {
            if world.graph().delete_row(&world.tenant, id).is_err() {
                world.row(id, if id == P1 { "Example Partner" } else { "Other Partner" })?;
            }
            Ok(())
        }
        8 => {
            world.graph().clear_scripts();
            if on {
                world.graph().script(Script::graph().answer(Answer::status(503)));
            }
            Ok(())
        }
        9 => {
            world.graph().revoke_tokens(&world.tenant, None);
            Ok(())
        }
        10 => {
            world
                .connection(if on { "contoso" } else { "other" }, access(dice.roll(2) == 0))
                .await
        }
        11 => world
            .ask(&format!("cmp/{name}"), &format!("step {step}"))
            .await
            .or(Ok(())),
        12 => {
            let slow = Script::graph()
                .method("PATCH")
                .delay(Duration::from_millis(300))
                .times(1);
            world.graph().script(slow.then_continue());
            Ok(())
        }
        13 => {
            merged(
                world,
                name,
                json!({"deletionPolicy": if on { "Reset" } else { "Retain" }}),
            )
            .await
        }
        14 => {
            let partners = world.partners();
            partners
                .delete(name, &DeleteParams::default())
                .await
                .map(drop)
                .or(Ok(()))
        }
        15 => world.partner(name, spec(name)).await.map(drop),
        _ => {
            world.stop().await?;
            world.start_polling().await
        }
    }
}

async fn weather(name: &str, seed: u64) -> anyhow::Result<()> {
    let mut world = World::new(name).await?;
    world.row(P1, "Example Partner")?;
    world.row(P2, "Other Partner")?;
    world.connect().await?;
    world.connection("other", json!({})).await?;
    let history = History::of(&world).await?;
    for name in NAMES {
        world.partner(name, spec(name)).await?;
    }
    world.start_polling().await?;
    let mut dice = Dice(seed);
    for step in 0..60 {
        happen(&mut world, &mut dice, step).await?;
        // Some things happen at once, others after the operator has had a look.
        if dice.roll(3) == 0 {
            let before = world.graph().last_seq();
            let any = move |request: &Request| request.seq > before;
            let _ = world
                .graph()
                .wait_for_requests(any, 2, Duration::from_millis(1_500))
                .await;
        }
    }
    settle(&world).await?;
    ends(&world).await?;
    for name in NAMES {
        let last = world.partners().get(name).await?;
        let versions = history.until(&last).await?;
        check(&versions).with_context(|| format!("{name}, seed {seed}"))?;
    }
    quiet(&world).await?;
    world.stop().await
}

/// All is well again, and everybody wants to write.
async fn settle(world: &World) -> anyhow::Result<()> {
    world.graph().clear_scripts();
    for (id, name) in [(P1, "Example Partner"), (P2, "Other Partner")] {
        if world.graph().row(&world.tenant, id).is_none() {
            world.row(id, name)?;
        }
    }
    for name in ["contoso", "other"] {
        world.connection(name, json!({"access": "ReadWrite"})).await?;
    }
    for name in NAMES {
        wait_for(&format!("{name}, and not on its way out"), PATIENCE, async || {
            let partner = world.partner(name, spec(name)).await?;
            ensure!(partner.metadata.deletion_timestamp.is_none(), "{partner:#?}");
            Ok(())
        })
        .await?;
        let well = json!({"deletionPolicy": null, "suspend": null, "managementPolicy": null, "iosOnboarded": true});
        merged(world, name, well).await?;
        world.ask(&format!("cmp/{name}"), "all is well").await?;
    }
    Ok(())
}

/// One holds the object that three want, the oldest; and Graph is as the holders want it.
async fn ends(world: &World) -> anyhow::Result<()> {
    let all = world.partners().list(&ListParams::default()).await?.items;
    let holder = all
        .iter()
        .filter(|partner| partner.metadata.name.as_deref() != Some("alone"))
        .min_by_key(|partner| {
            (
                partner.metadata.creation_timestamp.clone(),
                partner.metadata.uid.clone(),
            )
        })
        .and_then(|partner| partner.metadata.name.clone())
        .context("nobody")?;
    for name in NAMES {
        let (status, reason) = if name == "alone" || name == holder {
            ("True", "InSync")
        } else {
            ("False", "PartnerConflict")
        };
        world.partner_is(name, "Ready", status, reason).await?;
    }
    for (id, name) in [(P1, holder.as_str()), (P2, "alone")] {
        let partner = world.partners().get(name).await?;
        let row = world.graph().row(&world.tenant, id).context("no row")?;
        for field in ["iosOnboarded", "androidOnboarded", "macOsOnboarded"] {
            let wanted = at(&partner, &format!("/spec/{field}"));
            ensure!(
                wanted.is_null() || row.get(field) == Some(&wanted),
                "{name}: {field} of {row}"
            );
        }
        ensure!(of(&partner, "Synced").is_some_and(|synced| synced.reason == "InSync"));
        ensure!(partner.metadata.finalizers.is_none(), "{partner:#?}");
    }
    let graph = world.graph();
    for request in graph.requests_where(Request::is_patch) {
        let known = ["iosOnboarded", "androidOnboarded", "macOsOnboarded"];
        ensure!(
            request.properties().iter().all(|field| known.contains(field)),
            "{request:#?}"
        );
    }
    // A change in the portal between the read and the write makes the write one of nothing.
    let mut violations = graph.violations();
    violations.retain(|violation| violation.kind != ViolationKind::UnchangedProperty);
    ensure!(violations.is_empty(), "{violations:#?}");
    Ok(())
}

/// And then nothing is written any more.
async fn quiet(world: &World) -> anyhow::Result<()> {
    for connection in ["contoso", "other"] {
        world.connection_is(connection, "True", "Connected").await?;
    }
    let versions = async || {
        let all = world.partners().list(&ListParams::default()).await?.items;
        anyhow::Ok(
            all.into_iter()
                .map(|partner| partner.metadata.resource_version)
                .collect::<Vec<_>>(),
        )
    };
    let before = wait_for("statuses that stay", PATIENCE, async || {
        let before = versions().await?;
        polled(world).await?;
        ensure!(before == versions().await?, "they move");
        Ok(before)
    })
    .await?;
    world.graph().clear_log();
    polled(world).await?;
    ensure!(before == versions().await?, "a poll that finds nothing new has written");
    ensure!(world.patches() == 0, "a poll that finds nothing new has sent something");
    Ok(())
}

async fn polled(world: &World) -> anyhow::Result<()> {
    let seen = world.graph().last_seq();
    let listed = move |request: &Request| request.is_list() && request.seq > seen;
    world.graph().wait_for_requests(listed, 6, PATIENCE).await.map(drop)
}

/// `SEED=2` and so on is other weather.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_it_ends_well() -> anyhow::Result<()> {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    weather("weather", seed.unwrap_or(1)).await
}
