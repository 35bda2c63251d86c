//! What is done to a parsed expression before it is evaluated.
//!
//! **Contract**: names are checked; loops are metered; `a.b` becomes `a['b']` and `a.?b` becomes `a[?'b']`, which the
//! interpreter answers with upstream's errors; variables with dots (`variables.x`, `authorizer.requestResource`) become
//! one name; constructed objects become maps; loops with two variables go over pairs.

use super::functions::{self, BUDGET, TICK};
use super::{Environment, Kind, MAX_DEPTH, two_variables};
use kube_cel::cel::common::ast::operators as op;
use kube_cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, IdedExpr, ListExpr, LiteralValue,
    MapEntryExpr, MapExpr, SelectExpr,
};

/// Marks what kind of object a constructed map is.
pub(super) const TYPE_KEY: &str = "@type";

/// Why an expression cannot be evaluated.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Error {
    Undeclared(String),
    TooDeep,
}

/// The expression as it is evaluated.
pub(super) fn rewrite(expression: IdedExpr, environment: &Environment) -> Result<IdedExpr, Error> {
    Rewriter { environment, locals: Vec::new() }.expression(expression, 0)
}

/// What kind of value the expression has, as far as its outermost operator tells.
pub(super) fn result_kind(expression: &IdedExpr) -> Option<Kind> {
    match &expression.expr {
        Expr::Literal(LiteralValue::Boolean(_)) => Some(Kind::Bool),
        Expr::Literal(LiteralValue::String(_)) => Some(Kind::String),
        Expr::Literal(_) | Expr::List(_) | Expr::Map(_) | Expr::Struct(_) => Some(Kind::Any),
        Expr::Select(select) if select.test => Some(Kind::Bool),
        Expr::Comprehension(loops) => match &loops.accu_init.expr {
            Expr::Literal(LiteralValue::Boolean(_)) => Some(Kind::Bool),
            Expr::List(_) | Expr::Map(_) => Some(Kind::Any),
            _ => None,
        },
        Expr::Call(call) => match call.func_name.as_str() {
            op::CONDITIONAL => result_kind(call.args.get(1)?),
            op::LOGICAL_AND | op::LOGICAL_OR | op::LOGICAL_NOT | op::EQUALS | op::NOT_EQUALS | op::IN => {
                Some(Kind::Bool)
            }
            op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS => Some(Kind::Bool),
            "startsWith" | "endsWith" | "contains" | "matches" => Some(Kind::Bool),
            op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO | op::NEGATE | "size" | "int" => {
                Some(Kind::Any)
            }
            op::ADD => call.args.iter().find_map(result_kind),
            "string" | "format" | "lowerAscii" | "upperAscii" | "trim" | "join" => Some(Kind::String),
            _ => None,
        },
        _ => None,
    }
}

struct Rewriter<'a> {
    environment: &'a Environment,
    /// The variables of the loops around.
    locals: Vec<Local>,
}

struct Local {
    name: String,
    /// The pair that it is in, and where.
    within: Option<(String, usize)>,
}

impl Local {
    fn plain(name: &str) -> Self {
        Self { name: name.to_owned(), within: None }
    }
}

fn node(expr: Expr) -> IdedExpr {
    IdedExpr { id: 0, expr }
}

fn ident(name: &str) -> IdedExpr {
    node(Expr::Ident(name.to_owned()))
}

fn text(text: &str) -> IdedExpr {
    node(Expr::Literal(LiteralValue::String(text.into())))
}

fn number(value: usize) -> IdedExpr {
    node(Expr::Literal(LiteralValue::Int(i64::try_from(value).unwrap_or(i64::MAX).into())))
}

fn call(name: &str, target: Option<IdedExpr>, args: Vec<IdedExpr>) -> IdedExpr {
    node(Expr::Call(CallExpr { func_name: name.to_owned(), target: target.map(Box::new), args }))
}

