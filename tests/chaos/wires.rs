//! Two network namespaces: the agent's own, and one between it and this host that forwards, or swallows everything.
//!
//! ```text
//!   this host  ──── veth ──── the one between (forwards, or not) ──── veth ──── the agent's own
//!   198.18.b.1                198.18.b.2        198.18.b.5                      198.18.b.6        (and the same from 16 on, …)
//! ```

use std::net::IpAddr;
use std::process::Command;

/// The two namespaces, which go with the value.
pub(crate) struct Wires {
    between: String,
    inside: String,
}

impl Wires {
    /// The host's address on them, which nobody can listen on before they are laid. Several runs, and several people, may have
    /// some at once: each run has a number of its own.
    pub(crate) fn address(number: u32) -> IpAddr {
        format!("198.18.{}.{}", block(), 16 * number + 1).parse().unwrap()
    }

    pub(crate) fn lay(number: u32) -> Self {
        let (block, low) = (block(), 16 * number);
        let id = format!("{}x{low}", std::process::id());
        let wires = Self { between: format!("chaos-b{id}"), inside: format!("chaos-i{id}") };
        let (outer, outer_peer) = (format!("ca{id}"), format!("cb{id}"));
        let (inner, inner_peer) = (format!("cc{id}"), format!("cd{id}"));
        let address = |n: u32| format!("198.18.{block}.{}", low + n);
        let net = |n: u32| format!("{}/30", address(n));
        let (between, inside) = (&wires.between, &wires.inside);
        for line in [
            format!("netns add {between}"),
            format!("netns add {inside}"),
            format!("link add {outer} type veth peer name {outer_peer} netns {between}"),
            format!("-n {between} link add {inner} type veth peer name {inner_peer} netns {inside}"),
            format!("addr add {} dev {outer}", net(1)),
            format!("-n {between} addr add {} dev {outer_peer}", net(2)),
            format!("-n {between} addr add {} dev {inner}", net(5)),
            format!("-n {inside} addr add {} dev {inner_peer}", net(6)),
            format!("link set {outer} up"),
            format!("-n {between} link set {outer_peer} up"),
            format!("-n {between} link set {inner} up"),
            format!("-n {inside} link set {inner_peer} up"),
            format!("-n {inside} link set lo up"),
            format!("route add {} via {}", net(4), address(2)),
            format!("-n {inside} route add default via {}", address(5)),
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            let done = Command::new("ip").args(&words).output().expect("ip(8)");
            assert!(done.status.success(), "ip {line}: {}", String::from_utf8_lossy(&done.stderr));
        }
        wires.forward(true);
        wires
    }

    /// Whether anything gets through. What does not is dropped without a word.
    pub(crate) fn forward(&self, on: bool) {
        let script = format!("echo {} > /proc/sys/net/ipv4/ip_forward", u8::from(on));
        let done = Command::new("ip").args(["netns", "exec", &self.between, "sh", "-c", &script]).status();
        assert!(done.is_ok_and(|status| status.success()), "{script}");
    }

    pub(crate) fn words(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.inside].map(str::to_owned).to_vec()
    }
}

/// The range is the one for benchmarks (RFC 2544): nobody routes it.
fn block() -> u32 {
    std::process::id() % 250
}

impl Drop for Wires {
    fn drop(&mut self) {
        for name in [&self.between, &self.inside] {
            let _gone = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}
