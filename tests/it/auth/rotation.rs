//! What is rotated under load: nobody sees it.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use compliance_partner_operator::api::{ComplianceManagementPartner, ConditionStatus};
use graph_simulator::{App, Certified, Options, Request, certificate};
use harness::{AUDIENCE, CLIENT_SECRET, Kind, PATIENCE, Proofs, Scratch, WRITE_ROLE, World, tls};
use serde_json::json;

use crate::history::{History, of};

/// How often everything is rotated.
const ROUNDS: usize = 5;

/// Each kind of auth with what it names, and an app of its own.
const KINDS: [Kind; 4] = [Kind::Secret, Kind::Certificate, Kind::Account, Kind::Operator];

fn client_id(world: &World, kind: Kind) -> String {
    let place = KINDS.iter().position(|other| *other == kind).unwrap_or_default();
    world.client_id.replace("cccccccc", &format!("cccccc{place:02}"))
}

/// Waits for so many token requests of this kind's app, counted from now.
async fn more_tokens(world: &World, kind: Kind, count: usize) -> anyhow::Result<()> {
    let client = client_id(world, kind);
    let since = world.graph().last_seq();
    let of_it = move |request: &Request| {
        request.seq > since && request.is_token() && request.client_id.as_deref() == Some(client.as_str())
    };
    world.graph().wait_for_requests(of_it, count, PATIENCE).await?;
    Ok(())
}

/// Stages a connection of each kind, and two partners of each.
async fn stage(world: &World, folder: &Scratch, own: &Certified) -> anyhow::Result<()> {
    for (place, kind) in KINDS.into_iter().enumerate() {
        let client = client_id(world, kind);
        let app = App::with_secret(CLIENT_SECRET).roles([WRITE_ROLE]);
        world.graph().add_app(&world.tenant, &client, app);
        let proofs = Proofs {
            client_id: &client,
            secret: CLIENT_SECRET,
            certified: own,
            audience: AUDIENCE,
            folder,
        };
        world.stage(kind, proofs, json!({})).await?;
        let kind = kind.name();
        for number in 0..2 {
            let id = format!("aaaaaaaa-1111-4111-8111-0000000{place}000{number}");
            world.row(&id, &format!("Example Partner {place}{number}"))?;
            let spec = json!({"connectionRef": {"name": kind}, "partnerRef": {"id": id}, "iosOnboarded": true});
            world.partner(&format!("{kind}-{number}"), spec).await?;
        }
    }
    Ok(())
}

/// Each partner's platform is turned, and has to be as it should be.
async fn edit(world: &World, onboarded: bool) -> anyhow::Result<BTreeMap<String, ComplianceManagementPartner>> {
    let mut last = BTreeMap::new();
    for kind in KINDS {
        for number in 0..2 {
            let name = format!("{}-{number}", kind.name());
            let place = KINDS.iter().position(|other| *other == kind).unwrap_or_default();
            let id = format!("aaaaaaaa-1111-4111-8111-0000000{place}000{number}");
            let connection = json!({"name": kind.name()});
            let spec = json!({"connectionRef": connection, "partnerRef": {"id": id}, "iosOnboarded": onboarded});
            world.partner(&name, spec).await?;
            last.insert(name.clone(), world.in_sync(&name).await?);
        }
    }
    Ok(last)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_sync_fails_while_secrets_certificates_and_tokens_are_rotated() -> anyhow::Result<()> {
    // Tokens that live this short are replaced each second.
    let options = Options {
        expires_in: 2,
        ..Options::default()
    };
    let mut world = World::with("rotation", options).await?;
    let folder = Scratch::new()?;
    let mut own = certificate("operator 0")?;
    stage(&world, &folder, &own).await?;
    let (graph, tenant) = (world.graph(), world.tenant.clone());
    let mut secret = CLIENT_SECRET.to_owned();
    let history = History::of(&world).await?;
    let mut config = world.config();
    config.timing.sync_interval = std::time::Duration::from_secs(1);
    config.operator_identity_namespaces = vec![world.namespace.clone()];
    config.federated_token_file = Some(folder.path().join("token"));
    world.start_with(config).await?;
    edit(&world, true).await?;

    let mut last = BTreeMap::new();
    for round in 1..=ROUNDS {
        // As people do it: what is new is known to Entra before it is used, and what is old until it is used no more.
        let (next, next_secret) = (certificate(&format!("operator {round}"))?, format!("next+{round}&~"));
        let both = vec![own.certificate_pem.clone(), next.certificate_pem.clone()];
        graph.set_certificates(&tenant, &client_id(&world, Kind::Certificate), both)?;
        graph.set_secrets(
            &tenant,
            &client_id(&world, Kind::Secret),
            vec![secret, next_secret.clone()],
        )?;
        world.secret("secret", json!({"client-secret": next_secret})).await?;
        world.secret("certificate", tls(&next)).await?;
        world.project(&folder, round, AUDIENCE).await?;
        last = edit(&world, round % 2 == 0).await?;
        // The first of them may have read the Secret before.
        for kind in [Kind::Secret, Kind::Certificate] {
            more_tokens(&world, kind, 2).await?;
        }
        graph.set_certificates(
            &tenant,
            &client_id(&world, Kind::Certificate),
            vec![next.certificate_pem.clone()],
        )?;
        graph.set_secrets(&tenant, &client_id(&world, Kind::Secret), vec![next_secret.clone()])?;
        (own, secret) = (next, next_secret);
    }
    for kind in KINDS {
        more_tokens(&world, kind, 1).await?;
    }
    for (name, newest) in &last {
        let versions = history.until(newest).await?;
        let judged = versions.iter().filter_map(|version| of(version, "Ready"));
        let mut judged = judged
            .skip_while(|ready| ready.status != ConditionStatus::True)
            .peekable();
        judged.peek().with_context(|| format!("{name} never was ready"))?;
        for ready in judged {
            ensure!(ready.status == ConditionStatus::True, "{name}: {ready:?}");
        }
    }
    let refused = graph.requests_where(|request| request.is_token() && request.status != Some(200));
    ensure!(refused.is_empty(), "{refused:#?}");
    for kind in KINDS {
        let warnings = world.events(kind.name(), "CredentialsRejected").await?;
        ensure!(warnings.is_empty(), "{warnings:?}");
    }
    let violations = graph.violations();
    ensure!(violations.is_empty(), "{violations:?}");
    world.stop().await
}
