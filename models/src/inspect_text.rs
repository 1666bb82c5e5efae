//! An [`Inspection`] as text. In: what was found. Out: a table for people. Invariant: every problem is a line.

use std::fmt;

use crate::inspection::Inspection;

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {}, {} bytes, {} parameters",
            self.path, self.kind, self.file_bytes, self.parameters
        )?;
        for field in self.model.iter().chain(&self.header) {
            writeln!(f, "  {:<18} {}", field.name, field.value)?;
        }
        if let Some(hash) = &self.stated_hash {
            writeln!(f, "  {:<18} {hash}", "payload SHA-256")?;
        }
        for entry in &self.metadata {
            match &entry.text {
                Some(text) => writeln!(f, "  {:<22} {text}", entry.key)?,
                None => writeln!(f, "  {:<22} {} bytes", entry.key, entry.bytes)?,
            }
        }
        for kind in &self.types {
            writeln!(f, "  {:<8} {:>5} tensors {:>14} bytes", kind.dtype, kind.tensors, kind.bytes)?;
        }
        let width = self.tensors.iter().map(|t| t.name.len()).max().unwrap_or(0);
        for t in &self.tensors {
            let shape = format!("{:?}", t.shape);
            let most = t.max_abs.map_or(String::new(), |m| format!("  max {m:.4e}"));
            writeln!(f, "  {:<width$} {:<5} {shape:<16} {:>12} bytes{most}", t.name, t.dtype, t.bytes)?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        for problem in &self.problems {
            writeln!(f, "problem: {problem}")?;
        }
        match self.problems.len() {
            0 => writeln!(f, "no problems"),
            n => writeln!(f, "{n} problem(s)"),
        }
    }
}
