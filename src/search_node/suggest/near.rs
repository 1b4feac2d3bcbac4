//! Texts that begin with a fixed part and differ little from a wanted one after it: an automaton
//! that walks a dictionary of terms.

use tantivy_fst::Automaton;

/// What one edit changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// A byte of UTF-8.
    Byte,
    /// A character.
    Char,
}

impl Unit {
    /// A text in units.
    pub(super) fn of(self, text: &str) -> Vec<u32> {
        match self {
            Unit::Byte => text.bytes().map(u32::from).collect(),
            Unit::Char => text.chars().map(u32::from).collect(),
        }
    }
}

/// See the module. No wanted text has a zero byte, and nothing after one is compared.
#[derive(Debug)]
pub(super) struct Near {
    /// What must stand at the beginning as it is.
    fixed: Vec<u32>,
    /// What may differ.
    rest: Vec<u32>,
    /// By so many edits.
    edits: u8,
    /// Whether two neighbours that changed places are one edit.
    transpositions: bool,
    unit: Unit,
    /// Whether a beginning of the text is enough.
    begins: bool,
}

/// Where the automaton stands.
#[derive(Debug, Clone)]
pub(super) struct State {
    step: Step,
    /// A character of which some bytes have come, and how many are missing.
    partial: u32,
    missing: u8,
}

#[derive(Debug, Clone)]
enum Step {
    /// So many units of the fixed part have come.
    Fixed(usize),
    /// The edits from each beginning of the rest to what came after the fixed part; one unit
    /// before, too.
    Open {
        row: Vec<u8>,
        before: Vec<u8>,
        last: u32,
    },
    /// Whatever comes, it fits.
    Done,
    /// Whatever comes, it does not fit.
    Dead,
}

impl Near {
    /// Texts that differ from `wanted` by at most `edits` after the first `fixed` units; with
    /// `begins`, texts with such a beginning.
    pub(super) fn new(
        wanted: &[u32],
        fixed: usize,
        edits: u8,
        transpositions: bool,
        unit: Unit,
        begins: bool,
    ) -> Self {
        let (fixed, rest) = wanted.split_at(fixed.min(wanted.len()));
        Self {
            fixed: fixed.to_vec(),
            rest: rest.to_vec(),
            edits,
            transpositions,
            unit,
            begins,
        }
    }

    /// The step that begins when the fixed part has come.
    fn opened(&self) -> Step {
        let row = (0..=self.rest.len()).map(|n| u8::try_from(n).unwrap_or(u8::MAX));
        self.settled(Step::Open {
            row: row.collect(),
            before: Vec::new(),
            last: 0,
        })
    }

    /// `step`, or the end of it.
    fn settled(&self, step: Step) -> Step {
        let Step::Open { row, before, .. } = &step else {
            return step;
        };
        let reached = |row: &[u8]| row.last().is_some_and(|edits| *edits <= self.edits);
        if self.begins && reached(row) {
            return Step::Done;
        }
        // Neighbours that change places reach back over one unit.
        let reachable = |row: &[u8]| row.iter().any(|edits| *edits <= self.edits);
        if reachable(row) || self.transpositions && reachable(before) {
            step
        } else {
            Step::Dead
        }
    }

    fn next(&self, step: &Step, unit: u32) -> Step {
        match step {
            Step::Fixed(count) if self.fixed.get(*count) == Some(&unit) => {
                if count + 1 == self.fixed.len() {
                    self.opened()
                } else {
                    Step::Fixed(count + 1)
                }
            }
            Step::Fixed(_) | Step::Dead => Step::Dead,
            Step::Done => Step::Done,
            // The end of the part that is compared.
            Step::Open { .. } if unit == 0 => Step::Dead,
            Step::Open { row, before, last } => {
                let mut next = Vec::with_capacity(row.len());
                let mut left = row.first().map_or(u8::MAX, |edits| edits.saturating_add(1));
                next.push(left);
                let mut wanted_before = None;
                for (at, (wanted, pair)) in self.rest.iter().zip(row.windows(2)).enumerate() {
                    let (diagonal, up) = match pair {
                        [diagonal, up] => (*diagonal, *up),
                        _ => break,
                    };
                    let mut edits = diagonal
                        .saturating_add(u8::from(*wanted != unit))
                        .min(up.saturating_add(1))
                        .min(left.saturating_add(1));
                    let swapped =
                        self.transpositions && wanted == last && wanted_before == Some(unit);
                    wanted_before = Some(*wanted);
                    if swapped && let Some(far) = at.checked_sub(1).and_then(|at| before.get(at)) {
                        edits = edits.min(far.saturating_add(1));
                    }
                    next.push(edits);
                    left = edits;
                }
                self.settled(Step::Open {
                    row: next,
                    before: row.clone(),
                    last: unit,
                })
            }
        }
    }

