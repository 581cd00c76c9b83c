//! Expansion of file name patterns (`*`, `?`, `[a-z]`), for shells and callers that do not expand
//! them.

use std::fs;
use std::path::{Component, Path, PathBuf};

use regex::Regex;

use crate::capture::CaptureError;

/// Expands paths and patterns to files, in the given order; the files of one pattern are sorted by
/// name. A path that exists, or that contains none of `*`, `?`, and `[`, is not a pattern.
///
/// ```
/// use std::path::PathBuf;
/// use skylib::capture::expand_paths;
/// assert_eq!(expand_paths(&[PathBuf::from("a.pcap")])?, [PathBuf::from("a.pcap")]);
/// let error = expand_paths(&[PathBuf::from("/no/such/*.pcap")]).unwrap_err();
/// assert_eq!(error.to_string(), "no file matches \"/no/such/*.pcap\"");
/// # Ok::<(), skylib::capture::CaptureError>(())
/// ```
///
/// # Errors
/// Returns an error if no file matches a pattern, or if there is no path.
pub fn expand_paths(paths: &[PathBuf]) -> Result<Vec<PathBuf>, CaptureError> {
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        if !is_pattern(path) || path.exists() {
            files.push(path.clone());
            continue;
        }
        let before = files.len();
        files.extend(matches(path));
        if files.len() == before {
            return Err(CaptureError::NoMatch(path.display().to_string()));
        }
    }
    match files.is_empty() {
        true => Err(CaptureError::NoFile),
        false => Ok(files),
    }
}

/// Returns whether a path contains a wildcard.
fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '['])
}

/// Returns the files that match a pattern, sorted by name.
fn matches(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        found = match component {
            Component::Normal(name) if is_pattern(Path::new(name)) => {
                let wanted = wildcard(&name.to_string_lossy());
                found.iter().flat_map(|at| entries(at, &wanted)).collect()
            }
            other => {
                let extended = found.into_iter().map(|at| at.join(other));
                extended.collect()
            }
        };
    }
    found.retain(|path| path.is_file());
    found.sort();
    found
}

/// Returns the entries of a folder whose names match; none if the folder cannot be read. As in
/// shells, names that begin with a dot match only if the pattern does.
fn entries(folder: &Path, wanted: &Wildcard) -> Vec<PathBuf> {
    let read = match folder.as_os_str().is_empty() {
        true => fs::read_dir("."),
        false => fs::read_dir(folder),
    };
    let names = read.into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name());
    names
        .filter(|name| wanted.matches(&name.to_string_lossy()))
        .map(|name| folder.join(name))
        .collect()
}

/// Pattern of one file name.
struct Wildcard {
    regex: Option<Regex>,
    allows_dot: bool,
}

impl Wildcard {
    fn matches(&self, name: &str) -> bool {
        (self.allows_dot || !name.starts_with('.'))
            && self
                .regex
                .as_ref()
                .is_some_and(|regex| regex.is_match(name))
    }
}

/// Returns the pattern of a file name; an invalid pattern, such as `[z-a]`, matches nothing.
fn wildcard(pattern: &str) -> Wildcard {
    let mut regex = String::from("(?s)^");
    let mut rest = pattern.chars();
    while let Some(letter) = rest.next() {
        match letter {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '[' => match rest.as_str().split_once(']') {
                Some((set, after)) => {
                    let (negation, set) = match set.strip_prefix(['!', '^']) {
                        Some(set) => ("^", set),
                        None => ("", set),
                    };
                    let set = regex::escape(set).replace("\\-", "-");
                    regex.push_str(&format!("[{negation}{set}]"));
                    rest = after.chars();
                }
                None => regex.push_str("\\["),
            },
            other => regex.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push('$');
    Wildcard {
        regex: Regex::new(&regex).ok(),
        allows_dot: pattern.starts_with('.'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_in_shells() {
        let is = |pattern, name| wildcard(pattern).matches(name);
        assert!(is("*.pcap", "a.pcap") && !is("*.pcap", "a.pcapng"));
        assert!(is("trace?.pcap", "trace1.pcap") && !is("trace?.pcap", "trace10.pcap"));
        assert!(is("t[0-3].pcap", "t2.pcap") && !is("t[0-3].pcap", "t4.pcap"));
        assert!(is("t[!0-3]", "t4") && !is("t[!0-3]", "t2"));
        assert!(is("a+b*", "a+b(c)") && !is("a+b*", "aab"));
        assert!(!is("*", ".hidden") && is(".*", ".hidden"));
        assert!(is("x[", "x[") && !is("[z-a]", "z"));
    }

    #[test]
    fn patterns_reach_into_folders() {
        let folder = std::env::temp_dir().join(format!("skylib-paths-{}", std::process::id()));
        for name in ["a/1.pcap", "a/2.pcap", "b/1.pcap", "b/[x].pcap", "b/no.txt"] {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("created");
            fs::write(path, "").expect("written");
        }
        let names = |pattern: &str| {
            let found = expand_paths(&[folder.join(pattern)])?;
            let names = found.iter().map(|path| {
                let name = path.strip_prefix(&folder).expect("inside the folder");
                name.display().to_string()
            });
            Ok::<_, CaptureError>(names.collect::<Vec<_>>())
        };
        assert_eq!(names("*/1.pcap").expect("two"), ["a/1.pcap", "b/1.pcap"]);
        assert_eq!(names("a/*").expect("two"), ["a/1.pcap", "a/2.pcap"]);
        // The name of an existing file is not a pattern.
        assert_eq!(names("b/[x].pcap").expect("one"), ["b/[x].pcap"]);
        // Folders are not files.
        assert!(names("*").is_err());
        fs::remove_dir_all(&folder).expect("removed");
    }
}
