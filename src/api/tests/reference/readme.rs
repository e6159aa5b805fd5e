//! The tables of README.md: they tell of every reason, condition, event and flag that there is, and of no other.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::CommandFactory as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::read;
use crate::api::reason::{Applied, Effect, Pair, Reason, Timing};
use crate::api::{CONDITION_TYPES, Condition, ConditionStatus};
use crate::graph::cloud::Cloud;
use crate::graph::model::decode_row;
use crate::options::CommandLine;
use crate::partner::status::{self, Blocked, HeartbeatRules, Judgement, Seen, Verdict};

/// A time as README.md has it.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match (seconds % 3_600, seconds % 60) {
        (0, _) if seconds > 0 => format!("{} h", seconds / 3_600),
        (_, 0) if seconds > 0 => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

/// The rows of the tables of a section whose first column has this title, without the title. Marks of code are taken off.
fn tables(section: &str, title: &str) -> Vec<Vec<Vec<String>>> {
    let readme = read("README.md");
    let (_, from) = readme
        .split_once(&format!("\n## {section}\n"))
        .unwrap_or_else(|| panic!("README.md has no section {section}"));
    let section = from.split("\n## ").next().unwrap();
    let mut tables: Vec<Vec<Vec<String>>> = Vec::new();
    let mut inside = false;
    for line in section.lines() {
        let Some(line) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
            inside = false;
            continue;
        };
        let cells: Vec<String> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
        if cells[0].starts_with("---") {
            continue;
        }
        if inside {
            tables.last_mut().unwrap().push(cells);
        } else if cells[0] == title {
            inside = true;
            tables.push(Vec::new());
        }
    }
    assert!(!tables.is_empty(), "{section} has no table of {title}");
    tables
}

