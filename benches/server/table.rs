//! Tables that are legible as they are, and as Markdown.

use std::fmt::Write as _;

/// Rows of cells under a head. All but the first column are numbers, to the right.
pub fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut all = vec![head.iter().map(ToString::to_string).collect()];
    all.extend(rows);
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            all.iter()
                .map(move |row: &Vec<String>| row[column].chars().count())
        })
        .map(|cells| cells.max().unwrap().max(3))
        .collect();
    let mut text = String::new();
    for (at, row) in all.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            match column {
                0 => write!(text, "| {cell:width$} |").unwrap(),
                _ => write!(text, " {cell:>width$} |").unwrap(),
            }
        }
        text.push('\n');
        if at == 0 {
            for (column, width) in widths.iter().enumerate() {
                match column {
                    0 => write!(text, "|{:-<1$}|", "", width + 2).unwrap(),
                    _ => write!(text, "{:->1$}:|", "", width + 1).unwrap(),
                }
            }
            text.push('\n');
        }
    }
    text + "\n"
}

/// With commas: 1,234,567.
pub fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
