//! Families of metrics, written as OpenMetrics by prometheus-client; and the classic text format.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::metrics::Histogram;

/// Names and values of one sample's labels. Their number must be bounded: a label is a shard, a
/// handler, a kind, a reason or a code, and never a user, a room or a connection.
pub type Labels = Vec<(&'static str, String)>;

/// What an exposition is written to, one family after the other.
#[derive(Debug)]
pub struct Families<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl<'a> Families<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self { encoder }
    }

    /// A family of counters. `name` is without `_total`, which is added.
    ///
    /// Errors: of what it is written to, which has none.
    pub fn counter(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, f64)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, samples, ConstCounter::new)
    }

    /// A family of gauges.
    ///
    /// Errors: of what it is written to, which has none.
    pub fn gauge(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, f64)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, samples, ConstGauge::new)
    }

    fn family<M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        metric_type: MetricType,
        samples: impl IntoIterator<Item = (Labels, f64)>,
        metric: impl Fn(f64) -> M,
    ) -> fmt::Result {
        let mut family = self
            .encoder
            .encode_descriptor(name, help, None, metric_type)?;
        for (labels, value) in samples {
            metric(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// A family of durations; `name` ends with `_seconds`.
    ///
    /// Errors: of what it is written to, which has none.
    pub fn histogram<'h>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, &'h Histogram)>,
    ) -> fmt::Result {
        let metric_type = MetricType::Histogram;
        let mut family = self
            .encoder
            .encode_descriptor(name, help, None, metric_type)?;
        for (labels, histogram) in samples {
            let buckets: Vec<(f64, u64)> = histogram
                .powers()
                .map(|(end, count)| match end {
                    u64::MAX => (f64::INFINITY, count),
                    end => (seconds(end), count),
                })
                .collect();
            let (sum, count) = (seconds(histogram.sum_ns()), histogram.count());
            let mut metric = family.encode_family(&labels)?;
            metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

/// A number as metrics have it. Exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "as the documentation says")]
pub(in crate::api) fn number(value: u64) -> f64 {
    value as f64
}

/// Nanoseconds as the seconds that metrics are told in.
pub(super) fn seconds(ns: u64) -> f64 {
    number(ns) / 1e9
}

/// OpenMetrics text in the classic format, version 0.0.4: there a counter's family has the name of its
/// samples, with `_total`, and nothing marks the end.
pub(super) fn to_classic(open: &str) -> String {
    let mut classic = String::with_capacity(open.len() + open.len() / 16);
    let mut help = None;
    for line in open.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            let total = if kind == "counter" { "_total" } else { "" };
            if let Some((_, text)) = help.take().filter(|(helped, _)| *helped == name) {
                classic.push_str(&format!("# HELP {name}{total} {text}\n"));
            }
            classic.push_str(&format!("# TYPE {name}{total} {kind}\n"));
        } else if !line.starts_with('#') {
            classic.push_str(line);
            classic.push('\n');
        }
    }
    classic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_renamed_in_the_classic_format_and_nothing_else_is() {
        let open = "# HELP a_b Some words.\n# TYPE a_b counter\na_b_total{x=\"# y\"} 1\n\
                    # HELP c Others.\n# TYPE c gauge\n# UNIT c none\nc 2.5\n# EOF\n";
        let classic = "# HELP a_b_total Some words.\n# TYPE a_b_total counter\n\
                       a_b_total{x=\"# y\"} 1\n# HELP c Others.\n# TYPE c gauge\nc 2.5\n";
        assert_eq!(to_classic(open), classic);
    }
}
