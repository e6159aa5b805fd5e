//! Microsoft's clouds and where each is reached: a closed list, so that no resource can send a token to a host of its
//! own choice.

use super::token::TokenRequest;

/// A national deployment of Microsoft Graph. Tokens of one are worth nothing in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cloud {
    /// The worldwide service, which tenants of the US offer "GCC" use too.
    Global,
    /// US Government L4, also called GCC High.
    UsGov,
    /// US Government L5, of the Department of Defense.
    UsGovDod,
    /// China, operated by 21Vianet.
    China,
}

/// What is known of a cloud: the rows are those of Microsoft's "National cloud deployments".
struct Deployment {
    name: &'static str,
    authority: &'static str,
    graph_root: &'static str,
    federation_audience: &'static str,
}

const GLOBAL: Deployment = Deployment {
    name: "Global",
    authority: "https://login.microsoftonline.com",
    graph_root: "https://graph.microsoft.com",
    federation_audience: "api://AzureADTokenExchange",
};

const US_GOV: Deployment = Deployment {
    name: "USGov",
    authority: "https://login.microsoftonline.us",
    graph_root: "https://graph.microsoft.us",
    federation_audience: "api://AzureADTokenExchangeUSGov",
};

const US_GOV_DOD: Deployment = Deployment {
    name: "USGovDoD",
    graph_root: "https://dod-graph.microsoft.us",
    ..US_GOV
};

const CHINA: Deployment = Deployment {
    name: "China",
    authority: "https://login.chinacloudapi.cn",
    graph_root: "https://microsoftgraph.chinacloudapi.cn",
    federation_audience: "api://AzureADTokenExchangeChina",
};

impl Cloud {
    /// Every cloud that is supported, in the order of the API's enumeration.
    pub const ALL: [Self; 4] = [Self::Global, Self::UsGov, Self::UsGovDod, Self::China];

    /// The cloud's name in the API: `Global`, `USGov`, `USGovDoD` or `China`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.deployment().name
    }

    /// Where Entra issues this cloud's tokens: an origin without a trailing slash.
    #[must_use]
    pub const fn authority(self) -> &'static str {
        self.deployment().authority
    }

    /// Where Graph answers: an origin without a trailing slash and without a version.
    #[must_use]
    pub const fn graph_root(self) -> &'static str {
        self.deployment().graph_root
    }

    /// The audience that a federated token must carry to be exchanged in this cloud.
    #[must_use]
    pub const fn federation_audience(self) -> &'static str {
        self.deployment().federation_audience
    }

    const fn deployment(self) -> &'static Deployment {
        match self {
            Self::Global => &GLOBAL,
            Self::UsGov => &US_GOV,
            Self::UsGovDod => &US_GOV_DOD,
            Self::China => &CHINA,
        }
    }
}

/// Other addresses than the cloud's own, for tests: they come from the operator's command line, never from a resource
/// or the environment.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    /// Graph's root, without `/v1.0`. `None`: the cloud's own.
    pub graph: Option<String>,
    /// Entra's authority, without the tenant. `None`: the cloud's own.
    pub authority: Option<String>,
    /// The metadata service of the node. `None`: Azure's link-local address.
    pub metadata: Option<String>,
}

impl Endpoints {
    /// Graph's root for this cloud, without a trailing slash.
    #[must_use]
    pub fn graph_root(&self, cloud: Cloud) -> &str {
        without_slash(self.graph.as_deref(), cloud.graph_root())
    }

    /// Entra's authority for this cloud, without a trailing slash.
    #[must_use]
    pub fn authority(&self, cloud: Cloud) -> &str {
        without_slash(self.authority.as_deref(), cloud.authority())
    }

    /// What a client of a tenant in this cloud asks for, and where. `client` is absent for the node's system-assigned
    /// managed identity alone.
    #[must_use]
    pub fn token_request(&self, cloud: Cloud, tenant: &str, client: Option<&str>) -> TokenRequest {
        TokenRequest {
            authority: self.authority(cloud).to_owned(),
            tenant: tenant.to_owned(),
            client: client.map(str::to_owned),
            resource: self.graph_root(cloud).to_owned(),
        }
    }

