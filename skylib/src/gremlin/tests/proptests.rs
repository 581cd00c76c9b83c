//! Property tests of queries against models: index against scan, paths against breadth-first search,
//! a changing graph against a frozen copy.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::flow::FlowSet;
use crate::graph::{Edge, EdgeId, Graph, GraphAccess, Metadata, MetadataOp, Node, NodeId};

/// Returns metadata with values of every kind at indexed and other keys.
fn mixed(choice: u8) -> Metadata {
    metadata(match choice % 8 {
        0 => r#"{"Name":"a","Type":"x","MTU":1500}"#,
        1 => r#"{"Name":["a","b"],"Type":"y","MTU":"9000"}"#,
        2 => r#"{"Name":42,"Type":"x","Ifs":[{"MAC":"m"},{"MAC":"n"}]}"#,
        3 => r#"{"Name":"0x2a","Type":true,"Ifs":[{"MAC":7}]}"#,
        4 => r#"{"Name":{"No":"text"},"Type":null}"#,
        5 => r#"{"Type":"x","Ifs":{"MAC":"m"}}"#,
        6 => r#"{"Name":42.5,"Type":["x",1]}"#,
        _ => "{}",
    })
}

/// Generates a condition; indexed keys and equalities are more frequent.
fn condition() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "Name", "Name", "Type", "Type", "Ifs.MAC", "MTU", "@ID",
    ]);
    let literal = || {
        prop::sample::select(vec![
            "'a'", "'b'", "'x'", "'y'", "'m'", "'n3'", "42", "1", "0", "7", "'42'", "true", "2.5",
        ])
    };
    let literals = || prop::collection::vec(literal(), 0..6).prop_map(|l| l.join(","));
    let predicate = prop_oneof![
        4 => literal().prop_map(str::to_owned),
        5 => literals().prop_map(|literals| format!("Within({literals})")),
        1 => literals().prop_map(|literals| format!("Without({literals})")),
        1 => literal().prop_map(|literal| format!("Ne({literal})")),
        1 => literal().prop_map(|literal| format!("Nee({literal})")),
        1 => (-1..50_i64).prop_map(|number| format!("Gte({number})")),
        1 => Just("Regex('a|x|0.*')".to_owned()),
    ];
    (key, predicate).prop_map(|(key, predicate)| format!("'{key}',{predicate}"))
}

/// Generates one or two filter steps; most have one condition, so that something matches.
fn filters() -> impl Strategy<Value = String> {
    let joined = |conditions: Vec<String>| conditions.join(",");
    let filter = prop_oneof![
        3 => condition().prop_map(|condition| format!(".Has({condition})")),
        1 => prop::collection::vec(condition(), 2..4).prop_map(joined)
            .prop_map(|conditions| format!(".Has({conditions})")),
        2 => prop::collection::vec(condition(), 2..5).prop_map(joined)
            .prop_map(|conditions| format!(".HasEither({conditions})")),
    ];
    prop::collection::vec(filter, 1..3).prop_map(|filters| filters.concat())
}

/// Positions of parent and child, and whether the relation is `layer2`.
type TestEdge = (usize, usize, bool);

/// Returns the distance of each node to the nearest target, over allowed edges in both directions.
fn distances(nodes: usize, links: &[TestEdge], targets: &[usize], any: bool) -> Vec<Option<usize>> {
    let mut distances = vec![None; nodes];
    let mut queue: VecDeque<usize> = targets.iter().copied().collect();
    targets
        .iter()
        .for_each(|target| distances[*target] = Some(0));
    while let Some(at) = queue.pop_front() {
        for (parent, child, layer2) in links {
            let ends = [(parent, child), (child, parent)];
            for (from, to) in ends.map(|(from, to)| (from % nodes, to % nodes)) {
                if from == at && (any || *layer2) && distances[to].is_none() {
                    distances[to] = distances[at].map(|distance: usize| distance + 1);
                    queue.push_back(to);
                }
            }
        }
    }
    distances
}

/// A change to a graph, with elements given by number.
#[derive(Clone, Debug)]
pub(in crate::gremlin) enum Mutation {
    AddNode(usize, u8),
    SetKind(usize, u8),
    DeleteNode(usize),
    AddEdge(usize, usize, usize),
    SetRelation(usize, bool),
    DeleteEdge(usize),
}

