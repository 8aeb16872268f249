//! What the DNS has answered so far. Pure.
//!
//! A decision that depends on many answers is a function of [`Facts`]: it either decides or names the next question, and
//! is called again when the answer is known. So SPF is evaluated without IO, for several addresses with one set of
//! answers, and for records that are not published yet.

use std::{collections::BTreeMap, net::IpAddr};

/// A question, its name in lower case without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Addresses of one family.
    Addresses(String, Family),
    /// Names of mail exchangers.
    Mx(String),
    /// Names of an address.
    Ptr(IpAddr),
    /// TXT values, strings joined.
    Txt(String),
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
}

/// An answer; an empty one is "no such name" or "no such data" (RFC 7208, 4.6.4, "void").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Question::Addresses`].
    Addresses(Vec<IpAddr>),
    /// Nobody could tell, and why.
    Failed(String),
    /// To [`Question::Mx`] and [`Question::Ptr`]; the root is empty text.
    Names(Vec<String>),
    /// To [`Question::Txt`].
    Texts(Vec<Vec<u8>>),
}

/// The answers known so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts(BTreeMap<Question, Answer>);

/// A decision, or the question whose answer it needs first.
pub type Asked<T> = Result<T, Question>;

impl Facts {
    /// Returns the answer to a question.
    ///
    /// # Errors
    /// Hands the question back when it is still open.
    pub fn get(&self, question: &Question) -> Asked<&Answer> {
        self.0.get(question).ok_or_else(|| question.clone())
    }

    /// Keeps an answer.
    pub fn insert(&mut self, question: Question, answer: Answer) {
        self.0.insert(question, answer);
    }

    /// Returns the number of answers.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether nothing has been answered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns these facts with a name's TXT values replaced: the world as it would be with another record.
    #[must_use]
    pub fn with_txt(&self, name: &str, values: Vec<Vec<u8>>) -> Self {
        let mut facts = self.clone();
        facts.insert(Question::Txt(name.to_owned()), Answer::Texts(values));
        facts
    }
}

impl Family {
    /// Returns the family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}
