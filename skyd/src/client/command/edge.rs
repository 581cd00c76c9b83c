//! `skyd client edge`.

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use skylib::api::GraphResource;
use skylib::graph::{Edge, Metadata, Node, Origin};
use skylib::time::{Clock, SystemClock};

use super::super::format::OutputArgs;
use super::super::metadata::add_pairs;
use super::super::rest::Rest;
use super::element::{DeleteArgs, UpdateArgs, host_name};
use super::resource::{self, GetArgs, ListArgs};

/// Commands about edges.
#[derive(Debug, Subcommand)]
pub(crate) enum EdgeCommand {
    /// Create an edge.
    #[command(after_help = EXAMPLES)]
    Create(CreateArgs),
    /// List all edges.
    List(ListArgs),
    /// Show an edge.
    Get(GetArgs),
    /// Delete edges.
    Delete(DeleteArgs),
    /// Change the metadata of edges.
    Update(UpdateArgs),
}

const EXAMPLES: &str = "Example:
  skyd client edge create --parent ID --child ID --edge-type layer2 --metadata 'cable=7'";

/// Arguments of `edge create`.
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// Identifier of the parent node.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    parent: String,

    /// Identifier of the child node.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    child: String,

    /// Type of the relation, such as layer2 or ownership.
    #[arg(
        long,
        value_name = "TYPE",
        default_value = "",
        hide_default_value = true
    )]
    edge_type: String,

    /// Further metadata: k1=v1, k2.k3=v2. Values are strings.
    #[arg(
        long,
        value_name = "PAIRS",
        default_value = "",
        hide_default_value = true
    )]
    metadata: String,

    /// Host of the edge; the default is the name of this machine.
    #[arg(long, value_name = "NAME")]
    host: Option<String>,

    #[command(flatten)]
    output: OutputArgs,
}

impl CreateArgs {
    fn text(&self) -> anyhow::Result<String> {
        let mut metadata = Metadata::new();
        add_pairs(&self.metadata, &mut metadata)?;
        if !self.edge_type.is_empty() {
            metadata.set("RelationType", self.edge_type.as_str());
        }
        let host = self.host.clone().unwrap_or_else(host_name);
        let id = uuid::Uuid::new_v4().to_string();
        let (parent, child) = (self.parent.as_str(), self.child.as_str());
        let edge = Edge::new(id, parent, child, metadata, SystemClock.now());
        let edge = edge.with_origin(Origin::new("cli", host));
        Ok(serde_json::to_string(&edge)?)
    }

    /// Checks that the parent or child node of the edge exists.
    async fn find(end: &str, id: &str, rest: &mut Rest) -> anyhow::Result<()> {
        if id.is_empty() {
            bail!("Could not find {end} node: --{end} is empty");
        }
        let found = rest.get(Node::KIND, id).await;
        let mut answer = found.with_context(|| format!("Could not find {end} node"))?;
        // The connection can be used again when the response has ended.
        while answer.piece().await?.is_some() {}
        Ok(())
    }
}

impl EdgeCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// Returns an error if an argument is invalid, the server rejects the request or cannot be
    /// reached, or the output cannot be written.
    pub(super) async fn run(self, rest: &mut Rest) -> anyhow::Result<()> {
        const KIND: &str = Edge::KIND;
        match self {
            Self::Create(args) => {
                let text = args.text()?;
                CreateArgs::find("parent", &args.parent, rest).await?;
                CreateArgs::find("child", &args.child, rest).await?;
                resource::create(KIND, text, None, &args.output, rest).await
            }
            Self::List(args) => args.run(KIND, rest).await,
            Self::Get(args) => args.run(KIND, rest).await,
            Self::Delete(args) => args.run(KIND, rest).await,
            Self::Update(args) => args.run(KIND, rest).await,
        }
    }
}
