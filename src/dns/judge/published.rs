//! Records that the configuration wants published and that say something else: they are others', so an apply leaves them.
//! Pure.

use super::{Subject, Told, texts};
use crate::{
    dns::{
        desired::{Family, Wanted},
        facts::{Answer, Asked, Facts, Question},
        plan,
    },
    model::{finding::Finding, rdata::Rdata, spelled::Spelled},
};

pub(super) fn judge(subject: &Subject, facts: &Facts) -> Asked<Vec<Finding>> {
    let wanted = subject.ours.iter().flat_map(|ours| &ours.published);
    let of_subject =
        wanted.filter(|wanted| wanted.name.is_within(&subject.name) && is_nearest(subject, wanted));
    let told = Told {
        subject: subject.name.as_str(),
    };
    let judged: Vec<Asked<Option<Finding>>> = of_subject.map(|wanted| one(&told, wanted, facts)).collect();
    let mut findings = Vec::new();
    for one in judged {
        findings.extend(one?);
    }
    Ok(findings)
}

/// Returns whether the record is one of this domain, and not of another of ours below it.
fn is_nearest(subject: &Subject, wanted: &Wanted) -> bool {
    let labels = wanted.name.as_str().strip_suffix(subject.name.as_str());
    labels.is_some_and(|labels| {
        labels
            .split('.')
            .filter(|label| !label.is_empty())
            .all(|label| label.starts_with('_'))
    })
}

fn one(told: &Told<'_>, wanted: &Wanted, facts: &Facts) -> Asked<Option<Finding>> {
    let (id, reference) = match wanted.family {
        Family::Dmarc => ("dmarc.differs", "RFC 9989, 4.7"),
        Family::MtaSts => ("mta-sts.differs", "RFC 8461, 3.1"),
        Family::Srv => ("srv.differs", "RFC 6186, 3"),
        Family::TlsRpt => ("tls-rpt.differs", "RFC 8460, 3"),
        _ => return Ok(None),
    };
    let there = match wanted.family {
        Family::Srv => services(wanted, facts)?,
        _ => match texts(wanted.name.as_str(), facts)? {
            Ok(found) => found
                .iter()
                .map(|text| Rdata::text(&String::from_utf8_lossy(text)))
                .collect(),
            // The family's own finding says so.
            Err(_) => return Ok(None),
        },
    };
    let there = plan::differing(wanted, &there);
    Ok((!there.is_empty()).then(|| {
        let there: Vec<String> = there.iter().map(ToString::to_string).collect();
        told.warning(
            id,
            format!("{} is {}, not what the configuration wants", wanted.name, there.join(", ")),
            format!(
                "change the configuration, or publish {}. IN {} {}: delete the record, and `mailcert apply dns` writes this one",
                wanted.name,
                wanted.kind(),
                wanted.values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            ),
            reference,
        )
    }))
}

fn services(wanted: &Wanted, facts: &Facts) -> Asked<Vec<Rdata>> {
    let found = match facts.get(&Question::Srv(wanted.name.to_string()))? {
        Answer::Services(found) => found.as_slice(),
        _ => &[],
    };
    let value = |one: &crate::dns::facts::Service| Rdata::Srv {
        priority: one.priority,
        weight: one.weight,
        port: one.port,
        target: Spelled::from_dns(&one.target).ok(),
    };
    Ok(found.iter().map(value).collect())
}
