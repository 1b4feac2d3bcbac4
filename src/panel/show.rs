//! A pattern on the lamps that there are.

use super::pattern::{Beat, Pattern};
pub(super) use crate::status::PanelFrame as Frame;

/// The lamps of a panel, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// One lamp shows every rhythm.
    One,
    /// A green lamp for what is well and a red one for what is not, in this order.
    Two,
    /// Red, green, blue.
    Rgb,
}

impl Layout {
    /// The layout of so many lamps.
    pub(super) const fn of(lamps: usize) -> Option<Self> {
        match lamps {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            3 => Some(Self::Rgb),
            _ => None,
        }
    }

    /// The lamps' names, in the order of levels in a [`Frame`].
    pub(super) const fn lamps(self) -> &'static [&'static str] {
        match self {
            Self::One => &["status"],
            Self::Two => &["green", "red"],
            Self::Rgb => &["red", "green", "blue"],
        }
    }
}

/// How bright, and whether the lamps have more than on and off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Light {
    /// Percent, 1 to 100.
    pub(super) brightness: u8,
    /// Whether levels between 0 and 255 make a difference.
    pub(super) dimmable: bool,
}

/// Shorter than this no eye sees a blink of a dim lamp.
const SHORTEST_MS: u32 = 10;

/// The frames of a pattern, repeated for ever.
pub(super) fn frames(pattern: Pattern, layout: Layout, light: Light) -> Vec<Frame> {
    let mut beats = pattern.rhythm();
    // A lamp that only knows on and off is dimmed where it may be: all is well. A state that asks
    // for a person is never made hard to see.
    if pattern == Pattern::Ready && !light.dimmable && light.brightness < 100 {
        shorten(&mut beats, light.brightness);
    }
    of_beats(&beats, pattern, layout, light)
}

/// The frames of any beats, in the colours of `pattern`.
pub(super) fn of_beats(
    beats: &[Beat],
    pattern: Pattern,
    layout: Layout,
    light: Light,
) -> Vec<Frame> {
    let level = if light.dimmable {
        // A lamp that is to be lit stays lit, however dim.
        let level = u32::from(light.brightness) * 255 / 100;
        u8::try_from(level.clamp(1, 255)).unwrap_or(u8::MAX)
    } else {
        u8::MAX
    };
    beats
        .iter()
        .map(|(lit, ms)| Frame {
            levels: lamps(pattern, layout, *lit)
                .into_iter()
                .map(|lit| if lit { level } else { 0 })
                .collect(),
            ms: *ms,
        })
        .collect()
}

fn lamps(pattern: Pattern, layout: Layout, lit: bool) -> Vec<bool> {
    match layout {
        Layout::One => vec![lit],
        Layout::Two => match pattern {
            // Taking turns: no other pattern has one lamp lit while the other is not, and then
            // the other way round.
            Pattern::Identify => vec![lit, !lit],
            Pattern::Ready | Pattern::Starting | Pattern::Working => vec![lit, false],
            _ if pattern.is_attention() => vec![false, lit],
            _ => vec![lit, lit],
        },
        Layout::Rgb => pattern.colour().map(|used| used && lit).to_vec(),
    }
}

fn shorten(beats: &mut [Beat], brightness: u8) {
    let mut saved = 0;
    for (lit, ms) in beats.iter_mut() {
        if *lit {
            let short = (*ms * u32::from(brightness) / 100)
                .max(SHORTEST_MS)
                .min(*ms);
            saved += *ms - short;
            *ms = short;
        } else {
            *ms += saved;
            saved = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FULL: Light = Light {
        brightness: 100,
        dimmable: true,
    };

    #[test]
    fn patterns_differ_on_every_layout_even_seen_without_colour() {
        for layout in [Layout::One, Layout::Two, Layout::Rgb] {
            let mut seen = Vec::new();
            for pattern in Pattern::ALL {
                // Whoever sees no colour sees how much is lit, and when.
                let grey: Vec<(bool, u32)> = frames(pattern, layout, FULL)
                    .iter()
                    .map(|frame| (frame.levels.iter().any(|level| *level > 0), frame.ms))
                    .collect();
                if layout != Layout::Two || pattern != Pattern::Identify {
                    assert!(!seen.contains(&grey), "{pattern:?} on {layout:?}");
                }
                seen.push(grey);
            }
        }
    }

    #[test]
    fn at_night_only_the_good_news_of_a_plain_lamp_is_shortened() {
        let night = Light {
            brightness: 10,
            dimmable: false,
        };
        let ready = frames(Pattern::Ready, Layout::One, night);
        assert_eq!((ready[0].ms, ready[0].levels[0]), (10, 255));
        assert_eq!(ready.iter().map(|frame| frame.ms).sum::<u32>(), 3000);
        let failed = frames(Pattern::Failed, Layout::One, night);
        assert_eq!(failed, frames(Pattern::Failed, Layout::One, FULL));
        let dimmed = frames(
            Pattern::Failed,
            Layout::One,
            Light {
                dimmable: true,
                ..night
            },
        );
        assert_eq!(dimmed[0].levels, [25]);
    }

    proptest! {
        #[test]
        fn a_lamp_that_is_to_be_lit_is_never_dark(brightness in 1u8..=100, dimmable: bool) {
            let light = Light { brightness, dimmable };
            for pattern in Pattern::STATES {
                for layout in [Layout::One, Layout::Two, Layout::Rgb] {
                    let frames = frames(pattern, layout, light);
                    prop_assert!(frames.iter().any(|f| f.levels.iter().any(|level| *level > 0)));
                    prop_assert!(frames.iter().all(|f| f.ms > 0));
                }
            }
        }
    }
}
