//! `skyd client node-rule`.

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::Value;
use skylib::api::{NodeRule, Resource};
use skylib::graph::Metadata;

use super::super::check::{checked, members};
use super::super::format::OutputArgs;
use super::super::metadata::add_pairs;
use super::super::rest::Rest;
use super::resource::{self, DeleteArgs, GetArgs, ListArgs};

/// Commands about node rules.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeRuleCommand {
    /// Create a rule.
    #[command(after_help = EXAMPLES)]
    Create(CreateArgs),
    /// List all rules.
    List(ListArgs),
    /// Show a rule.
    Get(GetArgs),
    /// Delete rules, the nodes that they created, and the metadata that they set.
    Delete(DeleteArgs),
}

const EXAMPLES: &str = "Examples:
  skyd client node-rule create --action create --node-name TOR1 --node-type fabric
  skyd client node-rule create --action update --query \"G.V().Has('Name', 'eth0')\" \\
      --metadata 'room=12'";

/// Arguments of `node-rule create`.
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// Name of the rule.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    name: String,

    /// Description of the rule.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    description: String,

    /// Action of the rule: `create` a node, or `update` the nodes of --query.
    #[arg(
        long,
        value_name = "ACTION",
        default_value = "",
        hide_default_value = true
    )]
    action: String,

    /// Name of the node to create.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    node_name: String,

    /// Type of the node to create; `fabric` for parts of the physical network.
    #[arg(
        long,
        value_name = "TYPE",
        default_value = "",
        hide_default_value = true
    )]
    node_type: String,

    /// Gremlin query of the nodes to update.
    #[arg(
        long,
        value_name = "QUERY",
        default_value = "",
        hide_default_value = true
    )]
    query: String,

    /// Metadata of the created node, or metadata to set: k1=v1, k2.k3=v2. Values are strings.
    #[arg(
        long,
        value_name = "PAIRS",
        default_value = "",
        hide_default_value = true
    )]
    metadata: String,

    #[command(flatten)]
    output: OutputArgs,
}

impl CreateArgs {
    /// Returns the JSON text of the rule.
    fn text(&self) -> anyhow::Result<String> {
        let mut metadata = Metadata::new();
        add_pairs(&self.metadata, &mut metadata)?;
        if self.action == "create" {
            if self.node_name.is_empty() || self.node_type.is_empty() {
                bail!("the action create requires --node-name and --node-type");
            }
            metadata.set("Name", self.node_name.as_str());
            metadata.set("Type", self.node_type.as_str());
        }
        let metadata: Value = serde_json::to_value(&metadata)?;
        checked::<NodeRule>(members([
            ("Name", self.name.as_str().into()),
            ("Description", self.description.as_str().into()),
            ("Metadata", metadata),
            ("Action", self.action.as_str().into()),
            ("Query", self.query.as_str().into()),
        ]))
        .context("Error while validating node rule")
    }
}

impl NodeRuleCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// Returns an error if an argument is invalid, the server rejects the request or cannot be
    /// reached, or the output cannot be written.
    pub(super) async fn run(self, rest: &mut Rest) -> anyhow::Result<()> {
        const KIND: &str = NodeRule::KIND;
        match self {
            Self::Create(args) => {
                resource::create(KIND, args.text()?, None, &args.output, rest).await
            }
            Self::List(args) => args.run(KIND, rest).await,
            Self::Get(args) => args.run(KIND, rest).await,
            Self::Delete(args) => args.run(KIND, rest).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: CreateArgs,
    }

    fn text(words: &[&str]) -> Result<String, String> {
        let line = Line::try_parse_from([&["create"][..], words].concat()).unwrap();
        line.args.text().map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn flags_become_members() {
        let words = [
            "--action=create",
            "--node-name",
            "T",
            "--node-type",
            "fabric",
        ];
        let wanted = concat!(
            r#"{"UUID":"","Name":"","Description":"","Metadata":{"Name":"T","Type":"fabric","#,
            r#""rack":"7"},"Action":"create","Query":""}"#
        );
        let rule = text(&[&words[..], &["--metadata", "rack=7"]].concat());
        assert_eq!(rule.as_deref(), Ok(wanted));
        let update = [
            "--action",
            "update",
            "--query",
            "G.V()",
            "--node-name",
            "unused",
        ];
        let rule = text(&[&update[..], &["--metadata", "a.b=1"]].concat()).unwrap();
        assert!(
            rule.contains(r#""Metadata":{"a":{"b":"1"}},"Action":"update""#),
            "{rule}"
        );
    }

    #[test]
    fn mistakes_are_found_before_anything_is_sent() {
        let prefix = "Error while validating node rule: ";
        for (words, wanted) in [
            (
                &["--name", "x"][..],
                format!("{prefix}Action: regular expression mismatch"),
            ),
            (
                &["--action", "update", "--query", "V()"],
                format!("{prefix}Query: Not a valid Gremlin expression: found \"V\", expected `G`"),
            ),
            (
                &[
                    "--action",
                    "update",
                    "--query",
                    "G.V()",
                    "--metadata",
                    "Name=b",
                ],
                format!("{prefix}Name and Type fields can not be changed"),
            ),
            (
                &["--action", "create", "--node-name", "only"],
                "the action create requires --node-name and --node-type".to_owned(),
            ),
            (
                &["--metadata", "x"],
                "attributes must be defined by pair k=v: x".to_owned(),
            ),
        ] {
            let error = text(words).unwrap_err();
            assert!(error.starts_with(&wanted), "{words:?}: {error}");
        }
    }
}
