//! `lucid panel`: what the lights say, and who drives them.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use super::args::PanelCommand;
use super::output::{Colour, Out};
use super::{CliError, Done, block_on, lamps, load_config, watch};
use crate::api::{Client, ClientError, MAX_IDENTIFY};
use crate::board::{Board, Signals};
use crate::config::Panel as Settings;
use crate::panel::{Machine, Panel, Pattern};
use crate::paths::Paths;
use crate::status::{self, Status, StatusHub};
use crate::units::Span;

pub(super) fn run(
    paths: &Paths,
    config: Option<&Path>,
    command: &PanelCommand,
    out: &mut Out,
) -> Result<Done, CliError> {
    block_on(async {
        let client = Client::new(paths)?;
        match command {
            PanelCommand::Show { watch: true } => {
                watch::run(&client, out, |status, since, out| {
                    view(&status.panel, since, out)
                })
                .await?;
            }
            PanelCommand::Show { watch: false } => {
                let panel = match client.status().await {
                    Ok(status) => status.panel,
                    Err(ClientError::NotRunning { .. }) => looked_at(paths, config).await?,
                    Err(error) => return Err(error.into()),
                };
                if !out.json(&panel)? {
                    out.text(&view(&panel, Duration::ZERO, out))?;
                }
            }
            PanelCommand::Test => match client.panel("test").await {
                Ok(()) => {
                    let message = "the panel walks through its patterns";
                    told(out, "test", message)?;
                }
                Err(ClientError::NotRunning { .. }) => test(paths, config, out).await?,
                Err(error) => return Err(error.into()),
            },
            PanelCommand::Identify { length, stop } => {
                let seconds = if *stop { 0 } else { seconds(*length)? };
                client.panel(&format!("identify?seconds={seconds}")).await?;
                let message = if *stop {
                    "the panel shows the state again".to_owned()
                } else {
                    format!("the panel shows which box this is for {length}")
                };
                told(out, "identify", &message)?;
            }
            PanelCommand::Hold { pattern } => {
                // A configuration that is wrong may be the very reason why something is to be shown.
                let opened = match open(paths, config).await {
                    Ok(opened) => opened,
                    Err(_) => open_with(Settings::default()).await?,
                };
                let mut panel = opened.0;
                panel.hold(*pattern).await;
                let driver = opened.1.snapshot().panel.driver;
                if driver != "leds" {
                    return Err(CliError::Other(format!(
                        "{} is not held: the panel is driven by {driver}, which ends with this \
                         command; only LEDs of the kernel go on by themselves",
                        pattern.name()
                    )));
                }
                told(out, "hold", &format!("the panel shows {}", pattern.name()))?;
            }
        }
        Ok(Done::Well)
    })
}

fn told(out: &mut Out, request: &str, message: &str) -> Result<(), CliError> {
    if !out.json(&serde_json::json!({ "request": request, "taken": true }))? {
        out.line(message)?;
    }
    Ok(())
}

fn seconds(length: Span) -> Result<u64, CliError> {
    let seconds = length.0.as_secs();
    if seconds == 0 || length.0 > MAX_IDENTIFY {
        return Err(CliError::Other(format!(
            "--for is {length}; allowed: 1s to {}h; --stop ends it",
            MAX_IDENTIFY.as_secs() / 3600
        )));
    }
    Ok(seconds)
}

/// The panel of this machine, for a command without a supervisor.
async fn open(paths: &Paths, config: Option<&Path>) -> Result<(Panel, StatusHub), CliError> {
    open_with(load_config(paths, config)?.panel).await
}

async fn open_with(settings: Settings) -> Result<(Panel, StatusHub), CliError> {
    let root = Path::new("/");
    let hub = StatusHub::new(Board::read(root)?.summary(&Signals::read(root)));
    let (panel, ..) = Panel::open(settings, Machine::default(), hub.clone()).await;
    Ok((panel, hub))
}

/// What the panel would be driven by; it is given back as it was found.
async fn looked_at(paths: &Paths, config: Option<&Path>) -> Result<status::Panel, CliError> {
    let (mut panel, hub) = open(paths, config).await?;
    panel.announce();
    panel.give_back().await;
    let mut seen: Status = hub.snapshot();
    "no supervisor runs: nothing is shown".clone_into(&mut seen.panel.meaning);
    Ok(seen.panel)
}

async fn test(paths: &Paths, config: Option<&Path>, out: &mut Out) -> Result<(), CliError> {
    let (mut panel, _) = open(paths, config).await?;
    let walk = async {
        for pattern in Pattern::STATES {
            panel.hold(pattern).await;
            if !out.is_json() {
                out.line(&format!(
                    "{:<9} {}: {}",
                    pattern.name(),
                    pattern.rhythm_in_words(),
                    pattern.meaning()
                ))?;
            }
            panel.linger(pattern.test_time()).await;
        }
        Ok::<(), CliError>(())
    };
    let result = tokio::select! {
        result = walk => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    panel.give_back().await;
    result?;
    out.json(&serde_json::json!({ "request": "test", "taken": true }))?;
    Ok(())
}

fn view(panel: &status::Panel, since: Duration, out: &Out) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}  {}: {}",
        lamps::draw(panel, since, out),
        out.paint(Colour::Bold, &panel.pattern),
        panel.meaning
    );
    if let Some(pattern) = Pattern::by_name(&panel.pattern) {
        let _ = writeln!(text, "   {}", pattern.rhythm_in_words());
    }
    let _ = writeln!(text);
    for choice in &panel.choices {
        let mark = if choice.used { "●" } else { "○" };
        let _ = writeln!(text, "  {mark} {:<10} {}", choice.name, choice.reason);
    }
    text
}
