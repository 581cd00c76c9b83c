//! Syntax check of JavaScript that an alert will evaluate.

use rquickjs::{CatchResultExt as _, CaughtError, Context, Ctx, Runtime};

use super::runtime::{STACK_BYTES, evaluate, text_of};

/// Checks that an expression of an alert can be compiled, without running it.
///
/// # Errors
/// Returns the syntax error.
pub(crate) fn check(source: &str) -> Result<(), String> {
    let runtime = Runtime::new().map_err(|error| error.to_string())?;
    runtime.set_memory_limit(MAX_MEMORY);
    runtime.set_max_stack_size(STACK_BYTES);
    let context = Context::full(&runtime).map_err(|error| error.to_string())?;
    context.with(|ctx| match compile(&ctx, source) {
        // COMPAT: a function without a name is a statement to Skydive, which has no value.
        Err(reason) if source.trim_start().starts_with("function") => {
            compile(&ctx, &format!("({source}\n)")).map_err(|_| reason)
        }
        result => result,
    })
}

/// Compiles a source. The whole source is compiled before its first statement runs, which here
/// throws `null`, so that nothing else runs.
fn compile(ctx: &Ctx<'_>, source: &str) -> Result<(), String> {
    let thrown = evaluate::<()>(ctx, &format!("throw null;{source}"), "expression");
    match thrown.catch(ctx) {
        Err(CaughtError::Value(value)) if value.is_null() => Ok(()),
        Err(error) => Err(text_of(&error)),
        Ok(()) => Ok(()),
    }
}

/// Maximum memory of the compiler, in bytes.
const MAX_MEMORY: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_compiles_is_accepted_and_does_not_run() {
        for source in [
            "nosuch",
            "throw 1",
            "var x = 5; x",
            "({a: 1})",
            "{}",
            "while (true) {}",
            "new Error('x')",
            "function() { return 1 }",
            "let y = 1; y // comment",
            "client.G.V().Has('kind', 'j').Count().result() > 1",
            "\"use strict\"; 1",
            "function f() {} f()",
        ] {
            assert_eq!(check(source), Ok(()), "{source}");
        }
    }

    #[test]
    fn a_syntax_error_is_refused() {
        for source in [
            "G.V(",
            "1 +",
            "function(",
            "'x",
            "var",
            "}",
            "1) + (2",
            "return 1",
        ] {
            let error = check(source).unwrap_err();
            assert!(error.starts_with("SyntaxError"), "{source}: {error}");
        }
        let deep = "(".repeat(1 << 20);
        assert!(check(&deep).is_err());
    }
}
