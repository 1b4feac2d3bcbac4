//! What the lights can say. One rhythm a state, the same on every kind of panel, so that there is
//! one table to learn (`docs/panel.md`); no state is told by colour alone. Nothing that a living
//! appliance shows is steady: a light that stays on or off has nobody who drives it.

use std::time::Duration;

/// A state as a person at the box sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// Somebody asked which box this is.
    Identify,
    /// A datastore cannot serve without a person, or the supervisor is dead.
    Failed,
    /// Started in rescue: no datastore runs, by the button.
    Rescue,
    /// A volume or its device needs a person.
    Storage,
    /// Serving, and something a person must know is wrong.
    Degraded,
    /// Busy with what must not be cut off: shutdown, backup, restore, update.
    Working,
    /// On the way to ready.
    Starting,
    /// All is well, and the supervisor lives.
    Ready,
    /// Everything is stopped and written: the power may go.
    Safe,
    /// The button is down.
    Pressed,
    /// Released now, the button shuts down; after the release: about to, unless pressed again.
    ArmedShutdown,
    /// Released now, the button stops everything for the removal of the data disk.
    ArmedRemoval,
    /// What the button asked for is not possible here.
    Refused,
    /// The light is dark: between what the button says, and when the panel is off.
    Dark,
}

/// One part of a rhythm: lit or dark, for milliseconds.
pub(super) type Beat = (bool, u32);

/// Longer than any hand-held count; a rhythm with one part is steady.
const STEADY: u32 = 1000;

impl Pattern {
    /// Every pattern, in the order of the table; the first ones win.
    pub const ALL: [Self; 14] = [
        Self::Identify,
        Self::Failed,
        Self::Rescue,
        Self::Storage,
        Self::Degraded,
        Self::Working,
        Self::Starting,
        Self::Ready,
        Self::Safe,
        Self::Pressed,
        Self::ArmedShutdown,
        Self::ArmedRemoval,
        Self::Refused,
        Self::Dark,
    ];

    /// The states of the appliance: what `lucid panel test` walks, and what the short press counts.
    pub const STATES: [Self; 9] = [
        Self::Identify,
        Self::Failed,
        Self::Rescue,
        Self::Storage,
        Self::Degraded,
        Self::Working,
        Self::Starting,
        Self::Ready,
        Self::Safe,
    ];

