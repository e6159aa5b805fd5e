//! Keeps Microsoft Intune compliance management partners as Kubernetes resources say.

pub mod api;
pub mod graph;
pub mod runtime;
