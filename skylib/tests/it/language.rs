//! Checks the language of the documentation: no private vocabulary, no fragments as documentation,
//! and functions that are documented with a verb.
//!
//! The checks are crude on purpose. They catch the lapses that reviews found most often; they do
//! not replace reading. The terms to use are in the glossary of `docs/ARCHITECTURE.md`.

use std::fs;
use std::path::{Path, PathBuf};

/// Words that the project once used for something that has a standard term.
const PRIVATE_WORDS: &[(&str, &str)] = &[
    ("told", "delivered, reported"),
    ("whoever", "the caller, the owner"),
    ("patience", "timeout"),
    ("parcel", "batch"),
    ("stretch", "chunk, batch, interval"),
    ("gone", "deleted, removed, closed"),
    ("keeper", "persister, store"),
    ("desk", "work queue"),
    ("the one", "the noun"),
    ("of those", "the noun"),
    ("as may be", "the limit"),
    ("what came", "the input"),
    ("has gone", "was removed"),
];

/// Phrases that reviews rejected, with better ones.
const REJECTED_PHRASES: &[(&str, &str)] = &[
    (
        "complete by definition",
        "omit, or \"New variants are a breaking change.\"",
    ),
    ("clients cause", "used on behalf of clients"),
    ("of the own", "of this host, of the client itself"),
    ("for lack of", "because of insufficient"),
    ("some hundred", "several hundred, a few hundred"),
];

/// First words that the documentation of types, fields, and constants must not have: it begins with
/// a noun phrase, and limits with "Maximum" or "Minimum".
const REJECTED_BEGINNINGS: &[&str] = &["What", "How", "Most", "Longest", "Largest", "Highest"];

/// Minimum share of documented functions whose documentation begins with a third-person verb.
const LEAST_VERB_SHARE: f64 = 0.75;

/// A doc comment: where it begins, its text, and whether it documents a function.
struct Doc {
    file: PathBuf,
    line: usize,
    text: String,
    documents_function: bool,
    documents_module: bool,
    is_public: bool,
}

#[test]
fn documentation_has_no_private_vocabulary() {
    let mut found = Vec::new();
    for doc in docs() {
        let text = doc.text.to_lowercase();
        for (word, better) in PRIVATE_WORDS {
            if contains_word(&text, word) {
                found.push(format!("{}: \"{word}\" ({better})", doc.place()));
            }
        }
    }
    assert!(
        found.is_empty(),
        "private words in doc comments:\n{}",
        found.join("\n")
    );
}

#[test]
fn documentation_has_no_rejected_phrases() {
    let mut found = Vec::new();
    for doc in docs() {
        let text = doc.text.to_lowercase();
        for (phrase, better) in REJECTED_PHRASES {
            if contains_word(&text, phrase) {
                found.push(format!("{}: \"{phrase}\" ({better})", doc.place()));
            }
        }
        if has_error_of_action(&text) {
            found.push(format!(
                "{}: \"error of …ing\" (error from …ing, error returned if …)",
                doc.place()
            ));
        }
    }
    assert!(
        found.is_empty(),
        "rejected phrases in doc comments:\n{}",
        found.join("\n")
    );
}

#[test]
fn documentation_of_data_begins_with_a_noun_phrase() {
    let found: Vec<_> = docs()
        .filter(|doc| !doc.documents_function && !doc.documents_module)
        .filter(|doc| {
            let first = doc.text.split_whitespace().next().unwrap_or("");
            REJECTED_BEGINNINGS.contains(&first)
        })
        .map(|doc| format!("{}: {}", doc.place(), doc.text))
        .collect();
    assert!(
        found.is_empty(),
        "docs of types, fields, or constants that begin with {}:\n{}",
        REJECTED_BEGINNINGS.join(", "),
        found.join("\n")
    );
}

#[test]
fn public_documentation_is_more_than_one_word() {
    let short: Vec<_> = docs()
        .filter(|doc| doc.is_public && doc.text.split_whitespace().count() < 2)
        .map(|doc| format!("{}: {}", doc.place(), doc.text))
        .collect();
    assert!(
        short.is_empty(),
        "fragments as documentation:\n{}",
        short.join("\n")
    );
}

