//! How the board's RAM is shared: a pure function with a table in `docs/memory.md`.
//!
//! RAM minus a reserve is split among the enabled datastores by weight, none below its floor.
//! The share becomes the engine's `memory.max`; its caches are sized well below that, because
//! connections, forks and allocators need room that no engine accounts for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Config, EngineKind, Role};
use crate::units::{ByteSize, GIB, MIB, human_bytes};

/// What one engine gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineMemory {
    /// `memory.max` in bytes: the kernel kills above it.
    pub max: u64,
    /// `memory.high` in bytes: the kernel throttles and reclaims above it.
    pub high: u64,
    /// WiredTiger cache, Redis `maxmemory`, buffers of the search node or Java heap in bytes.
    pub cache: u64,
}

/// One row of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Role.
    pub role: Role,
    /// Engine.
    pub engine: EngineKind,
    /// The least this engine works with, in bytes.
    pub floor: u64,
    /// What it gets.
    pub memory: EngineMemory,
}

/// The whole plan. The sum of reserve and shares never exceeds the RAM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// RAM in bytes.
    pub ram: u64,
    /// Kept for the system, in bytes.
    pub reserve: u64,
    /// Per enabled datastore, in start order.
    pub shares: Vec<Share>,
}

/// A configuration that does not fit the board.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "does not fit into {} of RAM: {arithmetic}; {remedy}",
    human_bytes(*ram)
)]
pub struct PlanError {
    ram: u64,
    arithmetic: String,
    remedy: String,
}

/// The least an engine works with.
///
/// secantus: 64 MiB cache used 507 MiB under load when nothing bounded it, and serves within
/// 192 MiB. mongod: its cache is never below 256 MiB. Redis: a few MiB empty, and room for a
/// fork. The search node: 32 MiB of buffers, and as much for the program and the files that it
/// reads. Elasticsearch: 512 MiB heap and about as much outside it.
const fn floor(engine: EngineKind) -> u64 {
    match engine {
        EngineKind::Secantus => 192 * MIB,
        EngineKind::Mongod => 768 * MIB,
        EngineKind::Redis | EngineKind::Valkey | EngineKind::SearchNode => 64 * MIB,
        EngineKind::Elasticsearch => 1280 * MIB,
    }
}

/// An eighth of the RAM, at least 256 MiB and at most 1 GiB; on the smallest boards three tenths
/// of the RAM. Up to a quarter of it is given to the engines when they need at least `least` bytes,
/// so that a Zero 2 W (417 MiB) still carries all three datastores.
fn default_reserve(ram: u64, least: u64) -> u64 {
    let whole = (ram / 8).max((256 * MIB).min(ram / 10 * 3)).min(GIB);
    ram.saturating_sub(least).clamp(whole / 4 * 3, whole)
}

/// Cache of an engine that may use `max` bytes; `redis_cap` is the configured `maxmemory`.
fn cache(engine: EngineKind, max: u64, redis_cap: u64) -> u64 {
    match engine {
        // Memory outside the cache grows with connections and result sets.
        EngineKind::Secantus => (max / 3).clamp(32 * MIB, 8 * GIB),
        // The server's own rule, (RAM - 1 GiB) / 2 and at least 256 MiB, on its share.
        EngineKind::Mongod => (max.saturating_sub(512 * MIB) / 2).max(256 * MIB),
        // A fork for BGSAVE or an AOF rewrite copies what is written meanwhile: the engine's
        // documentation advises to leave up to half free.
        EngineKind::Redis | EngineKind::Valkey => (max / 2).max(32 * MIB).min(redis_cap),
        // Segments are mapped files: the kernel keeps what is read of them in the other half.
        EngineKind::SearchNode => (max / 2).max(32 * MIB),
        // At most half of the memory for the heap, and below the limit of compressed pointers.
        EngineKind::Elasticsearch => (max / 2).min(26 * GIB),
    }
}

