//! A simulator with one tenant, one app and one row, and clients for it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use graph_simulator::{App, Certified, Control, Options, Request, Simulator};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};

pub(crate) const TENANT: &str = "bbbbbbbb-2222-4222-8222-000000000001";
pub(crate) const CLIENT: &str = "cccccccc-3333-4333-8333-000000000001";
pub(crate) const P1: &str = "aaaaaaaa-1111-4111-8111-000000000001";
pub(crate) const SECRET: &str = "a~b+c/d=e&f%20g h\"é";
pub(crate) const ROOT_TYPE: &str = "#microsoft.graph.complianceManagementPartner";

pub(crate) struct World {
    pub(crate) simulator: Simulator,
    pub(crate) control: Control,
    pub(crate) client: Client,
}

pub(crate) fn client(simulator: &Simulator, http1: bool) -> Client {
    let ca = reqwest::Certificate::from_pem(simulator.ca_pem().as_bytes()).unwrap();
    let mut builder = Client::builder()
        .tls_certs_only([ca])
        .no_proxy()
        .timeout(std::time::Duration::from_secs(20))
        .redirect(reqwest::redirect::Policy::none())
        .user_agent("simulator-test/1");
    if http1 {
        builder = builder.http1_only();
    }
    builder.build().unwrap()
}

impl World {
    pub(crate) fn start() -> Self {
        Self::with(Options::default(), false)
    }

    pub(crate) fn with(options: Options, http1: bool) -> Self {
        let simulator = Simulator::start(options).unwrap();
        let control = simulator.control();
        control.add_app(TENANT, CLIENT, App::with_secret(SECRET));
        control
            .seed_row(TENANT, control.base_row(P1, "Example Partner"))
            .unwrap();
        let client = client(&simulator, http1);
        Self {
            simulator,
            control,
            client,
        }
    }

    pub(crate) fn form(&self) -> Vec<(&'static str, String)> {
        vec![
            ("grant_type", "client_credentials".to_owned()),
            ("client_id", CLIENT.to_owned()),
            ("client_secret", SECRET.to_owned()),
            ("scope", format!("{}/.default", self.simulator.graph_endpoint())),
        ]
    }

    /// A form whose proof is an assertion.
    pub(crate) fn asserting(&self, assertion: &str) -> Vec<(&'static str, String)> {
        let mut form = self.form();
        form.retain(|(name, _)| *name != "client_secret");
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        form.push(("client_assertion_type", kind.to_owned()));
        form.push(("client_assertion", assertion.to_owned()));
        form
    }

    /// Asks for a token with this assertion; gives the status, Entra's code and the sentence.
    pub(crate) async fn refusal(&self, assertion: &str) -> (u16, u64, String) {
        let (status, body) = self.ask(TENANT, &self.asserting(assertion)).await;
        let code = body["error_codes"][0].as_u64().unwrap_or_default();
        (
            status,
            code,
            body["error_description"].as_str().unwrap_or_default().to_owned(),
        )
    }

    pub(crate) async fn ask(&self, tenant: &str, form: &[(&'static str, String)]) -> (u16, Value) {
        let url = format!("{}/{tenant}/oauth2/v2.0/token", self.simulator.authority_host());
        read(self.client.post(url).form(form).send().await.unwrap()).await
    }

    pub(crate) async fn token(&self) -> String {
        let (status, body) = self.ask(TENANT, &self.form()).await;
        assert_eq!(status, 200, "{body}");
        body["access_token"].as_str().unwrap().to_owned()
    }

    pub(crate) fn url(&self, rest: &str) -> String {
        format!(
            "{}{}{rest}",
            self.simulator.graph_endpoint(),
            graph_simulator::COLLECTION
        )
    }

    /// A request as a right client makes it.
    pub(crate) fn request(&self, method: Method, rest: &str, token: &str) -> RequestBuilder {
        self.client
            .request(method, self.url(rest))
            .bearer_auth(token)
            .header("client-request-id", uuid::Uuid::new_v4().to_string())
    }

    pub(crate) async fn list(&self, token: &str) -> (u16, Value) {
        read(self.request(Method::GET, "", token).send().await.unwrap()).await
    }

    pub(crate) async fn get(&self, id: &str, token: &str) -> (u16, Value) {
        read(
            self.request(Method::GET, &format!("/{id}"), token)
                .send()
                .await
                .unwrap(),
        )
        .await
    }

    pub(crate) async fn patch(&self, id: &str, token: &str, body: &Value) -> (u16, Value) {
        let request = self.request(Method::PATCH, &format!("/{id}"), token).json(body);
        read(request.send().await.unwrap()).await
    }

    pub(crate) fn last(&self) -> Request {
        self.control.requests().pop().unwrap()
    }

    pub(crate) fn kinds(&self) -> Vec<graph_simulator::ViolationKind> {
        self.control
            .violations()
            .iter()
            .map(|violation| violation.kind)
            .collect()
    }
}

pub(crate) async fn read(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let body = if text.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    };
    (status, body)
}

/// The bytes in a PEM block.
pub(crate) fn der(pem: &str) -> Vec<u8> {
    let lines: Vec<&str> = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(lines.concat()).unwrap()
}

/// The payload of a token.
pub(crate) fn payload(token: &str) -> Value {
    let middle = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(middle).unwrap()).unwrap()
}

/// What signs an assertion.
pub(crate) struct Signer {
    pub(crate) header: Header,
    pub(crate) key: EncodingKey,
}

impl Signer {
    /// As Microsoft's page has it: PS256, the certificate named by its SHA-256 thumbprint.
    pub(crate) fn of(certified: &Certified) -> Self {
        let mut header = Header::new(Algorithm::PS256);
        header.x5t_s256 = Some(thumbprint(&aws_lc_rs::digest::SHA256, certified));
        Self {
            header,
            key: EncodingKey::from_rsa_der(&der(&certified.key_pkcs1_pem)),
        }
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        jsonwebtoken::encode(&self.header, claims, &self.key).unwrap()
    }
}

pub(crate) fn thumbprint(algorithm: &'static aws_lc_rs::digest::Algorithm, certified: &Certified) -> String {
    URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(algorithm, &der(&certified.certificate_pem)))
}

/// A PATCH body with the types that it needs.
pub(crate) fn change(property: &str, value: Value) -> Value {
    let mut body = json!({ "@odata.type": ROOT_TYPE });
    body[property] = value;
    body
}

pub(crate) fn group(id: &str) -> Value {
    json!({
        "@odata.type": "#microsoft.graph.complianceManagementPartnerAssignment",
        "target": { "@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": id },
    })
}

/// Intune's sentence, out of the JSON string inside of `error.message`.
pub(crate) fn inner(body: &Value) -> String {
    let nested: Value = serde_json::from_str(body["error"]["message"].as_str().unwrap()).unwrap();
    assert_eq!(nested["_version"], 3);
    assert_eq!(nested["HttpHeaders"], "{}");
    nested["Message"].as_str().unwrap().to_owned()
}

/// A fresh id.
pub(crate) fn uuid() -> String {
    uuid::Uuid::new_v4().to_string()
}
