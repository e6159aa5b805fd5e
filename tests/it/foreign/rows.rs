//! Texts in Graph's rows and in users' own fields.

use anyhow::ensure;
use compliance_partner_operator::runtime::text;
use graph_simulator::Request;
use harness::{PATIENCE, World, wait_for};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::reading::{self, Form};
use super::{create, operator, refused, texts, three_polls, writes};
use compliance_partner_operator::api::{RECONCILE_ANNOTATION, condition};

fn id(number: usize) -> String {
    format!("aaaaaaaa-1111-4111-8111-{number:012}")
}

fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

/// One row and one partner for each text: the row says it wherever it can, the partner's spec says the next one.
async fn seed(world: &World, texts: &[String]) -> anyhow::Result<()> {
    for (number, text) in texts.iter().enumerate() {
        let mut row = world.graph().base_row(&id(number), text);
        row["partnerState"] = json!(text);
        row["macOsEnrollmentAssignments"] = json!([
            {"target": {"@odata.type": text}},
            {"target": {"@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": text}},
            {"target": {"@odata.type": "#microsoft.graph.allDevicesAssignmentTarget", text.as_str(): text}},
        ]);
        row[text.as_str()] = json!(text);
        world.graph().seed_row(&world.tenant, row)?;
        // An id that nobody can name, in a row that can be read but for that.
        let key = format!("odd-{number}");
        world
            .graph()
            .seed_row_as(&world.tenant, &key, world.graph().base_row(text, text));

        let policy = if number % 2 == 0 { "Enforce" } else { "Observe" };
        let spec = json!({
            "partnerRef": {"id": id(number)},
            "managementPolicy": policy,
            "displayName": cut(&texts[(number + 1) % texts.len()], 256),
            "macOsEnrollmentAssignments": [],
            "iosOnboarded": true,
        });
        create(world, &format!("text-{number}"), text, spec).await?;
        // Nobody has this name, and the message must not repeat it.
        let nobody = json!({"partnerRef": {"displayName": cut(&format!("nobody {text}"), 256)}, "iosOnboarded": true});
        create(world, &format!("nobody-{number}"), text, nobody).await?;
    }
    Ok(())
}

