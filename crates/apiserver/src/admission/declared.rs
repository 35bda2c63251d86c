//! What expressions about requests may refer to, with types: what is wrong with one is told when it is written.
//!
//! **Contract**: pure. What the object of a request and a parameter are like is not known here: `object`, `oldObject` and
//! `params` may be anything.
//! **Not here**: whether a policy fits the kinds that it matches (`policies::status`).
//! **Upstream**: `BuildRequestType`, `BuildNamespaceType` and `CompileCELExpression` of
//! `k8s.io/apiserver/pkg/admission/plugin/cel`; `k8s.io/apiserver/pkg/cel/mutation`.

use crate::cel::{self, Declarations, Declared, Environment, Expression, Kind, Objects, Type};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

/// The type of `variables`, whose fields are known one by one.
const VARIABLES: &str = "kubernetes.variables";
/// The types of variables that are declared.
const KNOWN: [(&str, &str); 4] = [
    ("request", "kubernetes.AdmissionRequest"),
    ("namespaceObject", "kubernetes.Namespace"),
    ("authorizer", "Authorizer"),
    ("authorizer.requestResource", "ResourceCheck"),
];
/// A type a line, with its fields.
const TYPES: &str = "
kubernetes.GroupVersionKind group:string version:string kind:string
kubernetes.GroupVersionResource group:string version:string resource:string
kubernetes.UserInfo username:string uid:string groups:list<string> extra:map<string,list<string>>
kubernetes.AdmissionRequest kind:kubernetes.GroupVersionKind resource:kubernetes.GroupVersionResource subResource:string requestKind:kubernetes.GroupVersionKind requestResource:kubernetes.GroupVersionResource requestSubResource:string name:string namespace:string operation:string userInfo:kubernetes.UserInfo dryRun:bool options:dyn
kubernetes.NamespaceSpec finalizers:list<string>
kubernetes.NamespaceCondition status:string type:string lastTransitionTime:timestamp message:string reason:string
kubernetes.NamespaceStatus conditions:list<kubernetes.NamespaceCondition> phase:string
kubernetes.NamespaceMetadata name:string generateName:string namespace:string labels:map<string,string> annotations:map<string,string> UID:string creationTimestamp:timestamp deletionGracePeriodSeconds:int deletionTimestamp:timestamp generation:int resourceVersion:string finalizers:list<string>
kubernetes.Namespace metadata:kubernetes.NamespaceMetadata spec:kubernetes.NamespaceSpec status:kubernetes.NamespaceStatus
JSONPatch op:string from:string path:string value:dyn
";

static FIELDS: LazyLock<HashMap<&'static str, HashMap<&'static str, Type>>> = LazyLock::new(|| {
    let fields = |line: &'static str| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        let field = |word: &'static str| word.split_once(':').map(|(name, ty)| (name, Type::parse(ty)));
        Some((name, words.filter_map(field).collect()))
    };
    TYPES.lines().filter_map(fields).collect()
});

/// The fields of what a request consists of, and of what expressions make.
pub(crate) struct OfRequests;

impl Objects for OfRequests {
    fn field(&self, object: &str, field: &str) -> Option<Type> {
        // What is made may have any field; that is told when it is merged.
        if object == "Object" || object.starts_with("Object.") {
            return Some(Type::Dyn);
        }
        FIELDS.get(object)?.get(field).cloned()
    }
}

/// What is known of the variables that an expression about a request may refer to, `object` and its like aside.
pub(crate) fn of_request() -> BTreeMap<String, Arc<Declared>> {
    let declared = |ty: &'static str| Arc::new(Declared::of(Type::parse(ty)));
    KNOWN.iter().map(|(name, ty)| ((*name).to_owned(), declared(ty))).collect()
}

/// What an expression must be worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Anything,
    Bool,
    String,
    StringOrNull,
    /// `Object{…}`
    Configuration,
    /// `[JSONPatch{…}]`
    Patch,
}

