//! The file in the order of its keys, as a stream.
//!
//! Keys are dealt to groups by a hash of theirs; the file is read once for each group, which is
//! sorted in memory. Memory is bounded by the size of a group, and a key is always in the same one.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crc::{CRC_64_REDIS, Crc, Digest, Table};

use super::scan::{END, EXPIRE_MS, Piece, SELECT, Scan, ScanError};

/// What a group should hold, in bytes.
const GROUP: u64 = 32 << 20;
/// How often the file is read at most; then groups are larger.
const GROUPS: u64 = 16;
/// A value above this stays in the file until it is its turn.
const LARGE: u64 = 1 << 20;
const CHECKSUM: usize = 8;

/// Facts that every save has anew, and that only a replica would want.
const OF_ONE_SAVE: [&[u8]; 5] = [
    b"ctime",
    b"used-mem",
    b"repl-stream-db",
    b"repl-id",
    b"repl-offset",
];

type Sum = Digest<'static, u64, Table<16>>;
static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

/// What is yet to be read, in order.
enum Out {
    Bytes(Vec<u8>),
    /// Of the group in memory.
    Held {
        from: usize,
        to: usize,
    },
    /// Of the file.
    File {
        at: u64,
        bytes: u64,
    },
}

impl Out {
    fn bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Held { from, to } => (to - from) as u64,
            Self::File { bytes, .. } => *bytes,
        }
    }
}

struct Entry {
    key: Vec<u8>,
    /// What of it is in memory.
    from: usize,
    to: usize,
    /// What follows in the file.
    large: Option<(u64, u64)>,
}

/// The sorted file.
pub struct Sorted {
    file: File,
    groups: u64,
    /// The next one.
    group: u64,
    held: Vec<u8>,
    out: VecDeque<Out>,
    /// How far the first of `out` was read.
    done: u64,
    bytes: u64,
    keys: u64,
    /// Ended when the checksum was put out.
    sum: Option<Sum>,
}

impl std::fmt::Debug for Sorted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sorted")
            .field("groups", &self.groups)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// FNV-1a: the same on every machine and in every version.
fn group_of(key: &[u8], groups: u64) -> u64 {
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // Its low bits alone know little of the end of a key.
    ((hash >> 32) ^ hash) % groups
}

/// Numbers in keys count as numbers: what was made one after the other, and changes together, lies
/// together.
fn compare(one: &[u8], two: &[u8]) -> Ordering {
    fn number(text: &[u8]) -> (&[u8], &[u8]) {
        let end = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        text.split_at(end)
    }
    let (mut left, mut right) = (one, two);
    loop {
        let ((ours, left_rest), (theirs, right_rest)) = (number(left), number(right));
        if !ours.is_empty() && !theirs.is_empty() {
            let plain = |digits: &[u8]| digits.iter().take_while(|byte| **byte == b'0').count();
            let (ours, theirs) = (&ours[plain(ours)..], &theirs[plain(theirs)..]);
            let order = ours.len().cmp(&theirs.len()).then_with(|| ours.cmp(theirs));
            if order != Ordering::Equal {
                return order;
            }
            (left, right) = (left_rest, right_rest);
            continue;
        }
        match (left.split_first(), right.split_first()) {
            (Some((ours, left_rest)), Some((theirs, right_rest))) if ours == theirs => {
                (left, right) = (left_rest, right_rest);
            }
            // Where leading zeros alone differ.
            (None, None) => return one.cmp(two),
            (ours, theirs) => {
                return ours
                    .map(|(byte, _)| byte)
                    .cmp(&theirs.map(|(byte, _)| byte));
            }
        }
    }
}

/// The opcode that begins a logical database.
fn select(database: u64) -> Vec<u8> {
    let mut bytes = vec![SELECT];
    match u8::try_from(database) {
        Ok(small) if small < 0x40 => bytes.push(small),
        _ => {
            bytes.push(0x81);
            bytes.extend(database.to_be_bytes());
        }
    }
    bytes
}

fn range(file: &File, at: u64, bytes: u64) -> io::Result<Vec<u8>> {
    let mut found = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
    file.read_exact_at(&mut found, at)?;
    Ok(found)
}