impl MemoryPlan {
    /// Plans for `ram` bytes. Deterministic, no I/O.
    ///
    /// # Errors
    /// [`PlanError`] with the arithmetic where floors or fixed limits do not fit.
    pub fn new(config: &Config, ram: u64) -> Result<Self, PlanError> {
        let rows: Vec<_> = config.enabled().collect();
        let need = |common: &super::Common<'_>| common.memory.map_or(floor(common.engine), |m| m.0);
        // Fixed limits may be absurd; their sum must not wrap.
        let least = rows.iter().map(need).fold(0, u64::saturating_add);
        let reserve = match config.memory.reserve {
            Some(reserve) => reserve.0,
            None => default_reserve(ram, least),
        };
        for common in &rows {
            if let Some(ByteSize(fixed)) = common.memory
                && fixed < floor(common.engine)
            {
                return Err(PlanError {
                    ram,
                    arithmetic: format!(
                        "datastore.{}.memory = {} is less than the {} that {} needs",
                        common.role,
                        ByteSize(fixed),
                        ByteSize(floor(common.engine)),
                        common.engine.name(),
                    ),
                    remedy: "raise it or leave it out".to_owned(),
                });
            }
        }
        let Some(available) = ram
            .checked_sub(reserve)
            .filter(|available| *available >= least)
        else {
            let mut terms = vec![format!("{} reserve", human_bytes(reserve))];
            terms.extend(rows.iter().map(|common| {
                let what = if common.memory.is_some() {
                    "fixed"
                } else {
                    "floor"
                };
                format!("{} {} ({what})", human_bytes(need(common)), common.role)
            }));
            return Err(PlanError {
                ram,
                arithmetic: format!(
                    "{} = {}",
                    terms.join(" + "),
                    human_bytes(reserve.saturating_add(least))
                ),
                remedy: "disable a datastore, choose a smaller engine, lower a fixed memory or \
                         the reserve, or use a board with more RAM"
                    .to_owned(),
            });
        };
        let maxima = split(config, &rows, available);
        let cap = config.datastore.cache.maxmemory.0;
        let shares = rows
            .iter()
            .map(|common| {
                let max = maxima.get(&common.role).copied().unwrap_or_default();
                let memory = EngineMemory {
                    max,
                    high: max / 10 * 9,
                    cache: cache(common.engine, max, cap),
                };
                Share {
                    role: common.role,
                    engine: common.engine,
                    floor: need(common),
                    memory,
                }
            })
            .collect();
        Ok(Self {
            ram,
            reserve,
            shares,
        })
    }

    /// What `role` gets.
    pub fn of(&self, role: Role) -> Option<EngineMemory> {
        self.shares
            .iter()
            .find(|share| share.role == role)
            .map(|share| share.memory)
    }
}

