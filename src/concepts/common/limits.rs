//! Limits as the user writes them, for `run` and for `cgroup run`: the options, and what they come to in the
//! kernel's units.

use clap::Args;

use super::amount::{self, PERIOD};
use super::devices::Rule;
use crate::concepts::Context;
use crate::error::{Error, Result};
use crate::probe::Place;

/// How many processes a container may have when nobody says: podman's default. A fork bomb ends there.
const DEFAULT_PIDS: u64 = 2048;

/// The options. They mean what they mean to a Docker user.
#[derive(Debug, Clone, Default, Args)]
pub struct LimitArgs {
    /// Limit memory, for example 64m
    #[arg(short = 'm', long, value_name = "BYTES")]
    pub memory: Option<String>,

    /// Limit memory and swap together; -1 for as much swap as there is
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub memory_swap: Option<String>,

    /// Limit processor time, in processors: 0.5 is half of one
    #[arg(long, value_name = "NUMBER")]
    pub cpus: Option<String>,

    /// The share of processor time among those who compete for it; 1024 is usual
    #[arg(long, value_name = "NUMBER")]
    pub cpu_shares: Option<u64>,

    /// The processors that may be used, for example 0-1,3
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,

    /// Limit the number of processes; -1 for no limit
    #[arg(long, visible_alias = "pids", value_name = "NUMBER", allow_hyphen_values = true)]
    pub pids_limit: Option<i64>,

    /// The share of block I/O among those who compete for it, 10 to 1000
    #[arg(long, value_name = "NUMBER")]
    pub blkio_weight: Option<u64>,
}

/// Limits in the kernel's units.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// Bytes.
    pub memory: Option<u64>,
    /// Bytes of swap beside that; `u64::MAX` for as much as there is.
    pub swap: Option<u64>,
    /// Microseconds of processor time in each 100 ms.
    pub cpu_quota: Option<u64>,
    /// Docker's shares: 1024 is usual.
    pub cpu_shares: Option<u64>,
    /// A list of processors, as the kernel takes it.
    pub cpuset: Option<String>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Docker's weight of block I/O: 10 to 1000.
    pub blkio_weight: Option<u64>,
    /// Which devices may be used; empty for no rules at all.
    pub devices: Vec<Rule>,
}

impl Limits {
    /// Reads the options.
    pub fn settle(args: &LimitArgs) -> Result<Self> {
        let memory = args.memory.as_deref().map(memory).transpose()?.filter(|bytes| *bytes > 0);
        let quota = args.cpus.as_deref().map(|text| amount::quota("--cpus", text)).transpose()?;
        Ok(Self {
            memory,
            swap: args.memory_swap.as_deref().map(|text| swap(text, memory)).transpose()?.flatten(),
            cpu_quota: quota.filter(|quota| *quota > 0),
            cpu_shares: args.cpu_shares.map(shares).transpose()?,
            cpuset: args.cpuset_cpus.as_deref().map(cpus).transpose()?,
            pids: match args.pids_limit {
                None => Some(DEFAULT_PIDS),
                Some(limit) => u64::try_from(limit).ok().filter(|limit| *limit > 0),
            },
            blkio_weight: args.blkio_weight.map(weight).transpose()?,
            devices: Vec::new(),
        })
    }
}

/// At least 6 MiB: less cannot even start a program.
fn memory(text: &str) -> Result<u64> {
    let bytes = amount::bytes("--memory", text)?;
    if bytes > 0 && bytes < 6 << 20 {
        return Err(amount::refuse("--memory", text, "less than 6m does not let a program start"));
    }
    Ok(bytes)
}

/// The swap beside the memory. 0 leaves it as it is, as with Docker.
fn swap(text: &str, memory: Option<u64>) -> Result<Option<u64>> {
    const FLAG: &str = "--memory-swap";
    if text == "-1" {
        return Ok(Some(u64::MAX));
    }
    let both = amount::bytes(FLAG, text)?;
    let Some(memory) = memory else {
        return Err(amount::refuse(
            FLAG,
            text,
            "it is memory and swap together, so --memory must be given too",
        ));
    };
    match both {
        0 => Ok(None),
        both if both < memory => {
            Err(amount::refuse(FLAG, text, "memory and swap together cannot be less than memory alone"))
        }
        both => Ok(Some(both - memory)),
    }
}

fn shares(number: u64) -> Result<u64> {
    if (2..=262_144).contains(&number) {
        return Ok(number);
    }
    Err(amount::refuse("--cpu-shares", &number.to_string(), "the kernel takes 2 to 262144; 1024 is usual"))
}

fn weight(number: u64) -> Result<u64> {
    if (10..=1000).contains(&number) {
        return Ok(number);
    }
    Err(amount::refuse("--blkio-weight", &number.to_string(), "a weight is 10 to 1000; 500 is usual"))
}

