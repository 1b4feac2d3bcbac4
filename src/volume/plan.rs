//! What to do with the devices at a start: pure, so that every case is a test.
//!
//! The rules, in this order: nothing that holds anything is formatted without its name given
//! twice; once a pool was made, no other one takes its place; a disk that is named and missing is
//! waited for, never replaced by the card.

use serde::{Deserialize, Serialize};

use super::device::{Content, Probe};
use super::report::Fault;
use crate::units::{MIB, human_bytes};

/// The label of a pool of ours.
pub(super) const LABEL: &str = "lucid-data";
/// The smallest device that a pool is made on: the engines' journals and room to work.
pub(super) const LEAST_BYTES: u64 = 512 * MIB;

/// Which pool is ours; kept in the state partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) uuid: String,
    /// False from just before the file system is made until it can hold data.
    pub(super) complete: bool,
}

/// The disk that the configuration names.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) name: String,
    /// Its name was given again: what it holds may go.
    pub(super) erase: bool,
    /// Absent when it is not attached.
    pub(super) found: Option<Probe>,
}

/// Everything that decides.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) record: Option<Record>,
    pub(super) named: Option<Named>,
    /// The data partition of the boot medium; absent where it cannot be found or read.
    pub(super) card: Result<Probe, String>,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Mount what is there. A note is something that the person should know.
    Mount {
        probe: Probe,
        uuid: String,
        note: Option<Fault>,
    },
    /// Make a pool and mount it; with `erase` what is there goes first.
    Make { probe: Probe, erase: bool },
    /// Leave everything as it is.
    Refuse(Fault),
}

/// Decides.
pub(super) fn plan(inputs: Inputs) -> Action {
    match inputs.record.filter(|record| record.complete) {
        Some(record) => known(&record.uuid, inputs.named, inputs.card),
        None => first(inputs.named, inputs.card),
    }
}

fn uuid_of(probe: &Probe) -> Option<&str> {
    match &probe.content {
        Content::Btrfs { uuid, .. } => Some(uuid),
        _ => None,
    }
}

fn not_attached(name: &str) -> Action {
    Action::Refuse(Fault::new(
        format!("the data disk {name} is not attached"),
        "attach it and restart the board, or correct data.disk in lucid.toml",
    ))
}

/// A pool was made before: that one, or none.
fn known(uuid: &str, named: Option<Named>, card: Result<Probe, String>) -> Action {
    let is_ours = |probe: &Probe| uuid_of(probe) == Some(uuid);
    let mount = |probe: Probe, note| Action::Mount {
        probe,
        uuid: uuid.to_owned(),
        note,
    };
    let card_is_ours = card.as_ref().is_ok_and(is_ours);
    match (named, card) {
        (
            Some(Named {
                found: Some(probe), ..
            }),
            _,
        ) if is_ours(&probe) => mount(probe, None),
        (Some(named), Ok(card)) if card_is_ours => {
            let note = Fault::new(
                format!(
                    "data.disk names {}, but the data lies on {} of the boot medium and stays there",
                    named.name,
                    card.path.display()
                ),
                "take the name out of lucid.toml; data that is there is not moved by a start",
            );
            mount(card, Some(note))
        }
        (
            Some(Named {
                name, found: None, ..
            }),
            _,
        ) => not_attached(&name),
        (
            Some(Named {
                name,
                found: Some(probe),
                ..
            }),
            _,
        ) => Action::Refuse(Fault::new(
            format!(
                "the data disk {name} holds {}, not the pool {uuid} of this appliance",
                probe.content
            ),
            "attach the disk that holds the data; if that one is lost, remove \
             /var/lib/lucid/pool.json to begin anew, then restore a backup",
        )),
        (None, Ok(card)) if card_is_ours => mount(card, None),
        (None, Ok(card)) => Action::Refuse(Fault::new(
            format!(
                "{} holds {}, not the pool {uuid} of this appliance: it is damaged, or the data \
                 lies on a disk that lucid.toml no longer names",
                card.path.display(),
                card.content
            ),
            "name the disk in data.disk; if the pool is damaged, keep a copy of the partition, \
             then remove /var/lib/lucid/pool.json and restore a backup",
        )),
        (None, Err(problem)) => Action::Refuse(Fault::new(
            format!("the data partition cannot be read: {problem}"),
            "look at the medium: journalctl -k; a card that fails has to be replaced",
        )),
    }
}

