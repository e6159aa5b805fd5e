//! Microsoft's side: what Graph and Entra say, and how they are asked. Knows no Kubernetes.

pub mod certificate;
pub mod client;
pub mod cloud;
pub mod error;
pub mod http;
mod json;
pub mod listing;
pub mod metadata;
pub mod model;
pub mod session;
pub mod throttle;
pub mod token;
