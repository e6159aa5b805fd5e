//! The watches: they keep the index as the API server has it, and queue the passes that changes ask for.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::BoxStream;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::context::Context;
use super::health::{Health, List};
use super::index::{Index, Trigger};
use super::metrics::Metrics;
use super::object::{Connection, Key, ObjectKey, Partner};
use super::text;
use crate::api::{ComplianceManagementPartner, GraphConnection};

/// How many objects one page of a list has.
const PAGE: u32 = 100;

/// How one kind gets into the index and out of it.
pub struct Kind<K> {
    name: &'static str,
    partners: bool,
    put: fn(&mut Index, K, bool) -> Vec<Trigger>,
}

impl<K> Kind<K> {
    /// What is listed of this kind in a namespace, or in all.
    #[must_use]
    pub fn list(&self, namespace: Option<String>) -> List {
        List {
            kind: self.name,
            namespace,
        }
    }
}

/// The partners.
pub const PARTNERS: Kind<ComplianceManagementPartner> = Kind {
    name: "partners",
    partners: true,
    put: |index, resource, first| index.put_partner(Partner::from(resource), Instant::now(), first),
};

/// The connections.
pub const CONNECTIONS: Kind<GraphConnection> = Kind {
    name: "connections",
    partners: false,
    put: |index, resource, _| index.put_connection(Connection::from(resource)),
};

/// Keeps the index as the API server has it, for one kind in one namespace or in all.
pub async fn follow<K, S>(context: Arc<Context>, health: Arc<Health>, scope: Option<String>, kind: Kind<K>)
where
    K: Resource<DynamicType = (), Scope = S> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
    DeserializeGuard<K>: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    let list = kind.list(scope.clone());
    let api: Api<DeserializeGuard<K>> = match &scope {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    };
    let mut listing = Listing::Streamed;
    let mut events = watched(&api, listing);
    let mut feed = Feed {
        context,
        kind,
        scope,
        first: true,
        listed: HashSet::new(),
    };
    let mut wait = Duration::from_millis(500);
    let mut told: Option<Instant> = None;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if matches!(event, Event::InitDone) {
                    health.listed(&list);
                    told = None;
                    wait = Duration::from_millis(500);
                }
                feed.take(event);
            }
            // Before Kubernetes 1.34 a server may refuse it.
            Err(error) if listing == Listing::Streamed && matches!(code(&error), 400 | 422) => {
                tracing::debug!(%list, "the API server streams no lists; pages are read");
                listing = Listing::Paged;
                events = watched(&api, listing);
            }
            Err(error) => {
                if code(&error) == 403 {
                    health.refused(&list);
                }
                trouble(&feed.context.metrics, &list, &error, &mut told);
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(5));
            }
        }
    }
}

/// How the first objects are brought.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listing {
    /// One by one, by the watch itself: nobody has to hold a page, and a restart is ready sooner.
    Streamed,
    /// A page at a time.
    Paged,
}

fn watched<K>(api: &Api<K>, listing: Listing) -> BoxStream<'static, watcher::Result<Event<K>>>
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    let config = match listing {
        Listing::Streamed => watcher::Config::default().streaming_lists(),
        Listing::Paged => watcher::Config::default().page_size(PAGE),
    };
    watcher(api.clone(), config).boxed()
}

/// The HTTP status of a refusal; 0 where there is none.
fn code(error: &watcher::Error) -> u16 {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status.code,
        _ => 0,
    }
}

/// A watch that expires is everyday; one that stays broken is told once a minute.
fn trouble(metrics: &Metrics, list: &List, error: &watcher::Error, told: &mut Option<Instant>) {
    let code = code(error);
    if code == 410 {
        tracing::debug!(%list, "the watch expired; it is begun anew");
        return;
    }
    metrics.watch_error();
    if told.is_some_and(|told| told.elapsed() < Duration::from_secs(60)) {
        return;
    }
    *told = Some(Instant::now());
    let error = text::of_error(&error);
    match code {
        404 => tracing::warn!(
            %list,
            "the CustomResourceDefinition is not installed: waiting for it; apply the files in crds/"
        ),
        403 if list.namespace.is_some() => tracing::warn!(
            %list,
            error,
            "the operator may not list or watch in this namespace, and does nothing there: check that it exists, with the \
             operator's Role and RoleBinding"
        ),
        401 | 403 => tracing::warn!(
            %list,
            error,
            "the operator may not list or watch: check its ClusterRole and binding"
        ),
        _ => tracing::warn!(%list, error, "the API server cannot be watched; trying again"),
    }
}

struct Feed<K> {
    context: Arc<Context>,
    kind: Kind<K>,
    scope: Option<String>,
    /// Whether nothing has been listed before.
    first: bool,
    listed: HashSet<ObjectKey>,
}

