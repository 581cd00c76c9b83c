//! Linux capabilities of the calling thread, and help messages for missing ones.
//!
//! A thread uses its effective capabilities; it can make its permitted capabilities effective. The
//! daemon makes `CAP_SYS_ADMIN` effective only while a thread enters a namespace ([`with_effective`]).

use std::fmt;
use std::io;

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, capabilities, remove_capability_from_bounding_set, set_capabilities,
};

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

    /// Returns whether the calling thread can use the capability.
    #[must_use]
    pub(crate) fn is_available(self) -> bool {
        capabilities(None).is_ok_and(|sets| match self {
            Self::SysAdmin => sets.permitted.contains(self.bit()),
            Self::NetRaw | Self::NetAdmin => sets.effective.contains(self.bit()),
        })
    }

    /// Returns one line with the operations that the calling thread cannot perform and how to grant
    /// the capabilities; `None` if it has all capabilities.
    #[must_use]
    pub(crate) fn missing() -> Option<String> {
        let missing: Vec<Self> = Self::ALL
            .into_iter()
            .filter(|capability| !capability.is_available())
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

/// Calls `work` while a permitted capability of the calling thread is effective.
pub(crate) fn with_effective<T>(capability: Capability, work: impl FnOnce() -> T) -> T {
    let bit = capability.bit();
    let sets = capabilities(None).ok();
    let sets = sets.filter(|s| s.permitted.contains(bit) && !s.effective.contains(bit));
    let Some(sets) = sets else {
        return work();
    };
    let mut raised = sets;
    raised.effective |= bit;
    // If the kernel refuses, the work fails with a clear error.
    let _raised = set_capabilities(None, raised);
    let result = work();
    let _lowered = set_capabilities(None, sets);
    result
}

/// Removes all capabilities except `wanted` from the calling thread, and from the threads and programs
/// that it starts later; `CAP_SYS_ADMIN` is not effective then ([`with_effective`]).
///
/// # Errors
/// Returns the error of the kernel; some capabilities may have been removed.
pub(crate) fn retain_only(wanted: CapabilitySet) -> io::Result<()> {
    let mut sets = capabilities(None)?;
    // A program that root starts would have all capabilities of the bounding set.
    if sets.effective.contains(CapabilitySet::SETPCAP) {
        for bit in CapabilitySet::all().difference(wanted).iter() {
            match remove_capability_from_bounding_set(bit) {
                // An older kernel does not know the capability.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    sets.permitted &= wanted;
    sets.inheritable &= wanted;
    sets.effective = sets.permitted.difference(CapabilitySet::SYS_ADMIN);
    Ok(set_capabilities(None, sets)?)
}

/// Returns an instruction for granting capabilities to this program.
fn remedy(wanted: &[Capability]) -> String {
    let program = std::env::current_exe()
        .map_or_else(|_| "PROGRAM".to_owned(), |path| path.display().to_string());
    // setcap replaces all capabilities of the file, so that the capabilities already granted must
    // be listed again.
    let flags: Vec<String> = Capability::ALL
        .into_iter()
        .filter(|capability| wanted.contains(capability) || capability.is_available())
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
        let set = |key| {
            let line = status.lines().find_map(|l| l.strip_prefix(key)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        let sets = [set("CapEff:"), set("CapEff:"), set("CapPrm:")];
        for ((capability, number), set) in Capability::ALL.into_iter().zip([13, 12, 21]).zip(sets) {
            let is_set = set >> number & 1 == 1;
            assert_eq!(capability.is_available(), is_set, "{capability}");
        }
    }

    #[test]
    #[ignore = "needs root: removes capabilities of a thread"]
    fn only_wanted_capabilities_remain_and_one_is_raised_when_needed() {
        let work = || {
            let wanted = CapabilitySet::NET_RAW | CapabilitySet::SYS_ADMIN;
            retain_only(wanted).unwrap();
            let effective = || capabilities(None).unwrap().effective;
            assert_eq!(effective(), CapabilitySet::NET_RAW);
            assert_eq!(capabilities(None).unwrap().permitted, wanted);
            assert!(Capability::SysAdmin.is_available() && !Capability::NetAdmin.is_available());
            let inside = with_effective(Capability::SysAdmin, effective);
            assert_eq!((inside, effective()), (wanted, CapabilitySet::NET_RAW));
            // Without permission, nothing is raised.
            assert_eq!(
                with_effective(Capability::NetAdmin, effective),
                CapabilitySet::NET_RAW
            );
            // A program that this thread starts has no other capabilities, although it runs as root.
            let status = std::process::Command::new("cat")
                .arg("/proc/self/status")
                .output();
            let status = String::from_utf8(status.unwrap().stdout).unwrap();
            let line = status
                .lines()
                .find_map(|l| l.strip_prefix("CapPrm:"))
                .unwrap();
            let permitted = u64::from_str_radix(line.trim(), 16).unwrap();
            assert_eq!(permitted, wanted.bits());
        };
        std::thread::spawn(work).join().unwrap();
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
            set_capabilities(None, empty).unwrap();
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
