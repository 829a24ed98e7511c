//! The Debian package on a booted systemd: installed, started, killed, stopped, upgraded and removed as on a host.
//!
//! Each test boots a machine of its own (`machine`): systemd as process 1 in fresh namespaces, on a root made of this host's
//! /usr, with the package of `RALLYHERE_DEB` and, for an upgrade, that of `RALLYHERE_DEB_NEXT`. It needs root, the right to
//! make namespaces, and systemd 252 or newer; where that or a package is missing, the tests say so and pass, but with
//! `RALLYHERE_SYSTEMD=must`, as in CI, they fail. `.ci/run package systemd` does it all.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may fail by panicking, and says what it measured"
)]

mod child;
mod life;
mod machine;
mod package;
mod sandbox;
mod unit;

use std::time::Duration;

use machine::Machine;

/// How long a test waits for anything before it fails. Nothing takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until something is there.
async fn until<T>(what: &str, machine: &Machine, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = rallyhere_agent::clock::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(rallyhere_agent::clock::now() < deadline, "never seen: {what}\n{}", machine.story());
        rallyhere_agent::clock::sleep(LOOK).await;
    }
}
