//! Logical CPUs of this machine: parsing of `/proc/cpuinfo` and CPU lists, and CPU affinity.

use std::io;

use rustix::thread::{CpuSet, sched_setaffinity};

/// Logical CPU. Strings are empty and numbers are zero if the kernel does not report them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Number of the logical CPU, from 0.
    pub number: u32,
    /// Vendor, such as `GenuineIntel`.
    pub vendor_id: String,
    /// Family, as reported by the kernel.
    pub family: String,
    /// Model number, as reported by the kernel.
    pub model: String,
    /// Stepping number.
    pub stepping: u32,
    /// Id of the CPU socket.
    pub physical_id: String,
    /// Id of the core in the socket.
    pub core_id: String,
    /// Number of cores in the socket.
    pub cores: u32,
    /// Marketing name.
    pub model_name: String,
    /// Clock frequency in MHz, rounded down.
    pub mhz: u32,
    /// Cache size in KiB.
    pub cache_kib: u32,
    /// Microcode version.
    pub microcode: String,
}

/// Parses the content of `/proc/cpuinfo`. Unknown lines are ignored.
#[must_use]
pub(crate) fn parse_cpuinfo(text: &str) -> Vec<Cpu> {
    let mut cpus: Vec<Cpu> = Vec::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        if key == "processor" {
            if let Ok(number) = value.parse() {
                cpus.push(Cpu {
                    number,
                    ..Cpu::default()
                });
            }
            continue;
        }
        let Some(cpu) = cpus.last_mut() else { continue };
        match key {
            "vendor_id" | "CPU implementer" => value.clone_into(&mut cpu.vendor_id),
            "cpu family" | "CPU architecture" => value.clone_into(&mut cpu.family),
            "model" | "CPU part" => value.clone_into(&mut cpu.model),
            "stepping" | "CPU revision" => cpu.stepping = leading_number(value),
            "physical id" => value.clone_into(&mut cpu.physical_id),
            "core id" => value.clone_into(&mut cpu.core_id),
            "cpu cores" => cpu.cores = leading_number(value),
            "model name" => value.clone_into(&mut cpu.model_name),
            "cpu MHz" => cpu.mhz = leading_number(value),
            "cache size" => cpu.cache_kib = leading_number(value),
            "microcode" => value.clone_into(&mut cpu.microcode),
            _ => {}
        }
    }
    cpus
}

/// Expands a list in the kernel's notation, such as `0-2,5`, to at most 65536 numbers. The list
/// ends before the first part that is not a number or range.
#[must_use]
pub(crate) fn parse_list(text: &str) -> Vec<u32> {
    let mut numbers = Vec::new();
    for part in text.trim().split(',').filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (Ok(first), Ok(last)) = (first.trim().parse::<u32>(), last.trim().parse()) else {
            break;
        };
        numbers.extend((first..=last).take(MAX_LIST - numbers.len()));
    }
    numbers
}

/// Pins the calling thread to a logical CPU.
///
/// # Errors
/// Returns `InvalidInput` if the CPU does not exist or is not available to this process.
pub(crate) fn pin(number: u32) -> io::Result<()> {
    let index = number as usize;
    if index >= CpuSet::MAX_CPU {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut set = CpuSet::new();
    set.set(index);
    Ok(sched_setaffinity(None, &set)?)
}

/// Returns the number at the start of a string; 0 if there is none.
fn leading_number(text: &str) -> u32 {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text[..digits].parse().unwrap_or(0)
}

/// Maximum number of elements to which a list expands.
const MAX_LIST: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\n\
        model\t\t: 106\nmodel name\t: Intel(R) Xeon(R) Processor @ 2.90GHz\nstepping\t: 6\n\
        microcode\t: 0x1\ncpu MHz\t\t: 2899.998\ncache size\t: 49152 KB\nphysical id\t: 0\n\
        core id\t\t: 0\ncpu cores\t: 2\nflags\t\t: fpu vme\n\nprocessor\t: 1\ncore id\t\t: 1\n";

    #[test]
    fn each_processor_gets_its_own_lines() {
        let cpus = parse_cpuinfo(INFO);
        assert_eq!(cpus.len(), 2);
        let wanted = Cpu {
            number: 0,
            vendor_id: "GenuineIntel".into(),
            family: "6".into(),
            model: "106".into(),
            stepping: 6,
            physical_id: "0".into(),
            core_id: "0".into(),
            cores: 2,
            model_name: "Intel(R) Xeon(R) Processor @ 2.90GHz".into(),
            mhz: 2899,
            cache_kib: 49_152,
            microcode: "0x1".into(),
        };
        assert_eq!(cpus[0], wanted);
        assert_eq!((cpus[1].number, cpus[1].core_id.as_str()), (1, "1"));
    }

    #[test]
    fn a_thread_can_be_kept_on_a_processor_that_exists() {
        let outcomes = std::thread::spawn(|| {
            let allowed = rustix::thread::sched_getaffinity(None).unwrap();
            let first = (0..CpuSet::MAX_CPU).find(|n| allowed.is_set(*n)).unwrap();
            let pinned = pin(u32::try_from(first).unwrap());
            let now = rustix::thread::sched_getaffinity(None).unwrap();
            (
                pinned.is_ok(),
                now.count(),
                now.is_set(first),
                pin(1_000_000).is_err(),
            )
        });
        assert_eq!(outcomes.join().unwrap(), (true, 1, true, true));
    }

    #[test]
    fn nonsense_is_skipped() {
        assert!(parse_cpuinfo("model : 1\nprocessor : x\n:::\n").is_empty());
    }

    #[test]
    fn lists_expand_and_stay_bounded() {
        assert_eq!(parse_list("\n"), [0; 0]);
        assert_eq!(parse_list("3"), [3]);
        assert_eq!(parse_list("1-1,9-8,4"), [1, 4]);
        assert_eq!(parse_list("1,x,2"), [1]);
        assert_eq!(parse_list("0-4294967295,7").len(), MAX_LIST);
    }
}
