//! Answers of Graph with partners in them.

use compliance_partner_operator::graph::model::{
    Assignments, MOST_ROWS, Partner, Patch, Platform, Property, Target, Undecodable, decode_entity, decode_page,
    decode_row,
};
use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde_json::{Value as Json, json};

use crate::is_fit;

/// A row as Graph sends it.
const ROW: &str = r##"{"id":"aaaaaaaa-1111-4111-8111-000000000001","displayName":"Example Partner","partnerState":"enabled",
"lastHeartbeatDateTime":"2026-11-25T09:59:00.1234567Z","macOsOnboarded":false,"androidOnboarded":false,"iosOnboarded":true,
"iosEnrollmentAssignments":[{"target":{"@odata.type":"#microsoft.graph.groupAssignmentTarget","groupId":"G1"}}]}"##;

/// An answer to a listing.
pub(crate) fn page(input: &[u8]) {
    if let Ok(page) = decode_page(input) {
        assert!(page.rows.len() <= MOST_ROWS);
        for row in &page.rows {
            look_at(row);
        }
        let link = page.next_link.unwrap_or_else(|| "no more".to_owned());
        assert!((1..=16 * 1024).contains(&link.len()), "{}", link.len());
    }
    costs_no_neighbour(input);
}

/// The input as a row between two good ones.
fn costs_no_neighbour(input: &[u8]) {
    let Ok(row) = std::str::from_utf8(input) else { return };
    if serde_json::from_str::<IgnoredAny>(row).is_err() {
        return;
    }
    let page = decode_page(format!(r#"{{"value":[{ROW},{row},{ROW}]}}"#).as_bytes());
    let rows = page.map(|page| page.rows);
    assert!(
        rows.as_ref().is_ok_and(|rows| rows.len() == 3),
        "a row costs its list: {rows:?}"
    );
    let Ok([before, odd, after]) = rows.as_deref() else {
        return;
    };
    assert!(before.is_ok() && before == after, "a row changes its neighbours");
    look_at(odd);
}

/// An answer to a request for one object.
pub(crate) fn entity(input: &[u8]) {
    look_at(&decode_entity(input));
}

fn look_at(row: &Result<Partner, Undecodable>) {
    match row {
        Ok(partner) => look_at_partner(partner),
        Err(row) => {
            assert!(row.id.as_deref().is_none_or(is_id), "{row:?}");
            assert!(row.display_name.as_deref().is_none_or(is_name), "{row:?}");
            assert!(
                row.why.is_ascii() && is_fit(&row.why, 128) && !row.why.is_empty(),
                "{row:?}"
            );
        }
    }
}

fn look_at_partner(partner: &Partner) {
    assert!(is_id(&partner.id), "{:?}", partner.id);
    assert!(partner.display_name.as_deref().is_none_or(is_name));
    assert!(partner.partner_state.chars().count() <= 256);
    for platform in Platform::ALL {
        let Assignments { targets, unsupported } = partner.assignments.get(platform);
        for target in targets {
            match target {
                Target::Group(id) | Target::ExclusionGroup(id) => {
                    assert!(is_id(id) && *id == id.to_ascii_lowercase(), "{id:?}");
                }
                Target::ConfigurationManagerCollection(id) => assert!(is_id(id), "{id:?}"),
                Target::AllLicensedUsers | Target::AllDevices => {}
            }
        }
        assert!(
            unsupported.iter().all(|name| !name.is_empty() && is_fit(name, 256)),
            "{unsupported:?}"
        );
    }
    comes_back(partner);
}

/// What was understood of a partner, as the operator would send it, is read as the same again.
fn comes_back(partner: &Partner) {
    let values = Property::ALL.map(|property| (property, partner.value(property)));
    let mut row = Patch(values.into()).to_json();
    let heartbeat = partner.last_heartbeat.filter(|heartbeat| is_told(*heartbeat));
    if let Json::Object(members) = &mut row {
        members.insert("id".to_owned(), json!(partner.id));
        members.insert("displayName".to_owned(), json!(partner.display_name));
        members.insert("partnerState".to_owned(), json!(partner.partner_state));
        members.insert("lastHeartbeatDateTime".to_owned(), json!(heartbeat));
    }
    let mut expected = partner.clone();
    expected.last_heartbeat = heartbeat;
    for platform in Platform::ALL {
        expected.assignments.get_mut(platform).unsupported.clear();
    }
    assert_eq!(decode_row(&row).as_ref(), Ok(&expected));
}

/// The first days of the calendar stand for none at all, in whatever offset they are written.
fn is_told(heartbeat: Timestamp) -> bool {
    heartbeat > Timestamp::MIN && heartbeat.as_second().abs_diff(FIRST_DAY) > 3 * 86_400
}

/// 0001-01-01, in seconds since 1970.
const FIRST_DAY: i64 = -62_135_596_800;

fn is_id(id: &str) -> bool {
    !id.is_empty() && is_fit(id, 128)
}

fn is_name(name: &str) -> bool {
    name.chars().count() <= 1024
}
