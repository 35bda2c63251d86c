//! Types of expressions: how they are called, what fits what, and the functions by the types of their arguments.
//!
//! **Contract**: pure. A type that is not known ([`Type::Dyn`]) fits every other.
//! **Upstream**: cel-go's `common/types` and `checker/types.go`; the declarations of its standard library and of
//! `k8s.io/apiserver/pkg/cel/library`.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// What is known of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Nothing.
    Dyn,
    /// Nothing yet: what an empty list holds.
    Open,
    /// `null`
    Null,
    /// `bool`
    Bool,
    /// `int`
    Int,
    /// `uint`
    Uint,
    /// `double`
    Double,
    /// `string`
    String,
    /// `bytes`
    Bytes,
    /// `google.protobuf.Timestamp`
    Timestamp,
    /// `google.protobuf.Duration`
    Duration,
    /// A type: the value of `type(x)`.
    Meta,
    /// A list of these.
    List(Arc<Self>),
    /// A map with such keys and values.
    Map(Arc<Self>, Arc<Self>),
    /// `optional_type`
    Optional(Arc<Self>),
    /// An object with fields, by its name.
    Object(Arc<str>),
    /// What only functions know.
    Opaque(&'static str),
    /// A parameter of a declaration.
    Param(u8),
}

impl Type {
    /// A list of these.
    pub fn list(item: Self) -> Self {
        Self::List(Arc::new(item))
    }

    /// A map of strings to these.
    pub fn map(value: Self) -> Self {
        Self::Map(Arc::new(Self::String), Arc::new(value))
    }

    /// The type of this name: `list<string>`, `kubernetes.UserInfo`.
    pub fn parse(name: &'static str) -> Self {
        parse(&mut &*name)
    }

    /// Whether its values may be anything.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Dyn | Self::Open)
    }

    fn is_nullable(&self) -> bool {
        matches!(
            self,
            Self::Object(_) | Self::Timestamp | Self::Duration | Self::Optional(_) | Self::Opaque(_)
        )
    }
}

impl std::fmt::Display for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dyn | Self::Open => f.write_str("dyn"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Duration => f.write_str("duration"),
            Self::Meta => f.write_str("type"),
            Self::List(item) => write!(f, "list({item})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Optional(value) => write!(f, "optional_type({value})"),
            Self::Object(name) => f.write_str(name),
            Self::Opaque(name) => f.write_str(name),
            Self::Param(letter) => write!(f, "{}", char::from(*letter)),
        }
    }
}

/// What the parameters of a declaration stand for.
#[derive(Default)]
struct Bound(HashMap<u8, Type>);

impl Bound {
    /// Whether a value of a type can be given where another is declared.
    fn fits(&mut self, declared: &Type, given: &Type) -> bool {
        match (declared, given) {
            (Type::Param(letter), given) => match self.0.get(letter).cloned() {
                None | Some(Type::Open) => {
                    self.0.insert(*letter, given.clone());
                    true
                }
                Some(bound) if matches!(bound, Type::Null) && given.is_nullable() => {
                    self.0.insert(*letter, given.clone());
                    true
                }
                Some(bound) => self.narrowed(*letter, &bound, given),
            },
            (declared, given) if declared.is_open() || given.is_open() => true,
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.fits(a, b),
            (Type::Map(ak, av), Type::Map(bk, bv)) => self.fits(ak, bk) && self.fits(av, bv),
            (declared, Type::Null) => declared.is_nullable() || *declared == Type::Null,
            (declared, given) => declared == given,
        }
    }

    /// Like [`Self::fits`] for what a parameter stands for already; what is open in that is known afterwards.
    fn narrowed(&mut self, letter: u8, bound: &Type, given: &Type) -> bool {
        let fits = self.fits(bound, given) || self.fits(given, bound);
        if fits {
            self.0.insert(letter, general(bound, given));
        }
        fits
    }

    fn of(&self, ty: &Type) -> Type {
        match ty {
            Type::Param(letter) => self.0.get(letter).cloned().unwrap_or(Type::Dyn),
            Type::List(item) => Type::list(self.of(item)),
            Type::Optional(value) => Type::Optional(Arc::new(self.of(value))),
            Type::Map(key, value) => Type::Map(Arc::new(self.of(key)), Arc::new(self.of(value))),
            other => other.clone(),
        }
    }
}

/// What is said of values of either of two types that fit one another.
pub(super) fn general(a: &Type, b: &Type) -> Type {
    match (a, b) {
        (Type::Open | Type::Null, other) | (other, Type::Open | Type::Null) => other.clone(),
        (Type::Dyn, _) | (_, Type::Dyn) => Type::Dyn,
        (Type::List(a), Type::List(b)) => Type::list(general(a, b)),
        (Type::Optional(a), Type::Optional(b)) => Type::Optional(Arc::new(general(a, b))),
        (Type::Map(ak, av), Type::Map(bk, bv)) => {
            Type::Map(Arc::new(general(ak, bk)), Arc::new(general(av, bv)))
        }
        (a, _) => a.clone(),
    }
}

