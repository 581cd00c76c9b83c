//! Output formats of the client commands.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Args, Command};

use super::printer::Printer;
use crate::printable::printable;

/// Format of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One JSON document, indented.
    Json,
    /// One line of JSON for each element.
    Ndjson,
    /// Aligned columns for people.
    Table,
    /// Graphviz (the DOT language).
    Dot,
    /// Capture file.
    Pcap,
}

impl Format {
    const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Table => "table",
            Self::Dot => "dot",
            Self::Pcap => "pcap",
        }
    }

    /// Returns the chosen format; without one, the table for a terminal, otherwise JSON.
    pub(super) fn or_default(chosen: Option<Self>) -> Self {
        chosen.unwrap_or_else(|| match io::stdout().is_terminal() {
            true => Self::Table,
            false => Self::Json,
        })
    }
}

/// Parser that accepts some of the formats.
#[derive(Clone, Copy, Debug)]
pub(super) struct FormatParser(pub(super) &'static [Format]);

impl TypedValueParser for FormatParser {
    type Value = Format;

    fn parse_ref(
        &self,
        command: &Command,
        _: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Format, clap::Error> {
        let text = value.to_string_lossy();
        let found = self.0.iter().find(|format| format.name() == text);
        found.copied().ok_or_else(|| {
            let names: Vec<_> = self.0.iter().map(|format| format.name()).collect();
            // COMPAT: the text begins as Skydive's does.
            let message = format!(
                "Invalid output format {text:?}, expected one of {}\n",
                names.join(", ")
            );
            clap::Error::raw(ErrorKind::InvalidValue, message).with_cmd(command)
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let values = self
            .0
            .iter()
            .map(|format| PossibleValue::new(format.name()));
        Some(Box::new(values))
    }
}

/// Formats of documents about resources.
const DOCUMENT_FORMATS: FormatParser = FormatParser(&[Format::Json, Format::Ndjson, Format::Table]);
/// Formats of query results.
pub(super) const QUERY_FORMATS: FormatParser = FormatParser(&[
    Format::Json,
    Format::Ndjson,
    Format::Table,
    Format::Dot,
    Format::Pcap,
]);

/// Output options of a command that prints a document.
#[derive(Args, Debug, Default)]
pub(crate) struct FormatArgs {
    /// Output format; the default is table on a terminal, otherwise json.
    #[arg(long, value_name = "FORMAT", value_parser = DOCUMENT_FORMATS)]
    format: Option<Format>,
}

impl FormatArgs {
    /// Returns the printer of the command.
    pub(super) fn printer(&self) -> Printer {
        Printer::to_stdout(Format::or_default(self.format))
    }
}

/// Output options of a command that prints a document and ignores additional words.
#[derive(Args, Debug, Default)]
pub(crate) struct OutputArgs {
    #[command(flatten)]
    format: FormatArgs,

    #[command(flatten)]
    extra: ExtraWords,
}

impl OutputArgs {
    /// Returns the printer of the command.
    pub(super) fn printer(&self) -> Printer {
        self.extra.warn();
        self.format.printer()
    }
}

/// Words that a command does not use. COMPAT: Skydive ignores them.
#[derive(Args, Debug, Default)]
pub(crate) struct ExtraWords {
    #[arg(hide = true, value_name = "WORD")]
    words: Vec<String>,
}

impl ExtraWords {
    /// Warns about the words.
    pub(super) fn warn(&self) {
        if !self.words.is_empty() {
            let words = self.words.join(" ");
            writeln!(io::stderr(), "Warning: ignored: {}", printable(&words)).ok();
        }
    }
}
