//! Tests against a real API server: one binary, a module a topic.

mod binary;
mod binding;
mod claims;
mod connections;
mod control_plane;
mod crd;
mod faults;
mod history;
mod kubectl;
mod pace;
mod sync;
