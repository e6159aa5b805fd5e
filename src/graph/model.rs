//! Graph's `complianceManagementPartner` as this operator sees it: what is read, what is compared and what is sent.
//!
//! Names, types and nullability are those of Graph's v1.0 metadata. Strings are kept as Graph wrote them, so that they
//! compare as they are; whoever shows one passes it through [`crate::runtime::text`].

mod decode;
mod patch;

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;

pub use decode::{MOST_ROWS, Page, Undecodable, decode_entity, decode_page, decode_row};
pub use patch::{Patch, Value};

/// A platform whose devices a partner can enroll: the three of Graph's v1.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Platform {
    /// macOS.
    MacOs,
    /// Android.
    Android,
    /// iOS and iPadOS.
    Ios,
}

impl Platform {
    /// Every platform, in the order of Graph's metadata.
    pub const ALL: [Self; 3] = [Self::MacOs, Self::Android, Self::Ios];

    /// The platform's name as people write it: `macOS`, `Android` or `iOS`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MacOs => "macOS",
            Self::Android => "Android",
            Self::Ios => "iOS",
        }
    }
}

/// A property of the Graph object that can be managed. `id`, `partnerState` and `lastHeartbeatDateTime` are the
/// service's own: they are read, never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Property {
    /// `displayName`.
    DisplayName,
    /// `macOsOnboarded` and its like.
    Onboarded(Platform),
    /// `macOsEnrollmentAssignments` and its like.
    EnrollmentAssignments(Platform),
}

impl Property {
    /// Every property that can be managed, in their order.
    pub const ALL: [Self; 7] = [
        Self::DisplayName,
        Self::Onboarded(Platform::MacOs),
        Self::Onboarded(Platform::Android),
        Self::Onboarded(Platform::Ios),
        Self::EnrollmentAssignments(Platform::MacOs),
        Self::EnrollmentAssignments(Platform::Android),
        Self::EnrollmentAssignments(Platform::Ios),
    ];

    /// The property's name on the wire. Intune tells upper from lower case here.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DisplayName => "displayName",
            Self::Onboarded(Platform::MacOs) => "macOsOnboarded",
            Self::Onboarded(Platform::Android) => "androidOnboarded",
            Self::Onboarded(Platform::Ios) => "iosOnboarded",
            Self::EnrollmentAssignments(Platform::MacOs) => "macOsEnrollmentAssignments",
            Self::EnrollmentAssignments(Platform::Android) => "androidEnrollmentAssignments",
            Self::EnrollmentAssignments(Platform::Ios) => "iosEnrollmentAssignments",
        }
    }
}

/// One value for each platform.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerPlatform<T> {
    /// The value for macOS.
    pub mac_os: T,
    /// The value for Android.
    pub android: T,
    /// The value for iOS and iPadOS.
    pub ios: T,
}

impl<T> PerPlatform<T> {
    /// The platform's value.
    #[must_use]
    pub const fn get(&self, platform: Platform) -> &T {
        match platform {
            Platform::MacOs => &self.mac_os,
            Platform::Android => &self.android,
            Platform::Ios => &self.ios,
        }
    }

    /// The platform's value, to be changed.
    pub const fn get_mut(&mut self, platform: Platform) -> &mut T {
        match platform {
            Platform::MacOs => &mut self.mac_os,
            Platform::Android => &mut self.android,
            Platform::Ios => &mut self.ios,
        }
    }
}

/// Who is assigned: the five kinds of `deviceAndAppManagementAssignmentTarget` in Graph's v1.0 metadata.
///
/// Ids compare as they stand here: make group targets with [`Target::group`] and [`Target::exclusion_group`], which
/// give a GUID one spelling. Displayed as kind and whole id, for example `Group 7c1b0f5e-3f5a-4d0a-9f61-0d6f5a2b9b11`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// The members of an Entra group, by its object id in lower case.
    Group(String),
    /// All but the members of an Entra group, by its object id in lower case.
    ExclusionGroup(String),
    /// A collection of Configuration Manager, by its id: upper and lower case differ.
    ConfigurationManagerCollection(String),
    /// All licensed users of the tenant.
    AllLicensedUsers,
    /// All managed devices of the tenant.
    AllDevices,
}

