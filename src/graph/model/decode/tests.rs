use proptest::prelude::*;
use serde_json::json;

use super::*;

mod assignments;

/// A row as Graph sends it, with the members of `change` over it.
fn row(change: Json) -> Json {
    let mut row = json!({
        "id": "aaaaaaaa-1111-4111-8111-000000000001", "displayName": "Example Partner", "partnerState": "enabled",
        "lastHeartbeatDateTime": "2026-11-25T09:59:00.1234567Z",
        "macOsOnboarded": false, "androidOnboarded": false, "iosOnboarded": false,
        "macOsEnrollmentAssignments": [], "androidEnrollmentAssignments": [], "iosEnrollmentAssignments": [],
    });
    let Json::Object(change) = change else {
        panic!("a change is an object")
    };
    for (name, value) in change {
        row[name] = value;
    }
    row
}

fn without(name: &str) -> Json {
    let mut row = row(json!({}));
    row.as_object_mut().unwrap().remove(name).unwrap();
    row
}

fn why(row: &Json) -> String {
    decode_row(row).unwrap_err().why
}

fn heartbeat_of(value: &Json) -> Result<Option<Timestamp>, Undecodable> {
    decode_row(&row(json!({ "lastHeartbeatDateTime": value }))).map(|partner| partner.last_heartbeat)
}

#[test]
fn a_row_is_read_whole() {
    let partner = decode_row(&row(json!({
        "iosOnboarded": true,
        "macOsEnrollmentAssignments": [{ "target": {
            "@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": "G1" } }],
    })))
    .unwrap();
    assert_eq!(
        partner,
        Partner {
            id: "aaaaaaaa-1111-4111-8111-000000000001".to_owned(),
            display_name: Some("Example Partner".to_owned()),
            partner_state: "enabled".to_owned(),
            last_heartbeat: Some("2026-11-25T09:59:00.1234567Z".parse().unwrap()),
            onboarded: PerPlatform {
                mac_os: false,
                android: false,
                ios: true
            },
            assignments: PerPlatform {
                mac_os: Assignments {
                    targets: [Target::group("g1")].into(),
                    unsupported: BTreeSet::new()
                },
                ..PerPlatform::default()
            },
        }
    );
}

#[test]
fn properties_that_are_not_ours_are_passed_over() {
    let partner = decode_row(&row(json!({
        "@odata.type": "#microsoft.graph.complianceManagementPartner", "@odata.etag": "W/\"1\"",
        "linuxOnboarded": "perhaps", "linuxEnrollmentAssignments": 7, "createdBy": { "user": null },
    })));
    assert_eq!(partner, decode_row(&row(json!({}))));
}

#[test]
fn the_object_may_come_wrapped_as_in_the_reference() {
    assert_eq!(
        decode_row(&json!({ "value": row(json!({})) })),
        decode_row(&row(json!({})))
    );
    let body = json!({ "@odata.context": "x", "value": row(json!({})) }).to_string();
    assert_eq!(decode_entity(body.as_bytes()), decode_row(&row(json!({}))));
}

#[test]
fn the_update_pages_example_is_read() {
    let assignment = json!([{
        "@odata.type": "microsoft.graph.complianceManagementPartnerAssignment",
        "target": {
            "@odata.type": "microsoft.graph.configurationManagerCollectionAssignmentTarget",
            "collectionId": "Collection Id value",
        },
    }]);
    let partner = decode_row(&row(json!({
        "lastHeartbeatDateTime": "2016-12-31T23:59:37.9174975-08:00", "partnerState": "unavailable",
        "macOsEnrollmentAssignments": assignment, "androidEnrollmentAssignments": assignment,
    })))
    .unwrap();
    assert_eq!(
        partner.last_heartbeat,
        Some("2017-01-01T07:59:37.9174975Z".parse().unwrap())
    );
    assert_eq!(
        partner.assignments.android.targets,
        BTreeSet::from([Target::ConfigurationManagerCollection("Collection Id value".to_owned())])
    );
    assert!(partner.assignments.mac_os.unsupported.is_empty());
}

#[test]
fn an_id_is_a_text_and_never_cut() {
    for id in [
        json!(null),
        json!(7),
        json!(""),
        json!("x".repeat(129)),
        json!("P1\u{202e}"),
        json!(["P1"]),
    ] {
        let undecodable = decode_row(&row(json!({ "id": id }))).unwrap_err();
        assert_eq!(undecodable.why, "id should be a text of 1 to 128 characters", "{id}");
        assert_eq!(undecodable.id, None);
        assert_eq!(undecodable.display_name.as_deref(), Some("Example Partner"));
    }
    assert!(decode_row(&row(json!({ "id": "ä".repeat(128) }))).is_ok());
    assert_eq!(why(&without("id")), "id should be a text of 1 to 128 characters");
}

