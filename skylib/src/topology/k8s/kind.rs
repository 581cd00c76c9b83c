//! `Kind`: the kinds of Kubernetes objects that the graph shows.

use std::fmt;

/// Kind of a node of Kubernetes; its name is the `Type` of the node.
///
/// ```
/// use skylib::topology::k8s::Kind;
///
/// assert_eq!(Kind::from_name("pod"), Some(Kind::Pod));
/// assert_eq!(Kind::Pod.to_string(), "pod");
/// assert_eq!(Kind::Pod.path(), Some("/api/v1/pods"));
/// assert_eq!(Kind::Container.path(), None, "containers are parts of pods");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// The cluster itself.
    Cluster,
    /// Names and values of a configuration.
    ConfigMap,
    /// A container of a pod.
    Container,
    /// A job that runs on a schedule.
    CronJob,
    /// A pod that runs on each node.
    DaemonSet,
    /// A set of identical pods that is updated by rolling replacement.
    Deployment,
    /// Addresses of a service.
    Endpoints,
    /// Rules that route requests from outside the cluster to services.
    Ingress,
    /// A task whose pods run to completion.
    Job,
    /// A scope within which the names of objects are unique.
    Namespace,
    /// Rules that allow traffic to and from pods.
    NetworkPolicy,
    /// A machine.
    Node,
    /// A volume.
    PersistentVolume,
    /// A request for a volume.
    PersistentVolumeClaim,
    /// Containers that share a network namespace.
    Pod,
    /// A set of identical pods.
    ReplicaSet,
    /// A set of identical pods; the predecessor of the replica set.
    ReplicationController,
    /// Confidential values, which the graph never shows.
    Secret,
    /// A stable address for a set of pods.
    Service,
    /// A set of pods with stable names and volumes.
    StatefulSet,
    /// A class of volumes, with the plugin that provides them.
    StorageClass,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 21] = [
        Self::Cluster,
        Self::ConfigMap,
        Self::Container,
        Self::CronJob,
        Self::DaemonSet,
        Self::Deployment,
        Self::Endpoints,
        Self::Ingress,
        Self::Job,
        Self::Namespace,
        Self::NetworkPolicy,
        Self::Node,
        Self::PersistentVolume,
        Self::PersistentVolumeClaim,
        Self::Pod,
        Self::ReplicaSet,
        Self::ReplicationController,
        Self::Secret,
        Self::Service,
        Self::StatefulSet,
        Self::StorageClass,
    ];

    /// Returns the name of the kind in the configuration and in the graph.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.names().0
    }

    /// Returns the path of the objects of all namespaces in the Kubernetes API; `None` for kinds
    /// that are not objects of their own.
    #[must_use]
    pub const fn path(self) -> Option<&'static str> {
        self.names().1
    }

    /// Returns the kind with a name; `None` for an unknown name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Returns whether objects of this kind belong to the cluster, not to a namespace.
    #[must_use]
    pub const fn is_of_cluster(self) -> bool {
        matches!(
            self,
            Self::Namespace | Self::Node | Self::PersistentVolume | Self::StorageClass
        )
    }

    /// Returns the name and the path in the Kubernetes API.
    const fn names(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Cluster => ("cluster", None),
            Self::ConfigMap => ("configmap", Some("/api/v1/configmaps")),
            Self::Container => ("container", None),
            Self::CronJob => ("cronjob", Some("/apis/batch/v1/cronjobs")),
            Self::DaemonSet => ("daemonset", Some("/apis/apps/v1/daemonsets")),
            Self::Deployment => ("deployment", Some("/apis/apps/v1/deployments")),
            Self::Endpoints => ("endpoints", Some("/api/v1/endpoints")),
            Self::Ingress => ("ingress", Some("/apis/networking.k8s.io/v1/ingresses")),
            Self::Job => ("job", Some("/apis/batch/v1/jobs")),
            Self::Namespace => ("namespace", Some("/api/v1/namespaces")),
            Self::NetworkPolicy => (
                "networkpolicy",
                Some("/apis/networking.k8s.io/v1/networkpolicies"),
            ),
            Self::Node => ("node", Some("/api/v1/nodes")),
            Self::PersistentVolume => ("persistentvolume", Some("/api/v1/persistentvolumes")),
            Self::PersistentVolumeClaim => (
                "persistentvolumeclaim",
                Some("/api/v1/persistentvolumeclaims"),
            ),
            Self::Pod => ("pod", Some("/api/v1/pods")),
            Self::ReplicaSet => ("replicaset", Some("/apis/apps/v1/replicasets")),
            Self::ReplicationController => (
                "replicationcontroller",
                Some("/api/v1/replicationcontrollers"),
            ),
            Self::Secret => ("secret", Some("/api/v1/secrets")),
            Self::Service => ("service", Some("/api/v1/services")),
            Self::StatefulSet => ("statefulset", Some("/apis/apps/v1/statefulsets")),
            Self::StorageClass => (
                "storageclass",
                Some("/apis/storage.k8s.io/v1/storageclasses"),
            ),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds(u32);

impl Kinds {
    /// The set of all kinds.
    pub const ALL: Self = Self(u32::MAX);

    /// Returns the set of the kinds with these names, or all kinds if `names` is empty, and the
    /// unknown names.
    ///
    /// COMPAT: existing configuration files; their unknown names have no effect.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> (Self, Vec<&'a str>) {
        let (mut set, mut unknown, mut is_empty) = (Self(0), Vec::new(), true);
        for name in names {
            is_empty = false;
            match Kind::from_name(name) {
                Some(kind) => set.0 |= 1 << kind as u32,
                None => unknown.push(name),
            }
        }
        (if is_empty { Self::ALL } else { set }, unknown)
    }

    /// Returns whether the set contains a kind; the cluster is always shown.
    #[must_use]
    pub const fn contains(self, kind: Kind) -> bool {
        matches!(kind, Kind::Cluster) || self.0 & (1 << kind as u32) != 0
    }

    /// Returns the kinds to request from the Kubernetes API: containers are parts of pods.
    pub(super) fn requested(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| {
            let is_part_wanted = *kind == Kind::Pod && self.contains(Kind::Container);
            kind.path().is_some() && (self.contains(*kind) || is_part_wanted)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_made_of_names() {
        assert_eq!(Kinds::from_names([]), (Kinds::ALL, Vec::new()));
        let (set, unknown) = Kinds::from_names(["container", "quotaspec", "service"]);
        assert_eq!(unknown, ["quotaspec"]);
        assert!(set.contains(Kind::Service) && set.contains(Kind::Cluster));
        assert!(!set.contains(Kind::Pod));
        let requested: Vec<Kind> = set.requested().collect();
        assert_eq!(requested, [Kind::Pod, Kind::Service]);
        assert_eq!(Kinds::ALL.requested().count(), 19);
    }

    #[test]
    fn names_are_unique_and_lower_case() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
            assert_eq!(kind.name(), kind.name().to_ascii_lowercase());
        }
    }
}
