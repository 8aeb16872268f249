//! template. Pure.
