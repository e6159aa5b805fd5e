//! Who may write to an object in Graph (pure): of all resources that are bound to it, one.

use jiff::Timestamp;

/// An object of a tenant, whoever names it. The id is in lower case: Graph compares ids without case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// The name of the cloud.
    pub cloud: String,
    /// The tenant's id.
    pub tenant: String,
    /// The object's id, in lower case.
    pub id: String,
}

impl ObjectId {
    /// The object with this id.
    #[must_use]
    pub fn new(cloud: &str, tenant: &str, id: &str) -> Self {
        Self {
            cloud: cloud.to_owned(),
            tenant: tenant.to_owned(),
            id: id.to_ascii_lowercase(),
        }
    }
}

/// A resource that is bound to an object: its own credential has read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant<K> {
    /// The resource.
    pub key: K,
    /// Its uid.
    pub uid: String,
    /// Its creationTimestamp.
    pub created: Timestamp,
    /// Whether it would write: Enforce is in effect, it is not suspended, and its connection exists.
    pub eligible: bool,
    /// Whether it is being deleted without our finalizer: it holds nothing any more. With the finalizer it holds until
    /// that goes.
    pub leaving: bool,
}

/// The one of the claimants that may write: the oldest of those that would, by creationTimestamp and then uid. Momentary
/// health does not matter, so an outage hands nothing over.
pub fn holder<K>(claimants: impl IntoIterator<Item = Claimant<K>>) -> Option<Claimant<K>> {
    claimants
        .into_iter()
        .filter(|claimant| claimant.eligible && !claimant.leaving)
        .min_by(|a, b| (a.created, &a.uid).cmp(&(b.created, &b.uid)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claimant() -> impl Strategy<Value = Claimant<u32>> {
        (any::<u32>(), "[a-d]{3}", 0..4_i64, any::<bool>(), 0..3_u8).prop_map(|(key, uid, created, eligible, phase)| {
            Claimant {
                key,
                uid,
                created: Timestamp::from_second(created).unwrap(),
                eligible,
                leaving: phase == 2,
            }
        })
    }

    proptest! {
        #[test]
        fn the_holder_does_not_depend_on_order(claimants in prop::collection::vec(claimant(), 0..8)) {
            let mut backwards = claimants.clone();
            backwards.reverse();
            let order = |found: Option<Claimant<u32>>| found.map(|holder| (holder.created, holder.uid));
            prop_assert_eq!(order(holder(claimants)), order(holder(backwards)));
        }

        #[test]
        fn the_holder_would_write_and_nobody_older_would(claimants in prop::collection::vec(claimant(), 0..8)) {
            match holder(claimants.clone()) {
                Some(found) => {
                    prop_assert!(found.eligible && !found.leaving);
                    for other in claimants.iter().filter(|other| other.eligible && !other.leaving) {
                        prop_assert!((found.created, &found.uid) <= (other.created, &other.uid));
                    }
                }
                None => prop_assert!(claimants.iter().all(|other| !other.eligible || other.leaving)),
            }
        }
    }

    proptest! {
        #[test]
        fn only_the_holder_or_an_older_one_moves_the_claim(
            claimants in prop::collection::vec(claimant(), 1..8),
            which in any::<prop::sample::Index>(),
            other in claimant(),
        ) {
            let order = |it: &Claimant<u32>| (it.created, it.uid.clone());
            let before = holder(claimants.clone()).map(|it| order(&it));
            // Another one takes the place of one of them: another spec, another state, or nobody at all.
            let mut changed = claimants.clone();
            let was = std::mem::replace(&mut changed[which.index(claimants.len())], other.clone());
            let after = holder(changed).map(|it| order(&it));
            let held = before == Some(order(&was));
            let claims = other.eligible && !other.leaving && before.as_ref().is_none_or(|before| order(&other) < *before);
            prop_assert!(held || claims || after == before);
            prop_assert!(!claims || after == Some(order(&other)));
        }
    }

    #[test]
    fn ids_are_one_object_in_any_case() {
        assert_eq!(
            ObjectId::new("Global", "t", "AAAA"),
            ObjectId::new("Global", "t", "aaaa")
        );
        assert_ne!(ObjectId::new("Global", "t", "a"), ObjectId::new("USGov", "t", "a"));
    }
}
