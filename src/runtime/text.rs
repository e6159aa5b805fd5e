//! Foreign text: every string of Graph, Entra or a user passes here before it enters a condition, an event, a log
//! field or a terminal.
//!
//! What a reader cannot see, or what changes how the rest is shown, becomes U+FFFD: nobody can hide a line in a log,
//! turn a sentence round, or move a terminal's cursor with a display name. The functions stop at their bound, so a long
//! input costs no more than a short one.

use serde_json::Value as Json;

/// Bound of a condition's message, in characters (the API server itself takes 32,768).
pub const CONDITION_MESSAGE_CHARS: usize = 1024;

/// Bound of an event's note, in bytes: `events.k8s.io/v1` refuses a note of 1,024 bytes or more.
pub const EVENT_NOTE_BYTES: usize = 1000;

/// Bound of a partner's display name where it is shown, in characters.
pub const DISPLAY_NAME_CHARS: usize = 256;

/// Bound of a word from one of Graph's enumerations where it is shown, in characters.
pub const STATE_WORD_CHARS: usize = 64;

/// Bound of an id of Graph's where it is shown, in characters.
pub const ID_CHARS: usize = 128;

/// The longest id of a request.
pub const REQUEST_ID_CHARS: usize = 64;

/// Bound of the echo of the annotation that asks for a pass, in characters.
pub const REQUEST_CHARS: usize = 256;

/// The text as it may be shown, at most `max_chars` characters long.
///
/// Control, format and bidirectional characters, line and paragraph separators, tag characters, private-use characters
/// and noncharacters become U+FFFD, one for one. A line break is a control character: a message is one line.
#[must_use]
pub fn clean(text: &str, max_chars: usize) -> String {
    text.chars().take(max_chars).map(visible).collect()
}

/// What an error of a library says, for the log: as [`clean`] has it, at most 300 characters long.
#[must_use]
pub fn of_error(error: &impl std::fmt::Display) -> String {
    clean(&error.to_string(), 300)
}

/// The text as it may be shown (see [`clean`]), at most `max_bytes` bytes long in UTF-8 and cut between characters.
#[must_use]
pub fn clean_bytes(text: &str, max_bytes: usize) -> String {
    let mut cleaned = String::with_capacity(text.len().min(max_bytes));
    for character in text.chars().map(visible) {
        // The bound holds for what comes out: U+FFFD is three bytes long, whatever it stands for.
        if cleaned.len() + character.len_utf8() > max_bytes {
            break;
        }
        cleaned.push(character);
    }
    cleaned
}

/// Every text in a JSON value as it may be shown (see [`clean`]), none of them cut.
pub fn clean_json(value: &mut Json) {
    match value {
        Json::String(text) => *text = clean(text, usize::MAX),
        Json::Array(items) => items.iter_mut().for_each(clean_json),
        Json::Object(members) => members.values_mut().for_each(clean_json),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// A word of one of Graph's enumerations as a condition's reason: its ASCII letters and digits in `CamelCase`, cut at
/// [`STATE_WORD_CHARS`]. Anything else in the word divides it.
///
/// `None` where nothing is left that Kubernetes takes as a reason, `^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$`: an
/// empty word, or one that begins with a digit.
#[must_use]
pub fn reason_word(word: &str) -> Option<String> {
    let reason: String = word
        .split(|character: char| !character.is_ascii_alphanumeric())
        .flat_map(|part| {
            let mut characters = part.chars();
            let first = characters.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(characters)
        })
        .take(STATE_WORD_CHARS)
        .collect();
    reason
        .starts_with(|first: char| first.is_ascii_alphabetic())
        .then_some(reason)
}

/// The character itself, or U+FFFD in place of one that is invisible, acts on its neighbours, or means nothing here.
fn visible(character: char) -> char {
    if is_unfit(character) {
        char::REPLACEMENT_CHARACTER
    } else {
        character
    }
}

/// Whether a character is shown as it is: it is no control, format or private-use character and the like.
#[must_use]
pub fn is_visible(character: char) -> bool {
    !is_unfit(character)
}

/// Whether a character belongs to Unicode's categories Cc, Cf, Zl, Zp or Co, or is a tag character or a noncharacter
/// (Unicode 16). The standard library knows only the first of them.
fn is_unfit(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_control();
    }
    // In each plane the last two code points are noncharacters.
    if u32::from(character) & 0xFFFE == 0xFFFE {
        return true;
    }
    matches!(
        character,
        // Cc beyond ASCII, the soft hyphen, and format characters of the Arabic, Syriac, Mongolian, Kaithi, Egyptian,
        // shorthand and musical blocks.
        '\u{80}'..='\u{9F}'
            | '\u{AD}'
            | '\u{600}'..='\u{605}'
            | '\u{61C}'
            | '\u{6DD}'
            | '\u{70F}'
            | '\u{890}'..='\u{891}'
            | '\u{8E2}'
            | '\u{180E}'
            | '\u{110BD}'
            | '\u{110CD}'
            | '\u{13430}'..='\u{1343F}'
            | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}'
            // Zero width characters, the bidirectional marks, embeddings and isolates, both separators, invisible
            // operators, the byte order mark and the interlinear annotations.
            | '\u{200B}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}'
            | '\u{FFF0}'..='\u{FFFB}'
            // Noncharacters, private use, and the block of the tags, which can carry a whole hidden text.
            | '\u{FDD0}'..='\u{FDEF}'
            | '\u{E000}'..='\u{F8FF}'
            | '\u{E0000}'..='\u{E0FFF}'
            | '\u{F0000}'..='\u{10FFFF}'
    )
}

