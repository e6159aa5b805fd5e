//! The reconcile of a `ComplianceManagementPartner`.

pub mod claim;
pub mod plan;
pub mod status;
