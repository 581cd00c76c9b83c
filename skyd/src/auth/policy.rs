//! Role-based permissions: rules that name a user or a role, an object, and an action.
//!
//! The rules of a user are those for the user and those for its roles, transitively. An action is
//! allowed if at least one of them allows it and none denies it.

use std::collections::BTreeMap;

use serde::Serialize;
use skylib::nearest::nearest;

/// Rules and role assignments.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    rules: Vec<Rule>,
    /// Pairs of a user or role and a role that it has.
    roles: Vec<(String, String)>,
}

/// Rule that allows or denies an action on an object.
#[derive(Clone, Debug)]
struct Rule {
    subject: String,
    object: String,
    action: String,
    is_allowed: bool,
}

/// Permission of a user in the response of `/login`.
///
/// COMPAT: the member names of Skydive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Permission {
    pub(crate) object: String,
    pub(crate) action: String,
    pub(crate) allowed: bool,
}

impl Default for Policy {
    /// Returns the built-in rules of the roles `admin` and `guest`.
    fn default() -> Self {
        let mut rules = Vec::new();
        let mut rule = |subject: &str, object: &str, action: &str, is_allowed| {
            rules.push(Rule {
                subject: subject.to_owned(),
                object: object.to_owned(),
                action: action.to_owned(),
                is_allowed,
            });
        };
        for (object, actions, guest) in BUILT_IN {
            for action in *actions {
                rule("admin", object, action, true);
                if let Some(is_allowed) = guest {
                    rule("guest", object, action, *is_allowed);
                }
            }
        }
        Self {
            rules,
            roles: Vec::new(),
        }
    }
}

impl Policy {
    /// Adds a line of a policy: `p, subject, object, action, allow` (or `deny`), or
    /// `g, user, role`. Empty lines and those that begin with `#` are ignored.
    ///
    /// # Errors
    /// Returns an error if the line has neither form; the error message describes both forms.
    pub(crate) fn add(&mut self, line: &str) -> Result<(), String> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        match fields.as_slice() {
            ["p", subject, object, action, effect @ ("allow" | "deny")] => self.rules.push(Rule {
                subject: (*subject).to_owned(),
                object: (*object).to_owned(),
                action: (*action).to_owned(),
                is_allowed: *effect == "allow",
            }),
            ["g", user, role] => self.roles.push(((*user).to_owned(), (*role).to_owned())),
            _ => {
                return Err(format!(
                    "{line:?} is not allowed; expected \"p, subject, object, action, allow|deny\" \
                     or \"g, user, role\""
                ));
            }
        }
        Ok(())
    }

    /// Returns a description of each name in the added lines that is probably misspelled: an object or
    /// action that no request needs, a user who cannot log in, a role without permissions.
    ///
    /// `is_user` returns whether a name is that of a user or of a default role.
    pub(crate) fn unknown_names(&self, is_user: impl Fn(&str) -> bool) -> Vec<String> {
        let has_rules = |role: &str| self.rules.iter().any(|rule| rule.subject == role);
        let is_role = |name: &str| {
            BUILT_IN_ROLES.contains(&name) || self.roles.iter().any(|(_, role)| role == name)
        };
        let mut unknown = Vec::new();
        for rule in &self.rules[Self::default().rules.len()..] {
            unknown.extend(rule.unknown_object());
            if !is_user(&rule.subject) && !is_role(&rule.subject) {
                let name = &rule.subject;
                unknown.push(format!("{name:?} is neither a user nor a role of a user"));
            }
        }
        for (name, role) in &self.roles {
            if !is_user(name) && !is_role(name) {
                unknown.push(format!("{name:?} is not a user"));
            }
            if !has_rules(role) {
                unknown.push(format!("role {role:?} has no permissions"));
            }
        }
        unknown
    }

    /// Returns whether a user may perform an action on an object.
    pub(crate) fn allows(&self, user: &User, object: &str, action: &str) -> bool {
        let subjects = self.subjects(user);
        let mut fitting = self
            .rules
            .iter()
            .filter(|rule| rule.object == object && rule.action == action)
            .filter(|rule| subjects.contains(&rule.subject.as_str()))
            .peekable();
        fitting.peek().is_some() && fitting.all(|rule| rule.is_allowed)
    }

    /// Returns a description of the permission that a user lacks; `None` if the user has it.
    pub(crate) fn missing(&self, user: &User, object: &str, action: &str) -> Option<String> {
        if self.allows(user, object, action) {
            return None;
        }
        let name = &user.name;
        Some(format!(
            "'{name}' has no '{action}' permission on '{object}'"
        ))
    }

    /// Returns all permissions and denials of a user, by object and action.
    pub(crate) fn permissions(&self, user: &User) -> Vec<Permission> {
        let subjects = self.subjects(user);
        let mut all: BTreeMap<(&str, &str), bool> = BTreeMap::new();
        for rule in &self.rules {
            if subjects.contains(&rule.subject.as_str()) {
                let allowed = all.entry((&rule.object, &rule.action)).or_insert(true);
                *allowed &= rule.is_allowed;
            }
        }
        all.into_iter()
            .map(|((object, action), allowed)| Permission {
                object: object.to_owned(),
                action: action.to_owned(),
                allowed,
            })
            .collect()
    }

    /// Returns the roles of a user, transitively.
    pub(crate) fn roles<'a>(&'a self, user: &'a User) -> Vec<&'a str> {
        self.subjects(user).split_off(1)
    }

    /// Returns the names whose rules apply to a user: its own name and its roles, transitively. The
    /// default role applies only if no line gives the user a role.
    fn subjects<'a>(&'a self, user: &'a User) -> Vec<&'a str> {
        let mut subjects = vec![user.name.as_str()];
        if !self.roles.iter().any(|(name, _)| *name == user.name) {
            subjects.push(&user.default_role);
        }
        let mut at = 0;
        while let Some(subject) = subjects.get(at).copied() {
            for (name, role) in &self.roles {
                if name == subject && !subjects.contains(&role.as_str()) {
                    subjects.push(role);
                }
            }
            at += 1;
        }
        subjects
    }
}

