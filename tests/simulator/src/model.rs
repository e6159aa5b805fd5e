//! The properties of `complianceManagementPartner` as Graph v1.0 describes them (FACTS 1).
//! A test holds these tables against Microsoft's own metadata.

/// The EDM type of a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `Edm.String`
    String,
    /// `Edm.Boolean`
    Boolean,
    /// `Edm.DateTimeOffset`
    DateTimeOffset,
    /// `graph.deviceManagementPartnerTenantState`
    PartnerState,
    /// `Collection(graph.complianceManagementPartnerAssignment)`
    Assignments,
}

/// Who sets a property (FACTS 1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Whoever writes to Graph.
    Admin,
    /// The service or the partner: a client that sends it is wrong.
    Service,
}

/// One property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property {
    /// Its name on the wire.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Whether the metadata allows `null`. A list has no such facet: it is empty, never null.
    pub nullable: bool,
    /// Who sets it.
    pub owner: Owner,
}

const fn property(name: &'static str, kind: Kind, nullable: bool, owner: Owner) -> Property {
    Property {
        name,
        kind,
        nullable,
        owner,
    }
}

/// The properties of the entity.
pub const PROPERTIES: [Property; 10] = [
    property("id", Kind::String, false, Owner::Service),
    property("displayName", Kind::String, true, Owner::Admin),
    property("partnerState", Kind::PartnerState, false, Owner::Service),
    property("lastHeartbeatDateTime", Kind::DateTimeOffset, false, Owner::Service),
    property("macOsOnboarded", Kind::Boolean, false, Owner::Admin),
    property("androidOnboarded", Kind::Boolean, false, Owner::Admin),
    property("iosOnboarded", Kind::Boolean, false, Owner::Admin),
    property("macOsEnrollmentAssignments", Kind::Assignments, false, Owner::Admin),
    property("androidEnrollmentAssignments", Kind::Assignments, false, Owner::Admin),
    property("iosEnrollmentAssignments", Kind::Assignments, false, Owner::Admin),
];

/// The words of `deviceManagementPartnerTenantState`, by value. The enum is closed.
pub const PARTNER_STATES: [&str; 6] = [
    "unknown",
    "unavailable",
    "enabled",
    "terminated",
    "rejected",
    "unresponsive",
];

/// A target type and its properties, the inherited ones among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The type's name without namespace.
    pub name: &'static str,
    /// Its one property, if it has any.
    pub property: Option<&'static str>,
}

/// The five target types.
pub const TARGETS: [Target; 5] = [
    Target {
        name: "allDevicesAssignmentTarget",
        property: None,
    },
    Target {
        name: "allLicensedUsersAssignmentTarget",
        property: None,
    },
    Target {
        name: "groupAssignmentTarget",
        property: Some("groupId"),
    },
    Target {
        name: "exclusionGroupAssignmentTarget",
        property: Some("groupId"),
    },
    Target {
        name: "configurationManagerCollectionAssignmentTarget",
        property: Some("collectionId"),
    },
];

/// The abstract type that all targets derive from.
pub const ABSTRACT_TARGET: &str = "deviceAndAppManagementAssignmentTarget";
/// The entity's type.
pub const ENTITY: &str = "complianceManagementPartner";
/// The type of a list's elements.
pub const ASSIGNMENT: &str = "complianceManagementPartnerAssignment";

/// Application permissions that may read, the least privileged first (FACTS 2.2).
pub const READ_ROLES: [&str; 4] = [
    "DeviceManagementServiceConfig.Read.All",
    "DeviceManagementServiceConfig.ReadWrite.All",
    "DeviceManagementConfiguration.Read.All",
    "DeviceManagementConfiguration.ReadWrite.All",
];

/// Application permissions that may write (FACTS 2.2).
pub const WRITE_ROLES: [&str; 2] = [
    "DeviceManagementServiceConfig.ReadWrite.All",
    "DeviceManagementConfiguration.ReadWrite.All",
];

/// The property of this name, in this very spelling.
#[must_use]
pub fn find_property(name: &str) -> Option<&'static Property> {
    PROPERTIES.iter().find(|property| property.name == name)
}

/// Whether the text is a GUID with hyphens.
#[must_use]
pub fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The pattern that Microsoft's `OpenAPI` gives for `lastHeartbeatDateTime` (FACTS 1.2).
pub const DATE_TIME_OFFSET_PATTERN: &str = "^[0-9]{4,}-(0[1-9]|1[012])-(0[1-9]|[12][0-9]|3[01])\
T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,12})?(Z|[+-][0-9][0-9]:[0-9][0-9])$";

/// Whether the text fits [`DATE_TIME_OFFSET_PATTERN`].
#[must_use]
pub fn is_date_time_offset(text: &str) -> bool {
    parse_date_time_offset(text).is_some()
}

fn parse_date_time_offset(text: &str) -> Option<()> {
    let (date, rest) = text.split_once('T')?;
    let mut parts = date.split('-');
    let year = parts.next()?;
    let fits = year.len() >= 4
        && year.bytes().all(|byte| byte.is_ascii_digit())
        && two_digits(parts.next()?, 1, 12)
        && two_digits(parts.next()?, 1, 31)
        && parts.next().is_none();
    if !fits || !rest.is_ascii() {
        return None;
    }
    let (clock, rest) = rest.split_at_checked(8)?;
    let mut parts = clock.split(':');
    let fits = two_digits(parts.next()?, 0, 23)
        && two_digits(parts.next()?, 0, 59)
        && two_digits(parts.next()?, 0, 59)
        && parts.next().is_none();
    let zone = match rest.strip_prefix('.') {
        None => rest,
        Some(fraction) => {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            if !(1..=12).contains(&digits) {
                return None;
            }
            fraction.get(digits..)?
        }
    };
    (fits && is_zone(zone)).then_some(())
}

fn is_zone(zone: &str) -> bool {
    let Some(offset) = zone.strip_prefix(['+', '-']) else {
        return zone == "Z";
    };
    offset
        .split_once(':')
        .is_some_and(|(hours, minutes)| two_digits(hours, 0, 99) && two_digits(minutes, 0, 99))
}

fn two_digits(text: &str, least: u8, most: u8) -> bool {
    text.len() == 2
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse::<u8>().is_ok_and(|number| (least..=most).contains(&number))
}
