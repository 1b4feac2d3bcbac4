//! The form of the log: frames of operations.

use super::log::IndexId;

/// Contents above this many bytes are packed.
const PACK_FROM: usize = 1024;

/// A frame larger than this is none.
const MAX_FRAME: usize = 1 << 30;

/// No byte of a packed content stands for more bytes.
const MAX_RATIO: usize = 255;

/// One write as it stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operation<'a> {
    /// Sequence number in its index.
    pub seq: u64,
    /// Version of the document after it.
    pub version: u64,
    /// The document's id.
    pub id: &'a str,
    /// The document; `None` when it was deleted.
    pub source: Option<&'a [u8]>,
}

/// Operations of one request on one index.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    /// The index.
    pub index: IndexId,
    /// In order.
    pub operations: Vec<Operation<'a>>,
}

impl Frame<'_> {
    /// The highest sequence number in it.
    pub(crate) fn last_seq(&self) -> u64 {
        self.operations.iter().map(|op| op.seq).max().unwrap_or(0)
    }
}

/// Collects the operations of one frame.
#[derive(Debug)]
pub(super) struct Payload {
    bytes: Vec<u8>,
}

impl Payload {
    /// For operations of `index`.
    pub(super) fn new(index: IndexId) -> Self {
        Self {
            bytes: index.to_vec(),
        }
    }

    /// Adds one.
    pub(super) fn push(&mut self, op: &Operation<'_>) {
        self.bytes.extend(op.seq.to_le_bytes());
        self.bytes.extend(op.version.to_le_bytes());
        put(&mut self.bytes, op.id.as_bytes());
        match op.source {
            None => self.bytes.push(0),
            Some(source) => {
                self.bytes.push(1);
                put(&mut self.bytes, source);
            }
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() <= 16
    }

    /// As [`super::log::Log::append`] takes it.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    // Ids are at most 512 bytes and bodies at most some hundred MB.
    let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
    bytes.extend(length.to_le_bytes());
    bytes.extend_from_slice(part);
}

/// The frame of `payload` behind a frame with the checksum `chain`, and its own checksum.
pub(super) fn seal(chain: u32, payload: &[u8]) -> (Vec<u8>, u32) {
    let mut frame = vec![0; 8];
    if payload.len() > PACK_FROM {
        frame.push(1);
        frame.extend(lz4_flex::block::compress_prepend_size(payload));
    } else {
        frame.push(0);
        frame.extend_from_slice(payload);
    }
    let length = u32::try_from(frame.len() - 8).unwrap_or(u32::MAX);
    let crc = checksum(chain, &frame[8..]);
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    (frame, crc)
}

fn checksum(chain: u32, content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&chain.to_le_bytes());
    hasher.update(content);
    hasher.finalize()
}

/// Hands each whole frame to `visit`; returns how many bytes they take.
pub(super) fn read_all(bytes: &[u8], mut visit: impl FnMut(&Frame<'_>)) -> usize {
    let mut rest = bytes;
    let mut chain = 0;
    while let Some((content, crc, after)) = next(rest, chain) {
        let unpacked;
        let payload = match content.split_first() {
            Some((0, payload)) => payload,
            Some((1, packed)) => match unpack(packed) {
                Some(payload) => {
                    unpacked = payload;
                    &unpacked
                }
                None => break,
            },
            _ => break,
        };
        let Some(frame) = parse(payload) else {
            break;
        };
        visit(&frame);
        chain = crc;
        rest = after;
    }
    bytes.len() - rest.len()
}

fn next(bytes: &[u8], chain: u32) -> Option<(&[u8], u32, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let (length, crc) = (
        u32::from_le_bytes(*length) as usize,
        u32::from_le_bytes(*crc),
    );
    if length == 0 || length > MAX_FRAME {
        return None;
    }
    let (content, after) = rest.split_at_checked(length)?;
    (checksum(chain, content) == crc).then_some((content, crc, after))
}

fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let (size, content) = packed.split_first_chunk::<4>()?;
    let size = u32::from_le_bytes(*size) as usize;
    if size > MAX_FRAME || size > content.len().saturating_mul(MAX_RATIO) {
        return None;
    }
    lz4_flex::block::decompress_size_prepended(packed).ok()
}

