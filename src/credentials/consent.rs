//! The advice on how a namespace grants the operator what a connection needs: two commands that can be pasted.

use std::time::Duration;

use tokio::sync::SetOnce;

/// How long the advice waits for the operator's name: right after the start it may not be known yet.
const LONGEST_WAIT_FOR_A_NAME: Duration = Duration::from_secs(5);

/// Who the operator is to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(String);

impl Identity {
    /// From the user name that the API server gives the operator.
    #[must_use]
    pub fn new(username: &str) -> Self {
        Self(username.to_owned())
    }

    /// The namespace of the operator's ServiceAccount; `None` where it is none.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        let account = self.0.strip_prefix("system:serviceaccount:")?;
        account.split_once(':').map(|(namespace, _)| namespace)
    }

    /// The flag of `kubectl create rolebinding` that names the operator.
    fn subject(&self) -> String {
        match self.0.strip_prefix("system:serviceaccount:") {
            Some(account) => format!("--serviceaccount={account}"),
            None => format!("--user={}", self.0),
        }
    }
}

/// How to let the operator read one Secret.
pub(super) async fn to_read_secret(identity: &SetOnce<Identity>, namespace: &str, secret: &str) -> String {
    let commands = commands(identity, namespace, secret, "reader", "--verb=get --resource=secrets").await;
    format!("The operator may not read the Secret. Grant it this one Secret: {commands}")
}

/// How to let the operator ask for tokens of one ServiceAccount.
///
/// `kubectl create role` gives every verb for every resource. Of the four rights that come of it two mean nothing: no
/// account can be created by name, and there is no token to get.
pub(super) async fn to_use_account(identity: &SetOnce<Identity>, namespace: &str, account: &str) -> String {
    let rights = "--verb=get,create --resource=serviceaccounts,serviceaccounts/token";
    let commands = commands(identity, namespace, account, "token", rights).await;
    format!("The operator may not ask for a token of the ServiceAccount. Grant it this one account: {commands}")
}

async fn commands(identity: &SetOnce<Identity>, namespace: &str, name: &str, suffix: &str, rights: &str) -> String {
    // Cut, so that both commands are whole in a condition's message for the longest name.
    let role: String = name.chars().take(40).collect();
    let role = format!("{}-{suffix}", role.trim_end_matches(['-', '.']));
    let identity = tokio::time::timeout(LONGEST_WAIT_FOR_A_NAME, identity.wait()).await;
    let subject = identity.map_or_else(|_| "--serviceaccount=…".to_owned(), Identity::subject);
    format!(
        "kubectl -n {namespace} create role {role} {rights} --resource-name={name} && \
         kubectl -n {namespace} create rolebinding {role} --role={role} {subject}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_names_the_operator_as_kubectl_wants_it() {
        assert_eq!(
            Identity::new("system:serviceaccount:ops:cpo").subject(),
            "--serviceaccount=ops:cpo"
        );
        assert_eq!(Identity::new("jane").subject(), "--user=jane");
        assert_eq!(Identity::new("system:serviceaccount:ops:cpo").namespace(), Some("ops"));
        assert_eq!(Identity::new("jane").namespace(), None);
    }

    #[tokio::test]
    async fn both_commands_are_whole_for_the_longest_names() {
        let identity = SetOnce::new_with(Some(Identity::new(&format!(
            "system:serviceaccount:{}:{}",
            "o".repeat(63),
            "p".repeat(63)
        ))));
        let (namespace, name) = ("n".repeat(63), "s".repeat(253));
        for advice in [
            to_read_secret(&identity, &namespace, &name).await,
            to_use_account(&identity, &namespace, &name).await,
        ] {
            let shown = crate::runtime::text::clean(&advice, crate::runtime::text::CONDITION_MESSAGE_CHARS);
            assert_eq!(shown, advice);
        }
    }
}
