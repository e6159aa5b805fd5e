//! From Graph's bytes to a [`Partner`]: strict where a wrong guess would send a wrong PATCH, tolerant where Microsoft's
//! own documents and services differ. One odd row never costs its neighbours.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::temporal::Pieces;
use serde_json::{Map, Value as Json};

use super::super::json;
use super::{Assignments, Partner, PerPlatform, Platform, Property, Target};
use crate::runtime::text;

/// Longest display name that is kept, in characters: well beyond the 256 that a spec may hold, so that a name which was
/// cut never equals one that is wanted.
const NAME_CHARS: usize = 1024;

/// Longest state word that is kept, in characters.
const STATE_CHARS: usize = 256;

/// Longest description of something unsupported, in characters.
const UNSUPPORTED_CHARS: usize = 256;

/// Most rows of a list that are taken, on one page and on all: a tenant has as many as there are kinds of partners.
pub const MOST_ROWS: usize = 10_000;

/// Longest link to a next page, in bytes: what is longer is no address that a server takes.
const LINK_BYTES: usize = 16 * 1024;

/// What stands in [`Assignments::unsupported`] for a target that does not say what it is.
const NO_TYPE: &str = "(no @odata.type)";

/// What is said of an answer that is no JSON.
const NO_JSON: &str = "the answer should be JSON";

/// A row, or a whole answer, that cannot be read as a partner. The reason is the same at every poll, and holds nothing
/// that Graph wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Undecodable {
    /// The row's id, where that much is readable: at most 128 characters, in Graph's spelling.
    pub id: Option<String>,
    /// The row's display name, where that much is readable: at most 1,024 characters of it.
    pub display_name: Option<String>,
    /// Which property is wrong and what was expected of it.
    pub why: String,
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The rows in Graph's order, the unreadable ones too; at most 10,000.
    pub rows: Vec<Result<Partner, Undecodable>>,
    /// Where the next page is, as Graph wrote it, at most 16 KiB: to be followed only after a look at its host.
    pub next_link: Option<String>,
}

/// Decodes the answer to a listing. Without an array `value` it is no listing: that must not be taken for a tenant
/// without partners.
///
/// The rows are read one by one, each as far as it can be: however odd or large one is, it costs no other.
pub fn decode_page(body: &[u8]) -> Result<Page, String> {
    let body = json::text(body);
    let (mut value, mut link, mut error) = ("", "null", "null");
    let read = json::members(&body, |name, written| match name {
        "value" => value = written,
        "@odata.nextLink" => link = written,
        "error" => error = written,
        _ => {}
    });
    if read.is_none() {
        let why = if json::is_json(&body) {
            "the list should be a JSON object"
        } else {
            NO_JSON
        };
        return Err(why.to_owned());
    }
    // OData lets a service report an error in the middle of a list: such a list is not the whole one.
    if error != "null" {
        return Err("the list holds an error".to_owned());
    }
    let mut rows = Vec::new();
    let mut more = false;
    json::entries(value, |row| {
        if rows.len() < MOST_ROWS {
            rows.push(decode_text(row));
        } else {
            more = true;
        }
    })
    .ok_or("value should be a list")?;
    if more {
        return Err(format!("value should have at most {MOST_ROWS} rows"));
    }
    let next_link = match link {
        "null" => None,
        link => json::parse_text(link)
            .as_ref()
            .and_then(Json::as_str)
            .filter(|link| (1..=LINK_BYTES).contains(&link.len()))
            .ok_or("@odata.nextLink should be an address")
            .map(|link| Some(link.to_owned()))?,
    };
    Ok(Page { rows, next_link })
}

/// Decodes the answer to a request for one object.
pub fn decode_entity(body: &[u8]) -> Result<Partner, Undecodable> {
    let body = json::text(body);
    let mut error = "null";
    let is_object = json::members(&body, |name, written| {
        if name == "error" {
            error = written;
        }
    });
    if is_object.is_some() && error != "null" {
        return Err(nameless("the answer holds an error in place of the object"));
    }
    if !json::is_json(&body) {
        return Err(nameless(NO_JSON));
    }
    decode_text(&body)
}

/// Decodes one object as it was written. It is JSON; where it is more than is taken in, its id and name are still read,
/// so that it is known whose trouble that is.
fn decode_text(text: &str) -> Result<Partner, Undecodable> {
    if let Some(row) = json::parse_text(text) {
        return decode_row(&row);
    }
    let mut names = Map::new();
    let _ = json::members(text, |name, written| {
        if matches!(name, "id" | "displayName") {
            names.extend(json::parse_text(written).map(|value| (name.to_owned(), value)));
        }
    });
    let why = format!(
        "the row should have at most {} values, in 127 levels",
        json::MOST_VALUES
    );
    Err(undecodable(&names, why))
}

