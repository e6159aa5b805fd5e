//! Microsoft's clouds and where each is reached: a closed list, so that no resource can send a token to a host of its
//! own choice.

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

    /// The scope of a token for Graph: all that an administrator has consented to, at this very root.
    #[must_use]
    pub fn scope(&self, cloud: Cloud) -> String {
        format!("{}/.default", self.graph_root(cloud))
    }
}

/// The override where there is one; people write roots with a trailing slash, and `//v1.0` is another path.
fn without_slash<'a>(override_of: Option<&'a str>, default: &'a str) -> &'a str {
    override_of.unwrap_or(default).trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cloud_has_its_own_root_and_scope() {
        let endpoints = Endpoints::default();
        let scopes: Vec<_> = Cloud::ALL.map(|cloud| endpoints.scope(cloud)).into();
        assert_eq!(
            scopes,
            [
                "https://graph.microsoft.com/.default",
                "https://graph.microsoft.us/.default",
                "https://dod-graph.microsoft.us/.default",
                "https://microsoftgraph.chinacloudapi.cn/.default",
            ]
        );
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
        };
        for cloud in Cloud::ALL {
            assert_eq!(endpoints.graph_root(cloud), "http://127.0.0.1:8443");
            assert_eq!(endpoints.authority(cloud), "http://127.0.0.1:8444");
            assert_eq!(endpoints.scope(cloud), "http://127.0.0.1:8443/.default");
        }
    }
}
