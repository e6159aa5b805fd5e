//! The reason table, row for row, driven for real: the state in Graph or in Kubernetes that causes a reason, what the
//! four conditions say then, what kstatus makes of it, when it is tried again, and the way back.
//!
//! [`TABLE`] is the contract's table, written down once more: nothing of it is read off the code. A new reason needs a
//! line there, and a scene in [`gallery`]: what the partner's spec is (`spec`), what causes the reason (`cause`) and
//! what ends it (`cure`).
//!
//! - [`rows`]: each row's conditions, message, event and kstatus; when it is tried again; the way back;
//! - [`outages`]: the rows of trouble that passes by itself, by what was before it;
//! - [`precedence`], [`changes`]: of the rows that can apply at once the first one wins;
//! - [`connections`]: the reasons of a GraphConnection with a client secret;
//! - [`scripts`]: what users' scripts wait for.

mod changes;
pub(crate) mod connections;
pub(crate) mod gallery;
pub(crate) mod look;
mod outages;
mod precedence;
mod rows;
mod scripts;
mod waits;

use std::time::Duration;

use anyhow::Context as _;
use compliance_partner_operator::api::reason::{Reason, Timing};

/// The contract's table. Before its own columns stands the partner that shows the row (`–`: see [`outages`]); after
/// them what kstatus makes of it, and a part of the message that says what happened or what to do.
const TABLE: &str = "
| cleaning           | Cleaning           | False     | as it was | True | –    | backoff   | Terminating | To let it go at once and leave the object as it is, set deletionPolicy: Retain |
| suspended          | Suspended          | stays if True, else removed | Unknown   | –    | –    | on change | Current | Suspended by spec.suspend |
| connectionnotfound | ConnectionNotFound | False     | Unknown   | True | –    | on change, backoff to 1 min | InProgress | GraphConnection nowhere does not exist in this namespace: create it |
| connectionnotready | ConnectionNotReady | False     | Unknown   | True | –    | on change | InProgress | (SecretNotFound): Secret no-such does not exist in this namespace: create it |
| connectionstalled  | ConnectionNotReady | False     | Unknown   | –    | True | on change | Failed     | create the connection anew with the right tenant |
| throttled          | Throttled          | False     | Unknown   | True | –    | backoff   | InProgress | Microsoft asks for a pause; the operator goes on when it is over |
| graphunavailable   | GraphUnavailable   | False     | Unknown   | True | –    | backoff   | InProgress | It is tried again |
| –                  | Throttled          | as it was | as it was | –    | –    | backoff   | as it was  | |
| –                  | GraphUnavailable   | as it was | as it was | –    | –    | backoff   | as it was  | |
| –                  | Throttled          | Unknown   | Unknown   | True | –    | backoff   | InProgress | Microsoft asks for a pause |
| –                  | GraphUnavailable   | Unknown   | Unknown   | True | –    | backoff   | InProgress | It is tried again |
| partnerconflict    | PartnerConflict    | False     | Unknown   | True | –    | poll      | InProgress | Delete one of the two, or set managementPolicy: Observe on one |
| tenantchanged      | TenantChanged      | False     | Unknown   | –    | True | poll      | Failed     | Put the connection back, or create this resource anew |
| partnernotfound    | PartnerNotFound    | False     | Unknown   | –    | True | poll      | Failed     | add the partner in the Intune admin center |
| partnerambiguous   | PartnerAmbiguous   | False     | Unknown   | –    | True | poll      | Failed     | name one by partnerRef.id |
| permissiondenied   | PermissionDenied   | False     | Unknown   | True | –    | slow      | InProgress | Graph refuses app-only access here although the app has the role that is needed |
| tenantnotlicensed  | TenantNotLicensed  | False     | Unknown   | True | –    | very slow | InProgress | no active Intune licence |
| rejectedbygraph    | RejectedByGraph    | False     | False     | –    | True | slow      | Failed     | Graph refuses the request: This group is not acceptable |
| updateineffective  | Verifying          | False     | False     | True | –    | 5 s, 15 s, 60 s | InProgress | does not show it yet: iosOnboarded. It is read again |
| updateineffective  | UpdateIneffective  | False     | False     | –    | True | slow      | Failed     | Change it in the Intune admin center, or leave the field out of spec |
| unsupportedtarget  | UnsupportedTarget  | False     | False     | –    | True | poll      | Failed     | Remove them in the Intune admin center, or leave the list out of spec |
| driftdetected      | DriftDetected      | True      | False     | –    | –    | poll      | Current    | Observed only, nothing is sent. Graph differs from spec in: iosOnboarded |
| insync             | InSync             | True      | True      | –    | –    | poll      | Current    | Graph equals the managed fields of spec |
";