/// Whether values of one type can be used as those of another.
pub(super) fn fits(declared: &Type, given: &Type) -> bool {
    Bound::default().fits(declared, given)
}

/// What a call can be.
#[derive(Debug)]
struct Overload {
    /// Whether the first argument is what the function is called on.
    member: bool,
    arguments: Vec<Type>,
    result: Type,
}

/// The type of a call's value; `None`: nothing by this name is declared. An error: nothing that takes these arguments.
pub(super) fn resolve(name: &str, member: bool, arguments: &[Type]) -> Option<Result<Type, ()>> {
    let overloads = DECLARED.get(name)?;
    let mut found: Option<Type> = None;
    for overload in overloads {
        if overload.member != member || overload.arguments.len() != arguments.len() {
            continue;
        }
        let mut bound = Bound::default();
        if overload.arguments.iter().zip(arguments).all(|(declared, given)| bound.fits(declared, given)) {
            let result = bound.of(&overload.result);
            found = Some(match found {
                Some(before) if before != result => Type::Dyn,
                _ => result,
            });
        }
    }
    Some(found.ok_or(()))
}

static DECLARED: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
    let lines = FUNCTIONS.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next()?;
            Some((name, words.filter_map(overload).collect()))
        })
        .collect()
});

/// `string.(int)bool`, `(A,A)bool`.
fn overload(text: &'static str) -> Option<Overload> {
    let (before, rest) = text.split_once('(')?;
    let (arguments, result) = rest.split_once(')')?;
    let target = before.strip_suffix('.').map(|target| parse(&mut &*target));
    let mut list: Vec<Type> = target.clone().into_iter().collect();
    let mut rest = arguments;
    while !rest.is_empty() {
        list.push(parse(&mut rest));
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(Overload { member: target.is_some(), arguments: list, result: parse(&mut &*result) })
}

fn parse(text: &mut &'static str) -> Type {
    let end = text.find(['<', '>', ',']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    *text = rest;
    let mut inner: Vec<Type> = Vec::new();
    if let Some(rest) = text.strip_prefix('<') {
        *text = rest;
        loop {
            inner.push(parse(text));
            let more = text.starts_with(',');
            *text = text.get(1..).unwrap_or_default();
            if !more {
                break;
            }
        }
    }
    let mut inner = inner.into_iter();
    let mut next = || Arc::new(inner.next().unwrap_or(Type::Dyn));
    match name {
        "null" => Type::Null,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        "type" => Type::Meta,
        "list" => Type::List(next()),
        "map" => Type::Map(next(), next()),
        "opt" => Type::Optional(next()),
        "A" | "B" => Type::Param(name.as_bytes()[0]),
        "IP" => Type::Opaque("net.IP"),
        "CIDR" => Type::Opaque("net.CIDR"),
        "URL" => Type::Opaque("kubernetes.URL"),
        "Quantity" => Type::Opaque("kubernetes.Quantity"),
        "Semver" => Type::Opaque("kubernetes.Semver"),
        "Format" => Type::Opaque("kubernetes.NamedFormat"),
        "Authorizer" => Type::Opaque("kubernetes.authorization.Authorizer"),
        "PathCheck" => Type::Opaque("kubernetes.authorization.PathCheck"),
        "GroupCheck" => Type::Opaque("kubernetes.authorization.GroupCheck"),
        "ResourceCheck" => Type::Opaque("kubernetes.authorization.ResourceCheck"),
        "Decision" => Type::Opaque("kubernetes.authorization.Decision"),
        name if name.starts_with("kubernetes.") => Type::Object(name.into()),
        _ => Type::Dyn,
    }
}

/// A function a line, with what it takes and gives; a target stands before the parentheses.
const FUNCTIONS: &str = "
_?_:_ (bool,A,A)A
_&&_ (bool,bool)bool
_||_ (bool,bool)bool
!_ (bool)bool
@not_strictly_false (bool)bool
@in (A,list<A>)bool (A,map<A,B>)bool
@mapInsert (map<A,B>,A,B)map<A,B> (map<A,B>,map<A,B>)map<A,B>
_==_ (A,A)bool
_!=_ (A,A)bool
_<_ (bool,bool)bool (int,int)bool (int,double)bool (int,uint)bool (uint,uint)bool (uint,double)bool (uint,int)bool (double,double)bool (double,int)bool (double,uint)bool (string,string)bool (bytes,bytes)bool (timestamp,timestamp)bool (duration,duration)bool
_<=_ (bool,bool)bool (int,int)bool (int,double)bool (int,uint)bool (uint,uint)bool (uint,double)bool (uint,int)bool (double,double)bool (double,int)bool (double,uint)bool (string,string)bool (bytes,bytes)bool (timestamp,timestamp)bool (duration,duration)bool
_>_ (bool,bool)bool (int,int)bool (int,double)bool (int,uint)bool (uint,uint)bool (uint,double)bool (uint,int)bool (double,double)bool (double,int)bool (double,uint)bool (string,string)bool (bytes,bytes)bool (timestamp,timestamp)bool (duration,duration)bool
_>=_ (bool,bool)bool (int,int)bool (int,double)bool (int,uint)bool (uint,uint)bool (uint,double)bool (uint,int)bool (double,double)bool (double,int)bool (double,uint)bool (string,string)bool (bytes,bytes)bool (timestamp,timestamp)bool (duration,duration)bool
_+_ (int,int)int (uint,uint)uint (double,double)double (string,string)string (bytes,bytes)bytes (list<A>,list<A>)list<A> (timestamp,duration)timestamp (duration,timestamp)timestamp (duration,duration)duration
_-_ (int,int)int (uint,uint)uint (double,double)double (timestamp,timestamp)duration (timestamp,duration)timestamp (duration,duration)duration
_*_ (int,int)int (uint,uint)uint (double,double)double
_/_ (int,int)int (uint,uint)uint (double,double)double
_%_ (int,int)int (uint,uint)uint
-_ (int)int (double)double
_[_] (list<A>,int)A (map<A,B>,A)B (opt<list<A>>,int)opt<A> (opt<map<A,B>>,A)opt<B>
_[?_] (list<A>,int)opt<A> (map<A,B>,A)opt<B> (opt<list<A>>,int)opt<A> (opt<map<A,B>>,A)opt<B>
size (string)int (bytes)int (list<A>)int (map<A,B>)int string.()int bytes.()int list<A>.()int map<A,B>.()int
contains string.(string)bool
startsWith string.(string)bool
endsWith string.(string)bool
matches string.(string)bool (string,string)bool
bool (bool)bool (string)bool
bytes (bytes)bytes (string)bytes
double (double)double (int)double (uint)double (string)double
int (int)int (uint)int (double)int (string)int (timestamp)int
uint (uint)uint (int)uint (double)uint (string)uint
string (string)string (bool)string (int)string (uint)string (double)string (bytes)string (timestamp)string (duration)string (IP)string (CIDR)string
timestamp (timestamp)timestamp (string)timestamp (int)timestamp
duration (duration)duration (string)duration
dyn (A)dyn
type (A)type
getDate timestamp.()int timestamp.(string)int
getDayOfMonth timestamp.()int timestamp.(string)int
getDayOfWeek timestamp.()int timestamp.(string)int
getDayOfYear timestamp.()int timestamp.(string)int
getFullYear timestamp.()int timestamp.(string)int
getHours timestamp.()int timestamp.(string)int duration.()int
getMilliseconds timestamp.()int timestamp.(string)int duration.()int
getMinutes timestamp.()int timestamp.(string)int duration.()int
getMonth timestamp.()int timestamp.(string)int
getSeconds timestamp.()int timestamp.(string)int duration.()int
optional.of (A)opt<A>
optional.ofNonZeroValue (A)opt<A>
optional.none ()opt<A>
hasValue opt<A>.()bool
value opt<A>.()A
or opt<A>.(opt<A>)opt<A>
orValue opt<A>.(A)A
charAt string.(int)string
indexOf string.(string)int string.(string,int)int list<A>.(A)int
lastIndexOf string.(string)int string.(string,int)int list<A>.(A)int
lowerAscii string.()string
upperAscii string.()string
replace string.(string,string)string string.(string,string,int)string
split string.(string)list<string> string.(string,int)list<string>
substring string.(int)string string.(int,int)string
trim string.()string
reverse string.()string list<A>.()list<A>
join list<string>.()string list<string>.(string)string
find string.(string)string
findAll string.(string)list<string> string.(string,int)list<string>
format string.(list<dyn>)string
strings.quote (string)string
isSorted list<A>.()bool
sum list<A>.()A
min list<A>.()A
max list<A>.()A
distinct list<A>.()list<A>
slice list<A>.(int,int)list<A>
first list<A>.()opt<A>
last list<A>.()opt<A>
lists.range (int)list<int>
sort list<A>.()list<A>
sets.contains (list<A>,list<A>)bool
sets.equivalent (list<A>,list<A>)bool
sets.intersects (list<A>,list<A>)bool
base64.encode (bytes)string
base64.decode (string)bytes
url (string)URL
isURL (string)bool
getScheme URL.()string
getHost URL.()string
getHostname URL.()string
getPort URL.()string
getEscapedPath URL.()string
getQuery URL.()map<string,list<string>>
ip (string)IP CIDR.()IP
isIP (string)bool
ip.isCanonical (string)bool
family IP.()int
isUnspecified IP.()bool
isLoopback IP.()bool
isLinkLocalMulticast IP.()bool
isLinkLocalUnicast IP.()bool
isGlobalUnicast IP.()bool
cidr (string)CIDR
isCIDR (string)bool
containsIP CIDR.(IP)bool CIDR.(string)bool
containsCIDR CIDR.(CIDR)bool CIDR.(string)bool
masked CIDR.()CIDR
prefixLength CIDR.()int
quantity (string)Quantity
isQuantity (string)bool
isInteger Quantity.()bool
asInteger Quantity.()int
asApproximateFloat Quantity.()double
sign Quantity.()int
add Quantity.(Quantity)Quantity Quantity.(int)Quantity
sub Quantity.(Quantity)Quantity Quantity.(int)Quantity
isLessThan Quantity.(Quantity)bool Semver.(Semver)bool
isGreaterThan Quantity.(Quantity)bool Semver.(Semver)bool
compareTo Quantity.(Quantity)int Semver.(Semver)int
semver (string)Semver (string,bool)Semver
isSemver (string)bool (string,bool)bool
major Semver.()int
minor Semver.()int
patch Semver.()int
format.named (string)opt<Format>
format.dns1123Label ()Format
format.dns1123Subdomain ()Format
format.dns1035Label ()Format
format.qualifiedName ()Format
format.dns1123LabelPrefix ()Format
format.dns1123SubdomainPrefix ()Format
format.dns1035LabelPrefix ()Format
format.labelValue ()Format
format.uri ()Format
format.uuid ()Format
format.byte ()Format
format.date ()Format
format.datetime ()Format
validate Format.(string)opt<list<string>>
jsonpatch.escapeKey (string)string
path Authorizer.(string)PathCheck
group Authorizer.(string)GroupCheck
serviceAccount Authorizer.(string,string)Authorizer
resource GroupCheck.(string)ResourceCheck
subresource ResourceCheck.(string)ResourceCheck
namespace ResourceCheck.(string)ResourceCheck
name ResourceCheck.(string)ResourceCheck
fieldSelector ResourceCheck.(string)ResourceCheck
labelSelector ResourceCheck.(string)ResourceCheck
check PathCheck.(string)Decision ResourceCheck.(string)Decision
allowed Decision.()bool
reason Decision.()string
errored Decision.()bool
error Decision.()string
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_the_type_of_what_is_declared_for_their_arguments() {
        let (int, string, strings) = (Type::Int, Type::String, Type::list(Type::String));
        let table: [(&str, bool, Vec<Type>, Option<&str>); 14] = [
            ("_+_", false, vec![int.clone(), int.clone()], Some("int")),
            ("_+_", false, vec![int.clone(), string.clone()], None),
            ("_+_", false, vec![Type::list(Type::Open), strings.clone()], Some("list(string)")),
            ("_==_", false, vec![int.clone(), Type::Double], None),
            ("_<_", false, vec![int.clone(), Type::Double], Some("bool")),
            ("_==_", false, vec![Type::Dyn, string.clone()], Some("bool")),
            ("_==_", false, vec![Type::Null, Type::Object("x".into())], Some("bool")),
            ("_==_", false, vec![int.clone(), Type::Null], None),
            ("@in", false, vec![string.clone(), Type::map(int.clone())], Some("bool")),
            ("@in", false, vec![int.clone(), strings.clone()], None),
            ("split", true, vec![string.clone(), string.clone()], Some("list(string)")),
            ("contains", false, vec![string.clone(), string.clone()], None),
            ("orValue", true, vec![Type::Optional(Arc::new(int.clone())), int.clone()], Some("int")),
            ("_[?_]", false, vec![Type::map(strings), string], Some("optional_type(list(string))")),
        ];
        for (name, member, arguments, wanted) in table {
            let found = resolve(name, member, &arguments).expect("it is declared");
            assert_eq!(found.ok().map(|ty| ty.to_string()).as_deref(), wanted, "{name} {arguments:?}");
        }
        assert!(resolve("nope", false, &[int]).is_none());
    }

    #[test]
    fn what_is_declared_is_known() {
        for name in DECLARED.keys().filter(|name| !name.contains('.')) {
            assert!(super::super::functions::is_known(name), "{name}");
        }
    }
}