/// Fixed limits first; then those whose weighted share lies below their floor get the floor, and
/// the rest is split by weight among the others.
fn split(config: &Config, rows: &[super::Common<'_>], available: u64) -> BTreeMap<Role, u64> {
    let mut settled: BTreeMap<Role, u64> = rows
        .iter()
        .filter_map(|c| Some((c.role, c.memory?.0)))
        .collect();
    let weight = |role: Role| u64::from(config.memory.weights.get(&role).copied().unwrap_or(1));
    loop {
        let open: Vec<_> = rows
            .iter()
            .filter(|c| !settled.contains_key(&c.role))
            .collect();
        let rest = available - settled.values().sum::<u64>();
        let total: u64 = open.iter().map(|c| weight(c.role)).sum::<u64>().max(1);
        let share = |c: &super::Common<'_>| {
            let bytes = u128::from(rest) * u128::from(weight(c.role)) / u128::from(total);
            // Whole MiB, so that printed figures are the real ones.
            u64::try_from(bytes).unwrap_or(rest) / MIB * MIB
        };
        let low: Vec<_> = open.iter().filter(|c| share(c) < floor(c.engine)).collect();
        if low.is_empty() {
            settled.extend(open.iter().map(|c| (c.role, share(c))).collect::<Vec<_>>());
            return settled;
        }
        settled.extend(low.iter().map(|c| (c.role, floor(c.engine))));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn boards_from_one_to_sixteen_gigabytes_fit_the_default_configuration() {
        for gib in [1, 2, 4, 8, 16] {
            // A "1 GB" board shows the kernel about 92 % of it.
            let ram = gib * GIB / 100 * 92;
            let plan = MemoryPlan::new(&Config::default(), ram).unwrap();
            assert_eq!(plan.shares.len(), 3);
        }
    }

    #[test]
    fn the_smallest_board_holds_three_datastores_and_a_smaller_one_says_why_not() {
        // MemTotal of tests/boards/zero-2-w.
        let zero_2_w = 427_104 * 1024;
        let plan = MemoryPlan::new(&Config::default(), zero_2_w).unwrap();
        assert_eq!(plan.reserve, zero_2_w - 320 * MIB);
        let error = MemoryPlan::new(&Config::default(), 400 * MIB).unwrap_err();
        assert!(error.to_string().contains("64.0 MiB search"), "{error}");
    }

    #[test]
    fn redis_gets_its_two_gigabytes_where_the_board_has_them_and_never_more() {
        let plan = MemoryPlan::new(&Config::default(), 16 * GIB).unwrap();
        assert_eq!(plan.of(Role::Cache).unwrap().cache, 2 * GIB);
        let plan = MemoryPlan::new(&Config::default(), GIB).unwrap();
        assert!(plan.of(Role::Cache).unwrap().cache < 200 * MIB);
    }

    #[test]
    fn what_cannot_fit_is_refused_with_the_arithmetic() {
        let mut config = Config::default();
        config.datastore.search.enabled = true;
        config.datastore.search.engine = EngineKind::Elasticsearch;
        let error = MemoryPlan::new(&config, GIB).unwrap_err().to_string();
        for part in [
            "192.0 MiB reserve",
            "192.0 MiB document",
            "1.2 GiB search",
            "disable",
        ] {
            assert!(error.contains(part), "{part} missing in: {error}");
        }
    }

    #[test]
    fn a_fixed_memory_below_the_floor_names_the_key() {
        let mut config = Config::default();
        config.datastore.cache.memory = Some(ByteSize(MIB));
        let error = MemoryPlan::new(&config, GIB).unwrap_err().to_string();
        assert!(error.contains("datastore.cache.memory"), "{error}");
    }

    proptest! {
        #[test]
        fn sums_never_exceed_the_ram_and_floors_hold(
            ram in 0u64..64 * GIB,
            reserve in proptest::option::of(0u64..8 * GIB),
            enabled in any::<[bool; 3]>(),
            fixed in proptest::option::of(64 * MIB..16 * GIB),
            weights in any::<[u8; 3]>(),
            mongod in any::<bool>(),
            elasticsearch in any::<bool>(),
        ) {
            let mut config = Config::default();
            config.datastore.document.enabled = enabled[0];
            config.datastore.cache.enabled = enabled[1];
            config.datastore.search.enabled = enabled[2];
            config.datastore.cache.memory = fixed.map(ByteSize);
            config.memory.reserve = reserve.map(ByteSize);
            if mongod {
                config.datastore.document.engine = EngineKind::Mongod;
            }
            if elasticsearch {
                config.datastore.search.engine = EngineKind::Elasticsearch;
            }
            for (role, weight) in Role::ALL.into_iter().zip(weights) {
                config.memory.weights.insert(role, u32::from(weight) + 1);
            }
            if let Ok(plan) = MemoryPlan::new(&config, ram) {
                let sum: u64 = plan.shares.iter().map(|s| s.memory.max).sum();
                prop_assert!(plan.reserve + sum <= ram, "{plan:?}");
                for share in &plan.shares {
                    prop_assert!(share.memory.max >= floor(share.engine));
                    prop_assert!(share.memory.high <= share.memory.max);
                    prop_assert!(share.memory.cache <= share.memory.max);
                }
            }
        }
    }
}
