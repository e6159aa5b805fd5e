//! A tenant's partners as one listing has them (pure).

use std::collections::BTreeMap;
use std::time::Instant;

use super::client::Row;

/// All rows of a tenant, as last listed.
#[derive(Debug)]
pub struct Listing {
    /// When the listing began: whatever happened before is in it.
    pub began: Instant,
    /// The rows with their ids in lower case, in the order of these.
    rows: Box<[(Box<str>, Row)]>,
}

impl Listing {
    /// The listing of these rows. A row without an id can be nobody's: it costs nobody but itself. Of two rows with one
    /// id, which a row that moves while pages are read can bring, the last one counts.
    #[must_use]
    pub fn new(began: Instant, rows: impl IntoIterator<Item = Row>) -> Self {
        let mut by_id = BTreeMap::new();
        for row in rows {
            let id = match &row {
                Ok(partner) => Some(partner.id.as_str()),
                Err(row) => row.id.as_deref(),
            };
            if let Some(id) = id {
                by_id.insert(id.to_ascii_lowercase().into_boxed_str(), row);
            }
        }
        let rows = by_id.into_iter().collect();
        Self { began, rows }
    }

    /// The rows, in an order that does not depend on Graph's.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().map(|(_, row)| row)
    }

    /// The row with this id, in any case.
    #[must_use]
    pub fn row(&self, id: &str) -> Option<&Row> {
        let id = id.to_ascii_lowercase();
        let at = self.rows.binary_search_by(|(key, _)| key.as_ref().cmp(&id)).ok()?;
        self.rows.get(at).map(|(_, row)| row)
    }

    /// The ids, as Graph spells them, of all rows with exactly this display name; of rows that cannot be read, too.
    #[must_use]
    pub fn named(&self, name: &str) -> Vec<String> {
        self.rows()
            .filter_map(|row| match row {
                Ok(partner) => (partner.display_name.as_deref() == Some(name)).then(|| partner.id.clone()),
                Err(row) => row.id.clone().filter(|_| row.display_name.as_deref() == Some(name)),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::model::{Partner, PerPlatform, Undecodable};

    fn partner(id: &str, name: Option<&str>) -> Partner {
        Partner {
            id: id.to_owned(),
            display_name: name.map(str::to_owned),
            partner_state: "enabled".to_owned(),
            last_heartbeat: None,
            onboarded: PerPlatform::default(),
            assignments: PerPlatform::default(),
        }
    }

    fn unreadable(id: Option<&str>, name: &str) -> Row {
        Err(Undecodable {
            id: id.map(str::to_owned),
            display_name: Some(name.to_owned()),
            why: "iosOnboarded should be true or false".to_owned(),
        })
    }

    fn listing() -> Listing {
        Listing::new(
            Instant::now(),
            [
                unreadable(Some("dD"), "Example"),
                Ok(partner("bb", Some("an older look"))),
                unreadable(None, "Nameless"),
                Ok(partner("AA", Some("Example"))),
                Ok(partner("Cc", None)),
                Ok(partner("bb", Some("example"))),
            ],
        )
    }

    #[test]
    fn a_row_is_found_by_its_id_in_any_case() {
        let listing = listing();
        for id in ["aa", "AA", "aA"] {
            assert_eq!(listing.row(id), Some(&Ok(partner("AA", Some("Example")))));
        }
        assert!(listing.row("zz").is_none());
    }

    #[test]
    fn a_name_is_exact_and_a_row_that_cannot_be_read_still_has_one() {
        let listing = listing();
        // A second one of the name makes it ambiguous, readable or not.
        assert_eq!(listing.named("Example"), ["AA", "dD"]);
        assert_eq!(listing.named("example"), ["bb"]);
        assert_eq!(listing.named("EXAMPLE"), Vec::<String>::new());
        assert_eq!(listing.named(""), Vec::<String>::new());
        assert_eq!(listing.named("Nameless"), Vec::<String>::new());
    }
}
