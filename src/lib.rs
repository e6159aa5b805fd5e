//! Keeps Microsoft Intune's compliance management partners as Kubernetes resources say.
//!
//! Data flows one way: **watch → resolve → claim → observe (Graph) → plan (pure) → apply (Graph) → status (pure) → write
//! (Kubernetes)**. Where to look for a rule:
//!
//! | rule | file |
//! |---|---|
//! | which fields are sent | `partner/plan.rs` |
//! | when we let go | `partner/cleanup.rs` |
//! | who may touch an object | `partner/claim.rs`, asked by `partner/apply.rs` |
//! | what a reason means and when it is tried again | `api/reason.rs` |
//! | what stands in status, and when it is written | `partner/status.rs`, `runtime/write.rs` |
//! | what a Graph or Entra error means | `graph/error.rs` |
//! | what is validated at apply | `api/` |
//! | who reads Secrets and asks for ServiceAccounts' tokens | `credentials.rs` |
//! | how it signs in | `graph/token.rs`, `graph/certificate.rs`, `graph/metadata.rs` |
//! | who may use the operator's own identity | `connection/sessions.rs` |
//! | how fast | `graph/throttle.rs`, `runtime/backoff.rs`, `runtime/queue.rs` |
//! | what Graph's answers say of its limits | `graph/throttle/usage.rs` |
//! | when polls happen | `connection.rs` |
//! | what is written down of a change | `partner/audit.rs` |
//! | what is told as events | `partner/report.rs` |
//! | which changes lead to a pass | `runtime/index.rs` |
//! | how foreign text is shown | `runtime/text.rs` |
//! | what is read live | `runtime/look.rs` |
//! | what an older CRD lacks | `runtime/schema.rs` |

pub mod api;
pub mod connection;
pub mod credentials;
#[cfg(test)]
mod foreign_tests;
pub mod graph;
#[cfg(test)]
mod house_tests;
pub mod options;
pub mod partner;
#[cfg(test)]
mod refusal_tests;
pub mod runtime;
