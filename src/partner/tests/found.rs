//! Cases that random worlds have found, told plainly.

use super::*;
use crate::api::condition;

fn blank_row(name: usize) -> RowNow {
    RowNow {
        name,
        onboarded: [false; 3],
        lists: Default::default(),
        keeps: None,
        refuses: None,
    }
}

/// Three rows, one resource, and its first pass.
fn one(row: RowNow, spec: Spec) -> Operator {
    let mut operator = empty(0, false, [row, blank_row(1), blank_row(0)]);
    let spec = Box::new(spec);
    happen(&mut operator, Happens::Create { partner: 0, spec });
    operator
}

fn named(id: Option<&str>, name: Option<&str>) -> Spec {
    Spec {
        partner_ref: PartnerReference {
            id: id.map(str::to_owned),
            display_name: name.map(str::to_owned),
        },
        ..make::nothing_managed()
    }
}

fn live(operator: &mut Operator, seconds: u64) {
    operator.live(Duration::from_secs(seconds));
}

fn reason(operator: &Operator) -> String {
    let world = operator.world.borrow();
    let status = &world.kubernetes.partners[&key(PARTNERS[0])].status;
    condition(&status.conditions, "Ready").unwrap().reason.clone()
}

fn bound_to(operator: &Operator) -> Option<String> {
    let world = operator.world.borrow();
    world.kubernetes.partners[&key(PARTNERS[0])].status.partner_id.clone()
}

fn row_becomes(operator: &mut Operator, row: usize, to: RowNow) {
    let to = Box::new(to);
    happen(operator, Happens::Portal { tenant: 0, row, to });
}

/// A listing may be as old as the interval: what it calls by the name in spec may have another one by now, and is not to
/// be bound, let alone changed.
#[test]
fn an_object_that_was_renamed_since_the_listing_is_not_bound() {
    let mut operator = empty(0, false, [blank_row(0), blank_row(1), blank_row(0)]);
    operator.settle();
    row_becomes(&mut operator, 1, blank_row(0));
    let spec = Box::new(Spec {
        ios_onboarded: Some(true),
        ..named(None, Some("Other"))
    });
    happen(&mut operator, Happens::Create { partner: 0, spec });
    live(&mut operator, 5);
    assert_eq!(bound_to(&operator), None);
    live(&mut operator, 1_000);
    assert_eq!(reason(&operator), "PartnerNotFound");
    assert_eq!(written(&operator).0, 0);
}

/// The same where the bound object is gone and the one that had its name is renamed too.
#[test]
fn an_object_that_was_renamed_since_the_listing_is_not_bound_in_place_of_one_that_is_gone() {
    let mut operator = one(blank_row(0), named(None, Some("Other")));
    // Stale twelve minutes from now: a pass between two listings.
    happen(
        &mut operator,
        Happens::Beat {
            tenant: 0,
            row: 1,
            minutes: 72 * 60 - 12,
        },
    );
    live(&mut operator, 10);
    assert_eq!(bound_to(&operator).as_deref(), Some("p2"));
    row_becomes(&mut operator, 1, blank_row(0));
    row_becomes(&mut operator, 0, blank_row(1));
    live(&mut operator, 660);
    assert_eq!(
        (reason(&operator).as_str(), bound_to(&operator).as_deref()),
        ("InSync", Some("p2"))
    );
    row_becomes(&mut operator, 0, blank_row(0));
    happen(&mut operator, Happens::Vanish { tenant: 0, row: 1 });
    live(&mut operator, 100);
    assert_eq!(bound_to(&operator).as_deref(), Some("p2"));
    live(&mut operator, 1_000);
    assert_eq!(
        (reason(&operator).as_str(), bound_to(&operator).as_deref()),
        ("PartnerNotFound", Some("p2"))
    );
}

