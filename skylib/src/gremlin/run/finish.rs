//! The end of a run: converts the last result to the answer.

use std::rc::Rc;

use super::Run;
use crate::filter::Filter;
use crate::graph::{EdgeRef, NodeRef};
use crate::gremlin::answer::Answer;
use crate::gremlin::error::QueryError;
use crate::gremlin::intermediate::{Data, ElementRow, Rows};
use crate::gremlin::steps::filter::Pipe;
use crate::value::Value;

impl Run<'_> {
    /// Converts a result to the answer.
    pub(super) fn finish(&self, data: Data) -> Result<Answer, QueryError> {
        Ok(match data {
            Data::Graph => return self.whole_graph(),
            Data::Nodes(rows) => Answer::Nodes(self.elements(&rows)?),
            Data::Edges(rows) => Answer::Edges(self.elements(&rows)?),
            Data::Paths(paths) => {
                let resolve =
                    |path: Vec<u32>| self.elements::<NodeRef>(&Rows::Numbers(Rc::new(path)));
                Answer::Paths(paths.into_iter().map(resolve).collect::<Result<_, _>>()?)
            }
            Data::List(list) if list.is_empty() => Answer::Value(Value::Null),
            Data::List(list) => Answer::Value(Value::from(list)),
            Data::Scalar(Value::Int(number)) => Answer::Number(number),
            Data::Scalar(value) => Answer::Value(value),
            Data::Flows(set) => Answer::Flows(set),
            Data::Groups(groups) => Answer::Groups(groups),
            Data::Metrics(metrics) => Answer::Metrics(metrics),
            Data::RawPackets(packets) => Answer::RawPackets(packets),
            Data::Sockets(sockets) => Answer::Sockets(sockets),
            Data::NextHops(hops) => Answer::NextHops(hops),
        })
    }

    /// Returns all elements of the scope.
    pub(super) fn whole_graph(&self) -> Result<Answer, QueryError> {
        let everything = Filter::everything();
        let mut nodes = Pipe::new(Vec::new(), false, self.budget);
        self.scope
            .visit_nodes(&everything, self.budget, &mut |node| nodes.push(node))?;
        let mut edges = Pipe::new(Vec::new(), false, self.budget);
        self.scope
            .visit_edges(&everything, self.budget, &mut |edge| edges.push(edge))?;
        self.budget.check()?;
        let nodes = nodes
            .finish()?
            .into_rows()
            .into_iter()
            .map(NodeRef::into_element)
            .collect();
        let edges = edges
            .finish()?
            .into_rows()
            .into_iter()
            .map(EdgeRef::into_element)
            .collect();
        Ok(Answer::Graph { nodes, edges })
    }

    /// Returns the shared elements of a result.
    pub(super) fn elements<E: ElementRow>(
        &self,
        rows: &Rows<E>,
    ) -> Result<Vec<E::Shared>, QueryError> {
        Ok(self
            .refs(rows)?
            .iter()
            .cloned()
            .map(E::into_shared)
            .collect())
    }

    /// Materializes a result: fetches the elements that are known only by number.
    pub(super) fn refs<E: ElementRow>(&self, rows: &Rows<E>) -> Result<Rc<Vec<E>>, QueryError> {
        let numbers = match rows {
            Rows::Refs(refs) => return Ok(Rc::clone(refs)),
            Rows::Numbers(numbers) => numbers,
        };
        let mut pipe = Pipe::new(Vec::new(), false, self.budget);
        E::fetch(&self.scope, numbers, &mut |row| pipe.push(row))?;
        Ok(Rc::new(pipe.finish()?.into_rows()))
    }
}
