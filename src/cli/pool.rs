//! `lucid volume pool`: by this program itself, as root.

use serde_json::json;

use super::output::Out;
use super::volume_args::PoolCommand;
use super::{CliError, Done};
use crate::paths::Paths;
use crate::units::human_bytes;
use crate::volume::pool::{self, Pool};

pub(super) fn run(paths: &Paths, command: &PoolCommand, out: &mut Out) -> Result<Done, CliError> {
    if !matches!(command, PoolCommand::List) && !nix::unistd::geteuid().is_root() {
        return Err(CliError::Refused(
            "pools are made, mounted and unmounted by root: sudo lucid volume pool …".to_owned(),
        ));
    }
    match command {
        PoolCommand::List => return list(paths, out),
        PoolCommand::Create {
            name,
            on,
            size,
            erase,
        } => {
            let size = size.map(|size| size.0);
            let made = pool::create(paths, name, on, size, erase.as_deref())?;
            say(
                out,
                &made,
                &format!(
                    "pool {name} is made on {} and mounted; a volume comes to lie on it with \
                     `lucid volume create NAME --type TYPE --pool {name}` or `lucid volume migrate \
                     NAME --to {name}`",
                    on.display()
                ),
            )?;
        }
        PoolCommand::Adopt { name, on } => {
            let adopted = pool::adopt(paths, name, on)?;
            let text = format!("pool {name} is adopted from {} and mounted", on.display());
            say(out, &adopted, &text)?;
        }
        PoolCommand::Grow { name, size } => {
            let space = pool::grow(paths, name, size.map(|size| size.0))?;
            say(
                out,
                &space,
                &format!("pool {name} has {}", human_bytes(space.total)),
            )?;
        }
        PoolCommand::Export { name } => {
            pool::export(paths, name)?;
            let text = format!("pool {name} is unmounted: its disk may be pulled");
            say(out, &json!({ "exported": name }), &text)?;
        }
        PoolCommand::Remove { name, confirm } => {
            pool::remove(paths, name, confirm.as_deref())?;
            let text = format!("pool {name} is forgotten; what it holds stays there");
            say(out, &json!({ "removed": name }), &text)?;
        }
        PoolCommand::Mount => {
            pool::mount_all(paths)?;
            return list(paths, out);
        }
        PoolCommand::Trim => {
            let mut told = Vec::new();
            let mut failed = Vec::new();
            for line in pool::trim(paths) {
                match line {
                    Ok(line) => told.push(line),
                    Err(error) => failed.push(error.to_string()),
                }
            }
            say(out, &told, &told.join("\n"))?;
            if !failed.is_empty() {
                return Err(CliError::Refused(failed.join("; ")));
            }
        }
    }
    Ok(Done::Well)
}

fn say(out: &mut Out, value: &impl serde::Serialize, text: &str) -> Result<(), CliError> {
    if !out.json(value)? {
        out.line(text)?;
    }
    Ok(())
}

/// One line a pool; exits 3 when one is missing.
fn list(paths: &Paths, out: &mut Out) -> Result<Done, CliError> {
    let pools = pool::list(paths)?;
    if !out.json(&pools)? {
        for pool in &pools {
            out.line(&line(pool))?;
            if let Some(fault) = &pool.fault {
                out.line(&format!("    {fault}"))?;
            }
        }
    }
    let missing = pools.iter().skip(1).any(|pool| pool.state == "missing");
    Ok(if missing { Done::Unhealthy } else { Done::Well })
}

fn line(pool: &Pool) -> String {
    let mut parts = vec![format!("{:<12} {:<8}", pool.name, pool.state)];
    parts.extend(
        pool.device
            .as_ref()
            .map(|device| device.display().to_string()),
    );
    parts.extend(pool.space.map(|space| {
        format!(
            "{} of {} free",
            human_bytes(space.free),
            human_bytes(space.total)
        )
    }));
    if !pool.volumes.is_empty() {
        parts.push(pool.volumes.join(" "));
    }
    parts.join("  ")
}
