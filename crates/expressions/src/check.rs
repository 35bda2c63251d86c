//! What can be told of an expression before it is evaluated: fields that do not exist, operands that do not fit, and what
//! it may cost at most.
//!
//! **Contract**: pure; all errors are found, each where it is. Only what is certainly wrong is told: what is not known fits
//! everything.
//! **Not here**: which names may be used at all (`rewrite`).
//! **Upstream**: cel-go's `checker/checker.go` and `checker/cost.go`, as `k8s.io/apiserver/pkg/cel/environment` sets them up.

use super::cost::{self, Operand, Parts, Range};
use super::types::{Type, fits, general, resolve};
use super::{MAX_DEPTH, functions, places};
use kube_cel::cel::common::ast::operators as op;
use kube_cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr, SelectExpr,
    StructExpr, StructFieldExpr,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How it is told that the items of a list are of different kinds.
const MIXED: &str = "expected type";

/// What is declared of a variable or a field.
#[derive(Clone, Debug)]
pub struct Declared {
    /// Its type.
    pub ty: Type,
    /// Characters, items or entries that there can be.
    pub most: u64,
    /// The same of items, or of values.
    pub item: Option<Arc<Self>>,
    /// The same of fields.
    pub fields: BTreeMap<String, Arc<Self>>,
}

impl Declared {
    /// Something of which only the type is known.
    pub fn of(ty: Type) -> Self {
        Self { ty, most: u64::MAX, item: None, fields: BTreeMap::new() }
    }
}

/// The fields of objects.
pub trait Objects: Send + Sync {
    /// The type of a field; `None`: there is no such field.
    fn field(&self, object: &str, field: &str) -> Option<Type>;
}

/// What an expression may refer to, with types.
pub struct Declarations<'a> {
    /// The fields of objects.
    pub objects: &'a dyn Objects,
    /// By name; a dot may be in it: `variables.x`.
    pub variables: BTreeMap<String, Arc<Declared>>,
}

/// What is known of an expression that is right.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The type of its value.
    pub ty: Type,
    /// What it costs at most.
    pub cost: u64,
}

/// Checks a parsed expression; all that is wrong with it, else, in upstream's words.
pub(super) fn check(source: &str, parsed: &IdedExpr, declared: &Declarations<'_>) -> Result<Checked, String> {
    let mut checker = Checker { declared, locals: Vec::new(), wrong: Vec::new(), depth: 0 };
    let found = checker.infer(parsed);
    if checker.wrong.is_empty() {
        return Ok(Checked { ty: found.ty, cost: found.cost.max });
    }
    let places = places::Places::of(source, parsed);
    let mut told: Vec<((isize, isize), String)> =
        checker.wrong.into_iter().map(|(id, message)| (places.of_expression(id), message)).collect();
    told.sort();
    told.dedup();
    let told: Vec<String> = told.iter().map(|(at, message)| super::described(source, *at, message)).collect();
    Err(told.join("\n"))
}

/// A subexpression.
struct Found {
    ty: Type,
    cost: Range,
    size: Option<Range>,
    /// Where it is found in what is declared.
    declared: Option<Arc<Declared>>,
    parts: Option<Parts>,
}

impl Found {
    fn new(ty: Type, cost: Range) -> Self {
        Self { size: cost::of_type(&ty), ty, cost, declared: None, parts: None }
    }

    /// After an error, whatever is said of it fits.
    fn unknown() -> Self {
        Self::new(Type::Dyn, Range::ZERO)
    }

    fn at(declared: &Arc<Declared>, cost: Range) -> Self {
        let size = Some(Range::up_to(declared.most));
        Self { ty: declared.ty.clone(), cost, size, declared: Some(Arc::clone(declared)), parts: None }
    }

    fn operand(&self) -> Operand<'_> {
        let declared = || {
            let item = self.declared.as_ref()?.item.as_ref()?;
            Some(Range::up_to(item.most))
        };
        let item = self.parts.map(|parts| parts.value).or_else(declared);
        Operand { ty: &self.ty, cost: self.cost, size: self.size, item }
    }

    fn size(&self) -> Range {
        self.size.unwrap_or(Range::UNKNOWN)
    }
}

struct Local {
    name: String,
    ty: Type,
    size: Option<Range>,
    declared: Option<Arc<Declared>>,
    parts: Option<Parts>,
}

struct Checker<'a> {
    declared: &'a Declarations<'a>,
    locals: Vec<Local>,
    wrong: Vec<(u64, String)>,
    depth: usize,
}

