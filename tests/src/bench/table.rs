//! What was measured, and how it is shown.

use std::fmt;
use std::time::Instant;

/// What one section measured: some lines, each with one column a side.
pub(crate) struct Table {
    sides: &'static [&'static str],
    rows: Vec<Row>,
}

/// One line; of each side all that was measured, in the order of the columns.
pub(crate) struct Row {
    what: String,
    unit: &'static str,
    measured: Vec<Vec<f64>>,
}

impl Table {
    /// Ours is the last side; its ratio to the one before it is shown.
    pub(crate) fn new(sides: &'static [&'static str]) -> Table {
        Table { sides, rows: Vec::new() }
    }

    /// The line `what`, which is begun if it is not there yet.
    pub(crate) fn row(&mut self, what: impl Into<String>, unit: &'static str) -> &mut Row {
        let what = what.into();
        let at = self.rows.iter().position(|row| row.what == what).unwrap_or_else(|| {
            self.rows.push(Row { what, unit, measured: vec![Vec::new(); self.sides.len()] });
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }
}

impl Row {
    /// What one round measured, side by side. NaN where a side has no such figure.
    pub(crate) fn push(&mut self, values: &[f64]) {
        for (all, value) in self.measured.iter_mut().zip(values) {
            if !value.is_nan() {
                all.push(*value);
            }
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        write!(f, "  {:<44}", "median")?;
        self.sides.iter().try_for_each(|side| write!(f, " {side:>12}"))?;
        writeln!(f, " {:<6} {:>6}", "", "ratio")?;
        for row in &self.rows {
            write!(f, "  {:<44}", row.what)?;
            let medians: Vec<_> = row.measured.iter().map(|all| median(all)).collect();
            for median in &medians {
                match median {
                    Some(median) => write!(f, " {median:>12.2}")?,
                    None => write!(f, " {:>12}", "-")?,
                }
            }
            match medians.as_slice() {
                [.., Some(theirs), Some(ours)] if *theirs > 0.0 => {
                    writeln!(f, " {:<6} {:>6.2}", row.unit, ours / theirs)?;
                }
                _ => writeln!(f, " {:<6} {:>6}", row.unit, "-")?,
            }
        }
        Ok(())
    }
}

pub(crate) fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

pub(crate) fn per_second(mib: u64, since: Instant) -> f64 {
    // Sizes are far below 2^53 and so exact.
    mib as f64 / since.elapsed().as_secs_f64()
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (!sorted.is_empty()).then(|| quantile(&sorted, 0.5))
}

/// The nearest-rank quantile of sorted values; 0 for none.
pub(crate) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * q).round() as usize).copied().unwrap_or(0.0)
}
