//! `skyd client node`.

use clap::{Args, Subcommand};
use skylib::api::GraphResource;
use skylib::graph::{Metadata, Node, Origin};
use skylib::time::{Clock, SystemClock};

use super::super::format::OutputArgs;
use super::super::metadata::add_pairs;
use super::super::rest::Rest;
use super::element::{DeleteArgs, UpdateArgs, host_name};
use super::resource::{self, GetArgs, ListArgs};

/// Commands about nodes.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Create a node.
    #[command(after_help = EXAMPLES)]
    Create(CreateArgs),
    /// List all nodes.
    List(ListArgs),
    /// Show a node.
    Get(GetArgs),
    /// Delete nodes, with their edges.
    Delete(DeleteArgs),
    /// Change the metadata of nodes.
    Update(UpdateArgs),
}

const EXAMPLES: &str = "Examples:
  skyd client node create --node-name tor1 --node-type switch --metadata 'Rack.Row=3, owner=net'
  skyd client node update ID --add 'speed=10' --remove owner";

/// Arguments of `node create`.
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// Name of the node.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    node_name: String,

    /// Type of the node.
    #[arg(
        long,
        value_name = "TYPE",
        default_value = "",
        hide_default_value = true
    )]
    node_type: String,

    /// Further metadata: k1=v1, k2.k3=v2. Values are strings.
    #[arg(
        long,
        value_name = "PAIRS",
        default_value = "",
        hide_default_value = true
    )]
    metadata: String,

    /// Host of the node; the default is the name of this machine.
    #[arg(long, value_name = "NAME")]
    host: Option<String>,

    #[command(flatten)]
    output: OutputArgs,
}

impl CreateArgs {
    fn text(&self) -> anyhow::Result<String> {
        let mut metadata = Metadata::new();
        add_pairs(&self.metadata, &mut metadata)?;
        for (key, value) in [("Name", &self.node_name), ("Type", &self.node_type)] {
            if !value.is_empty() {
                metadata.set(key, value.as_str());
            }
        }
        let host = self.host.clone().unwrap_or_else(host_name);
        let id = uuid::Uuid::new_v4().to_string();
        let node = Node::new(id, metadata, SystemClock.now());
        let node = node.with_origin(Origin::new("cli", host));
        Ok(serde_json::to_string(&node)?)
    }
}

impl NodeCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// Returns an error if an argument is invalid, the server rejects the request or cannot be
    /// reached, or the output cannot be written.
    pub(super) async fn run(self, rest: &mut Rest) -> anyhow::Result<()> {
        const KIND: &str = Node::KIND;
        match self {
            Self::Create(args) => {
                resource::create(KIND, args.text()?, None, &args.output, rest).await
            }
            Self::List(args) => args.run(KIND, rest).await,
            Self::Get(args) => args.run(KIND, rest).await,
            Self::Delete(args) => args.run(KIND, rest).await,
            Self::Update(args) => args.run(KIND, rest).await,
        }
    }
}