impl Rewriter<'_> {
    fn is_local(&self, name: &str) -> bool {
        self.local(name).is_some()
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|local| local.name == name)
    }

    fn all(&mut self, list: Vec<IdedExpr>, depth: usize) -> Result<Vec<IdedExpr>, Error> {
        list.into_iter().map(|expression| self.expression(expression, depth)).collect()
    }

    fn expression(&mut self, expression: IdedExpr, depth: usize) -> Result<IdedExpr, Error> {
        if depth > MAX_DEPTH {
            return Err(Error::TooDeep);
        }
        let depth = depth + 1;
        let expr = match expression.expr {
            Expr::Ident(name) => {
                if let Some(local) = self.local(&name) {
                    return Ok(match &local.within {
                        Some((pair, at)) => call(op::INDEX, None, vec![ident(pair), number(*at)]),
                        None => ident(&name),
                    });
                }
                let declared =
                    self.environment.variables.contains(&name) || functions::TYPES.contains(&name.as_str());
                return if declared { Ok(ident(&name)) } else { Err(Error::Undeclared(name)) };
            }
            Expr::Select(select) => return self.select(select, depth),
            Expr::Call(called) => return self.call(called, depth),
            Expr::List(list) => Expr::List(ListExpr::new_with_optionals(
                self.all(list.elements, depth)?,
                list.optional_indices,
            )),
            Expr::Map(map) => Expr::Map(MapExpr { entries: self.entries(map.entries, depth)? }),
            Expr::Struct(object) => {
                if !self.environment.constructs || !is_constructible(&object.type_name) {
                    return Err(Error::Undeclared(object.type_name));
                }
                let mut entries = self.entries(object.entries, depth)?;
                entries.push(entry(text(TYPE_KEY), text(&object.type_name), false));
                Expr::Map(MapExpr { entries })
            }
            Expr::Comprehension(loops) => return self.comprehension(*loops, depth),
            expr @ (Expr::Literal(_) | Expr::Unspecified) => expr,
        };
        Ok(IdedExpr { id: expression.id, expr })
    }

    /// The name of a variable that has a dot in it.
    fn dotted(&self, select: &SelectExpr) -> Option<String> {
        let Expr::Ident(holder) = &select.operand.expr else { return None };
        let name = format!("{holder}.{}", select.field);
        let known = match holder.as_str() {
            "variables" => true,
            "authorizer" => select.field == "requestResource",
            _ => false,
        };
        (known && !self.is_local(holder)).then_some(name)
    }

    fn select(&mut self, select: SelectExpr, depth: usize) -> Result<IdedExpr, Error> {
        if let Some(name) = self.dotted(&select) {
            let declared = self.environment.variables.contains(&name)
                || name
                    .strip_prefix("variables.")
                    .is_some_and(|name| self.environment.composed.contains(name));
            return match (declared, select.test) {
                (true, true) => Ok(node(Expr::Literal(LiteralValue::Boolean(true.into())))),
                (true, false) => Ok(ident(&name)),
                (false, _) => Err(Error::Undeclared(name)),
            };
        }
        let operand = self.expression(*select.operand, depth)?;
        if select.test {
            let operand = Box::new(operand);
            return Ok(node(Expr::Select(SelectExpr { operand, field: select.field, test: true })));
        }
        Ok(self.index(operand, text(&select.field)))
    }

    /// What a map has for a key; maps that are total have something for every key.
    fn index(&self, operand: IdedExpr, key: IdedExpr) -> IdedExpr {
        if !self.is_total(&operand) {
            return call(op::INDEX, None, vec![operand, key]);
        }
        let known = call(op::IN, None, vec![key.clone(), operand.clone()]);
        let empty = node(Expr::Map(MapExpr { entries: Vec::new() }));
        call(op::CONDITIONAL, None, vec![known, call(op::INDEX, None, vec![operand, key]), empty])
    }

    fn is_total(&self, operand: &IdedExpr) -> bool {
        let Expr::Call(called) = &operand.expr else { return false };
        let [holder, field] = called.args.as_slice() else { return false };
        match (&holder.expr, &field.expr) {
            (Expr::Ident(holder), Expr::Literal(LiteralValue::String(field))) => {
                called.func_name == op::INDEX
                    && !self.is_local(holder)
                    && self.environment.total.contains(&format!("{holder}.{}", field.inner()))
            }
            _ => false,
        }
    }

    fn call(&mut self, called: CallExpr, depth: usize) -> Result<IdedExpr, Error> {
        let name = called.func_name;
        if let (Some(target), [variable, _]) = (&called.target, called.args.as_slice())
            && matches!(name.as_str(), "optMap" | "optFlatMap")
            && let Expr::Ident(variable) = &variable.expr
        {
            let (target, variable) = ((**target).clone(), variable.clone());
            let body = called.args.into_iter().nth(1).unwrap_or_default();
            return self.optional_map(target, variable, body, name == "optMap", depth);
        }
        // Functions with a dot in their name are called as if on a variable.
        if let Some(target) = &called.target
            && let Expr::Ident(prefix) = &target.expr
            && functions::is_qualified(&format!("{prefix}.{name}"))
            && !self.is_local(prefix)
        {
            let args = self.all(called.args, depth)?;
            return Ok(call(&name, Some(ident(prefix)), args));
        }
        if !functions::is_known(&name) {
            return Err(Error::Undeclared(name));
        }
        let target = called.target.map(|target| self.expression(*target, depth)).transpose()?;
        let mut args = self.all(called.args, depth)?;
        if name == op::INDEX && args.len() == 2 {
            let key = args.pop().unwrap_or_default();
            let operand = args.pop().unwrap_or_default();
            return Ok(self.index(operand, key));
        }
        let name = if name == op::OPT_SELECT { op::OPT_INDEX } else { &name };
        Ok(call(name, target, args))
    }

    /// `a.optMap(x, f)`: `f` of what is in an optional value, if there is something.
    fn optional_map(
        &mut self,
        target: IdedExpr,
        variable: String,
        body: IdedExpr,
        wraps: bool,
        depth: usize,
    ) -> Result<IdedExpr, Error> {
        let target = self.expression(target, depth)?;
        self.locals.push(Local::plain(&variable));
        let body = self.expression(body, depth);
        self.locals.pop();
        let body = body?;
        let optional = |name: &str, args| call(name, Some(ident("optional")), args);
        let bound = node(Expr::Comprehension(Box::new(ComprehensionExpr {
            iter_range: node(Expr::List(ListExpr::default())),
            iter_var: "@unused".to_owned(),
            iter_var2: None,
            accu_var: variable.clone(),
            accu_init: call("value", Some(target.clone()), Vec::new()),
            loop_cond: node(Expr::Literal(LiteralValue::Boolean(false.into()))),
            loop_step: ident(&variable),
            result: body,
        })));
        let some = if wraps { optional("of", vec![bound]) } else { bound };
        let has = call("hasValue", Some(target), Vec::new());
        Ok(call(op::CONDITIONAL, None, vec![has, some, optional("none", Vec::new())]))
    }

    fn entries(&mut self, entries: Vec<IdedEntryExpr>, depth: usize) -> Result<Vec<IdedEntryExpr>, Error> {
        let rewritten = entries.into_iter().map(|one| {
            let (key, value, optional) = match one.expr {
                EntryExpr::MapEntry(one) => (self.expression(one.key, depth)?, one.value, one.optional),
                EntryExpr::StructField(one) => (text(&one.field), one.value, one.optional),
            };
            Ok(entry(key, self.expression(value, depth)?, optional))
        });
        rewritten.collect()
    }

    fn comprehension(&mut self, loops: ComprehensionExpr, depth: usize) -> Result<IdedExpr, Error> {
        let mut iter_range = self.expression(loops.iter_range, depth)?;
        let accu_init = self.expression(loops.accu_init, depth)?;
        let builds = matches!(accu_init.expr, Expr::List(_) | Expr::Map(_));
        let before = self.locals.len();
        let mut iter_var = loops.iter_var;
        self.locals.push(Local::plain(&loops.accu_var));
        match loops.iter_var2 {
            None => self.locals.push(Local::plain(&iter_var)),
            Some(second) => {
                let pair = format!("@pair{before}");
                for (name, at) in [(iter_var, two_variables::KEY), (second, two_variables::VALUE)] {
                    self.locals.push(Local { name, within: Some((pair.clone(), at)) });
                }
                iter_range = call(two_variables::PAIRS, None, vec![iter_range]);
                iter_var = pair;
            }
        }
        let loop_cond = self.expression(loops.loop_cond, depth)?;
        let loop_step = self.expression(loops.loop_step, depth)?;
        let result = self.expression(loops.result, depth)?;
        self.locals.truncate(before);
        // A list that is built is copied at each step.
        let args = vec![ident(BUDGET), number(weight(&loop_step)), number(usize::from(builds))];
        let metered = call(op::LOGICAL_AND, None, vec![call(TICK, None, args), loop_cond]);
        Ok(node(Expr::Comprehension(Box::new(ComprehensionExpr {
            iter_range,
            iter_var,
            iter_var2: None,
            accu_var: loops.accu_var,
            accu_init,
            loop_cond: metered,
            loop_step,
            result,
        }))))
    }
}

