//! `Bridge`: interface of scripts to the engine.
//!
//! All values cross the bridge as strings, in both directions. Input from a script is untrusted: a
//! failure is returned to the script, and the bridge does not panic.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use md5::{Digest as _, Md5};
use rquickjs::convert::List;
use rquickjs::{Ctx, Function, Object};
use uuid::Uuid;

use super::stop::Stop;
use crate::api::{
    AlertSpec, CaptureSpec, EdgeRule, Injection, NodeRule, PatchError, Resource as _,
    ResourceError, Workflow,
};
use crate::engine::query::{QueryOptions, QueryRunner};
use crate::engine::resource::{Collection, GraphElements, Registry, Resources};
use crate::error_chain::Chain;
use crate::graph::{Edge, Node};
use crate::gremlin::{Query, QueryError, QueryErrorKind};
use crate::memory::{MemoryBudget, MemoryUse};
use crate::time::Clock;

/// Queries and resources of an engine, for scripts.
pub(crate) struct Bridge {
    queries: QueryRunner,
    memory: MemoryBudget,
    can_write: bool,
    /// Maximum length of the JSON text of an answer or a list, in bytes.
    max_text: usize,
    alerts: Resources<AlertSpec>,
    captures: Resources<CaptureSpec>,
    edge_rules: Resources<EdgeRule>,
    injections: Resources<Injection>,
    node_rules: Resources<NodeRule>,
    workflows: Resources<Workflow>,
    nodes: GraphElements<Node>,
    edges: GraphElements<Edge>,
}

/// Result of a function: the name of an error or an empty string, and the result or the message of
/// the error. Without a second part, the result is null.
pub(super) type Reply = (String, Option<String>);

impl Bridge {
    /// Returns the bridge to the resources of a registry, which must have all its observers.
    pub(crate) fn new(
        queries: QueryRunner,
        registry: &Registry,
        memory: MemoryBudget,
        options: super::ScriptOptions,
    ) -> Self {
        Self {
            queries,
            memory,
            can_write: options.can_write,
            max_text: options.max_memory / 4,
            alerts: registry.alerts.clone(),
            captures: registry.captures.clone(),
            edge_rules: registry.edge_rules.clone(),
            injections: registry.injections.clone(),
            node_rules: registry.node_rules.clone(),
            workflows: registry.workflows.clone(),
            nodes: registry.nodes.clone(),
            edges: registry.edges.clone(),
        }
    }

