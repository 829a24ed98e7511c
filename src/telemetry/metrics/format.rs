//! The two text formats: which one a scraper wants, and the way from one to the other.
//!
//! What we encode with writes OpenMetrics 1.0. The older text format 0.0.4 differs in little: a counter's HELP and TYPE carry
//! the `_total` of its samples, there is no UNIT and no EOF, and the types that it does not know are told otherwise.

/// A text format of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus 0.0.4, for whoever says nothing else.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// What an Accept header asks for. OpenMetrics must be named, in a version that we speak and not after the older format;
    /// `*/*` is not enough, because people with curl read the older one more easily.
    pub fn of(accept: Option<&str>) -> Self {
        let mut open: f32 = 0.0;
        let mut plain: f32 = 0.0;
        for range in accept.unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let (mut quality, mut version) = (1.0, None);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim().to_ascii_lowercase().as_str() {
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "version" => version = Some(value.trim().trim_matches('"')),
                    _ => {}
                }
            }
            if kind.eq_ignore_ascii_case("application/openmetrics-text") && version.is_none_or(|v| v == "1.0.0") {
                open = open.max(quality);
            } else if kind.eq_ignore_ascii_case("text/plain") {
                plain = plain.max(quality);
            }
        }
        if open > 0.0 && open >= plain { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The Content-Type of the answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What comes after the head of a family.
pub(super) fn samples(open_metrics: &str) -> &str {
    let mut rest = open_metrics;
    while let Some((_, after)) = rest.split_once('\n').filter(|(line, _)| line.starts_with("# ")) {
        rest = after;
    }
    rest
}

/// Turns OpenMetrics 1.0, as prometheus-client writes it (HELP before TYPE), into the text format 0.0.4. HELP texts are taken as
/// they are: they must have no quotes, which OpenMetrics escapes and 0.0.4 does not. Exemplars are not expected: we write none.
pub(super) fn to_prometheus(open_metrics: &str, out: &mut String) {
    let mut help = None;
    let mut put = |parts: &[&str]| {
        parts.iter().for_each(|part| out.push_str(part));
        out.push('\n');
    };
    for line in open_metrics.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            put(&[line]);
            continue;
        };
        let (word, rest) = comment.split_once(' ').unwrap_or((comment, ""));
        let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        match word {
            "HELP" => help = Some((name, rest)),
            "TYPE" => {
                let (suffix, kind) = match rest {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "stateset" => ("", "gauge"),
                    "unknown" | "gaugehistogram" => ("", "untyped"),
                    other => ("", other),
                };
                if let Some((_, help)) = help.take().filter(|(of, _)| *of == name) {
                    put(&["# HELP ", name, suffix, " ", help]);
                }
                put(&["# TYPE ", name, suffix, " ", kind]);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_must_be_named() {
        let open = [
            "application/openmetrics-text",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "Application/OpenMetrics-Text;Version=\"1.0.0\"",
            // Prometheus 2.42, and 3.
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
        ];
        for accept in open {
            assert_eq!(Format::of(Some(accept)), Format::OpenMetrics, "{accept}");
        }
        let plain = [
            "",
            "*/*",
            "text/plain",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=nonsense",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;q=0.5, text/plain;q=0.9",
            ";;,=,;q",
        ];
        for accept in plain {
            assert_eq!(Format::of(Some(accept)), Format::Prometheus, "{accept}");
        }
        assert_eq!(Format::of(None), Format::Prometheus);
    }

    fn prometheus(open_metrics: &str) -> String {
        let mut out = String::new();
        to_prometheus(open_metrics, &mut out);
        out
    }

    #[test]
    fn a_counter_carries_its_total_everywhere() {
        let open = "# HELP a_seconds Of a.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\na_seconds_total{x=\"1\"} 2\n# EOF\n";
        let plain = "# HELP a_seconds_total Of a.\n# TYPE a_seconds_total counter\na_seconds_total{x=\"1\"} 2\n";
        assert_eq!(prometheus(open), plain);
    }

    #[test]
    fn other_types_keep_their_names() {
        let open = "# HELP g G\n# TYPE g gauge\ng 1.5\n# HELP h_bytes H\n# TYPE h_bytes histogram\n# UNIT h_bytes bytes\n\
            h_bytes_sum 1.0\nh_bytes_count 1\nh_bytes_bucket{le=\"1.0\"} 1\nh_bytes_bucket{le=\"+Inf\"} 1\n";
        let plain = "# HELP g G\n# TYPE g gauge\ng 1.5\n# HELP h_bytes H\n# TYPE h_bytes histogram\n\
            h_bytes_sum 1.0\nh_bytes_count 1\nh_bytes_bucket{le=\"1.0\"} 1\nh_bytes_bucket{le=\"+Inf\"} 1\n";
        assert_eq!(prometheus(open), plain);
    }

    #[test]
    fn types_that_only_open_metrics_has_are_told_otherwise() {
        let open = "# HELP build B\n# TYPE build info\nbuild_info{v=\"1\"} 1\n# HELP s S\n# TYPE s stateset\ns{s=\"a\"} 1\n\
            # HELP u U\n# TYPE u unknown\nu 1\n";
        let plain = "# HELP build_info B\n# TYPE build_info gauge\nbuild_info{v=\"1\"} 1\n# HELP s S\n# TYPE s gauge\ns{s=\"a\"} 1\n\
            # HELP u U\n# TYPE u untyped\nu 1\n";
        assert_eq!(prometheus(open), plain);
    }

    #[test]
    fn what_a_label_says_is_left_alone() {
        let sample = "g{name=\"# TYPE x counter # {y=\\\"z\\\"}\"} 1\n";
        assert_eq!(prometheus(sample), sample);
    }

    #[test]
    fn a_head_is_left_out_and_no_sample() {
        let family = "# HELP a Of a.\n# TYPE a gauge\n# UNIT a_bytes bytes\na{n=\"# x\"} 1\na{n=\"y\"} 2\n";
        assert_eq!(samples(family), "a{n=\"# x\"} 1\na{n=\"y\"} 2\n");
        assert_eq!((samples("# HELP a Of a.\n# TYPE a gauge\n"), samples("")), ("", ""));
    }

    #[test]
    fn nothing_makes_nothing() {
        assert_eq!(prometheus(""), "");
        assert_eq!(prometheus("# EOF\n"), "");
    }
}
