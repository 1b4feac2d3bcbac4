//! The panel: health that can be read from across the room, and a button.
//!
//! [`Condition`] takes from the status snapshot what matters, and says which [`Pattern`] wins;
//! `show` lays it out on one, two or three lamps; `driver` drives those by the best means that are
//! there, and `lights` keeps them lit whatever fails; `button` and `gesture` turn presses into
//! requests, which others carry out; `task` ties it together and publishes what is shown.

mod button;
mod condition;
mod driver;
mod gesture;
mod lights;
mod night;
mod pattern;
mod show;
mod task;

pub use driver::Machine;
pub use gesture::Action;
pub use pattern::Pattern;
pub use task::{Command, Panel, PanelHandle};
