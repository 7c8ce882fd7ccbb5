//! When certificates in use expire, and when anchors were last used.
//!
//! The set is replaced with every load of credentials, so what is no longer in use has no series.
//! Days are counted at the scrape, for people; alerts that must survive a dead gateway compare the
//! timestamp with `time()`.

use std::collections::BTreeMap;
use std::fmt::Error;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::{MAX_SETS, unix_seconds};
use crate::model::last_use::LastUse;

const DAY: f64 = 86_400.0;

type Labels = [(&'static str, String); 4];

/// One certificate in use.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// What it is for: `anchor`, `intermediate`, `leaf`, `route`.
    pub role: &'static str,
    /// The file it came from.
    pub file: String,
    /// Distinguished name.
    pub subject: String,
    /// Hexadecimal.
    pub serial: String,
    /// Last moment of validity.
    pub not_after: SystemTime,
    /// When it last vouched for a peer; anchors only.
    pub last_use: Option<LastUse>,
}

/// The certificates in use, one entry for each label set.
#[derive(Debug, Default)]
pub(super) struct Certificates(ArcSwap<BTreeMap<Labels, Facts>>);

#[derive(Debug)]
struct Facts {
    /// Seconds since the epoch.
    not_after: f64,
    /// Of all that share the label set.
    last_uses: Vec<LastUse>,
}

impl Certificates {
    /// Forgets the old ones. Two with the same names and number, which a careless authority may
    /// issue, are one series that says what is worse of them: the earlier end, the later use.
    pub(super) fn replace(&self, certificates: Vec<Certificate>) {
        let mut all = BTreeMap::<Labels, Facts>::new();
        // The configuration names them, so a bound is only a precaution.
        for certificate in certificates.into_iter().take(MAX_SETS) {
            let not_after = unix_seconds(certificate.not_after);
            let labels = [
                ("role", certificate.role.to_owned()),
                ("file", certificate.file),
                ("subject", certificate.subject),
                ("serial", certificate.serial),
            ];
            let facts =
                all.entry(labels).or_insert_with(|| Facts { not_after, last_uses: Vec::new() });
            facts.not_after = facts.not_after.min(not_after);
            facts.last_uses.extend(certificate.last_use);
        }
        self.0.store(all.into());
    }

    /// Writes the metrics as they are at `now`.
    fn encode_at(&self, mut encoder: DescriptorEncoder<'_>, now: f64) -> Result<(), Error> {
        let all = self.0.load();
        let end = |facts: &Facts| Some(facts.not_after);
        let name = "gateway_certificate_expiration_timestamp_seconds";
        gauge(&mut encoder, name, "End of each certificate in use", &all, end)?;
        let name = "gateway_certificate_expiry_days";
        let help = "Days until each certificate in use ends, negative afterwards";
        gauge(&mut encoder, name, help, &all, |facts| Some((facts.not_after - now) / DAY))?;
        let name = "gateway_trust_anchor_last_used_timestamp_seconds";
        let help = "When each trust anchor last vouched for a peer; 0 for never since the start";
        gauge(&mut encoder, name, help, &all, |facts| {
            let latest = facts.last_uses.iter().map(LastUse::seconds).max()?;
            Some(std::time::Duration::from_secs(latest).as_secs_f64())
        })
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    all: &BTreeMap<Labels, Facts>,
    value: impl Fn(&Facts) -> Option<f64>,
) -> Result<(), Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, facts) in all {
        let Some(value) = value(facts) else { continue };
        let labelled = metric.encode_family(labels)?;
        ConstGauge::new(value).encode(labelled)?;
    }
    Ok(())
}

impl Collector for Certificates {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        self.encode_at(encoder, unix_seconds(SystemTime::now()))
    }
}
