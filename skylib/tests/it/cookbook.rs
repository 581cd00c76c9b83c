//! Test of `docs/cookbook.md`: every question has one query, which returns the answer shown.

use serde_json::Value as Json;

use crate::gremlin_guide::{Network, blocks, document};

#[test]
fn every_question_has_one_query_and_its_answer() {
    let text = document("cookbook.md");
    let blocks = blocks(&text);
    let network = Network::of(&blocks);
    let mut answered = 0;
    let mut wrong = String::new();
    for pair in blocks.windows(2).filter(|pair| pair[0].kind == "gremlin") {
        let [query, answer] = pair else { continue };
        assert_eq!(answer.kind, "json", "{}", query.text);
        let query = query.text.trim();
        assert_eq!(query.lines().count(), 1, "{query}");
        let wanted: Json = serde_json::from_str(answer.text).unwrap();
        let got = match network.run(query) {
            Ok(answer) => serde_json::to_value(answer).unwrap(),
            Err(error) => panic!("{query}: {error}"),
        };
        if got != wanted || got.is_null() {
            wrong += &format!("{query}\n  {got}\n");
        }
        answered += 1;
    }
    assert!(wrong.is_empty(), "other answers:\n{wrong}");
    let questions = text.lines().filter(|line| line.contains(". **")).count();
    assert_eq!(questions, answered);
    assert!(answered >= 30, "{answered} questions");
}
