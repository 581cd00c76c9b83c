//! `skyd client status`.

use clap::Args;
use hyper::{Method, StatusCode};

use super::super::format::OutputArgs;
use super::super::http::Call;
use super::super::printer::Document;
use super::super::rest::{Rest, value};

/// Arguments of `status`.
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    output: OutputArgs,
}

impl StatusArgs {
    /// Prints the status, with sorted keys.
    ///
    /// # Errors
    /// Returns an error if the server rejects the request or cannot be reached, or the output
    /// cannot be written.
    pub(super) async fn run(self, rest: &mut Rest) -> anyhow::Result<()> {
        let mut printer = self.output.printer();
        let call = Call::new(Method::GET, "/api/status");
        let mut answer = rest.0.send_expecting(call, StatusCode::OK).await?;
        // The members of a `Value` are sorted.
        let status = value(&mut answer).await?;
        printer.print_text(&status.to_string(), Document::Object)
    }
}