/// The id that a service gave a request, as far as it is one: a GUID, or another word of hexadecimal digits and hyphens.
///
/// What stands in its place otherwise is nobody's id, and might be what the service was told in confidence.
#[must_use]
pub fn request_id(foreign: &str) -> Option<String> {
    let is_id = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    let short = (1..=REQUEST_ID_CHARS).contains(&foreign.len());
    (short && foreign.bytes().all(is_id)).then(|| foreign.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_has_an_id_or_none() {
        let id = "0f6c9d1e-5a70-4B31-9c0d-2f4a6b8c0d1e";
        assert_eq!(request_id(id).as_deref(), Some(id));
        for other in [
            "",
            "eyJhbGciOiJSUzI1NiJ9",
            "a b",
            "canary+right",
            &"a".repeat(65),
            "\u{1b}",
        ] {
            assert_eq!(request_id(other), None, "{other}");
        }
    }

    #[test]
    fn readable_text_of_any_script_stays_as_it_is() {
        for text in [
            "Jamf Device Compliance",
            "Gerätekonformität – ja!",
            "デバイス準拠",
            "تطبيق",
            "📱 phones",
            "",
        ] {
            assert_eq!(clean(text, 100), text);
            assert_eq!(clean_bytes(text, 100), text);
        }
    }

    #[test]
    fn nothing_invisible_or_acting_on_its_neighbours_is_let_through() {
        let unfit = [
            '\0',
            '\t',
            '\n',
            '\r',
            '\u{1B}',
            '\u{7F}',
            '\u{85}',
            '\u{9B}',
            '\u{AD}',
            '\u{61C}',
            '\u{200B}',
            '\u{200D}',
            '\u{200E}',
            '\u{2028}',
            '\u{2029}',
            '\u{202A}',
            '\u{202E}',
            '\u{2060}',
            '\u{2066}',
            '\u{2069}',
            '\u{FEFF}',
            '\u{FFF9}',
            '\u{FDD0}',
            '\u{FFFE}',
            '\u{E000}',
            '\u{E0001}',
            '\u{E0041}',
            '\u{E0100}',
            '\u{1FFFF}',
            '\u{F0000}',
            '\u{10FFFD}',
            '\u{10FFFF}',
        ];
        for character in unfit {
            assert_eq!(clean(&format!("a{character}b"), 10), "a\u{FFFD}b", "{character:?}");
            assert_eq!(
                clean_bytes(&format!("a{character}b"), 10),
                "a\u{FFFD}b",
                "{character:?}"
            );
        }
    }

    #[test]
    fn the_cut_is_between_characters() {
        assert_eq!(clean("äöü", 2), "äö");
        assert_eq!(clean("äöü", 0), "");
        assert_eq!(clean_bytes("äöü", 4), "äö");
        assert_eq!(clean_bytes("äöü", 5), "äö");
        assert_eq!(clean_bytes("a\u{1}b", 3), "a");
        assert_eq!(clean_bytes("a\u{1}b", 4), "a\u{FFFD}");
        assert_eq!(clean_bytes("📱📱", 7), "📱");
    }

    #[test]
    fn a_long_text_is_read_no_further_than_the_cut() {
        let long = "x".repeat(47 * 1024);
        assert_eq!(clean(&long, CONDITION_MESSAGE_CHARS).len(), CONDITION_MESSAGE_CHARS);
        assert_eq!(clean_bytes(&long, EVENT_NOTE_BYTES).len(), EVENT_NOTE_BYTES);
    }

    #[test]
    fn a_state_word_becomes_a_reason() {
        for (word, reason) in [
            ("enabled", "Enabled"),
            ("unresponsive", "Unresponsive"),
            ("pendingActivation", "PendingActivation"),
            ("pending-activation now", "PendingActivationNow"),
            ("partner_disabled", "PartnerDisabled"),
            ("état", "Tat"),
            ("version2", "Version2"),
        ] {
            assert_eq!(reason_word(word).as_deref(), Some(reason), "{word}");
        }
    }

    #[test]
    fn a_word_without_a_fitting_reason_has_none() {
        for word in ["", " ", "---", "2fast", "準備中", "\u{202E}"] {
            assert_eq!(reason_word(word), None, "{word:?}");
        }
    }

    #[test]
    fn every_text_in_a_json_value_is_cleaned_and_none_is_cut() {
        let long = "x".repeat(2_000);
        let mut value = serde_json::json!({"a": ["b\u{7f}", {"c": "d\u{2028}", "e": 1}], "f": long, "g": null});
        clean_json(&mut value);
        let expected = serde_json::json!({"a": ["b\u{fffd}", {"c": "d\u{fffd}", "e": 1}], "f": long, "g": null});
        assert_eq!(value, expected);
    }

    /// One character of these classes, by the Unicode tables of another library.
    fn one_of(classes: &str) -> impl Strategy<Value = String> + use<> {
        prop::string::string_regex(&format!("[{classes}]")).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_024))]

        #[test]
        fn no_control_format_separator_or_private_character_passes(
            unfit in prop_oneof![one_of("\\p{Cc}"), one_of("\\p{Cf}"), one_of("\\p{Zl}\\p{Zp}\\p{Bidi_Control}"), one_of("\\p{Co}")],
            before in "[a-z📱]{0,3}",
        ) {
            let expected = format!("{before}\u{FFFD}.");
            prop_assert_eq!(clean(&format!("{before}{unfit}."), 100), expected.clone());
            prop_assert_eq!(clean_bytes(&format!("{before}{unfit}."), 100), expected);
        }

        #[test]
        fn letters_marks_numbers_punctuation_and_symbols_pass(text in "[\\p{L}\\p{N}\\p{P}\\p{S}\\p{Zs}]{0,40}") {
            prop_assert_eq!(clean(&text, 100), text);
        }
    }

    proptest! {
        #[test]
        fn cleaned_text_keeps_its_bounds_and_holds_nothing_unfit(text in "\\PC*|(?s:.*)", bound in 0_usize..80) {
            let by_characters = clean(&text, bound);
            prop_assert!(by_characters.chars().count() <= bound);
            prop_assert!(!by_characters.chars().any(is_unfit));
            prop_assert_eq!(by_characters.chars().count(), text.chars().count().min(bound));

            let by_bytes = clean_bytes(&text, bound);
            prop_assert!(by_bytes.len() <= bound);
            prop_assert!(clean(&text, usize::MAX).starts_with(&by_bytes));
            // Nothing that would still have fitted was left out.
            prop_assert!(by_bytes.len() + 4 > bound || by_bytes == clean(&text, usize::MAX));
        }

        #[test]
        fn cleaning_twice_changes_nothing(text in any::<String>()) {
            let once = clean(&text, 200);
            prop_assert_eq!(clean(&once, 200), once);
        }

        #[test]
        fn a_reason_is_one_that_kubernetes_takes(word in any::<String>()) {
            if let Some(reason) = reason_word(&word) {
                prop_assert!(reason.starts_with(|first: char| first.is_ascii_alphabetic()));
                prop_assert!(reason.chars().all(|character| character.is_ascii_alphanumeric()));
                prop_assert!(reason.len() <= STATE_WORD_CHARS);
            }
        }
    }
}
