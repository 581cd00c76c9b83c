//! Checks of the conversion of Kubernetes objects to nodes and edges. Each line of the input is a
//! message: its first byte selects the kind of the object, and the rest is a page of a list, an event
//! of a watch, or an object.

use std::collections::BTreeSet;

use skylib::graph::NodeId;
use skylib::topology::k8s::{
    ClusterModel, Kind, Kinds, KubernetesObject, ListPage, Mapping, WatchEvent,
};

/// Panics if reading panics, if the differences do not add up to the whole, or if a secret has values.
pub(crate) fn check(input: &[u8]) {
    let mut model = ClusterModel::new(Mapping::new("lab", Kinds::ALL));
    let kinds: Vec<Kind> = Kind::ALL
        .into_iter()
        .filter(|kind| kind.path().is_some())
        .collect();
    let (mut nodes, mut edges) = (BTreeSet::new(), BTreeSet::new());
    for line in input.split(|byte| *byte == b'\n').take(MAX_MESSAGES) {
        if let [kind, json @ ..] = line {
            receive(&mut model, kinds[usize::from(*kind) % kinds.len()], json);
        }
        let changes = model.take_changes();
        for (id, former, wanted) in changes.nodes {
            assert_ne!(former, wanted, "a change");
            assert_eq!(
                nodes.contains(&id),
                former.is_some(),
                "the former state is right"
            );
            match wanted {
                Some(_) => nodes.insert(id),
                None => nodes.remove(&id),
            };
        }
        for (id, edge) in changes.edges {
            match edge {
                Some(_) => edges.insert(id),
                None => edges.remove(&id),
            };
        }
    }
    let all: BTreeSet<NodeId> = model.nodes().map(|(id, _)| id).collect();
    assert_eq!(all, nodes, "the changes add up to the nodes");
    assert_eq!(
        model.edges().count(),
        edges.len(),
        "the changes add up to the edges"
    );
    for (id, edge) in model.edges() {
        assert!(edges.contains(id), "the changes add up to the edges");
        assert!(
            all.contains(&edge.parent) && all.contains(&edge.child),
            "no loose ends"
        );
    }
}

fn receive(model: &mut ClusterModel, kind: Kind, json: &[u8]) {
    if let Ok(page) = ListPage::parse(json) {
        let objects = page
            .objects
            .iter()
            .filter_map(|json| object(model, kind, json));
        let objects = objects.collect();
        model.replace(kind, objects);
        return;
    }
    match WatchEvent::parse(json) {
        Ok(Some(WatchEvent::Set(json))) => {
            if let Some(object) = object(model, kind, json) {
                model.set(object);
            }
        }
        Ok(Some(WatchEvent::Deleted(json))) => {
            if let Some(object) = object(model, kind, json) {
                model.remove(object.id());
            }
        }
        Ok(_) | Err(_) => {
            if let Some(object) = object(model, kind, json) {
                model.set(object);
            }
        }
    }
}

fn object(model: &ClusterModel, kind: Kind, json: &[u8]) -> Option<KubernetesObject> {
    let object = KubernetesObject::parse(kind, json, model.mapping()).ok()?;
    for (_, metadata) in object.nodes() {
        let extra = metadata
            .get_path("K8s.Extra")
            .and_then(|extra| extra.as_map());
        for (key, _) in extra.into_iter().flat_map(|extra| extra.iter()) {
            let is_public = matches!(key.as_str(), "metadata" | "type" | "immutable");
            assert!(kind != Kind::Secret || is_public, "{key} of a secret");
        }
    }
    Some(object)
}

/// Maximum number of messages.
const MAX_MESSAGES: usize = 200;
