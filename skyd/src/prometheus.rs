//! Writer of the Prometheus text format, version 0.0.4.

use std::fmt::{Display, Write};

/// Content type of the format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Content of a scrape: metric families one after the other.
#[derive(Debug, Default)]
pub(crate) struct MetricsPage(String);

/// Type of a metric family.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MetricKind {
    /// Value that rises and falls.
    Gauge,
    /// Value that only rises while the process runs; its name ends in `_total`.
    Counter,
}

impl MetricsPage {
    /// Begins a family and returns a writer for its samples.
    pub(crate) fn family(
        &mut self,
        kind: MetricKind,
        name: &'static str,
        help: &str,
    ) -> MetricFamily<'_> {
        let kind = match kind {
            MetricKind::Gauge => "gauge",
            MetricKind::Counter => "counter",
        };
        // Writing into memory cannot fail.
        write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n").unwrap_or_default();
        MetricFamily { page: self, name }
    }

    /// Adds a gauge with one value.
    pub(crate) fn gauge(&mut self, name: &'static str, help: &str, value: impl Display) {
        self.family(MetricKind::Gauge, name, help)
            .sample(&[], value);
    }

    /// Adds a counter with one value.
    pub(crate) fn counter(&mut self, name: &'static str, help: &str, value: impl Display) {
        self.family(MetricKind::Counter, name, help)
            .sample(&[], value);
    }

    /// Returns the content.
    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

/// Writer for the samples of one family of a [`MetricsPage`].
pub(crate) struct MetricFamily<'a> {
    page: &'a mut MetricsPage,
    name: &'static str,
}

impl MetricFamily<'_> {
    /// Adds a value; its labels distinguish it from other values of the family.
    pub(crate) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        let text = &mut self.page.0;
        text.push_str(self.name);
        for (index, (name, value)) in labels.iter().enumerate() {
            text.push(if index == 0 { '{' } else { ',' });
            text.push_str(name);
            text.push_str("=\"");
            for letter in value.chars() {
                match letter {
                    '\\' => text.push_str("\\\\"),
                    '"' => text.push_str("\\\""),
                    '\n' => text.push_str("\\n"),
                    letter => text.push(letter),
                }
            }
            text.push('"');
        }
        if !labels.is_empty() {
            text.push('}');
        }
        writeln!(text, " {value}").unwrap_or_default();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_and_labels_are_written_as_the_format_says() {
        let mut page = MetricsPage::default();
        page.gauge("a", "One.", 1.5);
        page.family(MetricKind::Counter, "b_total", "Two.")
            .sample(&[("x", "1"), ("y", "a\"b\\c\nd")], 2)
            .sample(&[], 3);
        let wanted = "# HELP a One.\n# TYPE a gauge\na 1.5\n\
                      # HELP b_total Two.\n# TYPE b_total counter\n\
                      b_total{x=\"1\",y=\"a\\\"b\\\\c\\nd\"} 2\nb_total 3\n";
        assert_eq!(page.into_text(), wanted);
    }
}
