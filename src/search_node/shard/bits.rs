//! Sets of documents of one segment.

use tantivy::DocId;
use tantivy::directory::OwnedBytes;
use tantivy::fastfield::{AliveBitSet, write_alive_bitset};

/// A fixed number of bits, one a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bits {
    words: Vec<u64>,
    len: u32,
}

impl Bits {
    /// `len` bits, all set.
    pub(crate) fn full(len: u32) -> Self {
        let mut words = vec![u64::MAX; words_for(len)];
        let rest = len % 64;
        if rest != 0
            && let Some(last) = words.last_mut()
        {
            *last = (1 << rest) - 1;
        }
        Self { words, len }
    }

    /// `len` bits, none set.
    pub(crate) fn empty(len: u32) -> Self {
        Self {
            words: vec![0; words_for(len)],
            len,
        }
    }

    /// How many documents there are.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Whether the bit of `doc` is set.
    #[inline]
    pub(crate) fn contains(&self, doc: DocId) -> bool {
        self.words
            .get(doc as usize / 64)
            .is_some_and(|word| word >> (doc % 64) & 1 == 1)
    }

    /// Sets the bit of `doc`.
    #[inline]
    pub(crate) fn insert(&mut self, doc: DocId) {
        debug_assert!(doc < self.len);
        if let Some(word) = self.words.get_mut(doc as usize / 64) {
            *word |= 1 << (doc % 64);
        }
    }

    /// Clears the bit of `doc`; says whether it was set.
    #[inline]
    pub(crate) fn remove(&mut self, doc: DocId) -> bool {
        let was = self.contains(doc);
        if let Some(word) = self.words.get_mut(doc as usize / 64) {
            *word &= !(1 << (doc % 64));
        }
        was
    }

    /// How many bits are set.
    pub(crate) fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// The documents whose bit is set, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = DocId> + '_ {
        (0u32..).zip(&self.words).flat_map(|(at, word)| {
            let mut word = *word;
            std::iter::from_fn(move || {
                if word == 0 {
                    return None;
                }
                let bit = word.trailing_zeros();
                word &= word - 1;
                Some(at * 64 + bit)
            })
        })
    }

    /// Keeps the bits that `other` has too.
    pub(crate) fn intersect(&mut self, other: &Bits) {
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word &= more;
        }
    }

    /// The set bit at or after `doc`, if there is one.
    pub(crate) fn next(&self, doc: DocId) -> Option<DocId> {
        let mut at = doc as usize / 64;
        let mut word = self.words.get(at)? & (u64::MAX << (doc % 64));
        loop {
            if word != 0 {
                let word_start = u32::try_from(at * 64).ok()?;
                return Some(word_start + word.trailing_zeros());
            }
            at += 1;
            word = *self.words.get(at)?;
        }
    }

    /// As bytes, to be stored.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.words.len() * 8 + 8);
        bytes.extend(self.len.to_le_bytes());
        for word in &self.words {
            bytes.extend(word.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes);
        bytes.extend(crc.to_le_bytes());
        bytes
    }

    /// From stored bytes; `None` when they are damaged.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (content, crc) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(content) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (len, words) = content.split_first_chunk::<4>()?;
        let len = u32::from_le_bytes(*len);
        let (words, rest) = words.as_chunks::<8>();
        if !rest.is_empty() || words.len() != words_for(len) {
            return None;
        }
        let words = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        Some(Self { words, len })
    }

    /// As tantivy takes it for a merge.
    pub(crate) fn to_tantivy(&self) -> std::io::Result<AliveBitSet> {
        let mut set = tantivy::BitSet::with_max_value(self.len);
        for doc in self.iter() {
            set.insert(doc);
        }
        let mut bytes = Vec::new();
        write_alive_bitset(&set, &mut bytes)?;
        Ok(AliveBitSet::open(OwnedBytes::new(bytes)))
    }
}

const fn words_for(len: u32) -> usize {
    (len as usize).div_ceil(64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(len in 0u32..300, docs in proptest::collection::btree_set(0u32..300, 0..40)) {
            let docs: BTreeSet<_> = docs.into_iter().filter(|doc| *doc < len).collect();
            let mut bits = Bits::empty(len);
            for doc in &docs {
                bits.insert(*doc);
            }
            prop_assert_eq!(bits.iter().collect::<BTreeSet<_>>(), docs.clone());
            prop_assert_eq!(bits.count() as usize, docs.len());
            for doc in 0..len {
                prop_assert_eq!(bits.next(doc), docs.range(doc..).next().copied());
            }
            let bytes = bits.to_bytes();
            prop_assert_eq!(Bits::from_bytes(&bytes), Some(bits.clone()));
            let tantivy = bits.to_tantivy().unwrap();
            prop_assert_eq!(tantivy.num_alive_docs(), docs.len());
            let mut full = Bits::full(len);
            prop_assert_eq!(full.count(), len);
            full.intersect(&bits);
            prop_assert_eq!(full, bits);
        }

        #[test]
        fn damaged_bytes_are_noticed(at in 0usize..28, bit in 0u8..8) {
            let mut bytes = Bits::full(130).to_bytes();
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(Bits::from_bytes(&bytes), None);
        }
    }
}
