//! The file in the order of its keys, as a stream.
//!
//! Keys are dealt to groups by a hash of theirs, and a group is sorted in memory. Where its entries lie
//! is kept from the first look at the file; where they are too many for that, the file is looked
//! through again for each group. Memory is bounded by the size of a group and the number of places,
//! and a key is always in the same group.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crc::{CRC_64_REDIS, Crc, Digest, Table};

use super::order::{compare, group_of};
use super::places::{Place, Places};
use super::scan::{END, EXPIRE_MS, Piece, SELECT, Scan, ScanError, key_of};

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
    places: Places,
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
        Self::in_groups(path, GROUP)
    }

    fn in_groups(path: &Path, of: u64) -> Result<Self, ScanError> {
        let file = File::open(path)?;
        let groups = file.metadata()?.len().div_ceil(of).next_power_of_two();
        let groups = groups.clamp(1, GROUPS);
        let (mut scan, magic) = Scan::new(file.try_clone()?)?;
        let (mut database, mut keys, mut bytes) = (0, 0, 0);
        let mut front = vec![Out::Bytes(magic.to_vec())];
        let mut sizes: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        let mut used = BTreeSet::new();
        let mut places = Places::new(groups);
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
                    at,
                    bytes: entry,
                } => {
                    keys += 1;
                    bytes += entry + expires.map_or(0, |time| 1 + time.len() as u64);
                    let group = group_of(&key, groups);
                    used.insert((group, database));
                    places.keep(group, Place::of(database, expires, at, entry));
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
            places,
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
        self.held.clear();
        let mut entries: BTreeMap<u64, Vec<Entry>> = BTreeMap::new();
        if let Some(places) = self.places.take(group) {
            for place in places {
                let entry = self.hold(None, place.expires(), place.at, place.bytes.into())?;
                let of = entries.entry(place.database.into()).or_default();
                of.push(entry);
            }
        } else {
            self.look_for(group, &mut entries)?;
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

    /// Looks through the whole file for the entries of a group.
    fn look_for(
        &mut self,
        group: u64,
        entries: &mut BTreeMap<u64, Vec<Entry>>,
    ) -> Result<(), ScanError> {
        let (mut scan, _) = Scan::new(self.again(0)?)?;
        let mut database = 0;
        loop {
            match scan.next()? {
                Piece::Select(number) => database = number,
                Piece::Entry {
                    key,
                    expires,
                    at,
                    bytes,
                } if group_of(&key, self.groups) == group => {
                    let entry = self.hold(Some(key), expires, at, bytes)?;
                    entries.entry(database).or_default().push(entry);
                }
                Piece::End => return Ok(()),
                _ => {}
            }
        }
    }

    /// The file from a place on. There is one such place at a time.
    fn again(&self, at: u64) -> io::Result<File> {
        let mut file = self.file.try_clone()?;
        file.seek(io::SeekFrom::Start(at))?;
        Ok(file)
    }

    /// Takes an entry into memory, but for its value where that is large.
    fn hold(
        &mut self,
        key: Option<Vec<u8>>,
        expires: Option<[u8; 8]>,
        at: u64,
        bytes: u64,
    ) -> Result<Entry, ScanError> {
        let from = self.held.len();
        if let Some(time) = expires {
            self.held.push(EXPIRE_MS);
            self.held.extend(time);
        }
        let large = (bytes > LARGE).then_some((at, bytes));
        let begin = self.held.len();
        if large.is_none() {
            let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
            self.held.resize(begin + bytes, 0);
            self.file.read_exact_at(&mut self.held[begin..], at)?;
        }
        let key = match key {
            Some(key) => key,
            None if large.is_some() => key_of(BufReader::new(self.again(at)?))?,
            None => key_of(&self.held[begin..])?,
        };
        Ok(Entry {
            key,
            from,
            to: self.held.len(),
            large,
        })
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
    fn it_is_the_same_whether_places_were_kept_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = b"REDIS0011".to_vec();
        let mut keys = 0;
        for database in [0, 2] {
            bytes.extend([SELECT, database]);
            for n in (0..500_u32).rev() {
                keys += 1;
                if n % 3 == 0 {
                    bytes.push(EXPIRE_MS);
                    bytes.extend(u64::from(n).to_le_bytes());
                    // How long it was not used.
                    bytes.extend([0xF8, 1]);
                }
                bytes.push(0);
                if n % 7 == 0 {
                    // A key that is a number, packed.
                    bytes.extend([0xC1]);
                    bytes.extend(u16::try_from(n).unwrap().to_le_bytes());
                } else {
                    bytes.extend(string(format!("k:{n}").as_bytes()));
                }
                let length = if n % 100 == 0 {
                    LARGE + 7
                } else {
                    u64::from(n)
                };
                bytes.push(0x81);
                bytes.extend(length.to_be_bytes());
                bytes.resize(bytes.len() + usize::try_from(length).unwrap(), b'v');
            }
        }
        bytes.push(END);
        bytes.extend(CRC.checksum(&bytes).to_le_bytes());
        let path = dir.path().join("dump.rdb");
        crate::fsx::write_volatile(&path, &bytes, 0o600).unwrap();
        for (of, groups) in [(GROUP, 1), (2 << 20, 8)] {
            let mut all = Vec::new();
            for is_kept in [true, false] {
                let mut sorted = Sorted::in_groups(&path, of).unwrap();
                assert_eq!((sorted.keys(), sorted.groups), (keys, groups));
                if !is_kept {
                    sorted.places.keep(0, None);
                }
                let mut found = Vec::new();
                sorted.read_to_end(&mut found).unwrap();
                assert_eq!(found.len() as u64, sorted.length());
                all.push(found);
            }
            assert!(all[0] == all[1]);
        }
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
