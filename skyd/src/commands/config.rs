//! The subcommand `skyd config`: lists the configuration keys and checks files.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::auth;
use crate::config::{self, Config, Sources};
use crate::engine_options;
use crate::peering;
use crate::spp_setup;
use crate::tls::Tls;

/// Actions of `skyd config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print all configuration keys with their types, defaults, and meanings.
    #[command(after_help = KEYS_EXAMPLES)]
    Keys(KeysArgs),
    /// Check configuration files without starting the daemon.
    ///
    /// Prints a warning for each key that is unknown or has no effect, and an error for each value
    /// that its key does not accept, for settings that contradict each other, and for files that are
    /// missing or unreadable. Exits with status 1 if there are errors.
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Print the configuration reference as Markdown (docs/CONFIGURATION.md).
    Docs,
}

const KEYS_EXAMPLES: &str = "Examples:
  skyd config keys
  skyd config keys http.limits
  skyd config keys --format json | jq '.[] | select(.type == \"duration\") | .name'";
const CHECK_EXAMPLES: &str = "Examples:
  skyd config check /etc/skydive/skydive.yml
  skyd config check base.yml site.yml --set flow.update=30s";

/// Arguments of `skyd config keys`.
#[derive(Args, Debug)]
pub(crate) struct KeysArgs {
    /// Print only keys whose names begin with this prefix.
    #[arg(value_name = "PREFIX", default_value = "", hide_default_value = true)]
    prefix: String,

    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    format: KeysFormat,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum KeysFormat {
    /// Human-readable text.
    #[default]
    Text,
    /// A JSON array of objects.
    Json,
}

/// Arguments of `skyd config check`.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// YAML files; later files override earlier ones, and `-` reads standard input.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Configuration setting that overrides files and environment, as for the daemon; repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

/// Runs the subcommand and returns its exit status.
///
/// # Errors
/// Returns an error if the output cannot be written.
pub(crate) fn run(command: &ConfigCommand) -> anyhow::Result<ExitCode> {
    let out = &mut io::stdout().lock();
    match command {
        ConfigCommand::Keys(args) => print_keys(args, out)?,
        ConfigCommand::Check(args) => return check(args, out),
        ConfigCommand::Docs => out.write_all(config::reference().as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print_keys(args: &KeysArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let prefix = args.prefix.to_ascii_lowercase();
    let mut keys = config::keys()
        .filter(|key| key.name.starts_with(&prefix))
        .peekable();
    if keys.peek().is_none() {
        bail!("no key begins with {prefix:?}; `skyd config keys` prints all keys");
    }
    match args.format {
        KeysFormat::Text => {
            for key in keys {
                let value_type = key.value_type.description();
                let default = match (key.is_read, key.default) {
                    (false, _) => "no effect".to_owned(),
                    (true, "") => "no default".to_owned(),
                    (true, default) => format!("default {default}"),
                };
                writeln!(out, "{} ({value_type}; {default})", key.name)?;
                writeln!(out, "    {}\n", key.help)?;
            }
        }
        KeysFormat::Json => {
            let keys: Vec<_> = keys
                .map(|key| {
                    json!({
                        "name": key.name,
                        "type": key.value_type.name(),
                        "values": key.value_type.description(),
                        "default": (!key.default.is_empty()).then_some(key.default),
                        "has_effect": key.is_read,
                        "help": key.help,
                    })
                })
                .collect();
            serde_json::to_writer_pretty(&mut *out, &keys)?;
            writeln!(out)?;
        }
    }
    Ok(())
}

fn check(args: &CheckArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let sources = Sources {
        files: args.files.clone(),
        settings: args.settings.clone(),
        ..Sources::default()
    };
    let (config, errors) = Config::check(&sources);
    let mut warnings = config.warnings.clone();
    let mut errors: Vec<String> = errors
        .into_iter()
        .map(|error| format!("{:#}", anyhow::Error::from(error)))
        .collect();
    if errors.is_empty() {
        match auth::check(&config) {
            Ok(found) => warnings.extend(found),
            Err(error) => errors.push(format!("{error:#}")),
        }
        match engine_options::replaced_backends(&config) {
            Ok(replaced) => warnings.extend(replaced.iter().map(ToString::to_string)),
            Err(error) => errors.push(format!("{error:#}")),
        }
        warnings.extend(engine_options::unknown_probes(&config));
        errors.extend(conflicts(&config));
    }
    for warning in &warnings {
        writeln!(out, "warning: {warning}")?;
    }
    for error in &errors {
        writeln!(out, "error: {error}")?;
    }
    writeln!(
        out,
        "{} error(s), {} warning(s)",
        errors.len(),
        warnings.len()
    )?;
    Ok(ExitCode::from(u8::from(!errors.is_empty())))
}

/// Returns the problems that the types of keys cannot detect, except those of authentication:
/// missing files, unknown names, invalid addresses, keys that require other keys.
fn conflicts(config: &Config) -> Vec<String> {
    let mut errors = engine_options::check(config);
    errors.extend(Tls::from_config(config, false).err());
    errors.extend(engine_options::analyzers(config).err());
    errors.extend(spp_setup::check(config).err());
    errors.extend(peering::clusters(config, Duration::ZERO).err());
    errors.iter().map(|error| format!("{error:#}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(settings: &[&str]) -> CheckArgs {
        CheckArgs {
            files: Vec::new(),
            settings: settings.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    /// Returns what `skyd config check` prints.
    fn checked(settings: &[&str]) -> String {
        let mut out = Vec::new();
        check(&args(settings), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_error_and_warning_is_reported() {
        let text = checked(&[
            "flow.update=never",
            "no.such=1",
            "http.limits.queries=0",
            "etcd.embedded=true",
        ]);
        for wanted in [
            "warning: --set: unknown key no.such; `skyd config keys` lists all keys\n",
            "warning: etcd has no effect",
            "error: --set: flow.update: \"never\" is not allowed; expected a duration",
            "error: --set: http.limits.queries: \"0\" is not allowed; expected an integer from 1",
            "2 error(s), 2 warning(s)\n",
        ] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
    }

    #[test]
    fn errors_that_would_stop_the_daemon_are_reported() {
        let text = checked(&[
            "analyzers=foo",
            "agent.topology.probes=foo",
            "agent.flow.sflow.bind_address=here",
            "analyzer.flow.backend=elasticsearch",
            "analyzer.topology.probes=k8",
            "analyzer.peers.east.endpoints=127.0.0.1:8082",
            "spp.launch.root=/no/such/folder",
        ]);
        for wanted in [
            "error: analyzers: \"foo\"",
            "error: agent.topology.probes: ",
            "error: agent.flow.sflow.bind_address: expected an IP address",
            "warning: analyzer.flow.backend: the backend elasticsearch is not supported yet",
            "warning: analyzer.topology.probes: no probe is named \"k8\"",
            "error: analyzer.cluster: not set",
            "error: spp.launch.root: /no/such/folder is not a folder",
            "error(s), 2 warning(s)\n",
        ] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
    }

    #[test]
    fn settings_that_contradict_each_other_are_reported() {
        let text = checked(&["analyzer.flow.backend=none", "tls.require_client_cert=true"]);
        assert!(text.contains("error: analyzer.flow.backend: "), "{text}");
        assert!(text.contains("error: tls.require_client_cert: "), "{text}");
        assert!(text.ends_with("2 error(s), 0 warning(s)\n"), "{text}");
    }

    #[test]
    fn keys_are_listed_in_both_formats() {
        let list = |format| {
            let args = KeysArgs {
                prefix: "flow.up".to_owned(),
                format,
            };
            let mut out = Vec::new();
            print_keys(&args, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let text = list(KeysFormat::Text);
        assert!(text.starts_with("flow.update (duration greater than zero; default 60)\n"));
        let json: serde_json::Value = serde_json::from_str(&list(KeysFormat::Json)).unwrap();
        assert_eq!(json.as_array().unwrap().len(), 1);
        assert_eq!(json[0]["default"], "60");
        assert_eq!(json[0]["type"], "duration");
    }
}
