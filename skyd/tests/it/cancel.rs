//! A query is interrupted when its client disconnects.

use serde_json::json;

use crate::client::{Connection, get, query};
use crate::daemon::{Daemon, until};
use crate::http::fill;

#[test]
fn closing_the_connection_releases_the_query_slot() {
    // One query at a time, with a timeout that is not reached.
    let daemon = Daemon::with(&["http.limits.queries=1", "http.limits.query_timeout=1h"]);
    fill(&daemon, 10_000);
    // This query takes minutes.
    let text = format!(
        "G.V(){}.Count()",
        ".Sort(DESC, 'Name').Sort('Name')".repeat(240)
    );
    let body = json!({ "GremlinQuery": text }).to_string();
    let mut connection = Connection::open(&daemon);
    connection.send(format!(
        "POST /api/topology HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let running = || get(&daemon, "/api/status").json()["Queues"]["QueriesRunning"].clone();
    until("the query runs", || running() == 1);
    drop(connection);
    until("the query has ended", || running() == 0);
    assert_eq!(query(&daemon, "G.V().Count()"), json!(10_000));
}
