//! Which parts of a file differ between two snapshots, by where they lie on the disk: parts that
//! both share need not be read (kernel doc, filesystems/fiemap.rst).

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;

/// `FIEMAP_FLAG_SYNC`: what waits in memory is written first.
const SYNC: u32 = 1;
/// Last extent of the file.
const LAST: u32 = 0x1;
/// Where it lies is not known, or not yet: `UNKNOWN`, `DELALLOC`, `NOT_ALIGNED`, `DATA_INLINE`.
const NOWHERE: u32 = 0x2 | 0x4 | 0x100 | 0x200;
/// Compressed: the position is that of the whole, whichever part is meant.
const ENCODED: u32 = 0x8;
/// Extents that one call tells.
const AT_ONCE: usize = 128;

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct RawExtent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

#[repr(C)]
#[derive(Debug)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
    extents: [RawExtent; AT_ONCE],
}

mod ioctl {
    #![allow(unsafe_code, missing_docs)]
    // `FS_IOC_FIEMAP` (linux/fs.h): its number counts the head alone, of 32 bytes.
    nix::ioctl_readwrite_bad!(
        fiemap,
        nix::request_code_readwrite!(b'f', 11, 32),
        super::Fiemap
    );
}

fn extents(file: &File) -> std::io::Result<Vec<RawExtent>> {
    let mut found: Vec<RawExtent> = Vec::new();
    let mut start = 0;
    loop {
        let mut map = Fiemap {
            start,
            length: u64::MAX - start,
            flags: SYNC,
            mapped_extents: 0,
            extent_count: u32::try_from(AT_ONCE).unwrap_or(0),
            reserved: 0,
            extents: [RawExtent::default(); AT_ONCE],
        };
        // SAFETY: the kernel writes at most `extent_count` extents behind the head, for which `map`
        // has room, and `file` is open for the whole call.
        #[allow(unsafe_code)]
        unsafe {
            ioctl::fiemap(file.as_raw_fd(), &raw mut map)?;
        }
        let told = usize::try_from(map.mapped_extents)
            .unwrap_or(0)
            .min(AT_ONCE);
        let told = &map.extents[..told];
        found.extend_from_slice(told);
        match told.last() {
            Some(last) if last.flags & LAST == 0 => start = last.logical + last.length,
            _ => return Ok(found),
        }
    }
}

/// Parts of `now` that may differ from `before`, a snapshot of the same file on the same disk.
///
/// # Errors
/// What the kernel says; then nothing is known of either.
pub(super) fn changed(now: &File, before: &File) -> std::io::Result<Vec<Range<u64>>> {
    let size = now.metadata()?.len();
    Ok(outside(&shared(&extents(now)?, &extents(before)?), size))
}

/// All of a file.
pub(super) fn whole(size: u64) -> Vec<Range<u64>> {
    outside(&[], size)
}

/// Parts that both have at the same place, in order.
fn shared(now: &[RawExtent], before: &[RawExtent]) -> Vec<Range<u64>> {
    let mut both = Vec::new();
    let mut others = before.iter().peekable();
    for extent in now.iter().filter(|extent| extent.flags & NOWHERE == 0) {
        let end = extent.logical + extent.length;
        while others
            .next_if(|other| other.logical + other.length <= extent.logical)
            .is_some()
        {}
        let mut rest = others.clone();
        while let Some(other) = rest.next_if(|other| other.logical < end) {
            let one = |e: &RawExtent| e.physical.wrapping_sub(e.logical);
            let encoded = (extent.flags | other.flags) & ENCODED != 0;
            let same = if encoded {
                (extent.logical, extent.physical, extent.length)
                    == (other.logical, other.physical, other.length)
            } else {
                one(extent) == one(other)
            };
            if same && other.flags & NOWHERE == 0 {
                both.push(extent.logical.max(other.logical)..end.min(other.logical + other.length));
            }
        }
    }
    both
}

/// What lies between `parts` and below `size`; holes as well.
fn outside(parts: &[Range<u64>], size: u64) -> Vec<Range<u64>> {
    let mut left = Vec::new();
    let mut at = 0;
    for part in parts {
        if part.start > at {
            left.push(at..part.start.min(size));
        }
        at = at.max(part.end);
    }
    if at < size {
        left.push(at..size);
    }
    left.retain(|part| part.start < part.end);
    left
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use proptest::prelude::*;

    use super::*;

    fn extent(logical: u64, physical: u64, length: u64, flags: u32) -> RawExtent {
        RawExtent {
            logical,
            physical,
            length,
            flags,
            ..RawExtent::default()
        }
    }

    #[test]
    fn only_what_lies_at_the_same_place_is_shared() {
        let before = [extent(0, 1000, 100, 0), extent(100, 5000, 100, 0)];
        let now = [
            extent(0, 1000, 40, 0),
            extent(40, 9000, 20, 0),
            extent(60, 1060, 40, 0),
            extent(100, 5000, 100, 0),
        ];
        assert_eq!(shared(&now, &before), [0..40, 60..100, 100..200]);
        assert_eq!(outside(&shared(&now, &before), 250), [40..60, 200..250]);
        let packed = [extent(0, 1000, 100, ENCODED)];
        assert_eq!(
            shared(&[extent(0, 1000, 50, ENCODED)], &packed),
            [] as [Range<u64>; 0]
        );
        assert_eq!(shared(&packed, &packed), whole(100));
        let inline = [extent(0, 0, 100, 0x200)];
        assert_eq!(shared(&inline, &inline), [] as [Range<u64>; 0]);
    }

    #[test]
    fn a_file_shares_everything_with_itself_or_nothing_is_known() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; 1 << 20]).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        // A file system without extents answers an error.
        if let Ok(parts) = changed(&file, &file) {
            assert_eq!(parts, [] as [Range<u64>; 0]);
        }
    }

    proptest! {
        #[test]
        fn shared_and_outside_cover_the_file_once(cuts in proptest::collection::vec(1u64..50, 1..10), size in 1u64..400) {
            let mut at = 0;
            let parts: Vec<_> = cuts.chunks(2).map(|cut| {
                let start = at + cut[0];
                at = start + cut.get(1).copied().unwrap_or(5);
                start..at
            }).collect();
            let outside = outside(&parts, size);
            for byte in 0..size {
                let inside = parts.iter().any(|part| part.contains(&byte));
                prop_assert_eq!(outside.iter().filter(|part| part.contains(&byte)).count(), usize::from(!inside));
            }
        }
    }
}
