//! `docs/reference.md` and the tables of README.md, held against the code that they tell of.
//!
//! The tables of fields and of reasons are written from the code; what to do about a reason is written by hand, and held
//! to say it of each reason that there is.

mod fields;
mod readme;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::api::crds;
use crate::api::reason::{Applied, Effect, Pair, Reason, Retry, Row, Timing};

/// Set to rewrite what stands between the marks of the file.
const UPDATE: &str = "UPDATE_REFERENCE";

const FILE: &str = "docs/reference.md";

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// A table of Markdown. Cells hold what they hold: a bar within one is escaped.
fn table(rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        text.push_str(&line(row));
        if index == 0 {
            writeln!(text, "|{}", "---|".repeat(row.len())).unwrap();
        }
    }
    text
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

/// Every reason with what it sets, as `api/reason.rs` has it.
fn reasons(of_connection: bool) -> String {
    let mut rows = vec![row(&[
        "reason",
        "Ready",
        "Synced",
        "Reconciling or Stalled",
        "tried again",
    ])];
    for reason in Reason::ALL {
        if reason.is_of_connection() != of_connection {
            continue;
        }
        let mut cells = row(&[&format!("`{}`", reason.as_str())]);
        cells.extend(told(reason.row(Applied::NotYet)));
        match reason {
            Reason::Connected => {
                cells[4] = "after the shortest `syncInterval` of its partners, or `--sync-interval`".to_owned();
            }
            // The session keeps a backoff of its own for what Entra has refused.
            Reason::CredentialsRejected => {
                let Timing {
                    credentials,
                    credentials_cap,
                    ..
                } = Timing::default();
                write!(
                    cells[4],
                    "; what was refused is sent again after {}, doubling to {}",
                    readme::span(credentials),
                    readme::span(credentials_cap)
                )
                .unwrap();
            }
            _ => {}
        }
        rows.push(cells);
        if reason.is_transient() {
            for (applied, when) in [
                (Applied::Recently, "where this generation was applied before"),
                (Applied::LongAgo, "the same, after 15 min"),
            ] {
                let mut cells = row(&[&format!("– {when}")]);
                cells.extend(told(reason.row(applied)));
                rows.push(cells);
            }
        }
    }
    if of_connection {
        for cells in &mut rows {
            cells.remove(2);
        }
    }
    table(&rows)
}

fn told(row: Row) -> [String; 4] {
    let Row {
        ready,
        synced,
        pair,
        retry,
    } = row;
    let effect = |effect| match effect {
        Effect::True => "True",
        Effect::False => "False",
        Effect::Unknown => "Unknown",
        Effect::AsItWas => "as it was",
        Effect::TrueOrRemoved => "stays if True, else removed",
    };
    let pair = match pair {
        Pair::Neither => "–",
        Pair::Reconciling => "Reconciling",
        Pair::Stalled => "Stalled",
        Pair::AsConnection => "as the connection has it",
    };
    [effect(ready), effect(synced), pair, &wait(retry)].map(str::to_owned)
}

/// By the waits of the binary.
fn wait(retry: Retry) -> String {
    let Timing {
        slow,
        very_slow,
        grace,
        backoff,
        backoff_cap,
        connection_cap,
        secret,
        ..
    } = Timing::default();
    match retry {
        Retry::OnChange => "on a change".to_owned(),
        Retry::OnChangeOrSoon => format!("on a change, and within {}", readme::span(connection_cap)),
        Retry::Poll => "after `syncInterval`".to_owned(),
        Retry::Slow => format!("after {}", readme::span(slow)),
        Retry::VerySlow => format!("after {}", readme::span(very_slow)),
        Retry::Backoff => format!(
            "after {}, doubling to {}, and never before Microsoft's Retry-After",
            readme::span(backoff),
            readme::span(backoff_cap)
        ),
        Retry::Grace => format!("after {}", grace.map(readme::span).join(", ")),
        Retry::Secret => format!("what `auth` names is looked at every {}", readme::span(secret)),
    }
}

#[test]
fn the_reference_is_what_the_code_says() {
    let [partner, connection] = crds().map(|crd| serde_json::to_value(crd).unwrap());
    let written = read(FILE);
    let mut text = written.clone();
    for (name, part) in [
        ("ComplianceManagementPartner", fields::reference(&partner)),
        ("GraphConnection", fields::reference(&connection)),
        ("reasons of a ComplianceManagementPartner", reasons(false)),
        ("reasons of a GraphConnection", reasons(true)),
    ] {
        text = replaced(&text, name, &part);
    }
    if std::env::var_os(UPDATE).is_some() {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE), &text).unwrap();
    } else {
        assert!(
            written == text,
            "{FILE} is not what the code says. To write it anew: make reference, which is {UPDATE}=1 cargo test --lib api::"
        );
    }
}

/// The text with another part between the marks of this name.
fn replaced(text: &str, name: &str, part: &str) -> String {
    let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->"));
    let (before, rest) = text
        .split_once(&begin)
        .unwrap_or_else(|| panic!("{FILE} lacks {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{FILE} lacks {end}"));
    format!("{before}{begin}{part}{end}{after}")
}
