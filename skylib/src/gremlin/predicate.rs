//! Compiles parameters to filters.
//!
//! COMPAT: the error messages are those of Skydive. Most are reported when a query runs, not when
//! it is parsed.

use std::net::IpAddr;
use std::str::FromStr;

use super::ast::{Param, Predicate};
use super::go_format::list;
use crate::filter::{self, Filter, Pattern};
use crate::value::{Text, Value};

/// Returns the filter of `Has`: a single key must be present, or all pairs must match.
pub(super) fn all_of(params: &[Param]) -> Result<Filter, String> {
    some_params(params)?;
    element_filter(params, Filter::All)
}

/// Returns the filter of `HasEither`: a single key must be present, or one pair must match.
pub(super) fn one_of(params: &[Param]) -> Result<Filter, String> {
    some_params(params)?;
    element_filter(params, Filter::Any)
}

/// Returns the optional filter of a walk: as `Has`, or everything if there are no parameters.
pub(super) fn optional(params: &[Param]) -> Result<Filter, String> {
    element_filter(params, Filter::All)
}

/// Returns a filter that matches if at least one of the key-value pairs matches.
pub(super) fn either_pair(params: &[Param]) -> Result<Filter, String> {
    Ok(Filter::Any(
        pairs(params)?
            .map(|pair| test_of(pair?))
            .collect::<Result<_, _>>()?,
    ))
}

/// Returns a filter of pairs that must all match.
pub(super) fn all_pairs(params: &[Param]) -> Result<Filter, String> {
    Ok(Filter::All(
        pairs(params)?
            .map(|pair| test_of(pair?))
            .collect::<Result<_, _>>()?,
    ))
}

/// Returns a filter on flows of pairs that must all match.
pub(super) fn flow_pairs(params: &[Param]) -> Result<Filter, String> {
    Ok(Filter::All(flow_tests(params)?))
}

/// Returns a filter on flows of pairs of which at least one must match.
pub(super) fn either_flow_pair(params: &[Param]) -> Result<Filter, String> {
    Ok(Filter::Any(flow_tests(params)?))
}

/// Returns the filter of `Metadata(…)`: all pairs must be equal.
///
/// COMPAT: a predicate inside matches nothing.
pub(super) fn exactly(pairs: &[(Text, Param)]) -> Filter {
    let test = |(key, literal): &(Text, Param)| equal(key, literal).unwrap_or_else(|_| nothing());
    Filter::All(pairs.iter().map(test).collect())
}

/// Returns a filter that requires a key to be present.
pub(super) fn present(key: &Text) -> Filter {
    Filter::test(key.clone(), filter::Predicate::Present)
}

/// Returns a filter that matches nothing.
fn nothing() -> Filter {
    Filter::everything().negate()
}

fn some_params(params: &[Param]) -> Result<(), String> {
    if params.is_empty() {
        return Err("At least one parameter must be provided".to_owned());
    }
    Ok(())
}

fn element_filter(
    params: &[Param],
    combine: impl Fn(Vec<Filter>) -> Filter,
) -> Result<Filter, String> {
    match params {
        [] => Ok(Filter::everything()),
        [Param::Text(key)] => Ok(present(key)),
        [_] => Err("Key must be a string".to_owned()),
        _ if params.len() % 2 == 1 => Err("params should be a list of key,value".to_owned()),
        _ => Ok(combine(
            pairs(params)?
                .map(|pair| test_of(pair?))
                .collect::<Result<_, _>>()?,
        )),
    }
}

type Pair<'a> = (&'a Text, &'a Param);

fn pairs(params: &[Param]) -> Result<impl Iterator<Item = Result<Pair<'_>, String>>, String> {
    if params.len() < 2 {
        return Err("At least two parameters must be provided".to_owned());
    }
    if params.len() % 2 == 1 {
        return Err(format!(
            "slice must be defined by pair k,v: {}",
            list(params)
        ));
    }
    Ok(params.chunks_exact(2).map(|pair| match &pair[0] {
        Param::Text(key) => Ok((key, &pair[1])),
        _ => Err("keys should be of string type".to_owned()),
    }))
}

