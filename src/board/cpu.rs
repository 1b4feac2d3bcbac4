//! Processors: architecture, features, number, page size, address space.

use super::CpuFeatures;
use super::tree::Tree;

/// Keys of the auxiliary vector, from the kernel's `include/uapi/linux/auxvec.h`.
const AT_PAGESZ: u64 = 6;
const AT_HWCAP: u64 = 16;

/// arm64 bits of `AT_HWCAP`, from `arch/arm64/include/uapi/asm/hwcap.h`: the large system
/// extensions, the rounding doubling multiply, and cleaning to the point of persistence.
const HWCAP_ATOMICS: u64 = 1 << 8;
const HWCAP_ASIMDRDM: u64 = 1 << 12;
const HWCAP_DCPOP: u64 = 1 << 16;

/// What the processors can do.
///
/// On arm64 the auxiliary vector decides, since that is what programs themselves are told, and
/// the names in `/proc/cpuinfo` only where it is silent. x86 puts AVX into neither word of it.
pub(super) fn features(tree: &Tree<'_>, cpuinfo: &str, auxv: &[u8]) -> CpuFeatures {
    let arch = arch(tree, cpuinfo);
    let listed = |field_name: &str, feature: &str| {
        field(cpuinfo, field_name).is_some_and(|f| f.split_whitespace().any(|w| w == feature))
    };
    let hwcap = auxv_value(auxv, AT_HWCAP);
    let arm = |bit: u64, name: &str| {
        arch == "aarch64" && hwcap.map_or_else(|| listed("Features", name), |word| word & bit != 0)
    };
    let lse_atomics = arm(HWCAP_ATOMICS, "atomics");
    CpuFeatures {
        arch,
        lse_atomics,
        armv8_2: lse_atomics && arm(HWCAP_ASIMDRDM, "asimdrdm") && arm(HWCAP_DCPOP, "dcpop"),
        avx: arch == "x86_64" && listed("flags", "avx"),
    }
}

/// The machine's architecture: what the kernel says since 6.1, else the shape of `/proc/cpuinfo`.
fn arch(tree: &Tree<'_>, cpuinfo: &str) -> &'static str {
    match tree.text("proc/sys/kernel/arch").as_deref() {
        Some("aarch64") => return "aarch64",
        Some("x86_64") => return "x86_64",
        Some("riscv64") => return "riscv64",
        Some(name) if name.starts_with("armv") => return "arm",
        _ => {}
    }
    let has = |name: &str, word: &str| {
        field(cpuinfo, name).is_some_and(|f| f.split_whitespace().any(|w| w == word))
    };
    if has("flags", "lm") {
        "x86_64"
    } else if has("Features", "asimd") {
        "aarch64"
    } else if field(cpuinfo, "CPU architecture").is_some() {
        "arm"
    } else if field(cpuinfo, "isa").is_some_and(|isa| isa.starts_with("rv64")) {
        "riscv64"
    } else {
        "unknown"
    }
}

/// The first value of a field in `/proc/cpuinfo`, whose lines are `name : value`.
pub(super) fn field<'a>(cpuinfo: &'a str, name: &str) -> Option<&'a str> {
    cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// How many processors are online, at least one, since something runs this.
pub(super) fn online(tree: &Tree<'_>, cpuinfo: &str) -> usize {
    tree.text("sys/devices/system/cpu/online")
        .and_then(|list| list_length(&list))
        .unwrap_or_else(|| {
            cpuinfo
                .lines()
                .filter(|line| {
                    line.split(':')
                        .next()
                        .is_some_and(|k| k.trim() == "processor")
                })
                .count()
        })
        .max(1)
}

/// The length of a kernel list such as `0-2,5` (admin-guide/cputopology).
fn list_length(list: &str) -> Option<usize> {
    list.split(',').try_fold(0_usize, |sum, part| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (usize, usize) = (from.parse().ok()?, to.parse().ok()?);
        sum.checked_add(to.checked_sub(from)?.checked_add(1)?)
    })
}

