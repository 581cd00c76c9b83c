//! Completion of the shell: steps of Gremlin queries, metadata keys, and names of JavaScript.

use skylib::gremlin::Query;

/// Names that are known only while the shell runs.
pub(super) trait Names {
    /// Returns the names of the members of the value that a dotted path leads to; those of the global
    /// object for an empty path.
    fn members(&self, path: &str) -> Vec<String>;

    /// Returns the metadata keys of the graph.
    fn keys(&self) -> Vec<String>;
}

/// Returns the position at which the word before the cursor begins, and its completions.
pub(super) fn complete(line: &str, names: &dyn Names) -> (usize, Vec<String>) {
    if let Some(quote) = open_quote(line) {
        let typed = &line[quote + 1..];
        return match is_key(&line[..quote]) {
            true => (quote + 1, matching(names.keys(), typed)),
            false => (line.len(), Vec::new()),
        };
    }
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '$';
    let start = line
        .char_indices()
        .rev()
        .find(|(_, letter)| !is_name(*letter))
        .map_or(0, |(at, letter)| at + letter.len_utf8());
    let typed = &line[start..];
    let Some(chain) = line[..start].strip_suffix('.') else {
        return (start, matching(names.members(""), typed));
    };
    let chain = &chain[chain_start(chain)..];
    if let Some(query) = gremlin(chain) {
        let steps = Query::parse(&query).map_or(&[][..], |query| query.next_steps());
        let steps = steps.iter().map(|step| format!("{step}(")).collect();
        return (start, matching(steps, typed));
    }
    match chain.chars().all(|letter| is_name(letter) || letter == '.') {
        true => (start, matching(names.members(chain), typed)),
        false => (start, Vec::new()),
    }
}

/// Returns whether a line is incomplete: it has an open bracket or an open template.
pub(super) fn is_incomplete(line: &str) -> bool {
    let (mut depth, mut quote) = (0_usize, None);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(_), '\\') => {
                letters.next();
            }
            (Some(open), letter) if open == letter => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(letter),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    match quote {
        None => depth > 0,
        Some(open) => open == '`',
    }
}

fn matching(mut names: Vec<String>, typed: &str) -> Vec<String> {
    names.retain(|name| name.starts_with(typed));
    names
}

/// Returns the position of the quote that opens an unterminated string.
fn open_quote(line: &str) -> Option<usize> {
    let mut open: Option<(usize, char)> = None;
    let mut is_escaped = false;
    for (at, letter) in line.char_indices() {
        match open {
            Some(_) if is_escaped => is_escaped = false,
            Some(_) if letter == '\\' => is_escaped = true,
            Some((_, quote)) if quote == letter => open = None,
            Some(_) => {}
            None if matches!(letter, '"' | '\'') => open = Some((at, letter)),
            None => {}
        }
    }
    open.map(|(at, _)| at)
}

/// Returns whether the text that begins behind `before` is a metadata key.
fn is_key(before: &str) -> bool {
    let Some(open) = unclosed_parenthesis(before) else {
        return false;
    };
    let step = before[..open]
        .rsplit(|letter: char| !letter.is_alphanumeric())
        .next();
    let number = before[open..].matches(',').count();
    let pairs = [
        "has",
        "haseither",
        "metadata",
        "v",
        "e",
        "out",
        "in",
        "both",
        "oute",
        "ine",
        "bothe",
    ];
    let keys = [
        "haskey", "hasnot", "values", "dedup", "sort", "sum", "valuemap",
    ];
    let step = step.unwrap_or_default().to_ascii_lowercase();
    keys.contains(&step.as_str()) || (pairs.contains(&step.as_str()) && number.is_multiple_of(2))
}

/// Returns the position of the last parenthesis that is open.
fn unclosed_parenthesis(text: &str) -> Option<usize> {
    let mut open = Vec::new();
    let mut quote = None;
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(open), letter) if open == letter => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(letter),
            (None, '(') => open.push(at),
            (None, ')') => {
                open.pop();
            }
            _ => {}
        }
    }
    open.pop()
}

/// Returns the position at which the chain of calls at the end of a line begins.
fn chain_start(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut quote = None;
    for (at, letter) in text.char_indices().rev() {
        match (quote, letter) {
            (Some(open), letter) if open == letter => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') if depth > 0 => quote = Some(letter),
            (None, ')') => depth += 1,
            (None, '(') if depth > 0 => depth -= 1,
            (None, _) if depth > 0 => {}
            (None, letter) if letter.is_alphanumeric() || matches!(letter, '_' | '$' | '.') => {}
            _ => return at + letter.len_utf8(),
        }
    }
    0
}

