//! The table that is printed in the end.

use std::borrow::Cow;

use crate::stats::{Rounds, Sample};

/// What a line of the table has.
const COLUMNS: usize = 8;

const HEAD: [&str; COLUMNS] = ["figure", "value", "min..max", "runs", "floor", "ratio", "target", "is"];

/// All figures, in the order in which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    missed: usize,
}

#[derive(Debug)]
enum Row {
    Figure([String; COLUMNS]),
    /// Of what follows.
    Title(String),
    /// Why a figure is not there.
    Note(String),
}

/// One figure before it is a row.
#[derive(Debug, Clone)]
pub(crate) struct Figure<'a> {
    name: Cow<'a, str>,
    unit: &'a str,
    /// What it is held to (`promises.md`, or the issue that asked for it): in its unit, and as a ratio to the floor.
    most: Option<f64>,
    most_of_floor: Option<f64>,
}

/// A figure without a target.
pub(crate) fn figure<'a>(name: &'a str, unit: &'a str) -> Figure<'a> {
    Figure { name: name.into(), unit, most: None, most_of_floor: None }
}

impl Figure<'_> {
    pub(crate) fn at_most(self, most: f64) -> Self {
        Self { most: Some(most), ..self }
    }

    /// A quantile of it: 0.99 is p99.
    pub(crate) fn at(self, part: f64) -> Self {
        Self { name: format!("{}, p{}", self.name, part * 100.0).into(), ..self }
    }

    pub(crate) fn at_most_of_floor(self, most: f64) -> Self {
        Self { most_of_floor: Some(most), ..self }
    }
}

impl Table {
    pub(crate) fn title(&mut self, title: &str) {
        self.rows.push(Row::Title(title.to_owned()));
    }

    /// Says why something was not measured.
    pub(crate) fn note(&mut self, words: &str) {
        self.rows.push(Row::Note(words.to_owned()));
    }

    /// How many figures are not what they should be.
    pub(crate) fn missed(&self) -> usize {
        self.missed
    }

    /// The median of several runs.
    pub(crate) fn runs(&mut self, figure: Figure<'_>, sample: &Sample, floor: Option<f64>) {
        self.row(figure, sample.median(), sample.spread(), sample.len().to_string(), floor);
    }

    /// A quantile of many values in several rounds.
    pub(crate) fn quantile(&mut self, figure: Figure<'_>, rounds: &Rounds, part: f64, floor: Option<&Rounds>) {
        let floor = floor.map(|floor| floor.quantile(part));
        self.row(figure, rounds.quantile(part), rounds.spread(part), rounds.runs(), floor);
    }

    fn row(&mut self, figure: Figure<'_>, value: f64, (min, max): (f64, f64), runs: String, floor: Option<f64>) {
        let floor = floor.filter(|floor| floor.is_finite());
        let ratio = floor.filter(|floor| *floor >= 0.005).map(|floor| value / floor);
        let limits = [
            figure.most.map(|most| (format!("<= {}", digits(most)), value <= most)),
            // Without a floor nobody knows.
            figure.most_of_floor.zip(ratio).map(|(most, ratio)| (format!("<= {most:.1}x"), ratio <= most)),
        ];
        let limits: Vec<(String, bool)> = limits.into_iter().flatten().collect();
        let is_met = limits.iter().all(|(_, is_met)| *is_met);
        self.missed += usize::from(!is_met);
        let cells = [
            figure.name.into_owned(),
            format!("{} {}", digits(value), figure.unit),
            if min == max { String::new() } else { format!("{}..{}", digits(min), digits(max)) },
            runs,
            floor.map(digits).unwrap_or_default(),
            ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            limits.iter().map(|(words, _)| words.as_str()).collect::<Vec<_>>().join(", "),
            if limits.is_empty() { String::new() } else { if is_met { "met" } else { "MISSED" }.to_owned() },
        ];
        self.rows.push(Row::Figure(cells));
    }

    /// The text, in columns.
    pub(crate) fn text(&self) -> String {
        let head = HEAD.map(str::to_owned);
        let figures = self.rows.iter().filter_map(|row| match row {
            Row::Figure(cells) => Some(cells),
            Row::Title(_) | Row::Note(_) => None,
        });
        let values = figures.chain([&head]);
        let widths: Vec<usize> = (0..COLUMNS)
            .map(|column| values.clone().map(|cells| cells[column].chars().count()).max().unwrap_or_default())
            .collect();
        let line = |cells: &[String; COLUMNS]| {
            let padded = cells.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
                // Words to the left, numbers to the right.
                if column == 0 || column >= 6 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let mut lines = vec![line(&head)];
        for row in &self.rows {
            match row {
                Row::Figure(cells) => lines.push(line(cells)),
                Row::Title(title) => lines.extend([String::new(), title.clone()]),
                Row::Note(words) => lines.push(format!("({words})")),
            }
        }
        lines.join("\n")
    }
}

/// Three digits that count are enough: the machine is not steadier than that.
fn digits(value: f64) -> String {
    match value.abs() {
        small if small < 10.0 => format!("{value:.2}"),
        middle if middle < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
