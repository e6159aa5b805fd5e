//! That whatever is of no use, and whatever is missing, is told: by events as API servers write them.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::asked::{Asked, request};
use crate::granted::{Access, Granted, Source};
use crate::judged::{Scope, missing, unused};

const GROUP: &str = "intune.msgraph.dev";
const EVERYWHERE: &str = r#"RBAC: allowed by ClusterRoleBinding "compliance-partner-operator" of ClusterRole "compliance-partner-operator" to ServiceAccount "compliance-partner-operator/ops""#;
const IN_CONTOSO: &str = r#"RBAC: allowed by RoleBinding "compliance-partner-operator/contoso" of ClusterRole "compliance-partner-operator" to ServiceAccount "compliance-partner-operator/ops""#;
const CONSENT: &str = r#"RBAC: allowed by RoleBinding "graph-reader/contoso" of Role "graph-reader" to ServiceAccount "compliance-partner-operator/ops""#;
const DISCOVERY: &str = r#"RBAC: allowed by ClusterRoleBinding "system:discovery" of ClusterRole "system:discovery" to Group "system:authenticated""#;

/// One that names its own API group, one of all objects of a namespace, one of a subresource, and a consent.
fn granted() -> Granted {
    Granted(BTreeSet::from([
        (Source::Own, Access::new("patch", GROUP, "graphconnections/status")),
        (Source::Own, Access::new("watch", GROUP, "graphconnections")),
        (Source::Own, Access::new("get", "", "namespaces")),
        (Source::Consent, Access::new("get", "", "secrets")),
    ]))
}

/// A request of an operator, once; refused where no reason allows it.
fn asked(access: &Access, namespace: Option<&str>, reason: Option<&str>) -> Result<Asked> {
    let (resource, part) = access.resource.split_once('/').unwrap_or((&access.resource, ""));
    let mut event: Value = json!({
        "verb": access.verb,
        "user": {"username": "system:serviceaccount:ops:compliance-partner-operator"},
        "objectRef": {"resource": resource, "apiGroup": access.group, "apiVersion": "v1"},
        "annotations": {
            "authorization.k8s.io/decision": if reason.is_some() { "allow" } else { "forbid" },
            "authorization.k8s.io/reason": reason.unwrap_or_default(),
        },
    });
    let about = event
        .get_mut("objectRef")
        .and_then(Value::as_object_mut)
        .context("an object")?;
    if !part.is_empty() {
        about.insert("subresource".to_owned(), json!(part));
    }
    if let Some(namespace) = namespace {
        about.insert("namespace".to_owned(), json!(namespace));
    }
    let request = request("log", &event)?.context("an operator's")?;
    assert_eq!(&request.access, access);
    Ok(Asked { request, times: 1 })
}

/// All that is granted, asked for as an operator of this scope does.
fn all_asked(scope: Scope) -> Result<Vec<Asked>> {
    let all = granted().0.into_iter().map(|(source, access)| {
        let everywhere = access.verb == "watch" && scope == Scope::Cluster;
        let reason = match (source, scope) {
            (Source::Consent, _) => CONSENT,
            (Source::Own, Scope::Cluster) => EVERYWHERE,
            (Source::Own, Scope::Namespaces) => IN_CONTOSO,
        };
        asked(&access, (!everywhere).then_some("contoso"), Some(reason))
    });
    all.collect()
}

#[test]
fn a_right_that_nobody_uses_is_told() -> Result<()> {
    for (scope, other) in [(Scope::Cluster, Scope::Namespaces), (Scope::Namespaces, Scope::Cluster)] {
        let all = all_asked(scope)?;
        assert_eq!(unused(&granted(), &all, scope), [""; 0]);
        assert_eq!(missing(&granted(), &all), [""; 0]);
        for left_out in &all {
            let access = &left_out.request.access;
            let rest: Vec<Asked> = all
                .iter()
                .filter(|asked| &asked.request.access != access)
                .cloned()
                .collect();
            let told = unused(&granted(), &rest, scope);
            assert!(told.len() == 1 && told[0].starts_with(&access.to_string()), "{told:?}");
        }
        assert_eq!(unused(&granted(), &all, other).len(), granted().0.len());
    }
    Ok(())
}

