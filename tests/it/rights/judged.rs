//! What is granted and of no use, and what is used and not granted.
//!
//! Tests take rights away on purpose. So a request that was forbidden tells nothing by itself: what it asked for has to be
//! what a rule grants, and where it asked to be where operators of its mode ask.

use std::collections::{BTreeMap, BTreeSet};

use harness::OPERATOR;

use crate::asked::{Asked, Mode, Request, Verdict};
use crate::granted::{Access, Granted, Source};

/// Of what every account may do, by Kubernetes' own roles `system:basic-user` and `system:discovery`, all that the
/// operator does: it asks who it is, and which fields the installed CRDs have.
const EVERYBODYS: [(&str, &str, &str); 2] = [
    ("create", "authentication.k8s.io", "selfsubjectreviews"),
    ("get", "", "/openapi/v3/apis/intune.msgraph.dev/v1alpha1"),
];

/// The rules, by verb and resource, that no operator of this mode has used; each as a sentence.
pub(crate) fn unused(granted: &Granted, asked: &[Asked], mode: Mode) -> Vec<String> {
    let modes = modes(asked);
    let of_mode = asked
        .iter()
        .map(|asked| &asked.request)
        .filter(|request| modes.get(&account(request)) == Some(&mode));
    let used: BTreeSet<(Source, &Access)> = of_mode
        .filter_map(|request| Some((source(request)?, &request.access)))
        .collect();
    let rights = granted.0.iter();
    let unused = rights.filter(|(source, access)| !used.contains(&(*source, access)));
    unused
        .map(|(source, access)| format!("{access}, by {source}, {mode}"))
        .collect()
}

/// What operators asked for and no rule grants; each as a sentence.
pub(crate) fn missing(granted: &Granted, asked: &[Asked]) -> Vec<String> {
    let modes = modes(asked);
    let told = |Asked { request, times }: &Asked| {
        let trouble = trouble(granted, &modes, request)?;
        let Request {
            log, account, access, ..
        } = request;
        let about = request.namespace.as_deref().unwrap_or("no namespace");
        let told = format!("{access}: {trouble}; about {about}, by the account in {account}, {times} times, {log}");
        Some(told)
    };
    asked.iter().filter_map(told).collect()
}

/// An operator, by the control plane and the namespace of its account.
type Account<'a> = (&'a str, &'a str);

fn account(request: &Request) -> Account<'_> {
    (&request.log, &request.account)
}

/// The operators that were ever bound to their own role, and how.
fn modes(asked: &[Asked]) -> BTreeMap<Account<'_>, Mode> {
    let mut modes = BTreeMap::new();
    for Asked { request, .. } in asked {
        match &request.verdict {
            Verdict::Allowed { binding, role } if role == OPERATOR => {
                let mode = modes.entry(account(request)).or_insert(*binding);
                *mode = (*mode).min(*binding);
            }
            _ => {}
        }
    }
    modes
}

/// Which right a request has made use of.
fn source(request: &Request) -> Option<Source> {
    let Verdict::Allowed { binding, role } = &request.verdict else {
        return None;
    };
    if role.starts_with("system:") {
        return None;
    }
    if role != OPERATOR {
        return Some(Source::Consent);
    }
    // Who has its role in the whole cluster may still watch some namespaces only: that takes less.
    let narrow = *binding == Mode::ClusterWide && is_of_many(&request.access) && request.namespace.is_some();
    (!narrow).then_some(Source::Own)
}

/// Why a request should not have been made.
fn trouble(granted: &Granted, modes: &BTreeMap<Account<'_>, Mode>, request: &Request) -> Option<&'static str> {
    let Request { access, namespace, .. } = request;
    let everybodys = EVERYBODYS
        .iter()
        .any(|(verb, group, resource)| *access == Access::new(verb, group, resource));
    match &request.verdict {
        Verdict::Allowed { role, .. } if role.starts_with("system:") => {
            (!everybodys).then_some("allowed, as it is to every account")
        }
        Verdict::Allowed { .. } => (!granted.has(access)).then_some("allowed, by a role that is none of deploy/"),
        Verdict::Forbidden if !everybodys && !granted.has(access) => Some("forbidden"),
        Verdict::Forbidden => {
            let wide = modes.get(&account(request)) == Some(&Mode::ClusterWide);
            (!wide && is_of_many(access) && namespace.is_none())
                .then_some("forbidden in the whole cluster, to an operator of some namespaces")
        }
    }
}

/// Whether it is about a namespace's objects, or all namespaces'.
fn is_of_many(access: &Access) -> bool {
    ["list", "watch"].contains(&access.verb.as_str())
}
