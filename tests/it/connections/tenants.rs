//! What is wrong with the tenant or the app, and what the tenant's collection looks like.

use std::collections::BTreeSet;
use std::time::Duration;

use graph_simulator::{Answer, App, Options, Request, Script, TokenStyle};
use harness::{CLIENT_SECRET, PATIENCE, WRITE_ROLE, World, wait_for};
use serde_json::json;

use super::{P1, of, told, with_a_partner};

const READ_ROLE: &str = "DeviceManagementServiceConfig.Read.All";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_does_not_exist_is_told_with_what_to_check() -> anyhow::Result<()> {
    let mut world = World::new("no-tenant").await?;
    world.secret("graph", json!({"client-secret": CLIENT_SECRET})).await?;
    world.consent("graph").await?;
    world
        .connection("contoso", json!({"tenantId": "dddddddd-4444-4444-8444-000000000000"}))
        .await?;
    world.start().await?;
    let connection = world.connection_is("contoso", "False", "CredentialsRejected").await?;
    let told = told(&connection);
    assert!(told.contains("AADSTS90002") && told.contains("spec.tenantId"), "{told}");
    assert!(of(&connection, "Reconciling").is_some());
    assert_eq!(world.graph().count(Request::is_graph), 0);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_another_tenant_is_never_used() -> anyhow::Result<()> {
    let mut world = World::new("mismatch").await?;
    world.connect().await?;
    let other = "eeeeeeee-5555-4555-8555-000000000000";
    world.graph().add_app(
        other,
        &world.client_id,
        App::with_secret(CLIENT_SECRET).roles([WRITE_ROLE]),
    );
    let token = world.graph().issue_token(other, &world.client_id, None);
    let answer = json!({"token_type": "Bearer", "expires_in": 3599, "access_token": token});
    world
        .graph()
        .script(Script::entra().answer(Answer::json(200, answer)).times(1));
    let mut config = world.config();
    config.timing.slow = Duration::from_secs(3);
    world.start_with(config).await?;
    let connection = world.connection_is("contoso", "False", "TenantMismatch").await?;
    assert!(of(&connection, "Stalled").is_some() && of(&connection, "Reconciling").is_none());
    assert_eq!(world.graph().count(Request::is_graph), 0);
    // Whoever made that mistake has mended it.
    world.connection_is("contoso", "True", "Connected").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_role_is_named_and_heals_when_it_is_granted() -> anyhow::Result<()> {
    let mut world = World::new("no-role").await?;
    world.graph().set_roles(&world.tenant, &world.client_id, [""; 0])?;
    world.connect().await?;
    with_a_partner(&world).await?;
    world.start().await?;
    let connection = world.connection_is("contoso", "False", "PermissionDenied").await?;
    let message = told(&connection);
    assert!(
        message.starts_with(&format!("The app lacks the application permission {WRITE_ROLE}"))
            && message.contains(READ_ROLE)
            && message.contains("admin consent"),
        "{message}"
    );
    assert!(of(&connection, "Reconciling").is_some());
    world.partner_is("jamf", "Ready", "False", "ConnectionNotReady").await?;
    assert_eq!(world.event("contoso", "PermissionDenied").await?.0, "Warning");

    // Only to read: the connection works, and the partner says what it lacks.
    world.graph().set_roles(&world.tenant, &world.client_id, [READ_ROLE])?;
    let connection = world.connection_is("contoso", "True", "Connected").await?;
    assert_eq!(connection.status.unwrap().roles.unwrap(), [READ_ROLE]);
    let partner = world.partner_is("jamf", "Ready", "False", "PermissionDenied").await?;
    let conditions = partner.status.unwrap().conditions;
    assert!(conditions[0].message.contains(WRITE_ROLE), "{}", conditions[0].message);
    assert!(conditions.iter().any(|condition| condition.r#type == "Reconciling"));

    world.graph().set_roles(&world.tenant, &world.client_id, [WRITE_ROLE])?;
    world.in_sync("jamf").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_goes_by_a_role_that_was_granted_since() -> anyhow::Result<()> {
    let mut world = World::new("granted-since").await?;
    world.graph().set_roles(&world.tenant, &world.client_id, [""; 0])?;
    world.connect().await?;
    with_a_partner(&world).await?;
    let mut config = world.config();
    config.timing.slow = harness::NEVER;
    world.start_with(config).await?;
    world.connection_is("contoso", "False", "PermissionDenied").await?;
    world.graph().set_roles(&world.tenant, &world.client_id, [READ_ROLE])?;
    world.ask("gconn/contoso", "to read").await?;
    world.connection_is("contoso", "True", "Connected").await?;
    world.partner_is("jamf", "Ready", "False", "PermissionDenied").await?;
    world.graph().set_roles(&world.tenant, &world.client_id, [WRITE_ROLE])?;
    world.ask("cmp/jamf", "to write").await?;
    world.in_sync("jamf").await?;
    // One token for each time that somebody asked, and the first.
    assert_eq!(world.graph().count(Request::is_token), 3);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_tells_nothing_works_as_well() -> anyhow::Result<()> {
    let options = Options {
        token_style: TokenStyle::Opaque,
        ..Options::default()
    };
    let mut world = World::with("opaque", options).await?;
    world.connect().await?;
    with_a_partner(&world).await?;
    world.start().await?;
    world.in_sync("jamf").await?;
    let connection = world.connection_is("contoso", "True", "Connected").await?;
    assert!(connection.status.unwrap().roles.is_none());
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_pages_of_the_collection_are_read() -> anyhow::Result<()> {
    let options = Options {
        page_size: 2,
        ..Options::default()
    };
    let mut world = World::with("pages", options).await?;
    world.connect().await?;
    for number in 0..5 {
        world.row(&format!("{P1}{number}"), &format!("Partner {number}"))?;
    }
    world
        .partner(
            "last",
            json!({"partnerRef": {"displayName": "Partner 4"}, "iosOnboarded": true}),
        )
        .await?;
    world.start().await?;
    let partner = world.in_sync("last").await?;
    assert_eq!(partner.status.unwrap().partner_id, Some(format!("{P1}4")));
    let listed = world
        .connection_is("contoso", "True", "Connected")
        .await?
        .status
        .unwrap()
        .partners
        .unwrap();
    assert_eq!(listed.len(), 5);
    assert!(
        world.graph().violations().is_empty(),
        "{:?}",
        world.graph().violations()
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_without_end_are_not_kept() -> anyhow::Result<()> {
    let options = Options {
        page_size: 4_000,
        ..Options::default()
    };
    let mut world = World::with("endless", options).await?;
    world.connect().await?;
    for number in 0..10_001 {
        world.row(&format!("partner-{number:05}"), "Partner")?;
    }
    world.start().await?;
    let told = world.connection_is("contoso", "False", "GraphUnavailable").await?;
    let told = serde_json::to_string(&told.status.unwrap().conditions)?;
    assert!(told.contains("Graph's list has more than 10,000 rows"), "{told}");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_status_lists_of_the_collection_is_unique_and_bounded() -> anyhow::Result<()> {
    let options = Options {
        page_size: 40,
        ..Options::default()
    };
    let mut world = World::with("many", options).await?;
    world.connect().await?;
    for number in 0..105 {
        world.row(&format!("partner-{number:03}"), &format!("Partner \u{202e}{number}\n"))?;
    }
    // A row that moved to another page while the pages were read is seen twice.
    let twice = world.graph().base_row("PARTNER-000", "Partner 0");
    world.graph().seed_row_as(&world.tenant, "twice", twice);
    world.start().await?;
    let listed = world
        .connection_is("contoso", "True", "Connected")
        .await?
        .status
        .unwrap()
        .partners
        .unwrap();
    assert_eq!(listed.len(), 100);
    let ids: BTreeSet<String> = listed.iter().map(|partner| partner.id.to_ascii_lowercase()).collect();
    assert_eq!(ids.len(), 100);
    assert_eq!(listed[1].display_name.as_deref(), Some("Partner \u{fffd}1\u{fffd}"));
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_principal_that_is_not_known_yet_heals_by_itself() -> anyhow::Result<()> {
    let mut world = World::new("principal").await?;
    world.connect().await?;
    let body = json!({"error": {
        "code": "Authorization_IdentityNotFound", "message": "The identity of the calling application could not be established.",
    }});
    let script = world.graph().script(Script::graph().answer(Answer::json(401, body)));
    world.start().await?;
    let connection = world.connection_is("contoso", "False", "PrincipalNotFound").await?;
    assert!(of(&connection, "Reconciling").is_some());
    world.graph().remove_script(script);
    world.connection_is("contoso", "True", "Connected").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_only_reads_needs_no_more_and_changes_nothing() -> anyhow::Result<()> {
    let mut world = World::new("readonly").await?;
    world.graph().set_roles(&world.tenant, &world.client_id, [""; 0])?;
    world.connect().await?;
    world.connection("contoso", json!({"access": "ReadOnly"})).await?;
    with_a_partner(&world).await?;
    world.start().await?;
    // It is sent for no more than it needs.
    let connection = world.connection_is("contoso", "False", "PermissionDenied").await?;
    let message = told(&connection);
    assert!(
        message.contains(READ_ROLE) && !message.contains(WRITE_ROLE),
        "{message}"
    );
    world.graph().set_roles(&world.tenant, &world.client_id, [READ_ROLE])?;
    let partner = world.partner_is("jamf", "Ready", "True", "DriftDetected").await?;
    assert_eq!(partner.status.unwrap().drift.unwrap()[0].field, "iosOnboarded");
    world.asked("jamf", "now").await?;
    assert_eq!(world.patches(), 0);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_without_a_licence_is_told_so() -> anyhow::Result<()> {
    let mut world = World::new("licence").await?;
    world.connect().await?;
    let body = json!({"error": {"code": "BadRequest", "message": "Request not applicable to target tenant."}});
    let script = world.graph().script(Script::graph().answer(Answer::json(400, body)));
    world.start().await?;
    let connection = world.connection_is("contoso", "False", "TenantNotLicensed").await?;
    assert!(told(&connection).contains("Intune licence"), "{}", told(&connection));
    world.graph().remove_script(script);
    wait_for("a connection that heals", PATIENCE, async || {
        world.connection_is("contoso", "True", "Connected").await
    })
    .await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_list_is_waited_for_whatever_graph_calls_it() -> anyhow::Result<()> {
    let mut world = World::new("no-list").await?;
    world.connect().await?;
    world.start().await?;
    for (status, code) in [
        (400, "BadRequest"),
        (404, "ResourceNotFound"),
        (405, "MethodNotAllowed"),
    ] {
        let body = json!({"error": {"code": code, "message": "There is no such collection here."}});
        let script = world.graph().script(Script::graph().answer(Answer::json(status, body)));
        world.ask("gconn/contoso", &format!("at {status}")).await?;
        world
            .connection(
                "contoso",
                json!({"access": if status == 404 { "ReadWrite" } else { "ReadOnly" }}),
            )
            .await?;
        let connection = world.connection_is("contoso", "False", "GraphUnavailable").await?;
        assert!(of(&connection, "Reconciling").is_some() && of(&connection, "Stalled").is_none());
        world.graph().remove_script(script);
        world.connection_is("contoso", "True", "Connected").await?;
    }
    world.stop().await
}
