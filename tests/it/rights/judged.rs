//! What is granted and of no use, and what is used and not granted.
//!
//! Tests take rights away on purpose. So a request that was forbidden tells nothing by itself: what it asked for has to be
//! what a rule grants, and where it asked to be where it has its role, or has had it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use harness::OPERATOR;

use crate::asked::{Asked, Binding, Decision, Request};
use crate::granted::{Access, Granted, Source};

/// Of what every account may do, by Kubernetes' own roles `system:basic-user` and `system:discovery`, all that the
/// operator does: it asks who it is, and which fields the installed CRDs have.
const EVERYBODYS: [(&str, &str, &str); 2] = [
    ("create", "authentication.k8s.io", "selfsubjectreviews"),
    ("get", "", "/openapi/v3/apis/intune.msgraph.dev/v1alpha1"),
];

/// Where an operator has its own role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Cluster,
    /// Those that it watches.
    Namespaces,
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Cluster => "in the whole cluster",
            Self::Namespaces => "in some namespaces",
        })
    }
}

/// The rules, by verb and resource, that no operator of this scope has used; each as a sentence.
pub(crate) fn unused(granted: &Granted, asked: &[Asked], scope: Scope) -> Vec<String> {
    let operators = Operators::of(asked);
    let of_scope = asked
        .iter()
        .map(|asked| &asked.request)
        .filter(|request| operators.scope(request) == Some(scope));
    let used: BTreeSet<(Source, &Access)> = of_scope
        .filter_map(|request| Some((source(request)?, &request.access)))
        .collect();
    let rights = granted.0.iter();
    let unused = rights.filter(|(source, access)| !used.contains(&(*source, access)));
    unused
        .map(|(source, access)| format!("{access}, by {source}, {scope}"))
        .collect()
}

/// What operators asked for and no rule grants; each as a sentence.
pub(crate) fn missing(granted: &Granted, asked: &[Asked]) -> Vec<String> {
    let operators = Operators::of(asked);
    let told = |Asked { request, times }: &Asked| {
        let trouble = trouble(granted, &operators, request)?;
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

/// How each operator was ever bound to its own role, by all that it made use of.
struct Operators<'a>(BTreeMap<Account<'a>, BTreeSet<&'a Binding>>);

impl<'a> Operators<'a> {
    fn of(asked: &'a [Asked]) -> Self {
        let mut operators: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for Asked { request, .. } in asked {
            if let Decision::Allowed { binding, role } = &request.decision
                && role == OPERATOR
            {
                operators.entry(account(request)).or_default().insert(binding);
            }
        }
        Self(operators)
    }

    /// The scope of whoever made a request, if it has made use of its own role at all.
    fn scope(&self, request: &Request) -> Option<Scope> {
        let bindings = self.0.get(&account(request))?;
        let wide = bindings.contains(&Binding::Cluster);
        Some(if wide { Scope::Cluster } else { Scope::Namespaces })
    }

    /// Whether whoever made a request was bound to its own role in this namespace.
    fn bound_in(&self, request: &Request, namespace: &str) -> bool {
        let bindings = self.0.get(&account(request));
        bindings.is_some_and(|bindings| bindings.contains(&Binding::Namespace(namespace.to_owned())))
    }
}

/// Which right a request has made use of.
fn source(request: &Request) -> Option<Source> {
    let Decision::Allowed { binding, role } = &request.decision else {
        return None;
    };
    if role.starts_with("system:") {
        return None;
    }
    if role != OPERATOR {
        return Some(Source::Consent);
    }
    // Who has its role in the whole cluster may still watch some namespaces only: that takes less.
    let narrow = *binding == Binding::Cluster && is_of_many(&request.access) && request.namespace.is_some();
    (!narrow).then_some(Source::Own)
}

/// Why a request should not have been made.
fn trouble(granted: &Granted, operators: &Operators<'_>, request: &Request) -> Option<&'static str> {
    let access = &request.access;
    let everybodys = EVERYBODYS
        .iter()
        .any(|(verb, group, resource)| *access == Access::new(verb, group, resource));
    match &request.decision {
        Decision::Allowed { role, .. } if role.starts_with("system:") => {
            (!everybodys).then_some("allowed, as it is to every account")
        }
        Decision::Allowed { .. } => (!granted.has(access)).then_some("allowed, by a role that is none of deploy/"),
        Decision::Forbidden if !everybodys && !granted.has(access) => Some("forbidden"),
        Decision::Forbidden => outside(operators, request),
    }
}

/// Whether what is granted elsewhere was forbidden where an operator of some namespaces has no business. Where it has
/// its role, and where an operator has never made use of one, a test has taken the right away.
fn outside(operators: &Operators<'_>, request: &Request) -> Option<&'static str> {
    match (operators.scope(request), &request.namespace) {
        (Some(Scope::Cluster), _) | (None, Some(_)) => None,
        (_, None) => {
            is_of_many(&request.access).then_some("forbidden in the whole cluster, to an operator of some namespaces")
        }
        (Some(Scope::Namespaces), Some(namespace)) => {
            (!operators.bound_in(request, namespace)).then_some("forbidden in this namespace, to an operator of others")
        }
    }
}

/// Whether it is about a namespace's objects, or all namespaces'.
fn is_of_many(access: &Access) -> bool {
    ["list", "watch"].contains(&access.verb.as_str())
}
