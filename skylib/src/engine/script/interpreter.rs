//! `Interpreter`: JavaScript line by line, for a shell that works on a remote server.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rquickjs::convert::List;
use rquickjs::{CatchResultExt as _, Context, Ctx, Function, Object, Persistent, Runtime, Value};

use super::bridge::{self, NULL, Reply, failure};
use super::runtime::{PRELUDE, STACK_BYTES, evaluate, text_of, wait};
use super::stop::Stop;
use crate::gremlin::Query;
use crate::time::SystemClock;

/// Server and terminal of an [`Interpreter`].
pub trait ScriptHost {
    /// Sends an HTTP request to the server; returns the status and the body of the response.
    ///
    /// # Errors
    /// Returns the reason why there is no response.
    fn send(&self, method: &str, path: &str, body: &str) -> Result<(u16, String), String>;

    /// Prints a line.
    fn print(&self, line: &str);
}

/// An interpreter with the functions that workflows have, which work on a remote server. Variables
/// remain from one evaluation to the next.
///
/// ```
/// use std::rc::Rc;
/// use skylib::engine::{Interpreter, ScriptHost};
///
/// struct Nobody;
///
/// impl ScriptHost for Nobody {
///     fn send(&self, _: &str, _: &str, _: &str) -> Result<(u16, String), String> {
///         Err("nobody listens".to_owned())
///     }
///
///     fn print(&self, line: &str) {
///         println!("{line}");
///     }
/// }
///
/// let interpreter = Interpreter::new(Rc::new(Nobody))?;
/// assert_eq!(interpreter.evaluate("var x = 6 * 7")?, None);
/// assert_eq!(interpreter.evaluate("[x, 'a']")?.as_deref(), Some(r#"[42,"a"]"#));
/// assert!(interpreter.evaluate("y").is_err_and(|error| error.starts_with("ReferenceError")));
/// # Ok::<(), String>(())
/// ```
pub struct Interpreter {
    // Fields are dropped in this order: values before their context.
    driver: Persistent<Object<'static>>,
    shell: Persistent<Object<'static>>,
    context: Context,
    stop: Arc<Stop>,
}

impl Interpreter {
    /// Starts an interpreter.
    ///
    /// # Errors
    /// Returns an error if there is not enough memory.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "functions of the interpreter hold the host"
    )]
    pub fn new(host: Rc<dyn ScriptHost>) -> Result<Self, String> {
        let runtime = Runtime::new().map_err(|error| error.to_string())?;
        runtime.set_max_stack_size(STACK_BYTES);
        let context = Context::full(&runtime).map_err(|error| error.to_string())?;
        // The user ends the process instead; `Duration::MAX` would be beyond the clock.
        let stop = Arc::new(Stop::new(NO_LIMIT, Arc::default(), Arc::default()));
        let (driver, shell) = context.with(|ctx| {
            let parts = start(&ctx, &host, &stop).catch(&ctx);
            parts.map_err(|error| text_of(&error))
        })?;
        Ok(Self {
            driver,
            shell,
            context,
            stop,
        })
    }

    /// Evaluates a script; returns its value as JSON text, or `None` if it is undefined.
    ///
    /// A promise is waited for, and a query that was built is run.
    ///
    /// # Errors
    /// Returns the text of the exception that the script threw.
    pub fn evaluate(&self, source: &str) -> Result<Option<String>, String> {
        self.context.with(|ctx| {
            let result = self.run(&ctx, source).catch(&ctx);
            result.map_err(|error| text_of(&error))
        })
    }

    /// Returns the names of the members of the value that a dotted path leads to, for completion; an
    /// empty path leads to the global object. Names of functions end with a parenthesis.
    #[must_use]
    pub fn members(&self, path: &str) -> Vec<String> {
        self.context.with(|ctx| {
            let find = || {
                let members: Function<'_> = self.shell.clone().restore(&ctx)?.get("members")?;
                members.call::<_, Vec<String>>((path,))
            };
            // A getter may throw: its exception is taken, and there is nothing to complete.
            find().catch(&ctx).unwrap_or_default()
        })
    }

    fn run<'js>(&self, ctx: &Ctx<'js>, source: &str) -> rquickjs::Result<Option<String>> {
        let driver = self.driver.clone().restore(ctx)?;
        let shell = self.shell.clone().restore(ctx)?;
        let value: Value<'js> = evaluate(ctx, source, "shell")?;
        let shown: Function<'js> = shell.get("shown")?;
        let value: Value<'js> = shown.call((value,))?;
        let is_undefined = value.is_undefined();
        let settle: Function<'js> = driver.get("settle")?;
        settle.call::<_, ()>((value,))?;
        wait(ctx, &driver, &self.stop)?;
        while ctx.execute_pending_job() {}
        if is_undefined {
            return Ok(None);
        }
        let result: Function<'js> = driver.get("result")?;
        Ok(Some(result.call(())?))
    }
}

impl fmt::Debug for Interpreter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interpreter")
    }
}

/// The driver of `prelude.js` and the functions of `shell.js`.
type Parts = (Persistent<Object<'static>>, Persistent<Object<'static>>);

