//! What the kernel lets this thread do, and what to tell the user when something is missing.

use std::fmt;

use rustix::thread::{CapabilitySet, capabilities};

/// A privilege that some part of the library needs. Complete: nothing needs another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Capability {
    /// Reading packets from interfaces.
    NetRaw,
    /// Promiscuous mode and packet injection settings.
    NetAdmin,
    /// Entering other network namespaces.
    SysAdmin,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::NetRaw, Self::NetAdmin, Self::SysAdmin];

    /// Whether the calling thread has it.
    #[must_use]
    pub fn is_effective(self) -> bool {
        capabilities(None).is_ok_and(|sets| sets.effective.contains(self.bit()))
    }

    /// What the calling thread cannot do and how to grant it, in one line; `None` if it can do
    /// everything.
    #[must_use]
    pub fn missing() -> Option<String> {
        let missing: Vec<Self> = Self::ALL
            .into_iter()
            .filter(|capability| !capability.is_effective())
            .collect();
        let needs: Vec<String> = missing
            .iter()
            .map(|capability| format!("{} needs {capability}", capability.purpose()))
            .collect();
        (!missing.is_empty()).then(|| format!("{} ({})", needs.join(", "), remedy(&missing)))
    }

    /// What cannot be done without it and how to grant it, in one line.
    ///
    /// ```
    /// use skylib::sys::capability::Capability;
    /// assert!(Capability::SysAdmin.help().starts_with("entering network namespaces needs"));
    /// ```
    #[must_use]
    pub fn help(self) -> String {
        format!("{} needs {self} ({})", self.purpose(), self.remedy())
    }

    /// How to grant it, in one line.
    #[must_use]
    pub fn remedy(self) -> String {
        remedy(&[self])
    }

    const fn purpose(self) -> &'static str {
        match self {
            Self::NetRaw => "capturing packets",
            Self::NetAdmin => "promiscuous mode",
            Self::SysAdmin => "entering network namespaces",
        }
    }

    const fn bit(self) -> CapabilitySet {
        match self {
            Self::NetRaw => CapabilitySet::NET_RAW,
            Self::NetAdmin => CapabilitySet::NET_ADMIN,
            Self::SysAdmin => CapabilitySet::SYS_ADMIN,
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NetRaw => "CAP_NET_RAW",
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysAdmin => "CAP_SYS_ADMIN",
        })
    }
}

fn remedy(wanted: &[Capability]) -> String {
    let program = std::env::current_exe()
        .map_or_else(|_| "PROGRAM".to_owned(), |path| path.display().to_string());
    // setcap replaces what a file has: those it gives already are named again.
    let flags: Vec<String> = Capability::ALL
        .into_iter()
        .filter(|capability| wanted.contains(capability) || capability.is_effective())
        .map(|capability| capability.to_string().to_lowercase())
        .collect();
    format!("run as root or: setcap {}+ep {program}", flags.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_the_one_in_proc() {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix("CapEff:"))
            .unwrap();
        let effective = u64::from_str_radix(line.trim(), 16).unwrap();
        for (capability, number) in Capability::ALL.into_iter().zip([13, 12, 21]) {
            assert_eq!(
                capability.is_effective(),
                effective >> number & 1 == 1,
                "{capability}"
            );
        }
    }

    #[test]
    fn help_names_the_privilege_and_the_remedy() {
        let help = Capability::NetRaw.help();
        assert!(
            help.contains("CAP_NET_RAW") && help.contains("setcap cap_net_raw"),
            "{help}"
        );
    }

    #[test]
    fn one_command_grants_all_that_is_missing() {
        let without_any = || {
            let empty = rustix::thread::CapabilitySets {
                effective: CapabilitySet::empty(),
                permitted: CapabilitySet::empty(),
                inheritable: CapabilitySet::empty(),
            };
            rustix::thread::set_capabilities(None, empty).unwrap();
            Capability::missing().unwrap()
        };
        // Capabilities belong to a thread.
        let text = std::thread::spawn(without_any).join().unwrap();
        assert!(
            text.starts_with("capturing packets needs CAP_NET_RAW, ")
                && text.contains("setcap cap_net_raw,cap_net_admin,cap_sys_admin+ep /"),
            "{text}"
        );
    }
}
