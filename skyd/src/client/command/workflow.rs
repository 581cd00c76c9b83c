//! `skyd client workflow`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use hyper::{Method, StatusCode};
use serde_json::json;
use skylib::api::{Resource, Workflow};

use super::super::format::{FormatArgs, OutputArgs};
use super::super::http::Call;
use super::super::printer::Document;
use super::super::rest::Rest;
use super::resource::{self, DeleteArgs, ListArgs};
use crate::config;
use crate::urlencoded::path_segment;

/// Commands about workflows.
#[derive(Debug, Subcommand)]
pub(crate) enum WorkflowCommand {
    /// Create a workflow from a YAML file.
    Create(CreateArgs),
    /// List all workflows.
    List(ListArgs),
    /// Delete workflows.
    Delete(DeleteArgs),
    /// Call a workflow and print its result.
    #[command(after_help = EXAMPLES)]
    Call(CallArgs),
}

const EXAMPLES: &str = "Example: whether the path between two nodes has the same MTU (CheckMTU)
  skyd client workflow call 85757b38-6e21-11e8-b42d-28d2442e1325 TID1 TID2";

/// Arguments of `workflow create`.
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// YAML file with the members of a workflow: Name, Title, Abstract, Description, Parameters,
    /// Source.
    #[arg(long, value_name = "FILE")]
    path: PathBuf,

    #[command(flatten)]
    output: OutputArgs,
}

/// Arguments of `workflow call`.
#[derive(Args, Debug)]
pub(crate) struct CallArgs {
    /// Identifier of the workflow.
    id: String,

    /// Arguments of the workflow, as strings.
    #[arg(value_name = "PARAM", allow_negative_numbers = true)]
    parameters: Vec<String>,

    #[command(flatten)]
    format: FormatArgs,
}

impl CreateArgs {
    /// Returns the JSON text of the workflow.
    fn text(&self) -> anyhow::Result<String> {
        let path = self.path.display();
        let text = fs::read_to_string(&self.path).with_context(|| format!("cannot read {path}"))?;
        let value = config::yaml(&text).map_err(|reason| anyhow!("{path}: {reason}"))?;
        Ok(value.to_string())
    }
}

impl CallArgs {
    async fn run(self, rest: &mut Rest) -> anyhow::Result<()> {
        let path = format!("/api/{}/{}/call", Workflow::KIND, path_segment(&self.id));
        let body = json!({ "Params": self.parameters }).to_string();
        let call = Call::new(Method::POST, &path).with_json(body);
        let answer = rest.0.send_expecting(call, StatusCode::OK).await?;
        self.format.printer().print(answer, Document::Result).await
    }
}

impl WorkflowCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// Returns an error if an argument is invalid, the server rejects the request or cannot be
    /// reached, or the output cannot be written.
    pub(super) async fn run(self, rest: &mut Rest) -> anyhow::Result<()> {
        const KIND: &str = Workflow::KIND;
        match self {
            Self::Create(args) => {
                resource::create(KIND, args.text()?, None, &args.output, rest).await
            }
            Self::List(args) => args.run(KIND, rest).await,
            Self::Delete(args) => args.run(KIND, rest).await,
            Self::Call(args) => args.run(rest).await,
        }
    }
}
