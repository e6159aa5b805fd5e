use super::*;
use crate::graph::model::{PerPlatform, Undecodable};

fn partner(id: &str, name: Option<&str>) -> Partner {
    Partner {
        id: id.to_owned(),
        display_name: name.map(str::to_owned),
        partner_state: "enabled".to_owned(),
        last_heartbeat: None,
        onboarded: PerPlatform::default(),
        assignments: PerPlatform::default(),
    }
}

fn unreadable(id: Option<&str>, name: &str) -> Row {
    Err(Undecodable {
        id: id.map(str::to_owned),
        display_name: Some(name.to_owned()),
        why: "iosOnboarded should be true or false".to_owned(),
    })
}

fn listing() -> Listing {
    Listing::new(
        Instant::now(),
        [
            unreadable(Some("dD"), "Example"),
            Ok(partner("bb", Some("an older look"))),
            unreadable(None, "Nameless"),
            Ok(partner("AA", Some("Example"))),
            Ok(partner("Cc", None)),
            Ok(partner("bb", Some("example"))),
        ],
    )
}

#[test]
fn a_row_is_found_by_its_id_in_any_case() {
    let listing = listing();
    for id in ["aa", "AA", "aA"] {
        assert_eq!(listing.row(id), Some(&Ok(partner("AA", Some("Example")))));
    }
    assert!(listing.row("zz").is_none());
}

#[test]
fn a_name_is_exact_and_a_row_that_cannot_be_read_still_has_one() {
    let listing = listing();
    // A second one of the name makes it ambiguous, readable or not.
    assert_eq!(listing.named("Example"), ["AA", "dD"]);
    assert_eq!(listing.named("example"), ["bb"]);
    assert_eq!(listing.named("EXAMPLE"), Vec::<String>::new());
    assert_eq!(listing.named(""), Vec::<String>::new());
    assert_eq!(listing.named("Nameless"), Vec::<String>::new());
}

#[test]
fn who_is_told_of_a_failure_again_looks_when_the_pause_is_over() {
    let now = Instant::now();
    let told = |kind, after| {
        let last = Refused {
            version: "1".to_owned(),
            until: now + Duration::from_secs(600),
            failure: TokenFailure {
                kind,
                retry_after: Some(Duration::from_secs(600)),
                ..TokenFailure::unavailable("Entra is away")
            },
        };
        last.told(now + Duration::from_secs(after)).retry_after
    };
    for kind in [TokenFailureKind::Throttled, TokenFailureKind::Unavailable] {
        assert_eq!(told(kind, 0), Some(Duration::from_secs(600)));
        assert_eq!(told(kind, 590), Some(Duration::from_secs(10)));
        assert_eq!(told(kind, 700), Some(Duration::ZERO));
    }
    assert_eq!(told(TokenFailureKind::Rejected, 0), None);
}