    /// Stable name, as in `panel.pattern` of the status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identify => "identify",
            Self::Failed => "failed",
            Self::Rescue => "rescue",
            Self::Storage => "storage",
            Self::Degraded => "degraded",
            Self::Working => "working",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Safe => "safe",
            Self::Pressed => "pressed",
            Self::ArmedShutdown => "armed-shutdown",
            Self::ArmedRemoval => "armed-removal",
            Self::Refused => "refused",
            Self::Dark => "dark",
        }
    }

    /// The pattern of a name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|pattern| pattern.name() == name)
    }

    /// What it tells a person.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Identify => "somebody is looking for this box",
            Self::Failed => "a datastore needs a person, or the supervisor is dead",
            Self::Rescue => "rescue: no datastore runs; restart the board to leave it",
            Self::Storage => "a volume or its disk needs a person",
            Self::Degraded => "it serves, and something is wrong",
            Self::Working => "busy: leave the power on",
            Self::Starting => "starting",
            Self::Ready => "all is well",
            Self::Safe => {
                "stopped and written: the power may be cut; after its release, the data disk be pulled"
            }
            Self::Pressed => "the button is down",
            Self::ArmedShutdown => "the button shuts down",
            Self::ArmedRemoval => "the button releases the data disk",
            Self::Refused => "what the button asked for is not possible here",
            Self::Dark => "dark",
        }
    }

    /// How the rhythm is told in words.
    pub const fn rhythm_in_words(self) -> &'static str {
        match self {
            Self::Identify => "long, short, long, short, without a pause",
            Self::Failed => "fast and even, five times a second",
            Self::Rescue => "four flashes, pause",
            Self::Storage => "three flashes, pause",
            Self::Degraded => "two flashes, pause",
            Self::Working => "lit, with a short gap every two seconds",
            Self::Starting => "slow and even, once a second",
            Self::Ready => "one short blink every three seconds",
            Self::Safe => "three seconds lit, three seconds dark",
            Self::Pressed => "lit",
            Self::ArmedShutdown => "short blinks, three a second",
            Self::ArmedRemoval => "pairs of short blinks, two a second",
            Self::Refused => "flicker for a second",
            Self::Dark => "dark",
        }
    }

    /// How many blinks repeat the state after a short press; 0 where there is nothing to repeat.
    pub const fn count(self) -> u32 {
        match self {
            Self::Ready => 1,
            Self::Degraded => 2,
            Self::Storage => 3,
            Self::Rescue => 4,
            Self::Failed => 5,
            Self::Starting => 6,
            Self::Working => 7,
            Self::Safe => 8,
            _ => 0,
        }
    }

    /// The rhythm, repeated for ever.
    pub(super) fn rhythm(self) -> Vec<Beat> {
        let flashes = |count: usize| {
            let mut beats = vec![(true, 200), (false, 250)];
            beats = beats.repeat(count);
            if let Some(last) = beats.last_mut() {
                last.1 = 1500;
            }
            beats
        };
        match self {
            Self::Identify => vec![(true, 600), (false, 150), (true, 100), (false, 150)],
            Self::Failed => vec![(true, 100), (false, 100)],
            Self::Rescue => flashes(4),
            Self::Storage => flashes(3),
            Self::Degraded => flashes(2),
            Self::Working => vec![(true, 1800), (false, 200)],
            Self::Starting => vec![(true, 500), (false, 500)],
            Self::Ready => vec![(true, 80), (false, 2920)],
            Self::Safe => vec![(true, 3000), (false, 3000)],
            Self::Pressed => vec![(true, STEADY)],
            Self::ArmedShutdown => vec![(true, 60), (false, 270)],
            Self::ArmedRemoval => vec![(true, 60), (false, 100), (true, 60), (false, 280)],
            Self::Refused => vec![(true, 40), (false, 40)],
            Self::Dark => vec![(false, STEADY)],
        }
    }

    /// How long a test shows it: at least four seconds, and its rhythm whole.
    pub fn test_time(self) -> Duration {
        length(&self.rhythm()).max(Duration::from_secs(4))
    }

    /// Which lamps of a panel with colours show the rhythm: red, green, blue.
    pub const fn colour(self) -> [bool; 3] {
        match self {
            Self::Failed => [true, false, false],
            Self::Degraded => [true, true, false],
            Self::Storage => [true, false, true],
            Self::Ready => [false, true, false],
            Self::Working => [false, true, true],
            Self::Starting => [false, false, true],
            Self::Identify
            | Self::Rescue
            | Self::Safe
            | Self::Pressed
            | Self::ArmedShutdown
            | Self::ArmedRemoval
            | Self::Refused => [true, true, true],
            Self::Dark => [false, false, false],
        }
    }

    /// Whether it asks for a person: on two lamps the red one shows it.
    pub const fn is_attention(self) -> bool {
        matches!(
            self,
            Self::Failed | Self::Rescue | Self::Storage | Self::Degraded
        )
    }
}

/// How long a rhythm takes once.
pub(super) fn length(beats: &[Beat]) -> Duration {
    Duration::from_millis(beats.iter().map(|(_, ms)| u64::from(*ms)).sum())
}

/// `count` blinks that a person can count, with a pause before and after.
pub(super) fn counted(count: u32) -> Vec<Beat> {
    let mut beats = vec![(false, 1000)];
    for _ in 0..count {
        beats.extend([(true, 300), (false, 300)]);
    }
    beats.push((false, 900));
    beats
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_patterns_look_the_same_without_colour() {
        let rhythms: HashSet<_> = Pattern::ALL.iter().map(|p| p.rhythm()).collect();
        assert_eq!(rhythms.len(), Pattern::ALL.len());
        let words: HashSet<_> = Pattern::ALL.iter().map(|p| p.rhythm_in_words()).collect();
        assert_eq!(words.len(), Pattern::ALL.len());
    }

    #[test]
    fn every_state_moves_so_that_a_steady_light_means_nobody_drives_it() {
        for state in Pattern::STATES {
            let beats = state.rhythm();
            assert!(beats.len() >= 2 && beats.len() % 2 == 0, "{state:?}");
            assert!(
                beats.windows(2).all(|pair| pair[0].0 != pair[1].0),
                "{state:?}"
            );
            assert!(length(&beats) <= Duration::from_secs(6), "{state:?}");
            assert!(beats.iter().all(|(_, ms)| *ms > 0), "{state:?}");
        }
    }

    #[test]
    fn counts_of_blinks_are_the_states_own() {
        let counts: HashSet<_> = Pattern::STATES.iter().map(|p| p.count()).collect();
        assert_eq!(counts.len(), Pattern::STATES.len());
        let lit = counted(3).iter().filter(|beat| beat.0).count();
        assert_eq!(lit, 3);
    }

    #[test]
    fn names_lead_back_to_their_patterns() {
        for pattern in Pattern::ALL {
            assert_eq!(Pattern::by_name(pattern.name()), Some(pattern));
        }
        assert_eq!(Pattern::by_name("purple"), None);
    }
}
