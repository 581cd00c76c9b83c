//! `/api/topology`: the whole graph, and Gremlin queries.

use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{ACCEPT, HeaderValue, WARNING};
use skylib::api::go_json::{JsonError, Members};
use skylib::engine::{Engine, QueryOptions, QueryWarnings};
use skylib::gremlin::{Answer, ColumnFormat, DotStream, Query, QueryError, QueryErrorKind};
use skylib::memory::{MemoryCharge, MemoryUse};
use skylib::proto::JsonStream;
use skylib::time::Timestamp;

use crate::access::{self, QueryDenials};
use crate::app::App;
use crate::body;
use crate::fair_slots::ClientKey;
use crate::graph_dump::{DumpError, GraphDump};
use crate::handler::Call;
use crate::queries::{Interrupt, QueryFailure};
use crate::response::{self, Body, JSON, Response};

/// Answers `GET /api/topology`.
pub(crate) async fn whole(call: Call) -> Response {
    let client = call.client_key();
    let collect = |engine: &Engine, stop: &Interrupt| GraphDump::collect(engine, &|| stop.is_set());
    match call.app.run_request(&client, collect).await {
        Ok(Ok(graph)) => {
            let text = JsonStream::graph(graph.nodes, graph.edges).between("", "\n");
            let mut body = Body::lazy(text);
            graph.memory.into_iter().for_each(|m| body.hold_memory(m));
            graph.pin.into_iter().for_each(|pin| body.hold_pin(pin));
            response::with_body(StatusCode::OK, JSON, body)
        }
        Ok(Err(DumpError::Memory(exhausted))) => response::memory_exhausted(exhausted),
        Ok(Err(error)) => response::error_text(StatusCode::NOT_ACCEPTABLE, &error.to_string()),
        Err(error) => query_stopped(error),
    }
}

/// Answers `POST /api/topology`.
pub(crate) async fn query(call: Call) -> Response {
    let client = call.client_key();
    let Call {
        app, request, user, ..
    } = call;
    let (head, body) = request.into_parts();
    let text = match body::read_json(&app, body).await {
        Ok(text) => text,
        Err(refusal) => return refusal,
    };
    let QueryRequest {
        query,
        is_explained,
    } = match query_of(&text) {
        Ok(Some(request)) => request,
        Ok(None) => return response::bare(StatusCode::NO_CONTENT),
        Err(error) => return response::bad_request(&error),
    };
    if let Some(denials) = user.and_then(|user| QueryDenials::new(&app, &user)) {
        let text = query.clone();
        let denial = app.run_request(&client, move |_, _| denials.of(&text));
        match denial.await {
            Ok(None) => {}
            Ok(Some(missing)) => return access::no_permission(&missing, true),
            Err(error) => return query_stopped(error),
        }
    }
    if is_explained {
        return explain(&app, &client, query).await;
    }
    let format = Format::of(head.headers.get(ACCEPT).map(|value| value.as_bytes()));
    let warnings = Arc::<QueryWarnings>::default();
    let request = AnswerRequest {
        query,
        format,
        client: Arc::clone(&client),
        warnings: Arc::clone(&warnings),
    };
    let work = move |engine: &Engine, stop: &Interrupt| request.run(engine, stop);
    match app.run_request(&client, work).await {
        Ok(Ok(Ok(answered))) => answered.respond(format, &warnings.take()),
        Ok(Ok(Err(error)) | Err(error)) if error.kind() == QueryErrorKind::Memory => {
            response::try_later(&error.to_string())
        }
        Ok(Ok(Err(reason))) => {
            let text = format!("Error while encoding response: {}", reason.message());
            response::error_text(StatusCode::NOT_ACCEPTABLE, &text)
        }
        Ok(Err(error)) => response::error_text(StatusCode::BAD_REQUEST, &error.to_string()),
        Err(error) => query_stopped(error),
    }
}

/// Query to run, and the format of its answer.
struct AnswerRequest {
    query: String,
    format: Format,
    client: ClientKey,
    warnings: Arc<QueryWarnings>,
}