/// `0-1,3`: numbers and ranges of processors that are online.
fn cpus(text: &str) -> Result<String> {
    const FLAG: &str = "--cpuset-cpus";
    let wrong = || amount::refuse(FLAG, text, "a list such as 0-1,3 is wanted");
    let wanted = list(text).filter(|all| !all.is_empty()).ok_or_else(wrong)?;
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    match (list(online.trim()), wanted.iter().max()) {
        (Some(online), Some(_)) if !online.is_empty() => {
            match wanted.iter().find(|cpu| !online.contains(cpu)) {
                None => Ok(text.to_owned()),
                Some(cpu) => Err(amount::refuse(
                    FLAG,
                    text,
                    format!(
                        "this machine has no processor {cpu}; online are those in /sys/devices/system/cpu/online"
                    ),
                )),
            }
        }
        _ => Ok(text.to_owned()),
    }
}

/// The numbers of a list such as `0-1,3`; more than there can be processors is no list.
fn list(text: &str) -> Option<Vec<u32>> {
    const MOST: u32 = 8192;
    let mut all = Vec::new();
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (u32, u32) = (from.parse().ok()?, to.parse().ok()?);
        if from > to || to >= MOST {
            return None;
        }
        all.extend(from..=to);
    }
    Some(all)
}

/// Docker's shares as a weight of version 2: 1 to 10000, as the OCI runtimes convert it.
#[must_use]
pub fn cpu_weight(shares: u64) -> u64 {
    1 + (shares - 2) * 9999 / 262_142
}

/// Docker's weight of block I/O as one of version 2: 1 to 10000.
#[must_use]
pub fn io_weight(weight: u64) -> u64 {
    1 + (weight - 10) * 9999 / 990
}

/// The quota as cpu.max has it.
#[must_use]
pub fn cpu_max(quota: u64) -> String {
    format!("{quota} {PERIOD}")
}

/// A limit that was asked for and that nobody would keep is a lie.
pub fn refuse_impossible(limits: &Limits, args: &LimitArgs, context: &Context) -> Result<()> {
    let privileged = context.here.is_privileged();
    let asked = [
        (limits.memory.is_some(), "memory", "--memory"),
        (limits.swap.is_some(), "memory", "--memory-swap"),
        (limits.cpu_quota.is_some(), "cpu", "--cpus"),
        (limits.cpu_shares.is_some(), "cpu", "--cpu-shares"),
        (limits.cpuset.is_some(), "cpuset", "--cpuset-cpus"),
        (args.pids_limit.is_some_and(|limit| limit > 0), "pids", "--pids-limit"),
        (limits.blkio_weight.is_some(), super::groups::io_controller(context), "--blkio-weight"),
    ];
    for (wanted, controller, flag) in asked {
        if !wanted {
            continue;
        }
        let no_place = match context.here.cgroups().place(controller, privileged) {
            Place::Nowhere(why) => Some(why),
            _ if flag == "--blkio-weight" => super::groups::weight_file(context).err(),
            _ => None,
        };
        if let Some(why) = no_place {
            let remedy = if privileged {
                "mount the controller's tree, or leave the limit out"
            } else {
                "as an ordinary user you need a delegated group: `systemd-run --user --scope -p Delegate=yes …` \
                 on cgroup v2, or run cutaway as root"
            };
            return Err(Error::new(format!("{flag} cannot be kept here"))
                .rule(why)
                .remedy(remedy)
                .chapter("22"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_to_start_a_program_is_refused() {
        assert_eq!(memory("6m").unwrap(), 6 << 20);
        assert_eq!(memory("0").unwrap(), 0, "no limit");
        assert!(memory("1k").is_err());
    }

    #[test]
    fn swap_is_what_is_beside_the_memory() {
        let memory = Some(64 << 20);
        assert_eq!(swap("100m", memory).unwrap(), Some(36 << 20));
        assert_eq!(swap("64m", memory).unwrap(), Some(0), "no swap at all");
        assert_eq!(swap("-1", memory).unwrap(), Some(u64::MAX));
        assert_eq!(swap("0", memory).unwrap(), None, "as it is");
        assert!(swap("10m", memory).is_err() && swap("100m", None).is_err());
    }

    #[test]
    fn shares_and_weights_are_converted_over_their_whole_range() {
        assert_eq!([2, 1024, 262_144].map(cpu_weight), [1, 39, 10_000]);
        assert_eq!([10, 500, 1000].map(io_weight), [1, 4950, 10_000]);
        assert!(
            shares(1).is_err() && shares(300_000).is_err() && weight(9).is_err() && weight(1001).is_err()
        );
    }

    #[test]
    fn a_list_of_processors_is_read_and_bounded() {
        assert_eq!(list("0-2,5"), Some(vec![0, 1, 2, 5]));
        for bad in ["", "a", "1-", "3-1", "0,,1", "0-99999999", "-1"] {
            assert_eq!(list(bad), None, "{bad}");
            assert!(cpus(bad).is_err(), "{bad}");
        }
        assert_eq!(cpus("0").unwrap(), "0");
        assert!(cpus("8191").unwrap_err().to_string().contains("8191"));
    }
}
