//! What a CA answers.

use std::time::{Duration, SystemTime};

use mailcert::{
    acme::{
        account::object::AccountObject, directory::Directory, link, poll, problem::Problem,
        renewal_info::RenewalInfo,
    },
    model::schedule,
};

/// JSON documents, and the headers that are read.
pub fn answers(data: &[u8]) {
    if let Some(problem) = Problem::parse(data) {
        super::assert_harmless(&problem.to_string());
        if let Some(url) = problem.unpause_url() {
            super::assert_harmless(&url);
            assert!(url.starts_with("https://"), "{url}");
        }
        let _ = (problem.is_paused(), problem.is_deactivation());
    }
    if let Some(info) = RenewalInfo::parse(data, None) {
        assert!(info.start < info.end);
        if let Some(url) = &info.explanation_url {
            super::assert_harmless(url);
        }
        let _ = schedule::choose(info.start, info.end, info.explanation_url, None, 7);
    }
    let _ = Directory::parse("https://ca.test/directory", data);
    let _ = serde_json::from_slice::<AccountObject>(data);
    let text = String::from_utf8_lossy(data);
    for url in link::alternates("https://ca.test/cert/1", text.lines()) {
        super::assert_harmless(&url);
    }
    if let Some(wait) = poll::retry_after(&text, SystemTime::UNIX_EPOCH) {
        assert!(wait <= Duration::from_secs(366 * 24 * 3600), "{wait:?}");
    }
}
