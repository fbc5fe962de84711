//! The program: see [`comet_worker`].

use std::process::ExitCode;

fn main() -> ExitCode {
    comet_worker::cli::main()
}
