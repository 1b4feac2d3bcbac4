//! The `lucid` program: the daemon and the command line in one binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    lucid::cli::main()
}