    /// Returns the object of functions that `prelude.js` expects.
    pub(super) fn functions<'js>(
        self: &Arc<Self>,
        ctx: &Ctx<'js>,
        stop: &Arc<Stop>,
        console: Console,
    ) -> rquickjs::Result<Object<'js>> {
        let native = Object::new(ctx.clone())?;
        let (bridge, watched) = (Arc::clone(self), Arc::clone(stop));
        let gremlin = move |text: String| List(bridge.gremlin(&text, &watched));
        native.set("gremlin", Function::new(ctx.clone(), gremlin)?)?;
        let bridge = Arc::clone(self);
        let request = move |resource: String, id: String, method: String, body: String| {
            List(bridge.request(&resource, &id, &method, &body))
        };
        native.set("request", Function::new(ctx.clone(), request)?)?;
        let watched = Arc::clone(stop);
        let sleep = move |ms: f64| watched.sleep(duration(ms));
        native.set("sleep", Function::new(ctx.clone(), sleep)?)?;
        let log = move |level: String, text: String| console.write(&level, &text);
        native.set("log", Function::new(ctx.clone(), log)?)?;
        let bridge = Arc::clone(self);
        let uuid = move |version: String, namespace: String, name: String| {
            let uuid = uuid(&version, &namespace, &name, &*bridge.queries.clock);
            uuid.map(|uuid| uuid.to_string()).unwrap_or_default()
        };
        native.set("uuid", Function::new(ctx.clone(), uuid)?)?;
        Ok(native)
    }

    /// Runs a query on a snapshot of the graph and returns its answer as JSON text.
    pub(super) fn gremlin(&self, text: &str, stop: &Stop) -> Reply {
        let interrupt = || stop.reason().is_some();
        let memory = self.memory.charge(MemoryUse::Queries);
        let view = self.queries.graph.view();
        let options = QueryOptions::default()
            .with_interrupt(&interrupt)
            .with_memory(&memory);
        let answer = Query::parse(text).and_then(|query| self.queries.run(&view, &query, options));
        match answer {
            Err(error) => failure(error_name(&error), error.message()),
            Ok(answer) => {
                let mut json = Bounded::new(self.max_text);
                match answer.write_json(&mut json) {
                    Ok(()) => json.reply(),
                    Err(error) => failure("MarshalError", &error.to_string()),
                }
            }
        }
    }

    /// Applies the effect of an HTTP request to the API to a resource.
    pub(super) fn request(&self, resource: &str, id: &str, method: &str, body: &str) -> Reply {
        if !self.can_write && method != "GET" {
            return failure(
                "WrongArgument",
                "scripts may only read (workflow.can_write)",
            );
        }
        match resource {
            AlertSpec::KIND => self.operate(&self.alerts, id, method, body),
            CaptureSpec::KIND => self.operate(&self.captures, id, method, body),
            EdgeRule::KIND => self.operate(&self.edge_rules, id, method, body),
            Injection::KIND => self.operate(&self.injections, id, method, body),
            NodeRule::KIND => self.operate(&self.node_rules, id, method, body),
            Workflow::KIND => self.operate(&self.workflows, id, method, body),
            "node" => self.operate(&self.nodes, id, method, body),
            "edge" => self.operate(&self.edges, id, method, body),
            _ => failure("WrongArgument", &format!("unknown resource {resource:?}")),
        }
    }

    fn operate<C: Collection>(&self, items: &C, id: &str, method: &str, body: &str) -> Reply {
        match (method, id) {
            ("POST", _) => match items.create(body, None) {
                Ok(item) => self.json(&*item),
                Err(error) => failure(creation_error(&error), &Chain(&error).to_string()),
            },
            ("GET", "") => match items.all() {
                Ok(all) => {
                    let by_id: BTreeMap<String, _> =
                        all.iter().map(|item| (C::id_of(item), &**item)).collect();
                    self.json(&by_id)
                }
                Err(error) => failure("ListError", &Chain(&error).to_string()),
            },
            ("GET", id) => match items.get(id) {
                Some(item) => self.json(&*item),
                None => {
                    let text = format!("{} {id} could not be found", C::KIND);
                    failure("NotFound", &text)
                }
            },
            ("DELETE", "") => failure("WrongArgument", "No ID specified"),
            ("DELETE", id) => match items.delete(id) {
                Ok(_) => NULL,
                Err(error) => failure("DeleteError", &Chain(&error).to_string()),
            },
            ("PATCH", id) => match items.patch(id, body) {
                Ok(Some(item)) => self.json(&*item),
                Ok(None) => items.get(id).map_or(NULL, |item| self.json(&*item)),
                Err(PatchError::NotFound) => {
                    let text = format!("{} {id} could not be found", C::KIND);
                    failure("NotFound", &text)
                }
                Err(error) => failure("UpdateError", &Chain(&error).to_string()),
            },
            _ => NULL,
        }
    }

    fn json<T: serde::Serialize + ?Sized>(&self, value: &T) -> Reply {
        let mut json = Bounded::new(self.max_text);
        match serde_json::to_writer(&mut json, value) {
            Ok(()) => json.reply(),
            Err(error) => failure("MarshalError", &error.to_string()),
        }
    }
}