/// Prepares the context.
fn start(ctx: &Ctx<'_>, host: &Rc<dyn ScriptHost>, stop: &Arc<Stop>) -> rquickjs::Result<Parts> {
    let native = functions(ctx, host, stop)?;
    let prelude: Function<'_> = evaluate(ctx, PRELUDE, "prelude")?;
    let driver: Object<'_> = prelude.call((native.clone(),))?;
    let shell: Function<'_> = evaluate(ctx, SHELL, "shell.js")?;
    let shell: Object<'_> = shell.call((native,))?;
    Ok((Persistent::save(ctx, driver), Persistent::save(ctx, shell)))
}

/// Returns the object of functions that `prelude.js` and `shell.js` expect.
fn functions<'js>(
    ctx: &Ctx<'js>,
    host: &Rc<dyn ScriptHost>,
    stop: &Arc<Stop>,
) -> rquickjs::Result<Object<'js>> {
    let native = Object::new(ctx.clone())?;
    let server = Rc::clone(host);
    let gremlin = move |query: String| {
        let body = serde_json::json!({ "GremlinQuery": query }).to_string();
        let reply = answer(&*server, "POST", "/api/topology", &body, "ExecuteError");
        List(match Query::parse(&query) {
            Err(_) if reply.0 == "ExecuteError" => invalid_query(reply),
            _ => reply,
        })
    };
    native.set("gremlin", Function::new(ctx.clone(), gremlin)?)?;
    let server = Rc::clone(host);
    let request = move |resource: String, id: String, method: String, body: String| {
        let path = match id.as_str() {
            "" => format!("/api/{resource}"),
            id => format!("/api/{resource}/{id}"),
        };
        List(answer(&*server, &method, &path, &body, "RequestError"))
    };
    native.set("request", Function::new(ctx.clone(), request)?)?;
    let server = Rc::clone(host);
    let send = move |method: String, path: String, body: String| {
        List(match server.send(&method, &path, &body) {
            Ok((_, text)) => (String::new(), Some(text)),
            Err(reason) => failure("WrongRequest", &reason),
        })
    };
    native.set("send", Function::new(ctx.clone(), send)?)?;
    native.set(
        "read",
        Function::new(ctx.clone(), |path: String| List(read(&path)))?,
    )?;
    let watched = Arc::clone(stop);
    let sleep = move |ms: f64| watched.sleep(bridge::duration(ms));
    native.set("sleep", Function::new(ctx.clone(), sleep)?)?;
    let terminal = Rc::clone(host);
    let log = move |_: String, text: String| terminal.print(&text);
    native.set("log", Function::new(ctx.clone(), log)?)?;
    let uuid = |version: String, namespace: String, name: String| {
        let uuid = bridge::uuid(&version, &namespace, &name, &SystemClock);
        uuid.map(|uuid| uuid.to_string()).unwrap_or_default()
    };
    native.set("uuid", Function::new(ctx.clone(), uuid)?)?;
    Ok(native)
}

/// Sends a request and returns the body of a successful response, or an error with its text.
fn answer(host: &dyn ScriptHost, method: &str, path: &str, body: &str, error: &str) -> Reply {
    match host.send(method, path, body) {
        Err(reason) => failure("WrongRequest", &reason),
        Ok((status, text)) if status >= 400 => failure(error, text.trim_end()),
        Ok((_, text)) if text.trim().is_empty() => NULL,
        Ok((_, text)) => (String::new(), Some(text)),
    }
}

/// Returns the error of a query that cannot be parsed. The server's text has further lines for
/// terminals, which show the position of the error.
fn invalid_query((_, text): Reply) -> Reply {
    let text = text.unwrap_or_default();
    failure("ParseError", text.lines().next().unwrap_or_default())
}

/// Reads a script.
fn read(path: &str) -> Reply {
    match std::fs::read_to_string(path) {
        Ok(text) => (String::new(), Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            failure("FileNotFound", &format!("{path}: {error}"))
        }
        Err(error) => failure("CouldNotRead", &format!("{path}: {error}")),
    }
}

