//! lineage. Pure.