impl Target {
    /// A group, whatever case its GUID is written in.
    #[must_use]
    pub fn group(id: &str) -> Self {
        Self::Group(id.to_ascii_lowercase())
    }

    /// A group that is left out, whatever case its GUID is written in.
    #[must_use]
    pub fn exclusion_group(id: &str) -> Self {
        Self::ExclusionGroup(id.to_ascii_lowercase())
    }

    /// The kind's `@odata.type`, as it is sent. Graph's base type is abstract: without this, Intune answers 400.
    #[must_use]
    pub const fn odata_type(&self) -> &'static str {
        match self {
            Self::Group(_) => "#microsoft.graph.groupAssignmentTarget",
            Self::ExclusionGroup(_) => "#microsoft.graph.exclusionGroupAssignmentTarget",
            Self::ConfigurationManagerCollection(_) => {
                "#microsoft.graph.configurationManagerCollectionAssignmentTarget"
            }
            Self::AllLicensedUsers => "#microsoft.graph.allLicensedUsersAssignmentTarget",
            Self::AllDevices => "#microsoft.graph.allDevicesAssignmentTarget",
        }
    }

    /// The one member beside `@odata.type`, with its value, where the kind has one.
    fn member(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Group(id) | Self::ExclusionGroup(id) => Some(("groupId", id)),
            Self::ConfigurationManagerCollection(id) => Some(("collectionId", id)),
            Self::AllLicensedUsers | Self::AllDevices => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(id) => write!(formatter, "Group {id}"),
            Self::ExclusionGroup(id) => write!(formatter, "ExclusionGroup {id}"),
            Self::ConfigurationManagerCollection(id) => write!(formatter, "ConfigurationManagerCollection {id}"),
            Self::AllLicensedUsers => formatter.write_str("AllLicensedUsers"),
            Self::AllDevices => formatter.write_str("AllDevices"),
        }
    }
}

/// One platform's list of assignments as Graph has it: a set, for neither order nor repetition is promised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignments {
    /// The targets that this API can express.
    pub targets: BTreeSet<Target>,
    /// What it cannot express: the `@odata.type` of each such target, ready to be shown (at most 256 characters), or
    /// `(no @odata.type)`. Where a known type carries something that we would lose, that is named behind the type.
    /// A PATCH replaces a list whole, so a list with any of these must be left alone.
    pub unsupported: BTreeSet<String>,
}

/// A `complianceManagementPartner`, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partner {
    /// Graph's key of the object: not empty, at most 128 characters, in Graph's own spelling.
    pub id: String,
    /// The partner's name; Graph's metadata allows null. At most 1,024 characters of it.
    pub display_name: Option<String>,
    /// Graph's word for the state of the connection, `unknown` where it gives none. At most 256 characters of it.
    pub partner_state: String,
    /// When the partner last gave a sign of life; `None` where it never did.
    pub last_heartbeat: Option<Timestamp>,
    /// Whether the partner is onboarded for a platform.
    pub onboarded: PerPlatform<bool>,
    /// Which groups enroll their devices through the partner.
    pub assignments: PerPlatform<Assignments>,
}

