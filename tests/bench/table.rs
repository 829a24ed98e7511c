//! The table that is printed in the end.

use crate::stats::{Rounds, Sample};

/// All figures, in the order in which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    /// The name, or the title of what follows.
    cells: [String; 7],
    is_title: bool,
}

const HEAD: [&str; 7] = ["figure", "value", "min..max", "runs", "floor", "ratio", "promise"];

/// One figure before it is a row.
#[derive(Debug, Clone)]
pub(crate) struct Figure<'a> {
    pub(crate) name: &'a str,
    pub(crate) unit: &'a str,
    /// What `promises.md` holds it to, in words; empty if nothing.
    pub(crate) promise: &'a str,
}

/// A figure without a promise.
pub(crate) fn figure<'a>(name: &'a str, unit: &'a str) -> Figure<'a> {
    Figure { name, unit, promise: "" }
}

impl<'a> Figure<'a> {
    pub(crate) fn promised(self, promise: &'a str) -> Self {
        Self { promise, ..self }
    }
}

impl Table {
    pub(crate) fn title(&mut self, title: &str) {
        let cells = [
            title.to_owned(),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
        ];
        self.rows.push(Row { cells, is_title: true });
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
        let cells = [
            figure.name.to_owned(),
            format!("{} {}", digits(value), figure.unit),
            if min == max { String::new() } else { format!("{}..{}", digits(min), digits(max)) },
            runs,
            floor.map(digits).unwrap_or_default(),
            floor.filter(|floor| *floor >= 0.005).map(|floor| format!("{:.2}", value / floor)).unwrap_or_default(),
            figure.promise.to_owned(),
        ];
        self.rows.push(Row { cells, is_title: false });
    }

    /// The text, in columns.
    pub(crate) fn text(&self) -> String {
        let head = HEAD.map(str::to_owned);
        let values = self.rows.iter().filter(|row| !row.is_title).map(|row| &row.cells).chain([&head]);
        let widths: Vec<usize> = (0..HEAD.len())
            .map(|column| values.clone().map(|cells| cells[column].chars().count()).max().unwrap_or_default())
            .collect();
        let line = |cells: &[String; 7]| {
            let padded = cells.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
                // Words to the left, numbers to the right.
                if column == 0 || column == 6 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let mut lines = vec![line(&head)];
        for row in &self.rows {
            if row.is_title {
                lines.push(String::new());
                lines.push(row.cells[0].clone());
            } else {
                lines.push(line(&row.cells));
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
