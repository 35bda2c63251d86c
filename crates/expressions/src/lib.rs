//! CEL as Kubernetes has it: expressions are compiled once, and evaluated within a budget.
//!
//! **Contract**: compiling finds what cannot be parsed and what is not declared; the texts are upstream's as far as the
//! parser allows. Evaluating never panics and never takes longer than its budget of steps allows.
//! **Not here**: what expressions are about: who evaluates one says what it may refer to (requests and policies: the API
//! server; devices: the scheduler).
//! **Upstream**: `k8s.io/apiserver/pkg/cel`; the interpreter is `kube-cel` and its `cel`.

mod check;
mod convert;
mod cost;
mod functions;
#[cfg(test)]
mod fuzz;
mod places;
mod rewrite;
#[cfg(test)]
mod tests;
mod two_variables;
mod types;

pub use check::{Checked, Declarations, Declared, Objects};
pub use convert::{check_constructed, constructed_type, from_json, map, quantity, semver, to_json};
pub use functions::all as functions;
pub use kube_cel::cel::{Context, Value};
pub use types::Type;

use kube_cel::cel::ExecutionError;
use kube_cel::cel::common::ast::IdedExpr;
use kube_cel::cel::parser::{ParseErrors, Parser};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

/// Steps that one expression may take. **Upstream**: `PerCallLimit`.
pub const STEPS_PER_EXPRESSION: u64 = 1_000_000;
/// Words that expressions cannot use as names. **Upstream**: `celReserved`.
pub const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];
/// Levels of the deepest expression: a thread's stack must hold its evaluation.
const MAX_DEPTH: usize = 96;
/// Letters of the longest expression.
const MAX_LENGTH: usize = 64 * 1024;
/// Bytes of stack that a parser and its tree may need: both recurse at every operator of the longest expression. Only
/// what is used becomes memory.
const STACK_OF_COMPILER: usize = 512 * 1024 * 1024;
/// Bytes of stack that an evaluation needs anyway, and for each level of an expression; code that is not optimised needs
/// much more.
const STACK_OF_EVALUATION: usize = 128 * 1024;
const STACK_OF_LEVEL: usize = if cfg!(debug_assertions) { 128 * 1024 } else { 32 * 1024 };

/// What an expression may refer to.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Variables: `object`.
    pub variables: BTreeSet<String>,
    /// What is known of `variables`, by name.
    pub composed: BTreeSet<String>,
    /// Whether objects can be made: `Object{…}`, `JSONPatch{…}`.
    pub constructs: bool,
    /// Maps that have an empty map for every key that they lack: `device.attributes`.
    pub total: BTreeSet<String>,
}

impl Environment {
    /// One with these variables.
    pub fn of(variables: &[&str]) -> Self {
        let variables = variables.iter().map(|name| (*name).to_owned()).collect();
        Self { variables, ..Self::default() }
    }

    /// What selectors of devices refer to. **Upstream**: `k8s.io/dynamic-resource-allocation/cel`.
    pub fn of_devices() -> Self {
        let total = ["device.attributes", "device.capacity"].map(str::to_owned);
        Self { total: total.into(), ..Self::of(&["device"]) }
    }
}

/// What the value of an expression must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Anything.
    Any,
    /// True or false.
    Bool,
    /// A text.
    String,
}

/// A compiled expression.
#[derive(Debug)]
pub struct Expression {
    tree: IdedExpr,
    /// Bytes of stack that its evaluation may need.
    stack: usize,
}

impl Expression {
    /// Compiles an expression; what is wrong with it, else.
    pub fn compile(source: &str, environment: &Environment, kind: Kind) -> Result<Self, String> {
        with_parsed(source, |parsed| Self::of_parsed(source, parsed, environment, kind))
    }

    fn of_parsed(
        source: &str,
        parsed: IdedExpr,
        environment: &Environment,
        kind: Kind,
    ) -> Result<Self, String> {
        let found = rewrite::result_kind(&parsed);
        let rewritten = rewrite::rewrite(parsed, environment).map_err(|error| match error {
            rewrite::Error::Undeclared(name) => unparsed_at(
                source,
                position(source, &name),
                &format!("undeclared reference to '{name}' (in container '')"),
            ),
            rewrite::Error::TooDeep => "compilation failed: expression is too complex".to_owned(),
        })?;
        match (kind, found) {
            (Kind::Bool, Some(found)) if found != Kind::Bool => Err("must evaluate to bool".to_owned()),
            (Kind::String, Some(found)) if found != Kind::String => Err("must evaluate to string".to_owned()),
            _ => {
                let stack = STACK_OF_EVALUATION + rewrite::levels(&rewritten) * STACK_OF_LEVEL;
                Ok(Self { tree: rewritten, stack })
            }
        }
    }

