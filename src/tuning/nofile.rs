//! The hard limit of open files: it comes from whoever started us, so it is judged, not set.

use std::path::Path;

use super::{Kernel, KnobError};

/// `CAP_SYS_RESOURCE` in `linux/capability.h`: may raise hard limits.
const CAP_SYS_RESOURCE: u32 = 24;

/// The limits that bear on the engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Hard `RLIMIT_NOFILE` of this process, which its children inherit.
    pub(super) hard: u64,
    /// `fs.nr_open`: no hard limit may be raised above it.
    pub(super) ceiling: Option<u64>,
    /// Whether this process may raise hard limits.
    pub(super) can_raise: bool,
}

/// Reads the limits of this process.
pub(super) fn read(kernel: &dyn Kernel) -> Result<Limits, KnobError> {
    let path = Path::new("proc/self/limits");
    let limits = kernel.read(path).map_err(|source| KnobError::Read {
        path: path.into(),
        source,
    })?;
    let hard = hard_limit(&limits).ok_or_else(|| KnobError::Form {
        path: path.into(),
        found: limits
            .lines()
            .find(|line| line.starts_with(LINE))
            .unwrap_or_default()
            .to_owned(),
    })?;
    let ceiling = kernel.read(Path::new("proc/sys/fs/nr_open"));
    let status = kernel.read(Path::new("proc/self/status"));
    Ok(Limits {
        hard,
        ceiling: ceiling.ok().and_then(|text| text.trim().parse().ok()),
        can_raise: status.is_ok_and(|text| may_raise(&text)),
    })
}

/// Judges the limits: the value found, or why it is not enough.
pub(super) fn judge(limits: Limits, wanted: u64) -> Result<u64, KnobError> {
    let ceiling = limits.ceiling.unwrap_or(u64::MAX);
    if limits.hard >= wanted || (limits.can_raise && ceiling >= wanted) {
        return Ok(limits.hard);
    }
    let remedy = if limits.can_raise {
        format!("fs.nr_open allows only {ceiling}: raise it")
    } else {
        "it cannot be raised without CAP_SYS_RESOURCE: set LimitNOFILE= in the service, or \
         ulimit -Hn before the start"
            .to_owned()
    };
    Err(KnobError::Nofile {
        hard: limits.hard,
        wanted,
        remedy,
    })
}

const LINE: &str = "Max open files";

fn hard_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(LINE))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn may_raise(status: &str) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|set| set >> CAP_SYS_RESOURCE & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units     \n\
Max processes             96244                96244                processes \n\
Max open files            1024                 524288               files     \n";

    #[test]
    fn the_hard_limit_is_the_second_number() {
        assert_eq!(hard_limit(LIMITS), Some(524_288));
        assert_eq!(
            hard_limit("Max open files   unlimited  unlimited  files"),
            Some(u64::MAX)
        );
        assert_eq!(hard_limit("Max open files   1024"), None);
        assert_eq!(hard_limit(""), None);
    }

    #[test]
    fn the_capability_is_bit_24_of_the_effective_set() {
        assert!(may_raise("CapPrm:\t0\nCapEff:\t000001ffffffffff\n"));
        assert!(!may_raise("CapEff:\t000001fffeffffff\n"));
        assert!(!may_raise("CapEff:\tnonsense\n"));
        assert!(!may_raise(""));
    }

    #[test]
    fn a_low_limit_is_enough_only_where_it_can_be_raised() {
        let limits = |hard, ceiling, can_raise| Limits {
            hard,
            ceiling,
            can_raise,
        };
        assert_eq!(judge(limits(70_000, None, false), 64_000).unwrap(), 70_000);
        assert_eq!(
            judge(limits(1024, Some(1 << 20), true), 64_000).unwrap(),
            1024
        );
        let error = judge(limits(20_000, Some(1 << 20), false), 64_000).unwrap_err();
        assert!(error.to_string().contains("CAP_SYS_RESOURCE"), "{error}");
        let error = judge(limits(1024, Some(4096), true), 64_000).unwrap_err();
        assert!(error.to_string().contains("fs.nr_open"), "{error}");
    }
}