fn flow_tests(params: &[Param]) -> Result<Vec<Filter>, String> {
    pairs(params)?
        .map(|pair| {
            let (key, literal) = pair?;
            // A layer alone means either of its ends; with `Ne`, one end has to differ.
            match key.as_str() {
                "Link" | "Network" | "Transport" => {
                    let end = |end: &str| test(&Text::from(format!("{key}.{end}")), literal);
                    Ok(Filter::Any(vec![end("A")?, end("B")?]))
                }
                _ => test(key, literal),
            }
        })
        .collect()
}

/// Returns the filter of one pair on an element: interfaces are found by their alias and alternative
/// names, too, unless the name itself matches.
fn test_of((key, literal): Pair<'_>) -> Result<Filter, String> {
    let is_positive = match literal {
        Param::Text(_) => true,
        Param::Predicate(predicate, _) => {
            matches!(predicate, Predicate::Within | Predicate::Regex)
        }
        _ => false,
    };
    if key != NAME || !is_positive {
        return test(key, literal);
    }
    let tests = [NAME, "Alias", "AltNames"].map(|key| test(&Text::from(key), literal));
    let any = tests.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(Filter::Any(any))
}

/// Key of the name of a node.
const NAME: &str = "Name";

/// Returns the filter of one pair of a key and a literal or predicate.
fn test(key: &Text, literal: &Param) -> Result<Filter, String> {
    use filter::Predicate as Test;
    let Param::Predicate(predicate, params) = literal else {
        return equal(key, literal);
    };
    let is = |test: Test| Filter::test(key.clone(), test);
    let int = |i: usize| params.get(i).and_then(to_int);
    let one_int = || int(0).ok_or_else(|| not_int(&predicate.name().to_ascii_uppercase()));
    let two_ints = || int(0).zip(int(1)).ok_or_else(|| not_int(predicate.name()));
    Ok(match predicate {
        Predicate::Ne => match params.first() {
            Some(Param::Bool(bool)) => is(Test::Bool(!bool)),
            _ => present(key).and(equal(key, first(params)?)?.negate()),
        },
        Predicate::Nee => match params.first() {
            // COMPAT: compared with a boolean, an absent key does not match.
            Some(Param::Bool(bool)) => is(Test::Bool(!bool)),
            _ => equal(key, first(params)?)?.negate(),
        },
        Predicate::Lt => is(Test::Lt(one_int()?)),
        Predicate::Lte => is(Test::Lte(one_int()?)),
        Predicate::Gt => is(Test::Gt(one_int()?)),
        Predicate::Gte => is(Test::Gte(one_int()?)),
        Predicate::Inside => {
            let (from, to) = two_ints()?;
            Filter::All(vec![is(Test::Gt(from)), is(Test::Lt(to))])
        }
        Predicate::Outside => {
            let (from, to) = two_ints()?;
            Filter::Any(vec![is(Test::Lt(from)), is(Test::Gt(to))])
        }
        Predicate::Between => {
            let (from, to) = two_ints()?;
            Filter::All(vec![is(Test::Gte(from)), is(Test::Lt(to))])
        }
        Predicate::Within if params.is_empty() => nothing(),
        Predicate::Within => Filter::Any(members(key, params)?),
        Predicate::Without => Filter::All(
            members(key, params)?
                .into_iter()
                .map(Filter::negate)
                .collect(),
        ),
        Predicate::Regex => is(Test::Regex(pattern(first(params)?)?)),
        Predicate::Ipv4Range => is(Test::Ipv4Range(network(*predicate, first(params)?)?)),
        Predicate::Ipv6Range => is(Test::Ipv6Range(network(*predicate, first(params)?)?)),
    })
}

fn first(params: &[Param]) -> Result<&Param, String> {
    params
        .first()
        .ok_or_else(|| "At least one parameter must be provided".to_owned())
}

fn not_int(name: &str) -> String {
    format!("{name} values should be of int64 type")
}