/// Decodes one object, be it of a listing or an answer of its own. Also takes the object wrapped as `{"value": {…}}`,
/// as the examples of Graph's reference show it.
pub fn decode_row(value: &Json) -> Result<Partner, Undecodable> {
    let row = match (value.get("id"), value.get("value")) {
        (None, Some(wrapped @ Json::Object(_))) => wrapped,
        _ => value,
    };
    let row = row
        .as_object()
        .ok_or_else(|| nameless("the row should be a JSON object"))?;
    decode_members(row).map_err(|why| undecodable(row, why))
}

/// What is said of a row in which something is wrong.
fn undecodable(row: &Map<String, Json>, why: String) -> Undecodable {
    Undecodable {
        id: id(row).ok(),
        display_name: display_name(row).ok().flatten(),
        why,
    }
}

/// What is said of an answer that is no row at all.
fn nameless(why: &str) -> Undecodable {
    Undecodable {
        id: None,
        display_name: None,
        why: why.to_owned(),
    }
}

fn decode_members(row: &Map<String, Json>) -> Result<Partner, String> {
    Ok(Partner {
        id: id(row)?,
        display_name: display_name(row)?,
        partner_state: optional_text(row, "partnerState", STATE_CHARS)?.unwrap_or_else(|| "unknown".to_owned()),
        last_heartbeat: last_heartbeat(row)?,
        onboarded: PerPlatform {
            mac_os: onboarded(row, Platform::MacOs)?,
            android: onboarded(row, Platform::Android)?,
            ios: onboarded(row, Platform::Ios)?,
        },
        assignments: PerPlatform {
            mac_os: assignments(row, Platform::MacOs)?,
            android: assignments(row, Platform::Android)?,
            ios: assignments(row, Platform::Ios)?,
        },
    })
}

fn id(row: &Map<String, Json>) -> Result<String, String> {
    row.get("id")
        .and_then(identity)
        .map(str::to_owned)
        .ok_or_else(|| format!("id should be a text of 1 to {} characters", text::ID_CHARS))
}

fn display_name(row: &Map<String, Json>) -> Result<Option<String>, String> {
    optional_text(row, Property::DisplayName.name(), NAME_CHARS)
}

/// A string that names something: never empty, never cut, and whole as the service sent it. A cut or cleaned id would be
/// another id, so one that does not fit is refused instead.
fn identity(value: &Json) -> Option<&str> {
    let is_fit = |id: &&str| !id.is_empty() && !id.contains(char::REPLACEMENT_CHARACTER);
    value
        .as_str()
        .filter(is_fit)
        .filter(|id| text::clean(id, text::ID_CHARS) == *id)
}

fn optional_text(row: &Map<String, Json>, name: &str, max_chars: usize) -> Result<Option<String>, String> {
    match row.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.chars().take(max_chars).collect())),
        Some(_) => Err(format!("{name} should be a text")),
    }
}

/// A flag is never guessed: a missing one read as false would be corrected in Graph.
fn onboarded(row: &Map<String, Json>, platform: Platform) -> Result<bool, String> {
    let name = Property::Onboarded(platform).name();
    row.get(name)
        .and_then(Json::as_bool)
        .ok_or_else(|| format!("{name} should be true or false"))
}

fn last_heartbeat(row: &Map<String, Json>) -> Result<Option<Timestamp>, String> {
    let value = match row.get("lastHeartbeatDateTime") {
        None | Some(Json::Null) => return Ok(None),
        Some(value) => value.as_str().unwrap_or_default(),
    };
    heartbeat(value).map_err(|NotATime| "lastHeartbeatDateTime should be a date and time with an offset".to_owned())
}

/// A text that is no `Edm.DateTimeOffset`.
#[derive(Debug, PartialEq, Eq)]
struct NotATime;