impl Wanted {
    fn types(self) -> Vec<Type> {
        match self {
            Self::Anything => Vec::new(),
            Self::Bool => vec![Type::Bool],
            Self::String => vec![Type::String],
            Self::StringOrNull => vec![Type::String, Type::Null],
            Self::Configuration => vec![Type::Object("Object".into())],
            Self::Patch => vec![Type::list(Type::Object("JSONPatch".into()))],
        }
    }
}

/// What the expressions of one webhook or policy may refer to.
#[derive(Clone, Debug)]
pub(crate) struct Variables {
    environment: Environment,
    variables: BTreeMap<String, Arc<Declared>>,
}

impl Variables {
    pub(crate) fn of(environment: Environment) -> Self {
        Self { environment, variables: of_request() }
    }

    /// The same without an authorizer.
    pub(crate) fn without_authorizer(&self) -> Self {
        let mut known = self.clone();
        known.environment.variables.retain(|name| !name.starts_with("authorizer"));
        known.variables.retain(|name, _| !name.starts_with("authorizer"));
        known
    }

    /// Declares that there are variables of the author's, of which none is known yet.
    pub(crate) fn compose(&mut self) {
        let none = Arc::new(Declared::of(Type::Object(VARIABLES.into())));
        self.variables.insert("variables".to_owned(), none);
    }

    /// Adds one of them.
    pub(crate) fn add(&mut self, name: &str, ty: Type) {
        self.environment.composed.insert(name.to_owned());
        self.variables.insert(format!("variables.{name}"), Arc::new(Declared::of(ty)));
    }

    /// The type of an expression.
    ///
    /// # Errors
    /// What is wrong with it, in upstream's words.
    pub(crate) fn check(&self, source: &str, wanted: Wanted) -> Result<Type, String> {
        let declared = Declarations { objects: &OfRequests, variables: self.variables.clone() };
        let checked = cel::check(source, &declared).transpose();
        let checked = checked.map_err(|why| format!("compilation failed: {why}"))?;
        Expression::compile(source, &self.environment, Kind::Any)?;
        let ty = checked.map_or(Type::Dyn, |checked| checked.ty);
        match wanted.types().as_slice() {
            [] => Ok(ty),
            types if types.contains(&ty) => Ok(ty),
            [one] => Err(format!("must evaluate to {} but got {}", runtime_name(one), runtime_name(&ty))),
            many => {
                let names: Vec<String> = many.iter().map(runtime_name).collect();
                Err(format!("must evaluate to one of [{}] but got {}", names.join(" "), runtime_name(&ty)))
            }
        }
    }
}

