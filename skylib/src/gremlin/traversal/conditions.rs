//! Parameters of steps: values, predicates, and pairs of a key and a value or predicate.

use crate::gremlin::ast::{Param, Predicate};
use crate::value::Text;

/// Pairs of a key and the value that it must have or the predicate that it must satisfy.
///
/// ```
/// use skylib::Traversal;
/// use skylib::gremlin::{Conditions, Predicate};
/// let port = Conditions::of("Type", "veth").and("MTU", Predicate::gte(1500));
/// let text = Traversal::new().v().has_all(port).to_string();
/// assert_eq!(text, "G.V().Has('Type', 'veth', 'MTU', Gte(1500))");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Conditions(Vec<(Text, Param)>);

impl Conditions {
    /// Creates a condition on one key.
    pub fn of(key: impl Into<Text>, value: impl Into<Param>) -> Self {
        Self(vec![(key.into(), value.into())])
    }

    /// Adds a condition.
    #[must_use]
    pub fn and(mut self, key: impl Into<Text>, value: impl Into<Param>) -> Self {
        self.0.push((key.into(), value.into()));
        self
    }

    pub(super) fn into_params(self) -> Vec<Param> {
        let pair = |(key, value)| [Param::Text(key), value];
        self.0.into_iter().flat_map(pair).collect()
    }

    pub(super) fn into_metadata(self) -> Param {
        Param::Metadata(self.0)
    }
}

impl<K: Into<Text>, V: Into<Param>> From<(K, V)> for Conditions {
    fn from((key, value): (K, V)) -> Self {
        Self::of(key, value)
    }
}

/// Filter of a step that moves to other elements: elements that have a key, or that satisfy all
/// conditions.
///
/// ```
/// use skylib::Traversal;
/// let g = Traversal::new;
/// assert_eq!(g().v().out_where("State").to_string(), "G.V().Out('State')");
/// assert_eq!(g().v().out_where(("State", "UP")).to_string(), "G.V().Out('State', 'UP')");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Only {
    /// Elements that have a key.
    Having(Text),
    /// Elements that satisfy all conditions.
    All(Conditions),
}

impl Only {
    pub(super) fn into_params(self) -> Vec<Param> {
        match self {
            Self::Having(key) => vec![Param::Text(key)],
            Self::All(conditions) => conditions.into_params(),
        }
    }
}

impl From<&str> for Only {
    fn from(key: &str) -> Self {
        Self::Having(key.into())
    }
}

impl<K: Into<Text>, V: Into<Param>> From<(K, V)> for Only {
    fn from(pair: (K, V)) -> Self {
        Self::All(pair.into())
    }
}

impl From<Conditions> for Only {
    fn from(conditions: Conditions) -> Self {
        Self::All(conditions)
    }
}

macro_rules! params {
    ($($type:ty => $variant:ident,)*) => {
        $(impl From<$type> for Param {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        })*
    };
}

params! {
    &str => Text,
    String => Text,
    Text => Text,
    i64 => Int,
    i32 => Int,
    u32 => Int,
    f64 => Float,
    bool => Bool,
}

/// Constructors of predicate parameters for [`Traversal`](super::Traversal).
///
/// ```
/// use skylib::gremlin::Predicate;
/// for (predicate, text) in [
///     (Predicate::ne("UP"), "Ne('UP')"),
///     (Predicate::nee("UP"), "Nee('UP')"),
///     (Predicate::lt(3), "Lt(3)"),
///     (Predicate::lte(3), "Lte(3)"),
///     (Predicate::gt(3), "Gt(3)"),
///     (Predicate::gte(3), "Gte(3)"),
///     (Predicate::inside(1, 9), "Inside(1, 9)"),
///     (Predicate::outside(1, 9), "Outside(1, 9)"),
///     (Predicate::between(1, 9), "Between(1, 9)"),
///     (Predicate::within(["veth", "tun"]), "Within('veth', 'tun')"),
///     (Predicate::without([1, 2]), "Without(1, 2)"),
///     (Predicate::regex("eth.*"), "Regex('eth.*')"),
///     (Predicate::ipv4_range("192.0.2.0/24"), "Ipv4Range('192.0.2.0/24')"),
///     (Predicate::ipv6_range("2001:db8::/32"), "Ipv6Range('2001:db8::/32')"),
/// ] {
///     assert_eq!(predicate.to_string(), text);
/// }
/// ```
impl Predicate {
    /// Creates `Ne`: the key is present and its value differs.
    pub fn ne(value: impl Into<Param>) -> Param {
        Param::Predicate(Self::Ne, vec![value.into()])
    }

    /// Creates `Nee`: the value differs, or the key is absent.
    pub fn nee(value: impl Into<Param>) -> Param {
        Param::Predicate(Self::Nee, vec![value.into()])
    }

    /// Creates `Lt`: less than a number.
    pub fn lt(value: impl Into<Param>) -> Param {
        Param::Predicate(Self::Lt, vec![value.into()])
    }

    /// Creates `Lte`: less than or equal to a number.
    pub fn lte(value: impl Into<Param>) -> Param {
        Param::Predicate(Self::Lte, vec![value.into()])
    }

    /// Creates `Gt`: greater than a number.
    pub fn gt(value: impl Into<Param>) -> Param {
        Param::Predicate(Self::Gt, vec![value.into()])
    }

    /// Creates `Gte`: greater than or equal to a number.
    pub fn gte(value: impl Into<Param>) -> Param {
        Param::Predicate(Self::Gte, vec![value.into()])
    }

    /// Creates `Inside`: between two bounds, both excluded.
    pub fn inside(from: impl Into<Param>, to: impl Into<Param>) -> Param {
        Param::Predicate(Self::Inside, vec![from.into(), to.into()])
    }

    /// Creates `Outside`: below the first or above the second bound.
    pub fn outside(from: impl Into<Param>, to: impl Into<Param>) -> Param {
        Param::Predicate(Self::Outside, vec![from.into(), to.into()])
    }

    /// Creates `Between`: between two bounds, the first included and the second excluded.
    pub fn between(from: impl Into<Param>, to: impl Into<Param>) -> Param {
        Param::Predicate(Self::Between, vec![from.into(), to.into()])
    }

    /// Creates `Within`: equal to one of the values.
    pub fn within<P: Into<Param>>(values: impl IntoIterator<Item = P>) -> Param {
        Param::Predicate(Self::Within, values.into_iter().map(Into::into).collect())
    }

    /// Creates `Without`: equal to none of the values.
    pub fn without<P: Into<Param>>(values: impl IntoIterator<Item = P>) -> Param {
        Param::Predicate(Self::Without, values.into_iter().map(Into::into).collect())
    }

    /// Creates `Regex`: the entire string matches a regular expression.
    pub fn regex(pattern: impl Into<Text>) -> Param {
        Param::Predicate(Self::Regex, vec![Param::Text(pattern.into())])
    }

    /// Creates `Ipv4Range`: an address inside a network (`address/length`).
    pub fn ipv4_range(network: impl Into<Text>) -> Param {
        Param::Predicate(Self::Ipv4Range, vec![Param::Text(network.into())])
    }

    /// Creates `Ipv6Range`: an address inside a network (`address/length`).
    pub fn ipv6_range(network: impl Into<Text>) -> Param {
        Param::Predicate(Self::Ipv6Range, vec![Param::Text(network.into())])
    }
}
