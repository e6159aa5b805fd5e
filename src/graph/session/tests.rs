use super::*;

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
