//! `skyd client alert`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use skylib::api::{AlertSpec, Resource};

use super::super::check::members;
use super::super::format::{FormatArgs, OutputArgs};
use super::super::rest::Rest;
use super::resource::{self, DeleteArgs, GetArgs, ListArgs};

/// Commands about alerts.
#[derive(Debug, Subcommand)]
pub(crate) enum AlertCommand {
    /// Create an alert.
    #[command(after_help = EXAMPLES)]
    Create(CreateArgs),
    /// List all alerts.
    List(ListArgs),
    /// Show an alert.
    Get(GetArgs),
    /// Delete alerts.
    Delete(DeleteArgs),
    /// Change alerts. The trigger is always set; the default is `graph`.
    Update(UpdateArgs),
}

const EXAMPLES: &str = "Examples:
  skyd client alert create --name down --expression \"G.V().Has('State', 'DOWN')\"
  skyd client alert create --expression \"G.Flows().Has('Metric.ABBytes', GT(1000000))\" \\
      --trigger duration:10s --action http://127.0.0.1:9000/hook";

/// Members of an alert.
#[derive(Args, Debug)]
struct AlertArgs {
    /// Name of the alert.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    name: String,

    /// Description of the alert.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    description: String,

    /// Gremlin query, or JavaScript expression.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    expression: String,

    /// Time of evaluation: `graph` after every change to the graph, or `duration:5s` every 5 s.
    #[arg(long, default_value = "graph")]
    trigger: String,

    /// Receiver of the result: URL of a webhook (http:, https:) or of a program (file:).
    #[arg(
        long,
        value_name = "URL",
        default_value = "",
        hide_default_value = true
    )]
    action: String,
}

impl AlertArgs {
    fn members(self) -> serde_json::Map<String, Value> {
        members([
            ("Name", self.name.into()),
            ("Description", self.description.into()),
            ("Trigger", self.trigger.into()),
            ("Expression", self.expression.into()),
            ("Action", self.action.into()),
        ])
    }
}

/// Arguments of `alert create`.
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    alert: AlertArgs,

    #[command(flatten)]
    output: OutputArgs,
}

/// Arguments of `alert update`.
#[derive(Args, Debug)]
pub(crate) struct UpdateArgs {
    /// UUIDs of the alerts.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,

    #[command(flatten)]
    alert: AlertArgs,

    #[command(flatten)]
    format: FormatArgs,
}

impl AlertCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// Returns an error if the server rejects the request or cannot be reached, or the output
    /// cannot be written.
    pub(super) async fn run(self, rest: &mut Rest) -> anyhow::Result<()> {
        const KIND: &str = AlertSpec::KIND;
        match self {
            Self::Create(args) => {
                let text = Value::Object(args.alert.members()).to_string();
                resource::create(KIND, text, None, &args.output, rest).await
            }
            Self::List(args) => args.run(KIND, rest).await,
            Self::Get(args) => args.run(KIND, rest).await,
            Self::Delete(args) => args.run(KIND, rest).await,
            Self::Update(args) => {
                let members = args.alert.members().into_iter();
                let patch = members
                    .map(|(key, value)| json!({"op": "add", "path": format!("/{key}"), "value": value}))
                    .collect();
                resource::update(KIND, &args.ids, &patch, &args.format, rest).await
            }
        }
    }
}
