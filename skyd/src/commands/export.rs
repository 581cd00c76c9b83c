//! The subcommand `skyd export`: writes the flows and the topology of a time range to files.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use jiff::tz::TimeZone;
use serde::Serialize;
use skylib::flow::{CsvColumns, CsvWriter, Flow, FlowQuery};
use skylib::graph::history::Unlimited;
use skylib::graph::{Edge, Node};
use skylib::gremlin::{Answer, ColumnFormat, parse_time};
use skylib::store::history::HistoryReader;
use skylib::time::{Clock, SystemClock, TimeSlice, Timestamp};

/// Arguments of `skyd export`.
#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// Data folder of the daemon (storage.local.path), or the folder `history` in it. The daemon may
    /// be running.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/skyd")]
    data: PathBuf,

    /// Start of the time range, in a notation of the query step At: -1h, -2d, 14:05, or
    /// 2026-11-29 14:05.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "-24h",
        allow_hyphen_values = true
    )]
    from: String,

    /// End of the time range, in the same notations.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "now",
        allow_hyphen_values = true
    )]
    to: String,

    /// Format of the files in a folder. For a single file, the extension of its name determines the
    /// format.
    #[arg(long, value_enum, default_value_t)]
    format: ExportFormat,

    /// File for the flows (.parquet, .csv, .ndjson), or a folder for flows, nodes, and edges.
    #[arg(value_name = "FILE|DIR")]
    target: PathBuf,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    /// Parquet file.
    #[default]
    Parquet,
    /// Comma-separated values.
    Csv,
    /// One JSON object per line.
    Ndjson,
}

pub(crate) const EXAMPLES: &str = "Examples:
  skyd export --from -1h flows.parquet
  skyd export --data /backup/skyd --from 14:00 --to 14:30 --format csv out/";

impl ExportFormat {
    const fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
        }
    }

    /// Returns the format for the extension of a file name.
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "parquet" => Some(Self::Parquet),
            "csv" => Some(Self::Csv),
            "ndjson" | "jsonl" => Some(Self::Ndjson),
            _ => None,
        }
    }
}

/// Runs the subcommand.
///
/// # Errors
/// Returns an error if a time is invalid, or a file cannot be read or written.
pub(crate) fn run(args: &ExportArgs) -> anyhow::Result<()> {
    let slice = TimeSlice {
        start: instant("--from", &args.from)?,
        last: instant("--to", &args.to)?,
    };
    if slice.start > slice.last {
        let (from, to) = (&args.from, &args.to);
        bail!("--from {from} is later than --to {to}; exchange them");
    }
    let target = Target::of(args)?;
    let history = HistoryReader::open(&args.data)?;
    let query = FlowQuery::default().with_time(slice);
    let found = history.flows(&query, &|| true)?.flows;
    let mut written = vec![format!("{} flows", found.len())];
    if let Target::File(format) = target {
        write_flows(&args.target, format, &found)?;
    } else {
        fs::create_dir_all(&args.target)
            .with_context(|| format!("cannot create the folder {}", args.target.display()))?;
        let file = |name: &str| {
            args.target
                .join(name)
                .with_extension(args.format.extension())
        };
        write_flows(&file("flows"), args.format, &found)?;
        let nodes = history.nodes(slice.last, &Unlimited)?;
        let edges = history.edges(slice.last, &Unlimited)?;
        written.push(format!("{} nodes", nodes.len()));
        written.push(format!("{} edges", edges.len()));
        write_nodes(&file("nodes"), args.format, nodes)?;
        write_edges(&file("edges"), args.format, edges)?;
    }
    warn_about(&history.damaged_in(slice))?;
    writeln!(
        io::stdout(),
        "wrote {} to {}",
        written.join(", "),
        args.target.display()
    )?;
    Ok(())
}

/// Prints a warning for each time whose files are damaged.
fn warn_about(damaged: &[TimeSlice]) -> io::Result<()> {
    for time in damaged {
        let (start, last) = (time.start.to_rfc3339(), time.last.to_rfc3339());
        writeln!(
            io::stderr(),
            "skyd: warning: history: {start} to {last} is damaged; records of this time are missing"
        )?;
    }
    Ok(())
}

/// Kind of the target of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// File for the flows.
    File(ExportFormat),
    /// Folder for flows, nodes, and edges.
    Folder,
}

impl Target {
    /// Determines whether the target is a file, by the extension of a supported format, or a
    /// folder. Rejects a new folder whose name has the extension of an unsupported format.
    fn of(args: &ExportArgs) -> anyhow::Result<Self> {
        let target = &args.target;
        if let Some(format) = ExportFormat::of(target) {
            return Ok(Self::File(format));
        }
        if target.as_os_str() == "-" {
            bail!("the flows cannot be written to standard output; use a file such as flows.csv");
        }
        let is_named_as_file = target
            .extension()
            .and_then(|extension| extension.to_str())
            .is_some_and(|extension| OTHER_FORMATS.contains(&extension));
        if is_named_as_file && !target.is_dir() {
            bail!(
                "{}: this format is not available; use the extension .parquet, .csv, or .ndjson, or \
                 the name of a folder",
                target.display()
            );
        }
        Ok(Self::Folder)
    }
}

/// Extensions of formats that cannot be written: a new target with one of them is rejected, not
/// created as a folder.
const OTHER_FORMATS: &[&str] = &[
    "arrow", "feather", "gz", "json", "lz4", "pcap", "pcapng", "tsv", "txt", "xlsx", "zip", "zst",
];