impl Partner {
    /// What Graph has for a property that can be managed. A null `displayName` is the empty text, which no spec may
    /// ask for; of a list it is the targets that this API can express, so look at [`Assignments::unsupported`] too.
    #[must_use]
    pub fn value(&self, property: Property) -> Value {
        match property {
            Property::DisplayName => Value::Text(self.display_name.clone().unwrap_or_default()),
            Property::Onboarded(platform) => Value::Flag(*self.onboarded.get(platform)),
            Property::EnrollmentAssignments(platform) => Value::Targets(self.assignments.get(platform).targets.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_properties_are_listed_once_and_in_order() {
        assert!(Property::ALL.is_sorted());
        let names: BTreeSet<_> = Property::ALL.map(Property::name).into();
        assert_eq!(names.len(), Property::ALL.len());
    }

    #[test]
    fn names_on_the_wire_are_those_of_graphs_metadata() {
        assert_eq!(Platform::ALL.map(Platform::name), ["macOS", "Android", "iOS"]);
        assert_eq!(
            Property::ALL.map(Property::name),
            [
                "displayName",
                "macOsOnboarded",
                "androidOnboarded",
                "iosOnboarded",
                "macOsEnrollmentAssignments",
                "androidEnrollmentAssignments",
                "iosEnrollmentAssignments",
            ]
        );
    }

    #[test]
    fn a_platform_has_a_value_of_its_own() {
        let mut values = PerPlatform::<u8>::default();
        for (platform, value) in Platform::ALL.into_iter().zip(1..) {
            *values.get_mut(platform) = value;
        }
        assert_eq!(
            values,
            PerPlatform {
                mac_os: 1,
                android: 2,
                ios: 3
            }
        );
        assert_eq!(Platform::ALL.map(|platform| *values.get(platform)), [1, 2, 3]);
    }

    #[test]
    fn groups_compare_without_case_and_collections_with_it() {
        let upper = "AAAAAAAA-0000-4000-8000-00000000000A";
        let lower = "aaaaaaaa-0000-4000-8000-00000000000a";
        assert_eq!(Target::group(upper), Target::group(lower));
        assert_eq!(Target::exclusion_group(upper), Target::exclusion_group(lower));
        assert_ne!(Target::group(lower), Target::exclusion_group(lower));
        let collection = |id: &str| Target::ConfigurationManagerCollection(id.to_owned());
        assert_ne!(collection("SMS00001"), collection("sms00001"));
    }

    #[test]
    fn a_target_shows_its_kind_and_its_whole_id() {
        let group = "7c1b0f5e-3f5a-4d0a-9f61-0d6f5a2b9b11";
        assert_eq!(Target::group(group).to_string(), format!("Group {group}"));
        assert_eq!(
            Target::exclusion_group(group).to_string(),
            format!("ExclusionGroup {group}")
        );
        assert_eq!(
            Target::ConfigurationManagerCollection("SMS00001".to_owned()).to_string(),
            "ConfigurationManagerCollection SMS00001"
        );
        assert_eq!(Target::AllLicensedUsers.to_string(), "AllLicensedUsers");
        assert_eq!(Target::AllDevices.to_string(), "AllDevices");
    }

    #[test]
    fn a_partners_values_are_read_by_property() {
        let partner = Partner {
            id: "P1".to_owned(),
            display_name: None,
            partner_state: "enabled".to_owned(),
            last_heartbeat: None,
            onboarded: PerPlatform {
                ios: true,
                ..PerPlatform::default()
            },
            assignments: PerPlatform {
                mac_os: Assignments {
                    targets: [Target::AllDevices].into(),
                    ..Assignments::default()
                },
                ..PerPlatform::default()
            },
        };
        assert_eq!(partner.value(Property::DisplayName), Value::Text(String::new()));
        assert_eq!(partner.value(Property::Onboarded(Platform::Ios)), Value::Flag(true));
        assert_eq!(partner.value(Property::Onboarded(Platform::MacOs)), Value::Flag(false));
        assert_eq!(
            partner.value(Property::EnrollmentAssignments(Platform::MacOs)),
            Value::Targets([Target::AllDevices].into())
        );
        assert_eq!(
            partner.value(Property::EnrollmentAssignments(Platform::Android)),
            Value::Targets(BTreeSet::new())
        );
    }
}
