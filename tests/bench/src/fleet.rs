//! Many resources, as a user would have them: each names a row of Graph that it agrees with.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use compliance_partner_operator::api::{ComplianceManagementPartner, ConditionStatus, GraphConnection, condition};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use graph_simulator::App;
use harness::{CLIENT_SECRET, WRITE_ROLE, wait_for};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use crate::audit::Audit;
use crate::bed::Bed;

/// How many are created at once.
const AT_ONCE: usize = 8;

/// How long a thousand of anything may take on a machine that does something else too.
pub(crate) const LIMIT: Duration = Duration::from_secs(180);

/// Connections with resources, in a namespace of their own.
pub(crate) struct Fleet<'a> {
    bed: &'a Bed,
    /// The namespace.
    pub(crate) namespace: String,
    /// The numbers of its connections.
    connections: Range<usize>,
    /// How many resources each of them has.
    each: usize,
    owner: Owner,
}

/// Whose app a connection goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// Each connection has a tenant and an app of its own.
    Each,
    /// All of the bed's fleets that say so have one tenant and one app.
    One,
}

/// The number of the tenant and the app that fleets share.
const SHARED: usize = 0xffff;

/// One resource of a fleet.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Its name.
    pub(crate) name: String,
    /// The id of its row in Graph.
    pub(crate) row: String,
    /// The tenant that has the row.
    pub(crate) tenant: String,
    /// Its number among the resources of its connection.
    pub(crate) number: usize,
    connection: String,
}

impl<'a> Fleet<'a> {
    /// Makes the namespace and Graph's rows, but no resource yet. Each connection has a tenant and an app of its own.
    ///
    /// # Errors
    /// If the API server refuses the namespace.
    pub(crate) async fn new(bed: &'a Bed, namespace: &str, connections: usize, each: usize) -> Result<Self> {
        Self::make(bed, namespace, 0..connections, each, Owner::Each).await
    }

    /// The same with one connection, of a tenant and an app that all fleets made by this share. Their numbers differ.
    ///
    /// # Errors
    /// If the API server refuses the namespace.
    pub(crate) async fn of_one_app(bed: &'a Bed, namespace: &str, number: usize, each: usize) -> Result<Self> {
        Self::make(bed, namespace, number..number + 1, each, Owner::One).await
    }

    async fn make(bed: &'a Bed, namespace: &str, connections: Range<usize>, each: usize, owner: Owner) -> Result<Self> {
        bed.namespace(namespace).await?;
        let fleet = Self {
            bed,
            namespace: namespace.to_owned(),
            connections,
            each,
            owner,
        };
        let graph = bed.graph();
        for number in fleet.connections.clone() {
            graph.add_app(
                &fleet.tenant(number),
                &fleet.client_id(number),
                App::with_secret(CLIENT_SECRET).roles([WRITE_ROLE]),
            );
        }
        for (number, member) in fleet.members().into_iter().enumerate() {
            let mut row = graph.base_row(&member.row, &format!("Partner {number}"));
            harness::merge(
                &mut row,
                json!({"iosOnboarded": true, "iosEnrollmentAssignments": [
                    {"target": {"@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": group(1)}},
                    {"target": {"@odata.type": "#microsoft.graph.exclusionGroupAssignmentTarget", "groupId": group(2)}},
                ]}),
            );
            graph.seed_row(&member.tenant, row)?;
        }
        Ok(fleet)
    }

    /// All resources.
    pub(crate) fn members(&self) -> Vec<Member> {
        let connections = self.connections.clone();
        let members = connections.flat_map(|connection| (0..self.each).map(move |number| (connection, number)));
        members
            .map(|(connection, number)| Member {
                name: format!("partner-{connection:04}-{number:04}"),
                row: format!("{connection:08x}-aaaa-4aaa-8aaa-{number:012x}"),
                tenant: self.tenant(connection),
                number,
                connection: connection_name(connection),
            })
            .collect()
    }

    /// How many resources there are.
    pub(crate) fn len(&self) -> usize {
        self.connections.len() * self.each
    }

    /// The partners of this namespace.
    pub(crate) fn partners(&self) -> Api<ComplianceManagementPartner> {
        Api::namespaced(self.bed.admin.clone(), &self.namespace)
    }

    fn graph_connections(&self) -> Api<GraphConnection> {
        Api::namespaced(self.bed.admin.clone(), &self.namespace)
    }

    /// Creates all resources. Nobody has seen them yet.
    ///
    /// # Errors
    /// If the API server refuses one.
    pub(crate) async fn create(&self) -> Result<()> {
        let connections = self.connections.clone().map(|number| self.connection(number));
        create_all(&self.graph_connections(), connections).await?;
        create_all(&self.partners(), self.members().iter().map(partner)).await
    }

