//! How much of a limit an answer says is used up.
//!
//! Microsoft documents both headers for the identity workloads ("Microsoft Graph service-specific throttling limits",
//! Identity and access) and promises them for no other, so they are heeded where they come and missed by nobody.

use reqwest::header::HeaderMap;

use super::Kind;

/// The fraction of the limit that is used up. Documented from 0.8 to 1.8, despite its name.
const SHARE: &str = "x-ms-throttle-limit-percentage";

/// Whose limit it is: `<scope>/<limit>/<application>/<tenant, user or resource>`, such as `Tenant_Application/Read/…/…`.
const SCOPE: &str = "x-ms-throttle-scope";

/// From here on, in thousandths, a limit is near. The service says nothing below.
const NEAR: u32 = 800;

/// From here on a limit is reached: the service throttles.
const REACHED: u32 = 1_000;

/// More than this is no fraction of a limit; a figure in percent, most likely.
const ABSURD: u32 = 10_000;

/// How far a limit is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// To eight tenths or more.
    Near,
    /// To the end.
    Reached,
}

/// What an answer says of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// How much of it is used up, in thousandths: 800 to 10,000.
    pub thousandths: u32,
    /// The one kind of request that it is for; `None` where it is for both.
    pub only: Option<Kind>,
    /// Whether other clients or other tenants use up the same limit. Where this is not said, it is taken for the limit
    /// of one client in one tenant.
    pub is_shared: bool,
}

impl Usage {
    /// How far the limit is used up.
    #[must_use]
    pub fn level(self) -> Level {
        if self.thousandths < REACHED {
            Level::Near
        } else {
            Level::Reached
        }
    }

    /// Whether the limit is one for requests of this kind.
    #[must_use]
    pub fn concerns(self, kind: Kind) -> bool {
        self.only.is_none_or(|only| only == kind)
    }
}

/// What the headers of an answer, be it a success or not, say of a limit. `None` without a share, with one below 0.8,
/// and where it is no decimal fraction of a limit: negative, above 10, or no number. Of several the greatest counts.
///
/// A scope that is missing or cannot be read is taken for one of all requests.
#[must_use]
pub fn usage(headers: &HeaderMap) -> Option<Usage> {
    let shares = headers.get_all(SHARE).iter();
    let thousandths = shares.filter_map(|value| thousandths(value.to_str().ok()?)).max()?;
    let scopes = headers.get_all(SCOPE).iter();
    let mut scopes = scopes.map(|value| scope(value.to_str().unwrap_or_default()));
    let (mut only, mut is_shared) = scopes.next().unwrap_or_default();
    for (other, shared) in scopes {
        only = only.filter(|only| Some(*only) == other);
        is_shared |= shared;
    }
    Some(Usage {
        thousandths,
        only,
        is_shared,
    })
}

