//! A scraped text, taken apart.

use std::collections::{BTreeMap, BTreeSet};

use rallyhere_agent::telemetry::metrics::{ALL, Kind};

/// What is in a text of either format.
#[derive(Debug, Default)]
pub(super) struct Scraped {
    /// The value of each series, by name and labels as they stand there.
    pub(super) series: BTreeMap<String, f64>,
    /// The type of each family.
    types: BTreeMap<String, String>,
    helps: BTreeSet<String>,
}

impl Scraped {
    pub(super) fn read(text: &str) -> Self {
        let mut scraped = Self::default();
        for line in text.lines() {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            match words[..] {
                ["#", "HELP", name, help] => {
                    assert!(!help.is_empty() && scraped.helps.insert(name.to_owned()), "{line}")
                }
                ["#", "TYPE", name, kind] => assert_eq!(scraped.types.insert(name.to_owned(), kind.to_owned()), None),
                ["#", "UNIT", name, unit] => assert!(name.ends_with(unit), "{line}"),
                ["#", "EOF"] => {}
                _ => {
                    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("not a sample: {line}"));
                    let value = value.parse().unwrap_or_else(|_| panic!("not a number: {line}"));
                    assert_eq!(scraped.series.insert(series.to_owned(), value), None, "twice: {series}");
                }
            }
        }
        scraped
    }

    /// A series that must be there.
    #[track_caller]
    pub(super) fn get(&self, series: &str) -> f64 {
        *self.series.get(series).unwrap_or_else(|| panic!("no series {series}"))
    }

    /// The name and the labels of each series.
    fn parts(&self) -> impl Iterator<Item = (&str, Vec<(&str, &str)>)> {
        self.series.keys().map(|series| {
            let Some((name, labels)) = series.split_once('{') else { return (series.as_str(), Vec::new()) };
            let labels = labels.strip_suffix("\"}").unwrap().split("\",");
            (name, labels.map(|label| label.split_once("=\"").unwrap()).collect())
        })
    }

    /// Every metric of the list is there with HELP, TYPE and all its labels, and nothing else is.
    pub(super) fn is_the_list(&self, is_open_metrics: bool) {
        let mut described = 0;
        for family in ALL {
            let described_as = match family.kind {
                Kind::Counter if is_open_metrics => family.name.strip_suffix("_total").unwrap(),
                Kind::Counter | Kind::Gauge | Kind::States | Kind::Histogram => family.name,
            };
            assert!(self.helps.contains(described_as), "no HELP of {described_as}");
            let kind = match family.kind {
                Kind::Gauge | Kind::States => "gauge",
                Kind::Counter => "counter",
                Kind::Histogram => "histogram",
            };
            assert_eq!(self.types.get(described_as).map(String::as_str), Some(kind), "{described_as}");
            described += 1;
            let suffixes: &[&str] = if family.kind == Kind::Histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
            for suffix in suffixes {
                let name = format!("{}{suffix}", family.name);
                let those: Vec<_> = self.parts().filter(|(of, _)| *of == name).collect();
                // Probes come from the configuration: without any there is nothing to show.
                assert!(!those.is_empty() || family.labels.contains(&"probe"), "no series of {name}");
                for (_, labels) in those {
                    let mut names: Vec<_> = labels.iter().map(|(label, _)| *label).filter(|l| *l != "le").collect();
                    names.sort_unstable();
                    let mut wanted = family.labels.to_vec();
                    wanted.sort_unstable();
                    assert_eq!(names, wanted, "{name}");
                }
            }
        }
        assert_eq!((self.helps.len(), self.types.len()), (described, described));
        let strangers: Vec<_> = self.parts().map(|(name, _)| name).filter(|name| !is_listed(name)).collect();
        assert_eq!(strangers, [""; 0]);
    }

    /// Every value of a label, but for the bounds of histograms.
    pub(super) fn label_values(&self) -> BTreeSet<&str> {
        let labels = self.parts().flat_map(|(_, labels)| labels);
        labels.filter(|(label, _)| *label != "le").map(|(_, value)| value).collect()
    }
}

fn is_listed(name: &str) -> bool {
    ALL.iter().any(|family| {
        let rest = name.strip_prefix(family.name);
        match family.kind {
            Kind::Histogram => rest.is_some_and(|rest| ["_bucket", "_sum", "_count"].contains(&rest)),
            Kind::Gauge | Kind::States | Kind::Counter => rest == Some(""),
        }
    })
}
