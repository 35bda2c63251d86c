//! What an expression may cost at most, from the sizes that a schema allows.
//!
//! **Contract**: pure; what is not known is as large as can be. Sums and products stop at the greatest number.
//! **Upstream**: cel-go's `checker/cost.go` with the sizes of `k8s.io/apiserver/pkg/cel/library/cost.go`: which rules a
//! definition may have depends on these numbers, so they are upstream's.

use super::types::Type;

/// What looking at a character of a string costs. **Upstream**: `StringTraversalCostFactor`.
const TRAVERSAL: f64 = 0.1;
/// What a character of a regular expression costs. **Upstream**: `RegexStringLengthCostFactor`.
const PATTERN: f64 = 0.25;
/// Letters of the longest number or time.
const LONGEST_NUMBER: u64 = 32;
/// What asking the authorizer costs.
const CHECK: u64 = 350_000;
pub(super) const LIST: u64 = 10;
pub(super) const MAP: u64 = 30;
pub(super) const OBJECT: u64 = 40;

/// From so much to so much: steps, or elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Range {
    pub min: u64,
    pub max: u64,
}

impl Range {
    pub(super) const UNKNOWN: Self = Self { min: 0, max: u64::MAX };
    pub(super) const ZERO: Self = Self::exactly(0);
    pub(super) const ONE: Self = Self::exactly(1);

    pub(super) const fn exactly(number: u64) -> Self {
        Self { min: number, max: number }
    }

    pub(super) const fn up_to(max: u64) -> Self {
        Self { min: 0, max }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    pub(super) fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    fn by(self, factor: f64) -> Self {
        // A float that is too large becomes the greatest number.
        let by = |number: u64| (number as f64 * factor).ceil() as u64;
        Self { min: by(self.min), max: by(self.max) }
    }
}

/// Sizes of the parts of a list or map.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    pub(super) key: Range,
    pub(super) value: Range,
}

/// What a call takes: its type, its size, and those of its parts.
#[derive(Clone, Debug)]
pub(super) struct Operand<'a> {
    pub(super) ty: &'a Type,
    pub(super) cost: Range,
    pub(super) size: Option<Range>,
    /// The size of an item, if it is a list.
    pub(super) item: Option<Range>,
}

impl Operand<'_> {
    fn size(&self) -> Range {
        self.size.unwrap_or(Range::UNKNOWN)
    }
}

/// The size of a value of which only the type is known.
pub(super) fn of_type(ty: &Type) -> Option<Range> {
    match ty {
        Type::Bool
        | Type::Double
        | Type::Duration
        | Type::Int
        | Type::Null
        | Type::Timestamp
        | Type::Uint => Some(Range::ONE),
        // Kubernetes' own types are compared like these.
        Type::Meta | Type::Opaque(_) => Some(Range::ONE),
        Type::Optional(inner) => of_type(inner),
        _ => None,
    }
}

