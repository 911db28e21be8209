//! Rows of named columns, and the forms they are written in.

use std::io::{Result, Write};

use clap::ValueEnum;
use serde_json::{Map, Value};

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Aligned columns for a person.
    Table,
    /// A header and a line a row.
    Csv,
    /// An array of objects; counts are numbers, amounts and times text.
    Json,
}

/// Rows; every row has a value for every column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) columns: &'static [&'static str],
    pub(super) rows: Vec<Vec<Value>>,
}

impl Rows {
    pub(super) fn write(&self, format: Format, out: &mut dyn Write) -> Result<()> {
        match format {
            Format::Table => self.table(out)?,
            Format::Csv => self.csv(out)?,
            Format::Json => self.json(out)?,
        }
        out.flush()
    }

    fn table(&self, out: &mut dyn Write) -> Result<()> {
        let texts: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(text).collect()).collect();
        let width = |column: usize| {
            let cells = texts.iter().map(|row| row[column].chars().count());
            cells.chain([self.columns[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let names: Vec<String> = self.columns.iter().map(|name| (*name).to_owned()).collect();
        for row in std::iter::once(&names).chain(&texts) {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            writeln!(out, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }

    fn csv(&self, out: &mut dyn Write) -> Result<()> {
        let mut writer = csv::Writer::from_writer(out);
        let texts = self.rows.iter().map(|row| row.iter().map(text).collect::<Vec<_>>());
        let written = writer.write_record(self.columns).and_then(|()| {
            for row in texts {
                writer.write_record(row)?;
            }
            Ok(())
        });
        written.map_err(std::io::Error::from)?;
        writer.flush()
    }

    fn json(&self, out: &mut dyn Write) -> Result<()> {
        let object = |row: &Vec<Value>| -> Value {
            let pairs = self.columns.iter().zip(row).map(|(name, value)| ((*name).to_owned(), value.clone()));
            Value::Object(pairs.collect::<Map<_, _>>())
        };
        let all = Value::Array(self.rows.iter().map(object).collect());
        writeln!(out, "{all:#}")
    }
}

/// A value in a table or CSV; nothing is empty.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(format: Format) -> String {
        let rows = vec![vec![json!("a,b"), json!(16)], vec![json!(null), json!(8)]];
        let mut out = Vec::new();
        Rows { columns: &["name", "bids"], rows }.write(format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rows_are_written_in_every_form() {
        assert_eq!(written(Format::Table), "name  bids\na,b   16\n      8\n");
        assert_eq!(written(Format::Csv), "name,bids\n\"a,b\",16\n,8\n");
        let json: Value = serde_json::from_str(&written(Format::Json)).unwrap();
        assert_eq!(json, json!([{"name": "a,b", "bids": 16}, {"name": null, "bids": 8}]));
    }
}