/// A change that was taken without effect is not sent again because another one has failed.
#[test]
fn a_failed_change_does_not_make_another_one_be_sent_again() {
    let row = RowNow {
        keeps: Some(Property::Onboarded(Platform::Ios)),
        ..blank_row(0)
    };
    let spec = Spec {
        mac_os_onboarded: Some(false),
        ios_onboarded: Some(true),
        ..named(Some("p1"), None)
    };
    let mut operator = one(row.clone(), spec);
    live(&mut operator, 200);
    assert_eq!(reason(&operator), "UpdateIneffective");
    let before = written(&operator).0;
    // Somebody changes the other field, and its correction is refused for a while.
    row_becomes(
        &mut operator,
        0,
        RowNow {
            onboarded: [true, false, false],
            ..row
        },
    );
    happen(
        &mut operator,
        Happens::ReadOnly {
            tenant: 0,
            read_only: true,
        },
    );
    live(&mut operator, 1_000);
    assert_eq!(reason(&operator), "PermissionDenied");
    happen(
        &mut operator,
        Happens::ReadOnly {
            tenant: 0,
            read_only: false,
        },
    );
    // `claims.rs` holds each change against what was sent before.
    live(&mut operator, 1_000);
    assert_eq!(written(&operator).0, before + 1);
}

/// A change that showed its effect while the resource only observed is done: should the old value come back, it is drift.
#[test]
fn what_took_effect_unnoticed_and_was_reverted_is_drift() {
    let spec = Spec {
        ios_onboarded: Some(true),
        ..named(Some("p1"), None)
    };
    let mut operator = one(blank_row(0), spec);
    let lag = |seconds| Happens::Lag { tenant: 0, seconds };
    let access = |access| Happens::SetAccess {
        connection: 0,
        access: Some(access),
    };
    happen(&mut operator, lag(Some(30)));
    live(&mut operator, 1);
    assert_eq!(reason(&operator), "Verifying");
    happen(&mut operator, access(Access::ReadOnly));
    live(&mut operator, 700);
    assert_eq!(reason(&operator), "InSync");
    happen(&mut operator, lag(None));
    row_becomes(&mut operator, 0, blank_row(0));
    happen(&mut operator, access(Access::ReadWrite));
    live(&mut operator, 3);
    assert_eq!(reason(&operator), "InSync");
    assert_eq!(written(&operator).0, 2);
}

/// One change that is ignored does not hide that another one took effect.
#[test]
fn what_took_effect_beside_something_that_did_not_has_its_time() {
    let row = RowNow {
        keeps: Some(Property::Onboarded(Platform::Ios)),
        ..blank_row(0)
    };
    let spec = Spec {
        mac_os_onboarded: Some(true),
        ios_onboarded: Some(true),
        ..named(Some("p1"), None)
    };
    let mut operator = one(row, spec);
    let updated = |operator: &Operator| {
        let world = operator.world.borrow();
        world.kubernetes.partners[&key(PARTNERS[0])]
            .status
            .last_update_time
            .clone()
    };
    live(&mut operator, 1);
    assert_eq!(reason(&operator), "Verifying");
    let first = updated(&operator);
    assert!(first.is_some());
    live(&mut operator, 2_000);
    assert_eq!(reason(&operator), "UpdateIneffective");
    assert_eq!(updated(&operator), first);
}

/// A request sends what is ignored once more, and so does nothing else.
#[test]
fn what_is_ignored_is_sent_again_once_for_each_request() {
    let row = RowNow {
        keeps: Some(Property::Onboarded(Platform::Ios)),
        ..blank_row(0)
    };
    let spec = Spec {
        ios_onboarded: Some(true),
        ..named(Some("p1"), None)
    };
    let mut operator = one(row, spec);
    live(&mut operator, 4_000);
    assert_eq!(
        (reason(&operator).as_str(), written(&operator).0),
        ("UpdateIneffective", 1)
    );
    for value in [1, 2] {
        happen(&mut operator, Happens::Ask { partner: 0, value });
        live(&mut operator, 4_000);
        let sent = usize::from(value) + 1;
        assert_eq!(
            (reason(&operator).as_str(), written(&operator).0),
            ("UpdateIneffective", sent)
        );
    }
}