/// Waits until each partner has come to what it should, and has echoed its request.
async fn settled(world: &World, texts: &[String]) -> anyhow::Result<()> {
    for (number, text) in texts.iter().enumerate() {
        let (status, reason) = if number % 2 == 0 {
            ("False", "UnsupportedTarget")
        } else {
            ("True", "DriftDetected")
        };
        for (name, status, reason) in [("text", status, reason), ("nobody", "False", "PartnerNotFound")] {
            let name = format!("{name}-{number}");
            let partner = world.partner_is(&name, "Ready", status, reason).await?;
            let told = partner.status.unwrap_or_default();
            assert_eq!(told.last_handled_reconcile_at, Some(text::clean(text, 256)), "{name}");
            if name.starts_with("text") {
                let enabled = condition(&told.conditions, "PartnerEnabled").cloned();
                assert_eq!(told.partner_state, Some(text::clean(text, 64)), "{name}");
                assert_eq!(
                    enabled.map(|enabled| format!("{:?}", enabled.status)).as_deref(),
                    Some("Unknown")
                );
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_rows_and_users_say_is_shown_clean_and_stops_nobody() -> anyhow::Result<()> {
    let world = World::new("texts").await?;
    let texts = texts::all();
    let named = "the\u{202e} one\u{7f}\nwith this name";
    world.row("neighbour", "Example Partner")?;
    world.row("named", named)?;
    world.connect().await?;
    seed(&world, &texts).await?;
    create(
        &world,
        "neighbour",
        "1",
        json!({"partnerRef": {"id": "neighbour"}, "iosOnboarded": true}),
    )
    .await?;
    create(
        &world,
        "named",
        "1",
        json!({"partnerRef": {"displayName": named}, "iosOnboarded": true}),
    )
    .await?;
    let running = operator(&world, "json").await?;
    world.in_sync("neighbour").await?;
    assert_eq!(
        world
            .in_sync("named")
            .await?
            .status
            .and_then(|status| status.partner_id)
            .as_deref(),
        Some("named")
    );
    settled(&world, &texts).await?;
    // What spec says is what Graph gets, to the letter; an object whose list is left alone gets the rest.
    for number in (0..texts.len()).step_by(2) {
        let row = world.graph().row(&world.tenant, &id(number)).unwrap_or_default();
        let wanted = cut(&texts[(number + 1) % texts.len()], 256);
        assert_eq!(
            (row["displayName"].as_str(), &row["iosOnboarded"]),
            (Some(wanted.as_str()), &json!(true))
        );
    }
    for text in &texts {
        world.connection_asked("contoso", text).await?;
    }
    // Now that all is settled, polls write nothing; nor does a process that knows of nothing yet.
    three_polls(&world).await?;
    let position = world.plane.audit_position()?;
    three_polls(&world).await?;
    let json_log = stop(&running).await?;
    let restarted = operator(&world, "text").await?;
    three_polls(&world).await?;
    let kubectl = reading::kubectl(&world).await?;
    let metrics = restarted.answers("/metrics", 200, PATIENCE).await?;
    let text_log = stop(&restarted).await?;
    assert_eq!(writes(&world, position)?, []);
    assert_eq!(refused(&world)?, []);

    reading::log(&json_log, Form::Json)?;
    reading::log(&text_log, Form::Text)?;
    reading::lines(&metrics, "the metrics")?;
    for word in ["nimda", "reboot", "jndi", texts::FORGED] {
        assert!(!metrics.contains(word), "{metrics}");
    }
    assert!(kubectl.contains("user\u{fffd}nimda"), "the texts are shown, cleaned");
    listed(&world, texts.len()).await
}

/// The connection lists the rows that have an id, and none that has not.
async fn listed(world: &World, texts: usize) -> anyhow::Result<()> {
    let connection = world.connection_is("contoso", "True", "Connected").await?;
    let partners = connection.status.and_then(|status| status.partners).unwrap_or_default();
    let ids: Vec<&str> = partners.iter().map(|partner| partner.id.as_str()).collect();
    assert!((0..texts).all(|number| ids.contains(&id(number).as_str())), "{ids:?}");
    assert!(ids.iter().all(|id| texts::unfit(id).is_none()), "{ids:?}");
    Ok(())
}

async fn stop(running: &crate::binary::Running) -> anyhow::Result<String> {
    running.stop().await?;
    running.process.log()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_was_cut_inside_a_character_costs_no_neighbour() -> anyhow::Result<()> {
    let mut world = World::new("half-names").await?;
    world.row("whole", "Example Partner")?;
    world.row("broken", "to be broken")?;
    world.connect().await?;
    // Half a surrogate pair, and bytes that are no UTF-8: in the listing, and where the object is read by its id.
    let row = |id: &str, name: &str| world.graph().base_row(id, name).to_string();
    let broken = |body: &str| {
        let (before, after) = body.split_once("@@").unwrap_or_default();
        [before.as_bytes(), b"half \\ud83d and \xf0\x9f\x93", after.as_bytes()].concat()
    };
    let list = format!(
        "{{\"value\":[{},{}]}}",
        row("broken", "@@"),
        row("whole", "Example Partner")
    );
    for (end, body) in [
        ("/complianceManagementPartners", broken(&list)),
        ("/broken", broken(&row("broken", "@@"))),
    ] {
        let answer = graph_simulator::Answer::status(200)
            .header("content-type", "application/json")
            .body(graph_simulator::Body::Bytes(body));
        world.graph().script(
            graph_simulator::Script::graph()
                .method("GET")
                .path_end(end)
                .answer(answer),
        );
    }
    world
        .partner(
            "whole",
            json!({"partnerRef": {"displayName": "Example Partner"}, "managementPolicy": "Observe"}),
        )
        .await?;
    world
        .partner(
            "broken",
            json!({"partnerRef": {"id": "broken"}, "managementPolicy": "Observe"}),
        )
        .await?;
    world.start_polling().await?;
    world.in_sync("whole").await?;
    let partner = world.in_sync("broken").await?;
    let name = partner.status.and_then(|status| status.display_name);
    assert_eq!(name.as_deref(), Some("half \u{fffd} and \u{fffd}"));
    let connection = world.connection_is("contoso", "True", "Connected").await?;
    let partners = json!(connection.status.and_then(|status| status.partners));
    let expected: Value = json!([
        {"id": "broken", "displayName": "half \u{fffd} and \u{fffd}"},
        {"id": "whole", "displayName": "Example Partner"},
    ]);
    assert_eq!(partners, expected);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_else_wrote_into_status_does_not_stop_its_writes() -> anyhow::Result<()> {
    let mut world = World::new("odd-status").await?;
    world.row("p1", "Example Partner")?;
    world.connect().await?;
    world.partner("jamf", json!({"partnerRef": {"id": "p1"}})).await?;
    world.start_polling().await?;
    world.in_sync("jamf").await?;
    // An apply is read as YAML, which has no place for the first two characters and takes the third for a line end.
    let odd = "odd\u{7f}\u{feff}\u{2028}echo";
    let patch = Patch::Merge(json!({"status": {"lastHandledReconcileAt": odd}}));
    world
        .partners()
        .patch_status("jamf", &PatchParams::default(), &patch)
        .await?;
    world
        .graph()
        .change_row(&world.tenant, "p1", json!({"partnerState": "terminated"}))?;
    world
        .partner_is("jamf", "PartnerEnabled", "False", "Terminated")
        .await?;
    let status = world.partners().get("jamf").await?.status.unwrap_or_default();
    let echo = status.last_handled_reconcile_at;
    assert_eq!(echo.as_deref(), Some("odd\u{fffd}\u{fffd}\u{fffd}echo"));
    world.stop().await
}

/// Asks for a pass of both kinds with this value, in JSON.
async fn ask(world: &World, value: &str) -> anyhow::Result<()> {
    let (parameters, patch) = (
        PatchParams::default(),
        json!({"metadata": {"annotations": {RECONCILE_ANNOTATION: value}}}),
    );
    world
        .partners()
        .patch("jamf", &parameters, &Patch::Merge(&patch))
        .await?;
    world
        .connections()
        .patch("contoso", &parameters, &Patch::Merge(&patch))
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_new_value_is_a_request_also_where_its_echo_is_the_same() -> anyhow::Result<()> {
    let mut world = World::new("same-echo").await?;
    world.row("p1", "Example Partner")?;
    world.connect().await?;
    world.partner("jamf", json!({"partnerRef": {"id": "p1"}})).await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    let long = "x".repeat(300);
    for (first, second) in [
        (format!("{long}1"), format!("{long}2")),
        ("y\u{1}".to_owned(), "y\u{2}".to_owned()),
    ] {
        ask(&world, &first).await?;
        wait_for("both echoes", PATIENCE, async || {
            let partner = world.partners().get("jamf").await?.status.unwrap_or_default();
            let connection = world.connections().get("contoso").await?.status.unwrap_or_default();
            let echoes = [partner.last_handled_reconcile_at, connection.last_handled_reconcile_at];
            ensure!(
                echoes == [Some(text::clean(&first, 256)), Some(text::clean(&first, 256))],
                "{echoes:?}"
            );
            Ok(())
        })
        .await?;
        let (reads, lists) = (
            world.graph().count(Request::is_get),
            world.graph().count(Request::is_list),
        );
        ask(&world, &second).await?;
        world
            .graph()
            .wait_for_requests(Request::is_get, reads + 1, PATIENCE)
            .await?;
        world
            .graph()
            .wait_for_requests(Request::is_list, lists + 1, PATIENCE)
            .await?;
    }
    world.stop().await
}
