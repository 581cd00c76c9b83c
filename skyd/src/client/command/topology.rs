//! `skyd client topology`.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::format::{ExtraWords, Format, QUERY_FORMATS};
use super::super::publisher::Publisher;
use super::super::rest::Rest;
use super::element::host_name;
use super::query;

/// Commands about the whole graph.
#[derive(Debug, Subcommand)]
pub(crate) enum TopologyCommand {
    /// Print the graph in the form that `import` reads.
    Export(ExportArgs),
    /// Add the nodes and edges of an exported graph. Existing nodes and edges are not changed.
    Import(ImportArgs),
    /// Run a Gremlin query (deprecated: use `query`).
    Query(QueryArgs),
}

/// Arguments of `topology export`.
#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    extra: ExtraWords,
}

/// Arguments of `topology import`.
#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// File with the graph: a list with one object that has the members Nodes and Edges.
    #[arg(long, value_name = "FILE", default_value = "graph.json")]
    file: PathBuf,

    /// Path of the WebSocket endpoint.
    #[arg(long, value_name = "PATH", default_value = "/ws/publisher")]
    endpoint: String,

    #[command(flatten)]
    extra: ExtraWords,
}

/// Arguments of `topology query`.
#[derive(Args, Debug)]
pub(crate) struct QueryArgs {
    /// Gremlin query.
    #[arg(long, default_value = "G", value_parser = NonEmptyStringValueParser::new())]
    gremlin: String,

    /// Output format; the default is table on a terminal, otherwise json.
    #[arg(long, value_name = "FORMAT", value_parser = QUERY_FORMATS)]
    format: Option<Format>,

    #[command(flatten)]
    extra: ExtraWords,
}

/// Graph in the form that `topology export` prints.
#[derive(Deserialize)]
struct GraphText<'a> {
    #[serde(borrow, rename = "Nodes", default)]
    nodes: Option<Vec<&'a RawValue>>,
    #[serde(borrow, rename = "Edges", default)]
    edges: Option<Vec<&'a RawValue>>,
}

impl ImportArgs {
    async fn run(self, rest: &Rest) -> anyhow::Result<()> {
        self.extra.warn();
        let path = self.file.display();
        let text = fs::read_to_string(&self.file).with_context(|| format!("cannot read {path}"))?;
        let graph = parse_graph(&text).with_context(|| format!("cannot import {path}"))?;
        let host = host_name();
        let mut publisher = Publisher::connect(rest.0.target(), &self.endpoint, &host).await?;
        // Nodes first: an edge to an unknown node is dropped.
        for node in graph.nodes.into_iter().flatten() {
            publisher.send("NodeAdded", node).await?;
        }
        for edge in graph.edges.into_iter().flatten() {
            publisher.send("EdgeAdded", edge).await?;
        }
        publisher.close().await
    }
}

/// Parses an exported graph.
fn parse_graph(text: &str) -> anyhow::Result<GraphText<'_>> {
    let mut graphs: Vec<GraphText<'_>> =
        serde_json::from_str(text).context("Invalid graph format")?;
    match (graphs.pop(), graphs.is_empty()) {
        (Some(graph), true) => Ok(graph),
        _ => bail!("Invalid graph format: expected a list with one graph"),
    }
}

impl TopologyCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// Returns an error if a file is invalid, the server rejects the request or cannot be reached,
    /// or the output cannot be written.
    pub(super) async fn run(self, rest: &mut Rest) -> anyhow::Result<()> {
        match self {
            Self::Export(args) => {
                args.extra.warn();
                query::print_result("G", Some(Format::Json), rest).await
            }
            Self::Import(args) => args.run(rest).await,
            Self::Query(args) => {
                args.extra.warn();
                let notice = "Command \"topology query\" is deprecated, use `query` instead";
                writeln!(io::stderr(), "{notice}").ok();
                query::print_result(&args.gremlin, args.format, rest).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_list_with_one_graph_is_imported() {
        let graph = parse_graph(r#"[{"Nodes": [{"ID": "a"}], "Edges": null}]"#).unwrap();
        assert_eq!(graph.nodes.unwrap().len(), 1);
        assert!(graph.edges.is_none());
        assert!(parse_graph("[{}]").is_ok());
        for text in ["{", "[]", "[{}, {}]", "{}", "5", r#"[{"Nodes": 5}]"#] {
            let error = format!("{:#}", parse_graph(text).err().unwrap());
            assert!(error.starts_with("Invalid graph format"), "{text}: {error}");
        }
    }
}