impl<K: Resource<DynamicType = ()>> Feed<K> {
    fn take(&mut self, event: Event<DeserializeGuard<K>>) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(guard) => {
                let first = self.first;
                if let Some(key) = self.put(guard, first) {
                    self.listed.insert(key);
                }
            }
            Event::InitDone => {
                let known = self
                    .context
                    .index
                    .lock()
                    .keys(self.scope.as_deref(), self.kind.partners);
                for key in known.difference(&std::mem::take(&mut self.listed)) {
                    self.remove(key);
                }
                self.first = false;
            }
            Event::Apply(guard) => {
                self.put(guard, false);
            }
            Event::Delete(guard) => {
                if let Some(key) = guard_key(&guard) {
                    self.remove(&key);
                }
            }
        }
    }

    /// One object that cannot be read never stops the others: it is told, and left out.
    fn put(&self, guard: DeserializeGuard<K>, first: bool) -> Option<ObjectKey> {
        let key = guard_key(&guard)?;
        let resource = match guard.0 {
            Ok(resource) => resource,
            Err(invalid) => {
                self.context.metrics.watch_error();
                let error = text::clean(&invalid.error, 300);
                tracing::warn!(kind = self.kind.name, name = %key, error, "this object cannot be read and is left alone; apply it again");
                self.remove(&key);
                return None;
            }
        };
        let triggers = (self.kind.put)(&mut self.context.index.lock(), resource, first);
        self.context.queue.push_all(&triggers);
        Some(key)
    }

    fn remove(&self, key: &ObjectKey) {
        let mut index = self.context.index.lock();
        let triggers = if self.kind.partners {
            index.remove_partner(key)
        } else {
            index.remove_connection(key)
        };
        drop(index);
        if self.kind.partners {
            self.context.queue.lock().forget(&Key::Partner(key.clone()));
        } else {
            self.context.queue.lock().forget(&Key::Connection(key.clone()));
            self.context.sessions.close(key);
        }
        self.context.queue.push_all(&triggers);
    }
}

fn guard_key<K: Resource<DynamicType = ()>>(guard: &DeserializeGuard<K>) -> Option<ObjectKey> {
    let meta = match &guard.0 {
        Ok(resource) => resource.meta(),
        Err(invalid) => &invalid.metadata,
    };
    Some(ObjectKey {
        namespace: meta.namespace.clone()?,
        name: meta.name.clone()?,
    })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use kube::core::Status;

    use super::super::index::SharedIndex;
    use super::*;
    use crate::graph::throttle::Budgets;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged of these troubles in a row, and how many errors are counted.
    fn told(codes: &[u16]) -> (Vec<String>, u32) {
        told_of(None, codes)
    }

    fn told_of(namespace: Option<&str>, codes: &[u16]) -> (Vec<String>, u32) {
        let list = PARTNERS.list(namespace.map(str::to_owned));
        let (lines, metrics) = (Lines::default(), Metrics::default());
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .without_time()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let mut told = None;
            for code in codes {
                let status = Status::failure("it is as it is", "Reason").with_code(*code);
                trouble(&metrics, &list, &watcher::Error::WatchError(status.boxed()), &mut told);
            }
        });
        let text = metrics.encode(&SharedIndex::new(false), &Budgets::default()).unwrap();
        let count = text
            .lines()
            .find_map(|line| line.strip_prefix("compliance_partner_watch_errors_total "));
        let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let count = count.unwrap().parse().unwrap();
        (lines.lines().map(|line| line.trim().to_owned()).collect(), count)
    }

    #[test]
    fn a_watch_that_expires_is_everyday() {
        let (lines, errors) = told(&[410, 410, 410]);
        assert_eq!(errors, 0);
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.starts_with("DEBUG")), "{lines:#?}");
    }

    #[test]
    fn a_watch_that_stays_broken_is_told_once_and_counted_each_time() {
        for (code, words) in [
            (404, "CustomResourceDefinition is not installed"),
            (403, "ClusterRole"),
            (500, "trying again"),
        ] {
            let (lines, errors) = told(&[code; 5]);
            assert_eq!(errors, 5);
            assert_eq!(lines.len(), 1, "{lines:#?}");
            assert!(lines[0].starts_with("WARN") && lines[0].contains(words), "{lines:#?}");
        }
    }

    #[test]
    fn who_may_not_list_one_namespace_looks_into_it() {
        let (lines, _) = told_of(Some("contoso"), &[403]);
        assert!(
            lines[0].contains("partners in contoso") && lines[0].contains("RoleBinding"),
            "{lines:#?}"
        );
    }
}
