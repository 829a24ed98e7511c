//! Faults: rules that say which calls go wrong, how, and how often.

use std::collections::VecDeque;
use std::fmt;

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::contract;
use super::reply::Reply;

/// The most bytes that an oversize answer has.
const OVERSIZE_LIMIT: u64 = 1 << 30;

/// Which calls a fault meets. All that is given must fit; nothing given fits every call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// The method, in capitals.
    pub method: Option<String>,
    /// A part of the path.
    pub path_contains: Option<String>,
    /// The call's name, as in the ledger: `login`, `poll`, `health`, …
    pub call: Option<String>,
}

/// A rule: while it lasts, the first one that fits a request decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// Which calls.
    #[serde(default, rename = "match")]
    pub matching: Match,
    /// How many calls; `None` is for ever.
    #[serde(default)]
    pub times: Option<u32>,
    /// Whether the simulator acts on the request all the same, so that the client cannot know. If not said:
    /// false for `status`, `cut`, `hang` and `redirect`, true for the others.
    #[serde(default)]
    pub processed: Option<bool>,
    /// What goes wrong.
    pub fault: Fault,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Another answer.
    Status {
        /// The status.
        code: u16,
        /// A JSON body; none if not given.
        #[serde(default)]
        body: Option<Value>,
        /// Headers beside, such as `retry-after`.
        #[serde(default)]
        headers: Vec<(String, String)>,
    },
    /// The right answer, late.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// The connection is closed before an answer.
    Cut {},
    /// The connection is closed inside the body.
    CutBody {
        /// How many bytes of the body go out.
        after: usize,
    },
    /// No answer ever, and the connection stays.
    Hang {},
    /// Other bytes than promised.
    Garbage {
        /// The bytes, as text.
        body: String,
        /// The status.
        #[serde(default = "ok")]
        code: u16,
        /// The content type.
        #[serde(default = "json")]
        content_type: String,
    },
    /// The right body, a few bytes at a time.
    SlowBody {
        /// Bytes at a time, at least one.
        chunk: usize,
        /// Milliseconds between.
        every_ms: u64,
    },
    /// The right body behind so much white space: still good JSON, and far too long.
    Oversize {
        /// Bytes of white space, at most 1 GiB.
        bytes: u64,
    },
    /// A redirect.
    Redirect {
        /// Where to.
        location: String,
        /// The status.
        #[serde(default = "temporary")]
        code: u16,
    },
}

fn ok() -> u16 {
    200
}

fn json() -> String {
    "application/json".to_owned()
}

fn temporary() -> u16 {
    307
}

impl Fault {
    /// The word for the ledger.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::Delay { .. } => "delay",
            Self::Cut {} => "cut",
            Self::CutBody { .. } => "cut_body",
            Self::Hang {} => "hang",
            Self::Garbage { .. } => "garbage",
            Self::SlowBody { .. } => "slow_body",
            Self::Oversize { .. } => "oversize",
            Self::Redirect { .. } => "redirect",
        }
    }

    /// Every call, for ever.
    pub fn always(self) -> FaultRule {
        FaultRule { matching: Match::default(), times: None, processed: None, fault: self }
    }

    /// Every call of one name, for ever.
    pub fn on(self, call: &str) -> FaultRule {
        let matching = Match { call: Some(call.to_owned()), ..Match::default() };
        FaultRule { matching, ..self.always() }
    }

    /// The usual status fault.
    pub fn status(code: u16) -> Self {
        Self::Status { code, body: None, headers: Vec::new() }
    }
}

impl FaultRule {
    /// The same, for so many calls.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }

    /// The same, with the request acted on or not.
    #[must_use]
    pub fn processed(self, processed: bool) -> Self {
        Self { processed: Some(processed), ..self }
    }

    fn is_processed(&self) -> bool {
        self.processed.unwrap_or(match self.fault {
            Fault::Status { .. } | Fault::Cut {} | Fault::Hang {} | Fault::Redirect { .. } => false,
            Fault::Delay { .. }
            | Fault::CutBody { .. }
            | Fault::Garbage { .. }
            | Fault::SlowBody { .. }
            | Fault::Oversize { .. } => true,
        })
    }

    fn fits(&self, method: &str, path: &str, call: Option<&str>) -> bool {
        let Match { method: wanted_method, path_contains, call: wanted_call } = &self.matching;
        wanted_method.as_deref().is_none_or(|wanted| wanted == method)
            && path_contains.as_deref().is_none_or(|part| path.contains(part))
            && wanted_call.as_deref().is_none_or(|wanted| Some(wanted) == call)
    }
}

