//! master.cf: overrides added to a service, services put in, commented templates brought to life. Pure.
//!
//! Distributions ship their submission services as comments, and operators know where to look for them; so a template is
//! un-commented where it stands. Lines of it that are not wanted stay comments: Postfix skips them inside a service.

use super::{
    Lines, MasterCf, N_COLUMNS, Override, Service, is_space, overrides, service, split_name_value,
    without_last_blanks, words,
};

/// A service that stands in comments, as distributions ship it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The service as its first line has it; overrides that follow are not in it.
    pub service: Service,
    header: usize,
    overrides: Vec<(usize, Override)>,
}

impl MasterCf {
    /// Gives the n-th service an override, on a line of its own behind the others.
    pub fn add_override(&mut self, index: usize, name: &str, value: &str) {
        if let Some(last) = self.last_line(index) {
            self.0.insert(last + 1, override_line(name, value).as_bytes());
        }
    }

    /// Comments out every override of this name in the n-th service, with the reason.
    pub fn comment_out_in(&mut self, index: usize, name: &str, reason: &str) {
        let Some(service) = self.services().into_iter().nth(index) else {
            return;
        };
        // Each step takes one away.
        for _ in service.overrides.iter().filter(|found| found.name == name) {
            let logical = self.0.logical().into_iter();
            let mut services = logical.filter(|one| super::service(&self.0.joined(one)).is_some());
            let Some(logical) = services.nth(index) else {
                return;
            };
            let found = overrides(&self.0.joined(&logical));
            let Some(found) = found.into_iter().find(|found| found.parameter.name == name) else {
                return;
            };
            self.take_out(&logical, &found, reason);
        }
    }

    /// Puts a service without overrides behind the n-th one, or at the end of the file; returns its own index.
    pub fn insert_service(&mut self, after: Option<usize>, text: &str) -> usize {
        let Some((index, last)) = after.and_then(|index| Some((index, self.last_line(index)?))) else {
            self.0.append(text.as_bytes());
            return self.services().len().saturating_sub(1);
        };
        self.0.insert(last + 1, text.as_bytes());
        index + 1
    }

    /// Finds the services that stand in comments and could be brought to life where they stand.
    pub fn templates(&self) -> Vec<Template> {
        let mut found: Vec<Template> = Vec::new();
        // Whether the lines still belong to the last template.
        let mut is_open = false;
        for index in 0..self.0.0.len() {
            let text = self.0.text(index);
            let Some(inner) = text.strip_prefix(b"#") else {
                is_open = false;
                continue;
            };
            if let Some(service) = commented_service(inner) {
                found.push(Template {
                    service,
                    header: index,
                    overrides: Vec::new(),
                });
                is_open = true;
            } else if is_open
                && inner.first().is_some_and(is_space)
                && let Some(parameter) = commented_override(inner)
                && let Some(template) = found.last_mut()
            {
                template.overrides.push((index, parameter));
            }
        }
        found.retain(|template| !self.would_capture(template));
        found
    }

    /// Brings a template to life with those of its overrides that `chosen` picks; returns the service's index.
    pub fn uncomment(&mut self, template: &Template, chosen: impl Fn(&Override) -> bool) -> usize {
        let lines = template
            .overrides
            .iter()
            .filter(|(_, parameter)| chosen(parameter))
            .map(|(index, _)| *index);
        for index in lines.chain([template.header]) {
            if let Some(line) = self.0.0.get_mut(index)
                && line.first() == Some(&b'#')
            {
                line.remove(0);
            }
        }
        if let Some(line) = self.0.0.get_mut(template.header) {
            // Behind the `#` may stand blanks, which would make it the continuation of the line above.
            let n_blanks = line.iter().take_while(|byte| is_space(byte)).count();
            line.drain(..n_blanks);
        }
        let before = |lines: &Lines| {
            let logical = lines.logical();
            let first =
                |one: &&super::Logical| one.lines.first().is_some_and(|first| *first < template.header);
            logical
                .iter()
                .filter(first)
                .filter(|one| service(&lines.joined(one)).is_some())
                .count()
        };
        before(&self.0)
    }

    /// Returns whether lines that continue the service above would become the template's, were it brought to life.
    fn would_capture(&self, template: &Template) -> bool {
        let next = (template.header + 1..self.0.0.len())
            .map(|index| self.0.text(index))
            .find(|text| !super::super::is_ignored(text));
        next.is_some_and(|text| text.first().is_some_and(is_space))
    }

