//! How long a server asks to be left alone.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::rfc2822;
use jiff::tz::Offset;
use reqwest::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};

/// The longest wait that is reported, one year: whoever adds it to a clock stays within what a clock can hold.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The `Retry-After` of an answer (RFC 9110 §10.2.3), rounded up to whole seconds and at most a year: seconds, also
/// with a fraction as Graph's documents show it, or a date, which counts from the answer's own time, or from `now` where
/// it has none, and is zero where it has passed. `None` without the header, or where it is neither. Of several the
/// longest counts.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let now = sent_at(headers, now);
    headers
        .get_all(RETRY_AFTER)
        .iter()
        .filter_map(|value| parse(value.to_str().ok()?, now))
        .max()
}

/// When the answer was made by the clock of whoever made it (`Date`, RFC 9110 §6.6.1); `now` where it does not tell.
///
/// A date to wait for is by that clock too. By one that is ahead of it the wait would be over at once, by one that is
/// behind it the operator would rest for as long as the clocks differ.
pub(super) fn sent_at(headers: &HeaderMap, now: Timestamp) -> Timestamp {
    let text = |value: &HeaderValue| value.to_str().ok().map(str::trim).and_then(date);
    headers.get(DATE).and_then(text).unwrap_or(now)
}

/// One value, be it of the header or of Intune's body.
pub(super) fn parse(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    seconds(value)
        .or_else(|| until(date(value)?, now))
        .map(|wait| wait.min(LONGEST))
}

/// Digits, perhaps with a fraction. Read by hand: a float parser would take signs, exponents, `inf` and `NaN` too.
fn seconds(value: &str) -> Option<Duration> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    // More digits than fit are a number all the same.
    let whole = whole.parse::<u64>().unwrap_or(u64::MAX);
    let up = u64::from(fraction.bytes().any(|digit| digit != b'0'));
    Some(Duration::from_secs(whole.saturating_add(up)))
}

/// The three spellings of a date in HTTP (RFC 9110 §5.6.7). A weekday that does not fit is no reason to ask sooner.
fn date(value: &str) -> Option<Timestamp> {
    const RFC_2822: rfc2822::DateTimeParser = rfc2822::DateTimeParser::new().relaxed_weekday(true);
    if let Ok(date) = RFC_2822.parse_timestamp(value) {
        return Some(date);
    }
    let rest = value.split_once(' ')?.1;
    ["%d-%b-%y %H:%M:%S GMT", "%b %e %H:%M:%S %Y"]
        .iter()
        .find_map(|format| DateTime::strptime(format, rest).ok())
        .and_then(|date| Offset::UTC.to_timestamp(date).ok())
}

fn until(date: Timestamp, now: Timestamp) -> Option<Duration> {
    let wait = date.duration_since(now);
    if wait.is_negative() {
        return Some(Duration::ZERO);
    }
    let wait = Duration::try_from(wait).ok()?;
    Some(Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderName;

    use super::*;

    fn wait(values: &[&str]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(RETRY_AFTER, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let wait = retry_after(&headers, "2026-11-25T10:00:00Z".parse().unwrap())?;
        assert_eq!(wait.subsec_nanos(), 0);
        Some(wait.as_secs())
    }

    #[test]
    fn seconds_are_honoured_whole_and_rounded_up() {
        for (value, expected) in [
            ("7", 7),
            (" 7 ", 7),
            ("2.128", 3),
            ("2.000", 2),
            ("2.", 2),
            ("0.0001", 1),
            ("315", 315),
            ("0", 0),
            ("86400", 86_400),
        ] {
            assert_eq!(wait(&[value]), Some(expected), "{value}");
        }
    }

    #[test]
    fn what_is_no_wait_is_as_if_it_were_missing() {
        for value in [
            "-5",
            "+5",
            "soon",
            "",
            "7s",
            "1e3",
            "inf",
            "NaN",
            ".5",
            "1.2.3",
            "1,5",
            "0x10",
            "2026-11-25",
            "Wed, 99 Nov 2026 10:00:30 GMT",
            "\u{e9}",
        ] {
            assert_eq!(wait(&[value]), None, "{value}");
        }
        assert_eq!(wait(&[]), None);
    }

    #[test]
    fn dates_count_from_now() {
        for (value, expected) in [
            ("Wed, 25 Nov 2026 10:00:30 GMT", 30),
            ("Tue, 25 Nov 2026 10:00:30 GMT", 30),
            ("Wednesday, 25-Nov-26 10:00:30 GMT", 30),
            ("Wed Nov 25 10:00:30 2026", 30),
            ("Sun Nov  1 10:00:30 2026", 0),
            ("Wed, 25 Nov 2026 10:00:00 GMT", 0),
            ("Wed, 25 Nov 2026 09:59:59 GMT", 0),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ] {
            assert_eq!(wait(&[value]), Some(expected), "{value}");
        }
    }

    #[test]
    fn a_date_is_by_the_clock_of_the_answer_and_not_by_ours() {
        let ours: Timestamp = "2026-11-25T10:00:00Z".parse().unwrap();
        for (date, expected) in [
            // Ours is ten minutes ahead, ten minutes behind, right.
            ("Wed, 25 Nov 2026 09:50:00 GMT", "Wed, 25 Nov 2026 09:50:30 GMT"),
            ("Wednesday, 25-Nov-26 10:10:00 GMT", "Wed, 25 Nov 2026 10:10:30 GMT"),
            ("Wed, 25 Nov 2026 10:00:00 GMT", "Wed Nov 25 10:00:30 2026"),
            // An answer that does not tell its time.
            ("soon", "Wed, 25 Nov 2026 10:00:30 GMT"),
            ("", "Wed, 25 Nov 2026 10:00:30 GMT"),
        ] {
            let headers: HeaderMap = [(DATE, date), (RETRY_AFTER, expected)]
                .map(|(name, value)| (name, HeaderValue::from_static(value)))
                .into_iter()
                .collect();
            assert_eq!(retry_after(&headers, ours), Some(Duration::from_secs(30)), "{date}");
        }
        // Seconds need no clock.
        let headers: HeaderMap = [(DATE, "Thu, 01 Jan 1970 00:00:00 GMT"), (RETRY_AFTER, "7")]
            .map(|(name, value)| (name, HeaderValue::from_static(value)))
            .into_iter()
            .collect();
        assert_eq!(retry_after(&headers, ours), Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_part_of_a_second_up_to_a_date_is_waited_for_too() {
        let now = "2026-11-25T10:00:00.25Z".parse().unwrap();
        assert_eq!(
            parse("Wed, 25 Nov 2026 10:00:30 GMT", now),
            Some(Duration::from_secs(30))
        );
    }

    #[test]
    fn a_wait_beyond_reason_stays_within_what_clocks_can_hold() {
        let year = LONGEST.as_secs();
        for value in [
            "31536001",
            "99999999999999999999999",
            "18446744073709551615.5",
            "Fri, 31 Dec 9998 00:00:00 GMT",
        ] {
            assert_eq!(wait(&[value]), Some(year), "{value}");
        }
    }

    #[test]
    fn a_header_is_known_in_any_case_and_the_longest_of_several_counts() {
        let mut headers = HeaderMap::new();
        for name in ["Retry-After", "retry-after", "RETRY-AFTER"] {
            headers.insert(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_static("7"),
            );
            assert_eq!(
                retry_after(&headers, Timestamp::UNIX_EPOCH),
                Some(Duration::from_secs(7)),
                "{name}"
            );
        }
        assert_eq!(wait(&["7", "soon", "30", "12"]), Some(30));
    }
}
