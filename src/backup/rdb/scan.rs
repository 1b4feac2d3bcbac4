//! Where each entry of an RDB file lies: values are passed over, not read.
//!
//! Opcodes and types after `rdb.h` of Redis 7.0 to 8.0 and Valkey 8. What is not known here, such as
//! values of modules, is answered with [`ScanError::Unknown`]: nobody can tell how long it is.

use std::fs::File;
use std::io::{self, BufReader, Read};

/// `REDIS` and four digits of the version.
pub(super) const MAGIC: usize = 9;
/// Read at once.
const BUFFER: usize = 256 << 10;

/// Opcodes.
const FUNCTION: u8 = 0xF5;
const SLOTS: u8 = 0xF4;
const IDLE: u8 = 0xF8;
const FREQUENCY: u8 = 0xF9;
pub(super) const AUX: u8 = 0xFA;
const RESIZE: u8 = 0xFB;
pub(super) const EXPIRE_MS: u8 = 0xFC;
const EXPIRE: u8 = 0xFD;
pub(super) const SELECT: u8 = 0xFE;
pub(super) const END: u8 = 0xFF;

/// Types of values whose layout changed within the type.
const STREAM_2: u8 = 19;
const STREAM_3: u8 = 21;

/// Why a file cannot be taken apart.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// It cannot be read, or ends early.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What is not an RDB file, or one of a kind that is not known.
    #[error("{what} at byte {at}")]
    Unknown {
        /// What stands there.
        what: String,
        /// Where.
        at: u64,
    },
}

/// One piece of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A fact about the file.
    Aux { name: Vec<u8>, at: u64, bytes: u64 },
    /// A library of functions.
    Function { at: u64, bytes: u64 },
    /// What follows is of this logical database.
    Select(u64),
    /// How large the tables of the database will be.
    Resize { at: u64, bytes: u64 },
    /// A key with its value; `at` is where its type stands.
    Entry {
        key: Vec<u8>,
        expires: Option<[u8; 8]>,
        at: u64,
        bytes: u64,
    },
    /// Only the checksum follows.
    End,
}

/// What can be read, and passed over.
pub(super) trait Source: Read {
    fn pass(&mut self, bytes: i64) -> io::Result<()>;
}

impl Source for BufReader<File> {
    fn pass(&mut self, bytes: i64) -> io::Result<()> {
        self.seek_relative(bytes)
    }
}

impl Source for &[u8] {
    fn pass(&mut self, bytes: i64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
        let end = || io::Error::from(io::ErrorKind::UnexpectedEof);
        *self = self.split_at_checked(bytes).ok_or_else(end)?.1;
        Ok(())
    }
}

/// Reads pieces one after the other.
pub(super) struct Scan<S = BufReader<File>> {
    from: S,
    at: u64,
}

/// The key of the entry that begins here, as [`Piece::Entry`] has it.
pub(super) fn key_of(entry: impl Source) -> Result<Vec<u8>, ScanError> {
    let mut scan = Scan { from: entry, at: 0 };
    let _kind = scan.byte()?;
    scan.key()
}

enum Length {
    Of(u64),
    /// An integer of so many bytes stands in the place of a string.
    Integer(u64),
    Compressed,
}

impl Scan {
    /// Begins behind the magic of `file`.
    pub(super) fn new(file: File) -> Result<(Self, [u8; MAGIC]), ScanError> {
        let mut scan = Self {
            from: BufReader::with_capacity(BUFFER, file),
            at: 0,
        };
        let magic: [u8; MAGIC] = scan.take()?;
        if !magic.starts_with(b"REDIS") {
            return Err(scan.unknown("something that is no RDB file"));
        }
        Ok((scan, magic))
    }
}

