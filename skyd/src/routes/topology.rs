//! `/api/topology`: the whole graph, and Gremlin queries.

use hyper::StatusCode;
use hyper::header::ACCEPT;
use skylib::api::go_json::{JsonError, Members};
use skylib::engine::{Engine, QueryOptions};
use skylib::flow::RawPacket;
use skylib::gremlin::{Answer, Query};
use skylib::packet::{LinkType, PacketRef};
use skylib::pcap_file::{PcapFileError, PcapWriter, Resolution};
use skylib::proto::JsonStream;
use skylib::time::Timestamp;

use crate::access;
use crate::app::App;
use crate::body;
use crate::graph_dump::GraphDump;
use crate::handler::Call;
use crate::queries::{Interrupt, QueryFailure};
use crate::response::{self, Body, JSON, Response};

/// Answers `GET /api/topology`.
pub(crate) async fn whole(call: Call) -> Response {
    match call
        .app
        .run_query(|engine, _| GraphDump::collect(engine))
        .await
    {
        Ok(Ok(graph)) => {
            let text = JsonStream::graph(graph.nodes, graph.edges).between("", "\n");
            response::with_body(StatusCode::OK, JSON, Body::lazy(text))
        }
        Ok(Err(error)) => response::error_text(StatusCode::NOT_ACCEPTABLE, &error.to_string()),
        Err(error) => query_stopped(error),
    }
}

/// Answers `POST /api/topology`.
pub(crate) async fn query(call: Call) -> Response {
    let Call {
        app, request, user, ..
    } = call;
    let (head, body) = request.into_parts();
    let text = match body::read_text(&app, body).await {
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
    if let Some(missing) = user.and_then(|user| access::packets_denial(&app, &user)) {
        let text = query.clone();
        match app.run_query(move |_, _| reads_packets(&text)).await {
            Ok(false) => {}
            Ok(true) => return access::no_permission(&missing, true),
            Err(error) => return query_stopped(error),
        }
    }
    if is_explained {
        return explain(&app, query).await;
    }
    let format = Format::of(head.headers.get(ACCEPT).map(|value| value.as_bytes()));
    let answered = app
        .run_query(move |engine, interrupt| {
            let interrupt = || interrupt.is_set();
            engine
                .query_with(&query, QueryOptions::default().with_interrupt(&interrupt))
                .map(|answer| format.body(answer))
        })
        .await;
    match answered {
        Ok(Ok(Ok(body))) => response::with_body(StatusCode::OK, format.content_type(), body),
        Ok(Ok(Err(reason))) => {
            let text = format!("Error while encoding response: {reason}");
            response::error_text(StatusCode::NOT_ACCEPTABLE, &text)
        }
        Ok(Err(error)) => response::error_text(StatusCode::BAD_REQUEST, &error.to_string()),
        Err(error) => query_stopped(error),
    }
}

/// Answers with the execution plan of a query, always as JSON.
async fn explain(app: &App, query: String) -> Response {
    let work = move |engine: &Engine, stop: &Interrupt| {
        let interrupt = || stop.is_set();
        engine.explain(&query, QueryOptions::default().with_interrupt(&interrupt))
    };
    match app.run_query(work).await {
        Ok(Ok(explanation)) => response::json(StatusCode::OK, &explanation),
        Ok(Err(error)) => response::error_text(StatusCode::BAD_REQUEST, &error.to_string()),
        Err(error) => query_stopped(error),
    }
}

/// Returns whether a query reads stored packets. An invalid query reads nothing.
fn reads_packets(query: &str) -> bool {
    Query::parse(query).is_ok_and(|query| query.reads_packets())
}

/// Request in the body of a query.
#[derive(Debug, PartialEq)]
struct QueryRequest {
    query: String,
    /// Whether to return the execution plan instead of the result; an extension of the Skydive API.
    is_explained: bool,
}

/// Parses the body of a query; `None` if it contains no query.
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

/// Format of a result. Complete by definition: the formats of the Skydive API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Dot,
    Pcap,
}

impl Format {
    /// Returns the format for an `Accept` header.
    ///
    /// COMPAT: the header must be exactly the media type; any other value means JSON.
    fn of(accept: Option<&[u8]>) -> Self {
        match accept {
            Some(b"text/vnd.graphviz") => Self::Dot,
            Some(b"application/vnd.tcpdump.pcap") => Self::Pcap,
            _ => Self::Json,
        }
    }

    /// Returns the content type of the response.
    const fn content_type(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::Dot => "text/vnd.graphviz; charset=UTF-8",
            Self::Pcap => "application/vnd.tcpdump.pcap; charset=UTF-8",
        }
    }

    /// Returns the body of the response.
    ///
    /// # Errors
    /// The reason why the result cannot be written in this format.
    fn body(self, answer: Answer) -> Result<Body, String> {
        let mut out = Vec::new();
        match (self, answer) {
            // Elements are serialized while they are sent: there may be a million of them.
            (Self::Json, Answer::Nodes(nodes)) => {
                return Ok(Body::lazy(JsonStream::nodes(nodes).between("", "\n")));
            }
            (Self::Json, Answer::Edges(edges)) => {
                return Ok(Body::lazy(JsonStream::edges(edges).between("", "\n")));
            }
            (Self::Json, Answer::Graph { nodes, edges }) => {
                return Ok(Body::lazy(
                    JsonStream::answer(nodes, edges).between("", "\n"),
                ));
            }
            (Self::Json, answer) => {
                answer
                    .write_json(&mut out)
                    .map_err(|error| error.to_string())?;
                out.push(b'\n');
            }
            (Self::Dot, answer) => {
                answer
                    .write_dot(&mut out)
                    .map_err(|error| error.to_string())?;
            }
            (Self::Pcap, Answer::RawPackets(packets)) => {
                let packets = packets.iter().flat_map(|(_, packets)| packets);
                write_pcap(&mut out, packets).map_err(|error| error.to_string())?;
            }
            (Self::Pcap, _) => {
                return Err("Only RawPackets step result can be outputted as pcap".to_owned());
            }
        }
        Ok(Body::whole(out))
    }
}

/// Writes a capture file of packets. Packets without an Ethernet header are left out.
fn write_pcap<'a>(
    out: &mut Vec<u8>,
    packets: impl Iterator<Item = &'a RawPacket>,
) -> Result<(), PcapFileError> {
    let mut file = PcapWriter::new(out, LinkType::ETHERNET, Resolution::Microseconds)?;
    let ethernet = u32::from(LinkType::ETHERNET.0);
    for packet in packets.filter(|packet| packet.link_type == ethernet) {
        file.write(&PacketRef {
            link_type: LinkType::ETHERNET,
            timestamp: Timestamp::from_ms(packet.timestamp),
            data: &packet.data,
            wire_len: u32::try_from(packet.data.len()).unwrap_or(u32::MAX),
        })?;
    }
    file.flush()
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
        assert_eq!(Format::of(None), Format::Json);
    }

    #[test]
    fn raw_packets_become_a_capture_file() {
        let packet = |link_type| RawPacket {
            timestamp: 1_700_000_000_123,
            index: 1,
            data: vec![7; 60].into(),
            link_type,
        };
        let mut out = Vec::new();
        write_pcap(&mut out, [packet(1), packet(101), packet(1)].iter()).unwrap();
        assert_eq!(out.len(), 24 + 2 * (16 + 60));
        assert_eq!(&out[..4], 0xa1b2_c3d4_u32.to_le_bytes());
        assert_eq!(&out[24..28], 1_700_000_000_u32.to_le_bytes());
        assert_eq!(&out[28..32], 123_000_u32.to_le_bytes());
    }
}
