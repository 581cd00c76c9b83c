//! Checks of the body of a resource and of a JSON patch of it. The first byte selects the kind; a
//! line feed separates the body and the patch.

use std::sync::Arc;

use serde::Serialize;
use skylib::api::go_json::Members;
use skylib::api::{
    AlertSpec, CaptureSpec, Defaults, EdgeRule, ExpressionChecker, GraphResource, Injection,
    NodeRule, Resource, ResourceStore, Workflow,
};
use skylib::graph::{Edge, Node};
use skylib::gremlin::Query;
use skylib::store::MemoryDocStore;
use skylib::time::Timestamp;

/// Panics if parsing or patching panics, if a resource changes when it is written and read again,
/// or if a failed patch has an effect.
pub(crate) fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut letters = text.chars();
    let kind = letters.next();
    let (body, patch) = letters
        .as_str()
        .split_once('\n')
        .unwrap_or((letters.as_str(), ""));
    match kind {
        Some('a') => check_stored::<AlertSpec>(body, patch),
        Some('c') => check_stored::<CaptureSpec>(body, patch),
        Some('e') => check_stored::<EdgeRule>(body, patch),
        Some('i') => check_stored::<Injection>(body, patch),
        Some('n') => check_stored::<NodeRule>(body, patch),
        Some('w') => check_stored::<Workflow>(body, patch),
        Some('t') => check_query(body),
        Some('N') => check_element::<Node>(body),
        Some('E') => check_element::<Edge>(body),
        _ => {}
    }
}

/// Parses queries as the daemon does, but not packet filters.
struct Checker;

impl ExpressionChecker for Checker {
    fn check_gremlin(&self, query: &str) -> Result<(), String> {
        Query::parse(query)
            .map(drop)
            .map_err(|error| error.to_string())
    }

    fn check_bpf(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
}

fn check_stored<R: Resource>(body: &str, patch: &str) {
    let defaults = Defaults::default();
    let Ok(resource) = R::read(body, &defaults) else {
        return;
    };
    let again = R::read(&shown(&resource), &defaults).expect("own output is valid");
    assert!(again == resource, "{body}");
    if resource.validate(&Checker).is_err() {
        return;
    }
    let documents = Arc::new(MemoryDocStore::default());
    let (store, _) = ResourceStore::<R>::open(Arc::clone(&documents) as _).expect("a store");
    let before = store
        .create(resource, None, Timestamp::ZERO)
        .expect("below the limit");
    let patched = store.patch(before.id(), patch, &defaults, &Checker);
    let after = store.get(before.id()).expect("the resource");
    match patched {
        Ok(Some(patched)) => {
            assert!(R::IS_UPDATABLE && *patched == *after && *after != *before);
            after.validate(&Checker).expect("a patch is validated");
        }
        Ok(None) | Err(_) => assert!(*after == *before, "{patch}"),
    }
    let (again, unreadable) = ResourceStore::<R>::open(documents).expect("a store");
    assert!(unreadable.is_empty(), "{unreadable:?}");
    assert!(again.get(before.id()).is_some_and(|kept| *kept == *after));
}

/// Reads the body of a Gremlin query as the daemon does.
fn check_query(body: &str) {
    let Ok(members) = Members::parse_first(body) else {
        return;
    };
    let mut text = String::new();
    if members.read("GremlinQuery", &mut text).is_ok() {
        drop(Query::parse(&text));
    }
}

fn check_element<E: GraphResource + PartialEq>(body: &str) {
    let now = Timestamp::from_ms(1);
    if let Ok(element) = E::read(body, now) {
        let again = E::read(&shown(&element), now).expect("own output is valid");
        assert!(again == element, "{body}");
    }
}

fn shown<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain fields")
}
