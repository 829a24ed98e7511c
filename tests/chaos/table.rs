//! What is printed in the end.

use crate::oracle::{Figures, Verdict};

/// Prints a table, then every finding; whether there was none.
pub(crate) fn print(done: &[(String, Verdict)]) -> bool {
    let head = [
        "scenario",
        "s",
        "ills",
        "kills",
        "requests",
        "of healthy",
        "gap ms",
        "back ms",
        "notified",
        "again",
        "reports",
        "copies",
        "peak KiB",
        "fds",
        "api p99 ms",
        "durable",
        "",
    ];
    let mut rows: Vec<Vec<String>> = vec![head.map(str::to_owned).to_vec()];
    for (name, Verdict { findings, figures }) in done {
        rows.push(row(name, figures, findings.is_empty()));
    }
    print_columns(&rows);
    let mut good = true;
    for (name, Verdict { findings, .. }) in done {
        for finding in findings {
            good = false;
            println!("FOUND  {name}: {finding}");
        }
    }
    println!("{} scenarios, {}", done.len(), if good { "nothing found" } else { "not all as promised" });
    good
}

fn row(name: &str, figures: &Figures, good: bool) -> Vec<String> {
    let verdict = if good { figures.notes.join(", ") } else { "BAD".to_owned() };
    vec![
        name.to_owned(),
        figures.seconds.to_string(),
        figures.ills.to_string(),
        figures.kills.to_string(),
        figures.requests.to_string(),
        format!("{:.2}", figures.ratio),
        figures.gap_ms.to_string(),
        figures.back_ms.to_string(),
        figures.published.to_string(),
        figures.repeated.to_string(),
        figures.accepted.to_string(),
        figures.copies.to_string(),
        figures.peak_kib.to_string(),
        figures.descriptors.to_string(),
        format!("{:.1}", figures.local_p99_ms),
        format!("{:.1}", figures.durable_p99_ms),
        figures.lag_ms.to_string(),
        verdict,
    ]
}

/// The first and the last column to the left, the others to the right.
pub(crate) fn print_columns(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = widths[column];
            if column == 0 || column + 1 == columns { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
