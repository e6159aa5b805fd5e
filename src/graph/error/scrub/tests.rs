use proptest::prelude::*;

use super::*;

const GROUP: &str = "7c1b0f5e-3f5a-4d0a-9f61-0d6f5a2b9b11";

#[test]
fn intunes_tail_is_dropped() {
    for text in [
        "An error has occurred - Operation ID (for customer support): 0 - Activity ID: A - Url: https://fef.a.example/DeviceConfiguration_2501/Svc/x('1')?api-version=5024-10-08",
        "An error has occurred - Operation ID (for customer support): 00000000-0000-0000-0000-000000000000 - Activity ID: 2f8b2c1e-7a37-4c0e-9d39-0a1b2c3d4e5f - Url: https://fef.msub02.manage.microsoft.com/StatelessOnboardingService_2511/x('a b')?api-version=5025-02-01",
        "An error has occurred - Operation ID ... - Activity ID: <guid> - Url: /DeviceConfiguration_2511/Svc/x",
        "An error has occurred - Operation ID (for customer support): - Activity ID: - Url:",
        "An error has occurred\r\nActivity ID: abc-123\r\nRequest ID: 5",
        "An error has occurred (Activity ID: abc-123)",
        "An error has occurred; correlationId=\"abc\"; timestamp=2026-11-25T10:00:00Z",
        "An error has occurred - Url: https://fef.b.example/x - Activity ID: B",
    ] {
        assert_eq!(sentence(text), "An error has occurred", "{text}");
    }
}

#[test]
fn ids_dates_and_addresses_within_a_sentence_are_dropped() {
    for (text, expected) in [
        (
            "Request 2f8b2c1e-7a37-4c0e-9d39-0a1b2c3d4e5f failed.",
            "Request failed.",
        ),
        (
            "Request {2F8B2C1E-7A37-4C0E-9D39-0A1B2C3D4E5F} failed.",
            "Request failed.",
        ),
        ("Trace 4bf92f3577b34da6a3ce929d0e0e4736 failed", "Trace failed"),
        ("The x-ms-request-id: 12 was refused", "The was refused"),
        (
            "Try again after 2026-11-25T10:00:00.123Z please",
            "Try again after please",
        ),
        (
            "Try again after 11/25/2026 10:00:00 AM please",
            "Try again after please",
        ),
        (
            "Try again after Wed, 25 Nov 2026 10:00:30 GMT please",
            "Try again after please",
        ),
        ("Try again after Nov 25, 2026 at 10:00 please", "Try again after please"),
        (
            "Try again after Wed Nov 25 10:00:30 2026 please",
            "Try again after please",
        ),
        ("Try again after 25-Nov-2026 please", "Try again after please"),
        ("Try again in 12 seconds or 30012ms please", "Try again in or please"),
        (
            "See https://aka.ms/graph-errors (http://x.example/y?z=1) for more.",
            "See for more.",
        ),
        ("Host fef.msub02.manage.microsoft.com is down", "Host is down"),
        ("Path fef.msub02/Svc is down", "Path is down"),
        (
            "Service StatelessOnboardingService_2511.3 build 2511.3.0 is down",
            "Service StatelessOnboardingService is down",
        ),
        ("Service version: 5.0.2511.1 is down", "is down"),
        ("Ticket 638999999999999999 is down", "Ticket is down"),
        ("Server: BN1PEPF0001 is down", "is down"),
        (
            "Token eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.e30.c2ln is refused",
            "Token is refused",
        ),
    ] {
        assert_eq!(sentence(text), expected, "{text}");
    }
}

#[test]
fn what_tells_the_user_something_stays() {
    for text in [
        "Application is not authorized to perform this operation. Application must have one of the following scopes: DeviceManagementServiceConfig.ReadWrite.All, DeviceManagementConfiguration.ReadWrite.All",
        "The property 'macosOnboarded' does not exist on type 'microsoft.management.services.api.ComplianceManagementPartner'. Make sure to only use property names that are defined by the type.",
        "Cannot create an abstract class.",
        "Tenant is not Global Admin or Intune Service Admin. Operation is restricted.",
        "Invalid OData type specified: \"microsoft.graph.#microsoft.graph.groupAssignmentTarget\"",
        "The operation id is missing from the request id header",
        "Invalid date: none was given, and the host: neither",
        "The value 2.128 of 500 entries, v1.0, is over the limit of 100",
        "HTTP 400: error 0x80070057 in macOS_settings",
        "Zugriff verweigert – ungültige Gruppe",
    ] {
        assert_eq!(sentence(text), text);
    }
    let group = format!("Invalid GroupId : {GROUP} a valid AADGroupId is expected");
    assert_eq!(
        sentence(&format!("{group} - Activity ID: 2f8b2c1e-7a37-4c0e-9d39-0a1b2c3d4e5f")),
        group
    );
    let groups = format!("The groups with ids '{GROUP}', '{GROUP}' do not exist");
    assert_eq!(sentence(&groups), groups);
}

