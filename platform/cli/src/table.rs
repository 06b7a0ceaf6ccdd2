//! Text tables and figures for people.

use std::fmt::Write as _;

/// A table whose columns are as wide as their widest cell.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    /// Columns that hold figures, which are set to the right.
    right: Vec<bool>,
}

impl Table {
    /// A table with these headings; one that begins with `>` is set to the right.
    pub(crate) fn new(headings: &[&str]) -> Self {
        let right = headings.iter().map(|heading| heading.starts_with('>')).collect();
        let first = headings.iter().map(|heading| heading.trim_start_matches('>').to_owned()).collect();
        Self { rows: vec![first], right }
    }

    /// Adds a row; cells that are missing are empty.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut row: Vec<String> = cells.into_iter().take(self.right.len()).collect();
        row.resize(self.right.len(), String::new());
        self.rows.push(row);
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.right.len()).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), right) in row.iter().zip(&widths).zip(&self.right) {
                if *right {
                    write!(line, "{cell:>width$}  ")?;
                } else {
                    write!(line, "{cell:<width$}  ")?;
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A number of bytes with a unit, to three figures.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value >= 100.0 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// A time with a unit that suits it.
pub(crate) fn milliseconds(count: u64) -> String {
    match count {
        1_000..10_000 if count.is_multiple_of(1_000) => format!("{} s", count / 1_000),
        0..10_000 => format!("{count} ms"),
        10_000..600_000 => format!("{} s", count / 1_000),
        600_000..7_200_000 => format!("{} min", count / 60_000),
        7_200_000..172_800_000 => format!("{} h", count / 3_600_000),
        _ => format!("{} days", count / 86_400_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["name", ">calls"]);
        table.row(["diag.echo".to_owned(), "7".to_owned()]);
        table.row(["余额".to_owned()]);
        assert_eq!(table.to_string(), "name       calls\ndiag.echo      7\n余额\n");
    }

    #[test]
    fn figures_get_a_unit_that_suits_them() {
        assert_eq!([0, 1023, 1536, 400_000_000].map(bytes), ["0 B", "1023 B", "1.5 KiB", "381 MiB"]);
        assert_eq!([2_000, 2_500].map(milliseconds), ["2 s", "2500 ms"]);
        let times = [5, 15_000, 3_600_000, 86_400_000, 864_000_000].map(milliseconds);
        assert_eq!(times, ["5 ms", "15 s", "60 min", "24 h", "10 days"]);
    }
}
