//! Holds the operator and the simulator against what Microsoft and others wrote: `make test-contracts`.
//!
//! | part | what it judges | where |
//! |---|---|---|
//! | Microsoft's OpenAPI, by the proxy prism | what the operator sends Graph and what the simulator answers | `openapi` |
//! | Microsoft's `msgraph-sdk` and `azure-identity` | what the simulator answers as Graph and as Entra | `sdk` |
//! | the OpenID-certified `oidc-provider` | how the operator proves to Entra who it is | `provider` |
//! | the API server's own keys, by `jose` | the token that the operator federates | `workload` |
//!
//! `tests/contracts` has what installs them and the small programs that drive them.

mod front;
mod openapi;
mod parts;
mod provider;
mod sdk;
mod workload;
