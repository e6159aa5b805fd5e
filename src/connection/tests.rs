use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api::connection::{Auth, GraphConnectionSpec};
use crate::foreign_tests::hostile;
use crate::graph::model::decode_row;
use crate::partner::plan::tests::schema;
use crate::runtime::object::{Object, Request};

fn object(request: Option<&str>) -> Connection {
    Object {
        key: ObjectKey {
            namespace: "contoso".to_owned(),
            name: "contoso".to_owned(),
        },
        uid: "uid-1".to_owned(),
        resource_version: "1".to_owned(),
        generation: 1,
        created: Timestamp::UNIX_EPOCH,
        deleting: false,
        finalizers: Vec::new(),
        request: request.map(Request::new),
        spec: GraphConnectionSpec {
            tenant_id: "72f988bf-86f1-41af-91ab-2d7cd011db47".to_owned(),
            client_id: None,
            cloud: None,
            access: None,
            auth: Auth::default(),
        },
        status: GraphConnectionStatus::default(),
    }
}

/// Rows with this name, some of which cannot be read.
fn listing(name: &str, ids: &[String]) -> Listing {
    let row = |(number, id): (usize, &String)| {
        let flag = if number % 3 == 0 { json!("no") } else { json!(false) };
        let row = json!({
            "id": id, "displayName": name, "partnerState": name,
            "macOsOnboarded": flag, "androidOnboarded": false, "iosOnboarded": false,
        });
        decode_row(&row)
    };
    Listing::new(Instant::now(), ids.iter().enumerate().map(row))
}

proptest! {
    #[test]
    fn whatever_a_tenant_lists_the_status_is_one_that_the_api_server_takes_and_keeps(
        name in hostile(), message in hostile(), request in prop::option::of(hostile()),
        ids in prop::collection::vec(prop_oneof!["[a-zA-Z0-9-]{1,8}", hostile()], 0..12), many in 0..130_usize,
        reason in prop::sample::select(Reason::ALL.into_iter().filter(|reason| reason.is_of_connection()).collect::<Vec<_>>()),
    ) {
        let mut ids = ids;
        ids.extend((0..many).map(|number| format!("p{number}")));
        let object = object(request.as_deref());
        let judgement = Judgement {
            generation: 1,
            reason,
            message,
            applied: Applied::NotYet,
            connection_pair: Pair::Neither,
        };
        let listing = listing(&name, &ids);
        let next = |previous: &GraphConnectionStatus| next_status(previous, &object, &judgement, None, Some(&listing), Timestamp::UNIX_EPOCH);
        let status = next(&GraphConnectionStatus::default());
        prop_assert_eq!(schema::wrong_with_connection(&status), Vec::<String>::new());
        let mut stored = serde_json::to_value(&status).unwrap();
        let as_written = stored.clone();
        text::clean_json(&mut stored);
        prop_assert_eq!(&stored, &as_written);
        prop_assert_eq!(&next(&serde_json::from_value(stored).unwrap()), &status);
        prop_assert_eq!(status.last_handled_reconcile_at, request.map(|request| text::clean(&request, 256)));
    }
}

#[test]
fn a_status_that_was_written_ends_the_backoff_of_its_writes() {
    let timing = Timing::default();
    let mut state = State::new(&object(None), None, 0.5);
    let almost_one = 1.0 - f64::EPSILON;
    let first = write_again(&timing, &mut state, Some(&NotWritten), almost_one).unwrap();
    for _ in 0..6 {
        write_again(&timing, &mut state, Some(&NotWritten), almost_one).unwrap();
    }
    assert_eq!(write_again(&timing, &mut state, None, almost_one), None);
    // An outage of the API server is over; the next failure is the first one again.
    assert_eq!(
        write_again(&timing, &mut state, Some(&NotWritten), almost_one),
        Some(first)
    );
}
