//! Expressions of the API server: `expressions`, with the functions that ask its authorizer.
//!
//! **Not here**: what expressions are about: variables of a request and of policies are in `admission`.
//! **Upstream**: `k8s.io/apiserver/pkg/cel`.

pub(crate) mod authorizer;
mod conditions;

pub(crate) use conditions::{Compiled, Conditions};
pub(crate) use expressions::{
    Budget, Checked, Context, Declarations, Declared, Environment, Expression, Kind, Objects, RESERVED,
    STEPS_PER_EXPRESSION, Type, Value, check, check_constructed, constructed_type, from_json, to_json,
};

use std::sync::LazyLock;

/// A context with the functions, to which variables are added.
pub(crate) fn context() -> Context<'static> {
    static ROOT: LazyLock<Context<'static>> = LazyLock::new(|| {
        let mut root = expressions::functions();
        authorizer::register(&mut root);
        root
    });
    ROOT.new_inner_scope()
}