fn parse(payload: &[u8]) -> Option<Frame<'_>> {
    let (index, mut rest) = payload.split_first_chunk::<16>()?;
    let mut operations = Vec::new();
    while !rest.is_empty() {
        let (seq, after) = rest.split_first_chunk::<8>()?;
        let (version, after) = after.split_first_chunk::<8>()?;
        let (id, after) = get(after)?;
        let (kind, after) = after.split_first()?;
        let (source, after) = match kind {
            0 => (None, after),
            1 => {
                let (source, after) = get(after)?;
                (Some(source), after)
            }
            _ => return None,
        };
        operations.push(Operation {
            seq: u64::from_le_bytes(*seq),
            version: u64::from_le_bytes(*version),
            id: std::str::from_utf8(id).ok()?,
            source,
        });
        rest = after;
    }
    Some(Frame {
        index: *index,
        operations,
    })
}

fn get(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// Reads `bytes` as a file of the log, as the content of a frame and as a packed one; a content
/// that is read must be what is written for it.
#[cfg(fuzzing)]
pub(super) fn fuzz(bytes: &[u8]) {
    read_all(bytes, |_| ());
    for payload in [Some(bytes.to_vec()), unpack(bytes)].into_iter().flatten() {
        let Some(frame) = parse(&payload) else {
            continue;
        };
        let mut again = Payload::new(frame.index);
        frame.operations.iter().for_each(|op| again.push(op));
        assert_eq!(again.bytes(), payload);
        let (sealed, _) = seal(0, &payload);
        let mut frames = 0;
        assert_eq!(read_all(&sealed, |_| frames += 1), sealed.len());
        assert_eq!(frames, 1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn payload(index: u8, ids: &[String], size: usize) -> Payload {
        let mut payload = Payload::new([index; 16]);
        let source = vec![index; size];
        for (seq, id) in (0..).zip(ids) {
            payload.push(&Operation {
                seq,
                version: seq + 1,
                id,
                source: (seq % 3 != 0).then_some(&source),
            });
        }
        payload
    }

    fn count(bytes: &[u8]) -> (usize, usize) {
        let mut frames = 0;
        let read = read_all(bytes, |_| frames += 1);
        (read, frames)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(ids in proptest::collection::vec(".{0,20}", 1..20), size in 0usize..3000) {
            let payload = payload(7, &ids, size);
            let (first, chain) = seal(0, payload.bytes());
            let (second, _) = seal(chain, payload.bytes());
            let bytes = [first.clone(), second].concat();
            let mut seen = 0;
            let read = read_all(&bytes, |frame| {
                seen += frame.operations.len();
                assert_eq!(frame.index, [7; 16]);
                assert!(frame.operations.iter().zip(&ids).all(|(op, id)| op.id == id));
            });
            prop_assert_eq!(read, bytes.len());
            prop_assert_eq!(seen, ids.len() * 2);
        }

        #[test]
        fn a_torn_tail_is_cut_at_the_last_whole_frame(cut in 1usize..200, bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let payload = payload(7, &["a".to_owned(), "b".to_owned()], 100);
            let (first, chain) = seal(0, payload.bytes());
            let (second, _) = seal(chain, payload.bytes());
            let cut = cut.min(second.len());
            let torn = [&first[..], &second[..second.len() - cut], &bytes].concat();
            prop_assert_eq!(count(&torn).0, first.len());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            count(&bytes);
        }
    }

    #[test]
    fn memory_is_taken_for_what_a_packed_content_can_hold_alone() {
        let zeros = vec![0; 1 << 20];
        let packed = lz4_flex::block::compress_prepend_size(&zeros);
        assert_eq!(unpack(&packed), Some(zeros));
        let boast = [&(1u32 << 29).to_le_bytes()[..], &packed[4..]].concat();
        assert_eq!(unpack(&boast), None);
    }

    #[test]
    fn the_rest_of_an_earlier_failed_write_is_no_frame() {
        let small = payload(1, &["a".to_owned()], 10);
        let (first, chain) = seal(0, small.bytes());
        // Two frames were written behind the first and taken back; one of the same size follows.
        let (failed, failed_chain) = seal(chain, payload(2, &["x".to_owned()], 10).bytes());
        let (leftover, _) = seal(failed_chain, payload(3, &["y".to_owned()], 10).bytes());
        let (second, _) = seal(chain, payload(4, &["z".to_owned()], 10).bytes());
        assert_eq!(failed.len(), second.len());
        let bytes = [first.clone(), second.clone(), leftover].concat();
        assert_eq!(count(&bytes), (first.len() + second.len(), 2));
    }
}
