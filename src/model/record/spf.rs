//! SPF records (RFC 7208). Pure.
