//! What a run found: numbers by name, as text for people and as a flat JSON object.

use std::fmt::Write;

use serde_json::{Map, Number, Value};

use super::crowd::Passed;
use super::latency::Published;

/// The numbers of a run, in the order in which people read them. A name ends in its unit.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Report {
    texts: Vec<(&'static str, String)>,
    numbers: Vec<(&'static str, f64)>,
}

impl Report {
    pub(crate) fn text(&mut self, name: &'static str, value: impl ToString) {
        self.texts.push((name, value.to_string()));
    }

    pub(crate) fn number(&mut self, name: &'static str, value: f64) {
        self.numbers.push((name, value));
    }

    pub(crate) fn count(&mut self, name: &'static str, value: u64) {
        self.number(name, value as f64);
    }

    /// A number that there is only where it could be measured.
    pub(crate) fn perhaps(&mut self, name: &'static str, value: Option<f64>) {
        if let Some(value) = value {
            self.number(name, value);
        }
    }

    /// Processor time between two readings: who was how busy.
    pub(crate) fn shares(&mut self, passed: &Passed) {
        let share = |us: f64| us / passed.wall_us;
        self.perhaps("server_cpu_share", passed.server_us.map(share));
        self.number("load_cpu_share", share(passed.load_us));
    }

    /// Latencies; nothing if there were none.
    pub(crate) fn latencies(&mut self, published: &Published) {
        let measured = &published.measured;
        if measured.is_empty() {
            return;
        }
        let names = ["latency_p50_us", "latency_p99_us", "latency_p999_us"];
        for (name, quantile) in names.into_iter().zip([0.5, 0.99, 0.999]) {
            // The bucket's upper end may lie above the longest.
            let us = measured.value_at_quantile(quantile);
            self.count(name, us.min(published.longest_us));
        }
        self.count("latency_max_us", published.longest_us);
    }

    /// One name and value a line, aligned.
    pub(crate) fn for_people(&self) -> String {
        let mut out = String::new();
        let texts = self.texts.iter().cloned();
        let numbers = (self.numbers.iter()).map(|&(name, number)| (name, figure(number)));
        for (name, value) in texts.chain(numbers) {
            writeln!(out, "{name:42} {value}").expect("a String takes everything");
        }
        out
    }

    /// A flat object. Whole numbers are written as such.
    pub(crate) fn json(&self) -> Value {
        let texts = self.texts.iter().cloned();
        let texts = texts.map(|(name, text)| (name.to_owned(), Value::from(text)));
        let numbers = self.numbers.iter();
        let numbers = numbers.map(|&(name, value)| (name.to_owned(), json_number(value)));
        Value::Object(texts.chain(numbers).collect::<Map<_, _>>())
    }
}

fn json_number(value: f64) -> Value {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT_MAX {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it is whole and below 2^53"
        )]
        return Value::from(value as i64);
    }
    // What is not finite (nothing came, so nothing can be divided by it) is null.
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// Three significant digits, or all that stand before the point.
fn figure(value: f64) -> String {
    match value.abs() {
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_flat_and_whole_numbers_are_whole() {
        let mut report = Report::default();
        report.text("mode", "echo");
        report.count("messages", 12);
        report.perhaps("server_cpu_us_per_message", Some(0.25));
        report.perhaps("connect_s", None);
        report.number("close_s", f64::NAN);
        let expected = json!({
            "mode": "echo", "messages": 12, "server_cpu_us_per_message": 0.25, "close_s": null
        });
        assert_eq!(report.json(), expected);
    }

    #[test]
    fn shares_are_of_the_time_that_passed() {
        let mut report = Report::default();
        report.shares(&Passed {
            wall_us: 200.0,
            server_us: Some(100.0),
            load_us: 50.0,
            core_us: None,
        });
        let expected = json!({"server_cpu_share": 0.5, "load_cpu_share": 0.25});
        assert_eq!(report.json(), expected);
    }

    #[test]
    fn people_get_three_digits() {
        let figures = [0.031_64, 3.162, 31.62, 1234.5, 17.0].map(figure);
        assert_eq!(figures, ["0.0316", "3.16", "31.6", "1234", "17"]);
    }
}