impl Sorted {
    /// Looks through the RDB file at `path`, which must not change while this is read.
    ///
    /// # Errors
    /// [`ScanError`]: it cannot be read, or holds what is not known here.
    pub fn open(path: &Path) -> Result<Self, ScanError> {
        let file = File::open(path)?;
        let groups = file.metadata()?.len().div_ceil(GROUP).next_power_of_two();
        let groups = groups.clamp(1, GROUPS);
        let (mut scan, magic) = Scan::new(file.try_clone()?)?;
        let (mut database, mut keys, mut bytes) = (0, 0, 0);
        let mut front = vec![Out::Bytes(magic.to_vec())];
        let mut sizes: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        let mut used = BTreeSet::new();
        loop {
            match scan.next()? {
                Piece::Aux { name, .. } if OF_ONE_SAVE.contains(&name.as_slice()) => {}
                Piece::Aux { at, bytes, .. } | Piece::Function { at, bytes } => {
                    front.push(Out::File { at, bytes });
                }
                Piece::Select(number) => database = number,
                Piece::Resize { at, bytes } => {
                    sizes.insert(database, range(&file, at, bytes)?);
                }
                Piece::Entry {
                    key,
                    expires,
                    bytes: entry,
                    ..
                } => {
                    keys += 1;
                    bytes += entry + expires.map_or(0, |time| 1 + time.len() as u64);
                    used.insert((group_of(&key, groups), database));
                }
                Piece::End => break,
            }
        }
        for (database, size) in sizes {
            front.push(Out::Bytes(select(database)));
            front.push(Out::Bytes(size));
        }
        let lengths = front.iter().map(Out::bytes).sum::<u64>();
        let selects: usize = used.iter().map(|(_, number)| select(*number).len()).sum();
        bytes += lengths + (selects + 1 + CHECKSUM) as u64;
        Ok(Self {
            file,
            groups,
            group: 0,
            held: Vec::new(),
            out: front.into(),
            done: 0,
            bytes,
            keys,
            sum: Some(CRC.digest()),
        })
    }

    /// Its length, in bytes.
    pub fn length(&self) -> u64 {
        self.bytes
    }

    /// How many keys are in it.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// Reads one group and puts it out.
    fn fill(&mut self, group: u64) -> Result<(), ScanError> {
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        let (mut scan, _) = Scan::new(file)?;
        let mut database = 0;
        let mut entries: BTreeMap<u64, Vec<Entry>> = BTreeMap::new();
        self.held.clear();
        loop {
            match scan.next()? {
                Piece::Select(number) => database = number,
                Piece::Entry {
                    key,
                    expires,
                    at,
                    bytes,
                } if group_of(&key, self.groups) == group => {
                    let from = self.held.len();
                    if let Some(time) = expires {
                        self.held.push(EXPIRE_MS);
                        self.held.extend(time);
                    }
                    let large = (bytes > LARGE).then_some((at, bytes));
                    if large.is_none() {
                        self.held.extend(range(&self.file, at, bytes)?);
                    }
                    let to = self.held.len();
                    entries.entry(database).or_default().push(Entry {
                        key,
                        from,
                        to,
                        large,
                    });
                }
                Piece::End => break,
                _ => {}
            }
        }
        for (database, mut entries) in entries {
            entries.sort_unstable_by(|one, two| compare(&one.key, &two.key));
            self.out.push_back(Out::Bytes(select(database)));
            for Entry {
                from, to, large, ..
            } in entries
            {
                self.out.push_back(Out::Held { from, to });
                if let Some((at, bytes)) = large {
                    self.out.push_back(Out::File { at, bytes });
                }
            }
        }
        Ok(())
    }

    /// What comes when everything was read so far.
    fn more(&mut self) -> io::Result<()> {
        if self.group < self.groups {
            let group = self.group;
            self.group += 1;
            return self.fill(group).map_err(|error| match error {
                ScanError::Io(error) => error,
                error @ ScanError::Unknown { .. } => io::Error::other(error),
            });
        }
        if let Some(mut sum) = self.sum.take() {
            sum.update(&[END]);
            let mut end = vec![END];
            end.extend(sum.finalize().to_le_bytes());
            self.out.push_back(Out::Bytes(end));
        }
        Ok(())
    }
}