    /// Deletes all resources.
    ///
    /// # Errors
    /// If they do not go.
    pub(crate) async fn delete(&self) -> Result<()> {
        let (parameters, all) = (DeleteParams::default(), ListParams::default());
        let (partners, connections) = (self.partners(), self.graph_connections());
        let _ = partners.delete_collection(&parameters, &all).await?;
        let _ = connections.delete_collection(&parameters, &all).await?;
        wait_for("deleted resources", LIMIT, async || {
            let one = ListParams::default().limit(1);
            let left = partners.list(&one).await?.items.len() + connections.list(&one).await?.items.len();
            ensure!(left == 0, "some are left");
            Ok::<_, anyhow::Error>(())
        })
        .await
    }

    /// Waits until the operator has written the status of every resource, by the audit log alone: whoever watches or lists
    /// takes the API server's time.
    ///
    /// # Errors
    /// If it does not come to that.
    pub(crate) async fn until_written(&self, audit: &mut Audit<'_>) -> Result<()> {
        wait_for("a status of every resource", LIMIT, async || {
            let written = audit.of(|asked| asked.is_partner_status(&self.namespace))?.len();
            ensure!(written >= self.len(), "{written} of {}", self.len());
            Ok::<_, anyhow::Error>(())
        })
        .await
    }

    /// Reads all resources, and makes sure that each is Ready at its generation.
    ///
    /// # Errors
    /// If one is not.
    pub(crate) async fn all_ready(&self) -> Result<Vec<ComplianceManagementPartner>> {
        let partners = self.partners().list(&ListParams::default()).await?.items;
        ensure!(
            partners.len() == self.len(),
            "{} resources in the place of {}",
            partners.len(),
            self.len()
        );
        for partner in &partners {
            let status = partner.status.as_ref().context("a resource has no status")?;
            let ready = condition(&status.conditions, "Ready");
            let is_ready = ready.is_some_and(|ready| {
                ready.status == ConditionStatus::True && ready.observed_generation == partner.metadata.generation
            });
            ensure!(is_ready, "{:?} is not Ready: {ready:?}", partner.metadata.name);
        }
        Ok(partners)
    }

    fn tenant(&self, number: usize) -> String {
        let (name, number) = match self.owner {
            // Tenants of two fleets of one bed differ.
            Owner::Each => (self.namespace.bytes().map(usize::from).sum(), number),
            Owner::One => (SHARED, SHARED),
        };
        format!("{name:08x}-bbbb-4bbb-8bbb-{number:012x}")
    }

    fn client_id(&self, number: usize) -> String {
        let number = match self.owner {
            Owner::Each => number,
            Owner::One => SHARED,
        };
        format!("cccccccc-cccc-4ccc-8ccc-{number:012x}")
    }

    fn connection(&self, number: usize) -> Value {
        json!({
            "metadata": {"name": connection_name(number)},
            "spec": {
                "tenantId": self.tenant(number),
                "clientId": self.client_id(number),
                "auth": {"clientSecret": {"secretRef": {"name": "graph"}}},
            },
        })
    }
}

fn connection_name(number: usize) -> String {
    format!("connection-{number:04}")
}

fn group(number: usize) -> String {
    format!("dddddddd-dddd-4ddd-8ddd-{number:012x}")
}

/// The resource as `kubectl apply` leaves it, its spec once more in an annotation.
fn partner(member: &Member) -> Value {
    let spec = json!({
        "connectionRef": {"name": member.connection},
        "partnerRef": {"id": member.row},
        "iosOnboarded": true,
        "iosEnrollmentAssignments": [
            {"target": {"type": "Group", "groupId": group(1)}},
            {"target": {"type": "ExclusionGroup", "groupId": group(2)}},
        ],
    });
    let applied = json!({
        "apiVersion": "intune.msgraph.dev/v1alpha1",
        "kind": "ComplianceManagementPartner",
        "metadata": {"annotations": {}, "name": member.name},
        "spec": spec,
    });
    json!({
        "metadata": {
            "name": member.name,
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": applied.to_string()},
        },
        "spec": spec,
    })
}

async fn create_all<K>(api: &Api<K>, objects: impl Iterator<Item = Value>) -> Result<()>
where
    K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    let parameters = PostParams::default();
    let create = |object: Value| {
        let parameters = &parameters;
        async move {
            let object: K = serde_json::from_value(object)?;
            api.create(parameters, &object).await.context("a resource was refused")
        }
    };
    stream::iter(objects)
        .map(create)
        .buffer_unordered(AT_ONCE)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await
}
