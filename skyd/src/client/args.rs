//! Options of all client commands.

use std::path::PathBuf;

use clap::{ArgAction, Args};

/// Options of the connection, accepted before or after the words of the command.
#[derive(Args, Debug, Default)]
pub(crate) struct ConnectionArgs {
    /// Address of the analyzer: host:port, :port, or port. The default is SKYDIVE_ANALYZER, then
    /// the first of `analyzers` in the configuration, then 127.0.0.1:8082.
    #[arg(long, value_name = "ADDRESS", global = true, help_heading = HEADING)]
    pub(super) analyzer: Option<String>,

    /// User name; the default is SKYDIVE_USERNAME.
    #[arg(long, value_name = "NAME", global = true, help_heading = HEADING)]
    pub(super) username: Option<String>,

    /// Password of the user; the default is SKYDIVE_PASSWORD, which other users of this machine
    /// cannot see in the list of processes.
    #[arg(long, value_name = "TEXT", global = true, help_heading = HEADING, allow_hyphen_values = true)]
    pub(super) password: Option<String>,

    /// Certificates of the authorities to trust, in PEM format. The client connects with TLS.
    #[arg(long, value_name = "FILE", global = true, help_heading = HEADING)]
    pub(super) cacert: Option<PathBuf>,

    /// Certificate of the client, in PEM format; requires --key. The client connects with TLS.
    #[arg(long, value_name = "FILE", global = true, help_heading = HEADING)]
    pub(super) cert: Option<PathBuf>,

    /// Private key of the client's certificate, in PEM format.
    #[arg(long, value_name = "FILE", global = true, help_heading = HEADING)]
    pub(super) key: Option<PathBuf>,

    /// Do not check the certificate of the server. Without --cacert and --cert, the client uses TLS
    /// only if the server supports it.
    #[arg(long, global = true, help_heading = HEADING, action = ArgAction::Set, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", default_value = "false",
          hide_default_value = true, value_name = "BOOL", value_parser = go_bool,
          hide_possible_values = true)]
    pub(super) insecure: bool,

    /// Configuration file, as for the daemon; only `analyzers` is used. Repeatable.
    #[arg(short = 'c', long = "conf", value_name = "FILE", global = true, help_heading = HEADING)]
    pub(crate) files: Vec<PathBuf>,

    /// Backend of the configuration; only `file` is supported.
    #[arg(short = 'b', long = "config-backend", value_name = "BACKEND", global = true,
          help_heading = HEADING, hide = true)]
    pub(super) config_backend: Option<String>,

    /// Print each request on standard error.
    #[arg(long, global = true, help_heading = HEADING, action = ArgAction::Set, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", default_value = "false",
          hide_default_value = true, value_name = "BOOL", value_parser = go_bool,
          hide_possible_values = true)]
    pub(crate) verbose: bool,
}

/// Heading of these options in the help of every command.
const HEADING: &str = "Connection";

/// Parses the value of a switch, as in `--insecure=false`, as Go parses booleans.
///
/// # Errors
/// Returns an error if the string is not a boolean.
pub(super) fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}
