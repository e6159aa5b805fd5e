//! Foreign texts where they are shown, and durations as people write them.

use std::time::Duration;

use compliance_partner_operator::api::partner::{SYNC_INTERVAL_BOUNDS, parse_sync_interval};
use compliance_partner_operator::options;
use compliance_partner_operator::runtime::text::{STATE_WORD_CHARS, clean, clean_bytes, clean_json, reason_word};
use serde_json::json;

/// A text that somebody else wrote; its first byte is also a bound.
pub(crate) fn text(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let bound = input.first().copied().map_or(0, usize::from);

    let whole = clean(&text, usize::MAX);
    assert!(!whole.contains(char::is_control));
    assert_eq!(whole.chars().count(), text.chars().count());
    assert_eq!(clean(&whole, usize::MAX), whole);
    assert!(
        text.chars()
            .zip(whole.chars())
            .all(|(was, is)| was == is || is == char::REPLACEMENT_CHARACTER)
    );

    let cut = clean(&text, bound);
    assert!(whole.starts_with(&cut));
    assert_eq!(cut.chars().count(), whole.chars().count().min(bound));
    let cut = clean_bytes(&text, bound);
    assert!(whole.starts_with(&cut) && cut.len() <= bound);
    assert!(cut == whole || cut.len() + 4 > bound);

    let mut value = json!([{ "a": text }, text]);
    clean_json(&mut value);
    assert_eq!(value, json!([{ "a": whole }, whole]));

    if let Some(reason) = reason_word(&text) {
        assert!(reason.len() <= STATE_WORD_CHARS && reason.starts_with(|first: char| first.is_ascii_alphabetic()));
        assert!(reason.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{reason}");
    }
}

/// A duration of a flag, and one of a spec.
pub(crate) fn duration(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let read = options::duration(text);
    match &read {
        Ok(duration) => {
            assert!(*duration <= Duration::from_secs(100 * 365 * 86_400), "{duration:?}");
            assert_eq!(
                options::duration(&format!("{}ms", duration.as_millis())).as_ref(),
                Ok(duration)
            );
        }
        Err(why) => assert!(!why.is_empty() && why.len() < 128, "{why}"),
    }
    if let Some(interval) = parse_sync_interval(text) {
        let (least, most) = SYNC_INTERVAL_BOUNDS;
        assert!((least..=most).contains(&interval), "{interval:?}");
        assert_eq!(read, Ok(interval));
    }
}
