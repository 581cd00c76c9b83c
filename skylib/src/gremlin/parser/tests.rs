//! Tests of the queries that the parser accepts and rejects; the recorded error messages are in the
//! case file.

use proptest::prelude::*;

use super::*;
use crate::gremlin::ast::{FlowNodes, Hierarchy, Walk};

fn steps(query: &str) -> Vec<Step> {
    parse(query)
        .unwrap()
        .into_iter()
        .map(|(step, _)| step)
        .collect()
}

fn message(query: &str) -> String {
    parse(query).unwrap_err().message().to_owned()
}

#[test]
fn words_are_free_of_case_and_commas_of_duty() {
    let wanted = steps("G.V().Has('Type', 'intf').Out().G.E()");
    assert_eq!(
        steps("g . v( ).HAS(,'Type',,\"intf\" ) .oUT(,).g.e()"),
        wanted
    );
    assert_eq!(
        wanted[1],
        Step::Has(vec![Param::Text("Type".into()), Param::Text("intf".into())])
    );
    assert_eq!(steps("G"), []);
}

#[test]
fn numbers_are_whole_unless_they_have_a_dot_or_do_not_fit() {
    let param = |text: &str| match steps(&format!("G.V().Limit({text})")).remove(1) {
        Step::Limit(param) => param,
        other => panic!("{other}"),
    };
    assert_eq!(param("007"), Param::Int(7));
    assert_eq!(param("-7"), Param::Int(-7));
    assert_eq!(param("1."), Param::Float(1.0));
    assert_eq!(
        param("9223372036854775808"),
        Param::Float(9_223_372_036_854_775_808.0)
    );
    assert_eq!(
        message("G.V().Limit(1.2.3)"),
        "Expected number token, got: 1.2.3"
    );
    let huge = format!("G.V().Limit({})", "9".repeat(400));
    assert!(message(&huge).starts_with("Expected number token, got: 999"));
}

#[test]
fn parameters_are_read_before_the_step_is_refused() {
    assert_eq!(message("G.Foo(1.2.3)"), "Expected step function, got: Foo");
    assert_eq!(message("G.Lt(1.2.3)"), "Expected number token, got: 1.2.3");
    assert_eq!(message("G.Lt"), "Expected left parenthesis, got: ");
    assert_eq!(
        message("G.V().Has('a', Regex(1))"),
        "REGEX predicate expects a string as parameter, got: Regex"
    );
}

#[test]
fn errors_state_the_position_and_what_was_expected() {
    let error = parse("G.V()\n.HasKye('Name')").unwrap_err();
    assert_eq!(
        error.to_string(),
        "Expected step function, got: HasKye\n\
         at byte 7 (line 2, column 2): did you mean `HasKey`?"
    );
    let error = parse("G.V().Has('Name', Regx('x'))").unwrap_err();
    assert_eq!(
        error.to_string(),
        "Unexpected token while parsing parameters, got: Regx\n\
         at byte 18 (line 1, column 19): did you mean `Regex`?"
    );
    let error = parse("G.V().Limit()").unwrap_err();
    assert_eq!(
        error.to_string(),
        "Limit requires 1 parameter : []\n\
         at byte 6 (line 1, column 7): expected `Limit(count)`"
    );
}

#[test]
fn hostile_sizes_are_refused() {
    let long = format!("G.V('{}')", "x".repeat(MAX_QUERY_BYTES));
    assert_eq!(message(&long), "query is longer than 65536 bytes");
    let steps = format!("G{}", ".V()".repeat(MAX_STEPS + 1));
    assert_eq!(message(&steps), "query has more than 512 steps");
    let deep = format!("G.V().Has('a',{}1{})", "Ne(".repeat(5000), ")".repeat(5000));
    assert_eq!(message(&deep), "query nests deeper than 16 parentheses");
    let patterns = format!("G.V().Has({})", "'a',Regex('x'),".repeat(MAX_PATTERNS + 1));
    assert_eq!(
        message(&patterns),
        "query has more than 32 regular expressions"
    );
}

/// Returns a string that the language can express: no quote, no NUL.
fn text() -> impl Strategy<Value = Text> {
    "[^'\"\0]{0,12}".prop_map(Text::from)
}

fn literal() -> impl Strategy<Value = Param> {
    prop_oneof![
        text().prop_map(Param::Text),
        any::<i64>().prop_map(Param::Int),
        prop::num::f64::NORMAL.prop_map(Param::Float),
        any::<bool>().prop_map(Param::Bool),
        Just(Param::Order(SortOrder::Ascending)),
        Just(Param::Order(SortOrder::Descending)),
        Just(Param::Now),
        Just(Param::Forever),
    ]
}

