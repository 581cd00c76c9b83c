//! Line editor of the shell, with history and completion.

use std::path::Path;

use rustyline::completion::Completer;
use rustyline::config::CompletionType;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Context, Editor, Helper};

use super::completion::{self, Names};

/// Line editor on a terminal.
pub(super) struct LineEditor<'a> {
    editor: Editor<Assistant<'a>, FileHistory>,
    history: &'a Path,
}

/// Input of a user.
pub(super) enum Entered {
    /// A line.
    Line(String),
    /// Ctrl-C, which discards the line.
    Interrupted,
    /// The end of the input.
    End,
}

impl<'a> LineEditor<'a> {
    /// Creates an editor with the history of a file, which need not exist.
    ///
    /// # Errors
    /// Returns an error if the terminal cannot be used.
    pub(super) fn new(names: &'a dyn Names, history: &'a Path) -> anyhow::Result<Self> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .max_history_size(MAX_HISTORY)?
            .build();
        let mut editor = Editor::with_config(config)?;
        editor.set_helper(Some(Assistant(names)));
        // Without a file, the history is empty.
        drop(editor.load_history(history));
        Ok(Self { editor, history })
    }

    /// Reads a line.
    ///
    /// # Errors
    /// Returns an error if the terminal cannot be read.
    pub(super) fn read(&mut self) -> anyhow::Result<Entered> {
        match self.editor.readline(PROMPT) {
            Ok(line) => {
                self.editor.add_history_entry(line.as_str())?;
                Ok(Entered::Line(line))
            }
            Err(ReadlineError::Interrupted) => Ok(Entered::Interrupted),
            Err(ReadlineError::Eof) => Ok(Entered::End),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the history to its file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub(super) fn save(&mut self) -> anyhow::Result<()> {
        Ok(self.editor.save_history(self.history)?)
    }
}

/// Assistance while a line is edited.
struct Assistant<'a>(&'a dyn Names);

impl Completer for Assistant<'_> {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..position).unwrap_or(line);
        Ok(completion::complete(typed, self.0))
    }
}

impl Validator for Assistant<'_> {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(match completion::is_incomplete(context.input()) {
            true => ValidationResult::Incomplete,
            false => ValidationResult::Valid(None),
        })
    }
}

impl Hinter for Assistant<'_> {
    type Hint = String;
}

impl Highlighter for Assistant<'_> {}

impl Helper for Assistant<'_> {}

const PROMPT: &str = "shell> ";
/// Number of lines in the history.
const MAX_HISTORY: usize = 10_000;
