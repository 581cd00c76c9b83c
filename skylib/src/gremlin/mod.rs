mod ast;
mod checks;
mod error;
mod go_text;
mod lexer;
mod parser;
mod predicate;
#[cfg(test)]
mod tests;

pub use ast::{FlowNodes, Hierarchy, Param, Predicate, Step, Walk};
pub use error::{QueryError, QueryErrorKind};