/// Parses a time as the query language does.
fn instant(option: &str, text: &str) -> anyhow::Result<Timestamp> {
    parse_time(text, SystemClock.now(), &TimeZone::system()).with_context(|| {
        format!(
            "{option}: '{text}' is not a time; expected for example -1h, -2d, 14:05, 2026-11-29 14:05"
        )
    })
}

fn create(path: &Path) -> anyhow::Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(BufWriter::new(file))
}

fn write_flows(path: &Path, format: ExportFormat, flows: &[Flow]) -> anyhow::Result<()> {
    let out = create(path)?;
    match format {
        ExportFormat::Parquet => {
            let set = skylib::flow::FlowSet::from_flows(flows.to_vec());
            write_parquet(out, &Answer::Flows(set))
        }
        ExportFormat::Ndjson => write_lines(out, flows.iter()),
        ExportFormat::Csv => {
            let mut csv = CsvWriter::new(out, CsvColumns::default())?;
            for flow in flows {
                csv.write(flow)?;
            }
            Ok(csv.into_inner().flush()?)
        }
    }
}

fn write_nodes(path: &Path, format: ExportFormat, nodes: Vec<Arc<Node>>) -> anyhow::Result<()> {
    let mut out = create(path)?;
    match format {
        ExportFormat::Parquet => write_parquet(out, &Answer::Nodes(nodes)),
        ExportFormat::Ndjson => write_lines(out, nodes.iter()),
        ExportFormat::Csv => {
            writeln!(out, "ID,Host,CreatedAt,UpdatedAt,Revision,Metadata")?;
            for node in &nodes {
                let (id, host) = (cell(&node.id.to_string()), cell(&node.host));
                let (created, updated) = (node.created_at.as_ms(), node.updated_at.as_ms());
                let metadata = cell(&serde_json::to_string(&node.metadata)?);
                writeln!(
                    out,
                    "{id},{host},{created},{updated},{},{metadata}",
                    node.revision
                )?;
            }
            Ok(out.flush()?)
        }
    }
}

fn write_edges(path: &Path, format: ExportFormat, edges: Vec<Arc<Edge>>) -> anyhow::Result<()> {
    let mut out = create(path)?;
    match format {
        ExportFormat::Parquet => write_parquet(out, &Answer::Edges(edges)),
        ExportFormat::Ndjson => write_lines(out, edges.iter()),
        ExportFormat::Csv => {
            writeln!(
                out,
                "ID,Parent,Child,Host,CreatedAt,UpdatedAt,Revision,Metadata"
            )?;
            for edge in &edges {
                let ends = [&edge.parent, &edge.child].map(|end| cell(&end.to_string()));
                let (id, host) = (cell(&edge.id.to_string()), cell(&edge.host));
                let (created, updated) = (edge.created_at.as_ms(), edge.updated_at.as_ms());
                let metadata = cell(&serde_json::to_string(&edge.metadata)?);
                let [parent, child] = ends;
                let revision = edge.revision;
                writeln!(
                    out,
                    "{id},{parent},{child},{host},{created},{updated},{revision},{metadata}"
                )?;
            }
            Ok(out.flush()?)
        }
    }
}

fn write_parquet(mut out: impl Write, answer: &Answer) -> anyhow::Result<()> {
    match answer.to_columns(ColumnFormat::Parquet) {
        Ok(file) => out.write_all(&file)?,
        Err(error) => bail!("{}", error.message()),
    }
    Ok(out.flush()?)
}

fn write_lines<T: Serialize>(
    mut out: impl Write,
    items: impl Iterator<Item = T>,
) -> anyhow::Result<()> {
    for item in items {
        serde_json::to_writer(&mut out, &item)?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// Returns a cell of a CSV file (RFC 4180).
fn cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_query_language() {
        assert_eq!(
            instant("--from", "1700000000").unwrap(),
            Timestamp::from_ms(1_700_000_000_000)
        );
        assert!(instant("--from", "-1h").unwrap() < SystemClock.now());
        let time = instant("--to", "2023-11-14T22:13:20Z").unwrap();
        assert_eq!(time, Timestamp::from_ms(1_700_000_000_000));
        let error = instant("--to", "yesterday").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("--to: 'yesterday' is not a time"),
            "{error}"
        );
    }

    #[test]
    fn only_names_without_the_extension_of_a_file_are_folders() {
        let target = |name: &str| {
            Target::of(&ExportArgs {
                data: PathBuf::new(),
                from: String::new(),
                to: String::new(),
                format: ExportFormat::Csv,
                target: PathBuf::from(name),
            })
        };
        let parquet = Target::File(ExportFormat::Parquet);
        assert_eq!(target("flows.parquet").unwrap(), parquet);
        let lines = Target::File(ExportFormat::Ndjson);
        assert_eq!(target("out/flows.jsonl").unwrap(), lines);
        for folder in ["out", "out/", "export.2026-11-30", "edge-01.example.org"] {
            assert_eq!(target(folder).unwrap(), Target::Folder, "{folder}");
        }
        for file in ["flows.json", "flows.csv.gz", "flows.txt", "-"] {
            let error = target(file).unwrap_err().to_string();
            assert!(error.contains(".csv"), "{error}");
        }
    }

    #[test]
    fn cells_are_quoted_if_needed() {
        assert_eq!(cell("eth0"), "eth0");
        assert_eq!(cell("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
