//! The parts of an object or a list as they were written, so that each can be read, or fail to be read, by itself.
//! Nothing is taken into memory on the way, and depth costs nothing.

use serde::de::IgnoredAny;
use serde_json::Deserializer;

/// Whether the text is JSON, and nothing after it.
pub(in super::super) fn is_json(text: &str) -> bool {
    first(text).is_some_and(|(_, rest)| trimmed(rest).is_empty())
}

/// Hands each member of an object over, with its value as it was written; a name that cannot be read is empty.
/// `None` where the text is no object; members before the place where that shows have been handed over.
pub(in super::super) fn members<'a>(text: &'a str, mut take: impl FnMut(&str, &'a str)) -> Option<()> {
    parts(text, ['{', '}'], |rest| {
        let (name, rest) = first(rest).filter(|(name, _)| name.starts_with('"'))?;
        let (value, rest) = first(trimmed(rest).strip_prefix(':')?)?;
        let name: String = serde_json::from_str(name).unwrap_or_default();
        take(&name, value);
        Some(rest)
    })
}

/// Hands each entry of a list over as it was written. `None` where the text is no list; entries before the place where
/// that shows have been handed over.
pub(in super::super) fn entries<'a>(text: &'a str, mut take: impl FnMut(&'a str)) -> Option<()> {
    parts(text, ['[', ']'], |rest| {
        let (entry, rest) = first(rest)?;
        take(entry);
        Some(rest)
    })
}

/// Goes through what stands between the brackets, divided by commas; `part` gives what follows the part.
fn parts<'a>(text: &'a str, brackets: [char; 2], mut part: impl FnMut(&'a str) -> Option<&'a str>) -> Option<()> {
    let [open, close] = brackets;
    let mut rest = trimmed(trimmed(text).strip_prefix(open)?);
    if !rest.starts_with(close) {
        rest = trimmed(part(rest)?);
        while let Some(next) = rest.strip_prefix(',') {
            rest = trimmed(part(next)?);
        }
    }
    trimmed(rest.strip_prefix(close)?).is_empty().then_some(())
}

/// The value that the text begins with, and what follows it.
fn first(text: &str) -> Option<(&str, &str)> {
    let text = trimmed(text);
    let mut values = Deserializer::from_str(text).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    text.split_at_checked(values.byte_offset())
}

/// Without the white space of JSON before it.
fn trimmed(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\n', '\r'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value as Json;

    use super::*;

    fn entries_of(text: &str) -> Option<Vec<&str>> {
        let mut found = Vec::new();
        entries(text, |entry| found.push(entry)).map(|()| found)
    }

    fn members_of(text: &str) -> Option<Vec<(String, &str)>> {
        let mut found = Vec::new();
        members(text, |name, value| found.push((name.to_owned(), value))).map(|()| found)
    }

    #[test]
    fn parts_come_as_they_were_written() {
        assert_eq!(
            entries_of(" [ 1e999 ,{ \"a\" : [ ] },\"],\",-0.0 ] "),
            Some(vec!["1e999", "{ \"a\" : [ ] }", "\"],\"", "-0.0"])
        );
        assert_eq!(
            members_of(r#"{"a":1, "b\u0063" : "\ud83d" , "\ud83d":[{}],"a":null}"#),
            Some(vec![
                ("a".to_owned(), "1"),
                ("bc".to_owned(), r#""\ud83d""#),
                (String::new(), "[{}]"),
                ("a".to_owned(), "null")
            ])
        );
        assert_eq!(entries_of("[]"), Some(Vec::new()));
        assert_eq!(members_of("\n{\t}\r"), Some(Vec::new()));
    }

    #[test]
    fn depth_costs_nothing() {
        let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
        assert_eq!(entries_of(&deep).map(|entries| entries.len()), Some(1));
        assert!(is_json(&deep) && !is_json(deep.strip_suffix(']').unwrap_or_default()));
    }

    proptest! {
        #[test]
        fn they_are_found_where_the_library_finds_them(
            text in r#"([\[{]?)([\[\]{},: ]|"a":|"b"|"\\""|12|3\.5|-2|true|null|[0-9]){0,8}([\]}]?)"#
        ) {
            let json = serde_json::from_str::<Json>(&text).ok();
            prop_assert_eq!(is_json(&text), json.is_some());
            let read = |part: &str| serde_json::from_str::<Json>(part).unwrap();
            let list = json.as_ref().and_then(Json::as_array);
            prop_assert_eq!(entries_of(&text).map(|entries| entries.into_iter().map(read).collect()), list.cloned());
            let object = json.as_ref().and_then(Json::as_object);
            let members = members_of(&text);
            let members = members.map(|members| members.into_iter().map(|(name, value)| (name, read(value))).collect());
            prop_assert_eq!(members, object.cloned());
        }
    }
}
