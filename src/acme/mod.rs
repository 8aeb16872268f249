//! acme.