/// The same for a GraphConnection, whose pair and waits the contract tells in its own words. It has no `Synced`.
const CONNECTIONS: &str = "
| connected           | Connected           | True    | – | –    | –    | poll        | Current    | the tenant's compliance management partners were listed |
| secretnotfound      | SecretNotFound      | False   | – | True | –    | 15 s        | InProgress | Secret no-such does not exist in this namespace: create it |
| secretinvalid       | SecretInvalid       | False   | – | True | –    | 15 s        | InProgress | was more than the secret pasted? |
| accountnotfound     | ServiceAccountNotFound | False | – | True | –   | 15 s        | InProgress | ServiceAccount accountnotfound does not exist in this namespace: create it |
| accountinvalid      | ServiceAccountInvalid  | False | – | True | –   | 15 s        | InProgress | annotate --overwrite serviceaccount accountinvalid azure.workload.identity/client-id= |
| accessnotgranted    | AccessNotGranted    | False   | – | True | –    | 15 s        | InProgress | create rolebinding |
| credentialsrejected | CredentialsRejected | False   | – | True | –    | 15 s        | InProgress | the secret's value, not its id |
| principalnotfound   | PrincipalNotFound   | False   | – | True | –    | backoff     | InProgress | create the enterprise application in this tenant |
| permissiondenied    | PermissionDenied    | False   | – | True | –    | slow        | InProgress | grant admin consent |
| tenantnotlicensed   | TenantNotLicensed   | False   | – | True | –    | very slow   | InProgress | no active Intune licence |
| tenantmismatch      | TenantMismatch      | False   | – | –    | True | slow        | Failed     | create the connection anew with the right tenant |
| identitynotallowed  | IdentityNotAllowed  | False   | – | –    | True | on change   | Failed     | --operator-identity-namespaces naming |
| throttled           | Throttled           | False   | – | True | –    | backoff     | InProgress | Microsoft asks for a pause |
| graphunavailable    | GraphUnavailable    | False   | – | True | –    | backoff     | InProgress | It is tried again |
";

/// One line of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// The resource of the gallery that shows it.
    pub(crate) shown_by: &'static str,
    pub(crate) reason: &'static str,
    ready: &'static str,
    synced: &'static str,
    reconciling: &'static str,
    stalled: &'static str,
    again: &'static str,
    kstatus: &'static str,
    says: &'static str,
}

fn read(table: &'static str) -> anyhow::Result<Vec<Row>> {
    let line = |line: &'static str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [
            shown_by,
            reason,
            ready,
            synced,
            reconciling,
            stalled,
            again,
            kstatus,
            says,
        ] = cells.as_slice()
        else {
            anyhow::bail!("a line with {} cells: {line}", cells.len())
        };
        Ok(Row {
            shown_by,
            reason,
            ready,
            synced,
            reconciling,
            stalled,
            again,
            kstatus,
            says,
        })
    };
    table.lines().filter(|line| !line.is_empty()).map(line).collect()
}

/// The rows of a partner that a resource of the gallery shows.
pub(crate) fn shown() -> anyhow::Result<Vec<Row>> {
    let mut rows = read(TABLE)?;
    rows.retain(|row| row.shown_by != "–");
    Ok(rows)
}

/// The rows of the gallery that live, as they are after the grace reads.
fn settled() -> anyhow::Result<Vec<Row>> {
    let mut rows = shown()?;
    rows.retain(|row| !["Cleaning", "Verifying"].contains(&row.reason));
    Ok(rows)
}

/// The row of a partner's reason with this Ready, or with any.
pub(crate) fn row(reason: &str, ready: &str) -> anyhow::Result<Row> {
    let found = read(TABLE)?
        .into_iter()
        .find(|row| row.reason == reason && (ready.is_empty() || row.ready == ready));
    found.with_context(|| format!("the table has no row {reason}, Ready {ready}"))
}

#[test]
fn every_reason_has_a_row_and_every_row_a_reason() {
    let reasons = |table| -> Vec<&str> { read(table).unwrap().iter().map(|row| row.reason).collect() };
    let (partners, connections) = (reasons(TABLE), reasons(CONNECTIONS));
    for reason in Reason::ALL {
        let word = reason.as_str();
        let table = if reason.is_of_connection() {
            &connections
        } else {
            &partners
        };
        assert!(table.contains(&word), "{word} has no row");
    }
    for word in [partners.clone(), connections].concat() {
        assert!(Reason::parse(word).is_some(), "the code has no reason {word}");
    }
    // The order of the reasons is the order of precedence, and the table's.
    let mut order: Vec<&str> = partners;
    order.dedup();
    let ranks: Vec<Reason> = order
        .iter()
        .filter(|word| !["Throttled", "GraphUnavailable"].contains(word))
        .filter_map(|word| Reason::parse(word))
        .collect();
    assert!(ranks.is_sorted(), "{order:?}");
}

#[test]
fn the_waits_are_the_contracts() {
    let minutes = |count: u64| Duration::from_secs(60 * count);
    let seconds = Duration::from_secs;
    let timing = Timing::default();
    assert_eq!(timing.sync_interval, minutes(10));
    assert_eq!((timing.slow, timing.very_slow), (minutes(15), minutes(60)));
    assert_eq!(timing.grace, [seconds(5), seconds(15), seconds(60)]);
    assert_eq!((timing.backoff, timing.backoff_cap), (seconds(2), minutes(5)));
    assert_eq!(timing.connection_cap, minutes(1));
    assert_eq!(timing.secret, seconds(15));
    assert_eq!((timing.credentials, timing.credentials_cap), (minutes(1), minutes(30)));
    assert_eq!(timing.unknown_after, minutes(15));
}
