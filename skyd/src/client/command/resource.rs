//! Commands common to all kinds of resources: list, get, and delete.

use std::time::Duration;

use clap::Args;

use super::super::columns;
use super::super::failure::{self, SomeFailed};
use super::super::format::{FormatArgs, OutputArgs};
use super::super::printer::Document;
use super::super::rest::Rest;

/// Arguments of `list`.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    output: OutputArgs,
}

impl ListArgs {
    /// Prints all resources of a kind.
    ///
    /// # Errors
    /// Returns an error if the server rejects the request or cannot be reached, or the output
    /// cannot be written.
    pub(super) async fn run(self, kind: &'static str, rest: &mut Rest) -> anyhow::Result<()> {
        let mut printer = self.output.printer();
        let answer = rest.list(kind).await?;
        printer
            .print(answer, Document::Map(columns::of_kind(kind)))
            .await
    }
}

/// Arguments of `get`.
#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    /// ID of the node or edge, or UUID of the resource.
    id: String,

    #[command(flatten)]
    output: OutputArgs,
}

impl GetArgs {
    /// Prints a resource.
    ///
    /// # Errors
    /// Returns an error if the server rejects the request or cannot be reached, or the output
    /// cannot be written.
    pub(super) async fn run(self, kind: &'static str, rest: &mut Rest) -> anyhow::Result<()> {
        let mut printer = self.output.printer();
        let answer = rest.get(kind, &self.id).await?;
        printer.print(answer, Document::Object).await
    }
}

/// Arguments of `delete`.
#[derive(Args, Debug)]
pub(crate) struct DeleteArgs {
    /// UUIDs of the resources.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

impl DeleteArgs {
    /// Deletes resources.
    ///
    /// # Errors
    /// Returns an error if a resource could not be deleted.
    pub(super) async fn run(self, kind: &'static str, rest: &mut Rest) -> anyhow::Result<()> {
        delete(kind, &self.ids, rest).await
    }
}

/// Deletes resources. After a failure, which is printed, the others are still deleted.
///
/// # Errors
/// Returns an error if a resource could not be deleted.
pub(super) async fn delete(
    kind: &'static str,
    ids: &[String],
    rest: &mut Rest,
) -> anyhow::Result<()> {
    let all = ids.len();
    let mut failed = 0;
    for id in ids {
        match rest.delete(kind, id).await {
            Ok(()) => {}
            Err(error) if all == 1 => return Err(error),
            Err(error) => {
                failure::print(&error);
                failed += 1;
            }
        }
    }
    match failed {
        0 => Ok(()),
        failed => Err(SomeFailed { failed, all }.into()),
    }
}

/// Creates a resource and prints it.
///
/// # Errors
/// Returns an error if the server rejects the request or cannot be reached, or the output cannot be
/// written.
pub(super) async fn create(
    kind: &'static str,
    text: String,
    ttl: Option<Duration>,
    output: &OutputArgs,
    rest: &mut Rest,
) -> anyhow::Result<()> {
    let mut printer = output.printer();
    let answer = rest.create(kind, text, ttl).await?;
    printer.print(answer, Document::Object).await
}

/// Applies a patch to resources in sequence, and prints the last result.
///
/// # Errors
/// Returns an error if the server rejects the request or cannot be reached, or the output cannot be
/// written.
pub(super) async fn update(
    kind: &'static str,
    ids: &[String],
    patch: &serde_json::Value,
    format: &FormatArgs,
    rest: &mut Rest,
) -> anyhow::Result<()> {
    let mut printer = format.printer();
    let Some((last, others)) = ids.split_last() else {
        return Ok(());
    };
    for id in others {
        if let Some(mut answer) = rest.update(kind, id, patch).await? {
            // The connection can be used again when the response has ended.
            while answer.piece().await?.is_some() {}
        }
    }
    match rest.update(kind, last, patch).await? {
        Some(answer) => printer.print(answer, Document::Object).await,
        None => printer.print_line("Not modified"),
    }
}
