//! v1. Pure.