impl Read for Sorted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            let Some(first) = self.out.front() else {
                if self.sum.is_none() {
                    break;
                }
                self.more()?;
                continue;
            };
            let left = first.bytes() - self.done;
            let room = &mut buffer[read..];
            let count = room.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let room = &mut room[..count];
            // It is within the piece, which is in memory.
            #[allow(clippy::cast_possible_truncation)]
            let done = self.done as usize;
            match first {
                Out::Bytes(bytes) => room.copy_from_slice(&bytes[done..done + count]),
                Out::Held { from, .. } => {
                    room.copy_from_slice(&self.held[from + done..from + done + count]);
                }
                Out::File { at, .. } => self.file.read_exact_at(room, at + self.done)?,
            }
            if let Some(sum) = &mut self.sum {
                sum.update(room);
            }
            read += count;
            self.done += count as u64;
            if self.done == first.bytes() {
                self.out.pop_front();
                self.done = 0;
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::rdb::scan::AUX;

    fn string(text: &[u8]) -> Vec<u8> {
        let mut bytes = vec![u8::try_from(text.len()).unwrap()];
        bytes.extend(text);
        bytes
    }

    /// A file whose keys come in this order, as a save at `time` writes it.
    fn file(dir: &Path, keys: &[&str], time: &str) -> std::path::PathBuf {
        let mut bytes = b"REDIS0011".to_vec();
        for (name, value) in [("redis-ver", "8.0.2"), ("ctime", time)] {
            bytes.push(AUX);
            bytes.extend(string(name.as_bytes()));
            bytes.extend(string(value.as_bytes()));
        }
        bytes.extend([SELECT, 0, 0xFB, u8::try_from(keys.len()).unwrap(), 0]);
        for key in keys {
            // How long it was not used.
            bytes.extend([0xF8, u8::try_from(time.len()).unwrap(), 0]);
            bytes.extend(string(key.as_bytes()));
            bytes.extend(string(format!("value of {key}").as_bytes()));
        }
        bytes.push(END);
        bytes.extend(CRC.checksum(&bytes).to_le_bytes());
        let path = dir.join("dump.rdb");
        crate::fsx::write_volatile(&path, &bytes, 0o600).unwrap();
        path
    }

    fn read(path: &Path) -> Vec<u8> {
        let mut sorted = Sorted::open(path).unwrap();
        let bytes = sorted.length();
        let mut found = Vec::new();
        sorted.read_to_end(&mut found).unwrap();
        assert_eq!(found.len() as u64, bytes);
        found
    }

    #[test]
    fn neither_order_nor_time_of_a_save_change_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let one = read(&file(dir.path(), &["b", "a", "c"], "1"));
        let two = read(&file(dir.path(), &["c", "b", "a"], "22"));
        assert_eq!(one, two);
        let three = read(&file(dir.path(), &["c", "b", "d"], "22"));
        assert_ne!(one, three);
    }

    #[test]
    fn numbers_in_keys_count_as_numbers() {
        let mut keys = [
            "k:10", "k:9", "k:100:a", "k", "k:100", "k:09", "k:9:x", "a", "k:x",
        ];
        keys.sort_by(|one, two| compare(one.as_bytes(), two.as_bytes()));
        assert_eq!(
            keys,
            [
                "a", "k", "k:09", "k:9", "k:9:x", "k:10", "k:100", "k:100:a", "k:x"
            ]
        );
    }

    #[test]
    fn the_checksum_is_that_of_the_sorted_file() {
        let dir = tempfile::tempdir().unwrap();
        let found = read(&file(dir.path(), &["b", "a"], "1"));
        let (before, sum) = found.split_at(found.len() - CHECKSUM);
        assert_eq!(CRC.checksum(before).to_le_bytes(), sum);
    }

    #[test]
    fn what_is_unknown_is_told_with_its_place_and_not_guessed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dump.rdb");
        // A value of a module.
        crate::fsx::write_volatile(&path, b"REDIS0011\x07\x01kvalue\xFF00000000", 0o600).unwrap();
        let error = Sorted::open(&path).unwrap_err().to_string();
        assert_eq!(error, "a value of type 7 at byte 10");
        crate::fsx::write_volatile(&path, b"GARBAGE that is no such file", 0o600).unwrap();
        assert!(Sorted::open(&path).is_err());
        crate::fsx::write_volatile(&path, b"REDIS0011\x00\x01k\x3Fshort", 0o600).unwrap();
        assert!(Sorted::open(&path).is_err());
    }
}
