//! Events of `events.k8s.io`, on change only. One that is refused stops nothing.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client, Resource};
use tokio::sync::Semaphore;

use super::metrics::Metrics;
use super::object::{Object, ObjectKey};
use super::text;
use crate::api::FIELD_MANAGER;

/// How many events may be on their way at once; one more is dropped and counted.
const MOST_AT_ONCE: usize = 16;

/// Bound of an event's reason and of its reporter's instance, in bytes.
const WORD_BYTES: usize = 128;

/// What is to be told of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether somebody should look.
    pub warning: bool,
    /// The reason, in one word.
    pub reason: String,
    /// What the operator did.
    pub action: &'static str,
    /// What happened.
    pub note: String,
}

/// Writes events beside the passes.
#[derive(Clone)]
pub struct Events {
    client: Client,
    metrics: Metrics,
    slots: Arc<Semaphore>,
    instance: Arc<str>,
}

impl Events {
    /// Events of the operator with this instance name, such as its pod's.
    #[must_use]
    pub fn new(client: Client, metrics: Metrics, instance: &str) -> Self {
        let slots = Arc::new(Semaphore::new(MOST_AT_ONCE));
        Self {
            client,
            metrics,
            slots,
            instance: text::clean_bytes(instance, WORD_BYTES).into(),
        }
    }

    /// Tells of a resource. Returns at once.
    ///
    /// Each notice is an event of its own: a series keeps the first note, and the fields of the second would be lost.
    pub fn publish<K, Spec, Status>(&self, object: &Object<Spec, Status>, notice: Notice)
    where
        K: Resource<DynamicType = ()>,
    {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            self.metrics.event_dropped();
            return;
        };
        let event = event::<K, _, _>(object, &notice, &self.instance);
        let api: Api<Event> = Api::namespaced(self.client.clone(), &object.key.namespace);
        let metrics = self.metrics.clone();
        tokio::spawn(async move {
            let parameters = PostParams::default();
            let created = tokio::time::timeout(Duration::from_secs(10), api.create(&parameters, &event)).await;
            let why = match created {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(text::of_error(&error)),
                Err(_) => Some("no answer in time".to_owned()),
            };
            if let Some(why) = why {
                metrics.event_dropped();
                tracing::debug!(reason = notice.reason, why, "an event could not be written");
            }
            drop(slot);
        });
    }

    /// Waits until no event is on its way any more.
    pub async fn drain(&self) {
        let all = u32::try_from(MOST_AT_ONCE).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(Duration::from_secs(5), self.slots.acquire_many(all)).await;
    }
}

/// The event as the API server takes it: a field past its bound would refuse the whole.
fn event<K, Spec, Status>(object: &Object<Spec, Status>, notice: &Notice, instance: &str) -> Event
where
    K: Resource<DynamicType = ()>,
{
    let ObjectKey { namespace, name } = object.key.clone();
    Event {
        metadata: ObjectMeta {
            // Room for the suffix that makes names unique, within the 253 characters of a name.
            generate_name: Some(format!(
                "{}-",
                name.chars().take(200).collect::<String>().trim_end_matches(['.', '-'])
            )),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        action: Some(notice.action.to_owned()),
        event_time: Some(MicroTime(Timestamp::now())),
        note: Some(text::clean_bytes(&notice.note, text::EVENT_NOTE_BYTES)),
        reason: Some(text::clean_bytes(&notice.reason, WORD_BYTES)),
        regarding: Some(ObjectReference {
            api_version: Some(K::api_version(&()).into_owned()),
            kind: Some(K::kind(&()).into_owned()),
            name: Some(name),
            namespace: Some(namespace),
            uid: Some(object.uid.clone()),
            resource_version: Some(object.resource_version.clone()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(FIELD_MANAGER.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        type_: Some(if notice.warning { "Warning" } else { "Normal" }.to_owned()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::ComplianceManagementPartner;
    use crate::foreign_tests::{hostile, partner};

    proptest! {
        #[test]
        fn an_event_is_one_that_the_api_server_takes(reason in "[A-Z][a-z]{0,200}", note in hostile(), warning in any::<bool>()) {
            let notice = Notice { warning, reason, action: "Observe", note };
            let event = event::<ComplianceManagementPartner, _, _>(&partner(), &notice, "instance");
            let (note, reason) = (event.note.unwrap(), event.reason.unwrap());
            prop_assert!(note.len() <= text::EVENT_NOTE_BYTES && reason.len() <= WORD_BYTES);
            prop_assert_eq!(&note, &text::clean(&note, usize::MAX));
            // Nothing that would still have fitted was left out.
            let whole = text::clean(&notice.note, usize::MAX);
            prop_assert!(whole.starts_with(&note));
            prop_assert!(note == whole || note.len() + 4 > text::EVENT_NOTE_BYTES);
        }
    }
}