/// Time limit of an evaluation: ten years.
const NO_LIMIT: Duration = Duration::from_secs(10 * 365 * 86_400);
const SHELL: &str = include_str!("shell.js");

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// A server with one answer to each request, which it records.
    #[derive(Default)]
    struct Server {
        requests: RefCell<Vec<String>>,
        lines: RefCell<Vec<String>>,
    }

    impl ScriptHost for Server {
        fn send(&self, method: &str, path: &str, body: &str) -> Result<(u16, String), String> {
            self.requests
                .borrow_mut()
                .push(format!("{method} {path} {body}"));
            match path {
                "/api/topology" if body.contains("bad") => Ok((400, "no query\nhelp\n".to_owned())),
                "/api/topology" => Ok((200, r#"[{"ID":"n","Metadata":{}}]"#.to_owned())),
                "/api/noderule" if method == "POST" => Ok((201, r#"{"UUID":"u"}"#.to_owned())),
                "/api/noderule" => Ok((200, r#"{"u":{"UUID":"u"}}"#.to_owned())),
                "/api/noderule/u" => Ok((200, String::new())),
                "/down" => Err("refused".to_owned()),
                _ => Ok((404, "nothing here".to_owned())),
            }
        }

        fn print(&self, line: &str) {
            self.lines.borrow_mut().push(line.to_owned());
        }
    }

    fn interpreter() -> (Rc<Server>, Interpreter) {
        let server = Rc::new(Server::default());
        let interpreter = Interpreter::new(Rc::clone(&server) as Rc<dyn ScriptHost>).unwrap();
        (server, interpreter)
    }

    fn shown(interpreter: &Interpreter, source: &str) -> String {
        match interpreter.evaluate(source) {
            Ok(json) => json.unwrap_or_else(|| "undefined".to_owned()),
            Err(error) => format!("! {error}"),
        }
    }

    #[test]
    fn values_remain_and_promises_are_waited_for() {
        let (_, interpreter) = interpreter();
        for (source, result) in [
            ("let x = 5", "undefined"),
            ("x + 1", "6"),
            ("function f(a) { return [a, x] }", "undefined"),
            ("f('t')", r#"["t",5]"#),
            ("Promise.resolve(7)", "7"),
            ("Promise.reject(new Error('no'))", "! Error: no"),
            ("8", "8"),
            (
                "new Promise(done => setTimeout(done, 5, 'late'))",
                r#""late""#,
            ),
            ("x.y.z", "! TypeError"),
            ("null", "null"),
            ("function g() { return g() } g()", "! RangeError"),
            ("x", "5"),
        ] {
            let text = shown(&interpreter, source);
            match result.strip_prefix("! ") {
                Some(_) => assert!(text.starts_with(result), "{source}: {text}"),
                None => assert_eq!(text, result, "{source}"),
            }
        }
    }

    #[test]
    fn queries_and_resources_are_requests() {
        let (server, interpreter) = interpreter();
        for (source, result) in [
            (
                "client.G.V().Has('Name', 'a')",
                r#"[{"ID":"n","Metadata":{}}]"#,
            ),
            ("Gremlin('bad').message", r#""no query""#),
            (
                "var r = new NodeRule(); r.Action = 'create'; client.nodeRules.create(r)",
                r#"{"UUID":"u"}"#,
            ),
            ("Object.keys(client.nodeRules.list())", r#"["u"]"#),
            ("client.nodeRules.get('none')", "null"),
            ("client.nodeRules.delete('u')", "null"),
            ("request('/api/other', 'GET', '')", r#""nothing here""#),
            ("request('/down', 'GET', '').name", r#""WrongRequest""#),
            (
                "client.request('/api/noderule', 'GET')",
                r#"{"u":{"UUID":"u"}}"#,
            ),
            ("Gremlin('bad').name", r#""ParseError""#),
            ("Gremlin('G.V(\\'bad\\')').name", r#""ExecuteError""#),
            ("Gremlin('G.V(\\'bad\\')').message", r#""no query\nhelp""#),
        ] {
            assert_eq!(shown(&interpreter, source), result, "{source}");
        }
        let requests = server.requests.borrow();
        assert_eq!(
            requests[..4],
            [
                r#"POST /api/topology {"GremlinQuery":"G.V().Has(\"Name\", \"a\")"}"#,
                r#"POST /api/topology {"GremlinQuery":"bad"}"#,
                r#"POST /api/noderule {"Action":"create"}"#,
                "GET /api/noderule ",
            ]
        );
        shown(&interpreter, "console.log('a', {b: 1})");
        assert_eq!(*server.lines.borrow(), [r#"a {"b":1}"#]);
    }

    #[test]
    fn files_are_run() {
        let (_, interpreter) = interpreter();
        let path = std::env::temp_dir().join(format!("skylib-shell-{}.js", std::process::id()));
        std::fs::write(&path, "var fromFile = 3").unwrap();
        let run = format!("run({:?})", path.display().to_string());
        assert_eq!(shown(&interpreter, &run), "null");
        assert_eq!(shown(&interpreter, "fromFile"), "3");
        std::fs::write(&path, "throw new Error('x')").unwrap();
        assert_eq!(
            shown(&interpreter, &format!("{run}.name")),
            r#""FailedToRun""#
        );
        std::fs::remove_file(&path).unwrap();
        assert_eq!(
            shown(&interpreter, &format!("{run}.name")),
            r#""FileNotFound""#
        );
    }

    #[test]
    fn names_are_found_for_completion() {
        let (_, interpreter) = interpreter();
        let names = interpreter.members("");
        assert!(names.contains(&"client".to_owned()) && names.contains(&"sleep(".to_owned()));
        assert!(
            interpreter
                .members("client")
                .contains(&"captures".to_owned())
        );
        assert!(
            interpreter
                .members("client.captures")
                .contains(&"create(".to_owned())
        );
        assert!(interpreter.members("client.nothing.deep").is_empty());
        shown(&interpreter, "var o = {get bad() { throw 1 }}");
        assert!(interpreter.members("o.bad").is_empty());
        assert_eq!(shown(&interpreter, "1"), "1");
    }
}
