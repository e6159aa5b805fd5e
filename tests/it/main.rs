//! Tests against a real API server: one binary, a module a topic.

mod binary;
mod binding;
mod claims;
mod connections;
mod contest;
mod contract;
mod control_plane;
mod crd;
mod deletion;
mod edits;
mod faults;
mod foreign;
mod history;
mod kubectl;
mod manifests;
mod metrics;
mod pace;
mod readme;
mod reasons;
mod roles;
mod schemas;
mod sessions;
mod shared_status;
mod sync;
mod told;
mod watch;
