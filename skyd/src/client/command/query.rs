//! `skyd client query`.

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgAction, Args};

use super::super::args::go_bool;
use super::super::failure::{self, SomeFailed};
use super::super::format::{ExtraWords, Format, QUERY_FORMATS};
use super::super::printer::{Document, Printer};
use super::super::rest::{MAX_VALUE_BYTES, Rest};
use super::element::elements;

pub(super) const EXAMPLES: &str = "Examples:
  skyd client query \"G.V().Has('Type', 'bridge').Out()\"
  skyd client query \"G.Flows().Has('Application', 'DNS').Limit(3)\" --format json
  skyd client query G --format dot | dot -Tsvg > graph.svg";

/// Arguments of `query`.
#[derive(Args, Debug)]
pub(crate) struct QueryArgs {
    /// Gremlin query.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    gremlin: String,

    /// Output format; the default is table on a terminal, otherwise json. `dot` requires a graph as
    /// the result; `pcap` requires the step RawPackets.
    #[arg(long, value_name = "FORMAT", value_parser = QUERY_FORMATS)]
    format: Option<Format>,

    /// Delete the nodes and edges of the result.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value = "false", hide_default_value = true,
          value_name = "BOOL", value_parser = go_bool, hide_possible_values = true)]
    delete: bool,

    #[command(flatten)]
    extra: ExtraWords,
}

impl QueryArgs {
    /// Runs the query and prints its result.
    ///
    /// # Errors
    /// Returns an error if the query fails, the server cannot be reached, the output cannot be
    /// written, or an element could not be deleted.
    pub(super) async fn run(self, rest: &mut Rest) -> anyhow::Result<()> {
        self.extra.warn();
        match self.delete {
            true => print_and_delete(&self.gremlin, self.format, rest).await,
            false => print_result(&self.gremlin, self.format, rest).await,
        }
    }
}

/// Runs a query and prints its result in a format; `None` selects the default.
///
/// # Errors
/// Returns an error if the query fails, the server cannot be reached, or the output cannot be
/// written.
pub(in super::super) async fn print_result(
    gremlin: &str,
    format: Option<Format>,
    rest: &mut Rest,
) -> anyhow::Result<()> {
    let mut printer = printer(format);
    printer.check_terminal()?;
    let answer = rest.query(gremlin, printer.media_type()).await?;
    printer.print(answer, Document::Result).await
}

async fn print_and_delete(
    gremlin: &str,
    format: Option<Format>,
    rest: &mut Rest,
) -> anyhow::Result<()> {
    let mut printer = printer(format);
    if !printer.is_json() {
        anyhow::bail!("--delete requires the format json, ndjson, or table");
    }
    let mut answer = rest.query(gremlin, printer.media_type()).await?;
    let text = answer.text(MAX_VALUE_BYTES).await?;
    let found = elements(&serde_json::from_str(&text)?)?;
    printer.print_text(&text, Document::Result)?;
    let mut failed = 0;
    for (kind, id) in &found {
        if let Err(error) = rest.delete(kind, id).await {
            failure::print(&error);
            failed += 1;
        }
    }
    match failed {
        0 => Ok(()),
        failed => Err(SomeFailed {
            failed,
            all: found.len(),
        }
        .into()),
    }
}

/// Returns the printer of query results. COMPAT: JSON is indented with tabs.
fn printer(format: Option<Format>) -> Printer {
    Printer::to_stdout(Format::or_default(format)).with_indent("\t")
}
