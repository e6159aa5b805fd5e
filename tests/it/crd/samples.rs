//! Objects on both sides of every rule, as merge patches to the least that the schema takes.

use serde_json::{Value, json};

use super::desk::Kind;

/// One object, and what the API server is to say.
pub(crate) struct Sample {
    pub(crate) kind: Kind,
    pub(crate) patch: Value,
    /// What a refusal names: the field and the rule. `None`: it is accepted.
    pub(crate) refusal: Option<&'static [&'static str]>,
}

impl Sample {
    /// Whether the hand-written schemas are known to be laxer: they check the length of a name alone.
    pub(crate) fn is_stricter_than_reference(&self) -> bool {
        self.refusal == Some(NAME_SHAPE)
    }
}

const LISTS: [&str; 3] = [
    "macOsEnrollmentAssignments",
    "androidEnrollmentAssignments",
    "iosEnrollmentAssignments",
];

const FLAGS: [&str; 4] = ["macOsOnboarded", "androidOnboarded", "iosOnboarded", "suspend"];

const GROUP: &str = "7c1b0f5e-3f5a-4d0a-9f61-0d6f5a2b9b11";

const ONE_KEY: &[&str] = &["spec.partnerRef", "partnerRef takes exactly one of id and displayName"];
const PARTNER_ID_SHAPE: &[&str] = &[
    "spec.partnerRef.id",
    "should match '^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$'",
];
const NAME_SHAPE: &[&str] = &["Ref.name", "should match"];
const GROUP_ID_SHAPE: &[&str] = &["target.groupId", "should match '^[0-9a-fA-F]{8}-"];
const GROUP_ID_IFF: &[&str] = &[
    "[0].target",
    "groupId is required for the types Group and ExclusionGroup",
];
const COLLECTION_ID_SHAPE: &[&str] = &["target.collectionId", "should match '^[A-Za-z0-9]{1,64}$'"];
const COLLECTION_ID_IFF: &[&str] = &[
    "[0].target",
    "collectionId is required for the type ConfigurationManagerCollection",
];
const ONE_AUTH: &[&str] = &["spec.auth", "auth takes exactly one of clientSecret, clientCertificate"];
const CLIENT_ID: &[&str] = &["spec", "clientId may be absent only with auth.managedIdentity"];

/// All samples.
pub(crate) fn samples() -> Vec<Sample> {
    let mut table = Table(Vec::new());
    table.partner_references();
    table.partner_words();
    table.assignments();
    table.connection_identity();
    table.connection_auth();
    table.connection_references();
    table.0
}

struct Table(Vec<Sample>);

impl Table {
    fn takes(&mut self, kind: Kind, patch: Value) {
        self.0.push(Sample {
            kind,
            patch,
            refusal: None,
        });
    }