impl AnswerRequest {
    /// Runs the query. The inner error means that the answer cannot be written in the requested
    /// format.
    fn run(
        &self,
        engine: &Engine,
        stop: &Interrupt,
    ) -> Result<Result<Answered, QueryError>, QueryError> {
        let memory = engine.memory().charge(MemoryUse::Queries);
        let interrupt = || stop.is_set();
        let options = QueryOptions::default()
            .with_interrupt(&interrupt)
            .with_memory(&memory)
            .with_client(&self.client)
            .with_warnings(&self.warnings)
            .with_workflows(engine);
        let query = Query::parse(&self.query)?;
        let view = engine.graph().view();
        let pin = view.pin(engine.memory());
        let answer = engine.run_on(&view, &query, options)?;
        let unknown_keys = query.warnings(&view, &interrupt);
        let history_begins = engine.history_begins(&query);
        Ok(self.format.body(answer, memory).map(|mut body| {
            body.hold_pin(pin);
            Answered {
                body,
                history_begins,
                unknown_keys,
            }
        }))
    }
}

/// Answer of a query, with the data of its response headers.
struct Answered {
    body: Body,
    /// Time since which the history is complete, if the query reads an earlier time.
    history_begins: Option<Timestamp>,
    /// Warnings about keys that no element has.
    unknown_keys: Vec<String>,
}

impl Answered {
    /// Returns the response; `missing` are the warnings about agents whose flows are missing.
    fn respond(self, format: Format, missing: &[String]) -> Response {
        let mut response = response::with_body(StatusCode::OK, format.content_type(), self.body);
        let begins = self.history_begins;
        if let Some(begins) = begins.and_then(|begins| begins.to_rfc3339().try_into().ok()) {
            response.headers_mut().insert(HISTORY_BEGINS, begins);
        }
        add_warnings(&mut response, missing, &self.unknown_keys);
        response
    }
}

/// Adds warning headers, because the body of an answer contains only its result. `X-Warning` has
/// the text of each warning; `Warning` has the text of the warnings about data that is missing in
/// the answer: of agents that did not reply, and of damaged files.
fn add_warnings(response: &mut Response, missing: &[String], unknown_keys: &[String]) {
    let headers = response.headers_mut();
    for warning in missing {
        let text = header_text(warning).replace(['"', '\\'], "?");
        if let Ok(value) = HeaderValue::from_str(&format!("199 skyd \"{text}\"")) {
            headers.append(WARNING, value);
        }
    }
    for warning in missing.iter().chain(unknown_keys) {
        if let Ok(value) = HeaderValue::from_str(&header_text(warning)) {
            headers.append(X_WARNING, value);
        }
    }
}

/// Header with the text of a warning.
const X_WARNING: &str = "x-warning";

/// Replaces all characters except printable ASCII, for use in a response header: agents choose
/// their names, and clients choose the keys.
fn header_text(text: &str) -> String {
    let is_printable = |letter: char| letter == ' ' || letter.is_ascii_graphic();
    let letters = text.chars();
    letters
        .map(|letter| if is_printable(letter) { letter } else { '?' })
        .collect()
}

/// Returns the execution plan of a query, always as JSON.
async fn explain(app: &App, client: &ClientKey, query: String) -> Response {
    let name = Arc::clone(client);
    let work = move |engine: &Engine, stop: &Interrupt| {
        let interrupt = || stop.is_set();
        let options = QueryOptions::default()
            .with_interrupt(&interrupt)
            .with_client(&name)
            .with_workflows(engine);
        engine.explain(&query, options)
    };
    match app.run_request(client, work).await {
        Ok(Ok(explanation)) => response::json(StatusCode::OK, &explanation),
        Ok(Err(error)) => response::error_text(StatusCode::BAD_REQUEST, &error.to_string()),
        Err(error) => query_stopped(error),
    }
}

/// Query request in a request body.
#[derive(Debug, PartialEq)]
struct QueryRequest {
    query: String,
    /// Whether to return the execution plan instead of the result; an extension of the Skydive API.
    is_explained: bool,
}

/// Parses the body of a query request; `None` if it contains no query.
fn query_of(body: &str) -> Result<Option<QueryRequest>, JsonError> {
    if matches!(body.trim_ascii(), "" | "null") {
        return Ok(None);
    }
    let (mut query, mut is_explained) = (String::new(), false);
    let members = Members::parse_first(body)?;
    members.read("GremlinQuery", &mut query)?;
    members.read("Explain", &mut is_explained)?;
    let query_request = QueryRequest {
        query,
        is_explained,
    };
    Ok(Some(query_request).filter(|query_request| !query_request.query.is_empty()))
}