impl Rule {
    /// Returns a description of the object or the action if no request needs it.
    fn unknown_object(&self) -> Option<String> {
        let (object, action) = (&self.object, &self.action);
        let objects = BUILT_IN.iter().map(|(object, ..)| *object);
        if !objects.clone().any(|known| known == object) {
            return Some(suggested(
                format!("unknown object {object:?}"),
                object,
                objects,
            ));
        }
        let actions = BUILT_IN
            .iter()
            .filter(|(known, ..)| known == object)
            .flat_map(|(_, actions, _)| actions.iter().copied());
        if actions.clone().any(|known| known == action) {
            return None;
        }
        let text = format!("unknown action {action:?} of the object {object:?}");
        Some(suggested(text, action, actions))
    }
}

/// Adds the most similar known name to a description of an unknown name.
fn suggested<'a>(text: String, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    match nearest(name, known) {
        Some(near) => format!("{text}; did you mean {near:?}?"),
        None => text,
    }
}

/// Authenticated user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// Name of the user.
    pub(crate) name: String,
    /// Role of the user if the policy gives it none.
    pub(crate) default_role: String,
}

/// Objects, their actions, and the rule for `guest` (allow, deny, or none); `admin` may perform all
/// actions.
const BUILT_IN: &[(&str, &[&str], Option<bool>)] = &[
    ("alert", READ_WRITE, Some(false)),
    ("capture", READ_WRITE, Some(false)),
    ("capture", &["rawpackets"], Some(false)),
    ("config", &["read"], Some(false)),
    ("edge", READ_WRITE, None),
    ("edgerule", READ_WRITE, None),
    ("history", &["write"], Some(false)),
    ("injectpacket", READ_WRITE, Some(false)),
    ("node", READ_WRITE, None),
    ("noderule", READ_WRITE, None),
    ("pcap", &["write"], Some(false)),
    ("spp", READ_WRITE, Some(false)),
    ("status", &["read"], Some(true)),
    ("topology", &["read"], Some(true)),
    ("websocket", &["/ws/subscriber"], Some(true)),
    ("websocket", &["/ws/pubsub"], None),
    (
        "websocket",
        &[
            "/ws/agent/flow",
            "/ws/agent/topology",
            "/ws/publisher",
            "/ws/replication",
            "/ws/subscriber/flow",
        ],
        Some(false),
    ),
    ("workflow", READ_WRITE, Some(false)),
    ("workflow.call", &["write"], None),
];
/// Roles with built-in rules.
const BUILT_IN_ROLES: [&str; 2] = ["admin", "guest"];
/// Actions of most objects.
const READ_WRITE: &[&str] = &["read", "write"];

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, default_role: &str) -> User {
        User {
            name: name.to_owned(),
            default_role: default_role.to_owned(),
        }
    }

    fn policy(lines: &[&str]) -> Policy {
        let mut policy = Policy::default();
        for line in lines {
            policy.add(line).unwrap();
        }
        policy
    }

    #[test]
    fn an_admin_may_do_everything_and_a_guest_may_read_the_topology() {
        let policy = policy(&[]);
        let (admin, guest) = (user("eve", "admin"), user("eve", "guest"));
        for (object, actions, for_guest) in BUILT_IN {
            for action in *actions {
                assert!(policy.allows(&admin, object, action), "{object} {action}");
                let allowed = policy.allows(&guest, object, action);
                assert_eq!(allowed, *for_guest == Some(true), "{object} {action}");
            }
        }
        assert!(!policy.allows(&admin, "capture", "fly"));
        assert!(!policy.allows(&admin, "nothing", "read"));
        assert!(!policy.allows(&user("eve", "nobody"), "topology", "read"));
        assert!(
            policy.allows(&user("admin", "nobody"), "pcap", "write"),
            "by its own name"
        );
    }

    #[test]
    fn lines_add_roles_and_rules_and_a_denial_overrides_all() {
        let policy = policy(&[
            "# who may what",
            "",
            "p, operator, noderule, write, allow",
            "p, operator, capture, write, allow",
            "g,bob,operator",
            "g, operator, guest",
            "p, ann, topology, read, deny",
            "g, loop, loop2",
            "g, loop2, loop",
        ]);
        let bob = user("bob", "admin");
        assert!(policy.allows(&bob, "noderule", "write"));
        assert!(!policy.allows(&bob, "capture", "write"), "a guest's denial");
        assert!(
            policy.allows(&bob, "topology", "read"),
            "the role of its role"
        );
        assert!(
            !policy.allows(&bob, "noderule", "read"),
            "its default role does not count"
        );
        let ann = user("ann", "admin");
        assert!(!policy.allows(&ann, "topology", "read"));
        assert!(policy.allows(&ann, "status", "read"));
        assert!(!policy.allows(&user("loop", "admin"), "status", "read"));
        let permissions = policy.permissions(&ann);
        let about = |object: &str| {
            permissions
                .iter()
                .find(|p| p.object == object)
                .unwrap()
                .allowed
        };
        assert!(!about("topology") && about("status"));
        assert!(policy.permissions(&user("x", "nobody")).is_empty());
    }

    #[test]
    fn an_invalid_line_is_refused() {
        for line in [
            "p, a, b, c",
            "p, a, b, c, maybe",
            "g, a",
            "x, a, b",
            "allow",
        ] {
            let error = Policy::default().add(line).unwrap_err();
            assert!(
                error.contains(line) && error.contains("expected"),
                "{error}"
            );
        }
    }

    #[test]
    fn misspelled_names_are_reported() {
        let lines = [
            "p, operator, capture, write, allow",
            "p, nobody, captures, write, allow",
            "p, eve, capture, wirte, deny",
            "g, eve, operator",
            "g, ghost, admn",
        ];
        let unknown = policy(&lines).unknown_names(|name| name == "eve");
        assert_eq!(
            unknown,
            [
                "unknown object \"captures\"; did you mean \"capture\"?",
                "\"nobody\" is neither a user nor a role of a user",
                "unknown action \"wirte\" of the object \"capture\"; did you mean \"write\"?",
                "\"ghost\" is not a user",
                "role \"admn\" has no permissions",
            ]
        );
        assert!(policy(&[]).unknown_names(|_| false).is_empty());
    }
}