    fn refuses(&mut self, kind: Kind, patch: Value, refusal: &'static [&'static str]) {
        self.0.push(Sample {
            kind,
            patch,
            refusal: Some(refusal),
        });
    }

    fn partner_references(&mut self) {
        let kind = Kind::Partner;
        self.takes(kind, json!({}));
        self.takes(kind, json!({ "partnerRef": { "id": null, "displayName": "Jamf" } }));
        self.refuses(kind, json!({ "partnerRef": { "id": null } }), ONE_KEY);
        self.refuses(kind, json!({ "partnerRef": { "displayName": "Jamf" } }), ONE_KEY);
        self.refuses(
            kind,
            json!({ "partnerRef": null }),
            &["spec.partnerRef", "Required value"],
        );
        self.refuses(
            kind,
            json!({ "connectionRef": null }),
            &["spec.connectionRef", "Required value"],
        );
        self.refuses(
            kind,
            json!({ "connectionRef": { "name": null } }),
            &["spec.connectionRef.name", "Required value"],
        );

        for id in ["a", "0", "Jamf_1.x-y", &"x".repeat(128)] {
            self.takes(kind, json!({ "partnerRef": { "id": id } }));
        }
        for id in ["", ".a", "-a", "..", "a/b", "a b", "a%2Fb", "a?b", "ä", "a\n"] {
            self.refuses(kind, json!({ "partnerRef": { "id": id } }), PARTNER_ID_SHAPE);
        }
        let too_long = "x".repeat(129);
        self.refuses(
            kind,
            json!({ "partnerRef": { "id": too_long } }),
            &["spec.partnerRef.id", "may not be more than 128"],
        );

        for name in [
            "../kube-system/graph",
            "graph/../x",
            "graph?x=1",
            "Graph",
            "graph.",
            "graph\n",
        ] {
            self.refuses(kind, json!({ "connectionRef": { "name": name } }), NAME_SHAPE);
        }
        let empty = &["spec.connectionRef.name", "should be at least 1 chars long"];
        self.refuses(kind, json!({ "connectionRef": { "name": "" } }), empty);
        for name in ["a.b-c.1", "a", &"x".repeat(253)] {
            self.takes(kind, json!({ "connectionRef": { "name": name } }));
        }
        let too_long = "x".repeat(254);
        self.refuses(
            kind,
            json!({ "connectionRef": { "name": too_long } }),
            &["spec.connectionRef.name", "may not be more than 253"],
        );

        // Characters, not bytes.
        for name in ["J", " ", &"ü".repeat(256)] {
            self.takes(kind, json!({ "displayName": name }));
            self.takes(kind, json!({ "partnerRef": { "id": null, "displayName": name } }));
        }
        self.refuses(
            kind,
            json!({ "displayName": "" }),
            &["spec.displayName", "should be at least 1 chars long"],
        );
        let too_long = "x".repeat(257);
        self.refuses(
            kind,
            json!({ "displayName": too_long }),
            &["spec.displayName", "may not be more than 256"],
        );
        let empty = json!({ "partnerRef": { "id": null, "displayName": "" } });
        self.refuses(
            kind,
            empty,
            &["spec.partnerRef.displayName", "should be at least 1 chars long"],
        );
        let long = json!({ "partnerRef": { "id": null, "displayName": too_long } });
        self.refuses(kind, long, &["spec.partnerRef.displayName", "may not be more than 256"]);
        self.refuses(
            kind,
            json!({ "partnerRef": { "id": null, "displayName": "Jamf" }, "displayName": "Jamf" }),
            &[
                "spec",
                "displayName can be managed only where partnerRef.id names the object",
            ],
        );
    }

    fn partner_words(&mut self) {
        let kind = Kind::Partner;
        for policy in ["Enforce", "Observe"] {
            self.takes(kind, json!({ "managementPolicy": policy }));
        }
        for policy in ["Retain", "Reset"] {
            self.takes(kind, json!({ "deletionPolicy": policy }));
        }
        for word in ["enforce", "", "Retain"] {
            let rule = &["spec.managementPolicy", r#"supported values: "Enforce", "Observe""#];
            self.refuses(kind, json!({ "managementPolicy": word }), rule);
        }
        for word in ["reset", "", "Delete"] {
            let rule = &["spec.deletionPolicy", r#"supported values: "Retain", "Reset""#];
            self.refuses(kind, json!({ "deletionPolicy": word }), rule);
        }
        for flag in FLAGS {
            for value in [true, false] {
                self.takes(kind, json!({ flag: value }));
            }
            for value in [json!("true"), json!("no"), json!(""), json!(1)] {
                let rule: &'static [&'static str] = match flag {
                    "macOsOnboarded" => &["spec.macOsOnboarded", "boolean"],
                    "androidOnboarded" => &["spec.androidOnboarded", "boolean"],
                    "iosOnboarded" => &["spec.iosOnboarded", "boolean"],
                    _ => &["spec.suspend", "boolean"],
                };
                self.refuses(kind, json!({ flag: value }), rule);
            }
        }
        // The lists of `intervals` have more.
        for interval in ["1m", "24h", "00001h00000m00000s"] {
            self.takes(kind, json!({ "syncInterval": interval }));
        }
        for interval in ["59s", "24h1s"] {
            let rule = &["spec.syncInterval", "syncInterval is between 1m and 24h"];
            self.refuses(kind, json!({ "syncInterval": interval }), rule);
        }
        let shape = &["spec.syncInterval", "should match '^([0-9]{1,5}(h|m|s)){1,3}$'"];
        self.refuses(kind, json!({ "syncInterval": "1d" }), shape);
        let long = &["spec.syncInterval", "may not be more than 18"];
        self.refuses(kind, json!({ "syncInterval": "00001h00000m000000s" }), long);
        // An id that YAML takes for a number, or an interval without a unit.
        self.refuses(
            kind,
            json!({ "partnerRef": { "id": 12345 } }),
            &["spec.partnerRef.id", "string"],
        );
        self.refuses(kind, json!({ "syncInterval": 10 }), &["spec.syncInterval", "string"]);
    }

    fn assignments(&mut self) {
        let kind = Kind::Partner;
        let list = |target: Value| json!({ LISTS[0]: [{ "target": target }] });
        for group in [GROUP, &GROUP.to_uppercase()] {
            for word in ["Group", "ExclusionGroup"] {
                self.takes(kind, list(json!({ "type": word, "groupId": group })));
            }
        }
        let collections = ["SMS00001", "a", &"x".repeat(64)];
        for collection in collections {
            self.takes(
                kind,
                list(json!({ "type": "ConfigurationManagerCollection", "collectionId": collection })),
            );
        }
        for word in ["AllLicensedUsers", "AllDevices"] {
            self.takes(kind, list(json!({ "type": word })));
            self.refuses(kind, list(json!({ "type": word, "groupId": GROUP })), GROUP_ID_IFF);
            self.refuses(
                kind,
                list(json!({ "type": word, "collectionId": "SMS00001" })),
                COLLECTION_ID_IFF,
            );
        }
        for word in ["Group", "ExclusionGroup"] {
            self.refuses(kind, list(json!({ "type": word })), GROUP_ID_IFF);
            let both = json!({ "type": word, "groupId": GROUP, "collectionId": "SMS00001" });
            self.refuses(kind, list(both), COLLECTION_ID_IFF);
        }
        let collection = "ConfigurationManagerCollection";
        self.refuses(kind, list(json!({ "type": collection })), COLLECTION_ID_IFF);
        let both = json!({ "type": collection, "groupId": GROUP, "collectionId": "SMS00001" });
        self.refuses(kind, list(both), GROUP_ID_IFF);

        let undashed = GROUP.replace('-', "");
        let braced = format!("{{{GROUP}}}");
        for group in ["", "All users", &undashed, &GROUP[1..], &GROUP.replace('7', "g")] {
            self.refuses(kind, list(json!({ "type": "Group", "groupId": group })), GROUP_ID_SHAPE);
        }
        self.refuses(
            kind,
            list(json!({ "type": "Group", "groupId": braced })),
            &["target.groupId", "may not be more than 36"],
        );
        for id in ["", "SMS 1", "SMS-1", "SMS/1", "ä", "SMS00001\n"] {
            self.refuses(
                kind,
                list(json!({ "type": collection, "collectionId": id })),
                COLLECTION_ID_SHAPE,
            );
        }
        let long = list(json!({ "type": collection, "collectionId": "x".repeat(65) }));
        self.refuses(kind, long, &["target.collectionId", "may not be more than 64"]);

        let words = &["[0].target.type", r#"supported values: "Group", "ExclusionGroup""#];
        for word in ["group", "", "#microsoft.graph.groupAssignmentTarget"] {
            self.refuses(kind, list(json!({ "type": word })), words);
        }
        self.refuses(kind, list(json!({})), &["[0].target.type", "Required value"]);
        self.refuses(kind, json!({ LISTS[0]: [{}] }), &["[0].target", "Required value"]);
        let text = json!({ LISTS[0]: "AllDevices" });
        self.refuses(kind, text, &["spec.macOsEnrollmentAssignments"]);

        // A repeated entry is no error: the list is a set to us, which the schema cannot say of objects.
        let one = json!({ "target": { "type": "Group", "groupId": GROUP } });
        for name in LISTS {
            self.takes(kind, json!({ name: [] }));
            self.takes(kind, json!({ name: vec![one.clone(); 500] }));
            let rule: &'static [&'static str] = match name {
                "macOsEnrollmentAssignments" => &["spec.macOsEnrollmentAssignments", "must have at most 500 items"],
                "androidEnrollmentAssignments" => &["spec.androidEnrollmentAssignments", "must have at most 500 items"],
                _ => &["spec.iosEnrollmentAssignments", "must have at most 500 items"],
            };
            self.refuses(kind, json!({ name: vec![one.clone(); 501] }), rule);
        }
    }

    fn connection_identity(&mut self) {
        let kind = Kind::Connection;
        let tenant = "bbbbbbbb-2222-4222-8222-000000000001";
        self.takes(kind, json!({}));
        self.takes(kind, json!({ "tenantId": tenant }));
        let upper = tenant.to_uppercase();
        for id in ["", "contoso.onmicrosoft.com", "common", &upper, &tenant[1..]] {
            self.refuses(
                kind,
                json!({ "tenantId": id }),
                &["spec.tenantId", "should match '^[0-9a-f]{8}-"],
            );
        }
        self.refuses(kind, json!({ "tenantId": null }), &["spec.tenantId", "Required value"]);
        let long = format!("{tenant}1");
        let rule = &["spec.tenantId", "may not be more than 36"];
        self.refuses(kind, json!({ "tenantId": long }), rule);
        let rule = &["spec.clientId", "may not be more than 36"];
        self.refuses(kind, json!({ "clientId": long }), rule);
        self.takes(kind, json!({ "clientId": upper }));
        for id in ["", "my-app", &tenant[1..]] {
            self.refuses(
                kind,
                json!({ "clientId": id }),
                &["spec.clientId", "should match '^[0-9a-fA-F]{8}-"],
            );
        }
        for cloud in ["Global", "USGov", "USGovDoD", "China"] {
            self.takes(kind, json!({ "cloud": cloud }));
        }
        for cloud in ["global", "UsGov", "Germany", "", "https://graph.microsoft.com"] {
            let rule = &[
                "spec.cloud",
                r#"supported values: "Global", "USGov", "USGovDoD", "China""#,
            ];
            self.refuses(kind, json!({ "cloud": cloud }), rule);
        }
        for access in ["ReadWrite", "ReadOnly"] {
            self.takes(kind, json!({ "access": access }));
        }
        for access in ["readonly", "", "Write"] {
            let rule = &["spec.access", r#"supported values: "ReadWrite", "ReadOnly""#];
            self.refuses(kind, json!({ "access": access }), rule);
        }
    }

    fn connection_auth(&mut self) {
        let kind = Kind::Connection;
        let ways = [
            json!({ "clientSecret": { "secretRef": { "name": "graph", "key": "client-secret" } } }),
            json!({ "clientCertificate": { "secretRef": { "name": "graph-cert" } } }),
            json!({ "workloadIdentity": { "serviceAccountRef": { "name": "graph" } } }),
            json!({ "operatorIdentity": {} }),
            json!({ "managedIdentity": {} }),
        ];
        for (index, way) in ways.iter().enumerate() {
            self.takes(kind, only(way));
            for other in &ways[index + 1..] {
                let mut both = only(way);
                super::desk::merge(&mut both["auth"], other);
                self.refuses(kind, both, ONE_AUTH);
            }
            let mut without_client = only(way);
            without_client["clientId"] = Value::Null;
            match way.get("managedIdentity") {
                Some(_) => self.takes(kind, without_client),
                None => self.refuses(kind, without_client, CLIENT_ID),
            }
        }
        self.refuses(kind, only(&json!({})), ONE_AUTH);
        self.refuses(kind, json!({ "auth": null }), &["spec.auth", "Required value"]);
    }

    fn connection_references(&mut self) {
        let kind = Kind::Connection;
        let secret = |reference: Value| json!({ "auth": { "clientSecret": { "secretRef": reference } } });
        for name in ["../kube-system/graph", "graph/../x", "graph?x=1", "Graph"] {
            self.refuses(kind, secret(json!({ "name": name })), NAME_SHAPE);
            let certificate = json!({ "clientCertificate": { "secretRef": { "name": name } } });
            self.refuses(kind, only(&certificate), NAME_SHAPE);
            let account = json!({ "workloadIdentity": { "serviceAccountRef": { "name": name } } });
            self.refuses(kind, only(&account), NAME_SHAPE);
        }
        self.takes(kind, secret(json!({ "name": "x".repeat(253), "key": "x".repeat(253) })));
        self.takes(kind, secret(json!({ "name": "x", "key": "x" })));
        let long = "x".repeat(254);
        self.refuses(
            kind,
            secret(json!({ "key": long })),
            &["secretRef.key", "may not be more than 253"],
        );
        self.refuses(
            kind,
            secret(json!({ "key": "" })),
            &["secretRef.key", "should be at least 1 chars long"],
        );
        for (way, reference) in [
            ("clientSecret", "secretRef"),
            ("clientCertificate", "secretRef"),
            ("workloadIdentity", "serviceAccountRef"),
        ] {
            let named = |name: Value| only(&json!({ way: { reference: { "name": name } } }));
            self.takes(kind, named(json!("x")));
            self.takes(kind, named(json!("x".repeat(253))));
            self.refuses(kind, named(json!(long)), &["Ref.name", "may not be more than 253"]);
            self.refuses(kind, named(json!("")), &["Ref.name", "should be at least 1 chars long"]);
            self.refuses(kind, named(Value::Null), &["Ref.name", "Required value"]);
            let without = json!({ "auth": { "clientSecret": null, way: { reference: null } } });
            self.refuses(kind, without, &["Ref", "Required value"]);
        }
    }
}

/// A patch to the base, after which there is no other way of proof than this.
fn only(auth: &Value) -> Value {
    let mut patch = json!({ "auth": auth });
    // The base has a client secret, which a patch has to take away.
    if auth.get("clientSecret").is_none() {
        patch["auth"]["clientSecret"] = Value::Null;
    }
    patch
}
