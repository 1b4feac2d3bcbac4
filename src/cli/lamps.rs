//! The panel's lamps, drawn.

use std::time::Duration;

use super::output::{Colour, Out};
use crate::status::{Panel, PanelFrame};

/// The frame that is lit when its pattern has been shown for `since`, and what is left of it.
fn frame_at(panel: &Panel, since: Duration) -> Option<(&PanelFrame, Duration)> {
    let whole: u64 = panel.frames.iter().map(|frame| u64::from(frame.ms)).sum();
    let since = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let mut at = since.checked_rem(whole)?;
    for frame in &panel.frames {
        let ms = u64::from(frame.ms);
        if at < ms {
            return Some((frame, Duration::from_millis(ms - at)));
        }
        at -= ms;
    }
    None
}

/// How long the lamps stay as they are; absent where they do not change.
pub(super) fn next_change(panel: &Panel, since: Duration) -> Option<Duration> {
    if panel.frames.len() < 2 {
        return None;
    }
    frame_at(panel, since).map(|(_, left)| left.max(Duration::from_millis(10)))
}

/// One sign a lamp; three lamps that make one colour are one sign.
pub(super) fn draw(panel: &Panel, since: Duration, out: &Out) -> String {
    let Some((frame, _)) = frame_at(panel, since) else {
        return "○".to_owned();
    };
    let lit = |index: usize| frame.levels.get(index).is_some_and(|level| *level > 0);
    let sign = |colour: Option<Colour>| match colour {
        Some(colour) => out.paint(colour, "●"),
        None => "○".to_owned(),
    };
    match panel.lamps.len() {
        3 => sign(mixed([lit(0), lit(1), lit(2)])),
        2 => {
            let green = lit(0).then_some(Colour::Green);
            let red = lit(1).then_some(Colour::Red);
            format!("{} {}", sign(green), sign(red))
        }
        _ => sign(lit(0).then_some(Colour::Yellow)),
    }
}

/// What red, green and blue light make together.
const fn mixed(lit: [bool; 3]) -> Option<Colour> {
    match lit {
        [false, false, false] => None,
        [true, false, false] => Some(Colour::Red),
        [false, true, false] => Some(Colour::Green),
        [false, false, true] => Some(Colour::Blue),
        [true, true, false] => Some(Colour::Yellow),
        [true, false, true] => Some(Colour::Magenta),
        [false, true, true] => Some(Colour::Cyan),
        [true, true, true] => Some(Colour::White),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(lamps: usize, frames: &[(&[u8], u32)]) -> Panel {
        Panel {
            lamps: vec![String::new(); lamps],
            frames: frames
                .iter()
                .map(|(levels, ms)| PanelFrame {
                    levels: levels.to_vec(),
                    ms: *ms,
                })
                .collect(),
            ..Panel::default()
        }
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn lamps_are_drawn_as_they_blink() {
        let out = Out::new(false);
        let one = panel(1, &[(&[255], 100), (&[0], 200)]);
        assert_eq!(draw(&one, at(0), &out), "●");
        assert_eq!(draw(&one, at(100), &out), "○");
        assert_eq!(draw(&one, at(399), &out), "●");
        assert_eq!(next_change(&one, at(150)), Some(at(150)));
        let two = panel(2, &[(&[0, 9], 100), (&[9, 0], 200)]);
        assert_eq!(draw(&two, at(0), &out), "○ ●");
        let three = panel(3, &[(&[255, 0, 255], 1000)]);
        assert_eq!(draw(&three, at(7), &out), "●");
        assert_eq!(next_change(&three, at(7)), None);
    }

    #[test]
    fn a_panel_without_frames_is_dark() {
        assert_eq!(draw(&panel(1, &[]), at(5), &Out::new(false)), "○");
        assert_eq!(
            draw(&panel(1, &[(&[255], 0)]), at(5), &Out::new(false)),
            "○"
        );
    }
}
