//! certificate. Pure.