/// Returns a UUID of version 1, 3, 4, or 5; `None` for another version or an unknown namespace.
pub(super) fn uuid(version: &str, namespace: &str, name: &str, clock: &dyn Clock) -> Option<Uuid> {
    let space = match namespace {
        "ns:DNS" => Some(Uuid::NAMESPACE_DNS),
        "ns:URL" => Some(Uuid::NAMESPACE_URL),
        "ns:OID" => Some(Uuid::NAMESPACE_OID),
        "ns:X500" => Some(Uuid::NAMESPACE_X500),
        other => other.parse().ok(),
    };
    match version {
        "1" => {
            let random = Uuid::new_v4().into_bytes();
            let [a, b, c, d, e, f, g, h, ..] = random;
            let ms = clock.now().as_ms().unsigned_abs();
            let ticks = ms.wrapping_mul(10_000).wrapping_add(GREGORIAN_TICKS);
            let counter = u16::from_be_bytes([a, b]);
            // The multicast bit marks a node id that is not an address (RFC 9562, 6.10).
            let node = [c | 1, d, e, f, g, h];
            Some(uuid::Builder::from_gregorian_timestamp(ticks, counter, &node).into_uuid())
        }
        "3" => {
            let hash = Md5::new()
                .chain_update(space?)
                .chain_update(name)
                .finalize();
            Some(uuid::Builder::from_md5_bytes(hash.into()).into_uuid())
        }
        "4" => Some(Uuid::new_v4()),
        "5" => Some(Uuid::new_v5(&space?, name.as_bytes())),
        _ => None,
    }
}

/// Number of ticks of 100 ns between the start of the Gregorian calendar and the Unix epoch (RFC
/// 9562, section 5.1).
const GREGORIAN_TICKS: u64 = 0x01b2_1dd2_1381_4000;

/// COMPAT: error names that scripts receive.
fn error_name(error: &QueryError) -> &'static str {
    match error.kind() {
        QueryErrorKind::Parse => "ParseError",
        _ => "ExecuteError",
    }
}

fn creation_error(error: &ResourceError) -> &'static str {
    match error {
        ResourceError::Json(_) => "UnmarshalError",
        _ => "CreateError",
    }
}

/// Returns the reply of a function that failed.
pub(super) fn failure(name: &str, message: &str) -> Reply {
    (name.to_owned(), Some(message.to_owned()))
}

/// Reply of a function without a result.
pub(super) const NULL: Reply = (String::new(), None);

/// Returns a number of milliseconds as a duration; zero for a negative number or NaN.
pub(super) fn duration(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms.max(0.0) / 1e3).unwrap_or(Duration::MAX)
}

/// String with a maximum length.
struct Bounded {
    text: Vec<u8>,
    max: usize,
}

impl Bounded {
    const fn new(max: usize) -> Self {
        Self {
            text: Vec::new(),
            max,
        }
    }

    fn reply(self) -> Reply {
        // JSON is UTF-8.
        (String::new(), String::from_utf8(self.text).ok())
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > self.max {
            let text = format!(
                "the result is longer than {} bytes, a quarter of workflow.max_memory",
                self.max
            );
            return Err(io::Error::other(text));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Console of a script, which writes to the log.
pub(super) struct Console {
    script: String,
    /// Number of lines that may still be written.
    left: AtomicUsize,
}

impl Console {
    /// Returns the console of a script with this name.
    pub(super) fn new(script: &str) -> Self {
        Self {
            script: script.to_owned(),
            left: AtomicUsize::new(MAX_LINES),
        }
    }

    fn write(&self, level: &str, text: &str) {
        let take = |left: usize| left.checked_sub(1);
        let Ok(left) = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        else {
            return;
        };
        let end = (0..=text.len().min(MAX_LINE)).rev();
        let end = end.into_iter().find(|end| text.is_char_boundary(*end));
        let (script, text) = (&self.script, &text[..end.unwrap_or(0)]);
        match level {
            "error" => tracing::error!(script, text, "console"),
            "warn" => tracing::warn!(script, text, "console"),
            "debug" | "trace" => tracing::debug!(script, text, "console"),
            _ => tracing::info!(script, text, "console"),
        }
        if left == 1 {
            tracing::warn!(
                script,
                "further lines of the script are not printed; the limit is {MAX_LINES}"
            );
        }
    }
}

/// Maximum number of lines that a script may print, and maximum length of a line in bytes.
const MAX_LINES: usize = 1_000;
const MAX_LINE: usize = 4 << 10;
