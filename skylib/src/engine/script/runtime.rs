//! Execution of one script in a separate interpreter.

use std::sync::Arc;
use std::time::Duration;

use rquickjs::context::EvalOptions;
use rquickjs::{CatchResultExt as _, CaughtError, Context, Ctx, Function, Object, Runtime, Value};

use super::ScriptError;
use super::bridge::{Bridge, Console};
use super::stop::Stop;

/// Script to run.
pub(super) struct Script {
    /// Description of the script, for the log.
    pub(super) name: String,
    pub(super) source: String,
    pub(super) task: Task,
}

/// Task of a script.
pub(super) enum Task {
    /// The source is a function expression, which is called with these arguments (a JSON list).
    Call(String),
    /// The source is evaluated; its value decides whether an alert fires.
    Evaluate,
}

/// Runs a script. Returns its result as JSON text; for [`Task::Evaluate`], `None` if the alert does
/// not fire.
///
/// # Errors
/// Returns an error if the script throws or exceeds a limit.
pub(super) fn run(
    script: &Script,
    bridge: &Arc<Bridge>,
    stop: &Arc<Stop>,
    max_memory: usize,
) -> Result<Option<String>, ScriptError> {
    let internal = |error: rquickjs::Error| match error {
        rquickjs::Error::Allocation => ScriptError::Memory(max_memory),
        error => ScriptError::Thrown(error.to_string()),
    };
    let runtime = Runtime::new().map_err(internal)?;
    runtime.set_memory_limit(max_memory);
    runtime.set_max_stack_size(STACK_BYTES);
    let watched = Arc::clone(stop);
    runtime.set_interrupt_handler(Some(Box::new(move || watched.reason().is_some())));
    let context = Context::full(&runtime).map_err(internal)?;
    let outcome = context.with(|ctx| {
        let run = Run {
            ctx: &ctx,
            script,
            stop,
        };
        let result = run.to_end(bridge);
        result.catch(&ctx).map_err(|error| text_of(&error))
    });
    // A function such as `sleep` returns early when the script must end.
    if let (Ok(_), Some(reason)) = (&outcome, stop.reason()) {
        return Err(reason);
    }
    // QuickJS throws null if there is not enough memory for an error.
    let is_out_of_memory = |text: &str| {
        let used = || usize::try_from(runtime.memory_usage().malloc_size).unwrap_or_default();
        text.contains("out of memory") || (text == "null" && used() > max_memory / 2)
    };
    outcome.map_err(|text| match stop.reason() {
        Some(reason) => {
            if let ScriptError::Timeout(_) = reason {
                tracing::warn!(script = script.name, %reason, "stopped a script at its time limit");
            }
            reason
        }
        None if is_out_of_memory(&text) => {
            let reason = ScriptError::Memory(max_memory);
            tracing::warn!(script = script.name, %reason, "stopped a script at its memory limit");
            reason
        }
        None => ScriptError::Thrown(text),
    })
}

/// Script in its context.
struct Run<'a, 'js> {
    ctx: &'a Ctx<'js>,
    script: &'a Script,
    stop: &'a Arc<Stop>,
}

impl<'js> Run<'_, 'js> {
    fn to_end(&self, bridge: &Arc<Bridge>) -> rquickjs::Result<Option<String>> {
        let ctx = self.ctx;
        let console = Console::new(&self.script.name);
        let native = bridge.functions(ctx, self.stop, console)?;
        let prelude: Function<'js> = evaluate(ctx, PRELUDE, "prelude")?;
        let driver: Object<'js> = prelude.call((native,))?;
        let result = match &self.script.task {
            Task::Call(arguments) => {
                let source = format!("({}\n)", self.script.source);
                let source: Value<'js> = evaluate(ctx, &source, "workflow")?;
                let call: Function<'js> = driver.get("call")?;
                call.call::<_, ()>((source, arguments.as_str()))?;
                "result"
            }
            Task::Evaluate => {
                let value: Value<'js> = evaluate(ctx, &self.script.source, "expression")?;
                let settle: Function<'js> = driver.get("settle")?;
                settle.call::<_, ()>((value,))?;
                "truth"
            }
        };
        wait(ctx, &driver, self.stop)?;
        let result: Function<'js> = driver.get(result)?;
        let json: String = result.call(())?;
        Ok(Some(json).filter(|json| !json.is_empty()))
    }
}

/// Evaluates a source in the global scope; `file` is its name in error texts.
pub(super) fn evaluate<'js, V: rquickjs::FromJs<'js>>(
    ctx: &Ctx<'js>,
    source: &str,
    file: &str,
) -> rquickjs::Result<V> {
    let mut options = EvalOptions::default();
    options.strict = false;
    options.filename = Some(file.to_owned());
    ctx.eval_with_options(source, options)
}

/// Runs pending jobs and timers until the result of the driver is no longer a pending promise.
pub(super) fn wait<'js>(ctx: &Ctx<'js>, driver: &Object<'js>, stop: &Stop) -> rquickjs::Result<()> {
    let is_pending: Function<'js> = driver.get("isPending")?;
    let next_timer: Function<'js> = driver.get("nextTimer")?;
    let fire_timers: Function<'js> = driver.get("fireTimers")?;
    while is_pending.call::<_, bool>(())? {
        if stop.reason().is_some() {
            return Err(rquickjs::Exception::throw_message(ctx, "interrupted"));
        }
        if ctx.execute_pending_job() {
            continue;
        }
        let wait: f64 = next_timer.call(())?;
        if wait < 0.0 {
            let text = "the promise is never settled: nothing is left to run";
            return Err(rquickjs::Exception::throw_message(ctx, text));
        }
        stop.sleep(Duration::from_secs_f64(wait.min(MAX_WAIT_MS) / 1e3));
        fire_timers.call::<_, ()>(())?;
    }
    Ok(())
}

/// Returns a description of the value that a script threw: class and message, and the line of a
/// syntax error.
pub(super) fn text_of(error: &CaughtError<'_>) -> String {
    match error {
        CaughtError::Error(error) => error.to_string(),
        CaughtError::Value(value) => {
            let text = value.get::<rquickjs::Coerced<String>>();
            text.map_or_else(|_| "out of memory".to_owned(), |text| text.0)
        }
        CaughtError::Exception(exception) => {
            let text = exception.as_value().get::<rquickjs::Coerced<String>>();
            let text = text.map_or_else(|_| "out of memory".to_owned(), |text| text.0);
            let stack = exception.stack().unwrap_or_default();
            match stack.lines().next() {
                Some(line) if text.starts_with("SyntaxError") => {
                    format!("{text} ({})", line.trim())
                }
                _ => text,
            }
        }
    }
}

/// Functions of scripts, in JavaScript.
pub(super) const PRELUDE: &str = include_str!("prelude.js");
/// Stack that a script may use, in bytes.
pub(super) const STACK_BYTES: usize = 1 << 20;
/// Maximum duration of one wait for a timer, in milliseconds.
const MAX_WAIT_MS: f64 = 86_400_000.0;