/// The page size in bytes, as the kernel tells every program.
pub(super) fn page_size(auxv: &[u8]) -> Option<u64> {
    auxv_value(auxv, AT_PAGESZ)
        .filter(|size| size.is_power_of_two() && (4096..=65_536).contains(size))
}

/// One value of an auxiliary vector: pairs of 64-bit words, key and value (proc_pid_auxv(5)).
/// All boards are little-endian; a 32-bit vector has no key that matches.
fn auxv_value(auxv: &[u8], key: u64) -> Option<u64> {
    let words: Vec<u64> = auxv
        .as_chunks::<8>()
        .0
        .iter()
        .map(|word| u64::from_le_bytes(*word))
        .collect();
    let (pairs, _) = words.as_chunks::<2>();
    pairs.iter().find(|[k, _]| *k == key).map(|[_, v]| *v)
}

/// The bits of a user address from where the kernel put the stack in `/proc/self/maps`.
///
/// The stack hangs below the top of the default address space, moved down at random by at most
/// 1 GiB on arm64 and 16 GiB on x86-64 (`STACK_RND_MASK`), far less than half of it, so its end
/// has as many bits as the space. Sizes that no kernel has, as under an emulator, are unknown.
pub(super) fn va_bits(maps: &str, arch: &str) -> Option<u32> {
    let stack = maps.lines().find(|line| line.ends_with("[stack]"))?;
    let (_, end) = stack.split_whitespace().next()?.split_once('-')?;
    let last = u64::from_str_radix(end, 16).ok()?.checked_sub(1)?;
    let bits = u64::BITS - last.leading_zeros();
    let sizes: &[u32] = match arch {
        // arch/arm64/Kconfig, ARM64_VA_BITS; of 52 bits programs get 48 unless they ask.
        "aarch64" => &[36, 39, 42, 47, 48, 52],
        // Documentation/arch/x86/x86_64/5level-paging.rst: 47 with five levels too, unless asked.
        "x86_64" => &[47],
        _ => &[],
    };
    sizes.contains(&bits).then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    const NOWHERE: &str = "/nonexistent-root";
    const PI4: &str = "processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 cpuid\n";
    const PI5: &str = "processor\t: 0\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 \
                       atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp\n";

    fn vector(pairs: &[(u64, u64)]) -> Vec<u8> {
        pairs
            .iter()
            .flat_map(|(k, v)| [k.to_le_bytes(), v.to_le_bytes()].concat())
            .collect()
    }

    fn of(cpuinfo: &str, auxv: &[u8]) -> CpuFeatures {
        features(&Tree::new(Path::new(NOWHERE)), cpuinfo, auxv)
    }

    #[test]
    fn without_an_auxiliary_vector_the_names_of_features_decide() {
        let pi4 = of(PI4, &[]);
        assert_eq!(
            (pi4.arch, pi4.lse_atomics, pi4.armv8_2),
            ("aarch64", false, false)
        );
        let pi5 = of(PI5, &[]);
        assert_eq!(
            (pi5.arch, pi5.lse_atomics, pi5.armv8_2),
            ("aarch64", true, true)
        );
    }

    #[test]
    fn what_programs_are_told_goes_before_the_names() {
        assert!(!of(PI5, &vector(&[(AT_HWCAP, 0x887)])).lse_atomics);
        assert!(of(PI4, &vector(&[(AT_HWCAP, 0x0011_9fff)])).armv8_2);
    }

    #[test]
    fn armv8_1_is_not_armv8_2() {
        let v8_1 = of(PI4, &vector(&[(AT_HWCAP, HWCAP_ATOMICS | HWCAP_ASIMDRDM)]));
        assert!(v8_1.lse_atomics && !v8_1.armv8_2);
    }

    #[test]
    fn x86_flags_do_not_pass_for_arm_features_nor_the_reverse() {
        let x86 = of("flags\t: fpu lm avx2\n", &vector(&[(AT_HWCAP, u64::MAX)]));
        assert_eq!(
            (x86.arch, x86.lse_atomics, x86.armv8_2, x86.avx),
            ("x86_64", false, false, false)
        );
        assert!(of("flags\t: fpu lm avx\n", &[]).avx);
        assert!(!of("Features\t: asimd\nflags\t: avx\n", &[]).avx);
        assert_eq!(
            of("CPU architecture: 7\nFeatures: half neon\n", &[]).arch,
            "arm"
        );
        assert_eq!(of("isa\t: rv64imafdc\n", &[]).arch, "riscv64");
        assert_eq!(of("", &[]).arch, "unknown");
    }

    #[test]
    fn lists_of_processors_are_counted() {
        assert_eq!(list_length("0-3"), Some(4));
        assert_eq!(list_length("0"), Some(1));
        assert_eq!(list_length("0-1,3,5-7"), Some(6));
        for bad in ["", "3-1", "a", "0-", "0,,1"] {
            assert_eq!(list_length(bad), None, "{bad}");
        }
        let nowhere = Tree::new(Path::new(NOWHERE));
        assert_eq!(
            online(
                &nowhere,
                "processor\t: 0\n\nprocessor\t: 1\nmodel name: processor\n"
            ),
            2
        );
        assert_eq!(online(&nowhere, ""), 1);
    }

    #[test]
    fn only_page_sizes_that_exist_are_believed() {
        for (size, wanted) in [
            (4096, true),
            (16_384, true),
            (65_536, true),
            (0, false),
            (4095, false),
            (1 << 40, false),
        ] {
            assert_eq!(
                page_size(&vector(&[(3, 9), (AT_PAGESZ, size), (0, 0)])).is_some(),
                wanted,
                "{size}"
            );
        }
        assert_eq!(page_size(b"short"), None);
    }

    #[test]
    fn the_stack_tells_the_width_of_addresses() {
        let stack = |range: &str, arch| {
            va_bits(
                &format!(
                    "55d0-55d1 r-xp 0 0 0 /x\n{range} rw-p 00000000 00:00 0      [stack]\nffffffffff600000-ffffffffff601000 --xp 0 0 0 [vsyscall]\n"
                ),
                arch,
            )
        };
        assert_eq!(stack("7fd5a3c000-7fd5a5d000", "aarch64"), Some(39));
        assert_eq!(stack("7fdf000000-8000000000", "aarch64"), Some(39));
        assert_eq!(stack("7fffd8f14000-7fffd8f38000", "aarch64"), Some(47));
        assert_eq!(stack("ffffc1d2f000-ffffc1d50000", "aarch64"), Some(48));
        assert_eq!(stack("7ffd839ba000-7ffd839db000", "x86_64"), Some(47));
        // Emulated, foreign, broken.
        assert_eq!(stack("40007ff000-4000800000", "x86_64"), None);
        assert_eq!(stack("7ffd839ba000-7ffd839db000", "riscv64"), None);
        assert_eq!(stack("0-0", "aarch64"), None);
        assert_eq!(va_bits("", "aarch64"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_panic(bytes: Vec<u8>, text in "\\PC*") {
            let _ = page_size(&bytes);
            let _ = auxv_value(&bytes, AT_HWCAP);
            let _ = list_length(&text);
            let _ = va_bits(&format!("{text} [stack]"), "aarch64");
            let _ = of(&text, &bytes);
        }

        #[test]
        fn a_stack_anywhere_in_its_random_range_gives_the_same_width(pages in 0u64..1 << 18, bits in prop::sample::select(vec![39u32, 42, 47, 48])) {
            let end = (1u64 << bits) - pages * 4096;
            let line = format!("{:x}-{end:x} rw-p 0 0 0 [stack]", end - 0x21000);
            prop_assert_eq!(va_bits(&line, "aarch64"), Some(bits));
        }
    }
}