fn entry(key: IdedExpr, value: IdedExpr, optional: bool) -> IdedEntryExpr {
    IdedEntryExpr { id: 0, expr: EntryExpr::MapEntry(MapEntryExpr { key, value, optional }) }
}

fn is_constructible(name: &str) -> bool {
    name == "JSONPatch" || name == "Object" || name.starts_with("Object.")
}

/// How deep an expression is nested.
pub(super) fn levels(expression: &IdedExpr) -> usize {
    let of_entry = |one: &IdedEntryExpr| match &one.expr {
        EntryExpr::MapEntry(one) => levels(&one.key).max(levels(&one.value)),
        EntryExpr::StructField(one) => levels(&one.value),
    };
    let below = match &expression.expr {
        Expr::Call(called) => called.target.as_deref().into_iter().chain(&called.args).map(levels).max(),
        Expr::Select(select) => Some(levels(&select.operand)),
        Expr::List(list) => list.elements.iter().map(levels).max(),
        Expr::Map(map) => map.entries.iter().map(of_entry).max(),
        Expr::Comprehension(loops) => {
            let parts =
                [&loops.iter_range, &loops.accu_init, &loops.loop_cond, &loops.loop_step, &loops.result];
            parts.into_iter().map(levels).max()
        }
        _ => None,
    };
    1 + below.unwrap_or(0)
}

/// The number of steps that an expression takes, loops within it counted once.
fn weight(expression: &IdedExpr) -> usize {
    let of_entry = |one: &IdedEntryExpr| match &one.expr {
        EntryExpr::MapEntry(one) => weight(&one.key) + weight(&one.value),
        EntryExpr::StructField(one) => weight(&one.value),
    };
    1 + match &expression.expr {
        Expr::Call(called) => {
            called.target.as_deref().map_or(0, weight) + called.args.iter().map(weight).sum::<usize>()
        }
        Expr::Select(select) => weight(&select.operand),
        Expr::List(list) => list.elements.iter().map(weight).sum(),
        Expr::Map(map) => map.entries.iter().map(of_entry).sum(),
        Expr::Comprehension(loops) => weight(&loops.iter_range) + weight(&loops.result),
        _ => 0,
    }
}
