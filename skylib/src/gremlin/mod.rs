mod ast;
mod checks;
mod error;
mod go_text;
mod kind;
mod lexer;
mod parser;
mod plan;
mod predicate;
mod steps;

pub use ast::{FlowNodes, Hierarchy, Param, Predicate, Step, Walk};
pub use error::{QueryError, QueryErrorKind};