/// Why a rule cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// A status that HTTP does not have, or that ends no exchange (1xx).
    #[error("{0} is not a final HTTP status: use 200 to 999")]
    Status(u16),
    /// A header that HTTP does not take.
    #[error("`{0}` is not a header that can be sent")]
    Header(String),
    /// A call that there is not.
    #[error("there is no call named `{0}`; the ledger shows the names")]
    Call(String),
    /// A rule that never applies.
    #[error("{0}")]
    Pointless(&'static str),
}

/// What is done to one request.
#[derive(Debug, Clone)]
pub(super) struct Injection {
    pub(super) fault: Fault,
    pub(super) processed: bool,
}

/// The rules in force.
#[derive(Debug, Default)]
pub(super) struct Faults {
    rules: VecDeque<FaultRule>,
}

impl Faults {
    /// Adds rules behind those in force: all or none.
    pub(super) fn add(&mut self, rules: Vec<FaultRule>) -> Result<(), FaultError> {
        rules.iter().try_for_each(check)?;
        self.rules.extend(rules);
        Ok(())
    }

    /// No more faults.
    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    /// The rules in force.
    pub(super) fn list(&self) -> Vec<FaultRule> {
        self.rules.iter().cloned().collect()
    }

    /// What goes wrong with this request, if anything.
    pub(super) fn strike(&mut self, method: &str, path: &str, call: Option<&str>) -> Option<Injection> {
        let index = self.rules.iter().position(|rule| rule.fits(method, path, call))?;
        let rule = self.rules.get_mut(index)?;
        let injection = Injection { fault: rule.fault.clone(), processed: rule.is_processed() };
        let spent = rule.times.as_mut().is_some_and(|times| {
            *times = times.saturating_sub(1);
            *times == 0
        });
        if spent {
            self.rules.remove(index);
        }
        Some(injection)
    }
}

fn check(rule: &FaultRule) -> Result<(), FaultError> {
    if let Some(call) = &rule.matching.call
        && !contract::names().any(|name| name == call)
    {
        return Err(FaultError::Call(call.clone()));
    }
    if rule.times == Some(0) {
        return Err(FaultError::Pointless("`times` is 0: leave it out for ever, or ask for at least 1"));
    }
    match &rule.fault {
        Fault::Status { .. } | Fault::Garbage { .. } | Fault::Redirect { .. } => rule.fault.reply().map(|_fits| ()),
        Fault::SlowBody { chunk: 0, .. } => Err(FaultError::Pointless("a slow body needs at least 1 byte at a time")),
        Fault::Oversize { bytes } if *bytes > OVERSIZE_LIMIT => {
            Err(FaultError::Pointless("an oversize body is limited to 1 GiB"))
        }
        Fault::Delay { .. }
        | Fault::Cut {}
        | Fault::CutBody { .. }
        | Fault::Hang {}
        | Fault::SlowBody { .. }
        | Fault::Oversize { .. } => Ok(()),
    }
}

impl Fault {
    /// The answer in place of the right one, for the faults that have one.
    pub(super) fn reply(&self) -> Result<Option<Reply>, FaultError> {
        match self {
            Self::Status { code, body, headers } => {
                let mut reply = match body {
                    Some(body) => Reply::json(final_status(*code)?, body),
                    None => Reply { status: final_status(*code)?, headers: Vec::new(), body: Vec::new() },
                };
                for (name, value) in headers {
                    reply.headers.push(header(name, value)?);
                }
                Ok(Some(reply))
            }
            Self::Garbage { body, code, content_type } => Ok(Some(Reply {
                status: final_status(*code)?,
                headers: vec![header(CONTENT_TYPE.as_str(), content_type)?],
                body: body.clone().into_bytes(),
            })),
            Self::Redirect { location, code } => Ok(Some(Reply {
                status: final_status(*code)?,
                headers: vec![header(LOCATION.as_str(), location)?],
                body: Vec::new(),
            })),
            Self::Delay { .. }
            | Self::Cut {}
            | Self::CutBody { .. }
            | Self::Hang {}
            | Self::SlowBody { .. }
            | Self::Oversize { .. } => Ok(None),
        }
    }
}

fn final_status(code: u16) -> Result<StatusCode, FaultError> {
    match StatusCode::from_u16(code) {
        Ok(status) if code >= 200 => Ok(status),
        Ok(_) | Err(_) => Err(FaultError::Status(code)),
    }
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), FaultError> {
    let refused = |shown: &str| FaultError::Header(shown.to_owned());
    let name = HeaderName::try_from(name).map_err(|_not| refused(name))?;
    if ["content-length", "transfer-encoding", "connection"].contains(&name.as_str()) {
        return Err(refused(name.as_str()));
    }
    let value = HeaderValue::try_from(value).map_err(|_not| refused(value))?;
    Ok((name, value))
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests;
