//! Suggestions for misspelled words.

/// Returns the known name with the smallest edit distance to a mistyped word, if it is close enough
/// to be a plausible suggestion.
///
/// ```
/// use skylib::nearest::nearest;
/// assert_eq!(nearest("analyzer.lissten", ["analyzer.listen", "flow.update"]), Some("analyzer.listen"));
/// assert_eq!(nearest("nonsense", ["analyzer.listen"]), None);
/// ```
#[must_use]
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let len = word.chars().count();
    // At least one letter must be equal: otherwise, each short word would be close to all others.
    let allowed = (1 + len / 5).min(len.saturating_sub(1));
    let first = |text: &str| text.chars().next().map(|c| c.to_ascii_lowercase());
    names
        .into_iter()
        .map(|name| (distance(word, name), first(name) != first(word), name))
        .filter(|(distance, ..)| *distance <= allowed)
        .min_by_key(|(distance, is_other_start, _)| (*distance, *is_other_start))
        .map(|(.., name)| name)
}

/// Returns the Levenshtein distance of two words, ignoring ASCII case. Costs O(n · m).
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<u8> = a.bytes().map(|c| c.to_ascii_lowercase()).collect();
    let b: Vec<u8> = b.bytes().map(|c| c.to_ascii_lowercase()).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistyped_words_find_their_neighbor() {
        let names = ["Has", "HasKey", "Out", "ShortestPathTo"];
        assert_eq!(nearest("Hass", names), Some("Has"));
        assert_eq!(nearest("has_key", names), Some("HasKey"));
        assert_eq!(nearest("shortestpth", names), Some("ShortestPathTo"));
        assert_eq!(nearest("Ot", ["At", "Out", "Oct"]), Some("Out"));
        assert_eq!(nearest("V", ["E", "G"]), None);
        assert_eq!(nearest("Foo", names), None);
        assert_eq!(nearest("", names), None);
    }
}