#[test]
fn a_watch_of_one_namespace_takes_no_right_in_all() -> Result<()> {
    let mut all = all_asked(Scope::Cluster)?;
    all.retain(|asked| asked.request.access.verb != "watch");
    let watch = Access::new("watch", GROUP, "graphconnections");
    all.push(asked(&watch, Some("contoso"), Some(EVERYWHERE))?);
    let told = unused(&granted(), &all, Scope::Cluster);
    assert_eq!(
        told,
        ["watch graphconnections.intune.msgraph.dev, by the operator's own role, in the whole cluster"]
    );
    Ok(())
}

#[test]
fn what_no_rule_grants_is_told_whether_it_was_allowed_or_not() -> Result<()> {
    let list = Access::new("list", "", "secrets");
    let (watch, get) = (
        Access::new("watch", GROUP, "graphconnections"),
        Access::new("get", "", "secrets"),
    );
    let editor = IN_CONTOSO.replace("ClusterRole \"compliance-partner-operator\"", "ClusterRole \"edit\"");
    for (about, told) in [
        (
            asked(&list, Some("contoso"), None)?,
            "list secrets: forbidden; about contoso, by the account in ops",
        ),
        (
            asked(&list, Some("contoso"), Some(&editor))?,
            "list secrets: allowed, by a role that is none of deploy/",
        ),
        (
            asked(&list, None, Some(DISCOVERY))?,
            "list secrets: allowed, as it is to every account",
        ),
        (
            asked(&watch, None, None)?,
            "watch graphconnections.intune.msgraph.dev: forbidden in the whole cluster",
        ),
    ] {
        let missing = missing(&granted(), &[about]);
        assert!(missing.len() == 1 && missing[0].starts_with(told), "{missing:?}");
    }

    // What a test takes away is granted all the same.
    let taken = [
        asked(&watch, Some("contoso"), None)?,
        asked(&get, Some("contoso"), None)?,
    ];
    assert_eq!(missing(&granted(), &taken), [""; 0]);
    let later = [asked(&watch, None, None)?, asked(&watch, None, Some(EVERYWHERE))?];
    assert_eq!(missing(&granted(), &later), [""; 0]);
    Ok(())
}

#[test]
fn what_is_forbidden_where_an_operator_has_no_business_is_told() -> Result<()> {
    let (watch, get) = (
        Access::new("watch", GROUP, "graphconnections"),
        Access::new("get", "", "secrets"),
    );
    // A consent is no role of its own: fabrikam has given one, and is not watched.
    let consent = CONSENT.replace("/contoso", "/fabrikam");
    let mut few = all_asked(Scope::Namespaces)?;
    few.push(asked(&get, Some("fabrikam"), Some(&consent))?);
    for (access, namespace) in [(&watch, "fabrikam"), (&get, "fabrikam"), (&get, "litware")] {
        let refused = asked(access, Some(namespace), None)?;
        let told = missing(&granted(), &[&few[..], std::slice::from_ref(&refused)].concat());
        let expected = format!(
            "{access}: forbidden in this namespace, to an operator of others; about {namespace}, by the account in ops"
        );
        assert!(told.len() == 1 && told[0].starts_with(&expected), "{told:?}");

        // Another control plane's operator, of which nothing is known.
        let mut elsewhere = refused.clone();
        "another log".clone_into(&mut elsewhere.request.log);
        assert_eq!(missing(&granted(), &[&few[..], &[elsewhere]].concat()), [""; 0]);

        let wide = all_asked(Scope::Cluster)?;
        assert_eq!(missing(&granted(), &[&wide[..], &[refused]].concat()), [""; 0]);
    }
    // Where it has its role, a test has taken the right away.
    let taken = [
        asked(&watch, Some("contoso"), None)?,
        asked(&get, Some("contoso"), None)?,
    ];
    assert_eq!(missing(&granted(), &[&few[..], &taken].concat()), [""; 0]);
    Ok(())
}

#[test]
fn requests_of_others_do_not_count() -> Result<()> {
    for user in [
        "admin",
        "system:serviceaccount:ops:other",
        "system:serviceaccounts:compliance-partner-operator",
    ] {
        let event = json!({"verb": "list", "user": {"username": user}, "objectRef": {"resource": "secrets"}});
        assert!(request("log", &event)?.is_none(), "{user}");
    }
    Ok(())
}