pub(in crate::gremlin) fn mutation() -> impl Strategy<Value = Mutation> {
    let node = || 0..16_usize;
    let edge = || 0..30_usize;
    prop_oneof![
        (node(), 0..3_u8).prop_map(|(n, kind)| Mutation::AddNode(n, kind)),
        (node(), 0..3_u8).prop_map(|(n, kind)| Mutation::SetKind(n, kind)),
        node().prop_map(Mutation::DeleteNode),
        (edge(), node(), node()).prop_map(|(e, parent, child)| Mutation::AddEdge(e, parent, child)),
        (edge(), any::<bool>()).prop_map(|(e, layer2)| Mutation::SetRelation(e, layer2)),
        edge().prop_map(Mutation::DeleteEdge),
    ]
}

impl Mutation {
    /// Applies the mutation; an impossible one has no effect.
    pub(in crate::gremlin) fn apply(&self, graph: &mut Graph) {
        let now = Timestamp::from_ms(9);
        let node = |n: &usize| NodeId::from(format!("n{n}"));
        let edge = |e: &usize| EdgeId::from(format!("e{e}"));
        match self {
            Self::AddNode(n, kind) => {
                let json = format!(r#"{{"Name":"n{n}","Type":"t{kind}","Kind":{kind}}}"#);
                graph
                    .add_node(Node::new(node(n), metadata(&json), now))
                    .ok();
            }
            Self::SetKind(n, kind) => {
                let ops = [
                    MetadataOp::set("Type", format!("t{kind}")),
                    MetadataOp::set("Kind", i64::from(*kind)),
                ];
                graph.patch_node(&node(n), &ops, now).ok();
            }
            Self::DeleteNode(n) => {
                graph.delete_node(&node(n), now).ok();
            }
            Self::AddEdge(e, parent, child) => {
                let metadata = metadata(r#"{"RelationType":"layer2"}"#);
                let edge = Edge::new(edge(e), node(parent), node(child), metadata, now);
                graph.add_edge(edge).ok();
            }
            Self::SetRelation(e, layer2) => {
                let relation = if *layer2 { "layer2" } else { "ownership" };
                let ops = [MetadataOp::set("RelationType", relation)];
                graph.patch_edge(&edge(e), &ops, now).ok();
            }
            Self::DeleteEdge(e) => {
                graph.delete_edge(&edge(e), now).ok();
            }
        }
    }
}

/// A graph that a writer changes before every read.
struct Busy {
    graph: RefCell<Graph>,
    changes: Vec<Mutation>,
    next: Cell<usize>,
}

impl GraphAccess for Busy {
    fn read(&self, work: &mut dyn FnMut(&Graph)) {
        work(&self.graph.borrow());
        let next = self.next.get();
        self.next.set(next + 1);
        self.changes[next % self.changes.len()].apply(&mut self.graph.borrow_mut());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn an_index_finds_what_a_scan_finds(
        choices in prop::collection::vec(any::<u8>(), 1..40),
        filters in filters(),
        page in (0..5_usize, 0..9_usize),
    ) {
        let mut graph = Graph::with_indexes(["Ifs.MAC"]);
        for (number, choice) in choices.iter().enumerate() {
            let id = format!("n{number}");
            graph.add_node(Node::new(id, mixed(*choice), Timestamp::ZERO)).unwrap();
        }
        // A subgraph has no index.
        let scanned = ids(&graph, &format!("G.V().SubGraph().V(){filters}"));
        prop_assert_eq!(&ids(&graph, &format!("G.V(){filters}")), &scanned);
        let count = json(&graph, &format!("G.V(){filters}.Count()"));
        prop_assert_eq!(count, scanned.len().to_string());
        let (from, to) = page;
        let paged: Vec<String> =
            scanned.iter().take(to).skip(from).cloned().collect();
        // `Dedup` prevents the search from absorbing the page.
        let query = format!("G.V(){filters}.Dedup().Sort('Nope').Range({from},{to})");
        prop_assert_eq!(ids(&graph, &query), paged);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn edges_found_by_lookup_are_those_found_by_scan(
        kinds in prop::collection::vec(0..3_u8, 1..8),
        links in prop::collection::vec((0..8_usize, 0..8_usize, any::<bool>()), 0..24),
        deleted in prop::collection::vec(0..24_usize, 0..4),
        added in prop::collection::vec((24..30_usize, 0..8_usize, 0..8_usize), 0..4),
        key in prop::sample::select(vec!["@ID", "Parent", "Child"]),
        number in 0..26_usize,
        more in prop::sample::select(vec![
            "", ".Has('RelationType','layer2')", ".HasEither('Parent','n1','Child','n2')",
            ".Has('Child','n1')", ".Limit(2)", ".OutV()",
        ]),
    ) {
        let mut graph = graph(&kinds, &links);
        deleted.iter().for_each(|edge| Mutation::DeleteEdge(*edge).apply(&mut graph));
        for (edge, parent, child) in added {
            Mutation::AddEdge(edge, parent, child).apply(&mut graph);
        }
        let wanted = if key == "@ID" { format!("e{number}") } else { format!("n{}", number % 8) };
        let filter = format!("Has('{key}','{wanted}'){more}");
        // A subgraph scans its edges.
        let scanned = ids(&graph, &format!("G.E().SubGraph().E().{filter}"));
        prop_assert_eq!(ids(&graph, &format!("G.E().{filter}")), scanned.clone());
        let count = json(&graph, &format!("G.E().{filter}.Count()"));
        prop_assert_eq!(count, scanned.len().to_string());
    }

    #[test]
    fn a_page_after_a_sort_is_a_page_of_the_sorted_list(
        kinds in prop::collection::vec(0..4_u8, 0..30),
        mixed_in in prop::collection::vec(any::<u8>(), 0..8),
        sort in prop::sample::select(vec![
            "Sort('Kind')", "Sort(DESC,'Kind')", "Sort('Name')", "Sort(DESC,'Type')", "Sort('Nope')",
        ]),
        (from, to) in (0..12_usize, 0..40_usize),
    ) {
        let mut graph = graph(&kinds, &[]);
        for (number, choice) in mixed_in.iter().enumerate() {
            let id = format!("m{number}");
            graph.add_node(Node::new(id, mixed(*choice), Timestamp::ZERO)).unwrap();
        }
        let all = ids(&graph, &format!("G.V().{sort}"));
        let page: Vec<String> = all.into_iter().take(to).skip(from).collect();
        prop_assert_eq!(&ids(&graph, &format!("G.V().{sort}.Range({from},{to})")), &page);
        let count = json(&graph, &format!("G.V().{sort}.Range({from},{to}).Count()"));
        prop_assert_eq!(count, page.len().to_string());
    }

    #[test]
    fn paths_are_those_of_a_breadth_first_search(
        kinds in prop::collection::vec(0..6_u8, 1..16),
        links in prop::collection::vec((0..16_usize, 0..16_usize, any::<bool>()), 0..24),
        any in any::<bool>(),
        one in prop::option::of(0..16_usize),
    ) {
        let graph = graph(&kinds, &links);
        let nodes = kinds.len();
        let targets: Vec<usize> = (0..nodes).filter(|n| kinds[*n] == 0).collect();
        let distances = distances(nodes, &links, &targets, any);
        let sources: Vec<usize> = match one {
            Some(one) => vec![one % nodes],
            None => (0..nodes).collect(),
        };
        let from = one.map_or_else(String::new, |one| format!("'n{}'", one % nodes));
        let over = if any { "" } else { ", Metadata('RelationType','layer2')" };
        let query = format!("G.V({from}).ShortestPathTo(Metadata('Kind',0){over})");
        let Ok(Answer::Paths(paths)) = run(&graph, &query) else {
            return Err(TestCaseError::fail(query));
        };
        let number = |node: &Node| node.id.to_string()[1..].parse::<usize>().unwrap();
        let found: Vec<Vec<usize>> =
            paths.iter().map(|path| path.iter().map(|node| number(node)).collect()).collect();
        let wanted: Vec<(usize, usize)> =
            sources.iter().filter_map(|source| Some((*source, distances[*source]?))).collect();
        let ends: Vec<(usize, usize)> = found.iter().map(|path| (path[0], path.len() - 1)).collect();
        prop_assert_eq!(ends, wanted, "sources in order, each as far as it is");
        let is_link = |a: usize, b: usize| {
            links.iter().any(|(parent, child, layer2)| {
                let ends = (parent % nodes, child % nodes);
                (any || *layer2) && (ends == (a, b) || ends == (b, a))
            })
        };
        for path in found {
            prop_assert!(path.windows(2).all(|pair| is_link(pair[0], pair[1])), "{:?}", path);
            prop_assert_eq!(kinds[*path.last().unwrap()], 0);
        }
    }

    #[test]
    fn a_query_during_writes_answers_as_on_a_frozen_copy(
        kinds in prop::collection::vec(0..3_u8, 1..12),
        links in prop::collection::vec((0..12_usize, 0..12_usize, any::<bool>()), 0..20),
        before in prop::collection::vec(mutation(), 0..20),
        changes in prop::collection::vec(mutation(), 1..40),
        start in prop::sample::select(vec![
            "V()", "V().Has('Type','t1')", "V().Has('Kind',1)", "V().Has('Type',Within('t0','t2'))",
            "E().BothV()", "E().Has('RelationType','layer2').OutV()", "V().Dedup().SubGraph().V()",
        ]),
        steps in prop::collection::vec(node_step(), 0..4),
        end in prop::sample::select(vec![
            "", ".Count()", ".Values('Name')", ".Keys()", ".Dedup().SubGraph()", ".BothE()",
            ".ShortestPathTo(Metadata('Kind',2))", ".Has('Type','t1').Count()", ".Limit(3)",
        ]),
    ) {
        let make = || {
            let mut graph = graph(&kinds, &links);
            before.iter().for_each(|change| change.apply(&mut graph));
            graph
        };
        let steps: String = steps.iter().map(|step| format!(".{step}")).collect();
        let text = format!("G.{start}{steps}{end}");
        let frozen = json(&make(), &text);
        let busy = Busy { graph: RefCell::new(make()), changes, next: Cell::new(0) };
        let view = GraphView::open(&busy);
        let flows = FlowSet::default();
        let query = Query::parse(&text).unwrap();
        let answer = query.run(&Context::new(&view, &flows, Timestamp::ZERO));
        let concurrent = match answer {
            Ok(answer) => serde_json::to_string(&answer).unwrap(),
            Err(error) => error.to_string(),
        };
        prop_assert_eq!(concurrent, frozen, "{}", text);
    }

    #[test]
    fn an_explained_query_counts_what_its_answer_holds(
        kinds in prop::collection::vec(0..3_u8, 1..12),
        links in prop::collection::vec((0..12_usize, 0..12_usize, any::<bool>()), 0..20),
        steps in prop::collection::vec(node_step(), 0..5),
        page in prop::option::of(0..6_u32),
        counts in any::<bool>(),
    ) {
        let graph = graph(&kinds, &links);
        let mut text = "G.V()".to_owned();
        steps.iter().for_each(|step| text += &format!(".{step}"));
        page.iter().for_each(|page| text += &format!(".Limit({page})"));
        let found = ids(&graph, &text).len() as u64;
        if counts {
            text += ".Count()";
        }
        let view = GraphView::open(&graph);
        let flows = FlowSet::default();
        let query = Query::parse(&text).unwrap();
        let explained = query.explain(&Context::new(&view, &flows, Timestamp::ZERO));
        let mut last = None;
        for operation in explained.steps.iter().flat_map(|step| &step.operations) {
            if operation.elements_in.is_some() {
                prop_assert_eq!(operation.elements_in, last, "{}", explained);
            }
            prop_assert!(operation.elements_out.is_some(), "{}", explained);
            last = operation.elements_out;
        }
        let last = explained.steps.last().unwrap();
        if counts {
            prop_assert_eq!(last.elements_in, Some(found), "{}", explained);
        } else {
            prop_assert_eq!(last.elements_out, Some(found), "{}", explained);
        }
        // Every step of the query is shown once.
        let shown = explained.steps.iter().flat_map(|s| std::iter::once(&s.step).chain(&s.absorbed));
        let shown: String = shown.map(|step| format!(".{step}")).collect();
        prop_assert_eq!(format!("G{shown}"), query.to_string());
    }
}
