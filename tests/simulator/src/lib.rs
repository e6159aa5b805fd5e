//! A simulator of the parts of Microsoft Graph v1.0 and Microsoft Entra that the operator talks to.
//!
//! It speaks TLS with a certificate authority of its own, answers as Microsoft's documents and metadata say and as people
//! have seen it answer (`FACTS.md` beside this crate says where each behaviour comes from), and notes what a wrong
//! client could get away with against the real service.
//!
//! | what | where |
//! |---|---|
//! | starting and stopping | [`Simulator`], [`Options`] |
//! | tenants, rows, scripts, the log, in process | [`Control`] |
//! | the same over HTTP | `control_http.rs` |
//! | the entity's properties | [`model`] |
//! | what Graph checks and answers | `graph/` |
//! | the token endpoint | `entra.rs` |
//! | managed identities | `metadata.rs` |
//! | keys and certificates for tests | [`certificate`] |
//! | rules that break things | [`Script`], [`Action`], [`IgnoreWrites`] |

mod certificate;
mod control;
mod control_http;
mod entra;
mod graph;
mod incoming;
mod log;
mod metadata;
pub mod model;
mod options;
mod reply;
mod rows;
mod script;
mod server;
mod simulator;
pub mod throttle;
mod tls;
mod token;
mod wire;
mod world;

pub use certificate::{Certified, certificate, expired_certificate};
pub use control::Control;
pub use entra::new_secret;
pub use graph::COLLECTION;
pub use log::{Request, Violation, ViolationKind};
pub use options::{Options, ServiceOwned, Throttling, TokenStyle};
pub use rows::{IgnoreWrites, base_row};
pub use script::{Action, ActiveScript, Answer, Body, Script, Server};
pub use simulator::Simulator;
pub use throttle::Peak;
pub use world::{App, Endpoints, FederatedCredential, InFlight};
