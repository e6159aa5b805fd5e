//! A change, as its partner tells of what Graph made of it.

use anyhow::ensure;
use graph_simulator::{Answer, Script};
use harness::World;
use serde_json::json;

use super::{NOT_LICENSED, Says, Wrap, graph, told};

/// Status, code, Graph's sentence and how it is wrapped, the reason, and what is told.
type Row = (u16, &'static str, &'static str, Wrap, &'static str, Says);

const PROPERTY: &str = "The property 'linuxOnboarded' does not exist on type \
                        'microsoft.management.services.api.ComplianceManagementPartner'. Make sure to only use property \
                        names that are defined by the type.";
const HASH: &str = "Invalid OData type specified: \"microsoft.graph.#microsoft.graph.groupAssignmentTarget\"";
// Whose group it is has to be mended in spec: the id stays.
const GROUP: &str = "Invalid GroupId : 7c1b0f5e-3f5a-4d0a-9f61-0d6f5a2b9b11 a valid AADGroupId is expected";
const SCOPES: &str = "Application is not authorized to perform this operation. Application must have one of the following \
                      scopes: DeviceManagementConfiguration.ReadWrite.All";
const APP_ONLY: &str = "The request is called in app only context but does not have application permissions configured";
const ADMIN: &str = "Tenant is not Global Admin or Intune Service Admin. Operation is restricted.";

/// What is known to be refused, and why.
#[rustfmt::skip]
const ROWS: [Row; 14] = [
    (400, "ModelValidationFailure", "Cannot create an abstract class.", Wrap::Plain, "RejectedByGraph", Says::Refused("Cannot create an abstract class.")),
    (400, "ModelValidationFailure", PROPERTY, Wrap::Plain, "RejectedByGraph", Says::Refused(PROPERTY)),
    (400, "BadRequest", HASH, Wrap::Plain, "RejectedByGraph", Says::Refused(HASH)),
    (400, "BadRequest", GROUP, Wrap::Intune, "RejectedByGraph", Says::Refused(GROUP)),
    (400, "BadRequest", "An error has occurred", Wrap::Intune, "RejectedByGraph", Says::Refused("An error has occurred")),
    (400, "BadRequest", "", Wrap::Plain, "RejectedByGraph", Says::Refused("Graph answered HTTP 400 with the code BadRequest and without a readable error")),
    (400, "No method match route template", "No OData route exists.", Wrap::Plain, "RejectedByGraph", Says::Refused("No OData route exists.")),
    (405, "MethodNotAllowed", "Not allowed.", Wrap::Plain, "RejectedByGraph", Says::Refused("Not allowed.")),
    (422, "UnprocessableEntity", "Cannot be processed.", Wrap::Plain, "RejectedByGraph", Says::Refused("Cannot be processed.")),
    (400, "BadRequest", "Request not applicable to target tenant.", Wrap::Intune, "TenantNotLicensed", Says::Whole(NOT_LICENSED)),
    (403, "Forbidden", SCOPES, Wrap::Intune, "PermissionDenied", Says::AppOnly(SCOPES)),
    (403, "Forbidden", APP_ONLY, Wrap::Plain, "PermissionDenied", Says::AppOnly(APP_ONLY)),
    (403, "Forbidden", ADMIN, Wrap::Intune, "PermissionDenied", Says::AppOnly(ADMIN)),
    (401, "UnknownError", "Operation is restricted.", Wrap::Twice, "PermissionDenied", Says::AppOnly("Operation is restricted.")),
];

fn id(number: usize) -> String {
    format!("row-{number:03}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_of_a_change_is_told_by_its_partner_and_the_rest_goes_on() -> anyhow::Result<()> {
    let mut world = World::new("changes").await?;
    world.connect().await?;
    for (number, (status, code, sentence, wrap, ..)) in ROWS.into_iter().enumerate() {
        let id = id(number);
        world.row(&id, "Example Partner")?;
        let answer = Answer::json(status, graph(code, &wrap.of(sentence)));
        world
            .graph()
            .script(Script::graph().method("PATCH").path_end(&id).answer(answer));
        let spec = json!({"partnerRef": {"id": id}, "iosOnboarded": true});
        world.partner(&id, spec).await?;
    }
    let mut config = world.config();
    config.timing.slow = harness::NEVER;
    config.timing.very_slow = harness::NEVER;
    world.start_with(config).await?;
    for (number, (.., reason, says)) in ROWS.into_iter().enumerate() {
        let id = id(number);
        let partner = world.partner_is(&id, "Ready", "False", reason).await?;
        let conditions = partner.status.unwrap_or_default().conditions;
        assert_eq!(told(&conditions, reason)?, says.text());
        // Only what an edit of this resource is sure to mend is Stalled.
        let stalled = conditions.iter().any(|condition| condition.r#type == "Stalled");
        assert_eq!(stalled, reason == "RejectedByGraph", "{}", says.text());
        let (kind, note) = world.event(&id, reason).await?;
        ensure!(kind == "Warning" && note == says.text(), "{kind} {note}");
    }
    world.connection_is("contoso", "True", "Connected").await?;
    world.graph().clear_scripts();
    for number in 0..ROWS.len() {
        world.asked(&id(number), "mended").await?;
        world.in_sync(&id(number)).await?;
    }
    world.stop().await
}