#[test]
fn a_name_may_be_missing_but_not_be_something_else() {
    for absent in [row(json!({ "displayName": null })), without("displayName")] {
        assert_eq!(decode_row(&absent).unwrap().display_name, None);
    }
    let undecodable = decode_row(&row(json!({ "displayName": 7 }))).unwrap_err();
    assert_eq!(undecodable.why, "displayName should be a text");
    assert_eq!(undecodable.display_name, None);
    assert_eq!(undecodable.id.as_deref(), Some("aaaaaaaa-1111-4111-8111-000000000001"));
}

#[test]
fn a_name_that_was_cut_equals_none_that_can_be_wanted() {
    let name = decode_row(&row(json!({ "displayName": "x".repeat(47 * 1024) })))
        .unwrap()
        .display_name
        .unwrap();
    assert_eq!(name.len(), NAME_CHARS);
    const { assert!(NAME_CHARS > text::DISPLAY_NAME_CHARS) }
}

#[test]
fn a_state_of_tomorrow_passes_and_a_missing_one_is_unknown() {
    let state = |row: &Json| decode_row(row).map(|partner| partner.partner_state);
    assert_eq!(
        state(&row(json!({ "partnerState": "pendingActivation" }))).unwrap(),
        "pendingActivation"
    );
    assert_eq!(state(&row(json!({ "partnerState": null }))).unwrap(), "unknown");
    assert_eq!(state(&without("partnerState")).unwrap(), "unknown");
    assert_eq!(
        state(&row(json!({ "partnerState": 2 }))).unwrap_err().why,
        "partnerState should be a text"
    );
}

#[test]
fn flags_are_never_guessed() {
    for platform in Platform::ALL {
        let name = Property::Onboarded(platform).name();
        for value in [json!(null), json!("true"), json!("yes"), json!(1), json!([true])] {
            assert_eq!(
                why(&row(json!({ name: value }))),
                format!("{name} should be true or false"),
                "{value}"
            );
        }
        assert_eq!(why(&without(name)), format!("{name} should be true or false"));
    }
}

#[test]
fn dotnets_smallest_date_in_any_spelling_means_never() {
    for never in [
        json!("0001-01-01T00:00:00Z"),
        json!("0001-01-01T00:00:00.0000000Z"),
        json!("0001-01-01T00:00:00.000000000000Z"),
        json!("0001-01-01T00:00:00+00:00"),
        json!("0001-01-01T00:00:00-08:00"),
        json!("0001-01-01T08:00:00+08:00"),
        json!("0000-12-31T16:00:00-08:00"),
        json!("0001-01-01T00:00:00"),
        json!("0001-01-01t00:00:00z"),
        json!(null),
    ] {
        assert_eq!(heartbeat_of(&never), Ok(None), "{never}");
    }
    assert_eq!(
        decode_row(&without("lastHeartbeatDateTime")).unwrap().last_heartbeat,
        None
    );
}

#[test]
fn heartbeats_carry_any_offset_and_up_to_12_digits() {
    for (text, instant) in [
        ("2026-11-25T09:59:00Z", "2026-11-25T09:59:00Z"),
        ("2022-01-28T12:28:48.975089Z", "2022-01-28T12:28:48.975089Z"),
        ("2026-11-25T09:59:00.1Z", "2026-11-25T09:59:00.1Z"),
        ("2026-11-25T09:59:00.123456789Z", "2026-11-25T09:59:00.123456789Z"),
        ("2026-11-25T09:59:00.123456789012Z", "2026-11-25T09:59:00.123456789Z"),
        (
            "2026-11-25T09:59:00.123456789012+05:30",
            "2026-11-25T04:29:00.123456789Z",
        ),
        ("2026-11-25T23:59:59.9999999-08:00", "2026-11-26T07:59:59.9999999Z"),
        ("2099-01-01T00:00:00+14:00", "2098-12-31T10:00:00Z"),
    ] {
        assert_eq!(heartbeat_of(&json!(text)), Ok(Some(instant.parse().unwrap())), "{text}");
    }
    assert_eq!(
        heartbeat_of(&json!("9999-12-31T23:59:59.9999999Z")),
        Ok(Some(Timestamp::MAX))
    );
}

#[test]
fn what_is_no_time_makes_the_row_undecodable() {
    for value in [
        json!("yesterday"),
        json!(""),
        json!("2026-11-25"),
        json!("2026-11-25T09:59:00"),
        json!("2026-13-25T09:59:00Z"),
        json!("2026-11-25T25:59:00Z"),
        json!("/Date(1764064740000)/"),
        json!(1_764_064_740),
        json!({}),
    ] {
        let undecodable = heartbeat_of(&value).unwrap_err();
        assert_eq!(
            undecodable.why, "lastHeartbeatDateTime should be a date and time with an offset",
            "{value}"
        );
    }
}