    /// Returns the last physical line of the n-th service.
    fn last_line(&self, index: usize) -> Option<usize> {
        let logical = self.0.logical();
        let mut services = logical
            .iter()
            .filter(|one| service(&self.0.joined(one)).is_some());
        services.nth(index)?.lines.last().copied()
    }
}

/// Spells an override; white space in its value needs braces (master(5)).
fn override_line(name: &str, value: &str) -> String {
    if value.contains([' ', '\t']) {
        format!("  -o {{ {name} = {value} }}")
    } else {
        format!("  -o {name}={value}")
    }
}

/// Reads a comment as the first line of an `inet` service.
fn commented_service(inner: &[u8]) -> Option<Service> {
    let (columns, _) = words(inner);
    let found = service(inner)?;
    // Prose has words as well; a service's columns hold flags and numbers.
    let is_flag = |text: &String| text == "-" || text == "y" || text == "n";
    let is_number = |text: &String| text == "-" || text.trim_end_matches('?').parse::<u32>().is_ok();
    // One that is commented out twice would stay a comment; one behind a vertical tab or form feed, which part no columns and begin a
    // continuation all the same, would belong to the service above.
    let is_service = columns.len() == N_COLUMNS
        && !found.name.starts_with(['#', '\x0b', '\x0c'])
        && found.args.is_empty()
        && found.kind == "inet"
        && [&found.private, &found.unprivileged, &found.chroot]
            .into_iter()
            .all(is_flag)
        && [&found.wakeup, &found.process_limit].into_iter().all(is_number);
    is_service.then_some(found)
}