    /// How many bytes of `text` it takes until it fits whatever follows, when only beginnings are
    /// compared; `None` when it does not fit.
    pub(super) fn beginning(&self, text: &str) -> Option<usize> {
        let mut state = self.start();
        let mut taken = 0;
        for byte in text.bytes() {
            if matches!(state.step, Step::Done) {
                break;
            }
            state = self.accept(&state, byte);
            taken += 1;
        }
        matches!(state.step, Step::Done).then_some(taken)
    }
}

impl Automaton for Near {
    type State = State;

    fn start(&self) -> State {
        let step = if self.fixed.is_empty() {
            self.opened()
        } else {
            Step::Fixed(0)
        };
        State {
            step,
            partial: 0,
            missing: 0,
        }
    }

    fn is_match(&self, state: &State) -> bool {
        match &state.step {
            Step::Done => true,
            Step::Open { row, .. } => {
                state.missing == 0 && row.last().is_some_and(|edits| *edits <= self.edits)
            }
            Step::Fixed(_) | Step::Dead => false,
        }
    }

    fn can_match(&self, state: &State) -> bool {
        !matches!(state.step, Step::Dead)
    }

    fn will_always_match(&self, state: &State) -> bool {
        matches!(state.step, Step::Done)
    }

    fn accept(&self, state: &State, byte: u8) -> State {
        if matches!(state.step, Step::Done | Step::Dead) {
            return state.clone();
        }
        let (partial, missing) = match (self.unit, state.missing) {
            (Unit::Byte, _) => (u32::from(byte), 0),
            (Unit::Char, 0) => match byte {
                0xf0.. => (u32::from(byte & 0x07), 3),
                0xe0.. => (u32::from(byte & 0x0f), 2),
                0xc0.. => (u32::from(byte & 0x1f), 1),
                _ => (u32::from(byte), 0),
            },
            (Unit::Char, missing) => ((state.partial << 6) | u32::from(byte & 0x3f), missing - 1),
        };
        State {
            step: if missing == 0 {
                self.next(&state.step, partial)
            } else {
                state.step.clone()
            },
            partial,
            missing,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::distance;
    use super::*;

    fn fits(near: &Near, text: &str) -> bool {
        let end = text.bytes().fold(near.start(), |state, byte| {
            assert!(!near.is_match(&state) || near.can_match(&state));
            near.accept(&state, byte)
        });
        near.is_match(&end)
    }

    fn near(wanted: &str, fixed: usize, edits: u8, unit: Unit, begins: bool) -> Near {
        Near::new(&unit.of(wanted), fixed, edits, true, unit, begins)
    }

    #[test]
    fn edits_are_counted_after_the_fixed_part() {
        for (wanted, fixed, edits, text, expected) in [
            ("nirvana", 1, 1, "nirvana", true),
            ("nirvana", 1, 1, "nirvna", true),
            ("nirvana", 1, 1, "nivrana", true),
            ("nirvana", 1, 1, "ninvara", false),
            ("nirvana", 1, 2, "mirvana", false),
            ("nirvana", 0, 1, "mirvana", true),
            ("nirvana", 0, 0, "nirvana", true),
            ("ab", 5, 1, "abc", true),
            ("über", 0, 1, "uber", true),
        ] {
            let near = near(wanted, fixed, edits, Unit::Char, false);
            assert_eq!(fits(&near, text), expected, "{wanted} {text}");
        }
        // Two bytes instead of one.
        assert!(!fits(&near("über", 0, 1, Unit::Byte, false), "uber"));
        assert!(fits(&near("über", 0, 2, Unit::Byte, false), "uber"));
    }

    #[test]
    fn a_beginning_is_enough_and_ends_where_it_first_fits() {
        let near = near("nirv", 1, 1, Unit::Byte, true);
        assert!(fits(&near, "nirvana"));
        assert!(fits(&near, "norvana"));
        assert!(!fits(&near, "novana"));
        assert_eq!(near.beginning("nirvana"), Some(3));
        assert_eq!(near.beginning("n\0rvana"), None);
        assert_eq!(near.beginning("other"), None);
    }

    proptest! {
        #[test]
        fn it_accepts_what_the_distance_allows(
            wanted in "[abä]{0,6}", text in "[abä]{0,6}", edits in 0u8..=2,
        ) {
            let near = near(&wanted, 0, edits, Unit::Char, false);
            let (wanted, units) = (Unit::Char.of(&wanted), Unit::Char.of(&text));
            let distance = distance::edits(&wanted, &units, true);
            prop_assert_eq!(fits(&near, &text), distance <= usize::from(edits));
        }
    }
}
