//! Bringing read-only subvolumes to another pool (btrfs-send(8), btrfs-receive(8)), and comparing
//! what arrived with what was sent.

use std::fs::File;
use std::io::{Read, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::FileType;

use super::error::OpError;
use super::tree::{self, Found, Next};
use super::{VolumeError, btrfs, extents};
use crate::fsx::FsError;

const CHUNK: usize = 1 << 18;
/// The longest last words that are kept.
const MAX_WORDS: u64 = 4096;

/// Asked with the bytes done since the last time; answers whether to go on.
pub(super) type GoOn<'a> = &'a mut dyn FnMut(u64) -> bool;

/// It was ended on request.
pub(super) fn ended() -> OpError {
    OpError::Refused("ended on request".to_owned())
}

fn spawn(program: &str, args: &[&str], stdin: Stdio, stdout: Stdio) -> Result<Child, VolumeError> {
    // Idle class: whoever waits for a disk comes first.
    Command::new("ionice")
        .args(["--class", "3", program])
        .args(args)
        .env("LC_ALL", "C")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(stdin)
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|cause| VolumeError::Tool {
            command: format!("{program} {}", args.join(" ")),
            problem: format!("cannot be started: {cause}"),
        })
}

/// Runs a program and gives what it writes to `take`; it must end well.
pub(super) fn read_from<T>(
    program: &str,
    args: &[&str],
    take: impl FnOnce(&mut std::process::ChildStdout) -> Result<T, OpError>,
) -> Result<T, OpError> {
    let failed = |problem: String| VolumeError::Tool {
        command: format!("{program} {}", args.join(" ")),
        problem,
    };
    let mut child = spawn(program, args, Stdio::null(), Stdio::piped())?;
    let why = words(&mut child);
    let taken = match child.stdout.take() {
        Some(mut out) => take(&mut out),
        None => Err(failed("has no output".to_owned()).into()),
    };
    if taken.is_err() {
        let _ = child.kill();
    }
    let ended = child.wait();
    let why = why.join().unwrap_or_default();
    let taken = taken?;
    match ended {
        Ok(status) if status.success() => Ok(taken),
        Ok(status) => {
            let why: Vec<_> = why.split_whitespace().collect();
            Err(failed(format!("failed ({status}): {}", why.join(" "))).into())
        }
        Err(error) => Err(failed(format!("cannot be waited for: {error}")).into()),
    }
}

/// Reads a program's last words beside its work.
fn words(child: &mut Child) -> std::thread::JoinHandle<String> {
    let pipe = child.stderr.take();
    std::thread::spawn(move || {
        let mut text = String::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.by_ref().take(MAX_WORDS).read_to_string(&mut text);
            // The rest must not hold it up.
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        }
        text
    })
}

/// Whether a subvolume arrived whole: the receiver makes it read-only as its last act.
pub(super) fn is_whole(path: &Path) -> bool {
    btrfs::is_read_only(path)
}

/// Sends the read-only subvolume `from` into the directory `into` of another pool, where it gets
/// the same name; with `parent`, which is on both sides, only the difference. Answers the bytes
/// that were sent.
///
/// # Errors
/// [`OpError`]; what arrived of it stays, and is not whole ([`is_whole`]).
pub(super) fn send(
    from: &Path,
    parent: Option<&Path>,
    into: &Path,
    go_on: GoOn<'_>,
) -> Result<u64, OpError> {
    let (source, target) = (from.to_string_lossy(), into.to_string_lossy());
    let parent = parent.map(Path::to_string_lossy);
    let mut args = vec!["send", "--quiet"];
    if let Some(parent) = &parent {
        args.extend(["-p", parent]);
    }
    args.push(&source);
    let receive = ["receive", "--quiet", "-e", &target];
    let mut sender = spawn("btrfs", &args, Stdio::null(), Stdio::piped())?;
    let mut receiver = match spawn("btrfs", &receive, Stdio::piped(), Stdio::null()) {
        Ok(receiver) => receiver,
        Err(error) => {
            let _ = sender.kill();
            let _ = sender.wait();
            return Err(error.into());
        }
    };
    let (why_sent, why_received) = (words(&mut sender), words(&mut receiver));
    let pumped = match (sender.stdout.take(), receiver.stdin.take()) {
        (Some(mut out), Some(mut into)) => pump(&mut out, &mut into, go_on),
        _ => Err(Pump::Ended),
    };
    if pumped.is_err() {
        let _ = sender.kill();
        let _ = receiver.kill();
    }
    let failed = |args: &[&str], words: String| VolumeError::Tool {
        command: format!("btrfs {}", args.join(" ")),
        problem: format!(
            "failed: {}",
            words.split_whitespace().collect::<Vec<_>>().join(" ")
        ),
    };
    let (sent, taken) = (sender.wait(), receiver.wait());
    let (why_sent, why_received) = (
        why_sent.join().unwrap_or_default(),
        why_received.join().unwrap_or_default(),
    );
    match pumped {
        Err(Pump::Ended) => return Err(ended()),
        // The receiver went first, or last: its words tell why.
        Err(Pump::Broken(error)) => {
            let said = format!("{why_received} {why_sent}");
            let said = if said.trim().is_empty() {
                error.to_string()
            } else {
                said
            };
            return Err(failed(&receive, said).into());
        }
        Ok(_) => {}
    }
    if !taken.is_ok_and(|status| status.success()) {
        return Err(failed(&receive, why_received).into());
    }
    if !sent.is_ok_and(|status| status.success()) {
        return Err(failed(&args, why_sent).into());
    }
    let arrived = into.join(from.file_name().unwrap_or_default());
    if !is_whole(&arrived) {
        return Err(failed(
            &receive,
            format!("{} did not arrive whole", arrived.display()),
        )
        .into());
    }
    pumped.map_err(|_| ended())
}

