//! The part of a foreign sentence that stays the same from one answer to the next.
//!
//! Intune ends its sentences with ` - Operation ID (for customer support): … - Activity ID: … - Url: …`, and the
//! address holds the month's build of the service. A message with any of these would change a condition at every poll.

mod word;

/// How much of a text is looked at, in characters: more than is ever shown, in case much of it is dropped.
const READ_CHARS: usize = 4096;

/// Names of ids, in front of `id`. Parts are divided by a space, a hyphen, an underscore or nothing.
const IDS: [&[&str]; 15] = [
    &["operation"],
    &["activity"],
    &["client", "request"],
    &["x", "ms", "request"],
    &["request"],
    &["correlation"],
    &["trace"],
    &["span"],
    &["session"],
    &["transaction"],
    &["tracking"],
    &["diagnostic"],
    &["diagnostics"],
    &["incident"],
    &["support"],
];

/// Names of other values that differ between answers, where one that looks like it follows.
const VALUES: [&[&str]; 16] = [
    &["request", "url"],
    &["request", "uri"],
    &["url"],
    &["uri"],
    &["time", "stamp"],
    &["date"],
    &["time"],
    &["api", "version"],
    &["service", "version"],
    &["version"],
    &["build"],
    &["scale", "unit"],
    &["role", "instance"],
    &["server"],
    &["machine"],
    &["host"],
];

/// What of the text is the same in two answers that differ only in ids, addresses, dates, durations or builds; on one
/// line, and empty where nothing is left. It is not yet fit to be shown.
pub(super) fn sentence(text: &str) -> String {
    let text = without_labelled(beginning(text));
    let kept = word::stable(&text.split_whitespace().collect::<Vec<_>>());
    joined(&kept)
}

/// As much of the text as is looked at, in whole words: a part of an id would not be known as one.
fn beginning(text: &str) -> &str {
    let Some((end, _)) = text.char_indices().nth(READ_CHARS) else {
        return text;
    };
    let read = text.get(..end).unwrap_or_default();
    let last = read.rfind(char::is_whitespace);
    last.and_then(|end| read.get(..end)).unwrap_or_default()
}

/// The text without `Activity ID: …` and its like.
fn without_labelled(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    let mut word_begins = true;
    while let Some(character) = rest.chars().next() {
        if word_begins && let Some(after) = labelled(rest) {
            kept.push(' ');
            rest = after;
            continue;
        }
        word_begins = !character.is_alphanumeric();
        kept.push(character);
        rest = rest.get(character.len_utf8()..).unwrap_or_default();
    }
    kept
}

/// What follows the label and the value that the text begins with; `None` where it begins with none.
fn labelled(text: &str) -> Option<&str> {
    id(text).or_else(|| value(text))
}

fn id(text: &str) -> Option<&str> {
    let after = IDS.iter().find_map(|parts| name(name(text, parts)?, &["id"]))?;
    let after = without_parenthesis(after);
    if let Some(value) = separator(after) {
        return Some(without_word(value));
    }
    // "Operation ID ..." and "Activity ID 1234" are ids too, "the operation id is missing" is not.
    let value = after.trim_start();
    let word = value.split_whitespace().next()?;
    let is_id =
        word.starts_with("..") || word.starts_with('…') || word.contains(|letter: char| letter.is_ascii_digit());
    (is_id && after.len() > value.len()).then(|| without_word(value))
}

fn value(text: &str) -> Option<&str> {
    let value = VALUES.iter().find_map(|parts| separator(name(text, parts)?))?;
    let word = value.split_whitespace().next().unwrap_or("-");
    if word == "-" {
        return Some(value);
    }
    if word.contains('/') {
        // An address may hold spaces in quotes: it ends where Intune's next label begins.
        let end = [" - ", "\n", "\r"].iter().filter_map(|end| value.find(end)).min();
        return Some(end.map_or("", |end| value.get(end..).unwrap_or_default()));
    }
    let is_weekday = word.ends_with(',') && word.len() < "Wednesday,,".len();
    if word.contains(|character: char| character.is_ascii_digit()) {
        Some(without_word(value))
    } else {
        // A date that begins with its weekday is left to the words' own rules.
        is_weekday.then_some(value)
    }
}

/// What follows a name in any case; its parts may be written as one word, or with one divider in between.
fn name<'a>(text: &'a str, parts: &[&str]) -> Option<&'a str> {
    parts.iter().try_fold(text, |rest, part| {
        let rest = rest.strip_prefix([' ', '-', '_']).unwrap_or(rest);
        let head = rest.get(..part.len())?;
        head.eq_ignore_ascii_case(part)
            .then(|| rest.get(part.len()..))
            .flatten()
    })
}

/// What follows a colon or an equals sign. A quote before it closes the name, as in JSON.
fn separator(text: &str) -> Option<&str> {
    let text = text.strip_prefix('"').unwrap_or(text).trim_start_matches(' ');
    Some(text.strip_prefix([':', '='])?.trim_start_matches(' '))
}

/// What follows a remark such as `(for customer support)`.
fn without_parenthesis(text: &str) -> &str {
    let inner = text.trim_start().strip_prefix('(');
    inner
        .and_then(|inner| inner.split_once(')'))
        .map_or(text, |(_, after)| after)
}

/// What follows the first word. A hyphen that stands alone is a divider: the value before it is empty.
fn without_word(text: &str) -> &str {
    if text.starts_with("- ") {
        return text;
    }
    text.find(char::is_whitespace)
        .and_then(|end| text.get(end..))
        .unwrap_or_default()
}

/// The words on one line, without the dividers and brackets that what was dropped has left behind.
fn joined(words: &[String]) -> String {
    let is_mere_mark = |word: &&String| !word.contains(char::is_alphanumeric);
    let mut kept: Vec<&String> = Vec::with_capacity(words.len());
    for word in words {
        if is_mere_mark(&word) && kept.last().is_none_or(is_mere_mark) {
            continue;
        }
        kept.push(word);
    }
    if kept.last().is_some_and(is_mere_mark) {
        kept.pop();
    }
    let mut line = String::new();
    for word in kept {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line.trim_end_matches([':', ',', ';', '(', '[', '=', ' ']).to_owned()
}

#[cfg(test)]
mod tests;