/// Returns a filter of equality with a literal.
///
/// An IP address is equal in any notation and with any prefix length, a MAC address in either case.
fn equal(key: &Text, literal: &Param) -> Result<Filter, String> {
    let test = match literal {
        Param::Text(text) => return Ok(equal_text(key, text)),
        Param::Bool(bool) => filter::Predicate::Bool(*bool),
        other => filter::Predicate::Int(to_int(other).ok_or_else(|| no_cast(other))?),
    };
    Ok(Filter::test(key.clone(), test))
}

/// Returns a filter of equality with a string.
fn equal_text(key: &Text, text: &Text) -> Filter {
    let is = |text: Text| Filter::test(key.clone(), filter::Predicate::Text(text));
    let (layer, last) = key.rsplit_once('.').unwrap_or(("", key));
    match (layer, last) {
        (_, "IPV4" | "IPV6") => match text.parse::<IpAddr>() {
            Ok(address) => Filter::test(key.clone(), filter::Predicate::Address(address)),
            Err(_) => is(text.clone()),
        },
        // Each common spelling becomes an equality, which an index can answer.
        (_, "MAC") | ("Link" | "ETHERNET", "A" | "B") if is_mac(text) => {
            let mut spellings = vec![text.clone()];
            for other in [text.to_ascii_lowercase(), text.to_ascii_uppercase()] {
                if spellings.iter().all(|known| *known != *other) {
                    spellings.push(Text::from(other));
                }
            }
            Filter::Any(spellings.into_iter().map(is).collect())
        }
        _ => is(text.clone()),
    }
}

/// Returns whether a string is six bytes in hexadecimal, separated by colons.
fn is_mac(text: &str) -> bool {
    let is_byte = |byte: &str| byte.len() == 2 && byte.bytes().all(|b| b.is_ascii_hexdigit());
    text.split(':').count() == 6 && text.split(':').all(is_byte)
}

/// Returns the equalities of `Within`: strings compare as strings, all other values as integers.
fn members(key: &Text, params: &[Param]) -> Result<Vec<Filter>, String> {
    let member = |literal: &Param| match literal {
        Param::Bool(bool) => Ok(Filter::test(
            key.clone(),
            filter::Predicate::Int(i64::from(*bool)),
        )),
        other => equal(key, other),
    };
    params.iter().map(member).collect()
}

fn to_int(literal: &Param) -> Option<i64> {
    match literal {
        Param::Text(text) => Value::Text(text.clone()).to_int(),
        Param::Int(number) => Some(*number),
        Param::Float(number) => Value::Float(*number).to_int(),
        Param::Bool(bool) => Some(i64::from(*bool)),
        _ => None,
    }
}

fn no_cast(literal: &Param) -> String {
    format!("unable to cast {literal} to int64")
}

fn pattern(literal: &Param) -> Result<Pattern, String> {
    let Param::Text(text) = literal else {
        return Err("Regex values should be of string type".to_owned());
    };
    if text.starts_with('^') || text.ends_with('$') {
        return Err("Regex are anchored by default, ^ and $ don't have to be provided".to_owned());
    }
    Pattern::new(text).map_err(|reason| format!("error parsing regexp: {reason}"))
}