    /// The metadata service, without a trailing slash. It has the same address in every cloud.
    #[must_use]
    pub fn metadata(&self) -> &str {
        without_slash(self.metadata.as_deref(), super::metadata::ADDRESS)
    }
}

/// The override where there is one; people write roots with a trailing slash, and `//v1.0` is another path.
fn without_slash<'a>(override_of: Option<&'a str>, default: &'a str) -> &'a str {
    override_of.unwrap_or(default).trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Microsoft's "National cloud deployments" and "Azure workload identity" have them, written out once more.
    #[test]
    fn each_cloud_has_its_own_authority_scope_and_audience() {
        let endpoints = Endpoints::default();
        let tenant = "bbbbbbbb-2222-4222-8222-000000000001";
        let found = Cloud::ALL.map(|cloud| {
            let request = endpoints.token_request(cloud, tenant, Some("app"));
            (
                request.endpoint(),
                request.scope(),
                request.resource,
                cloud.federation_audience(),
            )
        });
        let expected = [
            ("login.microsoftonline.com", "graph.microsoft.com", ""),
            ("login.microsoftonline.us", "graph.microsoft.us", "USGov"),
            ("login.microsoftonline.us", "dod-graph.microsoft.us", "USGov"),
            ("login.chinacloudapi.cn", "microsoftgraph.chinacloudapi.cn", "China"),
        ];
        for ((endpoint, scope, resource, audience), (authority, graph, suffix)) in found.into_iter().zip(expected) {
            assert_eq!(endpoint, format!("https://{authority}/{tenant}/oauth2/v2.0/token"));
            assert_eq!(scope, format!("https://{graph}/.default"));
            assert_eq!(resource, format!("https://{graph}"));
            assert_eq!(audience, format!("api://AzureADTokenExchange{suffix}"));
        }
    }

    #[test]
    fn names_are_those_of_the_api() {
        assert_eq!(Cloud::ALL.map(Cloud::name), ["Global", "USGov", "USGovDoD", "China"]);
    }

    #[test]
    fn both_us_government_clouds_share_entra_but_not_graph() {
        assert_eq!(Cloud::UsGov.authority(), Cloud::UsGovDod.authority());
        assert_eq!(
            Cloud::UsGov.federation_audience(),
            Cloud::UsGovDod.federation_audience()
        );
        assert_ne!(Cloud::UsGov.graph_root(), Cloud::UsGovDod.graph_root());
    }

    #[test]
    fn every_address_is_a_plain_https_origin() {
        for cloud in Cloud::ALL {
            for address in [cloud.authority(), cloud.graph_root()] {
                let parsed = reqwest::Url::parse(address).unwrap();
                assert_eq!(parsed.scheme(), "https", "{address}");
                assert_eq!(parsed.path(), "/", "{address}");
                assert!(!address.ends_with('/'), "{address}");
            }
            assert!(cloud.federation_audience().starts_with("api://AzureADTokenExchange"));
        }
    }

    #[test]
    fn an_override_holds_for_every_cloud_and_loses_its_trailing_slashes() {
        let endpoints = Endpoints {
            graph: Some("http://127.0.0.1:8443/".to_owned()),
            authority: Some("http://127.0.0.1:8444//".to_owned()),
            metadata: Some("http://127.0.0.1:8445/".to_owned()),
        };
        for cloud in Cloud::ALL {
            assert_eq!(endpoints.graph_root(cloud), "http://127.0.0.1:8443");
            assert_eq!(endpoints.authority(cloud), "http://127.0.0.1:8444");
            let request = endpoints.token_request(cloud, "tenant", None);
            assert_eq!(request.scope(), "http://127.0.0.1:8443/.default");
            assert_eq!(request.endpoint(), "http://127.0.0.1:8444/tenant/oauth2/v2.0/token");
        }
        assert_eq!(endpoints.metadata(), "http://127.0.0.1:8445");
        assert_eq!(Endpoints::default().metadata(), "http://169.254.169.254");
    }
}
