//! Word by word: which are the same from one answer to the next, and what of the others is.

use std::borrow::Cow;

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const UNITS: [&str; 15] = [
    "ms",
    "msec",
    "millisecond",
    "milliseconds",
    "s",
    "sec",
    "secs",
    "second",
    "seconds",
    "min",
    "mins",
    "minute",
    "minutes",
    "hour",
    "hours",
];

/// Last labels of host names. Others are left: type names such as `microsoft.graph.group` have dots as well.
const TOP_LEVEL: [&str; 8] = ["com", "net", "org", "us", "cn", "io", "ms", "example"];

/// Longest word of plain ASCII that is a word and no token or blob, in bytes.
const WORD_BYTES: usize = 120;

/// Fewest hexadecimal digits, a decimal one among them, that are an id and no word.
const HEX_DIGITS: usize = 12;

/// Fewest decimal digits that are an id and no number: an HTTP status, a limit or an AADSTS code has less.
const DECIMAL_DIGITS: usize = 9;

/// The words, or parts of them, that do not change from one answer to the next.
pub(super) fn stable(words: &[&str]) -> Vec<String> {
    let mut kept = Vec::with_capacity(words.len());
    let mut rest = words;
    let mut names_groups = false;
    while let Some((word, after)) = rest.split_first() {
        let dropped = moment(rest)
            .or_else(|| duration(rest))
            .or_else(|| build(rest))
            .unwrap_or(0);
        if dropped > 0 {
            rest = rest.get(dropped..).unwrap_or_default();
            continue;
        }
        rest = after;
        // The id of a group is what the user has to mend: it comes from the spec and does not change by itself. What an
        // address names, which is dropped, is no group of the spec's.
        names_groups = names_group(word, names_groups) && !is_changing(word);
        let word = if names_groups {
            Cow::Borrowed(*word)
        } else {
            without_guids(word)
        };
        let word = if is_changing(&word) {
            Cow::Borrowed("")
        } else {
            without_builds(&word)
        };
        let word = if names_groups { word } else { without_ids(&word).into() };
        if !word.is_empty() {
            kept.push(word.into_owned());
        }
    }
    kept
}

/// The word without the punctuation around it.
fn core(word: &str) -> &str {
    word.trim_matches(|character: char| !character.is_alphanumeric())
}

/// Whether a GUID at this word or after it would be a group's: the word says group, or it joins one to such a word.
fn names_group(word: &str, before: bool) -> bool {
    let core = core(word).to_ascii_lowercase();
    core.contains("group")
        || (before
            && (core.is_empty() || guid(word).is_some() || matches!(core.as_str(), "id" | "ids" | "with" | "and")))
}

/// Where a GUID stands in the word, and whether what follows belongs to another one.
fn guid(word: &str) -> Option<(&str, &str)> {
    const LENGTH: usize = 36;
    let is_guid = |part: &str| {
        part.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    };
    (0..word.len().saturating_sub(LENGTH - 1))
        .find(|start| word.get(*start..start + LENGTH).is_some_and(is_guid))
        .and_then(|start| Some((word.get(..start)?, word.get(start + LENGTH..)?)))
}

fn without_guids(word: &str) -> Cow<'_, str> {
    let Some((before, mut after)) = guid(word) else {
        return Cow::Borrowed(word);
    };
    let mut kept = before.to_owned();
    while let Some((before, rest)) = guid(after) {
        kept.push_str(before);
        after = rest;
    }
    kept.push_str(after);
    if kept.contains(char::is_alphanumeric) {
        Cow::Owned(kept)
    } else {
        Cow::Borrowed("")
    }
}

/// Addresses, tokens and blobs: nothing of them is kept.
fn is_changing(word: &str) -> bool {
    let core = core(word);
    let lower = core.to_ascii_lowercase();
    let host = core.split(['/', ':', '?']).next().unwrap_or_default();
    word.contains("://")
        || lower.contains("api-version")
        || (word.contains('?') && word.contains('='))
        || (core.contains('/') && host.contains('.'))
        || is_host(host)
        // A JSON object in Base64, that is a token or a part of one.
        || (core.starts_with("eyJ") && core.len() >= 16)
        || (word.is_ascii() && word.len() > WORD_BYTES)
}

fn is_host(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.split('.').count() >= 3
        && name.rsplit('.').next().is_some_and(|last| TOP_LEVEL.contains(&last))
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
}

/// `DeviceConfiguration_2511` without the month of its build.
fn without_builds(word: &str) -> Cow<'_, str> {
    let Some((mut kept, mut rest)) = word.split_once('_').map(|(before, after)| (before.to_owned(), after)) else {
        return Cow::Borrowed(word);
    };
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits >= 4 {
            // Whatever numbers go on behind it belong to the build too.
            rest = rest.trim_start_matches(|character: char| character.is_ascii_digit() || "._-".contains(character));
        } else {
            kept.push('_');
        }
        match rest.split_once('_') {
            Some((before, after)) => {
                kept.push_str(before);
                rest = after;
            }
            None => break,
        }
    }
    kept.push_str(rest);
    Cow::Owned(kept)
}

