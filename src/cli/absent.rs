//! `demo` and `simulate` of a build without the simulated environment, which is what the package and the image carry: they say
//! where it is instead of being unknown.

use std::ffi::OsString;

use super::{CommandError, Terminal, finish};
use crate::exit::Exit;

/// What may be said to a command that is not here: anything.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

/// Says where it is.
pub(super) fn run(args: &Args, terminal: &mut Terminal<'_>) -> Exit {
    finish(terminal, |_| {
        let _all_the_same = &args.rest;
        Err(CommandError::NotDone(
            "this build, which is that of the package and of the image, has no simulated environment: use `cargo run -- demo` or \
             `cargo run -- simulate` in the source"
                .to_owned(),
        ))
    })
}
