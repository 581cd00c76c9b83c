//! `skyd client pcap`.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use hyper::{Method, StatusCode};

use super::super::failure::HelpNeeded;
use super::super::format::{ExtraWords, Format};
use super::super::http::{Call, file_body};
use super::super::printer::Printer;
use super::super::rest::{Rest, value};
use crate::printable::printable;

/// Arguments of `pcap`.
#[derive(Args, Debug)]
pub(crate) struct PcapArgs {
    /// Capture file to import.
    #[arg(short = 't', long, value_name = "FILE")]
    trace: Option<PathBuf>,

    #[command(flatten)]
    extra: ExtraWords,
}

impl PcapArgs {
    /// Sends the capture file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, or the server rejects the file or cannot be
    /// reached.
    pub(super) async fn run(self, rest: &mut Rest) -> anyhow::Result<()> {
        let Some(path) = self.trace.filter(|path| !path.as_os_str().is_empty()) else {
            let message = "You need to specify a PCAP file";
            return Err(HelpNeeded {
                message,
                command: &["pcap"],
            }
            .into());
        };
        self.extra.warn();
        let name = path.display();
        let file = File::open(&path).with_context(|| format!("cannot open {name}"))?;
        let mut call = Call::new(Method::POST, "/api/pcap");
        call.body = file_body(file).with_context(|| format!("cannot read {name}"))?;
        let mut answer = rest.0.send(call).await?;
        if answer.status != StatusCode::ACCEPTED {
            let refusal = answer.refusal().await?;
            // COMPAT: Skydive's client shows only the body. An empty body is replaced with the
            // status.
            match refusal.body.is_empty() {
                true => bail!("Failed to import {name}: {refusal}"),
                false => bail!("Failed to import {name}: {}", refusal.body),
            }
        }
        let text = format!("{name} was successfully imported");
        Printer::to_stdout(Format::Json).print_line(&text)?;
        // A server of Skydive sends an empty body.
        if let Ok(imported) = value(&mut answer).await
            && let Some(query) = imported
                .get("GremlinQuery")
                .and_then(|query| query.as_str())
        {
            let number = |key: &str| imported.get(key).and_then(|n| n.as_u64()).unwrap_or(0);
            let (packets, flows) = (number("Packets"), number("Flows"));
            let text = format!("{packets} packets, {flows} flows: skyd client query \"{query}\"");
            writeln!(io::stderr(), "{}", printable(&text)).ok();
        }
        Ok(())
    }
}
