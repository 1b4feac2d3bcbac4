//! A view of the appliance that follows it: drawn anew at each change, and as the lamps blink.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::output::Out;
use super::{CliError, lamps};
use crate::api::Client;
use crate::status::Status;

/// What takes time passes on the screen too.
const REDRAW: Duration = Duration::from_secs(1);

/// Draws `view` of the snapshot, with how long its pattern has been shown, until interrupted.
pub(super) async fn run(
    client: &Client,
    out: &mut Out,
    view: impl Fn(&Status, Duration, &Out) -> String,
) -> Result<(), CliError> {
    let (sender, mut statuses) = watch::channel(None);
    let follow = client.follow_status(|status| {
        sender.send_replace(Some(status));
        true
    });
    tokio::pin!(follow);
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    let mut shown_since = (String::new(), Instant::now());
    loop {
        let mut wait = REDRAW;
        let status: Option<Status> = statuses.borrow_and_update().clone();
        if let Some(status) = &status {
            if shown_since.0 != status.panel.pattern {
                shown_since = (status.panel.pattern.clone(), Instant::now());
            }
            let since = shown_since.1.elapsed();
            if !out.json(status)? {
                // Home and clear to the end: no flicker, nothing of a longer earlier view stays.
                let text = view(status, since, out);
                out.text(&format!("\x1b[H\x1b[J{text}"))?;
                wait = wait.min(lamps::next_change(&status.panel, since).unwrap_or(wait));
            }
        }
        tokio::select! {
            ended = &mut follow => return Ok(ended?),
            _ = statuses.changed() => {}
            () = tokio::time::sleep(wait), if status.is_some() && !out.is_json() => {}
            _ = &mut interrupt => return Ok(()),
        }
    }
}