impl<S: Source> Scan<S> {
    fn unknown(&self, what: impl Into<String>) -> ScanError {
        ScanError::Unknown {
            what: what.into(),
            at: self.at,
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], ScanError> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, ScanError> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn skip(&mut self, bytes: u64) -> Result<(), ScanError> {
        let by = i64::try_from(bytes).map_err(|_| self.unknown("a length beyond every file"))?;
        self.from.pass(by)?;
        self.at += bytes;
        Ok(())
    }

    fn length(&mut self) -> Result<Length, ScanError> {
        let first = self.byte()?;
        let low = u64::from(first & 0x3F);
        Ok(match first >> 6 {
            0 => Length::Of(low),
            1 => Length::Of(low << 8 | u64::from(self.byte()?)),
            2 if first == 0x80 => Length::Of(u64::from(u32::from_be_bytes(self.take()?))),
            2 if first == 0x81 => Length::Of(u64::from_be_bytes(self.take()?)),
            3 if low < 3 => Length::Integer(1 << low),
            3 if low == 3 => Length::Compressed,
            _ => return Err(self.unknown(format!("the length {first:#04x}"))),
        })
    }

    fn number(&mut self) -> Result<u64, ScanError> {
        match self.length()? {
            Length::Of(number) => Ok(number),
            Length::Integer(_) | Length::Compressed => {
                Err(self.unknown("a string in the place of a number"))
            }
        }
    }

    /// Length of the string that begins here, as it lies in the file.
    fn string_bytes(&mut self) -> Result<u64, ScanError> {
        Ok(match self.length()? {
            Length::Of(bytes) | Length::Integer(bytes) => bytes,
            Length::Compressed => {
                let bytes = self.number()?;
                let _plain = self.number()?;
                bytes
            }
        })
    }

    fn string(&mut self) -> Result<Vec<u8>, ScanError> {
        let bytes = self.string_bytes()?;
        self.bytes(bytes)
    }

    fn bytes(&mut self, bytes: u64) -> Result<Vec<u8>, ScanError> {
        let mut text = Vec::new();
        let read = (&mut self.from).take(bytes).read_to_end(&mut text)?;
        self.at += read as u64;
        if (read as u64) < bytes {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(text)
    }

    /// A key, in an order that is good to sort by: numbers that are packed are written out.
    fn key(&mut self) -> Result<Vec<u8>, ScanError> {
        let bytes = match self.length()? {
            Length::Of(bytes) => bytes,
            Length::Integer(1) => return Ok(i8::from_le_bytes(self.take()?).to_string().into()),
            Length::Integer(2) => return Ok(i16::from_le_bytes(self.take()?).to_string().into()),
            Length::Integer(_) => return Ok(i32::from_le_bytes(self.take()?).to_string().into()),
            Length::Compressed => {
                let bytes = self.number()?;
                let _plain = self.number()?;
                bytes
            }
        };
        self.bytes(bytes)
    }

    fn skip_string(&mut self) -> Result<(), ScanError> {
        let bytes = self.string_bytes()?;
        self.skip(bytes)
    }

    fn skip_strings(&mut self, of_each: u64) -> Result<(), ScanError> {
        let count = self.number()?;
        for _ in 0..count.saturating_mul(of_each) {
            self.skip_string()?;
        }
        Ok(())
    }

    fn skip_numbers(&mut self, count: usize) -> Result<(), ScanError> {
        for _ in 0..count {
            self.number()?;
        }
        Ok(())
    }

    fn value(&mut self, kind: u8) -> Result<(), ScanError> {
        match kind {
            // A string, or what is packed into one: zipmap, ziplists, intset, listpacks.
            0 | 9..=13 | 16 | 17 | 20 => self.skip_string(),
            // Lists, sets, quicklists of ziplists.
            1 | 2 | 14 => self.skip_strings(1),
            // Scores as texts, whose lengths of 253 and more are not-a-number and the infinities.
            3 => {
                for _ in 0..self.number()? {
                    self.skip_string()?;
                    let length = self.byte()?;
                    if length < 253 {
                        self.skip(length.into())?;
                    }
                }
                Ok(())
            }
            // Hashes.
            4 => self.skip_strings(2),
            // Scores as numbers.
            5 => {
                for _ in 0..self.number()? {
                    self.skip_string()?;
                    self.skip(8)?;
                }
                Ok(())
            }
            // Quicklists whose nodes say how they are packed.
            18 => {
                for _ in 0..self.number()? {
                    self.number()?;
                    self.skip_string()?;
                }
                Ok(())
            }
            15 | STREAM_2 | STREAM_3 => self.stream(kind),
            // Hashes whose fields expire.
            24 => {
                self.skip(8)?;
                for _ in 0..self.number()? {
                    self.number()?;
                    self.skip_string()?;
                    self.skip_string()?;
                }
                Ok(())
            }
            25 => {
                self.skip(8)?;
                self.skip_string()
            }
            _ => Err(self.unknown(format!("a value of type {kind}"))),
        }
    }

    fn stream(&mut self, kind: u8) -> Result<(), ScanError> {
        // An id of an entry: two numbers of eight bytes.
        const ID: u64 = 16;
        self.skip_strings(2)?;
        // Length and last id; later also the first id, the largest deleted one, and a counter.
        self.skip_numbers(if kind >= STREAM_2 { 8 } else { 3 })?;
        for _ in 0..self.number()? {
            self.skip_string()?;
            self.skip_numbers(if kind >= STREAM_2 { 3 } else { 2 })?;
            for _ in 0..self.number()? {
                self.skip(ID + 8)?;
                self.number()?;
            }
            for _ in 0..self.number()? {
                self.skip_string()?;
                // When it was seen, and when it was last active.
                self.skip(if kind >= STREAM_3 { 16 } else { 8 })?;
                let pending = self.number()?;
                self.skip(pending.saturating_mul(ID))?;
            }
        }
        Ok(())
    }

    /// The next piece.
    pub(super) fn next(&mut self) -> Result<Piece, ScanError> {
        let mut expires = None;
        loop {
            let at = self.at;
            let code = self.byte()?;
            let piece = match code {
                EXPIRE_MS => {
                    expires = Some(self.take()?);
                    continue;
                }
                EXPIRE => {
                    let seconds = u32::from_le_bytes(self.take()?);
                    expires = Some((u64::from(seconds) * 1000).to_le_bytes());
                    continue;
                }
                // When it was last used, and how often: another number with every save.
                IDLE => {
                    self.number()?;
                    continue;
                }
                FREQUENCY => {
                    self.byte()?;
                    continue;
                }
                SLOTS => {
                    self.skip_numbers(3)?;
                    continue;
                }
                AUX => {
                    let name = self.string()?;
                    self.skip_string()?;
                    let bytes = self.at - at;
                    Piece::Aux { name, at, bytes }
                }
                FUNCTION => {
                    self.skip_string()?;
                    let bytes = self.at - at;
                    Piece::Function { at, bytes }
                }
                SELECT => Piece::Select(self.number()?),
                RESIZE => {
                    self.skip_numbers(2)?;
                    let bytes = self.at - at;
                    Piece::Resize { at, bytes }
                }
                END => Piece::End,
                // What is not known may have no key; its length would be anything.
                kind if !matches!(kind, 0..=5 | 9..=21 | 24 | 25) => {
                    return Err(self.unknown(format!("a value of type {kind}")));
                }
                kind => {
                    let key = self.key()?;
                    self.value(kind)?;
                    let bytes = self.at - at;
                    Piece::Entry {
                        key,
                        expires,
                        at,
                        bytes,
                    }
                }
            };
            return Ok(piece);
        }
    }
}
