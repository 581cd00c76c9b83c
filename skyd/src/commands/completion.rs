//! The subcommands `skyd completion`, `skyd bash-completion`, and `skyd man`: completion scripts
//! and manual pages, generated from the definition of the command line.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;

/// Arguments of `skyd completion`.
#[derive(Args, Debug)]
pub(crate) struct CompletionArgs {
    /// Shell.
    shell: Shell,
}

/// Arguments of `skyd bash-completion`.
#[derive(Args, Debug)]
pub(crate) struct BashCompletionArgs {
    /// Folder to which the script is written.
    #[arg(value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,
}

/// Arguments of `skyd man`.
#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// Folder to which a page for each command is written. Without a folder, the page of skyd is
    /// printed.
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

/// Prints the completion script for a shell.
///
/// # Errors
/// Returns an error if the output cannot be written.
pub(crate) fn print_script(args: &CompletionArgs, mut command: Command) -> anyhow::Result<()> {
    // Generate in memory, which cannot fail: clap_complete panics if the output is closed.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, NAME, &mut script);
    Ok(io::stdout().write_all(&script)?)
}

/// Writes the completion script for bash to a file. COMPAT: Skydive's file name.
///
/// # Errors
/// Returns an error if the file cannot be written.
pub(crate) fn write_script(args: &BashCompletionArgs, mut command: Command) -> anyhow::Result<()> {
    let path = args.folder.join("skydive-bash-completion.sh");
    let mut script = Vec::new();
    clap_complete::generate(Shell::Bash, &mut command, NAME, &mut script);
    fs::write(&path, script).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(writeln!(io::stdout(), "wrote {}", path.display())?)
}

/// Prints a manual page, or writes all pages to a folder.
///
/// # Errors
/// Returns an error if the output cannot be written.
pub(crate) fn write_manual(args: &ManArgs, command: Command) -> anyhow::Result<()> {
    match &args.folder {
        None => Ok(clap_mangen::Man::new(command).render(&mut io::stdout())?),
        Some(folder) => {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
            write_pages(command, folder)
                .with_context(|| format!("cannot write to {}", folder.display()))
        }
    }
}

/// Writes the pages of a command and its subcommands, such as `skyd-client-query.1`.
fn write_pages(mut command: Command, folder: &std::path::Path) -> anyhow::Result<()> {
    // Sets the names of commands, such as `skyd-client`, and propagates global options.
    command.build();
    let mut pending = vec![command];
    while let Some(command) = pending.pop() {
        if command.is_hide_set() || command.get_name() == "help" {
            continue;
        }
        let name = command.get_display_name().unwrap_or(NAME).to_owned();
        let mut file = File::create(folder.join(format!("{name}.1")))?;
        pending.extend(command.get_subcommands().cloned());
        clap_mangen::Man::new(command).render(&mut file)?;
    }
    Ok(())
}

/// Name of the program.
const NAME: &str = "skyd";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_page() {
        let inner = Command::new("client").subcommand(Command::new("query").about("Runs a query."));
        let command = Command::new(NAME).subcommand(inner);
        let folder = std::env::temp_dir().join(format!("skyd-man-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        write_pages(command, &folder).unwrap();
        let mut names: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["skyd-client-query.1", "skyd-client.1", "skyd.1"]);
        let page = fs::read_to_string(folder.join("skyd-client-query.1")).unwrap();
        assert!(page.contains("Runs a query."), "{page}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