#[test]
fn a_page_lists_its_rows_in_order_and_says_where_the_next_one_is() {
    let body = json!({
        "@odata.context": "x", "@odata.count": 2, "@odata.nextLink": "https://graph.microsoft.com/v1.0/next",
        "value": [row(json!({ "id": "P2" })), row(json!({ "id": "P1" }))],
    });
    let page = decode_page(body.to_string().as_bytes()).unwrap();
    let ids: Vec<_> = page.rows.into_iter().map(|row| row.unwrap().id).collect();
    assert_eq!(ids, ["P2", "P1"]);
    assert_eq!(page.next_link.as_deref(), Some("https://graph.microsoft.com/v1.0/next"));
    assert_eq!(
        decode_page(b"{\"value\":[]}"),
        Ok(Page {
            rows: Vec::new(),
            next_link: None
        })
    );
    assert_eq!(
        decode_page(b"\xEF\xBB\xBF{\"value\":[],\"@odata.nextLink\":null}")
            .unwrap()
            .next_link,
        None
    );
}

#[test]
fn what_has_no_list_is_not_taken_for_an_empty_one() {
    for body in [
        &b"{\"@odata.context\":\"x\"}"[..],
        b"{\"value\":null}",
        b"{\"value\":{}}",
        b"{\"value\":\"x\"}",
        b"[]",
        b"null",
        b"\"ok\"",
        b"",
        b"<html>blocked</html>",
        b"{\"value\":[",
        b"\xFF\xFE{\0}\0",
        b"{\"value\":[],\"error\":{\"code\":\"InternalServerError\"}}",
        b"{\"value\":[],\"@odata.nextLink\":7}",
        b"{\"value\":[],\"@odata.nextLink\":\"\"}",
    ] {
        assert!(decode_page(body).is_err(), "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn an_undecodable_row_costs_only_itself() {
    let body = json!({ "value": [
        row(json!({})),
        { "id": "P2", "displayName": 7, "partnerState": 4, "iosOnboarded": "yes" },
        { "id": "P3", "displayName": null, "partnerState": "rejected" },
        null,
    ] });
    let rows = decode_page(body.to_string().as_bytes()).unwrap().rows;
    let undecodable = |id: Option<&str>, why: &str| {
        Err(Undecodable {
            id: id.map(str::to_owned),
            display_name: None,
            why: why.to_owned(),
        })
    };
    assert_eq!(
        rows,
        [
            decode_row(&row(json!({}))),
            undecodable(Some("P2"), "displayName should be a text"),
            undecodable(Some("P3"), "macOsOnboarded should be true or false"),
            undecodable(None, "the row should be a JSON object"),
        ]
    );
}

#[test]
fn a_row_that_is_more_than_is_taken_in_costs_only_itself() {
    let whole = row(json!({})).to_string();
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let many = format!("[{}0]", "{\"\":0},".repeat(json::MOST_VALUES));
    for odd in [deep.as_str(), &many, "1e999"] {
        let row = format!(r#"{{"tomorrow":{odd},{}"#, &whole[1..]);
        let rows = decode_page(format!(r#"{{"value":[{whole},{row},{whole}]}}"#).as_bytes())
            .unwrap()
            .rows;
        assert_eq!(rows.len(), 3);
        assert!(rows[0].is_ok() && rows[0] == rows[2]);
        let undecodable = rows[1].as_ref().unwrap_err();
        assert_eq!(
            undecodable.why,
            "the row should have at most 50000 values, in 127 levels"
        );
        assert_eq!(undecodable.id.as_deref(), Some("aaaaaaaa-1111-4111-8111-000000000001"));
        assert_eq!(undecodable.display_name.as_deref(), Some("Example Partner"));
        assert_eq!(decode_entity(row.as_bytes()), rows[1]);
    }
}

#[test]
fn rows_and_links_without_end_are_no_list() {
    let rows = |count: usize| format!(r#"{{"value":[{}0]}}"#, "0,".repeat(count - 1));
    assert_eq!(decode_page(rows(MOST_ROWS).as_bytes()).unwrap().rows.len(), MOST_ROWS);
    let why = decode_page(rows(MOST_ROWS + 1).as_bytes()).unwrap_err();
    assert_eq!(why, "value should have at most 10000 rows");
    let link = |bytes: usize| format!(r#"{{"value":[],"@odata.nextLink":"{}"}}"#, "x".repeat(bytes));
    assert!(decode_page(link(LINK_BYTES).as_bytes()).is_ok());
    let why = decode_page(link(LINK_BYTES + 1).as_bytes()).unwrap_err();
    assert_eq!(why, "@odata.nextLink should be an address");
}

#[test]
fn a_name_that_was_cut_inside_a_character_costs_neither_its_neighbours_nor_its_row() {
    for cut in [&br"\ud83d"[..], b"\xF0\x9F\x93", b"\xff"] {
        let mut body = json!({ "value": [row(json!({})), row(json!({ "id": "P2", "displayName": "@@" }))] })
            .to_string()
            .into_bytes();
        let at = body.windows(2).position(|two| two == b"@@").unwrap();
        body.splice(at..at + 2, cut.iter().copied());
        let rows = decode_page(&body).unwrap().rows;
        assert_eq!(rows[0], decode_row(&row(json!({}))));
        assert_eq!(rows[1].as_ref().unwrap().display_name.as_deref(), Some("\u{fffd}"));
    }
}

#[test]
fn an_id_that_was_cut_inside_a_character_is_none() {
    assert_eq!(
        why(&row(json!({ "id": "P\u{fffd}" }))),
        "id should be a text of 1 to 128 characters"
    );
    let target = json!({ "@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": "G\u{fffd}" });
    let partner = decode_row(&row(json!({ "iosEnrollmentAssignments": [{ "target": target }] }))).unwrap();
    assert!(partner.assignments.ios.targets.is_empty());
    assert_eq!(partner.assignments.ios.unsupported.len(), 1);
}

#[test]
fn an_entity_that_is_none_says_why() {
    for (body, why) in [
        (&b""[..], "the answer should be JSON"),
        (b"<html>", "the answer should be JSON"),
        (b"[]", "the row should be a JSON object"),
        (b"{\"value\":[]}", "id should be a text of 1 to 128 characters"),
        (
            b"{\"error\":{\"code\":\"x\"}}",
            "the answer holds an error in place of the object",
        ),
        (
            b"{\"id\":\"P1\",\"error\":\"x\"}",
            "the answer holds an error in place of the object",
        ),
    ] {
        let undecodable = decode_entity(body).unwrap_err();
        assert_eq!(undecodable.to_string(), why);
        assert_eq!(undecodable.id, None);
    }
    assert!(decode_entity(row(json!({ "error": null })).to_string().as_bytes()).is_ok());
}

/// Any JSON, with the names and values that the decoder looks for among it.
fn any_json() -> impl Strategy<Value = Json> {
    let text = prop_oneof![
        any::<String>(),
        Just("0001-01-01T00:00:00Z".to_owned()),
        Just("2026-11-25T09:59:00.1234567890123Z".to_owned()),
        Just("#microsoft.graph.groupAssignmentTarget".to_owned()),
        "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,15})?(Z|[+-][0-9]{2}:[0-9]{2})?",
    ];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        text.prop_map(Json::from),
    ];
    let name = prop_oneof![
        any::<String>(),
        prop::sample::select(vec![
            "id",
            "value",
            "error",
            "displayName",
            "partnerState",
            "lastHeartbeatDateTime",
            "macOsOnboarded",
            "iosEnrollmentAssignments",
            "target",
            "groupId",
            "@odata.type",
            "@odata.nextLink",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Json::from),
            prop::collection::vec((name.clone(), inner), 0..8)
                .prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_brings_the_decoders_down(value in any_json(), name in "[a-zA-Z.@]{1,30}") {
        let _ = decode_row(&value);
        let changes = ["lastHeartbeatDateTime", "iosEnrollmentAssignments", "id", &name];
        for changed in changes {
            let _ = decode_row(&row(json!({ changed: value.clone() })));
        }
        let _ = decode_row(&row(json!({ "iosEnrollmentAssignments": [{ "target": value.clone() }] })));
        let _ = decode_entity(value.to_string().as_bytes());
        let _ = decode_page(json!({ "value": [value] }).to_string().as_bytes());
    }

    #[test]
    fn no_bytes_bring_the_decoders_down(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_page(&body);
        let _ = decode_entity(&body);
    }

    #[test]
    fn a_reason_never_holds_what_graph_wrote(value in "[!-~]{12,40}") {
        for name in ["macOsOnboarded", "lastHeartbeatDateTime", "iosEnrollmentAssignments"] {
            if let Err(undecodable) = decode_row(&row(json!({ name: value.clone() }))) {
                prop_assert!(!undecodable.why.contains(&value));
            }
        }
    }

    #[test]
    fn every_instant_is_read_back(second in -60_000_000_000_i64..250_000_000_000, nanosecond in 0_i32..1_000_000_000) {
        let instant = Timestamp::new(second, nanosecond).unwrap();
        prop_assert_eq!(heartbeat(&instant.to_string()), Ok(Some(instant)));
    }
}
