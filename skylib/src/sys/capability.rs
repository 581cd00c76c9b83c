//! Linux capabilities of the calling thread, and help messages for missing ones.

use std::fmt;

use rustix::thread::{CapabilitySet, capabilities};

/// Capability that a part of the library needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Capability {
    /// `CAP_NET_RAW`: reading packets from interfaces.
    NetRaw,
    /// `CAP_NET_ADMIN`: promiscuous mode and packet injection settings.
    NetAdmin,
    /// `CAP_SYS_ADMIN`: entering other network namespaces.
    SysAdmin,
}

impl Capability {
    /// All capabilities.
    pub(crate) const ALL: [Self; 3] = [Self::NetRaw, Self::NetAdmin, Self::SysAdmin];

    /// Returns whether the calling thread has the capability.
    #[must_use]
    pub(crate) fn is_effective(self) -> bool {
        capabilities(None).is_ok_and(|sets| sets.effective.contains(self.bit()))
    }

    /// Returns one line with the operations that the calling thread cannot perform and how to grant
    /// the capabilities; `None` if it has all capabilities.
    #[must_use]
    pub(crate) fn missing() -> Option<String> {
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

    /// Returns one line with the operation that needs the capability and how to grant it.
    #[must_use]
    pub(crate) fn help(self) -> String {
        format!("{} needs {self} ({})", self.purpose(), self.remedy())
    }

    /// Returns an instruction for granting the capability.
    #[must_use]
    pub(crate) fn remedy(self) -> String {
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

/// Returns an instruction for granting capabilities to this program.
fn remedy(wanted: &[Capability]) -> String {
    let program = std::env::current_exe()
        .map_or_else(|_| "PROGRAM".to_owned(), |path| path.display().to_string());
    // setcap replaces all capabilities of the file, so that the capabilities already granted must
    // be listed again.
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
        // Capabilities are per thread.
        let text = std::thread::spawn(without_any).join().unwrap();
        assert!(
            text.starts_with("capturing packets needs CAP_NET_RAW, ")
                && text.contains("setcap cap_net_raw,cap_net_admin,cap_sys_admin+ep /"),
            "{text}"
        );
    }
}
