//! Access tokens: made, looked up, revoked.

use std::collections::{HashMap, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::json;

use crate::options::TokenStyle;

/// What a token stands for. `aud` is compared whole: a token for another root is foreign.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) number: u64,
    pub(crate) tenant: String,
    pub(crate) client_id: String,
    pub(crate) roles: Vec<String>,
    pub(crate) audience: String,
    /// By the clock of this machine, so that a token lives as long as `expires_in` says, whatever Entra's clock shows.
    pub(crate) expires: Timestamp,
    pub(crate) revoked: bool,
}

/// How many tokens are kept; the oldest are forgotten, and are garbage from then on.
const REMEMBERED: usize = 20_000;

/// All tokens that were ever issued.
#[derive(Default)]
pub(crate) struct Tokens {
    grants: HashMap<String, Grant>,
    order: VecDeque<String>,
    last_number: u64,
}

/// What a new token is to hold.
pub(crate) struct Request<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) roles: Vec<String>,
    pub(crate) audience: &'a str,
    pub(crate) issuer: String,
    /// Entra's time: what the claims are counted from.
    pub(crate) now: Timestamp,
    pub(crate) expires_in: u64,
    pub(crate) style: TokenStyle,
}

impl Tokens {
    pub(crate) fn issue(&mut self, request: Request<'_>) -> (u64, String) {
        self.last_number += 1;
        let number = self.last_number;
        let now = request.now;
        let token = match request.style {
            TokenStyle::Opaque => format!("EwB{}{}", random_word(), random_word()),
            TokenStyle::Jwt => {
                let header = json!({ "typ": "JWT", "alg": "RS256", "kid": "simulator" });
                let payload = json!({
                    "aud": request.audience,
                    "iss": request.issuer,
                    "iat": now.as_second(),
                    "nbf": now.as_second(),
                    "exp": after(now, request.expires_in).as_second(),
                    "appid": request.client_id,
                    "idtyp": "app",
                    "roles": request.roles,
                    "tid": request.tenant,
                    "uti": random_word(),
                    "ver": "1.0",
                });
                let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
                let signature = URL_SAFE_NO_PAD.encode(format!("{}{}", random_word(), random_word()));
                format!("{}.{}.{signature}", encode(&header), encode(&payload))
            }
        };
        while self.order.len() >= REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.grants.remove(&oldest);
            }
        }
        let grant = Grant {
            number,
            tenant: request.tenant.to_owned(),
            client_id: request.client_id.to_owned(),
            roles: request.roles,
            audience: request.audience.to_owned(),
            expires: after(Timestamp::now(), request.expires_in),
            revoked: false,
        };
        self.grants.insert(token.clone(), grant);
        self.order.push_back(token.clone());
        (number, token)
    }

    pub(crate) fn find(&self, token: &str) -> Option<&Grant> {
        self.grants.get(token)
    }

    /// Revokes the tokens of a tenant, or of one app of it; says how many.
    pub(crate) fn revoke(&mut self, tenant: &str, client_id: Option<&str>) -> usize {
        let mut revoked = 0;
        for grant in self.grants.values_mut() {
            let hit = grant.tenant.eq_ignore_ascii_case(tenant)
                && client_id.is_none_or(|client_id| grant.client_id.eq_ignore_ascii_case(client_id));
            if hit && !grant.revoked {
                grant.revoked = true;
                revoked += 1;
            }
        }
        revoked
    }
}

/// So many seconds later.
pub(crate) fn after(start: Timestamp, seconds: u64) -> Timestamp {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX / 2);
    Timestamp::from_second(start.as_second().saturating_add(seconds)).unwrap_or(Timestamp::MAX)
}

/// 32 letters and digits that nobody can guess.
pub(crate) fn random_word() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