impl Checker<'_> {
    fn refuse(&mut self, id: u64, message: String) -> Found {
        self.wrong.push((id, message));
        Found::unknown()
    }

    fn infer(&mut self, expression: &IdedExpr) -> Found {
        if self.depth > MAX_DEPTH {
            return Found::unknown();
        }
        self.depth += 1;
        let found = match &expression.expr {
            Expr::Literal(literal) => of_literal(literal),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => self.select(expression.id, select),
            Expr::Call(call) => self.call(expression.id, call),
            Expr::List(list) => self.list(list),
            Expr::Map(map) => self.map(map),
            Expr::Comprehension(loops) => self.comprehension(loops),
            Expr::Struct(object) => self.object(object),
            Expr::Unspecified => Found::unknown(),
        };
        self.depth -= 1;
        found
    }

    fn variable(&mut self, name: &str) -> Found {
        if let Some(local) = self.locals.iter().rev().find(|local| local.name == name) {
            return Found {
                ty: local.ty.clone(),
                cost: Range::ONE,
                size: local.size,
                declared: local.declared.clone(),
                parts: local.parts,
            };
        }
        if let Some(declared) = self.declared.variables.get(name) {
            return Found::at(declared, Range::ONE);
        }
        let ty = if functions::TYPES.contains(&name) { Type::Meta } else { Type::Dyn };
        Found::new(ty, Range::ONE)
    }

    fn select(&mut self, id: u64, select: &SelectExpr) -> Found {
        if let Expr::Ident(holder) = &select.operand.expr {
            let name = format!("{holder}.{}", select.field);
            if self.declared.variables.contains_key(&name) {
                let found = self.variable(&name);
                return if select.test { Found::new(Type::Bool, found.cost) } else { found };
            }
        }
        let operand = self.infer(&select.operand);
        let found = self.field(id, &operand, &select.field);
        if select.test { Found::new(Type::Bool, operand.cost) } else { found }
    }

    /// A field of a value; the cost is of both.
    fn field(&mut self, id: u64, operand: &Found, field: &str) -> Found {
        let (holder, optional) = match &operand.ty {
            Type::Optional(inner) => ((**inner).clone(), true),
            other => (other.clone(), false),
        };
        let cost = match holder {
            Type::Object(_) | Type::Map(..) => operand.cost.plus(Range::ONE),
            _ => operand.cost,
        };
        let below = match &holder {
            Type::Map(..) => operand.declared.as_ref().and_then(|declared| declared.item.clone()),
            _ => operand.declared.as_ref().and_then(|declared| declared.fields.get(field).cloned()),
        };
        let ty = match &holder {
            Type::Object(name) => match self.declared.objects.field(name, field) {
                Some(ty) => ty,
                None => return self.refuse(id, format!("undefined field '{field}'")),
            },
            Type::Map(_, value) => (**value).clone(),
            Type::Dyn | Type::Open => Type::Dyn,
            other => return self.refuse(id, format!("type '{other}' does not support field selection")),
        };
        let mut found = match below {
            Some(declared) => Found::at(&declared, cost),
            None => Found::new(ty.clone(), cost),
        };
        found.ty =
            if optional && !matches!(ty, Type::Optional(_)) { Type::Optional(Arc::new(ty)) } else { ty };
        found
    }

    fn call(&mut self, id: u64, call: &CallExpr) -> Found {
        let name = call.func_name.as_str();
        if name == op::OPT_SELECT {
            return self.optional_select(id, call);
        }
        if let (Some(target), "optMap" | "optFlatMap", [variable, body]) =
            (&call.target, name, call.args.as_slice())
        {
            return self.optional_map(target, variable, body, name == "optMap");
        }
        // Functions with a dot in their name are called as if on a variable.
        let mut name = name.to_owned();
        let mut target = call.target.as_deref();
        if let Some(Expr::Ident(holder)) = target.map(|target| &target.expr) {
            let qualified = format!("{holder}.{name}");
            if !self.locals.iter().any(|local| local.name == *holder) && functions::is_qualified(&qualified) {
                (name, target) = (qualified, None);
            }
        }
        let target = target.map(|target| self.infer(target));
        let args: Vec<Found> = call.args.iter().map(|arg| self.infer(arg)).collect();
        if name == "format"
            && let Some(Expr::List(list)) = call.args.first().map(|list| &list.expr)
        {
            // What is put into a text may be of different kinds.
            let items: Vec<u64> = list.elements.iter().map(|element| element.id).collect();
            self.wrong.retain(|(id, why)| !(items.contains(id) && why.starts_with(MIXED)));
        }
        let types: Vec<Type> = target.iter().chain(&args).map(|found| found.ty.clone()).collect();
        let ty = match resolve(&name, target.is_some(), &types) {
            None => Type::Dyn,
            Some(Ok(ty)) => ty,
            Some(Err(())) => {
                let message = format!(
                    "found no matching overload for '{name}' applied to '{}'",
                    applied(&types, target.is_some())
                );
                return self.refuse(id, message);
            }
        };
        let operands: Vec<Operand<'_>> = args.iter().map(Found::operand).collect();
        let operand = target.as_ref().map(Found::operand);
        let (own, size) = cost::of_call(&name, operand.as_ref(), &operands);
        let mut found = Found::new(ty, own.plus(target.as_ref().map_or(Range::ZERO, |target| target.cost)));
        found.size = size.or(found.size);
        match (name.as_str(), args.as_slice()) {
            ("dyn", [arg]) => (found.size, found.parts) = (arg.size, arg.parts),
            (op::INDEX | op::OPT_INDEX, [holder, _]) => {
                let item = holder.declared.as_ref().and_then(|declared| declared.item.clone());
                found.size = holder.parts.map(|parts| parts.value);
                found.size = found.size.or(item.as_ref().map(|item| Range::up_to(item.most)));
                found.size = found.size.or_else(|| cost::of_type(&found.ty));
                found.declared = item;
            }
            (op::CONDITIONAL, [_, a, b]) | (op::ADD, [a, b]) => {
                found.parts = a
                    .parts
                    .zip(b.parts)
                    .map(|(a, b)| Parts { key: a.key.or(b.key), value: a.value.or(b.value) });
            }
            _ => {}
        }
        found
    }

    fn optional_select(&mut self, id: u64, call: &CallExpr) -> Found {
        let [operand, field] = call.args.as_slice() else { return Found::unknown() };
        let Expr::Literal(LiteralValue::String(field)) = &field.expr else { return Found::unknown() };
        let operand = self.infer(operand);
        let mut found = self.field(id, &operand, field.inner());
        found.cost = operand.cost.plus(Range::ONE);
        if !matches!(found.ty, Type::Optional(_)) {
            found.ty = Type::Optional(Arc::new(found.ty));
        }
        found
    }

    /// `x.optMap(v, body)`: the body of the value, if there is one.
    fn optional_map(
        &mut self,
        target: &IdedExpr,
        variable: &IdedExpr,
        body: &IdedExpr,
        wraps: bool,
    ) -> Found {
        let target = self.infer(target);
        let Expr::Ident(name) = &variable.expr else { return Found::unknown() };
        let ty = match &target.ty {
            Type::Optional(value) => (**value).clone(),
            _ => Type::Dyn,
        };
        let (declared, size, parts) = (target.declared.clone(), target.size, target.parts);
        self.locals.push(Local { name: name.clone(), ty, size, declared, parts });
        let mut found = self.infer(body);
        self.locals.pop();
        found.cost = found.cost.plus(target.cost).plus(Range::ONE);
        if wraps {
            found.ty = Type::Optional(Arc::new(found.ty));
        }
        found
    }

    /// The type that all items have, which are of one kind in Kubernetes.
    fn joined(&mut self, id: u64, known: Type, next: &Type) -> Type {
        if fits(&known, next) || fits(next, &known) {
            return general(&known, next);
        }
        self.wrong.push((id, format!("{MIXED} '{known}' but found '{next}'")));
        known
    }

    fn list(&mut self, list: &ListExpr) -> Found {
        let (mut item, mut sum, mut value) = (Type::Open, Range::exactly(cost::LIST), None::<Range>);
        for (index, element) in list.elements.iter().enumerate() {
            let found = self.infer(element);
            sum = sum.plus(found.cost);
            value = Some(value.map_or(found.size(), |value| value.or(found.size())));
            let ty = match &found.ty {
                Type::Optional(inner) if list.optional_indices.contains(&index) => (**inner).clone(),
                other => other.clone(),
            };
            item = self.joined(element.id, item, &ty);
        }
        let parts = Parts { key: Range::ONE, value: value.unwrap_or(Range::ZERO) };
        let size = Some(Range::exactly(list.elements.len() as u64));
        Found { ty: Type::list(item), cost: sum, size, declared: None, parts: Some(parts) }
    }

    /// An object that is made: `Object{…}`.
    fn object(&mut self, object: &StructExpr) -> Found {
        let mut sum = Range::exactly(cost::OBJECT);
        for entry in &object.entries {
            let EntryExpr::StructField(StructFieldExpr { field, value, optional }) = &entry.expr else {
                continue;
            };
            let found = self.infer(value);
            sum = sum.plus(found.cost);
            let given = match found.ty {
                Type::Optional(inner) if *optional => (*inner).clone(),
                other => other,
            };
            let why = match self.declared.objects.field(&object.type_name, field) {
                None => format!("undefined field '{field}'"),
                Some(ty) if !fits(&ty, &given) => {
                    format!("expected type of field '{field}' is '{ty}' but provided type is '{given}'")
                }
                Some(_) => continue,
            };
            self.wrong.push((value.id, why));
        }
        Found::new(Type::Object(object.type_name.as_str().into()), sum)
    }

    fn map(&mut self, map: &MapExpr) -> Found {
        let (mut key, mut value, mut sum) = (Type::Open, Type::Open, Range::exactly(cost::MAP));
        let (mut keys, mut values) = (None::<Range>, None::<Range>);
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
            let (k, v) = (self.infer(&entry.key), self.infer(&entry.value));
            sum = sum.plus(k.cost).plus(v.cost);
            keys = Some(keys.map_or(k.size(), |keys| keys.or(k.size())));
            values = Some(values.map_or(v.size(), |values| values.or(v.size())));
            key = self.joined(entry.key.id, key, &k.ty);
            let ty = match &v.ty {
                Type::Optional(inner) if entry.optional => (**inner).clone(),
                other => other.clone(),
            };
            value = self.joined(entry.value.id, value, &ty);
        }
        let parts = Parts { key: keys.unwrap_or(Range::ZERO), value: values.unwrap_or(Range::ZERO) };
        let size = Some(Range::exactly(map.entries.len() as u64));
        let ty = Type::Map(Arc::new(key), Arc::new(value));
        Found { ty, cost: sum, size, declared: None, parts: Some(parts) }
    }

    fn comprehension(&mut self, loops: &ComprehensionExpr) -> Found {
        let range = self.infer(&loops.iter_range);
        let init = self.infer(&loops.accu_init);
        let below = range.declared.as_ref().and_then(|declared| declared.item.clone());
        let of_item = |ty: Type| Local {
            name: String::new(),
            size: (range.parts.map(|parts| parts.value))
                .or(below.as_ref().map(|below| Range::up_to(below.most)))
                .or_else(|| cost::of_type(&ty)),
            ty,
            declared: below.clone(),
            parts: None,
        };
        let of_key = |ty: Type| Local {
            name: String::new(),
            size: (range.parts.map(|parts| parts.key))
                .or(range.declared.as_ref().map(|_| Range::ZERO))
                .or_else(|| cost::of_type(&ty)),
            ty,
            declared: None,
            parts: None,
        };
        let (mut first, mut second) = match &range.ty {
            Type::List(item) if loops.iter_var2.is_some() => {
                (of_key(Type::Int), Some(of_item((**item).clone())))
            }
            Type::List(item) => (of_item((**item).clone()), None),
            Type::Map(key, value) => (of_key((**key).clone()), Some(of_item((**value).clone()))),
            Type::Dyn | Type::Open => (of_item(Type::Dyn), Some(of_item(Type::Dyn))),
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.wrong.push((loops.iter_range.id, message));
                (of_item(Type::Dyn), Some(of_item(Type::Dyn)))
            }
        };
        let before = self.locals.len();
        let builds = matches!(init.ty, Type::List(_) | Type::Map(..));
        let (ty, size) = (init.ty.clone(), init.size.filter(|_| !builds));
        self.locals.push(Local { name: loops.accu_var.clone(), ty, size, declared: None, parts: init.parts });
        first.name = loops.iter_var.clone();
        self.locals.push(first);
        if let (Some(name), Some(mut local)) = (&loops.iter_var2, second.take()) {
            local.name.clone_from(name);
            self.locals.push(local);
        }
        let condition = self.infer(&loops.loop_cond);
        let step = self.infer(&loops.loop_step);
        self.locals.truncate(before + 1);
        if builds && let Some(accumulated) = self.locals.last_mut() {
            accumulated.ty = step.ty.clone();
        }
        let result = self.infer(&loops.result);
        self.locals.truncate(before);
        let turns = range.size().times(condition.cost.plus(step.cost));
        let sum = range.cost.plus(init.cost).plus(result.cost).plus(turns);
        let mut found = Found::new(result.ty, sum);
        if builds {
            found.size = Some(range.size());
            found.parts = step.parts;
        }
        found
    }
}

fn of_literal(literal: &LiteralValue) -> Found {
    let (ty, size) = match literal {
        LiteralValue::Boolean(_) => (Type::Bool, 1),
        LiteralValue::Int(_) => (Type::Int, 1),
        LiteralValue::UInt(_) => (Type::Uint, 1),
        LiteralValue::Double(_) => (Type::Double, 1),
        LiteralValue::Null => (Type::Null, 1),
        LiteralValue::String(text) => (Type::String, text.inner().chars().count() as u64),
        LiteralValue::Bytes(bytes) => (Type::Bytes, bytes.inner().len() as u64),
    };
    let mut found = Found::new(ty, Range::ZERO);
    found.size = Some(Range::exactly(size));
    found
}

/// `string.(int)`, `(int, string)`.
fn applied(types: &[Type], member: bool) -> String {
    let names = |types: &[Type]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match types.split_first() {
        Some((target, rest)) if member => format!("{target}.({})", names(rest)),
        _ => format!("({})", names(types)),
    }
}