/// The word without runs of letters and digits that can only be ids.
fn without_ids(word: &str) -> String {
    let mut kept = String::with_capacity(word.len());
    let mut dropped = false;
    for run in word.split_inclusive(|character: char| !character.is_ascii_alphanumeric()) {
        let text = run.trim_end_matches(|character: char| !character.is_ascii_alphanumeric());
        if is_id(text) {
            dropped = true;
            kept.push_str(run.get(text.len()..).unwrap_or_default());
        } else {
            kept.push_str(run);
        }
    }
    if dropped && !kept.contains(char::is_alphanumeric) {
        String::new()
    } else {
        kept
    }
}

fn is_id(run: &str) -> bool {
    let decimal = run.bytes().filter(u8::is_ascii_digit).count();
    let is_hex = run.bytes().all(|byte| byte.is_ascii_hexdigit());
    (decimal == run.len() && decimal >= DECIMAL_DIGITS) || (is_hex && decimal > 0 && run.len() >= HEX_DIGITS)
}

/// How many words from here on are a date, a time or both.
fn moment(words: &[&str]) -> Option<usize> {
    let at = |index: usize| words.get(index).map(|word| core(word));
    let start = usize::from(at(0).is_some_and(|word| is_name(word, &WEEKDAYS)));
    let is = |index: usize, test: fn(&str) -> bool| at(start + index).is_some_and(test);
    let length = if is(0, is_stamp) {
        1
    } else if (is(0, is_day) && is(1, is_month) || is(0, is_month) && is(1, is_day)) && is(2, is_year) {
        3
    } else if is(0, is_month) && is(1, is_day) && is(2, is_stamp) && is(3, is_year) {
        4
    } else {
        return None;
    };
    let tail = words.get(start + length..).unwrap_or_default();
    let of_time = |word: &&&str| is_stamp(core(word)) || is_zone(core(word));
    // "at" goes with the time that follows it.
    let tail_length = match tail.first() {
        Some(&"at") if tail.get(1).is_some_and(|word| is_stamp(core(word))) => {
            1 + tail.iter().skip(1).take_while(of_time).count()
        }
        _ => tail.iter().take_while(of_time).count(),
    };
    Some(start + length + tail_length)
}

fn is_name(word: &str, names: &[&str]) -> bool {
    let word = word.to_ascii_lowercase();
    word.len() <= "wednesday".len() && word.get(..3).is_some_and(|start| names.contains(&start))
}

fn is_month(word: &str) -> bool {
    is_name(word, &MONTHS)
}

fn is_day(word: &str) -> bool {
    word.len() <= 2 && is_number(word)
}

fn is_year(word: &str) -> bool {
    word.len() == 4 && is_number(word)
}

fn is_zone(word: &str) -> bool {
    ["am", "pm", "utc", "gmt", "z"]
        .iter()
        .any(|zone| word.eq_ignore_ascii_case(zone))
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// A date, a time, both in one, or a dotted version of a service: digits with the dividers that only these have.
fn is_stamp(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    if let [day, month, year] = word.split('-').collect::<Vec<_>>()[..]
        && is_day(day)
        && is_month(month)
        && is_number(year)
    {
        return true;
    }
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let dividers = word.bytes().filter(|byte| b"-/:.".contains(byte)).count();
    let is_plain = word
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"-/:.+,tz".contains(&byte));
    let begins = word.starts_with(|first: char| first.is_ascii_digit());
    is_plain && begins && (dividers >= 2 || word.contains(':') || (word.contains('t') && digits >= 8))
}

/// How many words from here on are a number with a unit of time, in one word or in two.
fn duration(words: &[&str]) -> Option<usize> {
    let first = core(words.first()?);
    let unit = first.trim_start_matches(|character: char| character.is_ascii_digit() || ".,".contains(character));
    if unit.len() == first.len() {
        return None;
    }
    let is_unit = |word: &str| UNITS.iter().any(|unit| word.eq_ignore_ascii_case(unit));
    if unit.is_empty() {
        return is_unit(core(words.get(1)?)).then_some(2);
    }
    is_unit(unit).then_some(1)
}

/// Two words where they are "build 2511.3", or "version" with its number.
fn build(words: &[&str]) -> Option<usize> {
    let name = core(words.first()?).to_ascii_lowercase();
    let number = core(words.get(1)?).trim_start_matches(['v', 'V']);
    let is_build = matches!(name.as_str(), "build" | "version" | "release")
        && number.starts_with(|first: char| first.is_ascii_digit())
        && number
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b"._-".contains(&byte));
    is_build.then_some(2)
}
