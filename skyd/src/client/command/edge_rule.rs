//! `skyd client edge-rule`.

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::Value;
use skylib::api::{EdgeRule, Resource};
use skylib::graph::Metadata;

use super::super::check::{checked, members};
use super::super::format::OutputArgs;
use super::super::metadata::add_pairs;
use super::super::rest::Rest;
use super::resource::{self, DeleteArgs, GetArgs, ListArgs};

/// Commands about edge rules.
#[derive(Debug, Subcommand)]
pub(crate) enum EdgeRuleCommand {
    /// Create a rule.
    #[command(after_help = EXAMPLES)]
    Create(CreateArgs),
    /// List all rules.
    List(ListArgs),
    /// Show a rule.
    Get(GetArgs),
    /// Delete rules, and the edges that they created.
    Delete(DeleteArgs),
}

const EXAMPLES: &str = "Example:
  skyd client edge-rule create --relationtype layer2 \\
      --src \"G.V().Has('Name', 'TOR1')\" --dst \"G.V().Has('Name', 'eth0')\"";

/// Arguments of `edge-rule create`.
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

    /// Gremlin query of the parent node.
    #[arg(
        long,
        value_name = "QUERY",
        default_value = "",
        hide_default_value = true
    )]
    src: String,

    /// Gremlin query of the child node.
    #[arg(
        long,
        value_name = "QUERY",
        default_value = "",
        hide_default_value = true
    )]
    dst: String,

    /// Type of the relation, such as layer2 or ownership.
    #[arg(
        long = "relationtype",
        value_name = "TYPE",
        default_value = "",
        hide_default_value = true
    )]
    relation_type: String,

    /// Further metadata of the edge: k1=v1, k2.k3=v2. Values are strings.
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
        if self.relation_type.is_empty() {
            bail!("--relationtype is a required parameter");
        }
        metadata.set("RelationType", self.relation_type.as_str());
        let metadata: Value = serde_json::to_value(&metadata)?;
        checked::<EdgeRule>(members([
            ("Name", self.name.as_str().into()),
            ("Description", self.description.as_str().into()),
            ("Src", self.src.as_str().into()),
            ("Dst", self.dst.as_str().into()),
            ("Metadata", metadata),
        ]))
        .context("Error while validating edge rule")
    }
}

impl EdgeRuleCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// Returns an error if an argument is invalid, the server rejects the request or cannot be
    /// reached, or the output cannot be written.
    pub(super) async fn run(self, rest: &mut Rest) -> anyhow::Result<()> {
        const KIND: &str = EdgeRule::KIND;
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
            "--src",
            "G.V('a')",
            "--dst=G.V('b')",
            "--relationtype",
            "cable",
            "--metadata",
            "len=3",
        ];
        let wanted = concat!(
            r#"{"UUID":"","Name":"","Description":"","Src":"G.V('a')","Dst":"G.V('b')","#,
            r#""Metadata":{"RelationType":"cable","len":"3"}}"#
        );
        assert_eq!(text(&words).as_deref(), Ok(wanted));
    }

    #[test]
    fn mistakes_are_found_before_anything_is_sent() {
        let error = text(&["--src", "G.V()"]).unwrap_err();
        assert_eq!(error, "--relationtype is a required parameter");
        let error = text(&["--relationtype", "t", "--src", "G.V()"]).unwrap_err();
        let wanted = "Error while validating edge rule: Dst: Not a valid Gremlin expression";
        assert!(error.starts_with(wanted), "{error}");
    }
}
