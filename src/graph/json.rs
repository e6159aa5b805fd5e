//! JSON as services send it.

mod bounded;
mod parts;

use std::borrow::Cow;

use serde_json::Value as Json;

pub(super) use bounded::MOST_VALUES;
pub(super) use parts::{entries, is_json, members};

/// The bytes as JSON; `None` where they are none, or more than is taken in (see [`parse_text`]).
///
/// Some services put a byte order mark before it, which JSON itself forbids. A text in it that was cut in the middle of a
/// character, be it of UTF-8's bytes or of half a surrogate pair, loses that character to U+FFFD: one broken name in a
/// list must not cost all the others.
pub(super) fn parse(body: &[u8]) -> Option<Json> {
    parse_text(&text(body))
}

/// The bytes as text: without a byte order mark, and with U+FFFD in place of what is no UTF-8.
pub(super) fn text(body: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body))
}

/// The text as JSON; `None` where it is none, holds more than [`MOST_VALUES`] values, or is nested deeper than
/// [`serde_json`] reads (128 levels): what a few bytes stand for would else take a hundred times as many.
pub(super) fn parse_text(text: &str) -> Option<Json> {
    bounded::parse(text).or_else(|| {
        let paired = paired(text);
        (paired != text).then(|| bounded::parse(&paired)).flatten()
    })
}

/// The text with `\ufffd` in the place of each escape that is one half of a surrogate pair without the other.
fn paired(text: &str) -> String {
    let mut paired = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        paired.push_str(before);
        let length = match (surrogate(escape), escape.get(6..).and_then(surrogate)) {
            (Some(Half::First), Some(Half::Second)) => 12,
            (Some(_), _) => {
                paired.push_str("\\ufffd");
                rest = escape.get(6..).unwrap_or_default();
                continue;
            }
            // Of any other escape the character after the backslash is passed over too: it may be another backslash.
            (None, _) => escape.chars().take(2).map(char::len_utf8).sum(),
        };
        let (escape, after) = escape.split_at(length);
        paired.push_str(escape);
        rest = after;
    }
    paired.push_str(rest);
    paired
}

/// One half of a surrogate pair.
enum Half {
    First,
    Second,
}

/// Which half the text begins with, written as `\uXXXX`.
fn surrogate(text: &str) -> Option<Half> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    match u16::from_str_radix(digits, 16).ok()? {
        0xD800..=0xDBFF => Some(Half::First),
        0xDC00..=0xDFFF => Some(Half::Second),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_whole_is_read_as_it_stands() {
        assert_eq!(parse(b"\xEF\xBB\xBF{\"a\": \"b\"}"), Some(json!({"a": "b"})));
        assert_eq!(
            parse(br#""\ud83d\udcf1 \\ud83d \" \u00e4""#),
            Some(json!("📱 \\ud83d \" ä"))
        );
        for none in [
            &b""[..],
            b"{",
            b"<html>",
            b"{\"a\": \xff}",
            br#"{"a": \ud83d}"#,
            br#"["\ud83"]"#,
        ] {
            assert_eq!(parse(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_character_that_was_cut_costs_itself_alone() {
        for (body, text) in [
            (&br#""a\ud83d""#[..], "a\u{fffd}"),
            (br#""\ud83dz""#, "\u{fffd}z"),
            (br#""\udcf1\ud83d\udcf1""#, "\u{fffd}📱"),
            (br#""\ud83d\ud83d\udcf1""#, "\u{fffd}📱"),
            (br#""\\\ud83d\n""#, "\\\u{fffd}\n"),
            (b"\"a\xF0\x9F\x93\"", "a\u{fffd}"),
            (b"\"\xC3\\ud83d\xFF\"", "\u{fffd}\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(parse(body), Some(json!(text)), "{}", String::from_utf8_lossy(body));
        }
    }

    proptest! {
        #[test]
        fn broken_texts_leave_their_neighbours_as_they_are(
            text in any::<String>(),
            broken in prop::sample::select(vec![&br"\ud83d"[..], br"\uDFFF", b"\xF0\x9F\x93", b"\xff"]),
        ) {
            let mut body = json!({ "before": text }).to_string().into_bytes();
            body.pop();
            body.extend_from_slice(b",\"broken\":\"");
            body.extend_from_slice(broken);
            body.extend_from_slice(b"\",\"after\":");
            body.extend_from_slice(json!(text).to_string().as_bytes());
            body.push(b'}');
            let read = parse(&body).unwrap();
            prop_assert_eq!(&read["before"], &json!(text));
            prop_assert_eq!(&read["after"], &json!(text));
            prop_assert!(read["broken"].is_string());
        }

        #[test]
        fn no_bytes_bring_it_down(body in prop::collection::vec(any::<u8>(), 0..100), text in r#"["\\ud8f09x{}:]{0,40}"#) {
            let _ = (parse(&body), parse(text.as_bytes()));
        }
    }
}
