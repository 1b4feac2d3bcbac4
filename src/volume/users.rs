//! Who uses a directory: open files and working directories of any process.

use std::path::Path;

/// The first process that has something in `dir`, for people.
pub(super) fn of(dir: &Path) -> Option<String> {
    let processes = procfs::process::all_processes().ok()?;
    processes.filter_map(Result::ok).find_map(|process| {
        let uses = process.cwd().is_ok_and(|cwd| cwd.starts_with(dir))
            || process.fd().is_ok_and(|mut fds| {
                fds.any(|fd| {
                    fd.is_ok_and(|fd| {
                        matches!(fd.target, procfs::process::FDTarget::Path(path) if path.starts_with(dir))
                    })
                })
            });
        uses.then(|| {
            let name = process.stat().map(|stat| stat.comm).unwrap_or_default();
            format!("{name} (process {})", process.pid)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_an_open_file_is_found_and_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(of(dir.path()), None);
        let open = tempfile::tempfile_in(dir.path()).unwrap();
        let user = of(dir.path()).unwrap();
        assert!(user.contains(&std::process::id().to_string()), "{user}");
        drop(open);
        assert_eq!(of(dir.path()), None);
    }
}
