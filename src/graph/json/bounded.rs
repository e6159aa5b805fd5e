//! JSON of which a few bytes cannot become a lot of memory: an object of one member takes 7 bytes on the wire and some
//! 700 in memory, so that 8 MiB of them would take far more than the operator is given.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value as Json};

/// The most values that are taken in from one text, counting each object, list, text, number, flag and null: 50,000,
/// which take less than 40 MiB. A partner with the 500 assignments on each platform that a spec may hold has 10,000.
pub(in super::super) const MOST_VALUES: usize = 50_000;

/// The text as JSON; `None` where it is none, or too much.
pub(super) fn parse(text: &str) -> Option<Json> {
    let left = Cell::new(MOST_VALUES);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Counted(&left).deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    Some(value)
}

/// Reads one value, with how many may still come.
#[derive(Clone, Copy)]
struct Counted<'a>(&'a Cell<usize>);

impl<'de> DeserializeSeed<'de> for Counted<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        let left = self.0.get().checked_sub(1);
        self.0.set(left.ok_or_else(|| D::Error::custom("too many values"))?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Counted<'_> {
    type Value = Json;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element_seed(self)? {
            list.push(entry);
        }
        Ok(Json::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            object.insert(name, members.next_value_seed(self)?);
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_within_the_bound_is_read_and_what_is_beyond_it_is_not() {
        let list = |entries: usize| format!("[{}0]", "0,".repeat(entries - 1));
        // The list is a value as well.
        let whole = parse(&list(MOST_VALUES - 1)).unwrap();
        assert_eq!(whole.as_array().map(Vec::len), Some(MOST_VALUES - 1));
        assert_eq!(parse(&list(MOST_VALUES)), None);
        let objects = |count: usize| format!("[{}0]", "{\"\":0},".repeat(count));
        assert!(parse(&objects(MOST_VALUES / 2 - 1)).is_some());
        assert_eq!(parse(&objects(MOST_VALUES / 2)), None);
    }

    #[test]
    fn a_long_text_is_one_value_and_a_deep_one_is_refused() {
        let long = "x".repeat(4 * MOST_VALUES);
        assert_eq!(parse(&format!("\"{long}\"")), Some(json!(long)));
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(parse(&deep(127)).is_some());
        assert_eq!(parse(&deep(128)), None);
        assert_eq!(parse(&deep(1_000_000)), None);
        assert_eq!(parse(&"{\"a\":".repeat(1_000_000)), None);
    }

    proptest! {
        #[test]
        fn json_is_read_as_the_library_reads_it(text in r#"([\[\]{},: -]|"a"|"\\n"|1|2\.5e3|true|false|null|[0-9.e]){0,12}"#) {
            prop_assert_eq!(parse(&text), serde_json::from_str(&text).ok());
        }
    }
}
