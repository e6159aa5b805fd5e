//! The Graph and Entra simulator.