#[test]
fn nothing_is_left_of_a_text_without_a_sentence() {
    for text in [
        "",
        "   ",
        " - ",
        "Activity ID: A - Url: https://x.example",
        "()",
        "2026-11-25T10:00:00Z",
    ] {
        assert_eq!(sentence(text), "", "{text}");
    }
}

#[test]
fn a_long_text_is_read_in_part_only() {
    let long = format!("An error has occurred. {}", "word ".repeat(20_000));
    assert!(sentence(&long).chars().count() <= READ_CHARS);
}

fn guid() -> impl Strategy<Value = String> {
    "[0-9a-fA-F]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
}

/// What is different in each answer: Intune's tail in several spellings.
fn tail() -> impl Strategy<Value = String> {
    let host = "fef\\.[a-z]{2,6}[0-9]{2}\\.manage\\.microsoft\\.(com|us|cn)";
    let date = "20[2-9][0-9]-(0[1-9]|1[0-2])-(0[1-9]|2[0-8])";
    let service = "[A-Z][a-z]{3,9}Service_2[0-9](0[1-9]|1[0-2])";
    (guid(), guid(), host, date, service, 0_usize..5).prop_map(|(one, two, host, date, service, shape)| match shape {
        0 => format!(
            " - Operation ID (for customer support): {one} - Activity ID: {two} - Url: https://{host}/{service}/x('{one}')?api-version={date}"
        ),
        1 => format!("\r\nrequest-id: {one}\r\nclient-request-id: {two}\r\nDate: {date}T10:00:00"),
        2 => format!(" Trace ID: {one} Correlation ID: {two} Timestamp: {date} 10:00:00Z"),
        3 => format!(" (requestId={one}, {two}, {host}/{service}, {date})"),
        _ => format!(" - CorrelationId: {one} - Url: /{service}/x('{two}') - Date: Wed, 25 Nov 2026 10:00:30 GMT"),
    })
}

proptest! {
    #[test]
    fn answers_that_differ_in_their_tail_alone_give_one_sentence(tail in tail()) {
        for text in ["An error has occurred", "The operation is restricted.", "Group is missing:"] {
            prop_assert_eq!(sentence(&format!("{text}{tail}")), sentence(text));
        }
    }

    #[test]
    fn no_text_brings_the_scrubber_down(text in any::<String>(), tail in tail(), cut in 0_usize..300) {
        let _ = sentence(&text);
        let cut: String = tail.chars().take(cut).collect();
        let _ = sentence(&format!("{text}{cut}{text}"));
    }

    #[test]
    fn a_sentence_is_one_line_without_gaps(words in prop::collection::vec("[a-zA-Z0-9:.,/_()'-]{1,14}", 0..12)) {
        let once = sentence(&words.join(" "));
        prop_assert!(!once.contains("  "));
        prop_assert_eq!(once.trim(), &once);
    }
}

#[test]
fn an_id_at_the_end_of_what_is_read_is_dropped_whole() {
    let id = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";
    for before in 0..id.len() {
        let text = format!("It failed. {} {id} {id}", "x".repeat(READ_CHARS - 12 - before));
        assert_eq!(sentence(&text), "It failed.", "{before}");
        assert_eq!(sentence(&id.repeat(200)), "");
    }
}

#[test]
fn an_id_after_an_address_that_names_groups_is_not_taken_for_a_groups() {
    let of = |id: &str| sentence(&format!("Invalid ://GroupId : {id}, try again"));
    let (one, other) = (
        "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
        "0b7f3c1e-5a70-4b31-9c0d-2f4a6b8c0d1e",
    );
    assert_eq!(of(one), of(other));
    assert!(!of(one).contains(one));
}
