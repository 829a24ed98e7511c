//! `proxy.*`

use std::sync::Arc;
use std::time::Duration;

use super::Checker;
use crate::config::settings::{Instance, LocalApi, Proxy};
use crate::core::proxy::Pattern;

/// Each call compares its path with all of them.
const PATTERNS: usize = 256;
const MIB: i64 = 1024 * 1024;

impl Checker<'_> {
    /// `proxy.*`
    pub(super) fn proxy(&mut self, instances: &[Arc<Instance>]) -> Option<Proxy> {
        let raw = &self.raw.proxy;
        let count = raw.allow.len();
        if count > PATTERNS {
            self.refuse("proxy.allow", format!("has {count} patterns, at most {PATTERNS} are allowed"));
        }
        let mut allow = Vec::new();
        for text in &raw.allow {
            match Pattern::parse(text) {
                Ok(pattern) => allow.push(pattern),
                Err(error) => self.refuse("proxy.allow", format!("{}: {error}", text.escape_debug())),
            }
        }
        let complete = allow.len() == count && count <= PATTERNS;
        let is_open = |local: &LocalApi| local.listen.is_some() && local.token.is_none();
        let open = instances.iter().any(|instance| is_open(&instance.local_api));
        if open && !allow.is_empty() {
            self.warn(
                "proxy.allow",
                "lets everybody who reaches local_api.listen act in the agent's name; set local_api.token_file",
            );
        }
        let body_limit = self.number("proxy.body_limit", raw.body_limit, &(1024..=16 * MIB));
        let timeout =
            self.duration("proxy.timeout", &raw.timeout, &(Duration::from_millis(100)..=Duration::from_secs(300)));
        let concurrency = self.number("proxy.concurrency", raw.concurrency, &(1..=128));
        Some(Proxy {
            allow: complete.then_some(allow)?,
            body_limit: body_limit?,
            timeout: timeout?,
            concurrency: concurrency?,
        })
    }
}