/// Returns the Gremlin query in a chain of calls; `None` if the chain does not begin with `G`, `g`,
/// or `client.G`.
fn gremlin(chain: &str) -> Option<String> {
    let starts = ["client.gremlin.G()", "client.G", "G", "g"];
    let rest = starts.iter().find_map(|start| {
        let rest = chain.strip_prefix(start)?;
        (rest.is_empty() || rest.starts_with('.')).then_some(rest)
    })?;
    Some(format!("G{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Known;

    impl Names for Known {
        fn members(&self, path: &str) -> Vec<String> {
            let all: &[&str] = match path {
                "" => &["client", "console", "sleep("],
                "client" => &["G", "captures", "request("],
                "client.captures" => &["create(", "list("],
                _ => &[],
            };
            all.iter().map(|name| (*name).to_owned()).collect()
        }

        fn keys(&self) -> Vec<String> {
            ["Name", "Type", "TID"].map(str::to_owned).to_vec()
        }
    }

    fn completed(line: &str) -> Vec<String> {
        let (start, found) = complete(line, &Known);
        found
            .iter()
            .map(|name| format!("{}{name}", &line[..start]))
            .collect()
    }

    #[test]
    fn steps_that_can_follow_are_completed() {
        assert_eq!(
            completed("G."),
            [
                "G.V(",
                "G.E(",
                "G.At(",
                "G.Context(",
                "G.Flows(",
                "G.Changes(",
                "G.Workflow("
            ]
        );
        assert_eq!(completed("G.V().HasK"), ["G.V().HasKey("]);
        assert_eq!(
            completed("var x = client.G.V().HasK"),
            ["var x = client.G.V().HasKey("]
        );
        assert_eq!(
            completed("f(client.gremlin.G().Flows().RawPackets()."),
            ["f(client.gremlin.G().Flows().RawPackets().BPF("]
        );
        assert_eq!(
            completed("G.V().Has('Name', ')(').Descen"),
            ["G.V().Has('Name', ')(').Descendants("]
        );
        assert_eq!(completed("G.V().BPF('')."), Vec::<String>::new());
    }

    #[test]
    fn metadata_keys_are_completed_in_texts_that_are_keys() {
        assert_eq!(
            completed("G.V().Has('T"),
            ["G.V().Has('Type", "G.V().Has('TID"]
        );
        assert_eq!(completed("G.V().Has('Type', 'T"), Vec::<String>::new());
        assert_eq!(
            completed("G.V().Has('Type', 'x', 'N"),
            ["G.V().Has('Type', 'x', 'Name"]
        );
        assert_eq!(
            completed("client.G.V().Values(\"N"),
            ["client.G.V().Values(\"Name"]
        );
        assert_eq!(completed("print('N"), Vec::<String>::new());
        assert_eq!(completed("'N"), Vec::<String>::new());
    }

    #[test]
    fn names_are_completed() {
        assert_eq!(completed("cl"), ["client"]);
        assert_eq!(completed("x = sl"), ["x = sleep("]);
        assert_eq!(completed("client.cap"), ["client.captures"]);
        assert_eq!(completed("(client.captures.li"), ["(client.captures.list("]);
        assert_eq!(completed("f(1).x"), Vec::<String>::new());
        assert_eq!(completed(""), ["client", "console", "sleep("]);
    }

    #[test]
    fn lines_with_open_brackets_are_incomplete() {
        for line in ["f(", "{", "x = [1,", "`a", "f('a)', "] {
            assert!(is_incomplete(line), "{line}");
        }
        for line in ["", "f()", "'(", "\"\\\"(\"", ")", "`(`"] {
            assert!(!is_incomplete(line), "{line}");
        }
    }

    #[test]
    fn any_text_can_be_completed() {
        for line in [
            "é.",
            "'é",
            "(((",
            ")))",
            "G.V('é",
            "日本.語",
            "a\\",
            "'\\",
            "..",
            "G..",
            "\u{1b}.",
        ] {
            let (start, _) = complete(line, &Known);
            assert!(line.is_char_boundary(start));
            is_incomplete(line);
        }
    }
}