#[derive(Debug)]
enum Pump {
    Ended,
    Broken(std::io::Error),
}

fn pump(out: &mut impl Read, into: &mut impl Write, go_on: GoOn<'_>) -> Result<u64, Pump> {
    let mut buffer = vec![0; CHUNK];
    let mut all = 0;
    loop {
        match out.read(&mut buffer) {
            Ok(0) => return Ok(all),
            Ok(read) => {
                into.write_all(&buffer[..read]).map_err(Pump::Broken)?;
                all += read as u64;
                if !go_on(read as u64) {
                    return Err(Pump::Ended);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Pump::Broken(error)),
        }
    }
}

/// Reads what `source` and `target` hold and says where they differ; absent where nowhere. Files
/// that are in `known` as they are in `source` were compared before, and are left out.
///
/// # Errors
/// [`OpError`] when one cannot be read, or it was ended.
pub(super) fn compare(
    source: &Path,
    target: &Path,
    known: Option<&Path>,
    go_on: GoOn<'_>,
) -> Result<Option<String>, OpError> {
    let mut differs = None;
    let (mut entries, mut others) = (0_u64, 0_u64);
    let unreadable = tree::walk(source, &mut |found| {
        entries += 1;
        if !go_on(0) {
            return Err(ended());
        }
        let other = target.join(found.path);
        let before = known.map(|known| known.join(found.path));
        let wrong = match std::fs::symlink_metadata(&other) {
            Err(error) => Some(error.to_string()),
            Ok(meta) => difference(found, &meta, &other, before.as_deref(), go_on)?,
        };
        if let Some(wrong) = wrong {
            differs = Some(format!("{}: {wrong}", found.path.display()));
            return Ok(Next::Enough);
        }
        Ok(Next::On)
    })?;
    if differs.is_some() {
        return Ok(differs);
    }
    if let Some(path) = unreadable.first() {
        return Ok(Some(format!("{} cannot be read", path.display())));
    }
    tree::walk(target, &mut |_| {
        others += 1;
        Ok(Next::On)
    })?;
    Ok((entries != others).then(|| format!("{entries} entries were sent, {others} arrived")))
}

fn is_unchanged(found: &Found<'_>, before: &Path) -> bool {
    // A file that is written to has a new time of its inode, whoever sets the other times back.
    std::fs::symlink_metadata(before).is_ok_and(|meta| {
        let stat = found.stat;
        meta.ino() == stat.st_ino
            && meta.size() == u64::try_from(stat.st_size).unwrap_or(0)
            && meta.ctime() == stat.st_ctime
            && meta.ctime_nsec() == i64::try_from(stat.st_ctime_nsec).unwrap_or(-1)
    })
}

fn difference(
    found: &Found<'_>,
    meta: &std::fs::Metadata,
    other: &Path,
    before: Option<&Path>,
    go_on: GoOn<'_>,
) -> Result<Option<String>, OpError> {
    let stat = found.stat;
    if (meta.mode(), meta.uid(), meta.gid()) != (stat.st_mode, stat.st_uid, stat.st_gid) {
        return Ok(Some("kind, mode or owner differ".to_owned()));
    }
    match found.kind() {
        FileType::RegularFile => {
            if meta.size() != u64::try_from(stat.st_size).unwrap_or(0) {
                return Ok(Some("the size differs".to_owned()));
            }
            if before.is_some_and(|before| is_unchanged(found, before)) {
                return Ok(None);
            }
            let opened = found.open().and_then(|a| Ok((a, File::open(other)?)));
            let (a, b) = opened.map_err(FsError::wrap("read", other))?;
            // Of a file that was compared before only what was written since is read.
            let parts = before
                .and_then(|before| extents::changed(&a, &File::open(before).ok()?).ok())
                .unwrap_or_else(|| extents::whole(meta.size()));
            // What was just written may still be in memory, and is not what the disk has.
            let _ = rustix::fs::fadvise(&b, 0, None, rustix::fs::Advice::DontNeed);
            for part in parts {
                let same = same_bytes(&a, &b, part, go_on).map_err(FsError::wrap("read", other))?;
                if !same.ok_or_else(ended)? {
                    return Ok(Some("the content differs".to_owned()));
                }
            }
            Ok(None)
        }
        FileType::Symlink => {
            let to = |path: PathBuf| std::fs::read_link(path).ok();
            let here = rustix::fs::readlinkat(found.dir, found.name, Vec::new()).ok();
            let here = here.map(|text| text.to_string_lossy().into_owned());
            let there = to(other.to_path_buf()).map(|text| text.to_string_lossy().into_owned());
            Ok((here != there).then(|| "the link leads elsewhere".to_owned()))
        }
        _ => Ok(None),
    }
}

/// Absent when it was ended.
fn same_bytes(
    a: &File,
    b: &File,
    part: Range<u64>,
    go_on: GoOn<'_>,
) -> std::io::Result<Option<bool>> {
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut at = part.start;
    while at < part.end {
        let most = usize::try_from(part.end - at).unwrap_or(CHUNK).min(CHUNK);
        a.read_exact_at(&mut left[..most], at)?;
        b.read_exact_at(&mut right[..most], at)?;
        if left[..most] != right[..most] {
            return Ok(Some(false));
        }
        at += most as u64;
        if !go_on(most as u64) {
            return Ok(None);
        }
    }
    Ok(Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(dir: &Path) {
        std::fs::create_dir_all(dir.join("a")).unwrap();
        for (name, text) in [("a/one", "1"), ("two", "22")] {
            crate::fsx::write_volatile(&dir.join(name), text.as_bytes(), 0o644).unwrap();
        }
        std::os::unix::fs::symlink("two", dir.join("link")).unwrap();
    }

    #[test]
    fn every_difference_is_found_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let (source, target) = (dir.path().join("source"), dir.path().join("target"));
        tree(&source);
        tree(&target);
        let differs = || compare(&source, &target, None, &mut |_| true).unwrap();
        assert_eq!(differs(), None);
        crate::fsx::write_volatile(&target.join("a/one"), b"2", 0o644).unwrap();
        assert_eq!(differs().unwrap(), "a/one: the content differs");
        crate::fsx::write_volatile(&target.join("a/one"), b"1", 0o600).unwrap();
        assert!(differs().unwrap().contains("mode"));
        crate::fsx::write_volatile(&target.join("a/one"), b"1", 0o644).unwrap();
        crate::fsx::write_volatile(&target.join("more"), b"", 0o644).unwrap();
        assert!(differs().unwrap().contains("arrived"));
        std::fs::remove_file(target.join("more")).unwrap();
        std::fs::remove_file(target.join("link")).unwrap();
        assert!(differs().unwrap().starts_with("link: "));
    }

    #[test]
    fn what_was_compared_before_and_is_unchanged_is_not_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (source, target) = (dir.path().join("source"), dir.path().join("target"));
        tree(&source);
        tree(&target);
        let mut read = 0;
        let mut count = |bytes| {
            read += bytes;
            true
        };
        // What it is compared with is itself: nothing has changed since.
        assert_eq!(
            compare(&source, &target, Some(&source), &mut count).unwrap(),
            None
        );
        assert_eq!(read, 0);
        assert!(compare(&source, &target, None, &mut |_| false).is_err());
    }
}