/// Digits, perhaps with a fraction. Read by hand: a float parser would take signs, exponents, `inf` and `NaN` too.
fn thousandths(value: &str) -> Option<u32> {
    let value = value.trim();
    let (whole, fraction) = value.split_once('.').unwrap_or((value, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let three: String = fraction.chars().chain("00".chars()).take(3).collect();
    let whole = whole.parse::<u32>().ok()?.checked_mul(1_000)?;
    let share = whole.checked_add(three.parse().ok()?)?;
    (NEAR..=ABSURD).contains(&share).then_some(share)
}

/// The kind of request that a limit is for, and whether it is shared with other clients or tenants.
fn scope(value: &str) -> (Option<Kind>, bool) {
    let mut words = value.split('/').map(|word| word.trim().to_ascii_lowercase());
    let whose = words.next().unwrap_or_default();
    let only = match words.next().unwrap_or_default().as_str() {
        "read" => Some(Kind::Read),
        "write" => Some(Kind::Write),
        _ => None,
    };
    (only, matches!(whose.as_str(), "tenant" | "application"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Option<Usage> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        usage(&headers)
    }

    fn share_of(share: &str) -> Option<(u32, Level)> {
        read(&[(SHARE, share)]).map(|usage| (usage.thousandths, usage.level()))
    }

    fn scope_of(scope: &str) -> (Option<Kind>, bool) {
        let usage = read(&[(SHARE, "0.9"), (SCOPE, scope)]).unwrap();
        (usage.only, usage.is_shared)
    }

    #[test]
    fn a_limit_is_near_from_eight_tenths_and_reached_from_one() {
        for (share, expected) in [
            ("0.8", Some((800, Level::Near))),
            ("0.80", Some((800, Level::Near))),
            (" 0.95 ", Some((950, Level::Near))),
            ("00.9999999999999999999999999999", Some((999, Level::Near))),
            ("1", Some((1_000, Level::Reached))),
            ("1.0", Some((1_000, Level::Reached))),
            ("1.8", Some((1_800, Level::Reached))),
            ("10", Some((10_000, Level::Reached))),
            ("0.79", None),
            ("0.79999", None),
            ("0", None),
            ("0.0", None),
        ] {
            assert_eq!(share_of(share), expected, "{share}");
        }
    }

    #[test]
    fn what_is_no_share_is_as_if_it_were_missing() {
        for share in [
            "",
            " ",
            "-0.9",
            "+0.9",
            "-1",
            "NaN",
            "nan",
            "inf",
            "-inf",
            "infinity",
            "1e0",
            "9e-1",
            "0,9",
            ".9",
            "1.",
            "0.9.1",
            "0x1",
            "90%",
            "90",
            "80",
            "100",
            "10.001",
            "1.0;q=1",
            "0.9, 1.0",
            "soon",
            "\u{e9}",
            "9".repeat(400).as_str(),
        ] {
            assert_eq!(share_of(share), None, "{share}");
        }
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[(SCOPE, "Tenant_Application/Write/a/t")]), None);
    }

    #[test]
    fn the_scope_says_whose_limit_it_is_and_what_for() {
        for (scope, expected) in [
            ("Tenant_Application/Read/a/t", (Some(Kind::Read), false)),
            ("Tenant_Application/Write/a/t", (Some(Kind::Write), false)),
            ("Tenant_Application/ReadWrite/a/t", (None, false)),
            ("Tenant/WRITE/a/t", (Some(Kind::Write), true)),
            ("application/ read /a", (Some(Kind::Read), true)),
            ("Application/ReadWrite/a", (None, true)),
            // What cannot be read may mean any.
            ("Tenant_Application", (None, false)),
            ("Tenant_Application//a/t", (None, false)),
            ("Tenant_Application/Writes/a/t", (None, false)),
            ("Write", (None, false)),
            ("", (None, false)),
            ("\u{e9}/Write", (None, false)),
        ] {
            assert_eq!(scope_of(scope), expected, "{scope}");
        }
        let missing = read(&[(SHARE, "0.9")]).unwrap();
        assert_eq!((missing.only, missing.is_shared), (None, false));
    }

    #[test]
    fn of_several_the_greatest_share_counts_and_every_scope() {
        let usage = read(&[
            ("X-MS-Throttle-Limit-Percentage", "0.85"),
            (SHARE, "1.1"),
            (SHARE, "-2"),
            ("X-Ms-Throttle-Scope", "Tenant/Write/t"),
            (SCOPE, "Tenant_Application/Write/a/t"),
        ]);
        let expected = |only| {
            Some(Usage {
                thousandths: 1_100,
                only,
                is_shared: true,
            })
        };
        assert_eq!(usage, expected(Some(Kind::Write)));
        for other in ["Tenant/Read/t", "Tenant/ReadWrite/t", "?"] {
            for scopes in [["Tenant/Write/t", other], [other, "Tenant/Write/t"]] {
                let scopes = scopes.map(|scope| (SCOPE, scope));
                assert_eq!(read(&[(SHARE, "1.1"), scopes[0], scopes[1]]), expected(None), "{other}");
            }
        }
    }

    #[test]
    fn a_limit_of_one_kind_concerns_no_other() {
        let of = |only| Usage {
            thousandths: 900,
            only,
            is_shared: false,
        };
        assert!(of(None).concerns(Kind::Read) && of(None).concerns(Kind::Write));
        assert!(of(Some(Kind::Write)).concerns(Kind::Write) && !of(Some(Kind::Write)).concerns(Kind::Read));
    }

    proptest! {
        #[test]
        fn no_header_is_too_odd(share in prop::collection::vec(any::<u8>(), 0..20), scope in "\\PC{0,40}") {
            let mut headers = HeaderMap::new();
            for (name, value) in [(SHARE, share.as_slice()), (SCOPE, scope.as_bytes())] {
                if let Ok(value) = HeaderValue::from_bytes(value) {
                    headers.append(name, value);
                }
            }
            let usage = usage(&headers);
            prop_assert!(usage.is_none_or(|usage| (NEAR..=ABSURD).contains(&usage.thousandths)));
        }
    }
}