fn network<N: FromStr>(predicate: Predicate, literal: &Param) -> Result<N, String> {
    let Param::Text(text) = literal else {
        return Err(format!("{} value has to be a string", predicate.name()));
    };
    text.parse()
        .map_err(|_| format!("invalid CIDR address: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Fields;
    use crate::value::{Map, Path, PathMatch};

    struct Element(Map);

    impl Fields for Element {
        fn test(&self, key: &Text, predicate: &filter::Predicate) -> bool {
            match Path::new(key).find(&self.0) {
                Some(PathMatch::One(value)) => predicate.matches(value),
                Some(PathMatch::Many(values)) => values.into_iter().any(|v| predicate.matches(v)),
                None => false,
            }
        }
    }

    fn text(text: &str) -> Param {
        Param::Text(text.into())
    }

    fn of(predicate: Predicate, params: &[Param]) -> Param {
        Param::Predicate(predicate, params.to_vec())
    }

    fn holds(json: &str, literal: Param) -> bool {
        let element = Element(serde_json::from_str(json).unwrap());
        all_of(&[text("k"), literal]).unwrap().matches(&element)
    }

    fn error(literal: Param) -> String {
        all_of(&[text("k"), literal]).unwrap_err()
    }

    #[test]
    fn not_equal_wants_the_key_or_does_not() {
        let (other, same, missing) = (r#"{"k":"b"}"#, r#"{"k":"a"}"#, "{}");
        for (predicate, wanted) in [(Predicate::Ne, false), (Predicate::Nee, true)] {
            let literal = || of(predicate, &[text("a")]);
            assert!(holds(other, literal()));
            assert!(!holds(same, literal()));
            assert_eq!(holds(missing, literal()), wanted);
            let not_true = || of(predicate, &[Param::Bool(true)]);
            assert!(holds(r#"{"k":false}"#, not_true()));
            assert!(!holds(r#"{"k":"b"}"#, not_true()) && !holds(missing, not_true()));
        }
        assert!(!holds(
            r#"{"k":["a","b"]}"#,
            of(Predicate::Ne, &[text("a")])
        ));
    }

    #[test]
    fn ranges_differ_in_their_ends() {
        let within = |predicate: Predicate| -> Vec<i64> {
            let literal = || of(predicate, &[Param::Int(2), Param::Int(4)]);
            (1..=5)
                .filter(|n| holds(&format!(r#"{{"k":{n}}}"#), literal()))
                .collect()
        };
        assert_eq!(within(Predicate::Inside), [3]);
        assert_eq!(within(Predicate::Between), [2, 3]);
        assert_eq!(within(Predicate::Outside), [1, 5]);
        assert_eq!(
            error(of(Predicate::Between, &[text("x"), text("y")])),
            "Between values should be of int64 type"
        );
        assert_eq!(
            error(of(Predicate::Lte, &[Param::Now])),
            "LTE values should be of int64 type"
        );
        assert!(holds(r#"{"k":2}"#, of(Predicate::Lt, &[text("3")])));
    }

    #[test]
    fn lists_of_literals_take_booleans_for_numbers() {
        let members = [text("a"), Param::Bool(true), Param::Float(2.9)];
        for inside in ["\"a\"", "1", "true", "2", "\"0x2\""] {
            let json = format!(r#"{{"k":{inside}}}"#);
            assert!(holds(&json, of(Predicate::Within, &members)), "{inside}");
            assert!(!holds(&json, of(Predicate::Without, &members)), "{inside}");
        }
        assert!(!holds("{}", of(Predicate::Within, &members)));
        assert!(holds("{}", of(Predicate::Without, &members)));
        assert!(
            !holds("{}", of(Predicate::Within, &[])) && holds("{}", of(Predicate::Without, &[]))
        );
    }

    #[test]
    fn wrong_literals_have_different_errors() {
        for (literal, wanted) in [
            (Param::Now, "unable to cast NOW to int64"),
            (
                of(Predicate::Ne, &[Param::Forever]),
                "unable to cast FOREVER to int64",
            ),
            (
                of(Predicate::Regex, &[text("^a")]),
                "Regex are anchored by default, ^ and $ don't have to be provided",
            ),
            (
                of(Predicate::Ipv4Range, &[Param::Int(1)]),
                "Ipv4Range value has to be a string",
            ),
            (
                of(Predicate::Ipv4Range, &[text("fe80::/64")]),
                "invalid CIDR address: fe80::/64",
            ),
            (
                of(Predicate::Ipv6Range, &[Param::Int(1)]),
                "Ipv6Range value has to be a string",
            ),
            (
                of(Predicate::Ipv6Range, &[text("192.0.2.0/24")]),
                "invalid CIDR address: 192.0.2.0/24",
            ),
        ] {
            assert_eq!(error(literal), wanted);
        }
        assert!(error(of(Predicate::Regex, &[text("(")])).starts_with("error parsing regexp: "));
    }

    fn finds(query: (&str, Param), json: &str) -> bool {
        let element = Element(serde_json::from_str(json).unwrap());
        let filter = all_of(&[text(query.0), query.1]).unwrap();
        filter.matches(&element)
    }

    #[test]
    fn an_address_is_found_whatever_its_prefix_length() {
        let node =
            r#"{"IPV4":["192.0.2.7/24","127.0.0.1"],"IPV6":["2001:db8::7/64"],"K":"192.0.2.7/24"}"#;
        for (key, same) in [
            ("IPV4", "192.0.2.7"),
            ("IPV4", "192.0.2.7/24"),
            ("IPV4", "127.0.0.1"),
            ("IPV6", "2001:DB8:0:0::7"),
        ] {
            assert!(finds((key, text(same)), node), "{same}");
            assert!(finds((key, of(Predicate::Within, &[text(same)])), node));
            assert!(!finds((key, of(Predicate::Ne, &[text(same)])), node));
        }
        for (key, other) in [
            ("IPV4", "192.0.2.7/25"),
            ("IPV4", "192.0.2.70"),
            ("K", "192.0.2.7"),
        ] {
            assert!(!finds((key, text(other)), node), "{other}");
        }
        let range = |network| ("IPV6", of(Predicate::Ipv6Range, &[text(network)]));
        assert!(finds(range("2001:db8::/32"), node) && !finds(range("fe80::/10"), node));
    }

    #[test]
    fn a_mac_address_is_found_in_either_case() {
        for node in [
            r#"{"MAC":"02:00:00:00:00:ab"}"#,
            r#"{"MAC":"02:00:00:00:00:AB"}"#,
        ] {
            for same in [
                "02:00:00:00:00:ab",
                "02:00:00:00:00:AB",
                "02:00:00:00:00:aB",
            ] {
                assert!(finds(("MAC", text(same)), node), "{same}");
            }
            assert!(!finds(("MAC", text("02:00:00:00:00:ac")), node));
        }
        assert!(!finds(("MAC", text("PORT")), r#"{"MAC":"port"}"#));
        let flows = flow_pairs(&[text("Link"), text("02:00:00:00:00:AB")]).unwrap();
        let flow = r#"{"Link":{"A":"02:00:00:00:00:ab","B":"x"}}"#;
        assert!(flows.matches(&Element(serde_json::from_str(flow).unwrap())));
    }

    #[test]
    fn other_names_are_checked_if_the_name_does_not_match() {
        let node = r#"{"Name":"eth0","Alias":"uplink","AltNames":["enp1s0","eno1"]}"#;
        for name in ["eth0", "uplink", "enp1s0", "eno1"] {
            assert!(finds(("Name", text(name)), node), "{name}");
            assert!(finds(("Name", of(Predicate::Within, &[text(name)])), node));
            assert!(finds(("Name", of(Predicate::Regex, &[text(name)])), node));
        }
        assert!(!finds(("Name", text("eth1")), node));
        // A negation applies to the name only.
        assert!(finds(("Name", of(Predicate::Ne, &[text("uplink")])), node));
        assert!(!finds(("Name", of(Predicate::Ne, &[text("eth0")])), node));
        assert!(!finds(("Type", text("uplink")), node));
    }

    #[test]
    fn either_end_of_a_flow_is_meant_by_its_layer() {
        let filter = flow_pairs(&[text("Transport"), Param::Int(80)]).unwrap();
        let port = filter::Predicate::Int(80);
        let ends = vec![
            Filter::test("Transport.A", port.clone()),
            Filter::test("Transport.B", port),
        ];
        assert_eq!(filter, Filter::All(vec![Filter::Any(ends)]));
        assert_eq!(
            flow_pairs(&[text("k")]).unwrap_err(),
            "At least two parameters must be provided"
        );
        let odd = [text("a"), Param::Int(1), text("b")];
        assert_eq!(
            flow_pairs(&odd).unwrap_err(),
            "slice must be defined by pair k,v: [a 1 b]"
        );
        assert_eq!(
            all_of(&odd).unwrap_err(),
            "params should be a list of key,value"
        );
    }
}
