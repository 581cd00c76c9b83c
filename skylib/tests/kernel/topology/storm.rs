//! Many changes at once, in random order, without waits in between.

use skylib::graph::Node;

use super::lab::{Inhabitant, Lab, View, run, text};
use crate::support::ip;

/// Namespaces of the two ends of a pair, as indexes in [`Storm::names`].
struct Pair {
    name: String,
    ends: [usize; 2],
}

struct Storm {
    /// Names of the namespaces; the namespace of the host has an empty name.
    names: [&'static str; 4],
    inside: Vec<Inhabitant>,
    pairs: Vec<Pair>,
    seed: u64,
}

impl Storm {
    fn random(&mut self, below: usize) -> usize {
        // Knuth's MMIX generator, which makes the storm reproducible.
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.seed >> 33).unwrap() % below
    }

    fn ip(&self, lab: &Lab, namespace: usize, command: &str) {
        match self.names[namespace] {
            "" => drop(ip(command)),
            name => lab.ip_in(name, command),
        }
    }

    fn step(&mut self, lab: &Lab, number: usize) {
        let (a, b) = (self.random(4), self.random(4));
        let (from, to) = (self.inside[a].0.id(), self.inside[b].0.id());
        let which = self.random(self.pairs.len().max(1));
        match self.random(6) {
            0 | 1 => {
                let name = format!("p{number}");
                let peer = format!("type veth peer name {name}b netns {to}");
                ip(&format!("link add {name}a netns {from} {peer}"));
                self.pairs.push(Pair { name, ends: [a, b] });
            }
            2 if self.pairs.len() > 8 => {
                let pair = self.pairs.swap_remove(which);
                self.ip(lab, pair.ends[0], &format!("link del {}a", pair.name));
            }
            3 | 4 if !self.pairs.is_empty() => {
                let end = self.random(2);
                let link = format!("{}{}", self.pairs[which].name, ["a", "b"][end]);
                let at = self.pairs[which].ends[end];
                if at != b {
                    self.ip(lab, at, &format!("link set {link} netns {to}"));
                    self.pairs[which].ends[end] = b;
                }
            }
            _ if !self.pairs.is_empty() => {
                let link = format!("{}a", self.pairs[which].name);
                let mtu = 1000 + number;
                self.ip(
                    lab,
                    self.pairs[which].ends[0],
                    &format!("link set {link} mtu {mtu} up"),
                );
            }
            _ => {}
        }
    }

    fn node<'a>(&self, g: &View<'a>, namespace: usize, link: &str) -> Option<&'a Node> {
        let name = self.names[namespace];
        g.child(if name.is_empty() { "lab" } else { name }, link)
    }

    /// Returns whether the graph contains exactly the created links.
    fn is_shown(&self, g: &View<'_>) -> bool {
        let index = |node: &Node| node.metadata.get("IfIndex").unwrap().as_int();
        let shown = self.pairs.iter().all(|pair| {
            let [a, b] = pair.ends;
            let one = self.node(g, a, &format!("{}a", pair.name));
            let other = self.node(g, b, &format!("{}b", pair.name));
            let (Some(one), Some(other)) = (one, other) else {
                return false;
            };
            let named = |node, namespace: usize| {
                let wanted = if a == b { "" } else { self.names[namespace] };
                text(node, "LinkNetNsName") == wanted
            };
            let joined = match index(one).cmp(&index(other)) {
                std::cmp::Ordering::Less => g.linked(Some(other), Some(one)),
                std::cmp::Ordering::Greater => g.linked(Some(one), Some(other)),
                std::cmp::Ordering::Equal => {
                    g.linked(Some(one), Some(other)) || g.linked(Some(other), Some(one))
                }
            };
            joined && named(one, b) && named(other, a)
        });
        shown && g.count(&[("Type", "veth")]) == 2 * self.pairs.len()
    }
}

#[test]
#[ignore = "needs root: creates network namespaces"]
fn the_graph_is_correct_after_a_storm() {
    run(|mut lab| {
        lab.start();
        let names = ["", "w1", "w2", "w3"];
        for name in &names[1..] {
            lab.add_netns(name);
        }
        let inside = names.iter().map(|name| match *name {
            "" => Inhabitant::here(),
            name => lab.inhabitant(name),
        });
        let mut storm = Storm {
            names,
            inside: inside.collect(),
            pairs: Vec::new(),
            seed: 7,
        };
        for burst in 0..4 {
            for number in 0..60 {
                storm.step(&lab, burst * 100 + number);
            }
            lab.wait("all pairs, each joined once", |g| storm.is_shown(g));
        }
        drop(storm.inside);
    });
}