/// Returns the response to a query that timed out or was stopped.
fn query_stopped(error: QueryFailure) -> Response {
    response::error_text(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
}

/// Format of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Dot,
    Pcap,
    Arrow,
    Parquet,
}

impl Format {
    /// Returns the format for an `Accept` header.
    ///
    /// COMPAT: the header must be exactly the media type; any other value means JSON.
    fn of(accept: Option<&[u8]>) -> Self {
        match accept {
            Some(b"text/vnd.graphviz") => Self::Dot,
            Some(b"application/vnd.tcpdump.pcap") => Self::Pcap,
            Some(b"application/vnd.apache.arrow.stream") => Self::Arrow,
            Some(b"application/vnd.apache.parquet") => Self::Parquet,
            _ => Self::Json,
        }
    }

    /// Returns the content type of the response.
    const fn content_type(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::Dot => "text/vnd.graphviz; charset=UTF-8",
            Self::Pcap => "application/vnd.tcpdump.pcap; charset=UTF-8",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// Returns the body of the response, which is produced while it is sent. `memory` is the charge
    /// for the answer.
    ///
    /// # Errors
    /// Returns the reason why the result cannot be written in this format.
    fn body(self, answer: Answer, memory: MemoryCharge) -> Result<Body, QueryError> {
        let mut body = match self {
            Self::Json => Body::lazy(JsonStream::answer(answer).between("", "\n")),
            Self::Dot => {
                if let Answer::Graph { nodes, .. } = &answer {
                    let more = nodes.len() * DotStream::BYTES_PER_NODE;
                    memory.add(more).map_err(QueryError::memory)?;
                }
                Body::lazy(answer.into_dot()?)
            }
            Self::Pcap => Body::lazy(answer.into_pcap()?),
            Self::Arrow => columns(&answer, ColumnFormat::ArrowStream, &memory)?,
            Self::Parquet => columns(&answer, ColumnFormat::Parquet, &memory)?,
        };
        body.hold_memory(memory);
        Ok(body)
    }
}

/// Header of an answer about a time before the history begins: the time since which the history is
/// complete.
const HISTORY_BEGINS: &str = "x-history-begins";

/// Returns an answer as a table in columns, which is complete before it is sent.
fn columns(
    answer: &Answer,
    format: ColumnFormat,
    memory: &MemoryCharge,
) -> Result<Body, QueryError> {
    let file = answer.to_columns(format)?;
    memory.add(file.len()).map_err(QueryError::memory)?;
    Ok(Body::lazy(std::iter::once(Bytes::from(file))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_without_a_query_are_recognized() {
        for body in [
            "",
            " ",
            "null",
            "{}",
            r#"{"GremlinQuery":""}"#,
            r#"{"gremlinquery":null}"#,
        ] {
            assert!(matches!(query_of(body), Ok(None)), "{body}");
        }
        assert_eq!(
            query_of(r#"{"gremlinQuery":"G"} x"#).unwrap(),
            Some(QueryRequest {
                query: "G".to_owned(),
                is_explained: false
            })
        );
        let query_request = query_of(r#"{"GremlinQuery":"G","Explain":true}"#).unwrap();
        assert!(query_request.unwrap().is_explained);
        for body in [
            "{",
            "[]",
            "5",
            r#"{"GremlinQuery":5}"#,
            r#"{"GremlinQuery":"G","Explain":1}"#,
        ] {
            assert!(query_of(body).is_err(), "{body}");
        }
    }

    #[test]
    fn the_format_is_chosen_by_the_whole_header() {
        assert_eq!(Format::of(Some(b"text/vnd.graphviz")), Format::Dot);
        assert_eq!(Format::of(Some(b"text/vnd.graphviz, */*")), Format::Json);
        assert_eq!(
            Format::of(Some(b"application/vnd.tcpdump.pcap")),
            Format::Pcap
        );
        assert_eq!(
            Format::of(Some(b"application/vnd.apache.parquet")),
            Format::Parquet
        );
        assert_eq!(Format::of(None), Format::Json);
    }
}