/// Reads an `Edm.DateTimeOffset`. `None` stands for never.
fn heartbeat(text: &str) -> Result<Option<Timestamp>, NotATime> {
    let text = with_nanoseconds_at_most(text);
    let pieces = Pieces::parse(&text).map_err(|_| NotATime)?;
    let date = pieces.date();
    // .NET's smallest date means that there was none. A day around it covers each spelling in each offset.
    if ((0, 12, 31)..=(1, 1, 2)).contains(&(date.year(), date.month(), date.day())) {
        return Ok(None);
    }
    let moment = DateTime::from_parts(date, pieces.time().ok_or(NotATime)?);
    let offset = pieces.to_numeric_offset().ok_or(NotATime)?;
    // Only the last day of the year 9999, .NET's largest date, is a date and still beyond what a timestamp can hold.
    Ok(Some(offset.to_timestamp(moment).unwrap_or(Timestamp::MAX)))
}

/// Graph's pattern allows 12 fractional digits, a timestamp holds 9.
fn with_nanoseconds_at_most(text: &str) -> String {
    let mut digits = None;
    text.chars()
        .filter(|character| {
            digits = match (character, digits) {
                ('.', _) => Some(0),
                ('0'..='9', Some(count)) => Some(count + 1),
                _ => None,
            };
            digits.is_none_or(|count: u32| count <= 9)
        })
        .collect()
}

fn assignments(row: &Map<String, Json>, platform: Platform) -> Result<Assignments, String> {
    let name = Property::EnrollmentAssignments(platform).name();
    // Half a list would look as if the rest were missing.
    if row
        .get(&format!("{name}@odata.nextLink"))
        .is_some_and(|link| !link.is_null())
    {
        return Err(format!("{name} should come whole"));
    }
    let entries = match row.get(name) {
        None | Some(Json::Null) => return Ok(Assignments::default()),
        Some(Json::Array(entries)) => entries,
        Some(_) => return Err(format!("{name} should be a list")),
    };
    let mut assignments = Assignments {
        targets: BTreeSet::new(),
        unsupported: BTreeSet::new(),
    };
    for entry in entries {
        match assignment(entry) {
            Ok(target) => assignments.targets.insert(target),
            Err(unsupported) => assignments
                .unsupported
                .insert(text::clean(&unsupported, UNSUPPORTED_CHARS)),
        };
    }
    Ok(assignments)
}

/// The target of one assignment, or what it holds that cannot be expressed. Nothing may get lost: a PATCH of the list
/// would delete what was not understood.
fn assignment(entry: &Json) -> Result<Target, String> {
    let target = entry.get("target").and_then(Json::as_object).ok_or(NO_TYPE)?;
    let odata_type = target
        .get("@odata.type")
        .and_then(Json::as_str)
        .filter(|name| !name.is_empty())
        .ok_or(NO_TYPE)?;
    let member = |name: &str| {
        let value = target.get(name).and_then(identity);
        value.ok_or_else(|| format!("{odata_type} without {name}"))
    };

    let kind = odata_type.strip_prefix('#').unwrap_or(odata_type).to_ascii_lowercase();
    let decoded = match kind.as_str() {
        "microsoft.graph.groupassignmenttarget" => Target::group(member("groupId")?),
        "microsoft.graph.exclusiongroupassignmenttarget" => Target::exclusion_group(member("groupId")?),
        "microsoft.graph.configurationmanagercollectionassignmenttarget" => {
            Target::ConfigurationManagerCollection(member("collectionId")?.to_owned())
        }
        "microsoft.graph.alllicensedusersassignmenttarget" => Target::AllLicensedUsers,
        "microsoft.graph.alldevicesassignmenttarget" => Target::AllDevices,
        _ => return Err(odata_type.to_owned()),
    };

    let expected = decoded.member().map(|(name, _)| name);
    let beside_target = entry.as_object().and_then(|entry| unexpressed(entry, Some("target")));
    match unexpressed(target, expected).or(beside_target) {
        Some(name) => Err(format!("{odata_type} with {name}")),
        None => Ok(decoded),
    }
}

/// The first member, by name, that says something and is neither the expected one nor an annotation.
fn unexpressed<'a>(object: &'a Map<String, Json>, expected: Option<&str>) -> Option<&'a str> {
    object
        .iter()
        .filter(|(name, value)| !name.contains('@') && Some(name.as_str()) != expected && !says_nothing(value))
        .map(|(name, _)| name.as_str())
        .min()
}

/// Whether a member may get lost. Intune spells "no assignment filter" in these ways.
fn says_nothing(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::String(text) => {
            text.is_empty() || text.eq_ignore_ascii_case("none") || text == "00000000-0000-0000-0000-000000000000"
        }
        Json::Array(entries) => entries.is_empty(),
        Json::Bool(_) | Json::Number(_) | Json::Object(_) => false,
    }
}

#[cfg(test)]
mod tests;
