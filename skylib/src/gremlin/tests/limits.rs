//! Tests of limits and interrupts.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[test]
fn limits_bound_what_a_query_holds() {
    let graph = chain(1000);
    let view = GraphView::open(&graph);
    let table = Table(Vec::new());
    let run = |query: &str, limits: Limits| {
        let context = Context::new(&view, &table, Timestamp::ZERO).with_limits(limits);
        Query::parse(query)
            .unwrap()
            .run(&context)
            .map_err(|error| error.kind())
    };
    let few = Limits::default().with_max_elements(100);
    for query in [
        "G",
        "G.V()",
        "G.V().Values('Name')",
        "G.V('n0').Descendants('RelationType','layer2',0)",
        "G.V().Limit(60).As('x').Select('x','x')",
    ] {
        assert_eq!(run(query, few), Err(QueryErrorKind::Limit), "{query}");
    }
    assert_eq!(
        run("G.V().Count()", few),
        Ok(Answer::Number(1000)),
        "a count holds nothing"
    );
    assert!(run("G.V().Limit(100)", few).is_ok());
    let small = Limits::default().with_max_bytes(40_000);
    assert!(run("G.V().As('a').Count()", small).is_ok());
    let marks = "G.V().As('a').G.V().As('b').G.V().As('c').G.V().As('d')";
    assert_eq!(run(marks, small), Err(QueryErrorKind::Limit));
}

#[test]
fn walks_that_explode_are_stopped() {
    let complete: Vec<(usize, usize, bool)> = (0..40)
        .flat_map(|a| (0..40).map(move |b| (a, b, true)))
        .collect();
    let graph = graph(&[0; 40], &complete);
    let query = format!("G.V(){}.Count()", ".Both()".repeat(20));
    let limits = Limits::default().with_max_elements(100_000);
    let view = GraphView::open(&graph);
    let table = Table(Vec::new());
    let context = Context::new(&view, &table, Timestamp::ZERO).with_limits(limits);
    let error = Query::parse(&query).unwrap().run(&context).unwrap_err();
    assert_eq!(error.kind(), QueryErrorKind::Limit);
}

#[test]
fn an_interrupt_ends_a_query_soon() {
    let graph = chain(3000);
    let view = GraphView::open(&graph);
    let table = Table(Vec::new());
    for query in [
        "G.V().Values('Name')",
        "G.V().Both().Both()",
        "G.V().Sort('Name').Keys()",
    ] {
        let polls = AtomicUsize::new(0);
        let interrupt = || polls.fetch_add(1, Ordering::Relaxed) >= 3;
        let context = Context::new(&view, &table, Timestamp::ZERO).with_interrupt(&interrupt);
        let error = Query::parse(query).unwrap().run(&context).unwrap_err();
        assert_eq!(error.kind(), QueryErrorKind::Interrupted, "{query}");
        assert_eq!(
            polls.load(Ordering::Relaxed),
            4,
            "{query}: polled again after it interrupted"
        );
    }
}

#[test]
fn filters_of_many_tests_answer_as_short_ones_and_can_be_interrupted() {
    let graph = chain(600);
    let names: Vec<String> = (0..2000).map(|number| format!("'n{number}'")).collect();
    let within = format!("Within({})", names.join(","));
    let long = |key: &str| format!("Has('{key}',{within},'Kind',Lt(1))");
    assert_eq!(
        json(&graph, &format!("G.V().{}.Count()", long("Name"))),
        "600"
    );
    assert_eq!(
        json(&graph, &format!("G.V().{}.Count()", long("@ID"))),
        "600"
    );
    assert_eq!(
        json(&graph, &format!("G.V().{}.Limit(3).Count()", long("@ID"))),
        "3"
    );
    assert_eq!(
        json(
            &graph,
            &format!("G.V('n5').Both().{}.Count()", long("Name"))
        ),
        "2"
    );
    assert_eq!(
        json(&graph, &format!("G.V('n5').BothE('@ID',{within}).Count()")),
        "0"
    );
    assert_eq!(
        json(&graph, &format!("G.E().Has('Parent',{within}).Count()")),
        "599"
    );
    assert_eq!(
        json(
            &graph,
            &format!("G.E().Has('Child',{within}).SubGraph().V().Count()")
        ),
        "600"
    );
    let view = GraphView::open(&graph);
    let polls = AtomicUsize::new(0);
    let interrupt = || polls.fetch_add(1, Ordering::Relaxed) >= 2;
    let table = Table(Vec::new());
    let context = Context::new(&view, &table, Timestamp::ZERO).with_interrupt(&interrupt);
    // Tests of different keys are not joined to a set.
    let keys: Vec<String> = (0..2000).map(|number| format!("'k{number}',1")).collect();
    let nobody = format!("G.V().HasEither({}).Count()", keys.join(","));
    let error = Query::parse(&nobody).unwrap().run(&context).unwrap_err();
    assert_eq!(error.kind(), QueryErrorKind::Interrupted);
}
