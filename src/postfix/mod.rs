//! postfix.
