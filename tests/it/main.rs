//! Tests against a real API server: one binary, a module a topic.

mod binary;
mod binding;
mod claims;
mod connections;
mod contest;
mod control_plane;
mod crd;
mod edits;
mod faults;
mod history;
mod kubectl;
mod metrics;
mod pace;
mod sessions;
mod sync;
mod told;
mod weather;