fn param() -> impl Strategy<Value = Param> {
    literal().prop_recursive(3, 24, 4, |inner| {
        let params = |count| prop::collection::vec(inner.clone(), count);
        let of = |predicates: Vec<Predicate>, count| {
            (prop::sample::select(predicates), params(count))
                .prop_map(|(predicate, params)| Param::Predicate(predicate, params))
        };
        prop_oneof![
            of(
                vec![
                    Predicate::Ne,
                    Predicate::Nee,
                    Predicate::Lt,
                    Predicate::Ipv4Range
                ],
                1..=1
            ),
            of(vec![Predicate::Lte, Predicate::Gt, Predicate::Gte], 1..=1),
            of(
                vec![Predicate::Inside, Predicate::Outside, Predicate::Between],
                2..=2
            ),
            of(vec![Predicate::Within, Predicate::Without], 0..=3),
            text().prop_map(|t| Param::Predicate(Predicate::Regex, vec![Param::Text(t)])),
            prop::collection::vec((text(), inner.clone()), 0..3).prop_map(Param::Metadata),
        ]
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let params = || prop::collection::vec(param(), 0..4);
    let pairs = || {
        prop::collection::vec((text(), literal()), 0..3).prop_map(|pairs| {
            let castable = |p: &Param| !matches!(p, Param::Order(_) | Param::Now | Param::Forever);
            let pairs = pairs.into_iter().filter(|(_, value)| castable(value));
            pairs
                .flat_map(|(key, value)| [Param::Text(key), value])
                .collect::<Vec<_>>()
        })
    };
    let walks = vec![
        Walk::Out,
        Walk::In,
        Walk::Both,
        Walk::OutE,
        Walk::BothE,
        Walk::BothV,
    ];
    let hierarchies = vec![
        Hierarchy::Descendants,
        Hierarchy::Ascendants,
        Hierarchy::Neighbors,
    ];
    let nodes = vec![FlowNodes::Hops, FlowNodes::Nodes, FlowNodes::CaptureNode];
    let order = prop_oneof![Just(SortOrder::Ascending), Just(SortOrder::Descending)];
    let any_order = prop::option::of(order);
    prop_oneof![
        Just(Step::G),
        Just(Step::Count),
        prop::option::of(text()).prop_map(Step::V),
        prop::option::of(text()).prop_map(Step::E),
        params().prop_map(Step::At),
        params().prop_map(Step::Has),
        params().prop_map(Step::HasEither),
        text().prop_map(Step::HasNot),
        (prop::sample::select(walks), params()).prop_map(|(w, p)| Step::Walk(w, p)),
        prop::collection::vec(text(), 0..3).prop_map(Step::Dedup),
        prop::collection::vec(text(), 1..3).prop_map(Step::ValueMap),
        param().prop_map(Step::Limit),
        (param(), param()).prop_map(|(from, to)| Step::Range(from, to)),
        (any_order, text()).prop_map(|(order, key)| Step::Sort(order, Some(key))),
        params().prop_map(Step::SubGraph),
        (param(), prop::option::of(param())).prop_map(|(t, e)| Step::ShortestPathTo(t, e)),
        (
            prop::sample::select(hierarchies),
            pairs(),
            prop::option::of(any::<i64>())
        )
            .prop_map(|(h, p, d)| Step::Hierarchy(h, p, d)),
        pairs().prop_map(Step::Flows),
        (prop::sample::select(nodes), params()).prop_map(|(n, p)| Step::FlowNodes(n, p)),
        params().prop_map(Step::Bpf),
        (text(), params()).prop_map(|(name, params)| Step::Workflow(name, params)),
        Just(Step::NextHop("192.0.2.1".into())),
        Just(Step::Metrics(Some("SFlow".into()))),
    ]
}

proptest! {
    #[test]
    fn printing_a_query_and_parsing_it_gives_the_same_steps(
        wanted in prop::collection::vec(any_step(), 0..8),
    ) {
        let text: String =
            std::iter::once("G".to_owned()).chain(wanted.iter().map(|s| format!(".{s}"))).collect();
        prop_assert_eq!(parse(&text).map(|s| s.into_iter().map(|(s, _)| s).collect()), Ok(wanted));
    }

    #[test]
    fn no_text_makes_the_parser_panic(query in "\\PC*") {
        let _either_is_fine = parse(&query);
    }

    #[test]
    fn no_soup_of_tokens_makes_the_parser_panic(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "G", ".", "(", ")", ",", "'a'", "'", "1", "1.5", "V", "Has", "Sort", "ASC", "Ne",
                "Regex", "Within", "Metadata", "Flows", "Neighbors", "NextHop", "$", "é", "\0", " ",
            ]),
            0..40,
        ),
    ) {
        let _either_is_fine = parse(&format!("G.{}", words.concat()));
    }
}
