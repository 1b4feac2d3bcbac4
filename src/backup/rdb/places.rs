//! Where the entries of each group lie in the file, as long as they are not too many to keep.

/// As many are kept: 24 MiB.
const MOST: usize = 1 << 20;
/// Stands for an entry that does not expire.
const NEVER: u64 = u64::MAX;

/// One entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Where its type stands.
    pub(super) at: u64,
    /// Milliseconds since 1970.
    expires: u64,
    /// Its length from there.
    pub(super) bytes: u32,
    /// Its logical database.
    pub(super) database: u16,
}

impl Place {
    /// None where one of the numbers is beyond every usual one.
    pub(super) fn of(database: u64, expires: Option<[u8; 8]>, at: u64, bytes: u64) -> Option<Self> {
        let time = expires.map(u64::from_le_bytes);
        if time == Some(NEVER) {
            return None;
        }
        Some(Self {
            at,
            expires: time.unwrap_or(NEVER),
            bytes: bytes.try_into().ok()?,
            database: database.try_into().ok()?,
        })
    }

    /// As it stands in the file.
    pub(super) fn expires(self) -> Option<[u8; 8]> {
        (self.expires != NEVER).then(|| self.expires.to_le_bytes())
    }
}

/// Those of all groups, or none.
#[derive(Debug)]
pub(super) struct Places {
    groups: Vec<Vec<Place>>,
    /// How many more are kept.
    room: usize,
}

impl Places {
    pub(super) fn new(groups: u64) -> Self {
        Self {
            groups: (0..groups).map(|_| Vec::new()).collect(),
            room: MOST,
        }
    }

    /// Keeps one; where that cannot be, none of any group is.
    pub(super) fn keep(&mut self, group: u64, place: Option<Place>) {
        let group = usize::try_from(group).ok();
        let list = group.and_then(|group| self.groups.get_mut(group));
        match (list, place) {
            (Some(list), Some(place)) if self.room > 0 => {
                list.push(place);
                self.room -= 1;
            }
            _ => self.groups = Vec::new(),
        }
    }

    /// Those of a group, in the order of the file; they are not kept any longer. Nothing where they
    /// were not.
    pub(super) fn take(&mut self, group: u64) -> Option<Vec<Place>> {
        let group = usize::try_from(group).ok()?;
        self.groups.get_mut(group).map(std::mem::take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_entries_and_odd_ones_have_none_kept() {
        let place = Place::of(3, Some([1; 8]), 7, 9).unwrap();
        assert_eq!((place.database, place.expires()), (3, Some([1; 8])));
        assert_eq!(Place::of(0, None, 7, 9).unwrap().expires(), None);
        assert!(Place::of(1 << 16, None, 7, 9).is_none());
        assert!(Place::of(0, Some([0xFF; 8]), 7, 9).is_none());
        assert!(Place::of(0, None, 7, 1 << 32).is_none());

        let mut places = Places::new(2);
        places.keep(1, Some(place));
        assert_eq!(places.take(0).unwrap().len(), 0);
        assert_eq!(places.take(1).unwrap().len(), 1);
        for _ in 1..MOST {
            places.keep(0, Some(place));
        }
        assert_eq!(places.take(0).unwrap().len(), MOST - 1);
        places.keep(0, Some(place));
        assert!(places.take(0).is_none());

        let mut places = Places::new(2);
        places.keep(0, None);
        assert!(places.take(0).is_none() && places.take(1).is_none());
    }
}
