//! One table of the file with the schema's defaults below it. Pure.
//!
//! A value of a wrong type counts as absent here: [`check`] has reported it.

use std::{
    ops::{Range, RangeInclusive},
    path::PathBuf,
};

use toml_edit::{Item, TableLike, Value};

use super::{check, report::Report, schema};

/// A table of the file, or of none: then every key has its default.
pub struct Section<'a> {
    /// Its path in the schema.
    pub path: &'static str,
    /// What is written; `None` where the file has no such table.
    pub table: Option<&'a dyn TableLike>,
    /// Where to point when a key is absent.
    pub at: Range<usize>,
}

impl<'a> Section<'a> {
    /// Returns the table of this name; its path must be a table of the schema.
    pub fn section(&self, path: &'static str) -> Section<'a> {
        let name = path.rsplit('.').next().unwrap_or_default();
        let table = self.item(name).and_then(Item::as_table_like);
        let at = self.table.map(|table| check::key_span(table, name, &self.at));
        Section {
            path,
            table,
            at: at.unwrap_or_else(|| self.at.clone()),
        }
    }

    /// Returns what is written for a key.
    pub fn item(&self, name: &str) -> Option<&'a Item> {
        self.table
            .and_then(|table| table.get(name))
            .filter(|item| !item.is_none())
    }

    /// Returns whether the table stands in the file.
    pub fn is_written(&self) -> bool {
        self.table.is_some()
    }

    /// Returns a value and its place, or the default of the schema.
    fn value(&self, name: &str) -> Option<(&'a Value, Range<usize>)> {
        let Some(item) = self.item(name) else {
            let default = schema::find(self.path, name).and_then(schema::Key::default)?;
            return Some((default, self.at.clone()));
        };
        let at = item.span().unwrap_or_else(|| self.at.clone());
        item.as_value().map(|value| (value, at))
    }

    /// Returns a string. A value of another type has been reported, and counts as absent; so below.
    pub fn text(&self, name: &str) -> Option<(String, Range<usize>)> {
        let (value, at) = self.value(name)?;
        Some((value.as_str()?.to_owned(), at))
    }

    /// Returns the word of a choice, which [`check`] has judged; empty when it has been reported.
    pub fn word(&self, name: &str) -> String {
        self.text(name).map(|(word, _)| word).unwrap_or_default()
    }

    pub fn integer(&self, name: &str) -> Option<(i64, Range<usize>)> {
        let (value, at) = self.value(name)?;
        Some((value.as_integer()?, at))
    }

    pub fn boolean(&self, name: &str) -> Option<(bool, Range<usize>)> {
        let (value, at) = self.value(name)?;
        Some((value.as_bool()?, at))
    }

    /// Returns a list of strings, each with its place.
    fn list(&self, name: &str) -> Vec<(String, Range<usize>)> {
        let Some((value, at)) = self.value(name) else {
            return Vec::new();
        };
        let member = |member: &Value| {
            let text = member.as_str()?.to_owned();
            Some((text, member.span().unwrap_or_else(|| at.clone())))
        };
        value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(member)
            .collect()
    }

    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(|(text, _)| PathBuf::from(text))
    }

    /// Returns the members of a list of tables.
    ///
    /// Its path must be a list of tables of the schema.
    pub fn tables(&self, path: &'static str) -> Vec<Section<'a>> {
        let section = |table: &'a dyn TableLike, at: Option<Range<usize>>| Section {
            path,
            table: Some(table),
            at: at.unwrap_or_default(),
        };
        match self.item(path.rsplit('.').next().unwrap_or_default()) {
            Some(Item::ArrayOfTables(list)) => {
                list.iter().map(|table| section(table, table.span())).collect()
            }
            Some(Item::Value(Value::Array(list))) => list
                .iter()
                .filter_map(|member| Some(section(member.as_inline_table()?, member.span())))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Returns what `parse` makes of a string, and reports what is wrong with it.
    pub fn parsed<T>(
        &self,
        name: &str,
        report: &mut Report<'_>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (text, at) = self.text(name)?;
        self.take(name, &at, parse(&text), report)
    }

    /// Returns what `parse` makes of each string of a list, and reports what is wrong with them.
    pub fn parsed_list<T>(
        &self,
        name: &str,
        report: &mut Report<'_>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<(T, Range<usize>)> {
        let mut values = Vec::new();
        for (text, at) in self.list(name) {
            values.extend(
                self.take(name, &at, parse(&text), report)
                    .map(|value| (value, at)),
            );
        }
        values
    }

    /// Like [`Self::parsed_list`], for values of which none may stand twice in whatever spelling.
    pub fn distinct<T: PartialEq + ToString>(
        &self,
        name: &str,
        report: &mut Report<'_>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<(T, Range<usize>)> {
        let mut values: Vec<(T, Range<usize>)> = Vec::new();
        for (value, at) in self.parsed_list(name, report, parse) {
            if values.iter().any(|(other, _)| *other == value) {
                self.refuse(name, &at, &format!("has `{}` twice", value.to_string()), report);
            } else {
                values.push((value, at));
            }
        }
        values
    }

    /// Returns an integer within bounds; `fallback` when it has been reported.
    pub fn number(&self, name: &str, bounds: RangeInclusive<i64>, report: &mut Report<'_>) -> u32 {
        let Some((number, at)) = self.integer(name) else {
            return 0;
        };
        if !bounds.contains(&number) {
            let bounds = format!("cannot be {number}: it is {} to {}", bounds.start(), bounds.end());
            self.refuse(name, &at, &bounds, report);
        }
        u32::try_from(number).unwrap_or_default()
    }

    pub fn take<T>(
        &self,
        name: &str,
        at: &Range<usize>,
        result: Result<T, String>,
        report: &mut Report<'_>,
    ) -> Option<T> {
        result.map_err(|fault| self.refuse(name, at, &fault, report)).ok()
    }

    /// Reports a sentence that begins with the key.
    pub fn refuse(&self, name: &str, at: &Range<usize>, fault: &str, report: &mut Report<'_>) {
        report.error(at, format!("`{}` {fault}", schema::join(self.path, name)));
    }
}