/// What a call costs, its arguments included and its target not, and the size of its value if it has one of its own.
pub(super) fn of_call(
    name: &str,
    target: Option<&Operand<'_>>,
    args: &[Operand<'_>],
) -> (Range, Option<Range>) {
    let arguments = args.iter().fold(Range::ZERO, |sum, arg| sum.plus(arg.cost));
    match name {
        "_&&_" | "_||_" => {
            let [left, right] = args else { return (arguments, None) };
            return (Range { min: left.cost.min, max: left.cost.max.saturating_add(right.cost.max) }, None);
        }
        "_?_:_" => {
            let [condition, then, other] = args else { return (arguments, None) };
            return (condition.cost.plus(then.cost.or(other.cost)), Some(then.size().or(other.size())));
        }
        _ => {}
    }
    let (own, size) = alone(name, target, args);
    (own.plus(arguments), size)
}

/// Without its arguments.
fn alone(name: &str, target: Option<&Operand<'_>>, args: &[Operand<'_>]) -> (Range, Option<Range>) {
    let of = |at: usize| args.get(at).map_or(Range::UNKNOWN, Operand::size);
    let nominal = (Range::ONE, None);
    let Some(target) = target else {
        return match name {
            "url" => (of(0).by(TRAVERSAL), None),
            "bytes" if args.first().is_some_and(|arg| *arg.ty == Type::String) => {
                let size = of(0);
                (size.by(TRAVERSAL), Some(Range { min: size.min, max: size.max.saturating_mul(4) }))
            }
            "string" if args.first().is_some_and(|arg| *arg.ty == Type::Bytes) => {
                let size = of(0);
                (size.by(TRAVERSAL), Some(Range { min: size.min / 4, max: size.max }))
            }
            "string" => (Range::ONE, Some(Range::up_to(LONGEST_NUMBER))),
            "strings.quote" => {
                let size = of(0);
                let quoted = size.plus(size).plus(Range::exactly(2));
                (size.by(TRAVERSAL), Some(Range { min: size.min.saturating_add(2), max: quoted.max }))
            }
            "sets.contains" | "sets.intersects" => (of(0).times(of(1)).plus(Range::ONE), None),
            "sets.equivalent" => (of(0).times(of(1)).times(Range::exactly(2)).plus(Range::ONE), None),
            "@in" if matches!(args.get(1).map(|arg| arg.ty), Some(Type::List(_) | Type::Dyn)) => {
                (of(1), None)
            }
            "_+_" => match args.first().map(|arg| arg.ty) {
                Some(Type::String | Type::Bytes) => {
                    let size = of(0).plus(of(1));
                    (size.by(TRAVERSAL), Some(size))
                }
                Some(Type::List(_)) => (Range::ONE, Some(of(0).plus(of(1)))),
                _ => nominal,
            },
            "_==_" | "_!=_" => (compared(of(0), of(1)), None),
            "_<_" | "_<=_" | "_>_" | "_>=_"
                if args.iter().any(|arg| matches!(arg.ty, Type::String | Type::Bytes | Type::Dyn)) =>
            {
                (compared(of(0), of(1)), None)
            }
            _ => nominal,
        };
    };
    let size = target.size();
    match name {
        "check" => (Range::exactly(CHECK), None),
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => match target.ty {
            Type::List(item) => {
                let read = match **item {
                    Type::String | Type::Bytes => target.item.unwrap_or(Range::UNKNOWN).by(TRAVERSAL),
                    _ => Range::ZERO,
                };
                (size.times(Range::ONE.plus(read)), None)
            }
            _ => (size.by(TRAVERSAL), None),
        },
        "lowerAscii" | "upperAscii" | "substring" | "trim" => (size.by(TRAVERSAL), Some(size)),
        "replace" => (size.by(2.0 * TRAVERSAL), Some(replaced(size, of(0), of(1)))),
        "split" => (size.by(2.0 * TRAVERSAL), Some(Range::up_to(size.max))),
        "join" => {
            let items = size.times(target.item.unwrap_or(Range::UNKNOWN));
            let between = Range { min: size.min.saturating_sub(1), max: size.max.saturating_sub(1) };
            let separators = args.first().map_or(Range::ZERO, |separator| separator.size().times(between));
            let size = items.plus(separators);
            (size.by(TRAVERSAL), Some(size))
        }
        "find" | "findAll" => {
            (size.plus(Range::ONE).by(TRAVERSAL).times(of(0).by(PATTERN)), Some(Range::up_to(size.max)))
        }
        "matches" => (size.plus(Range::ONE).by(TRAVERSAL).times(of(0).by(PATTERN)), None),
        "contains" => (size.by(TRAVERSAL).times(of(0).by(TRAVERSAL)), None),
        "startsWith" | "endsWith" => (of(0).by(TRAVERSAL), None),
        "format" => (size.by(TRAVERSAL), Some(size.plus(of(0)))),
        "containsIP" | "containsCIDR" => {
            let address = Range { min: 4, max: 16 };
            let mut cost = address.plus(address).by(TRAVERSAL);
            if name == "containsCIDR" {
                cost = cost.plus(address.by(TRAVERSAL)).plus(Range::ONE);
            }
            if args.first().is_some_and(|arg| *arg.ty == Type::String) {
                cost = cost.plus(of(0).by(TRAVERSAL));
            }
            (cost, None)
        }
        _ => nominal,
    }
}

/// Of two values the shorter one is read to its end.
fn compared(left: Range, right: Range) -> Range {
    let max = left.max.min(right.max);
    Range { min: u64::from(max > 0), max }.by(TRAVERSAL)
}

/// The size of a string in which one text takes another's place.
fn replaced(size: Range, old: Range, new: Range) -> Range {
    let (times, kept) = if old.min == 0 {
        (size.max.saturating_add(1), size.max)
    } else if new.max <= old.min {
        (0, size.max)
    } else {
        (size.max.div_ceil(old.min), 0)
    };
    Range::up_to(times.saturating_mul(new.max).saturating_add(kept))
}