/// Reads a comment as one `-o name=value` and nothing else.
fn commented_override(inner: &[u8]) -> Option<Override> {
    // Eight columns before it make it the argument of a service.
    let line = [b"x inet n - n - - x ", inner].concat();
    let text = super::trim(inner);
    let rest = text.strip_prefix(b"-o")?;
    let is_braced = super::trim(rest).starts_with(b"{");
    let has_one_word =
        is_braced || split_name_value(rest).is_some_and(|(_, value)| !value.iter().any(is_space));
    let mut found = overrides(&line).into_iter();
    let only = found.next().filter(|_| has_one_word)?;
    (found.next().is_none() && only.end == without_last_blanks(&line).len()).then_some(only.parameter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(file: &MasterCf) -> String {
        String::from_utf8(file.to_bytes()).unwrap()
    }

    #[test]
    fn adds_an_override_behind_the_others() {
        let check = |before: &str, index: usize, expected: &str| {
            let mut file = MasterCf::parse(before.as_bytes());
            let services = file.services();
            file.add_override(index, "p", "1");
            assert_eq!(text(&file), expected, "{before:?}");
            let after = file.services();
            assert_eq!(after.len(), services.len());
            assert_eq!(after[index].overridden("p"), Some(&b"1"[..]), "{before:?}");
        };
        let a = "a inet n - n - - smtpd";
        let b = "b inet n - n - - smtpd";
        check(&format!("{a}\n"), 0, &format!("{a}\n  -o p=1\n"));
        check(a, 0, &format!("{a}\n  -o p=1\n"));
        check(&format!("{a}\r\n"), 0, &format!("{a}\r\n  -o p=1\r\n"));
        check(
            &format!("{a}\n# c\n  -o q=1\n#d\n{b}\n"),
            0,
            &format!("{a}\n# c\n  -o q=1\n  -o p=1\n#d\n{b}\n"),
        );
        check(
            &format!("short line\n{a}\n{b} -o p=0"),
            1,
            &format!("short line\n{a}\n{b} -o p=0\n  -o p=1\n"),
        );
    }

    #[test]
    fn spells_values_with_blanks_in_braces() {
        let mut file = MasterCf::parse(b"a inet n - n - - smtpd\n");
        file.add_override(0, "p", "permit x, reject");
        assert_eq!(
            text(&file),
            "a inet n - n - - smtpd\n  -o { p = permit x, reject }\n"
        );
        assert_eq!(file.services()[0].overridden("p"), Some(&b"permit x, reject"[..]));
    }

    #[test]
    fn puts_a_service_in_its_place() {
        let check = |before: &str, after: Option<usize>, index: usize, expected: &str| {
            let mut file = MasterCf::parse(before.as_bytes());
            assert_eq!(
                file.insert_service(after, "n inet n - y - - smtpd"),
                index,
                "{before:?}"
            );
            assert_eq!(text(&file), expected, "{before:?}");
            assert_eq!(file.services()[index].name, "n");
        };
        let n = "n inet n - y - - smtpd";
        let a = "a inet n - n - - smtpd";
        check("", None, 0, &format!("{n}\n"));
        check(a, None, 1, &format!("{a}\n{n}\n"));
        check(a, Some(0), 1, &format!("{a}\n{n}\n"));
        check(
            &format!("{a}\n  -o q=1\n# c\n{a}\n"),
            Some(0),
            1,
            &format!("{a}\n  -o q=1\n{n}\n# c\n{a}\n"),
        );
    }

    const DEBIAN: &str = "\
smtp      inet  n       -       y       -       -       smtpd
#smtp      inet  n       -       y       -       1       postscreen
#smtpd     pass  -       -       y       -       -       smtpd
# Choose one: enable submission for loopback clients only, or for any client.
#127.0.0.1:submission inet n -   y       -       -       smtpd
#submission inet n       -       y       -       -       smtpd
#  -o syslog_name=postfix/submission
#  -o smtpd_tls_security_level=encrypt
#     Instead of specifying complex smtpd_<xxx>_restrictions here,
#  -o smtpd_client_restrictions=
#  -o { a = b c }
#628       inet  n       -       y       -       -       qmqpd
pickup    unix  n       -       y       60      1       pickup
";

    #[test]
    fn finds_what_distributions_ship_as_comments() {
        let file = MasterCf::parse(DEBIAN.as_bytes());
        let found = file.templates();
        let names: Vec<&str> = found.iter().map(|one| one.service.name.as_str()).collect();
        assert_eq!(names, ["smtp", "127.0.0.1:submission", "submission", "628"]);
        let overrides: Vec<&str> = found[2]
            .overrides
            .iter()
            .map(|(_, one)| one.name.as_str())
            .collect();
        assert_eq!(
            overrides,
            [
                "syslog_name",
                "smtpd_tls_security_level",
                "smtpd_client_restrictions",
                "a"
            ]
        );
        assert_eq!(found[2].service.chroot, "y");
    }

    #[test]
    fn brings_a_template_to_life_where_it_stands() {
        let mut file = MasterCf::parse(DEBIAN.as_bytes());
        let template = file.templates().remove(2);
        let index = file.uncomment(&template, |one| {
            one.name != "smtpd_client_restrictions" && one.name != "a"
        });
        assert_eq!(index, 1);
        let expected = DEBIAN
            .replace("#submission", "submission")
            .replace("#  -o syslog", "  -o syslog")
            .replace("#  -o smtpd_tls", "  -o smtpd_tls");
        assert_eq!(text(&file), expected);
        let service = &file.services()[index];
        assert_eq!(service.name, "submission");
        assert_eq!(service.overrides.len(), 2);
        assert_eq!(file.services().len(), 3);
    }

    #[test]
    fn what_is_commented_out_twice_is_no_template() {
        let file = MasterCf::parse(b"##submission inet n - y - - smtpd\n# #smtps inet n - y - - smtpd\n");
        assert_eq!(file.templates(), []);
        let file =
            MasterCf::parse(b"#\x0bsubmission inet n - y - - smtpd\n#\x0c smtps inet n - y - - smtpd\n");
        assert_eq!(file.templates(), []);
    }

    #[test]
    fn a_template_inside_a_service_is_left_alone() {
        let inside = "smtp inet n - n - - smtpd\n#submission inet n - n - - smtpd\n#  -o a=b\n  -o c=d\n";
        assert_eq!(MasterCf::parse(inside.as_bytes()).templates(), vec![]);
        let prose = "# the submission inet service is - in all cases - smtpd\n# a inet n - n - - smtpd x\n";
        assert_eq!(MasterCf::parse(prose.as_bytes()).templates(), vec![]);
        // Blanks behind the `#` do not make it a continuation.
        for blanks in [" ", "\t", "  \r"] {
            let before = format!("a unix - - n - - a\n#{blanks}submission inet n - n - - smtpd\n#\t-o a=b\n");
            let mut file = MasterCf::parse(before.as_bytes());
            let template = file.templates().remove(0);
            assert_eq!(file.uncomment(&template, |_| true), 1);
            assert_eq!(
                text(&file),
                "a unix - - n - - a\nsubmission inet n - n - - smtpd\n\t-o a=b\n"
            );
        }
    }
}
