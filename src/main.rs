//! Arguments and environment in, exit code out. No logic.

use std::process::ExitCode;

use rallyhere_agent::config::settings::Surroundings;

fn main() -> ExitCode {
    // A variable that is not UTF-8 is none of ours.
    let env =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    rallyhere_agent::cli::main(std::env::args_os(), &Surroundings::of(env)).into()
}