    /// The value in a context that has every variable that may be referred to.
    pub fn evaluate(&self, context: &Context<'_>, budget: &Arc<Budget>) -> Result<Value, String> {
        let mut scope = context.new_inner_scope();
        scope.add_variable_from_value(functions::BUDGET, Value::Opaque(Arc::new(budget.expression())));
        // The interpreter recurses at every level, also from one variable to the next.
        let evaluated = stacker::maybe_grow(self.stack, 2 * self.stack, || {
            catch_unwind(AssertUnwindSafe(|| scope.resolve(&self.tree)))
        });
        evaluated
            .unwrap_or_else(|_| Err(ExecutionError::function_error("", "evaluation failed")))
            .map_err(told)
    }
}

/// What is known of an expression by the types of what it refers to; `None` if it cannot be parsed.
pub fn check(source: &str, declared: &Declarations<'_>) -> Option<Result<Checked, String>> {
    with_parsed(source, |parsed| Ok(check::check(source, &parsed, declared))).ok()
}

/// What is made of an expression once it is parsed.
fn with_parsed<T: Send>(
    source: &str,
    make: impl FnOnce(IdedExpr) -> Result<T, String> + Send,
) -> Result<T, String> {
    if source.len() > MAX_LENGTH || depth_of_brackets(source) > MAX_DEPTH {
        return Err("compilation failed: expression is too complex".to_owned());
    }
    // The parser is generated code of others: a panic ends the thread that it has for itself.
    std::thread::scope(|scope| {
        let compiler = std::thread::Builder::new().stack_size(STACK_OF_COMPILER);
        let compiled = compiler.spawn_scoped(scope, || {
            let parsed = Parser::new().enable_optional_syntax(true).parse(source);
            let mut parsed = parsed.map_err(|errors| failed_parse(source, &errors))?;
            two_variables::expand(&mut parsed);
            make(parsed)
        });
        let compiled = compiled.map_err(|error| format!("compilation failed: {error}"))?;
        compiled.join().unwrap_or_else(|_| Err(unparsed(source, "Syntax error")))
    })
}

/// What a group of expressions may cost together.
#[derive(Debug)]
pub struct Budget(Arc<std::sync::atomic::AtomicU64>);

impl Budget {
    /// So many steps.
    pub fn new(steps: u64) -> Arc<Self> {
        Arc::new(Self(Arc::new(steps.into())))
    }

    fn expression(&self) -> functions::Meter {
        functions::Meter::new(Arc::clone(&self.0), STEPS_PER_EXPRESSION)
    }
}

/// A context with the functions, to which variables are added.
pub fn context() -> Context<'static> {
    static ROOT: LazyLock<Context<'static>> = LazyLock::new(functions::all);
    ROOT.new_inner_scope()
}

/// An error of evaluation in upstream's words.
fn told(error: ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("no such key: {key}"),
        ExecutionError::UndeclaredReference(name) => format!("no such attribute(s): {name}"),
        ExecutionError::IndexOutOfBounds(Value::Int(index)) => format!("index out of bounds: {index}"),
        ExecutionError::DivisionByZero(_) => "division by zero".to_owned(),
        ExecutionError::RemainderByZero(_) => "modulus by zero".to_owned(),
        ExecutionError::Overflow(..) => "integer overflow".to_owned(),
        ExecutionError::FunctionError { message, .. } => message,
        _ => "no such overload".to_owned(),
    }
}

fn failed_parse(source: &str, errors: &ParseErrors) -> String {
    let told: Vec<String> = errors
        .errors
        .iter()
        .map(|error| {
            let message = error.msg.strip_prefix("Syntax error: ").unwrap_or(&error.msg);
            described(source, error.pos, &format!("Syntax error: {message}"))
        })
        .collect();
    format!("compilation failed: {}", told.join("\n"))
}

fn unparsed(source: &str, message: &str) -> String {
    unparsed_at(source, (1, 1), message)
}

fn unparsed_at(source: &str, position: (isize, isize), message: &str) -> String {
    format!("compilation failed: {}", described(source, position, message))
}

fn described(source: &str, (line, column): (isize, isize), message: &str) -> String {
    let number = usize::try_from(line - 1).unwrap_or(0);
    let text = source.lines().nth(number).unwrap_or_default();
    let dots = ".".repeat(usize::try_from(column - 1).unwrap_or(0));
    format!("ERROR: <input>:{line}:{column}: {message}\n | {text}\n | {dots}^")
}

/// Line and column of the first mention of a name.
fn position(source: &str, name: &str) -> (isize, isize) {
    let name = name.rsplit('.').next().unwrap_or(name);
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let whole = |at: &usize| {
        let before = source[..*at].chars().next_back().is_some_and(is_part);
        let after = source[at + name.len()..].chars().next().is_some_and(is_part);
        !before && !after
    };
    let at = source.match_indices(name).map(|(at, _)| at).find(whole).unwrap_or(0);
    let line = source[..at].matches('\n').count() + 1;
    let column = at - source[..at].rfind('\n').map_or(0, |end| end + 1) + 1;
    let number = |n: usize| isize::try_from(n).unwrap_or(1);
    (number(line), number(column))
}

/// How deep brackets are nested: the parser must not run out of stack.
fn depth_of_brackets(source: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for c in source.chars() {
        match c {
            '(' | '[' | '{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