/// No pool was made yet.
fn first(named: Option<Named>, card: Result<Probe, String>) -> Action {
    let (probe, erase) = match (named, card) {
        (
            Some(Named {
                name, found: None, ..
            }),
            _,
        ) => return not_attached(&name),
        (
            Some(Named {
                erase,
                found: Some(probe),
                ..
            }),
            _,
        ) => (probe, erase),
        (None, Ok(card)) => (card, false),
        (None, Err(problem)) => {
            return Action::Refuse(Fault::new(
                format!("there is no data partition: {problem}"),
                "write the image to the card again",
            ));
        }
    };
    match &probe.content {
        Content::Btrfs { uuid, label } if label == LABEL => {
            let uuid = uuid.clone();
            Action::Mount {
                probe,
                uuid,
                note: None,
            }
        }
        content if *content != Content::Nothing && !erase => Action::Refuse(Fault::new(
            format!(
                "{} holds {content}; it is left as it is",
                probe.path.display()
            ),
            "use an empty disk, or allow that everything on it is erased: repeat the name of \
             data.disk in data.erase of lucid.toml",
        )),
        _ if probe.bytes < LEAST_BYTES => Action::Refuse(Fault::new(
            format!(
                "{} has {}, a data pool needs {}",
                probe.path.display(),
                human_bytes(probe.bytes),
                human_bytes(LEAST_BYTES)
            ),
            "use a larger card (4 GB or more), or name a disk in data.disk of lucid.toml",
        )),
        content => {
            let erase = erase && *content != Content::Nothing;
            Action::Make { probe, erase }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::GIB;

    fn holds(path: &str, content: Content) -> Probe {
        Probe {
            path: path.into(),
            bytes: 16 * GIB,
            content,
        }
    }

    fn pool(path: &str, uuid: &str) -> Probe {
        let content = Content::Btrfs {
            uuid: uuid.to_owned(),
            label: LABEL.to_owned(),
        };
        holds(path, content)
    }

    fn blank(path: &str) -> Probe {
        holds(path, Content::Nothing)
    }

    fn disk(found: Option<Probe>, erase: bool) -> Named {
        Named {
            name: "usb-disk".to_owned(),
            erase,
            found,
        }
    }

    fn of(complete: bool) -> Record {
        Record {
            uuid: "A".to_owned(),
            complete,
        }
    }

    fn decide(record: Option<Record>, named: Option<Named>, card: Probe) -> Action {
        plan(Inputs {
            record,
            named,
            card: Ok(card),
        })
    }

    fn refusal(action: Action) -> String {
        match action {
            Action::Refuse(fault) => format!("{}; {}", fault.message, fault.remedy),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_start_makes_a_pool_on_the_card_or_on_the_disk_that_is_named() {
        let make = |probe| Action::Make {
            probe,
            erase: false,
        };
        assert_eq!(
            decide(None, None, blank("/dev/mmcblk0p6")),
            make(blank("/dev/mmcblk0p6"))
        );
        assert_eq!(
            decide(
                None,
                Some(disk(Some(blank("/dev/sda")), false)),
                blank("/dev/mmcblk0p6")
            ),
            make(blank("/dev/sda"))
        );
    }

    #[test]
    fn a_disk_that_holds_something_is_erased_only_when_named_twice() {
        let photos = || holds("/dev/sda", Content::Other("ext4 \"photos\"".to_owned()));
        let message = refusal(decide(
            None,
            Some(disk(Some(photos()), false)),
            blank("/card"),
        ));
        assert!(
            message.contains("photos") && message.contains("data.erase"),
            "{message}"
        );
        let action = decide(None, Some(disk(Some(photos()), true)), blank("/card"));
        assert!(
            matches!(action, Action::Make { erase: true, .. }),
            "{action:?}"
        );
        // The card is never erased: nobody can have named it.
        refusal(decide(
            None,
            None,
            holds("/card", Content::Other("xfs".to_owned())),
        ));
    }

    #[test]
    fn an_erase_that_is_left_in_the_file_erases_nothing_later() {
        let action = decide(
            Some(of(true)),
            Some(disk(Some(pool("/dev/sda", "A")), true)),
            blank("/card"),
        );
        assert!(matches!(action, Action::Mount { .. }), "{action:?}");
        let foreign = Some(disk(Some(pool("/dev/sda", "B")), true));
        refusal(decide(Some(of(true)), foreign, blank("/card")));
    }

    #[test]
    fn a_missing_disk_is_never_replaced_by_the_card() {
        for record in [None, Some(of(true)), Some(of(false))] {
            let message = refusal(decide(record, Some(disk(None, false)), blank("/card")));
            assert!(message.contains("usb-disk is not attached"), "{message}");
        }
    }

    #[test]
    fn a_pool_of_ours_from_another_card_is_taken_over() {
        let action = decide(
            None,
            Some(disk(Some(pool("/dev/sda", "B")), false)),
            blank("/card"),
        );
        assert!(
            matches!(&action, Action::Mount { uuid, .. } if uuid == "B"),
            "{action:?}"
        );
    }

    #[test]
    fn a_start_that_was_cut_off_goes_on() {
        assert!(matches!(
            decide(Some(of(false)), None, blank("/card")),
            Action::Make { .. }
        ));
        assert!(matches!(
            decide(Some(of(false)), None, pool("/card", "A")),
            Action::Mount { .. }
        ));
    }

    #[test]
    fn a_damaged_data_partition_is_never_made_anew() {
        for content in [Content::Nothing, Content::Other("ext4".to_owned())] {
            let message = refusal(decide(Some(of(true)), None, holds("/card", content)));
            assert!(message.contains("damaged"), "{message}");
        }
        let inputs = Inputs {
            record: Some(of(true)),
            named: None,
            card: Err("I/O error".to_owned()),
        };
        assert!(refusal(plan(inputs)).contains("I/O error"));
    }

    #[test]
    fn naming_a_disk_later_keeps_the_data_where_it_is_and_says_so() {
        let action = decide(
            Some(of(true)),
            Some(disk(Some(blank("/dev/sda")), true)),
            pool("/card", "A"),
        );
        let Action::Mount {
            probe,
            note: Some(note),
            ..
        } = action
        else {
            panic!("{action:?}")
        };
        assert_eq!(probe.path.to_str(), Some("/card"));
        assert!(note.message.contains("stays there"), "{note:?}");
    }

    #[test]
    fn a_card_without_room_is_refused_with_the_arithmetic() {
        let mut small = blank("/dev/mmcblk0p6");
        small.bytes = 16 * MIB;
        let message = refusal(decide(None, None, small));
        assert!(
            message.contains("16.0 MiB") && message.contains("512.0 MiB"),
            "{message}"
        );
    }
}