/// The words in marks of code.
fn code(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_reason_has_its_row_with_what_to_do() {
    let tables = tables("Conditions and reasons", "reason");
    assert_eq!(tables.len(), 2, "one table for each kind");
    let mut untold: Vec<&str> = Vec::new();
    for (rows, of_connection) in tables.iter().zip([false, true]) {
        let mut told = BTreeSet::new();
        for cells in rows {
            let [word, ready, advice] = &cells[..] else {
                panic!("not three columns: {cells:?}")
            };
            let [word] = &code(word)[..] else {
                panic!("no reason: {word}")
            };
            let reason = Reason::parse(word).unwrap_or_else(|| panic!("README.md has {word}, which there is not"));
            assert!(told.insert(reason), "{word} has two rows");
            assert_eq!(
                reason.is_of_connection(),
                of_connection,
                "{word} is in the other kind's table"
            );
            assert!(!advice.is_empty(), "{word}: what is to be done?");
            let expected = match reason.row(Applied::NotYet).ready {
                // What it was is told in words.
                _ if reason.is_transient() => "",
                Effect::True => "True",
                Effect::False => "False",
                Effect::Unknown => "Unknown",
                Effect::AsItWas | Effect::TrueOrRemoved => "as it was",
            };
            assert!(
                ready.starts_with(expected),
                "{word}: Ready is {ready}, and in the code {expected}"
            );
        }
        let all = Reason::ALL.into_iter();
        untold.extend(
            all.filter(|reason| reason.is_of_connection() == of_connection && !told.contains(reason))
                .map(Reason::as_str),
        );
    }
    assert!(
        untold.is_empty(),
        "README.md, section Conditions and reasons, lacks {untold:?}"
    );
}

/// A connection shares some reasons with its partners: they are named beside its own table, in both documents alike.
#[test]
fn the_reasons_that_a_connection_shares_are_reasons() {
    let [told, reference] = ["README.md", super::FILE].map(|file| {
        let text = read(file);
        let line = text
            .lines()
            .find(|line| line.starts_with("Of a GraphConnection, beside "));
        code(line.unwrap_or_else(|| panic!("{file} names none")))
    });
    assert_eq!(told, reference);
    for word in told {
        let reason = Reason::parse(&word).unwrap_or_else(|| panic!("{word} is no reason"));
        assert!(!reason.is_of_connection(), "{word} is in the table");
    }
}

/// Where a row tells a time, it is the code's.
#[test]
fn the_waits_of_reasons_are_told_as_they_are() {
    let timing = Timing::default();
    let [five, fifteen, sixty] = timing.grace.map(|wait| wait.as_secs());
    let advice = |reason: Reason| -> String {
        let tables = tables("Conditions and reasons", "reason");
        let row = tables
            .iter()
            .flatten()
            .find(|cells| code(&cells[0]) == [reason.as_str()]);
        row.unwrap_or_else(|| panic!("no row of {}", reason.as_str()))
            .join(" | ")
    };
    for (reason, words) in [
        (Reason::PermissionDenied, format!("every {}", span(timing.slow))),
        (
            Reason::Throttled,
            format!("Unknown after {}", span(timing.unknown_after)),
        ),
        (
            Reason::GraphUnavailable,
            format!("after {} to {}", span(timing.backoff), span(timing.backoff_cap)),
        ),
        (Reason::Verifying, format!("after {five}, {fifteen} and {sixty} s")),
        (Reason::SecretNotFound, format!("every {}", span(timing.secret))),
        (Reason::CredentialsRejected, format!("within {}", span(timing.secret))),
    ] {
        let advice = advice(reason);
        assert!(
            advice.contains(&words),
            "{} does not say {words:?}: {advice}",
            reason.as_str()
        );
    }
    assert_eq!(timing.very_slow, Duration::from_secs(3_600));
    assert!(advice(Reason::TenantNotLicensed).contains("every hour"));
}

fn condition_of(
    previous: &[Condition],
    reason: Reason,
    partner: Option<&crate::graph::model::Partner>,
) -> Vec<Condition> {
    let verdict = Verdict {
        judgement: Judgement {
            generation: 1,
            reason,
            message: String::new(),
            applied: Applied::NotYet,
            connection_pair: Pair::Neither,
        },
        request: None,
        binding: None,
        seen: partner.map_or(Seen::Nothing, Seen::Row),
        drift: None,
        updated: false,
        blocked: Blocked::Yes {
            reason,
            message: String::new(),
        },
    };
    let rules = HeartbeatRules {
        stale_after: Duration::from_secs(72 * 3_600),
        resolution: Duration::from_secs(900),
    };
    let previous = crate::api::partner::ComplianceManagementPartnerStatus {
        conditions: previous.to_vec(),
        ..Default::default()
    };
    status::next(&previous, &verdict, rules, Timestamp::UNIX_EPOCH).conditions
}

fn row_of(state: &str, heartbeat: Option<Timestamp>) -> crate::graph::model::Partner {
    decode_row(&json!({
        "id": "p1", "displayName": "Example", "partnerState": state, "lastHeartbeatDateTime": heartbeat,
        "macOsOnboarded": false, "androidOnboarded": false, "iosOnboarded": false,
    }))
    .unwrap()
}

/// All that the code can set, and no other.
#[test]
fn every_condition_has_its_row() {
    let mut set = BTreeSet::new();
    let partner = row_of("enabled", None);
    for reason in Reason::ALL {
        for condition in condition_of(&[], reason, Some(&partner)) {
            set.insert(condition.r#type);
        }
    }
    assert_eq!(set, CONDITION_TYPES.map(str::to_owned).into(), "CONDITION_TYPES");
    let told = &tables("Conditions and reasons", "condition")[0];
    let told: BTreeSet<String> = told.iter().flat_map(|cells| code(&cells[0])).collect();
    assert_eq!(
        told, set,
        "the conditions that README.md tells of, and those that there are"
    );
}

/// The table of the conditions that tell of the partner itself, for each word of Graph and each age of a heartbeat.
#[test]
fn every_reason_of_the_partners_own_conditions_has_its_row() {
    let now = Timestamp::UNIX_EPOCH;
    let old = now - SignedDuration::from_hours(73);
    let mut expected: Vec<(String, String, ConditionStatus)> = Vec::new();
    let words = [
        "enabled",
        "terminated",
        "rejected",
        "unresponsive",
        "unavailable",
        "unknown",
        "準備中",
    ];
    let rows = words.map(|state| row_of(state, Some(now)));
    let beats = [None, Some(old)].map(|heartbeat| row_of("enabled", heartbeat));
    for partner in rows.iter().chain(&beats) {
        for condition in condition_of(&[], Reason::InSync, Some(partner)) {
            if matches!(&*condition.r#type, "PartnerEnabled" | "HeartbeatFresh") {
                expected.push((condition.r#type, condition.reason, condition.status));
            }
        }
    }
    expected.sort_by_key(|(kind, reason, _)| (kind.clone(), reason.clone()));
    expected.dedup();

    let tables = tables("Conditions and reasons", "condition");
    let mut told = Vec::new();
    let mut kind = String::new();
    for cells in &tables[1] {
        let [of, reasons, status, advice] = &cells[..] else {
            panic!("not four columns: {cells:?}")
        };
        // The first cell is empty where the row goes on with the condition before.
        if let Some(name) = code(of).first() {
            kind.clone_from(name);
        }
        assert!(!advice.is_empty(), "{reasons}: what is to be done?");
        let status = serde_json::from_value(json!(status)).unwrap();
        told.extend(code(reasons).into_iter().map(|reason| (kind.clone(), reason, status)));
    }
    told.sort_by_key(|(kind, reason, _)| (kind.clone(), reason.clone()));
    assert_eq!(told, expected);
}

/// The words of the file that makes the notices, but for names of conditions and of actions.
#[test]
fn every_event_is_told() {
    let notices = read("src/partner/report.rs");
    let mut reasons = BTreeSet::new();
    for line in notices.lines() {
        let words = line.split('"').skip(1).step_by(2);
        let words = words.filter(|word| word.starts_with(char::is_uppercase) && !word.contains([' ', '.', ':']));
        if !line.contains("condition(") && !line.contains("action:") {
            reasons.extend(words.map(str::to_owned));
        }
    }
    assert!(reasons.len() > 7, "{reasons:?}");
    let readme = read("README.md");
    let told = readme
        .lines()
        .find(|line| line.starts_with("Events are written on changes only"));
    let told: BTreeSet<String> = code(told.unwrap())
        .into_iter()
        .filter(|word| word.starts_with(char::is_uppercase) && word != "Ready")
        .collect();
    assert_eq!(
        told, reasons,
        "the events that README.md tells of, and those that there are"
    );
}

#[test]
fn every_flag_has_its_row_with_its_default() {
    let rows = &tables("Flags", "flag")[0];
    let mut told: Vec<String> = rows.iter().flat_map(|cells| code(&cells[0])).collect();
    let command = CommandLine::command();
    let run = command.find_subcommand("run").unwrap();
    let mut flags = Vec::new();
    for flag in run.get_arguments() {
        let name = format!("--{}", flag.get_long().unwrap());
        if name == "--help" {
            continue;
        }
        let row = rows.iter().find(|cells| code(&cells[0]).contains(&name));
        let cells = row.unwrap_or_else(|| panic!("README.md lacks the flag {name}"));
        if let Some(default) = flag
            .get_default_values()
            .first()
            .filter(|_| flag.get_action().takes_values())
        {
            assert_eq!(code(&cells[1]), [default.to_str().unwrap()], "{name}");
        } else {
            assert!(code(&cells[1]).is_empty(), "{name} has no default: {}", cells[1]);
        }
        flags.push(name);
    }
    told.sort();
    flags.sort();
    assert_eq!(told, flags);
}

/// What the table of clouds says of a tenant is where its tokens go.
#[test]
fn every_cloud_has_its_row_with_its_hosts() {
    let rows = &tables("Clouds", "tenant")[0];
    let told: BTreeSet<Vec<String>> = rows.iter().map(|cells| code(&cells[1..].join(" "))).collect();
    let host = |origin: &str| origin.trim_start_matches("https://").to_owned();
    let clouds: BTreeSet<Vec<String>> = Cloud::ALL
        .into_iter()
        .map(|cloud| {
            vec![
                cloud.name().to_owned(),
                host(cloud.graph_root()),
                host(cloud.authority()),
                cloud.federation_audience().to_owned(),
            ]
        })
        .collect();
    assert_eq!(told, clouds);
    // The offers of the US Government do not say by their names which cloud they are in.
    for (offer, cloud) in [
        ("GCC", "Global"),
        ("GCC High", "USGov"),
        ("Department of Defense", "USGovDoD"),
    ] {
        let row = rows.iter().find(|cells| cells[0].ends_with(offer)).unwrap();
        assert_eq!(code(&row[1]), [cloud], "{offer}");
    }
}