#[test]
fn function_documentation_begins_with_a_verb() {
    let (mut verbs, mut others) = (0, Vec::new());
    for doc in docs().filter(|doc| doc.documents_function) {
        if begins_with_verb(&doc.text) {
            verbs += 1;
        } else {
            others.push(format!("{}: {}", doc.place(), doc.text));
        }
    }
    assert!(
        verbs > 1000,
        "only {verbs} function docs found: is the reader broken?"
    );
    let share = f64::from(verbs) / (f64::from(verbs) + others.len() as f64);
    assert!(
        share >= LEAST_VERB_SHARE,
        "{:.0} % of function docs begin with a verb, at least {:.0} % expected:\n{}",
        share * 100.0,
        LEAST_VERB_SHARE * 100.0,
        others.join("\n")
    );
}

impl Doc {
    fn place(&self) -> String {
        format!("{}:{}", self.file.display(), self.line)
    }
}

/// Returns the doc comments of both crates, tests excluded.
fn docs() -> impl Iterator<Item = Doc> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for folder in ["skylib/src", "skyd/src", "skypy/src"] {
        collect_sources(&root.join(folder), &mut files);
    }
    assert!(files.len() > 300, "only {} source files found", files.len());
    files.into_iter().flat_map(|file| {
        let text = fs::read_to_string(&file).unwrap();
        docs_of(&file, &text)
    })
}

fn collect_sources(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            collect_sources(&path, files);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            files.push(path);
        }
    }
}

/// Returns the doc comments of one file, code blocks excluded, up to its inline test module.
fn docs_of(file: &Path, text: &str) -> Vec<Doc> {
    let mut docs = Vec::new();
    let mut current: Option<Doc> = None;
    let mut in_code_block = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.starts_with("mod tests {") {
            break;
        }
        if let Some(comment) = line
            .strip_prefix("///")
            .or_else(|| line.strip_prefix("//!"))
        {
            let comment = comment.trim();
            let doc = current.get_or_insert_with(|| Doc {
                file: file.to_owned(),
                line: number + 1,
                text: String::new(),
                documents_function: false,
                documents_module: line.starts_with("//!"),
                is_public: false,
            });
            if comment.starts_with("```") {
                in_code_block = !in_code_block;
            } else if !in_code_block {
                doc.text.push_str(comment);
                doc.text.push(' ');
            }
        } else if !line.starts_with("#[") && !line.starts_with("#![") {
            in_code_block = false;
            if let Some(mut doc) = current.take() {
                doc.documents_function = is_function(line);
                doc.is_public = line.starts_with("pub ");
                docs.push(doc);
            }
        }
    }
    docs
}

fn is_function(line: &str) -> bool {
    let mut rest = line;
    if let Some(after) = rest.strip_prefix("pub") {
        rest = after.trim_start();
        if rest.starts_with('(') {
            rest = rest
                .split_once(')')
                .map_or("", |(_, after)| after)
                .trim_start();
        }
    }
    for word in ["const ", "async ", "unsafe "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    rest.starts_with("fn ")
}

/// Returns whether the first word looks like a verb in the third person: "Returns", "Adds".
fn begins_with_verb(text: &str) -> bool {
    let word = text
        .split_whitespace()
        .next()
        .unwrap_or("")
        .trim_matches(|c: char| !c.is_alphabetic());
    word.len() > 2
        && word.ends_with('s')
        && !word.ends_with("ss")
        && word.starts_with(|c: char| c.is_ascii_uppercase())
        && ![
            "This", "Its", "Thus", "Bytes", "Packets", "Flows", "Nodes", "Edges",
        ]
        .contains(&word)
}

/// Returns whether the text contains "error of" followed by a gerund: "error of parsing a file".
fn has_error_of_action(text: &str) -> bool {
    text.split("error of ").skip(1).any(|rest| {
        let word = rest
            .split(|c: char| !c.is_alphabetic())
            .next()
            .unwrap_or("");
        word.len() > 5 && word.ends_with("ing")
    })
}

fn contains_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        let is_inside = |c: char| c.is_alphanumeric() || c == '-';
        !before.is_some_and(is_inside) && !after.is_some_and(is_inside)
    })
}