/// What a type is called as a value.
fn runtime_name(ty: &Type) -> String {
    match ty {
        Type::Null => "null_type".to_owned(),
        Type::Timestamp => "google.protobuf.Timestamp".to_owned(),
        Type::Duration => "google.protobuf.Duration".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        let mut environment = Environment::of(&["object", "oldObject", "params"]);
        environment.variables.extend(KNOWN.map(|(name, _)| name.to_owned()));
        environment.constructs = true;
        let mut known = Variables::of(environment);
        known.compose();
        known.add("count", Type::Int);
        known.add("names", Type::list(Type::String));
        known
    }

    #[test]
    fn expressions_that_are_right_have_their_type() {
        use Wanted::{Anything, Bool, Configuration, Patch, String, StringOrNull};
        let table = [
            ("object.spec.replicas > 1 && oldObject == null", Bool, "bool"),
            ("has(object.spec) ? object.spec.a == 'x' : params.b in ['y']", Bool, "bool"),
            ("request.userInfo.groups.exists(g, g == 'system:masters')", Bool, "bool"),
            ("request.?userInfo.?extra['x'].orValue([]).size() > 0 || request.dryRun", Bool, "bool"),
            ("!(request.operation in ['CREATE', 'UPDATE']) && request.options.dryRun == []", Bool, "bool"),
            ("authorizer.group('').resource('pods').check('get').allowed()", Bool, "bool"),
            ("authorizer.requestResource.check('x').reason()", String, "string"),
            ("namespaceObject.metadata.labels[?'a'].hasValue()", Bool, "bool"),
            ("variables.count > 1 && variables.names[0] == 'x'", Bool, "bool"),
            ("'%s of %d'.format([object.metadata.name, variables.count])", String, "string"),
            ("object.x == 1 ? 'a' : 'b'", StringOrNull, "string"),
            ("object.metadata.labels.transformMapEntry(k, v, {v: k})", Anything, "map(dyn, dyn)"),
            ("null", StringOrNull, "null"),
            ("object.spec", Anything, "dyn"),
            ("[object.x, 1]", Anything, "list(dyn)"),
            ("object.x ? object.y : true", Anything, "dyn"),
            ("object.x ? true : object.y", Anything, "dyn"),
            ("Object{spec: Object.spec{replicas: object.spec.replicas + 1}}", Configuration, "Object"),
            (
                "object.x == 1 ? Object{} : Object{metadata: Object.metadata{labels: {'a': 'b'}}}",
                Configuration,
                "Object",
            ),
            (
                "[JSONPatch{op: 'add', path: '/a/' + jsonpatch.escapeKey('b'), value: {'c': 1}}]",
                Patch,
                "list(JSONPatch)",
            ),
            ("object.x.map(n, JSONPatch{op: 'remove', path: n})", Patch, "list(JSONPatch)"),
            (
                "[JSONPatch{op: 'add'}] + (object.x == 1 ? [] : [JSONPatch{op: 'test', value: 1}])",
                Patch,
                "list(JSONPatch)",
            ),
        ];
        for (source, wanted, ty) in table {
            assert_eq!(
                variables().check(source, wanted).map(|ty| ty.to_string()),
                Ok(ty.to_owned()),
                "{source}"
            );
        }
    }

    #[test]
    fn what_is_wrong_with_an_expression_is_told_with_its_place() {
        use Wanted::{Bool, Configuration, Patch, String, StringOrNull};
        let table = [
            (
                "request.nope == 'x'",
                Bool,
                "compilation failed: ERROR: <input>:1:8: undefined field 'nope'\n | request.nope == 'x'\n | .......^",
            ),
            (
                "request.userInfo.username > 1",
                Bool,
                "found no matching overload for '_>_' applied to '(string, int)'",
            ),
            ("namespaceObject.metadata.nope == 'x'", Bool, "1:25: undefined field 'nope'"),
            ("variables.other == 1", Bool, "1:10: undefined field 'other'"),
            (
                "variables.count == 'x'",
                Bool,
                "found no matching overload for '_==_' applied to '(int, string)'",
            ),
            ("authorizer.nope('x')", Bool, "undeclared reference to 'nope'"),
            ("nope == 1", Bool, "undeclared reference to 'nope'"),
            ("object.spec.paused", Bool, "must evaluate to bool but got dyn"),
            ("1 + 1", Bool, "must evaluate to bool but got int"),
            ("object.metadata.name.size()", String, "must evaluate to string but got int"),
            ("1", StringOrNull, "must evaluate to one of [string null_type] but got int"),
            ("{'spec': 1}", Configuration, "must evaluate to Object but got map(string, int)"),
            ("Object.spec{}", Configuration, "must evaluate to Object but got Object.spec"),
            ("[]", Patch, "must evaluate to list(JSONPatch) but got list(dyn)"),
            ("JSONPatch{op: 'add'}", Patch, "must evaluate to list(JSONPatch) but got JSONPatch"),
            (
                "[JSONPatch{op: 1}]",
                Patch,
                "expected type of field 'op' is 'string' but provided type is 'int'",
            ),
            ("[JSONPatch{nope: 1}]", Patch, "undefined field 'nope'"),
        ];
        for (source, wanted, told) in table {
            let why = variables().check(source, wanted).expect_err(source);
            assert!(why.contains(told), "{source}: {why}");
        }
        assert!(
            variables()
                .without_authorizer()
                .check("authorizer.path('/x').check('get').allowed()", Bool)
                .is_err()
        );
    }
}
