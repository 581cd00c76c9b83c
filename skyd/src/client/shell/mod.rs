//! `skyd client shell`: queries and JavaScript, line by line.
//!
//! A line that is a Gremlin query is run, everything else is evaluated as JavaScript with the
//! functions that workflows have; results are printed.

mod completion;
mod editor;
mod server;

use std::fs;
use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, anyhow};
use clap::Args;
use skylib::engine::{Interpreter, ScriptHost};
use skylib::gremlin::Query;
use tokio::runtime::Runtime;

use self::completion::Names;
use self::editor::{Entered, LineEditor};
use self::server::Server;
use super::failure::{self, OutputFailed};
use super::format::{ExtraWords, Format};
use super::printer::{Document, Printer};
use super::rest::Rest;
use crate::printable::is_safe;

/// Arguments of `shell`.
#[derive(Args, Debug)]
pub(crate) struct ShellArgs {
    /// File with the lines of earlier sessions; the default is ~/.skyd_history.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,

    /// JavaScript file to run first; the exit code is 1 if it fails.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,

    #[command(flatten)]
    extra: ExtraWords,
}

impl ShellArgs {
    /// Runs the shell until the end of its input.
    ///
    /// # Errors
    /// Returns an error if the script or a line of a pipe or file fails, or the terminal cannot be
    /// used.
    pub(super) fn run(self, rest: Rest, runtime: Runtime) -> anyhow::Result<()> {
        self.extra.warn();
        let server = Rc::new(Server::new(rest, runtime));
        let host: Rc<dyn ScriptHost> = Rc::<Server>::clone(&server);
        let interpreter =
            Interpreter::new(host).map_err(|error| anyhow!("cannot start JavaScript: {error}"))?;
        let shell = Shell {
            server,
            interpreter,
        };
        if let Some(path) = &self.script {
            shell.run_script(path)?;
        }
        match io::stdin().is_terminal() {
            true => shell.interact(&self.history.unwrap_or_else(default_history)),
            false => shell.read_lines(),
        }
    }
}

/// Returns the default path of the history file.
fn default_history() -> PathBuf {
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .unwrap_or_default();
    home.join(".skyd_history")
}

/// A running shell.
struct Shell {
    server: Rc<Server>,
    interpreter: Interpreter,
}

impl Shell {
    fn run_script(&self, path: &Path) -> anyhow::Result<()> {
        let name = path.display();
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        let result = self.interpreter.evaluate(&text);
        result.map_err(|error| anyhow!("Error while executing {name}: {error}"))?;
        Ok(())
    }

    /// Reads lines from the terminal.
    fn interact(&self, history: &Path) -> anyhow::Result<()> {
        let mut editor = LineEditor::new(self, history)?;
        loop {
            match editor.read()? {
                Entered::Line(line) if is_exit(&line) => break,
                Entered::Line(line) => {
                    self.execute(&line)?;
                }
                Entered::Interrupted => print("(^D to quit)")?,
                Entered::End => break,
            }
        }
        let saved = editor.save();
        saved.with_context(|| format!("cannot write the history to {}", history.display()))
    }

    /// Reads lines from a pipe or a file. All lines are executed, even if one fails.
    ///
    /// # Errors
    /// Returns an error if a line fails.
    fn read_lines(&self) -> anyhow::Result<()> {
        let (mut failed, mut all) = (0_u64, 0_u64);
        for line in io::stdin().lock().lines() {
            let line = line?;
            if is_exit(&line) {
                break;
            }
            all += 1;
            failed += u64::from(!self.execute(&line)?);
        }
        match failed {
            0 => Ok(()),
            _ => Err(anyhow!("{failed} of {all} lines failed")),
        }
    }

    /// Executes a line and prints its result or its error; returns whether the line succeeded.
    ///
    /// # Errors
    /// Returns an error if the output cannot be written.
    fn execute(&self, line: &str) -> anyhow::Result<bool> {
        let line = line.trim();
        if line.is_empty() {
            return Ok(true);
        }
        let query = Query::parse(line);
        if query.is_ok() {
            return match self.server.print_result(line) {
                Ok(()) => Ok(true),
                Err(error) if error.is::<OutputFailed>() => Err(error),
                Err(error) => {
                    failure::print(&error);
                    Ok(false)
                }
            };
        }
        match self.interpreter.evaluate(line) {
            Ok(None) => Ok(true),
            Ok(Some(json)) => {
                printer().print_text(&json, Document::Result)?;
                Ok(true)
            }
            // COMPAT: the message of Skydive, on standard output.
            Err(error) => {
                print(&format!(
                    "Error while executing Javascript '{line}': {error}"
                ))?;
                if line.starts_with("G.")
                    && let Err(error) = query
                {
                    failure::print(&anyhow!("as a Gremlin query: {error}"));
                }
                Ok(false)
            }
        }
    }
}

impl Names for Shell {
    fn members(&self, path: &str) -> Vec<String> {
        self.interpreter.members(path)
    }

    fn keys(&self) -> Vec<String> {
        let mut keys = self.server.keys();
        // The editor prints the keys. Keys with characters that a terminal would interpret, or that
        // would end the string, are omitted.
        keys.retain(|key| {
            key.chars()
                .all(|c| is_safe(c) && !matches!(c, '\'' | '"' | '\\'))
        });
        keys
    }
}

/// Returns whether a line ends the shell.
fn is_exit(line: &str) -> bool {
    matches!(line.trim(), "exit" | "quit")
}

fn printer() -> Printer {
    Printer::to_stdout(Format::or_default(None)).with_indent("\t")
}

fn print(text: &str) -> anyhow::Result<()> {
    printer().print_line(text)
}
