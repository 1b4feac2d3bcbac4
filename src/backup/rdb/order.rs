//! In which group a key is, and which comes first of two.

use std::cmp::Ordering;

/// FNV-1a: the same on every machine and in every version.
pub(super) fn group_of(key: &[u8], groups: u64) -> u64 {
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // Its low bits alone know little of the end of a key.
    ((hash >> 32) ^ hash) % groups
}

/// Numbers in keys count as numbers: what was made one after the other, and changes together, lies
/// together.
pub(super) fn compare(one: &[u8], two: &[u8]) -> Ordering {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
