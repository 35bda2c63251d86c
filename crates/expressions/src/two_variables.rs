//! Macros with two variables: `m.all(k, v, p)`, `exists`, `existsOne`, `transformList`, `transformMap`,
//! `transformMapEntry`.
//!
//! **Contract**: `expand` makes them comprehensions with `iter_var2`, as the parser makes the others; what is not written
//! as one of them stays a call, which nobody knows. The interpreter knows loops of one variable only: `pairs` is what is
//! looped over, and [`VALUE`] and [`KEY`] are where the variables are in each item.
//! **Upstream**: `cel-go/ext/comprehensions.go`.

use kube_cel::cel::common::ast::operators as op;
use kube_cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr,
};
use kube_cel::cel::extractors::Arguments;
use kube_cel::cel::objects::{Key, Map};
use kube_cel::cel::{ExecutionError, ResolveResult, Value};
use std::sync::Arc;

/// A map with one entry more, or with those of another map.
pub(super) const INSERT: &str = "@mapInsert";
/// What a loop with two variables goes over.
pub(super) const PAIRS: &str = "@pairs";
/// Places in a pair.
pub(super) const KEY: usize = 0;
pub(super) const VALUE: usize = 1;
/// As the parser's own macros name it.
const RESULT: &str = "@result";

/// Expands the macros in an expression.
pub(super) fn expand(expression: &mut IdedExpr) {
    match &mut expression.expr {
        Expr::Call(called) => {
            called.target.as_deref_mut().into_iter().chain(&mut called.args).for_each(expand);
        }
        Expr::Select(select) => expand(&mut select.operand),
        Expr::List(list) => list.elements.iter_mut().for_each(expand),
        Expr::Map(MapExpr { entries }) => entries.iter_mut().for_each(|one| expand_entry(&mut one.expr)),
        Expr::Struct(object) => object.entries.iter_mut().for_each(|one| expand_entry(&mut one.expr)),
        Expr::Comprehension(loops) => {
            let loops = &mut **loops;
            for part in [
                &mut loops.iter_range,
                &mut loops.accu_init,
                &mut loops.loop_cond,
                &mut loops.loop_step,
                &mut loops.result,
            ] {
                expand(part);
            }
        }
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
    }
    let id = expression.id;
    if let Expr::Call(called) = &mut expression.expr
        && let Some(loops) = comprehension(id, called)
    {
        expression.expr = Expr::Comprehension(Box::new(loops));
    }
}

fn expand_entry(entry: &mut EntryExpr) {
    match entry {
        EntryExpr::MapEntry(entry) => {
            expand(&mut entry.key);
            expand(&mut entry.value);
        }
        EntryExpr::StructField(field) => expand(&mut field.value),
    }
}

/// The loop that a call stands for, if it stands for one.
fn comprehension(id: u64, called: &mut CallExpr) -> Option<ComprehensionExpr> {
    let node = |expr| IdedExpr { id, expr };
    let call =
        |name: &str, args| node(Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args }));
    let result = || node(Expr::Ident(RESULT.to_owned()));
    let literal = |value: bool| node(Expr::Literal(LiteralValue::Boolean(value.into())));
    let number = |value: i64| node(Expr::Literal(LiteralValue::Int(value.into())));

    let filtered = match (called.func_name.as_str(), called.args.len()) {
        ("all" | "exists" | "existsOne" | "transformList" | "transformMap" | "transformMapEntry", 3) => false,
        ("transformList" | "transformMap" | "transformMapEntry", 4) => true,
        _ => return None,
    };
    let variable = |at: usize| match &called.args.get(at)?.expr {
        Expr::Ident(name) => Some(name.clone()),
        _ => None,
    };
    let (first, second) = (variable(0)?, variable(1)?);
    let is_entry = called.args.last().is_some_and(|last| match &last.expr {
        Expr::Map(map) => map.entries.len() == 1,
        _ => false,
    });
    if called.func_name == "transformMapEntry" && !is_entry {
        return None;
    }
    let iter_range = *called.target.take()?;
    let body = called.args.pop()?;
    let filter = called.args.pop().filter(|_| filtered);

    let (accu_init, loop_cond, step) = match called.func_name.as_str() {
        "all" => (
            literal(true),
            call(op::NOT_STRICTLY_FALSE, vec![result()]),
            call(op::LOGICAL_AND, vec![result(), body]),
        ),
        "exists" => (
            literal(false),
            call(op::NOT_STRICTLY_FALSE, vec![call(op::LOGICAL_NOT, vec![result()])]),
            call(op::LOGICAL_OR, vec![result(), body]),
        ),
        "existsOne" => {
            let more = call(op::ADD, vec![result(), number(1)]);
            (number(0), literal(true), call(op::CONDITIONAL, vec![body, more, result()]))
        }
        "transformList" => {
            let item = node(Expr::List(ListExpr::new(vec![body])));
            (node(Expr::List(ListExpr::default())), literal(true), call(op::ADD, vec![result(), item]))
        }
        name => {
            let args = match name {
                "transformMap" => vec![result(), node(Expr::Ident(first.clone())), body],
                _ => vec![result(), body],
            };
            (node(Expr::Map(MapExpr { entries: Vec::new() })), literal(true), call(INSERT, args))
        }
    };
    let loop_step = match filter {
        Some(filter) => call(op::CONDITIONAL, vec![filter, step, result()]),
        None => step,
    };
    let result = match called.func_name.as_str() {
        "existsOne" => call(op::EQUALS, vec![result(), number(1)]),
        _ => result(),
    };
    Some(ComprehensionExpr {
        iter_range,
        iter_var: first,
        iter_var2: Some(second),
        accu_var: RESULT.to_owned(),
        accu_init,
        loop_cond,
        loop_step,
        result,
    })
}

/// `[[key, value], …]` of a map in the order of its keys, `[[index, item], …]` of a list.
pub(super) fn pairs(of: Value) -> ResolveResult {
    let pair = |key: Value, value: Value| Value::List(Arc::new(vec![key, value]));
    let list: Vec<Value> = match of {
        Value::List(items) => {
            let numbered = (0i64..).zip(items.iter());
            numbered.map(|(index, item)| pair(index.into(), item.clone())).collect()
        }
        Value::Map(map) => {
            let mut entries: Vec<_> = map.map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            entries.into_iter().map(|(key, value)| pair(key.into(), value.clone())).collect()
        }
        _ => return Err(ExecutionError::NoSuchOverload),
    };
    Ok(Value::List(Arc::new(list)))
}

/// `@mapInsert(map, key, value)`, `@mapInsert(map, map)`.
pub(super) fn insert(Arguments(arguments): Arguments) -> ResolveResult {
    match arguments.as_slice() {
        [map, key, value] => {
            let key: Key = key.clone().try_into().map_err(|_| ExecutionError::NoSuchOverload)?;
            with(map, [(key, value.clone())])
        }
        [map, Value::Map(entries)] => {
            with(map, entries.map.iter().map(|(key, value)| (key.clone(), value.clone())))
        }
        _ => Err(ExecutionError::NoSuchOverload),
    }
}

fn with(map: &Value, entries: impl IntoIterator<Item = (Key, Value)>) -> ResolveResult {
    let Value::Map(map) = map else { return Err(ExecutionError::NoSuchOverload) };
    let mut all = (*map.map).clone();
    for (key, value) in entries {
        if all.contains_key(&key) {
            let message = format!("insert failed: key {key} already exists");
            return Err(ExecutionError::function_error(INSERT, message));
        }
        all.insert(key, value);
    }
    Ok(Value::Map(Map { map: Arc::new(all) }))
}
