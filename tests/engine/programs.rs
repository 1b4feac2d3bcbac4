//! The engines' programs.

use std::path::PathBuf;

/// Finds the program that a test needs; a test without it fails instead of passing unseen.
pub(crate) fn program(variable: &str, name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        let path = PathBuf::from(path);
        assert!(
            path.exists(),
            "{variable}={} does not exist; ./scripts/test prepares the engines",
            path.display()
        );
        return path;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| {
            panic!("{name} is not in PATH and {variable} is not set; ./scripts/test prepares the engines")
        })
}
