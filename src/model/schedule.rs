//! schedule. Pure.
